package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/zapi-go/zapi/fleet/internal/counts"
)

// A rollout is held while Start orders it, and by a canary, a pause or a halt. The hold stands in the entry of the rollout, so it
// outlives workers and needs none to watch over it. Workers look at the entry before they claim an order, and give the orders of
// a rollout that is held back unclaimed: their statuses do not change, and a newer order of an instance goes on meanwhile.
const (
	heldByCanary = "canary"
	heldByPause  = "paused"
	heldByHalt   = "halted: " // followed by what was parked
)

// holds reports whether an order of the rollout must not be begun.
func (r rollout) holds(o order) bool {
	return r.Cancelled.IsZero() && (r.isOrdering() || r.isStopped() || r.Held == heldByCanary && !o.Canary)
}

// isStopped reports whether the rollout is held, and not only behind its canary.
func (r rollout) isStopped() bool { return r.Held != "" && r.Held != heldByCanary }

// reason returns why the rollout is held, for the reader.
func (r rollout) reason() string {
	if r.Held == heldByCanary {
		return fmt.Sprintf("canary: %s of %s begun", counts.Number(min(r.Canary, max(r.Total, 1))), counts.Number(r.Total))
	}
	return r.Held
}

// Pause holds a rollout: no worker begins any more of it until [Fleet.Resume]. Calls that are in flight end. It returns
// [ErrNoRollout] for an unknown name.
func (f *Fleet) Pause(ctx context.Context, name string) error {
	return f.setHold(ctx, "Pause", actionPause, name, func(r *rollout) {
		if !r.isStopped() {
			r.Held = heldByPause
		}
	})
}

// Resume lets a rollout go on that a canary, a pause or a halt holds. Workers begin within a minute. After a halt, what is parked
// is counted anew. It returns [ErrNoRollout] for an unknown name.
func (f *Fleet) Resume(ctx context.Context, name string) error {
	return f.setHold(ctx, "Resume", actionResume, name, func(r *rollout) {
		if r.Held != "" {
			r.Held = ""
			r.Resumed++
		}
	})
}

func (f *Fleet) setHold(ctx context.Context, op, action, name string, change func(*rollout)) error {
	ctx, end, err := f.begin(ctx, op, checkName(op, "name", name))
	if err != nil {
		return err
	}
	defer end()
	before := ""
	if _, err = f.changeRollout(ctx, name, func(r *rollout) error {
		if !r.Cancelled.IsZero() {
			return invalid(op, "name", "must not be that of a cancelled rollout")
		}
		before = r.reason()
		change(r)
		return nil
	}); err != nil {
		return err
	}
	return f.record(ctx, action, name, 0, "%s", before)
}

// How old what a worker knows of a rollout may be when it begins an order: a second after Cancel, none is begun. Workers wait for the
// end of Start, so they look more often meanwhile.
const (
	holdsFor    = time.Second
	orderingFor = 200 * time.Millisecond
)

// holds is what a worker knows of the rollouts whose orders it has met.
type holds struct {
	fleet   *Fleet
	reading singleflight.Group

	mu    sync.Mutex
	known map[string]known
}

type known struct {
	rollout
	at      time.Time // when it was so
	settled int       // by this worker, since the rollout was resumed
	parked  map[string]int
}

// of returns the rollout of an order. One that does not exist has been lost: as the orders are the only truth about what is
// wanted, it is not held.
func (h *holds) of(ctx context.Context, o order) (rollout, error) {
	h.mu.Lock()
	k := h.known[o.Rollout]
	h.mu.Unlock()
	r := k.rollout
	if age := time.Since(k.at); age > holdsFor || r.isOrdering() && age > orderingFor {
		read, err, _ := h.reading.Do(o.Rollout, func() (any, error) { return h.read(ctx, o.Rollout) })
		if err != nil {
			return rollout{}, err
		}
		r = read.(rollout)
	}
	if r.Number != o.Number && r.Number != 0 {
		return lostRollout, nil
	}
	return r, nil
}

var lostRollout = rollout{Total: 1}

func (h *holds) read(ctx context.Context, name string) (rollout, error) {
	began := time.Now()
	r, _, err := h.fleet.findRollout(ctx, name)
	if errors.Is(err, ErrNoRollout) {
		r, err = lostRollout, nil
	}
	if err != nil {
		return rollout{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.known[name]
	if began.Before(k.at) { // this worker has halted it meanwhile
		return k.rollout, nil
	}
	if r == lostRollout && k.rollout != r {
		h.fleet.log.WarnContext(ctx, "the rollout of an order is missing: it is not held", "rollout", name)
	}
	if k.parked == nil || k.Resumed != r.Resumed {
		k.settled, k.parked = 0, make(map[string]int)
	}
	k.rollout, k.at = r, began
	h.known[name] = k
	return r, nil
}

// defaultHaltAt and fewestParked say when a rollout halts by itself.
const (
	defaultHaltAt = 0.05
	fewestParked  = 10
)

// settled counts an outcome, and halts the rollout when too many are parked. Each worker counts for itself.
func (h *holds) settled(ctx context.Context, s status) {
	reason, resumed := h.count(s)
	if reason == "" {
		return
	}
	h.fleet.log.WarnContext(ctx, reason, "rollout", s.Rollout)
	halted := false
	_, err := h.fleet.changeRollout(ctx, s.Rollout, func(r *rollout) error {
		if halted = r.Resumed == resumed && !r.isStopped(); halted {
			r.Held = reason
		}
		return nil
	})
	if err == nil && halted {
		err = h.fleet.record(ctx, actionHalt, s.Rollout, 0, "%s", reason)
	}
	if err != nil { // if it is not held, the next outcome tries again
		h.fleet.log.WarnContext(ctx, "cannot halt", "rollout", s.Rollout, "error", err)
	}
}

// count counts an outcome, and returns the reason why the rollout has to be halted now, or nothing. For this worker it is halted
// at once.
func (h *holds) count(s status) (reason string, resumed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.known[s.Rollout]
	if k.Number != s.Number || !s.State.final() {
		return "", 0
	}
	k.settled++
	if s.State == Parked {
		k.parked[s.Kind]++
	}
	if reason = k.halt(); reason != "" {
		k.Held, k.at = reason, time.Now()
	}
	h.known[s.Rollout] = k
	return reason, k.Resumed
}

// halt returns the reason why the rollout has to be halted, or nothing.
func (k known) halt() string {
	parked := 0
	for _, n := range k.parked {
		parked += n
	}
	if parked < fewestParked || float64(parked) <= cmp.Or(k.HaltAt, defaultHaltAt)*float64(k.settled) || k.isStopped() {
		return ""
	}
	return heldByHalt + counts.Kinds(k.parked) + " of " + counts.Number(k.settled)
}
