package zapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure, for [errors.Is]. An error of a call matches at most one of them.
var (
	// ErrInvalidArgument matches every [*ValidationError]: nothing was sent.
	ErrInvalidArgument = errors.New("zapi: invalid argument")
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
	// ErrRejected matches a 200 with success false: the API understood the call and did not carry it out.
	ErrRejected = errors.New("zapi: rejected")
	// ErrUnexpectedResponse matches a 101, a redirect, and a 2xx that is not the documented response.
	ErrUnexpectedResponse = errors.New("zapi: unexpected response")
)

// A ValidationError reports an argument, option or credential that was refused before anything was sent.
// It matches [ErrInvalidArgument] and holds neither secrets nor phones.
type ValidationError struct {
	Op     string // the route or function, such as "privacy/last-seen" or "NewClient"; empty when a value was parsed
	Field  string // what was refused, such as "changes[1].phone"
	Reason string // what is allowed
}

// Error returns a text such as "zapi: privacy/last-seen: changes[1].phone: must be …".
func (e *ValidationError) Error() string {
	return errorText(e.Op, e.Field, e.Reason)
}

// Is reports whether target is [ErrInvalidArgument].
func (e *ValidationError) Is(target error) bool { return target == ErrInvalidArgument }

// An APIError reports a response that is not a success.
// Both secrets are redacted wherever the server echoed them.
type APIError struct {
	Op         string        // the route, such as "privacy/last-seen"
	StatusCode int           // the HTTP status; 200 is possible, see [ErrRejected] and [ErrNotFound]
	Code       string        // the "error" of the response, at most 512 bytes
	Message    string        // the "message" of the response, at most 512 bytes
	RetryAfter time.Duration // the header Retry-After; 0 without one
	Attempts   int           // attempts made; see [TransportError]
	Body       []byte        // the first 4 KiB of the response

	kind   error  // set by decodeResponse; nil if the response has none, or if a test made the error
	reason string // what is wrong with the response, in words of this package
}

// Error returns a text such as "zapi: privacy/last-seen: 403 Forbidden: Client-Token [REDACTED] not allowed".
func (e *APIError) Error() string {
	return errorText(e.Op, e.statusText(), e.Code, e.Message, e.reason) + attemptsText(e.Attempts)
}

// statusText returns the status in words. That of a 200 is its kind, as "OK" would mislead.
func (e *APIError) statusText() string {
	if kind := e.failureKind(); e.StatusCode == http.StatusOK && kind != nil {
		return strings.TrimPrefix(kind.Error(), "zapi: ")
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
func (e *APIError) Is(target error) bool {
	kind := e.failureKind()
	return kind != nil && target == kind
}

// failureKind returns the kind of the failure, or nil if it has none.
func (e *APIError) failureKind() error {
	kind := e.kind
	if kind == nil {
		kind = kindOf(e.StatusCode, e.Code)
	}
	if kind == nil && e.StatusCode == http.StatusOK {
		kind = ErrRejected
	}
	return kind
}

// A TransportError reports that no complete response was received: the connection was refused or reset, a timeout
// expired, or the caller cancelled. Whether the call was applied is unknown; repeating it is safe.
//
// Attempts counts the attempts of this package. Within one, net/http itself may send a GET again if a reused connection
// closes before a response.
type TransportError struct {
	Op       string // the route, such as "privacy/last-seen"
	Attempts int    // attempts made; 0 if the call ended before the first, or an interceptor made the error
	Err      error  // the cause, such as context.Canceled or a *net.OpError
}

// Error returns a text such as "zapi: privacy/last-seen: no response: unexpected EOF".
func (e *TransportError) Error() string {
	cause := fmt.Sprint(e.Err)
	if !errors.As(e.Err, new(timeoutError)) { // whose text says this itself
		cause = "no response: " + cause
	}
	return errorText(e.Op, cause) + attemptsText(e.Attempts)
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

// kindOf returns the kind of a failed response, from its status and, where that misleads, from its "error".
func kindOf(status int, code string) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrUnauthorized
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusMethodNotAllowed:
		return ErrMethodNotAllowed
	case status == http.StatusUnsupportedMediaType:
		return ErrUnsupportedMediaType
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status >= 500:
		return ErrUnavailable
	case status == http.StatusOK, status == http.StatusBadRequest:
		return kindOfText(strings.ToLower(strings.TrimSpace(code)))
	case status >= 100 && status < 400:
		return ErrUnexpectedResponse
	}
	return nil
}

func kindOfText(code string) error {
	switch {
	case code == "null not allowed", code == "your client-token is not configured", strings.HasPrefix(code, "client-token"):
		return ErrUnauthorized
	case code == "not_found", code == "instance not found":
		return ErrNotFound
	}
	return nil
}

// attemptsText is appended after shortening, so that a long text cannot cut it off.
func attemptsText(attempts int) string {
	if attempts < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d attempts)", attempts)
}

const (
	maxErrorText = 260 // bytes, so that with the attempts the text has fewer than 300 characters
	maxErrorPart = 512 // bytes of Code and of Message
	maxErrorBody = 4 << 10
)

// errorText joins parts into one short printable line, whatever the server sent.
func errorText(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" })
	text := "zapi: " + strings.Join(parts, ": ")
	return shorten(strings.Map(printable, text), maxErrorText)
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
