package fleet

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Progress counts the instances of a rollout by what has become of them. Total counts each once.
type Progress struct {
	Total      int
	Pending    int
	Applying   int
	Applied    int
	Waiting    int
	Parked     int
	Superseded int // a later rollout took over, and its order proves it
	Cancelled  int // taken back by [Fleet.Cancel]
	Missing    int // the engine has lost their orders: start the rollout again

	Workers   int           // that changed a status of the rollout within the last minute
	PerSecond float64       // applied, over the last 10 seconds
	Left      time.Duration // at that rate, and until the last one that waits is tried; 0 if nothing is known

	Ordering bool   // [Fleet.Start] has not returned; if it was killed, start the rollout again to go on
	Held     string // why it is held; empty if it is not

	done, rests bool // rests: it is held, and nothing of it goes on
}

// Done reports whether all of the rollout has been ordered, it is not held, and nothing is pending, applying or waiting,
// nor missing unless it was cancelled.
func (p Progress) Done() bool { return p.done }

// MarshalJSON writes the time left as leftSeconds.
func (p Progress) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"total": p.Total, "pending": p.Pending, "applying": p.Applying, "applied": p.Applied, "waiting": p.Waiting, "parked": p.Parked,
		"superseded": p.Superseded, "cancelled": p.Cancelled, "missing": p.Missing, "workers": p.Workers,
		"perSecond": p.PerSecond, "leftSeconds": p.Left.Seconds(), "ordering": p.Ordering, "held": p.Held,
	})
}

// Under these an instance counts that has no state of its own for the rollout.
const (
	outside   State = ""          // it is no target of the rollout, or its order is missing
	cancelled State = "cancelled" // its order was taken back
	later     State = "later"     // it is not known as a target, and has an order of a later rollout
)

// item is what a tally knows of an instance.
type item struct {
	order    uint64 // its sequence; 0 for none
	as       State  // what the order makes of the instance; Pending if it is one of the rollout
	isTarget bool   // according to the entry of the rollout
	canary   bool

	of        uint64    // the sequence of the order that the status names
	state     State     // of the status; empty unless it names the rollout and its policy
	at, until time.Time // until the call is given up, or that waits is tried again
}

// counts returns the state under which the instance counts. A status counts for the very order that it names. One that names a
// later order proves nothing before that order has been read: it may have been lost.
func (i item) counts() State {
	if i.as == Pending && i.state != "" && i.of == i.order {
		return i.state
	}
	return i.as
}

// tally counts the instances of one rollout from what is read of orders and statuses.
type tally struct {
	name    string
	entry   rollout
	targets targets

	mu      sync.Mutex
	items   map[string]item
	workers map[string]time.Time // when each was last heard of
}

func newTally(name string, entry rollout, t targets) *tally {
	return &tally{name: name, entry: entry, targets: t, items: make(map[string]item), workers: make(map[string]time.Time)}
}

// read takes note of an order or a status.
func (t *tally) read(table store.Table, e store.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.items[e.Key]
	if table == store.Orders {
		o := readOrder(e)
		i.order, i.isTarget, i.canary = e.Seq, t.targets.has(e.Key), o.Canary
		i.as = t.as(o, i.isTarget)
	} else {
		s := readStatus(e)
		i.of, i.state, i.at, i.until = s.Order, "", s.At, s.NotBefore
		if s.State == Applying {
			i.until = s.Fence
		}
		if s.Rollout == t.name && s.Policy == t.entry.Policy {
			i.state = stateOf(s)
			t.workers[s.Worker] = latest(t.workers[s.Worker], s.At)
		}
	}
	t.items[e.Key] = i
}

// stateOf returns the state of a status, as a constant: the strings that were read lie all over the memory, and counting them takes
// ten times as long.
func stateOf(s status) State {
	if s.Kind == kindCancelled {
		return cancelled
	}
	for _, state := range []State{Applying, Applied, Waiting, Parked} {
		if state == s.State {
			return state
		}
	}
	return Superseded
}

// as returns what an order makes of an instance for the rollout. One that is damaged proves nothing, and is replaced when the rollout is
// started again. One of a later release is newer.
func (t *tally) as(o order, isTarget bool) State {
	mine := order{Rollout: t.name, Number: t.entry.Number}
	isNewer := errors.Is(o.err, errLater) || o.newer(mine)
	switch {
	case o.sameRollout(mine):
		return Pending
	case isNewer && isTarget:
		return Superseded
	case isNewer:
		return later
	}
	return outside
}

const rateWindow = 10 // seconds

func (t *tally) progress(now time.Time) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := make(map[State]int)
	openCanary, inFlight, recent, found := 0, 0, 0, 0
	var tried time.Time // when the last one that waits is
	for _, i := range t.items {
		state := i.counts()
		counts[state]++
		if i.isTarget && state != outside {
			found++
		}
		switch age := now.Unix() - i.at.Unix(); {
		case state == Applying && i.until.After(now):
			inFlight++
		case state == Waiting:
			tried = latest(tried, i.until)
		case state == Applied && age > 0 && age <= rateWindow: // the current second is not over
			recent++
		}
		if i.canary && (state == Pending || state == Applying || state == Waiting) {
			openCanary++
		}
	}
	p := Progress{
		Pending: counts[Pending], Applying: counts[Applying], Applied: counts[Applied], Waiting: counts[Waiting],
		Parked: counts[Parked], Superseded: counts[Superseded], Cancelled: counts[cancelled],
		Ordering: t.entry.isOrdering(),
	}
	for worker, at := range t.workers {
		if worker != "" && now.Sub(at) < time.Minute {
			p.Workers++
		}
	}
	isCancelled := !t.entry.Cancelled.IsZero()
	if !isCancelled {
		p.Held = t.entry.reason()
	}
	open := p.Pending + p.Applying + p.Waiting
	p.Missing = len(t.targets) - found
	p.Total = open + p.Applied + p.Parked + p.Superseded + p.Cancelled + p.Missing
	// Some targets may be unknown: those of a rollout of an earlier release, and those that the engine has lost. For as many of them,
	// orders of later rollouts are taken for proofs.
	if unknown := t.entry.Total - p.Total; unknown > 0 {
		taken := min(unknown, counts[later])
		p.Total += unknown
		p.Superseded += taken
		p.Missing += unknown - taken
	}
	p.PerSecond = float64(recent) / min(rateWindow, max(1, now.Sub(t.entry.Created).Seconds()))
	if p.Held == "" && !p.Ordering && (p.PerSecond > 0 || open == p.Waiting) {
		if p.PerSecond > 0 {
			p.Left = time.Duration(float64(open) / p.PerSecond * float64(time.Second))
		}
		p.Left = max(p.Left, tried.Sub(now)).Round(time.Second)
	}
	p.done = !p.Ordering && p.Held == "" && open == 0 && (p.Missing == 0 || isCancelled) // then what is missing is not wanted either
	p.rests = !p.Ordering && p.Held != "" && inFlight == 0 && (t.entry.Held != heldByCanary || openCanary == 0)
	return p
}
