package fleet

import (
	"fmt"
	"math"
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
// the store is asked before anything is dropped, or claimed. A fence counts whatever order it stems from: an apply may still
// be sending. What this order waits for, and the workers that died of it, come last, as they presume all that.
func decide(s status, o order, seq uint64, now time.Time) verdict {
	own := s.names(o, seq)
	switch {
	case own && s.State.final():
		return verdict{action: drop} // only the acknowledgement was lost
	case !own && (s.Seq >= seq || s.Number > o.Number):
		return verdict{action: ask}
	case !own:
		return aboveOther(s, now)
	case now.Before(s.NotBefore):
		return verdict{delay, s.NotBefore.Sub(now)}
	case s.Claims >= maxClaims:
		return verdict{action: park}
	}
	return verdict{action: claim}
}

// aboveOther returns what to do with the newest order above the status of another one.
//
// The fence of a claim is the time up to which its requests may still be sent. If the newer order began before, a late request of
// the older policy could arrive behind those of the newer. The outcome lifts the fence, so that usually nobody waits for it.
func aboveOther(s status, now time.Time) verdict {
	if now.Before(s.Fence) {
		return verdict{delay, min(s.Fence.Sub(now), fenceRecheck)}
	}
	return verdict{action: claim}
}

// claimed returns the status that claims an order, with requests until deadline.
func claimed(s status, o order, seq uint64, worker string, now, deadline time.Time, grace time.Duration) status {
	fence, last := latest(s.Fence, deadline.Add(grace)), s.last()
	if !s.names(o, seq) {
		s = status{}
	}
	if now.Sub(latest(s.At, s.NotBefore)) > untriedFor {
		s.Since, s.Unknown = time.Time{}, time.Time{} // it was held, or nobody worked: that time does not count
	}
	if s.Since.IsZero() {
		s.Kind = "" // it is over, unless it is borne with
	}
	if s.Worker != worker { // or the acknowledgement of its own claim was lost
		s.Claims++
	}
	return status{
		Version: format, Seq: seq, Rollout: o.Rollout, Number: o.Number, Policy: o.Policy, State: Applying, Attempts: s.Attempts,
		Claims: s.Claims, Limited: s.Limited, Kind: s.Kind, Worker: worker, At: now, Fence: fence, Since: s.Since, Unknown: s.Unknown, Last: last,
	}
}

// takenBack returns the status of an order that was cancelled. The fence stays: an apply of an older order may be under way.
func takenBack(s status, o order, seq uint64, now time.Time) status {
	return status{
		Version: format, Seq: seq, Rollout: o.Rollout, Number: o.Number, Policy: o.Policy,
		State: Superseded, Kind: kindCancelled, At: now, Fence: s.Fence, Last: s.last(),
	}
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
func settled(s status, f *failure, fence, now time.Time, l limits, isAway bool) status {
	before := s
	s.At, s.Claims, s.Limited, s.NotBefore, s.Kind, s.Error, s.Fence = now, 0, 0, time.Time{}, "", "", time.Time{}
	s.Since, s.Unknown = time.Time{}, time.Time{}
	if fence.After(now) {
		s.Fence = fence
	}
	if f == nil {
		s.State, s.Last = Applied, nil
		return s
	}
	s.State, s.Kind, s.Error = Waiting, f.kind, f.text
	if f.open {
		s.Fence = latest(s.Fence, now.Add(l.settle))
	}
	var wait time.Duration
	switch {
	case f.final:
		s.Attempts++
		s.State = Parked
	case f.kind == kindNotConnected:
		wait = s.bearWith(before, connectWithin, l.minWait, l.maxWait)
	case f.kind == kindElsewhere:
		wait = s.leave(before, min(l.minWait, time.Second), min(l.maxWait, elsewhereWait))
	case f.kind == kindRateLimit:
		if s.Limited = before.Limited + 1; s.Limited > freeLimited {
			s.Attempts++
		}
		if wait = l.wait(s.Limited); f.after > 0 {
			wait = min(f.after, longestAsked) + time.Duration(l.random(int64(time.Second)))
		}
	case f.away && isAway:
		wait = s.bearWith(before, backWithin, l.minWait, min(l.maxWait, longestProbe))
	default:
		if f.away {
			s.since(before)
		}
		s.Attempts++
		wait = l.wait(s.Attempts)
	}
	if s.State == Waiting && s.Attempts >= l.attempts && s.Attempts > before.Attempts {
		s.State, s.Kind, s.Error = Parked, kindExhausted, f.kind+": "+s.Error
	}
	if s.State == Parked {
		s.Since, s.Unknown = time.Time{}, time.Time{}
		return s
	}
	s.NotBefore = now.Add(wait)
	return s
}

// bearWith tries an order again without counting attempts, and parks it when it has failed in that way for so long. It waits
// as long as it has waited already, so twice as long after each.
func (s *status) bearWith(before status, within, minWait, maxWait time.Duration) time.Duration {
	s.since(before)
	waited := s.At.Sub(s.Since)
	if waited >= within {
		s.State = Parked
		if s.Kind != kindNotConnected {
			s.Kind, s.Error = kindExhausted, s.Kind+": "+s.Error
		}
	}
	return min(max(waited, minWait), maxWait)
}

// leave leaves an order to workers that know the instance, and parks it when there has been none for an hour. What those that do have
// found out counts on.
func (s *status) leave(before status, minWait, maxWait time.Duration) time.Duration {
	if s.Unknown = s.At; !before.Unknown.IsZero() {
		s.Unknown = before.Unknown
	}
	if !before.Since.IsZero() {
		s.Kind, s.Since = before.Kind, before.Since
	}
	waited := s.At.Sub(s.Unknown)
	if waited >= knownWithin {
		s.State, s.Kind, s.Error = Parked, kindNoInstance, "no worker has known it for an hour"
	}
	return min(max(waited, minWait), maxWait)
}

// since sets when the order began to fail in this way. An API that is away shows itself in several.
func (s *status) since(before status) {
	if s.Since = s.At; !before.Since.IsZero() && (before.Kind == s.Kind || isAwayKind(before.Kind) && isAwayKind(s.Kind)) {
		s.Since = before.Since
	}
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
