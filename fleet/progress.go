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

	known     bool // not the zero value
	cancelled bool // what is missing then is not wanted either
}

// Done reports whether all of the rollout has been ordered, it is not held, and nothing is pending, applying, waiting or missing.
func (p Progress) Done() bool {
	return p.known && !p.Ordering && p.Held == "" && p.Pending+p.Applying+p.Waiting == 0 && (p.Missing == 0 || p.cancelled)
}

// MarshalJSON writes the time left as leftSeconds.
func (p Progress) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Total       int     `json:"total"`
		Pending     int     `json:"pending"`
		Applying    int     `json:"applying"`
		Applied     int     `json:"applied"`
		Waiting     int     `json:"waiting"`
		Parked      int     `json:"parked"`
		Superseded  int     `json:"superseded"`
		Cancelled   int     `json:"cancelled"`
		Missing     int     `json:"missing"`
		Workers     int     `json:"workers"`
		PerSecond   float64 `json:"perSecond"`
		LeftSeconds float64 `json:"leftSeconds"`
		Ordering    bool    `json:"ordering"`
		Held        string  `json:"held"`
	}{
		p.Total, p.Pending, p.Applying, p.Applied, p.Waiting, p.Parked, p.Superseded, p.Cancelled, p.Missing, p.Workers,
		p.PerSecond, p.Left.Seconds(), p.Ordering, p.Held,
	})
}

// Under these an instance counts that has no state of its own for the rollout.
const (
	outside   State = ""          // it has nothing to do with the rollout
	cancelled State = "cancelled" // its order was taken back
	unclear   State = "unclear"   // the order of a later rollout, which may have replaced one of this rollout
)

// item is what a tally knows of an instance.
type item struct {
	order      uint64 // its sequence; 0 for none
	as         State  // what the order makes of the instance; Pending if it is one of the rollout
	canary     bool
	status     uint64 // the sequence that the status names
	named      bool   // the status names the rollout and its policy
	state      State  // of the status
	until      time.Time
	orderPass  int
	statusPass int
}

// count returns the state under which the instance counts. A status counts for the very order that it names. One that names a
// later order proves nothing before that order has been read: it may have been lost.
func (i item) count() State {
	if i.order > 0 && i.as == Pending && i.named && i.status == i.order {
		return i.state
	}
	return i.as
}

func (i item) isOpen() bool {
	s := i.count()
	return s == Pending || s == Applying || s == Waiting
}

// tally counts the instances of one rollout from what is read of orders and statuses.
type tally struct {
	name string

	mu         sync.Mutex
	entry      rollout
	read       uint64 // the sequence of the last order
	orderPass  int    // how often the orders have been read from the beginning
	statusPass int
	items      map[string]item
	counts     map[State]int
	canary     int                  // items of the canary that are open
	until      map[string]time.Time // when what applies is given up, and what waits is tried again
	workers    map[string]time.Time // when each was last heard of
	applied    map[int64]int        // by second
}

func newTally(name string, entry rollout) *tally {
	return &tally{
		name: name, entry: entry, items: make(map[string]item), counts: make(map[State]int), until: make(map[string]time.Time),
		workers: make(map[string]time.Time), applied: make(map[int64]int),
	}
}

func (t *tally) order(e store.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = e.Seq
	t.change(e.Key, func(i *item) {
		i.order, i.orderPass = e.Seq, t.orderPass
		o := readOrder(e)
		i.as, i.canary = t.as(o), o.Canary
	})
}

// as returns what an order makes of an instance for the rollout.
func (t *tally) as(o storedOrder) State {
	mine := order{Rollout: t.name, Number: t.entry.Number}
	replaced, known := o.replaced(mine.Number)
	switch {
	case o.seq == 0 || o.err == nil && o.Number == 0:
		return outside
	case errors.Is(o.err, errLater):
		return unclear
	case o.err != nil: // damaged: it proves nothing, and is replaced when the rollout is started again
		return outside
	case o.sameRollout(mine):
		return Pending
	case replaced:
		return Superseded
	case o.newer(mine) && !known:
		return unclear
	}
	return outside
}

func (t *tally) status(e store.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := readStatus(e)
	if s.err != nil {
		s = storedStatus{}
	}
	before := t.items[e.Key]
	t.change(e.Key, func(i *item) {
		i.status, i.statusPass, i.state = s.Seq, t.statusPass, s.State
		i.named = s.Rollout == t.name && s.Policy == t.entry.Policy
		if s.Kind == kindCancelled {
			i.state = cancelled
		}
		i.until = s.NotBefore
		if s.State == Applying {
			i.until = s.Fence
		}
	})
	if after := t.items[e.Key]; !after.named || before.state == after.state && before.status == after.status {
		return
	}
	if s.At.After(t.workers[s.Worker]) {
		t.workers[s.Worker] = s.At
	}
	if s.State == Applied {
		t.applied[s.At.Unix()]++
	}
}

func (t *tally) change(key string, change func(*item)) {
	i := t.items[key]
	t.add(i, -1)
	change(&i)
	t.add(i, 1)
	t.items[key] = i
	if s := i.count(); s == Applying || s == Waiting {
		t.until[key] = i.until
	} else {
		delete(t.until, key)
	}
}

func (t *tally) add(i item, n int) {
	t.counts[i.count()] += n
	if i.canary && i.isOpen() {
		t.canary += n
	}
}

// again is called before a table is read from the beginning, and current when all that was there has been read: what was not there
// is gone.
func (t *tally) again(table store.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if table == store.Orders {
		t.orderPass++
	} else {
		t.statusPass++
	}
}

func (t *tally) current(table store.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, i := range t.items {
		switch {
		case table == store.Orders && i.orderPass < t.orderPass:
			t.change(key, func(i *item) { i.order, i.as, i.canary = 0, outside, false })
		case table == store.Statuses && i.statusPass < t.statusPass:
			t.change(key, func(i *item) { i.status, i.named = 0, false })
		}
	}
}

func (t *tally) hasRead(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read >= seq
}

// set changes the entry of the rollout.
func (t *tally) set(entry rollout) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry = entry
}

// isAtRest reports whether a held rollout has nothing left that goes on: neither a call in flight nor, of a canary, an open order.
func (t *tally) isAtRest(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entry.isOrdering() || t.entry.Held == "" || t.entry.Held == heldByCanary && t.canary > 0 {
		return false
	}
	for key, until := range t.until {
		if t.items[key].count() == Applying && until.After(now) {
			return false
		}
	}
	return true
}

func (t *tally) progress(now time.Time) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Progress{
		Pending: t.counts[Pending], Applying: t.counts[Applying], Applied: t.counts[Applied], Waiting: t.counts[Waiting],
		Parked: t.counts[Parked], Superseded: t.counts[Superseded] + t.entry.Newer, Cancelled: t.counts[cancelled],
		Ordering: t.entry.isOrdering(), known: true, cancelled: !t.entry.Cancelled.IsZero(),
	}
	if !p.cancelled {
		p.Held = t.entry.reason()
	}
	open := p.Pending + p.Applying + p.Waiting
	p.Total = open + p.Applied + p.Parked + p.Superseded + p.Cancelled
	if lost := t.entry.Total - p.Total; lost > 0 { // of these, what orders that do not remember may have replaced is not missing
		replaced := min(lost, t.counts[unclear])
		p.Total += lost
		p.Superseded += replaced
		p.Missing = lost - replaced
	}
	for worker, at := range t.workers {
		if worker != "" && now.Sub(at) < time.Minute {
			p.Workers++
		}
	}
	t.rate(&p, now)
	return p
}

// rate sets how fast the rollout goes, and how long it will take.
func (t *tally) rate(p *Progress, now time.Time) {
	const window = 10
	for second, n := range t.applied {
		if age := now.Unix() - second; age > window {
			delete(t.applied, second)
		} else if age > 0 { // the current second is not over
			p.PerSecond += float64(n)
		}
	}
	p.PerSecond /= min(window, max(1, now.Sub(t.entry.Created).Seconds()))
	open := p.Pending + p.Applying + p.Waiting
	if p.Held != "" || open == 0 || p.PerSecond == 0 && open > p.Waiting {
		return
	}
	if p.PerSecond > 0 {
		p.Left = time.Duration(float64(open) / p.PerSecond * float64(time.Second))
	}
	for key, until := range t.until {
		if t.items[key].state == Waiting {
			p.Left = max(p.Left, until.Sub(now))
		}
	}
	p.Left = p.Left.Round(time.Second)
}
