package zapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure, for [errors.Is]. An error of a call matches at most one of them, but for a [*ValidationError] about
// credentials, which matches two.
var (
	// ErrInvalidArgument matches every [*ValidationError]: nothing was sent.
	ErrInvalidArgument = errors.New("zapi: invalid argument")
	// ErrInvalidCredentials matches a [*ValidationError] about credentials, of [NewClient], [API.Instance],
	// [Client.ForInstance] and [CredentialsFromEnv]: the program's own configuration is wrong, not what a user gave it.
	ErrInvalidCredentials = errors.New("zapi: invalid credentials")
	// ErrUnauthorized matches a 401, a 403, and a 400 or 200 whose error is about the Client-Token.
	ErrUnauthorized = errors.New("zapi: unauthorized")
	// ErrNotFound matches a 404, and a 200 or 400 that reports an unknown instance or route.
	ErrNotFound = errors.New("zapi: not found")
	// ErrMethodNotAllowed matches a 405.
	ErrMethodNotAllowed = errors.New("zapi: method not allowed")
	// ErrUnsupportedMediaType matches a 415.
	ErrUnsupportedMediaType = errors.New("zapi: unsupported media type")
	// ErrRateLimited matches a 429. [APIError].RetryAfter is how long the API asked to wait, if it did.
	ErrRateLimited = errors.New("zapi: rate limited")
	// ErrUnavailable matches any 5xx status.
	ErrUnavailable = errors.New("zapi: unavailable")
	// ErrNotConnected matches a 200, a 5xx, or a 4xx without a kind of its own, whose error or message is one of the two texts
	// by which the API reports it: "You are not connected." and "You need to restore the session." See [Client.Status].
	ErrNotConnected = errors.New("zapi: not connected")
	// ErrRejected matches a 200 with success false: the API understood the call and did not carry it out.
	ErrRejected = errors.New("zapi: rejected")
	// ErrUnexpectedResponse matches a 101, a redirect, a 2xx that is not the documented response, and a 401, 403 or 404
	// that is a page of a proxy or firewall.
	ErrUnexpectedResponse = errors.New("zapi: unexpected response")
)

// A ValidationError reports an argument, option or credential that was refused before anything was sent.
// It matches [ErrInvalidArgument], and [ErrInvalidCredentials] if it is about credentials. It holds neither secrets nor phones.
type ValidationError struct {
	Op     string // the operation or func, such as "privacy/last-seen" or "NewClient"; empty when a value was parsed
	Field  string // what was refused, such as "changes[1].phone"; of several phones, up to ten
	Reason string // what is allowed
}

// Error returns a text such as "zapi: privacy/last-seen: changes[1].phone: must be …".
func (e *ValidationError) Error() string {
	return errorText(maxValidationText, e.Op, e.Field, e.Reason)
}

// Is reports whether target is [ErrInvalidArgument], or [ErrInvalidCredentials] and e is about credentials.
func (e *ValidationError) Is(target error) bool {
	return target == ErrInvalidArgument || target == ErrInvalidCredentials && e.isAboutCredentials()
}

func (e *ValidationError) isAboutCredentials() bool {
	switch e.Op {
	case "CredentialsFromEnv":
		return true
	case "NewClient", "Instance", "ForInstance": // a policy may have a key "Token"
		return e.Field == "InstanceID" || e.Field == "Token" || e.Field == "ClientToken"
	}
	return false
}

// withOp puts op into a *ValidationError that has none.
func withOp(op string, err error) error {
	if e := (*ValidationError)(nil); errors.As(err, &e) {
		return &ValidationError{op, e.Field, e.Reason}
	}
	return err
}

// An APIError reports a response that is not a success.
// Both secrets are redacted wherever the server echoed them.
type APIError struct {
	Op         string        // the operation, such as "privacy/last-seen"
	StatusCode int           // the HTTP status; 200 is possible, see [ErrRejected] and [ErrNotFound]
	Code       string        // the "error" of the response, at most 512 bytes
	Message    string        // the "message" of the response, at most 512 bytes
	RetryAfter time.Duration // the header Retry-After; 0 without one
	Attempts   int           // attempts made; see [TransportError]
	Body       []byte        // the first 4 KiB of the response

	kind   error  // set by decodeResponse; nil if a test made the error
	reason string // what is wrong with the response, in words of this package
}

// Error returns a text such as "zapi: privacy/last-seen: 403 Forbidden: Client-Token [REDACTED] not allowed".
func (e *APIError) Error() string {
	return errorText(maxErrorText, e.Op, e.statusText(), e.Code, e.Message, e.reason) + attemptsText(e.Attempts)
}

// statusText returns the status in words. That of a 200 is its kind, as "OK" would mislead.
func (e *APIError) statusText() string {
	if e.StatusCode == http.StatusOK {
		return word(e.failureKind())
	}
	if name := http.StatusText(e.StatusCode); name != "" {
		return fmt.Sprintf("%d %s", e.StatusCode, name)
	}
	return fmt.Sprintf("status %d", e.StatusCode)
}

// Is reports whether target is the kind of this failure, such as [ErrUnauthorized].
//
// An APIError that a test makes matches by its StatusCode and Code: 429 matches [ErrRateLimited], 302 matches
// [ErrUnexpectedResponse], and 200 without a Code matches [ErrRejected].
func (e *APIError) Is(target error) bool { return target == e.failureKind() }

func (e *APIError) failureKind() error {
	switch {
	case e.kind != nil:
		return e.kind
	case e.StatusCode == 0: // a test left it out
		return errRefused
	}
	return kindOf(e.StatusCode, e.Code, e.Message)
}

// An apiErrorJSON is the JSON form of an [*APIError].
type apiErrorJSON struct {
	apiErrorFields

	Kind, Reason string
}

type apiErrorFields APIError // without its methods

// MarshalJSON returns the fields of e and its kind, so that a job queue can keep an error and read it again.
func (e *APIError) MarshalJSON() ([]byte, error) {
	return json.Marshal(apiErrorJSON{apiErrorFields(*e), word(e.failureKind()), e.reason})
}

// UnmarshalJSON sets e to what [APIError.MarshalJSON] wrote.
func (e *APIError) UnmarshalJSON(data []byte) error {
	var read apiErrorJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*e = APIError(read.apiErrorFields)
	e.reason = read.Reason
	for _, kind := range apiKinds {
		if word(kind) == read.Kind {
			e.kind = kind
		}
	}
	return nil
}

// A TransportError reports that no complete response was received: the connection was refused or reset, a timeout
// expired, or the caller cancelled. With Attempts 0 nothing was sent, as when a rate limiter refused or an interceptor did
// not make the call. Otherwise, whether the call was applied is unknown; repeating it is safe, but for [Client.Do].
//
// Attempts counts the attempts of this package. Within one, net/http itself may send a GET again if a reused connection
// closes before a response.
type TransportError struct {
	Op       string // the operation, such as "privacy/last-seen"
	Attempts int    // attempts made; 0 if the call ended before the first
	Err      error  // the cause, such as context.Canceled or a *net.OpError
}

// Error returns a text such as "zapi: privacy/last-seen: no response: unexpected EOF", or "… not sent: …" without an attempt.
func (e *TransportError) Error() string {
	cause := cmp.Or(fmt.Sprint(e.Err), "the transport gave no reason")
	switch {
	case e.Attempts == 0:
		cause = "not sent: " + cause
	case !errors.As(e.Err, new(timeoutError)): // whose text says this itself
		cause = "no response: " + cause
	}
	return errorText(maxErrorText, e.Op, cause) + attemptsText(e.Attempts)
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Timeout reports whether the cause is a timeout: the caller's deadline, that of [WithTimeout], or one of the network.
func (e *TransportError) Timeout() bool {
	return isTimeout(e.Err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// contextErr is like ctx.Err, but also reports a deadline that the context's timer has not noticed yet.
func contextErr(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// timeoutError reports that [WithTimeout] expired. It does not match [context.DeadlineExceeded], which means the
// caller's deadline.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no complete response within %v", time.Duration(e))
}

func (e timeoutError) Timeout() bool { return true }

// A networkTimeoutError is a timeout of the transport itself, such as that of a dial, while the caller's deadline has not passed.
// net and net/http let such timeouts match [context.DeadlineExceeded], which would look like the caller's.
type networkTimeoutError struct{ err error }

func (e networkTimeoutError) Error() string { return e.err.Error() }
func (e networkTimeoutError) Timeout() bool { return true }

// Is has the place of Unwrap, which would make the deadline match.
func (e networkTimeoutError) Is(target error) bool {
	return target != context.DeadlineExceeded && errors.Is(e.err, target)
}
func (e networkTimeoutError) As(target any) bool { return errors.As(e.err, target) }

// isUntrusted reports whether err is a certificate that does not verify. Not every transport uses crypto/tls, which would
// wrap the error of crypto/x509.
func isUntrusted(err error) bool {
	var redacted *redactedError
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, &redacted) && redacted.untrusted
}

// An ApplyError reports the settings that [Client.Apply] could not apply. It unwraps to the errors of Failed.
type ApplyError struct {
	Applied []string       // JSON keys of the settings that were applied
	Failed  []SettingError // at least one
	Skipped []string       // keys that were not tried, as the context was done or the credentials were refused
}

// Error returns the errors of Failed, one a line.
func (e *ApplyError) Error() string { return fmt.Sprint(errors.Join(e.Unwrap()...)) }

// Unwrap returns the errors of Failed.
func (e *ApplyError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i := range e.Failed {
		errs[i] = &e.Failed[i]
	}
	return errs
}

// A SettingError is the error of one setting of a [Policy].
type SettingError struct {
	Setting string // its JSON key, such as "photo"
	Err     error  // a [*ValidationError], an [*APIError] or a [*TransportError]
}

// Error returns a text such as "photo: zapi: privacy/photo: 503 Service Unavailable".
func (e SettingError) Error() string { return fmt.Sprintf("%s: %v", e.Setting, e.Err) }

// Unwrap returns Err.
func (e SettingError) Unwrap() error { return e.Err }

// As sets a target of type *SettingError, so that [errors.As] finds e into a pointer and into a value.
func (e SettingError) As(target any) bool {
	value, ok := target.(*SettingError)
	if ok {
		*value = e
	}
	return ok
}

// attemptsText is appended after shortening, so that a long text cannot cut it off.
func attemptsText(attempts int) string {
	if attempts < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d attempts)", attempts)
}

const (
	maxErrorText      = 260 // bytes, so that with the attempts the text has fewer than 300 characters
	maxValidationText = 640 // bytes; no server has a part in it, and it may name ten phones
	maxErrorPart      = 512 // bytes of Code and of Message
	maxErrorBody      = 4 << 10
)

// errorText joins parts into one short printable line, whatever the server sent.
func errorText(limit int, parts ...string) string {
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	text := "zapi: " + strings.Join(parts, ": ")
	return shorten(strings.Map(printable, text), limit)
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("…")], "") + "…"
}
