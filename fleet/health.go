package fleet

import (
	"sync"
	"time"
)

// health is what a worker has seen of the API of an account of late.
//
// An API that is away fails every order that it is asked for. Working through them would hold all calls of the worker, and
// park by morning what an outage of a night has kept from being applied. So after so many outcomes in a row that say that the API is
// away, the orders of the account are given back unclaimed, and one at a time is a probe, until one is answered. An
// order alone does not fail so often before it is parked, so it may also point to an API that has not been heard of for a while,
// whether or not it was when that order began to fail. An instance that is told to wait, on the other hand, says little about the
// others: the account is only held when several are.
type health struct {
	mu      sync.Mutex
	failed  int       // outcomes in a row that say that the API is away
	probing bool      // an order is in flight to find out
	next    time.Time // when another may be
	wait    time.Duration
	heard   time.Time  // when the API answered last
	calls   []answered // the last ones, oldest first
}

type answered struct {
	at      time.Time
	key     string
	limited bool // by a 429
}

const (
	awayAfter       = 10 // outcomes in a row
	awayFor         = 10 * time.Minute
	shortestProbe   = 5 * time.Second
	longestProbe    = time.Minute
	lastCalls       = 100
	limitedWithin   = time.Minute
	limitedAtLeast  = 3 // instances
	limitedOneIn    = 5 // calls
	probeIsInFlight = time.Second
)

// admit returns how long to wait before an order of the account may be claimed, and whether that order is a probe. If it is not
// zero, or if nothing is sent after all, nothing is reported; a probe calls abandon then.
func (h *health) admit(now time.Time) (wait time.Duration, probe bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failed < awayAfter:
		return 0, false
	case h.probing:
		return max(h.next.Sub(now), probeIsInFlight), false
	case now.Before(h.next):
		return h.next.Sub(now), false
	}
	h.probing = true
	return 0, true
}

func (h *health) isAway() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed >= awayAfter
}

// abandon ends a probe that found out nothing.
func (h *health) abandon(probe bool) {
	if !probe {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// report counts an outcome, and reports whether the API is away. The order has failed in that way since then; zero for not at all.
func (h *health) report(now time.Time, probe bool, f *failure, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if probe {
		h.probing = false
	}
	switch {
	case f != nil && f.unsent:
	case f == nil || !f.away:
		h.failed, h.wait, h.heard = 0, 0, now
	default:
		if h.failed++; h.failed == awayAfter || probe {
			h.wait = min(max(2*h.wait, shortestProbe), longestProbe)
			h.next = now.Add(h.wait)
		}
	}
	unheard := !since.IsZero() && now.Sub(latest(since, h.heard)) > awayFor
	return h.failed >= awayAfter || unheard
}

// limits reports whether 429s of several instances mean the whole account.
func (h *health) limits(now time.Time, key string, limited bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) == lastCalls {
		h.calls = append(h.calls[:0], h.calls[1:]...)
	}
	h.calls = append(h.calls, answered{now, key, limited})
	if !limited {
		return false
	}
	n, all, instances := 0, 0, make(map[string]bool)
	for _, c := range h.calls {
		if now.Sub(c.at) > limitedWithin {
			continue
		}
		if all++; c.limited {
			n++
			instances[c.key] = true
		}
	}
	return len(instances) >= limitedAtLeast && n*limitedOneIn >= all
}
