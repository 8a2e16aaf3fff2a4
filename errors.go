package zapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure, for [errors.Is]. Each error of a call matches at most one of them.
var (
	// ErrInvalidArgument is every [ValidationError]: nothing was sent.
	ErrInvalidArgument = errors.New("zapi: invalid argument")
	// ErrUnauthorized is a 401, a 403, and the 400 by which the API refuses a missing or wrong Client-Token.
	ErrUnauthorized = errors.New("zapi: unauthorized")
	// ErrNotFound is a 404, and the 200 by which the API says that it has no such instance or route.
	ErrNotFound = errors.New("zapi: not found")
	// ErrMethodNotAllowed is a 405.
	ErrMethodNotAllowed = errors.New("zapi: method not allowed")
	// ErrUnsupportedMediaType is a 415.
	ErrUnsupportedMediaType = errors.New("zapi: unsupported media type")
	// ErrRateLimited is a 429; [APIError].RetryAfter says how long to wait, if the API told.
	ErrRateLimited = errors.New("zapi: rate limited")
	// ErrUnavailable is a 5xx.
	ErrUnavailable = errors.New("zapi: unavailable")
	// ErrRejected is a 200 with success false: the API understood and did not do it.
	ErrRejected = errors.New("zapi: rejected")
	// ErrUnexpectedResponse is a redirect, or a 2xx that is not the documented answer.
	ErrUnexpectedResponse = errors.New("zapi: unexpected response")
)

// ValidationError says that an argument, option or credential was refused before anything was sent.
// It matches [ErrInvalidArgument], and holds neither secrets nor phones.
type ValidationError struct {
	Op     string // the route or function, "privacy/last-seen" or "NewClient"; empty when a value was parsed
	Field  string // what was wrong, "changes[1].phone"
	Reason string // what is allowed
}

// Error reads "zapi: privacy/last-seen: changes[1].phone: must be …".
func (e *ValidationError) Error() string {
	return errorText(e.Op, e.Field, e.Reason)
}

// Is reports whether target is [ErrInvalidArgument].
func (e *ValidationError) Is(target error) bool { return target == ErrInvalidArgument }

// APIError says that the API answered, and the answer was no success.
// The two secrets are redacted wherever the server echoed them.
type APIError struct {
	Op         string        // the route, "privacy/last-seen"
	StatusCode int           // of HTTP; 200 is possible, see [ErrRejected] and [ErrNotFound]
	Code       string        // the "error" of the answer, at most 512 bytes
	Message    string        // the "message" of the answer, at most 512 bytes
	RetryAfter time.Duration // what the header Retry-After asked for; 0 without one
	Attempts   int           // requests sent
	Body       []byte        // the first 4 KiB of the answer

	kind   error  // set for what the status alone does not tell
	reason string // what was wrong with the answer, in our words
}

// Error reads "zapi: privacy/last-seen: 403 Forbidden: Client-Token [REDACTED] not allowed".
func (e *APIError) Error() string {
	status := fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))
	return errorText(e.Op, strings.TrimSpace(status), e.Code, e.Message, e.reason) + attemptsText(e.Attempts)
}

// Is reports whether target is the kind of this failure, such as [ErrUnauthorized].
// It looks at StatusCode and Code, so an APIError built by a test matches as well.
func (e *APIError) Is(target error) bool {
	kind := e.kind
	if kind == nil {
		kind = kindOf(e.StatusCode, e.Code)
	}
	return kind != nil && target == kind
}

// TransportError says that there was no whole answer: refused, reset, timed out, cancelled.
// Whether the API applied the call is unknown; every call of this package can be repeated safely.
type TransportError struct {
	Op       string // the route, "privacy/last-seen"
	Attempts int    // requests sent; 0 when the context was already done
	Err      error  // the cause: context.Canceled, *net.OpError, …
}

// Error reads "zapi: privacy/last-seen: " and the cause.
func (e *TransportError) Error() string {
	return errorText(e.Op, fmt.Sprint(e.Err)) + attemptsText(e.Attempts)
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Timeout reports whether the cause was a timeout: the caller's deadline, that of [WithTimeout] or one of the network's.
func (e *TransportError) Timeout() bool {
	return isTimeout(e.Err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// kindOf classifies a failed answer by status and, where the API's status misleads, by its "error".
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
	case status > 200 && status < 400:
		return ErrUnexpectedResponse
	}
	return nil
}

func kindOfText(code string) error {
	switch {
	case strings.Contains(code, "client-token is not configured"), strings.HasSuffix(code, "not allowed"):
		return ErrUnauthorized
	case code == "not_found", code == "instance not found":
		return ErrNotFound
	}
	return nil
}

// attemptsText goes behind a text, where no server can cut it off.
func attemptsText(attempts int) string {
	if attempts < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d attempts)", attempts)
}

const (
	maxErrorText = 260 // bytes, so that with the attempts the text stays under 300 characters
	maxErrorPart = 512 // bytes of Code and of Message
	maxErrorBody = 4 << 10
)

// errorText is the one line that an error shows, short and printable whatever the server sent.
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
