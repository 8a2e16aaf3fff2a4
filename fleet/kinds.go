package fleet

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/zapi-go/zapi"
)

// Kinds of failures that fleet names itself. The others are those of [kinds].
const (
	kindPoison       = "poison"
	kindExhausted    = "exhausted"
	kindCancelled    = "cancelled"
	kindRateLimit    = "rate limited"
	kindNotConnected = "not connected"
	kindElsewhere    = "elsewhere"
	kindNoInstance   = "no instance"
	kindNoPolicy     = "no policy"
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

// kinds lists what errors match, in the order in which they count.
var kinds = []struct {
	matches             func(error) bool
	kind                string
	final, away, unsent bool
}{
	{isOf[panicked], "panic", true, false, true},
	{is(ErrNoInstance), kindNoInstance, true, false, true},
	{is(ErrElsewhere), kindElsewhere, false, false, true},
	{is(zapi.ErrInvalidArgument), "invalid argument", true, false, true},
	{is(zapi.ErrUnauthorized), "unauthorized", true, false, false},
	{is(zapi.ErrNotFound), "not found", true, false, false},
	{is(zapi.ErrMethodNotAllowed), "method not allowed", true, false, false},
	{is(zapi.ErrUnsupportedMediaType), "unsupported media type", true, false, false},
	{is(zapi.ErrRateLimited), kindRateLimit, false, false, false},
	{isNotConnected, kindNotConnected, false, false, false},
	{isOf[*zapi.TransportError], "no response", false, true, false},
	{is(zapi.ErrUnavailable), "unavailable", false, true, false},
	{is(zapi.ErrRejected), "rejected", false, false, false},
	{is(zapi.ErrUnexpectedResponse), "unexpected response", false, true, false},
	{isOf[resolverError], "resolver", false, false, true},
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

// isOf reports whether err, or an error that it wraps, is an E.
func isOf[E error](err error) bool { return errors.As(err, new(E)) }

// failureOf returns nil for no error.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := failure{kind: "failed", text: describe(err), open: isOf[*zapi.TransportError](err)}
	for _, k := range kinds {
		if k.matches(err) {
			f.kind, f.final, f.away, f.unsent = k.kind, k.final, k.away, k.unsent
			break
		}
	}
	for _, leaf := range leaves(err) {
		if api := (*zapi.APIError)(nil); errors.As(leaf, &api) {
			f.after = max(f.after, api.RetryAfter)
		}
	}
	return &f
}

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

// isNotConnected reports whether the API says that the number is not connected to WhatsApp.
func isNotConnected(err error) bool {
	for _, leaf := range leaves(err) {
		var api *zapi.APIError
		if !errors.As(leaf, &api) {
			continue
		}
		for _, text := range []string{api.Code, api.Message} {
			switch strings.ToLower(strings.TrimSuffix(text, ".")) {
			case "you are not connected", "you need to restore the session":
				return true
			}
		}
	}
	return false
}

// describe returns what may be stored of an error: setting, operation and status. The rest may quote a phone or a secret.
func describe(err error) string {
	var parts []string
	for _, leaf := range leaves(err) {
		var api *zapi.APIError
		var transport *zapi.TransportError
		var refused *zapi.ValidationError
		var text string
		switch {
		case errors.As(leaf, &api):
			text = api.Op + ": " + outcome(api)
		case errors.As(leaf, &transport):
			text = transport.Op + ": no response"
		case errors.As(leaf, &refused):
			text = strings.Trim(refused.Op+": "+refused.Field, ": ")
		default:
			continue
		}
		if setting, _, found := strings.Cut(leaf.Error(), ": "); found && isSetting[setting] {
			text = setting + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// outcome is what the API answered: the status, unless that says that all is well.
func outcome(err *zapi.APIError) string {
	switch {
	case err.StatusCode/100 != http.StatusOK/100:
		return fmt.Sprint(err.StatusCode)
	case isNotConnected(err):
		return kindNotConnected
	case errors.Is(err, zapi.ErrRejected):
		return "success is false"
	}
	return "unexpected response"
}

// isSetting holds the JSON keys of a policy.
var isSetting = map[string]bool{
	"lastSeen": true, "photo": true, "description": true, "groupAdd": true, "online": true, "readReceipts": true, "messageDuration": true,
}

// leaves returns the errors that Apply has joined.
func leaves(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
