package zapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A sealed value is held where no printer or dumper can look: to them it is a func. Calling it returns the value.
type sealed[T any] func() T

func seal[T any](value T) sealed[T] { return func() T { return value } }

const (
	mask      = "[REDACTED]"
	minSecret = 6 // bytes; a shorter secret is taken for a test value, as redacting it would mangle every text
)

// A redactor redacts the secrets of one instance. It lists every form in which a server may quote them, the longest first,
// as one may contain another.
type redactor []string

// newRedactor returns a redactor of secrets, but for those that could be part of a phone: redacting one would change lists.
func newRedactor(secrets ...string) redactor {
	var forms []string
	for _, secret := range secrets {
		if len(secret) >= minSecret && (len(secret) > maxPhoneDigits || !allDigits(secret)) {
			forms = appendEncoded(forms, secret, 2)
		}
	}
	return redactorOf(forms)
}

func redactorOf(forms []string) redactor {
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Clip(slices.Compact(forms))
}

// with returns a redactor that also redacts phones.
func (r redactor) with(phones []string) redactor {
	if len(phones) == 0 {
		return r
	}
	return redactorOf(slices.Concat(phones, r))
}

// unencoded matches what every encoder leaves as it is. Nearly all secrets match, and then have only one form.
var unencoded = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// appendEncoded appends text as it is and as encoders write it, up to depth encodings inside each other, such as a URL in
// JSON.
func appendEncoded(forms []string, text string, depth int) []string {
	forms = append(forms, text)
	if depth == 0 || unencoded.MatchString(text) {
		return forms
	}
	for _, encode := range encoders {
		if encoded := encode(text); encoded != text {
			forms = appendEncoded(forms, encoded, depth-1)
		}
	}
	return forms
}

// encoders encode a text for a URL, HTML or JSON, each in the ways in which programming languages differ.
var encoders = []func(string) string{
	url.QueryEscape,
	url.PathEscape,
	func(text string) string { return (&url.URL{Path: text}).EscapedPath() },
	func(text string) string { // encodeURIComponent of JavaScript
		return strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(text))
	},
	func(text string) string {
		return percentEscape.ReplaceAllStringFunc(url.QueryEscape(text), strings.ToLower)
	},
	html.EscapeString,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;", "/", "&#x2F;").Replace,
	func(text string) string {
		quoted, _ := json.Marshal(text) // cannot fail on a string
		return string(quoted[1 : len(quoted)-1])
	},
	strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace,
	strings.NewReplacer(`\`, `\\`, `"`, `\"`, "/", `\/`).Replace,
}

var percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// in reports whether text quotes a secret.
func (r redactor) in(text string) bool {
	return slices.ContainsFunc(r, func(form string) bool { return strings.Contains(text, form) })
}

// masks returns a Replacer of all secrets. One pass copies a long text once. No instance keeps it, as few texts need it.
func (r redactor) masks() *strings.Replacer {
	pairs := make([]string, 0, 2*len(r))
	for _, form := range r {
		pairs = append(pairs, form, mask)
	}
	return strings.NewReplacer(pairs...)
}

// redact returns text with a mask in place of each secret.
func (r redactor) redact(text string) string {
	if !r.in(text) {
		return text
	}
	return r.masks().Replace(text)
}

// redactBody is redact for a body, which it copies only if it quotes a secret.
func (r redactor) redactBody(body []byte) []byte {
	if !slices.ContainsFunc(r, func(form string) bool { return bytes.Contains(body, []byte(form)) }) {
		return body
	}
	return []byte(r.masks().Replace(string(body)))
}

// redactHeader returns header with a mask in place of each secret in its values: header itself if there is none, as usual.
func (r redactor) redactHeader(header http.Header) http.Header {
	quotes := false
	for _, values := range header {
		quotes = quotes || slices.ContainsFunc(values, r.in)
	}
	if !quotes {
		return header
	}
	shown, masks := header.Clone(), r.masks()
	for _, values := range shown {
		for i, value := range values {
			values[i] = masks.Replace(value)
		}
	}
	return shown
}

var errNoCause = errors.New("the transport returned an error without a cause")

// withoutSecrets returns what err wraps below every *url.Error, as the URL holds the token. If that still shows a secret, it
// returns a redactedError in its place.
func (r redactor) withoutSecrets(err error) error {
	for urlErr := (*url.Error)(nil); errors.As(err, &urlErr); {
		if urlErr == nil || urlErr.Err == nil {
			return errNoCause
		}
		err = urlErr.Err
	}
	if !r.inError(err) {
		return err
	}
	return &redactedError{
		text:      r.redact(err.Error()),
		matches:   func(target error) bool { return errors.Is(err, target) },
		timeout:   isTimeout(err),
		untrusted: isUntrusted(err),
	}
}

// inError reports whether err, or an error that it wraps, shows a secret. A transport may keep the URL in a field that
// only %+v prints.
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

// A redactedError stands for an error that shows a secret. It matches what that error matches, but errors.As does not find
// that error.
type redactedError struct {
	text      string
	matches   func(error) bool // errors.Is of that error, which stays where no printer looks
	timeout   bool
	untrusted bool // that error is a certificate that does not verify
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.matches(target) }
func (e *redactedError) Timeout() bool        { return e.timeout }
func (e *redactedError) isUntrusted() bool    { return e.untrusted }
