package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A rollout is held while Start orders it, and by a canary, a pause or a halt. The hold stands in the entry of the rollout, so it
// outlives workers and needs none to watch over it. Workers look at the entry before they claim an order, and give the orders of
// a rollout that is held back unclaimed: their statuses do not change, and a newer order of an instance goes on meanwhile.
const (
	heldByCanary = "canary"
	heldByPause  = "paused"
	heldByHalt   = "halted: " // followed by what was parked
)

// hold returns why an order of the rollout must not be begun, or nothing.
func (r rollout) hold(canary bool) string {
	switch {
	case r.isOrdering():
		return "ordering"
	case r.Held == heldByCanary && canary:
		return ""
	}
	return r.Held
}

// reason returns why the rollout is held, for the reader.
func (r rollout) reason() string {
	if r.Held == heldByCanary {
		return fmt.Sprintf("canary: %s of %s begun", thousands(min(r.Canary, max(r.Total, 1))), thousands(r.Total))
	}
	return r.Held
}

// Pause holds a rollout: no worker begins any more of it until [Fleet.Resume]. Calls that are in flight end. It returns
// [ErrNoRollout] for an unknown name.
func (f *Fleet) Pause(ctx context.Context, name string) error {
	return f.setHold(ctx, "Pause", actionPause, name, func(r *rollout) {
		if r.Held == "" || r.Held == heldByCanary {
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
	if err := checkName(op, "name", name); err != nil {
		return err
	}
	ctx, end, err := f.begin(ctx, op)
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
	known map[string]*known
}

type known struct {
	rollout
	exists  bool
	read    time.Time
	settled int // by this worker, since the rollout was resumed
	parked  map[string]int
	halted  string // why this worker has halted it: its entry may not say so yet
}

func (k *known) fresh() time.Duration {
	if k.isOrdering() {
		return orderingFor
	}
	return holdsFor
}

func newHolds(f *Fleet) *holds { return &holds{fleet: f, known: make(map[string]*known)} }

// of returns the rollout of an order. One that does not exist has been lost: as the orders are the only truth about what is
// wanted, it is not held.
func (h *holds) of(ctx context.Context, o order) (rollout, error) {
	h.mu.Lock()
	k, ok := h.known[o.Rollout]
	fresh := ok && time.Since(k.read) < k.fresh()
	h.mu.Unlock()
	if !fresh {
		if _, err, _ := h.reading.Do(o.Rollout, func() (any, error) { return nil, h.refresh(ctx, o.Rollout) }); err != nil {
			return rollout{}, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k = h.known[o.Rollout]
	if !k.exists || k.Number != o.Number && k.Number != 0 {
		return rollout{Total: 1}, nil
	}
	return k.rollout, nil
}

func (h *holds) refresh(ctx context.Context, name string) error {
	began := time.Now()
	r, _, err := h.fleet.findRollout(ctx, name)
	if err != nil && !errors.Is(err, ErrNoRollout) {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.known[name]
	if !ok {
		k = &known{parked: make(map[string]int)}
		h.known[name] = k
		if err != nil {
			h.fleet.log.WarnContext(ctx, "the rollout of an order is missing: it is not held", "rollout", name)
		}
	}
	if r.Resumed != k.Resumed {
		k.settled, k.halted = 0, ""
		clear(k.parked)
	}
	if r.Held == "" || r.Held == heldByCanary {
		r.Held = cmp.Or(k.halted, r.Held)
	}
	k.rollout, k.exists, k.read = r, err == nil, began
	return nil
}

// defaultHaltAt and fewestParked say when a rollout halts by itself.
const (
	defaultHaltAt = 0.05
	fewestParked  = 10
)

// settled counts an outcome, and halts the rollout when too many are parked. Each worker counts for itself.
func (h *holds) settled(ctx context.Context, s status) {
	h.mu.Lock()
	k, ok := h.known[s.Rollout]
	if !ok || !k.exists || k.Number != s.Number || !s.State.final() {
		h.mu.Unlock()
		return
	}
	k.settled++
	if s.State == Parked {
		k.parked[s.Kind]++
	}
	resumed, reason := k.Resumed, k.halt()
	if reason != "" {
		k.Held, k.halted = reason, reason // for this worker at once
	}
	h.mu.Unlock()
	if reason == "" {
		return
	}
	h.fleet.log.WarnContext(ctx, reason, "rollout", s.Rollout)
	if err := h.halt(ctx, s.Rollout, resumed, reason); err != nil {
		h.fleet.log.WarnContext(ctx, "cannot halt", "rollout", s.Rollout, "error", err)
		h.mu.Lock()
		defer h.mu.Unlock()
		k.halted = "" // the next outcome tries again
	}
}

// halt holds the rollout for all workers, unless it was resumed meanwhile.
func (h *holds) halt(ctx context.Context, name string, resumed int, reason string) error {
	halted := false
	_, err := h.fleet.changeRollout(ctx, name, func(r *rollout) error {
		if halted = r.Resumed == resumed && (r.Held == "" || r.Held == heldByCanary); halted {
			r.Held = reason
		}
		return nil
	})
	if err == nil && halted {
		if err := h.fleet.record(ctx, actionHalt, name, 0, "%s", reason); err != nil {
			h.fleet.log.WarnContext(ctx, "cannot record the halt", "rollout", name, "error", err)
		}
	}
	return err
}

// halt returns the reason why the rollout has to be halted now, or nothing.
func (k *known) halt() string {
	parked := 0
	for _, n := range k.parked {
		parked += n
	}
	if parked < fewestParked || float64(parked) <= cmp.Or(k.HaltAt, defaultHaltAt)*float64(k.settled) || k.Held != "" && k.Held != heldByCanary {
		return ""
	}
	kinds := slices.SortedFunc(maps.Keys(k.parked), func(a, b string) int {
		return cmp.Or(cmp.Compare(k.parked[b], k.parked[a]), cmp.Compare(a, b))
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%s %s", kind, thousands(k.parked[kind]))
	}
	return heldByHalt + strings.Join(kinds, ", ") + " of " + thousands(k.settled)
}

// thousands writes 12,345.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
