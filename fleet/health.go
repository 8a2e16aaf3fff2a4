package fleet

import (
	"context"
	"log/slog"
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
	log     *slog.Logger
	account string

	mu     sync.Mutex
	failed int        // outcomes in a row that say that the API is away
	probe  sync.Mutex // held by the order that finds out whether it is back
	next   time.Time  // when another may be
	wait   time.Duration
	heard  time.Time  // when the API answered last
	calls  []answered // the last ones, oldest first
	held   time.Time  // until when the account is held
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

// admit returns how long to wait before an order of the account may be claimed, and whether that order is a probe. A probe unlocks
// h.probe when it has ended.
func (h *health) admit(now time.Time) (wait time.Duration, probe bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failed < awayAfter:
		return 0, false
	case now.Before(h.next):
		return h.next.Sub(now), false
	case !h.probe.TryLock():
		return probeIsInFlight, false
	}
	return 0, true
}

func (h *health) isAway() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed >= awayAfter
}

// report counts an outcome, and reports whether the API is away. The order has failed in that way since then; zero for not at all.
func (h *health) report(ctx context.Context, now time.Time, probe bool, f failure, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case f.unsent:
	case !f.away:
		if h.failed >= awayAfter {
			h.log.InfoContext(ctx, "account back", "account", h.account)
		}
		h.failed, h.wait, h.heard = 0, 0, now
	default:
		if h.failed++; h.failed == awayAfter {
			h.log.WarnContext(ctx, "account away", "account", h.account)
		}
		if h.failed == awayAfter || probe {
			h.wait = min(max(2*h.wait, shortestProbe), longestProbe)
			h.next = now.Add(h.wait)
		}
	}
	unheard := !since.IsZero() && now.Sub(latest(since, h.heard)) > awayFor
	return h.failed >= awayAfter || unheard
}

// limits counts an outcome, and reports whether 429s of several instances mean that the whole account has to wait until then. It is
// zero for another outcome, and for an order that does not wait.
func (h *health) limits(ctx context.Context, now time.Time, key string, until time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls[max(0, len(h.calls)+1-lastCalls):], answered{now, key, !until.IsZero()})
	if until.IsZero() {
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
	if len(instances) < limitedAtLeast || n*limitedOneIn < all {
		return false
	}
	if now.After(h.held) { // or it is known already, and the calls that were in flight hear it, too
		h.log.WarnContext(ctx, "account held", "account", h.account, "until", until)
	}
	h.held = latest(h.held, until)
	return true
}
