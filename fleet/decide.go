package fleet

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/zapi-go/zapi"
)

type action string

const (
	drop  action = "drop"  // nothing is left to do
	delay action = "delay" // look again later
	park  action = "park"  // workers died of it
	claim action = "claim"
)

// verdict is what to do with an order.
type verdict struct {
	action action
	wait   time.Duration // of a delay
}

const (
	maxClaims    = 6
	fenceRecheck = 500 * time.Millisecond // a fence is usually lifted long before its time
)

// decide returns what to do with the order of sequence seq, where r is the status found.
func decide(r record, seq uint64, now time.Time) verdict {
	switch {
	case r.Seq > seq:
		return verdict{action: drop} // superseded
	case r.Seq == seq && r.State.final():
		return verdict{action: drop} // only the acknowledgement was lost
	case r.Seq < seq && now.Before(r.Fence):
		return verdict{delay, min(r.Fence.Sub(now), fenceRecheck)}
	case r.Seq == seq && now.Before(r.NotBefore):
		return verdict{delay, r.NotBefore.Sub(now)}
	case r.Seq == seq && r.Claims >= maxClaims:
		return verdict{action: park}
	}
	return verdict{action: claim}
}

// claimed returns the status that claims an order until deadline.
func claimed(r record, o order, seq uint64, worker string, now, deadline time.Time, grace time.Duration) record {
	fence := latest(r.Fence, deadline.Add(grace))
	if r.Seq != seq {
		r = record{}
	}
	return record{
		Version: format, Seq: seq, Rollout: o.Rollout, Policy: o.Policy, State: Applying,
		Attempts: r.Attempts, Claims: r.Claims + 1, Worker: worker, At: now, Fence: fence,
	}
}

// poisoned returns the status of an order that its claims have shown to end workers.
func poisoned(r record, now time.Time, grace time.Duration) record {
	r.State, r.Kind, r.Error = Parked, kindPoison, fmt.Sprintf("%d workers ended while applying it", r.Claims)
	r.At, r.NotBefore, r.Claims, r.Fence = now, time.Time{}, 0, latest(r.Fence, now.Add(grace))
	return r
}

// backoff bounds the attempts of an order.
type backoff struct {
	attempts         int
	minWait, maxWait time.Duration
}

// wait returns how long to wait after an attempt: twice as long after each. random returns a number in [0, n).
func (b backoff) wait(attempt int, random func(n int64) int64) time.Duration {
	longest := time.Duration(min(math.Ldexp(float64(b.minWait), attempt-1), float64(b.maxWait)))
	return longest/2 + time.Duration(random(int64(longest/2)+1))
}

const (
	kindPoison    = "poison"
	kindExhausted = "exhausted"
	kindCancelled = "cancelled"
	kindRateLimit = "rate limited"
	longestHold   = time.Hour // of what a Retry-After may ask for
)

// settled returns the status after an apply that ended with err, and for how long the account is held when the API asked
// for it. fence is the one found before the claim: that of a worker which never wrote its outcome.
func settled(r record, err error, fence, now time.Time, b backoff, settle time.Duration, random func(n int64) int64) (_ record, hold time.Duration) {
	r.At, r.Claims, r.NotBefore, r.Kind, r.Error, r.Fence = now, 0, time.Time{}, "", "", time.Time{}
	if fence.After(now) {
		r.Fence = fence
	}
	if err == nil {
		r.State = Applied
		return r, 0
	}
	kind, final := classify(err)
	r.Kind, r.Error = kind, describe(err)
	if isOf[*zapi.TransportError](err) { // the request of a setting may still arrive
		r.Fence = latest(r.Fence, now.Add(settle))
	}
	if kind != kindRateLimit {
		r.Attempts++
	}
	wait := b.wait(max(r.Attempts, 1), random)
	switch {
	case final:
		r.State = Parked
		return r, 0
	case kind == kindRateLimit:
		if asked := retryAfter(err); asked > 0 {
			wait = min(asked, longestHold)
		}
		r.State, hold = Waiting, wait
		wait += time.Duration(random(int64(time.Second)))
	case r.Attempts >= b.attempts:
		r.State, r.Kind, r.Error = Parked, kindExhausted, kind+": "+r.Error
		return r, 0
	default:
		r.State = Waiting
	}
	r.NotBefore = now.Add(wait)
	return r, hold
}

// panicked is a panic of the resolver or of Apply.
type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// resolverError is an error of the resolver. It matches only [ErrNoInstance]: an error of zapi in it is not the API's.
type resolverError struct{ err error }

func (e resolverError) Error() string { return "resolver: " + e.err.Error() }
func (e resolverError) Is(target error) bool {
	return target == ErrNoInstance && errors.Is(e.err, target)
}

// kinds lists what errors match, in the order in which they count.
var kinds = []struct {
	matches func(error) bool
	kind    string
	final   bool // a person has to look at it
}{
	{isOf[panicked], "panic", true},
	{is(ErrNoInstance), "no instance", true},
	{is(zapi.ErrInvalidArgument), "invalid argument", true},
	{is(zapi.ErrUnauthorized), "unauthorized", true},
	{is(zapi.ErrNotFound), "not found", true},
	{is(zapi.ErrMethodNotAllowed), "method not allowed", true},
	{is(zapi.ErrUnsupportedMediaType), "unsupported media type", true},
	{is(zapi.ErrRateLimited), kindRateLimit, false},
	{isOf[*zapi.TransportError], "no response", false},
	{is(zapi.ErrUnavailable), "unavailable", false},
	{is(zapi.ErrRejected), "rejected", false},
	{is(zapi.ErrUnexpectedResponse), "unexpected response", false},
	{isOf[resolverError], "resolver", false},
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

// isOf reports whether err, or an error that it wraps, is an E.
func isOf[E error](err error) bool { return errors.As(err, new(E)) }

// classify returns what an error of the resolver or of Apply means.
func classify(err error) (kind string, final bool) {
	for _, k := range kinds {
		if k.matches(err) {
			return k.kind, k.final
		}
	}
	return "failed", false
}

// retryAfter is the longest wait that the API asked for.
func retryAfter(err error) (longest time.Duration) {
	for _, leaf := range leaves(err) {
		if api := (*zapi.APIError)(nil); errors.As(leaf, &api) {
			longest = max(longest, api.RetryAfter)
		}
	}
	return longest
}

// describe returns what may be stored of an error: setting, route and status. The rest may quote a phone or a secret.
func describe(err error) string {
	var parts []string
	for _, leaf := range leaves(err) {
		var api *zapi.APIError
		var transport *zapi.TransportError
		var refused *zapi.ValidationError
		var text string
		switch {
		case errors.As(leaf, &api):
			text = fmt.Sprintf("%s: %d", api.Op, api.StatusCode)
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

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
