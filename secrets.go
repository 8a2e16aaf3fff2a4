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

const redacted = "[REDACTED]"

// secrets gives the two secrets of an instance.
// It is a closure because nothing that prints or dumps values can look inside one.
type secrets func() *sealed

// sealed is what a request or a redaction needs of them, made once for each instance.
type sealed struct {
	token       string
	clientToken []string // as a header holds it; empty for none
	redactor    redactor
}

func newSecrets(creds Credentials) secrets {
	s := &sealed{token: creds.Token, redactor: newRedactor(creds.Token, creds.ClientToken)}
	if creds.ClientToken != "" {
		s.clientToken = []string{creds.ClientToken}
	}
	return func() *sealed { return s }
}

// redactor lists each way in which text may quote a secret, the longest first.
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

// redact replaces each secret in text.
func (r redactor) redact(text string) string {
	if !r.in(text) {
		return text
	}
	pairs := make([]string, 0, 2*len(r))
	for _, form := range r {
		pairs = append(pairs, form, redacted)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// redactHeader gives a header without secrets, and without what no longer holds: the encoding of a body that is unpacked,
// the target of a redirect that is not followed.
func (r redactor) redactHeader(header http.Header) http.Header {
	redacted := make(http.Header, len(header))
	for name, values := range header {
		for _, value := range values {
			redacted.Add(name, r.redact(value))
		}
	}
	redacted.Del("Content-Encoding")
	redacted.Del("Location")
	return redacted
}

// inHeader reports whether a header needs [redactor.redactHeader]; hardly one does.
func (r redactor) inHeader(header http.Header) bool {
	for name, values := range header {
		if name == "Content-Encoding" || name == "Location" || slices.ContainsFunc(values, r.in) {
			return true
		}
	}
	return false
}

var (
	// protocolError matches the errors in which net/http quotes an answer that it could not read.
	protocolError = regexp.MustCompile(`malformed|connection broken|GOAWAY|[tT]railer key`)
	quoted        = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// cause is the innermost cause of err, without the URLs that net/http wraps around it and without secrets.
func (r redactor) cause(err error) error {
	for urlErr := (*url.Error)(nil); errors.As(err, &urlErr); {
		err = urlErr.Err
	}
	text := err.Error()
	if protocolError.MatchString(text) {
		text = quoted.ReplaceAllString(text, `"…"`) // what a server wrote may be a phone, or half a secret
	} else if !r.inError(err) {
		return err
	}
	return &redactedError{
		text:    r.redact(text),
		matches: func(target error) bool { return errors.Is(err, target) },
		timeout: isTimeout(err),
	}
}

// inError reports whether err or anything it unwraps to shows a secret.
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

// redactedError stands for an error that quotes a secret or a server: it matches what that error matches, but does not hand it out.
type redactedError struct {
	text    string
	matches func(error) bool
	timeout bool
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.matches(target) }
func (e *redactedError) Timeout() bool        { return e.timeout }
