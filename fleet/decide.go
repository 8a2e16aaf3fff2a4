package fleet

import (
	"fmt"
	"math"
	"slices"
	"time"
)

type action string

const (
	drop  action = "drop"  // nothing is left to do
	ask   action = "ask"   // the store, whether there is a newer order
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

// decide returns what to do with an order, where s is the status found.
//
// Whether the status is that of this very order comes first, as only then its state counts. One of another order that seems
// to be newer proves nothing: the orders are the only truth about what is wanted, and it may stem from orders that were lost. So
// the store is asked before anything is dropped, or claimed, unless it has said already that the order isNewest.
//
// The fence of another order's claim is the time up to which its requests may still be sent. If this order began before, a late
// request of the older policy could arrive behind its own. The outcome lifts the fence, so that usually nobody waits for it. Only
// then does it matter what this order itself waits for, and whether workers have died of it.
func decide(s status, o order, isNewest bool, now time.Time) verdict {
	own := s.names(o)
	switch {
	case own && s.State.final():
		return verdict{action: drop} // only the acknowledgement was lost
	case !own && !isNewest && (s.Order >= o.seq || s.Number > o.Number):
		return verdict{action: ask}
	case !own && now.Before(s.Fence):
		return verdict{delay, min(s.Fence.Sub(now), fenceRecheck)}
	case own && now.Before(s.NotBefore):
		return verdict{delay, s.NotBefore.Sub(now)}
	case own && s.Claims >= maxClaims:
		return verdict{action: park}
	}
	return verdict{action: claim}
}

// above returns the status of an order that replaces s, of whatever order that is. The fence stays, as an apply may be under way, and
// so does what was last applied.
func (s status) above(o order, state State, now time.Time) status {
	return status{
		Version: format, Order: o.seq, Rollout: o.Rollout, Number: o.Number, Policy: o.Policy, State: state, At: now, Fence: s.Fence, Last: s.last(),
	}
}

// claimed returns the status that claims an order, with requests that may be sent until fence.
//
// A claim of another worker is there because that one has died, or because it did not hear that its claim was written and gave the order back.
// The order of a dead worker is not handed out before it has been silent for some time, so a younger claim was given back.
func claimed(found status, o order, worker string, now, fence time.Time, silence time.Duration) status {
	s := found.above(o, Applying, now)
	s.Worker, s.Fence, s.Claims = worker, latest(found.Fence, fence), 1
	if !found.names(o) {
		return s
	}
	s.Attempts, s.Limited, s.Claims = found.Attempts, found.Limited, found.Claims
	if found.Worker != worker && now.Sub(found.At) >= silence {
		s.Claims++
	}
	if now.Sub(latest(found.At, found.NotBefore)) <= untriedFor { // or it was held, or nobody worked: that time does not count
		s.Since, s.Unknown = found.Since, found.Unknown
	}
	if !s.Since.IsZero() {
		s.Kind = found.Kind // it is borne with
	}
	return s
}

// takenBack returns the status of an order that was cancelled.
func takenBack(found status, o order, now time.Time) status {
	s := found.above(o, Superseded, now)
	s.Kind = kindCancelled
	return s
}

// poisoned returns the status of an order that its claims have shown to end workers.
func poisoned(s status, now time.Time, grace time.Duration) status {
	s.State, s.Kind, s.Error = Parked, kindPoison, fmt.Sprintf("%d workers ended while applying it", s.Claims)
	s.At, s.NotBefore, s.Claims, s.Fence = now, time.Time{}, 0, latest(s.Fence, now.Add(grace))
	return s
}

// limits bounds the attempts of an order.
type limits struct {
	attempts         int
	minWait, maxWait time.Duration
	settle           time.Duration // in which a request without a response may still arrive
	random           func(n int64) int64
}

// wait returns how long to wait after an attempt: twice as long after each, and up to a quarter more.
func (l limits) wait(attempt int) time.Duration {
	wait := time.Duration(min(math.Ldexp(float64(l.minWait), attempt-1), float64(l.maxWait)))
	return wait + time.Duration(l.random(int64(wait/4)+1))
}

const (
	longestAsked  = time.Hour // of what a Retry-After may ask for
	freeLimited   = 10        // 429s in a row that are no attempts
	connectWithin = 24 * time.Hour
	backWithin    = 24 * time.Hour
	knownWithin   = time.Hour
	elsewhereWait = time.Minute
	untriedFor    = 10 * time.Minute
)

// settled returns the status after an apply that ended with f. fence is the one found before the claim: that of a worker which
// never wrote its outcome. isAway says that the API was away for the whole account, so that the order is not to blame.
func settled(claim status, f failure, fence, now time.Time, l limits, isAway bool) status {
	s := claim
	s.At, s.Claims, s.Limited, s.Kind, s.Error, s.Fence, s.Since, s.Unknown = now, 0, 0, "", "", time.Time{}, time.Time{}, time.Time{}
	if fence.After(now) {
		s.Fence = fence
	}
	if f.kind == "" {
		s.State, s.Last = Applied, nil
		return s
	}
	s.State, s.Kind, s.Error = Waiting, f.kind, f.text
	if f.open {
		s.Fence = latest(s.Fence, now.Add(l.settle))
	}
	isOffline := f.kind == kindNotConnected
	if isOffline || f.away { // since when; an API that is away shows itself in several kinds
		if s.Since = now; !claim.Since.IsZero() && isOffline == (claim.Kind == kindNotConnected) {
			s.Since = claim.Since
		}
	}
	var wait time.Duration
	switch {
	case isOffline:
		wait = s.bearWith(s.Since, connectWithin, l.minWait, l.maxWait)
	case f.away && isAway:
		wait = s.bearWith(s.Since, backWithin, l.minWait, min(l.maxWait, longestProbe))
	case f.kind == kindElsewhere: // what those that know the instance have found out counts on
		if !claim.Since.IsZero() {
			s.Kind, s.Since = claim.Kind, claim.Since
		}
		if s.Unknown = claim.Unknown; s.Unknown.IsZero() || isAway { // those that know it do not claim it then
			s.Unknown = now
		}
		wait = s.bearWith(s.Unknown, knownWithin, min(l.minWait, time.Second), min(l.maxWait, elsewhereWait))
	case f.kind == kindRateLimit:
		if s.Limited = claim.Limited + 1; s.Limited > freeLimited {
			s.Attempts++
		}
		if wait = l.wait(s.Limited); f.after > 0 {
			wait = min(f.after, longestAsked) + time.Duration(l.random(int64(time.Second)))
		}
	default:
		s.Attempts++
		wait = l.wait(s.Attempts)
	}
	if f.final || s.Attempts > claim.Attempts && s.Attempts >= l.attempts {
		s.State = Parked
	}
	if s.State == Waiting {
		s.NotBefore = now.Add(wait)
		return s
	}
	s.Since, s.Unknown = time.Time{}, time.Time{}
	switch {
	case f.final, isOffline:
	case f.kind == kindElsewhere:
		s.Kind, s.Error = kindNoInstance, "no worker has known it for an hour"
	default:
		s.Kind, s.Error = kindExhausted, f.kind+": "+f.text
	}
	return s
}

// bearWith tries an order again without counting attempts, and parks it when it has failed in that way for so long. It waits
// as long as it has waited already, so twice as long after each.
func (s *status) bearWith(since time.Time, within, minWait, maxWait time.Duration) time.Duration {
	waited := s.At.Sub(since)
	if waited >= within {
		s.State = Parked
	}
	return min(max(waited, minWait), maxWait)
}

// latest returns the last of the times.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
