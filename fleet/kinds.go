package fleet

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/zapi-go/zapi"
)

// Kinds of failures that fleet names itself, or treats in a way of their own. The others are the words of [zapi.Kind].
const (
	kindPanic        = "panic"
	kindPoison       = "poison"
	kindExhausted    = "exhausted"
	kindCancelled    = "cancelled"
	kindResolver     = "resolver"
	kindElsewhere    = "elsewhere"
	kindNoInstance   = "no instance"
	kindNoPolicy     = "no policy"
	kindNotSent      = "not sent"
	kindRateLimit    = "rate limited"
	kindNotConnected = "not connected"
)

// A failure is what an error of the resolver or of Apply means.
type failure struct {
	kind   string
	text   string        // what may be stored of it
	after  time.Duration // that the API asked to wait
	final  bool          // a person has to look at it
	away   bool          // the API is not there: no response, 5xx, or a page that is not its own
	open   bool          // a request without a response may still arrive
	unsent bool          // the API was not asked
}

// failureOf returns nil for no error. Of several settings that failed, one that needs a person decides, and then one that has to wait.
func failureOf(err error) *failure {
	switch {
	case err == nil:
		return nil
	case isOf[panicked](err):
		return &failure{kind: kindPanic, final: true, unsent: true}
	case errors.Is(err, ErrNoInstance):
		return &failure{kind: kindNoInstance, final: true, unsent: true}
	case errors.Is(err, ErrElsewhere):
		return &failure{kind: kindElsewhere, unsent: true}
	case isOf[resolverError](err):
		return &failure{kind: kindResolver, unsent: true}
	}
	settings := settingsOf(err)
	f := &failure{
		kind: zapi.Kind(err), text: describe(settings), open: isOf[*zapi.TransportError](err),
		final:  slices.ContainsFunc(settings, func(s zapi.SettingError) bool { return isFinal(s.Err) }),
		unsent: isOf[*zapi.ValidationError](err) || zapi.Kind(err) == kindNotSent,
	}
	for _, s := range settings {
		wait, _ := zapi.Retryable(s.Err)
		f.after = max(f.after, wait)
	}
	switch {
	case f.final:
	case errors.Is(err, zapi.ErrRateLimited):
		f.kind = kindRateLimit
	case errors.Is(err, zapi.ErrNotConnected):
		f.kind = kindNotConnected
	default:
		f.away = !f.unsent && (f.open || errors.Is(err, zapi.ErrUnavailable) || errors.Is(err, zapi.ErrUnexpectedResponse))
	}
	return f
}

// isFinal reports whether the API, or zapi, has refused a setting for good. A certificate that does not verify is a proxy's in the place of the
// API, which then is not there.
func isFinal(err error) bool {
	_, again := zapi.Retryable(err)
	return !again && (isOf[*zapi.APIError](err) || isOf[*zapi.ValidationError](err))
}

// isAwayKind reports whether an API that is away shows itself in failures of that kind.
func isAwayKind(kind string) bool {
	switch kind {
	case "unavailable", "unexpected response", "canceled", "DNS", "timeout", "TLS", "connection refused", "connection reset", "connection closed", "no response":
		return true
	}
	return false
}

// isOf reports whether err, or an error that it wraps, is an E.
func isOf[E error](err error) bool { return errors.As(err, new(E)) }

// panicked is a panic of the resolver or of Apply.
type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// resolverError is an error of the resolver. It matches only the errors that a [Resolver] may return: an error of zapi in it is
// not the API's.
type resolverError struct{ err error }

func (e resolverError) Error() string { return "resolver: " + e.err.Error() }
func (e resolverError) Is(target error) bool {
	return (target == ErrNoInstance || target == ErrElsewhere) && errors.Is(e.err, target)
}

// settingsOf returns the settings that failed. Of an error that is about none of them, the name is empty.
func settingsOf(err error) []zapi.SettingError {
	if apply, ok := errors.AsType[*zapi.ApplyError](err); ok {
		return apply.Failed
	}
	return []zapi.SettingError{{Err: err}}
}

// describe returns what may be stored of an error: setting, operation and status. The rest may quote a phone or a secret.
func describe(settings []zapi.SettingError) string {
	var parts []string
	for _, s := range settings {
		var api *zapi.APIError
		var transport *zapi.TransportError
		var refused *zapi.ValidationError
		var text string
		switch {
		case errors.As(s.Err, &api):
			text = api.Op + ": " + answer(api)
		case errors.As(s.Err, &transport):
			text = transport.Op + ": " + zapi.Kind(s.Err)
		case errors.As(s.Err, &refused):
			text = strings.Trim(refused.Op+": "+refused.Field, ": ")
		default:
			continue
		}
		if s.Setting != "" {
			text = s.Setting + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// answer is what the API answered: the status, unless that says that all is well.
func answer(err *zapi.APIError) string {
	switch {
	case err.StatusCode/100 != http.StatusOK/100:
		return fmt.Sprint(err.StatusCode)
	case zapi.Kind(err) == "rejected":
		return "success is false"
	}
	return zapi.Kind(err)
}
