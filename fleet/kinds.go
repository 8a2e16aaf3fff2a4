package fleet

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
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

// failureOf returns the zero failure for no error. Of several settings that failed, one that needs a person decides, and then one that has to wait.
func failureOf(err error) failure {
	switch {
	case err == nil:
		return failure{}
	case isOf[panicked](err):
		return failure{kind: kindPanic, final: true, unsent: true}
	case errors.Is(err, ErrNoInstance):
		return failure{kind: kindNoInstance, final: true, unsent: true}
	case errors.Is(err, ErrElsewhere):
		return failure{kind: kindElsewhere, unsent: true}
	case isOf[resolverError](err):
		return failure{kind: kindResolver, unsent: true}
	}
	settings := []zapi.SettingError{{Err: err}}
	if apply, ok := errors.AsType[*zapi.ApplyError](err); ok {
		settings = apply.Failed
	}
	f := failure{kind: zapi.Kind(err), open: isOf[*zapi.TransportError](err)}
	f.unsent = isOf[*zapi.ValidationError](err) || f.kind == kindNotSent
	var texts []string
	for _, s := range settings {
		wait, again := zapi.Retryable(s.Err)
		f.after = max(f.after, wait)
		// A certificate that does not verify is a proxy's in the place of the API, which then is not there.
		f.final = f.final || !again && (isOf[*zapi.APIError](s.Err) || isOf[*zapi.ValidationError](s.Err))
		if text := describe(s); text != "" {
			texts = append(texts, text)
		}
	}
	f.text = strings.Join(texts, "; ")
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

// describe returns what may be stored of a setting that failed: its name, the operation and the status. The rest may quote a phone
// or a secret. Of an error that is about no setting, the name is empty.
func describe(s zapi.SettingError) string {
	var op string
	what := zapi.Kind(s.Err)
	if api, ok := errors.AsType[*zapi.APIError](s.Err); ok {
		op = api.Op
		if api.StatusCode/100 != http.StatusOK/100 {
			what = strconv.Itoa(api.StatusCode)
		} else if what == "rejected" {
			what = "success is false"
		}
	} else if transport, ok := errors.AsType[*zapi.TransportError](s.Err); ok {
		op = transport.Op
	} else if refused, ok := errors.AsType[*zapi.ValidationError](s.Err); ok {
		op, what = refused.Op, refused.Field
	} else {
		return ""
	}
	return strings.Trim(s.Setting+": "+op+": "+what, ": ")
}
