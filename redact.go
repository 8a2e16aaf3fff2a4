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

// A redactor lists the secrets to redact, in every form in which a server may quote them, the longest first, as one may
// contain another.
type redactor []string

// newRedactor leaves out what could be part of a phone: redacting it would change the contacts of a list.
func newRedactor(secrets ...string) redactor {
	var r redactor
	for _, secret := range secrets {
		if len(secret) >= minSecret && (len(secret) > maxPhoneDigits || !allDigits(secret)) {
			r = appendEncoded(r, secret, 2)
		}
	}
	slices.SortFunc(r, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(r)
}

// plain matches what every encoder leaves as it is. Nearly all secrets are plain, and are then listed once.
var plain = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// appendEncoded appends text as it is and as encoders write it, up to depth encodings inside each other, such as a URL in
// JSON.
func appendEncoded(r redactor, text string, depth int) redactor {
	r = append(r, text)
	if depth == 0 || plain.MatchString(text) {
		return r
	}
	for _, encode := range encoders {
		if encoded := encode(text); encoded != text {
			r = appendEncoded(r, encoded, depth-1)
		}
	}
	return r
}

// encoders are those of URLs, HTML and JSON. Each is there in the forms that differ between languages.
var encoders = []func(string) string{
	url.QueryEscape,
	url.PathEscape,
	func(text string) string { return (&url.URL{Path: text}).EscapedPath() },
	encodeURIComponent,
	func(text string) string {
		return percentEscape.ReplaceAllStringFunc(url.QueryEscape(text), strings.ToLower)
	},
	html.EscapeString,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;", "/", "&#x2F;").Replace,
	encodeJSON,
	strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace,
	strings.NewReplacer(`\`, `\\`, `"`, `\"`, "/", `\/`).Replace,
}

var percentEscape = regexp.MustCompile(`%[0-9A-F]{2}`)

// encodeURIComponent is that of JavaScript.
func encodeURIComponent(text string) string {
	return strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(text))
}

func encodeJSON(text string) string {
	quoted, _ := json.Marshal(text) // cannot fail on a string
	return string(quoted[1 : len(quoted)-1])
}

// in reports whether text quotes a secret.
func (r redactor) in(text string) bool {
	return slices.ContainsFunc(r, func(secret string) bool { return strings.Contains(text, secret) })
}

// inBytes is in for bytes, which it does not copy.
func (r redactor) inBytes(text []byte) bool {
	return slices.ContainsFunc(r, func(secret string) bool { return bytes.Contains(text, []byte(secret)) })
}

// redact returns text with a mask in place of each secret.
func (r redactor) redact(text string) string {
	for _, secret := range r {
		text = strings.ReplaceAll(text, secret, mask)
	}
	return text
}

// redactBody is redact for a body, which it copies only if it quotes a secret, and only once, however many forms of a secret
// it quotes.
func (r redactor) redactBody(body []byte) []byte {
	if !r.inBytes(body) {
		return body
	}
	masks := make([]string, 0, 2*len(r))
	for _, secret := range r {
		masks = append(masks, secret, mask)
	}
	return []byte(strings.NewReplacer(masks...).Replace(string(body)))
}

// redactHeader returns header without secrets in its values. It is header itself if nothing has to change, as is usual.
func (r redactor) redactHeader(header http.Header) http.Header {
	quotes := false
	for _, values := range header {
		quotes = quotes || slices.ContainsFunc(values, r.in)
	}
	if !quotes {
		return header
	}
	shown := header.Clone()
	for _, values := range shown {
		for i, value := range values {
			values[i] = r.redact(value)
		}
	}
	return shown
}

var errNoCause = errors.New("the transport returned an error without a cause")

// withoutSecrets returns err without each *url.Error around it, whose URL is secret. If the rest shows a secret, it returns
// a redactedError in its place.
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
