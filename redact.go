package zapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A sealed value is held where no printer or dumper can look: to them it is a func.
type sealed[T any] func() T

func seal[T any](value T) sealed[T] { return func() T { return value } }

// secrets are those of one instance, in the form that its requests need.
type secrets struct {
	token       string
	clientToken []string // the values of the header; empty without a Client-Token
	redactor    redactor
}

func sealSecrets(creds Credentials) sealed[*secrets] {
	s := &secrets{token: creds.Token, redactor: newRedactor(creds.Token, creds.ClientToken)}
	if creds.ClientToken != "" {
		s.clientToken = []string{creds.ClientToken}
	}
	return seal(s)
}

const (
	mask      = "[REDACTED]"
	minSecret = 6 // bytes; a shorter secret is taken for a test value, as redacting it would mangle every text
)

// A redactor lists the secrets to redact, the longest first.
type redactor []string

func newRedactor(values ...string) redactor {
	r := make(redactor, 0, len(values))
	for _, secret := range values {
		if len(secret) >= minSecret {
			r = append(r, secret)
		}
	}
	slices.SortFunc(r, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // one may contain the other
	return r
}

// in reports whether text quotes a secret.
func (r redactor) in(text string) bool { return r.redact(text) != text }

// redact returns text with a mask in place of each secret, even if characters of the secret are escaped.
func (r redactor) redact(text string) string {
	if strings.ContainsAny(text, escapeMarks) {
		text = r.redactEscaped(text)
	}
	for _, secret := range r {
		text = strings.ReplaceAll(text, secret, mask)
	}
	return text
}

// redactEscaped finds secrets in the unescaped text, and masks the part of text that each was found in.
func (r redactor) redactEscaped(text string) string {
	for _, secret := range r {
		plain, offsets := unescape(text)
		secret, _ = unescape(secret) // a secret may contain what looks like an escape
		var redacted strings.Builder
		done := 0 // bytes of text
		for at := 0; ; {
			i := strings.Index(plain[at:], secret)
			if i < 0 {
				break
			}
			start, end := at+i, at+i+len(secret)
			redacted.WriteString(text[done:offsets[start]])
			redacted.WriteString(mask)
			at, done = end, int(offsets[end])
		}
		text = redacted.String() + text[done:]
	}
	return text
}

// redactHeader returns header without secrets, without Content-Encoding (the body is decoded) and without Location
// (redirects are not followed).
func (r redactor) redactHeader(header http.Header) http.Header {
	if !r.inHeader(header) {
		return header
	}
	shown := make(http.Header, len(header))
	for name, values := range header {
		if r.inName(name) {
			continue
		}
		for _, value := range values {
			shown.Add(name, r.redact(value))
		}
	}
	shown.Del("Content-Encoding")
	shown.Del("Location")
	return shown
}

// inHeader reports whether redactHeader has something to do, which is rare.
func (r redactor) inHeader(header http.Header) bool {
	for name, values := range header {
		if name == "Content-Encoding" || name == "Location" || r.inName(name) || slices.ContainsFunc(values, r.in) {
			return true
		}
	}
	return false
}

// inName reports whether the name of a header field quotes a secret. net/http changes the case of names.
func (r redactor) inName(name string) bool {
	return slices.ContainsFunc(r, func(secret string) bool {
		return len(secret) <= len(name) && redactor{strings.ToLower(secret)}.in(strings.ToLower(name))
	})
}

var (
	// protocolError matches the errors in which net/http quotes a response that it could not read.
	protocolError = regexp.MustCompile(`malformed|connection broken|GOAWAY|[tT]railer|header|http2|bad Content-Length|transfer encoding`)
	quotation     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(MIME header (?:initial )?line: )(?s:.*)`) // Go 1.25 does not quote the line
	errNoCause    = errors.New("the transport returned an error without a cause")
)

// cause returns err without each *url.Error around it, whose URL is secret. If the rest quotes a secret or a server, it
// returns a redactedError in its place.
func (r redactor) cause(err error) error {
	for urlErr := (*url.Error)(nil); errors.As(err, &urlErr); {
		if urlErr == nil || urlErr.Err == nil {
			return errNoCause
		}
		err = urlErr.Err
	}
	text := err.Error()
	shown := text
	if protocolError.MatchString(text) {
		shown = quotation.ReplaceAllString(text, `${1}"…"`) // what a server wrote may be a phone, or half a secret
	}
	if shown == text && !r.inError(err) {
		return err
	}
	return &redactedError{
		text:    r.redact(shown),
		matches: func(target error) bool { return errors.Is(err, target) },
		timeout: isTimeout(err),
	}
}

// inError reports whether err, or an error that it wraps, shows a secret.
func (r redactor) inError(err error) bool {
	if err == nil {
		return false
	}
	if r.in(fmt.Sprintf("%v %+v %#v", err, err, err)) {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // each level of the tree is looked at in turn
	case interface{ Unwrap() error }:
		return r.inError(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), r.inError)
	}
	return false
}

// A redactedError stands for an error that quotes a secret or a server. It matches what that error matches, but errors.As
// does not find that error.
type redactedError struct {
	text    string
	matches func(error) bool // errors.Is of that error, which stays where no printer looks
	timeout bool
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.matches(target) }
func (e *redactedError) Timeout() bool        { return e.timeout }
