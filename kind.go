package zapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// errRefused is the kind of an [*APIError] without a kind of its own, such as a 400 or a 409.
var errRefused = errors.New("zapi: refused")

// apiKinds are the kinds of an [*APIError].
var apiKinds = []error{
	ErrUnauthorized, ErrNotFound, ErrMethodNotAllowed, ErrUnsupportedMediaType, ErrRateLimited, ErrUnavailable, ErrNotConnected,
	ErrRejected, ErrUnexpectedResponse, errRefused,
}

// word returns the kind in one or two words.
func word(kind error) string { return strings.TrimPrefix(kind.Error(), "zapi: ") }

// kindOf returns the kind of a failed response, from its status and, where that misleads, from its "error" and "message".
func kindOf(status int, code, message string) error {
	byText := kindOfText(code, message)
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
	case errors.Is(byText, ErrNotConnected) && (status == http.StatusOK || status >= 400 && status < 600):
		return ErrNotConnected
	case status >= 500 && status < 600:
		return ErrUnavailable
	case byText != nil && (status == http.StatusOK || status == http.StatusBadRequest):
		return byText
	case status == http.StatusOK:
		return ErrRejected
	case status >= 400 && status < 500:
		return errRefused
	}
	return ErrUnexpectedResponse // 1xx, redirects, and numbers that are no status
}

// kindOfText returns the kind that an "error" or "message" reports by itself, or nil. Only the texts that are documented or
// were seen count: a kind is never guessed.
func kindOfText(code, message string) error {
	code, message = normalText(code), normalText(message)
	switch {
	case code == "null not allowed", code == "your client-token is not configured", strings.HasPrefix(code, "client-token"):
		return ErrUnauthorized
	case code == "not_found", code == "instance not found":
		return ErrNotFound
	case isNotConnected(code), isNotConnected(message):
		return ErrNotConnected
	}
	return nil
}

func isNotConnected(text string) bool {
	return text == "you are not connected" || text == "you need to restore the session"
}

// normalText returns text in lower case, without spaces around it and without a full stop.
func normalText(text string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".")
}

// Kind returns a word for err, for metrics and logs: the same that [WithLogger] writes.
//
//   - "" for nil
//   - of a [*ValidationError]: "invalid argument" or "invalid credentials"
//   - of an [*APIError]: "unauthorized", "not found", "method not allowed", "unsupported media type", "rate limited",
//     "unavailable", "not connected", "rejected", "unexpected response", or "refused" for any other 4xx
//   - of a [*TransportError]: "canceled", "not sent", "DNS", "timeout", "TLS", "connection refused", "connection reset",
//     "connection closed", or "no response" for any other
//   - "failed" for an error of another package
//
// Of an [*ApplyError] it is the word of the first setting that cannot succeed later by itself, see [Retryable], or else of
// the first that failed.
func Kind(err error) string {
	var applyErr *ApplyError
	var validationErr *ValidationError
	var apiErr *APIError
	var transportErr *TransportError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &applyErr) && len(applyErr.Failed) > 0:
		lasting := slices.IndexFunc(applyErr.Failed, func(s SettingError) bool { _, ok := Retryable(s.Err); return !ok })
		return Kind(applyErr.Failed[max(lasting, 0)].Err)
	case errors.As(err, &validationErr) && errors.Is(err, ErrInvalidCredentials):
		return word(ErrInvalidCredentials)
	case errors.As(err, &validationErr):
		return word(ErrInvalidArgument)
	case errors.As(err, &apiErr):
		return word(apiErr.failureKind())
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &transportErr) && transportErr.Attempts == 0:
		return "not sent"
	case errors.As(err, &transportErr):
		return networkKind(transportErr.Err)
	}
	return "failed"
}

// networkKind returns a word for a failure of the network.
func networkKind(err error) string {
	switch {
	case errors.As(err, new(*net.DNSError)):
		return "DNS"
	case isTimeout(err):
		return "timeout"
	case isTLS(err):
		return "TLS"
	case isSystemError(err, []uint64{10061}, "connection refused"):
		return "connection refused"
	case isSystemError(err, []uint64{10053, 10054}, "connection reset", "broken pipe"):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "no response"
}

// isSystemError reports whether err is one of the operating system's. On Unix and plan9 its text is Go's own. Windows words
// it in the user's language, so there its number counts; package syscall has no name for these numbers that exists
// everywhere.
func isSystemError(err error, numbers []uint64, texts ...string) bool {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if value := reflect.ValueOf(inner); value.Kind() == reflect.Uintptr && slices.Contains(numbers, value.Uint()) {
			return true
		}
	}
	return err != nil && slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(err.Error(), text) })
}

func isTLS(err error) bool {
	return isUntrusted(err) || errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError))
}

// passingKinds are those that may pass without anyone's help.
var passingKinds = []error{ErrRateLimited, ErrUnavailable, ErrNotConnected, ErrRejected, ErrUnexpectedResponse}

// Retryable reports whether the same call may succeed later without anyone's help, and how long the API asked to wait; after
// is 0 if it did not ask. A job queue repeats a job if ok, no sooner than after, and otherwise leaves it to a person. A call
// that the program cancelled itself may succeed later, too: ask the context first.
//
// ok is true for a [*TransportError], unless a certificate does not verify, and for an [*APIError] with status 408, 425, 429
// or 5xx or of the kinds [ErrNotConnected], [ErrRejected] and [ErrUnexpectedResponse]. It is false for nil, for a
// [*ValidationError], for any other [*APIError], and for an error of another package. An [*ApplyError] can be repeated if
// every setting that failed can, and after is then the longest.
func Retryable(err error) (after time.Duration, ok bool) {
	var applyErr *ApplyError
	var apiErr *APIError
	switch {
	case errors.As(err, &applyErr):
		for _, failed := range applyErr.Failed {
			wait, again := Retryable(failed.Err)
			if !again {
				return 0, false
			}
			after = max(after, wait)
		}
		return after, len(applyErr.Failed) > 0
	case errors.As(err, new(*ValidationError)):
		return 0, false
	case errors.As(err, &apiErr):
		if slices.Contains(passingKinds, apiErr.failureKind()) || isRetryable(apiErr.StatusCode) {
			return apiErr.RetryAfter, true
		}
		return 0, false
	}
	return 0, errors.As(err, new(*TransportError)) && !isUntrusted(err)
}
