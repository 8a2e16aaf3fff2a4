package zapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sealed holds a value where no printer or dumper can look: to them it is a func.
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

const mask = "[REDACTED]"

// redactor lists the forms in which text may quote a secret, the longest first.
type redactor []string

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

func newRedactor(values ...string) redactor {
	forms := make(redactor, 0, len(values))
	for _, secret := range values {
		if secret == "" {
			continue
		}
		forms = append(forms, secret)
		if strings.Trim(secret, unreserved) == "" {
			continue // every encoding leaves it as it is
		}
		path := url.URL{Path: secret}
		inJSON, _ := json.Marshal(secret) // a string cannot fail
		inGo := strconv.Quote(secret)
		forms = append(forms, path.EscapedPath(), url.PathEscape(secret), url.QueryEscape(secret),
			html.EscapeString(secret), string(inJSON[1:len(inJSON)-1]), inGo[1:len(inGo)-1])
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return forms
}

// in reports whether text quotes a secret.
func (r redactor) in(text string) bool {
	return slices.ContainsFunc(r, func(form string) bool { return strings.Contains(text, form) })
}

// redact returns text with a mask in the place of each secret.
func (r redactor) redact(text string) string {
	if !r.in(text) {
		return text
	}
	pairs := make([]string, 0, 2*len(r))
	for _, form := range r {
		pairs = append(pairs, form, mask)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// redactHeader returns header without secrets and without the fields that no longer hold: the encoding of a body that
// has been decoded and the target of a redirect that is not followed.
func (r redactor) redactHeader(header http.Header) http.Header {
	if !r.inHeader(header) {
		return header
	}
	shown := make(http.Header, len(header))
	for name, values := range header {
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
		if name == "Content-Encoding" || name == "Location" || slices.ContainsFunc(values, r.in) {
			return true
		}
	}
	return false
}

var (
	// protocolError matches the errors in which net/http quotes a response that it could not read.
	protocolError = regexp.MustCompile(`malformed|connection broken|GOAWAY|[tT]railer key`)
	quotation     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// cause returns the innermost cause of err, without the URLs that net/http wraps around it and without secrets.
func (r redactor) cause(err error) error {
	for urlErr := (*url.Error)(nil); errors.As(err, &urlErr); {
		err = urlErr.Err
	}
	text := err.Error()
	if protocolError.MatchString(text) {
		text = quotation.ReplaceAllString(text, `"…"`) // what a server wrote may be a phone, or half a secret
	} else if !r.inError(err) {
		return err
	}
	return &redactedError{
		text:    r.redact(text),
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

// redactedError stands for an error that quotes a secret or a server. It matches what that error matches, but errors.As
// does not find that error.
type redactedError struct {
	text    string
	matches func(error) bool
	timeout bool
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.matches(target) }
func (e *redactedError) Timeout() bool        { return e.timeout }
