package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

const writesInFlight = 1000 // where many entries are written

// A Receipt counts the instances that [Fleet.Start] was given.
type Receipt struct {
	Ordered int `json:"ordered"` // by this call
	Resumed int `json:"resumed"` // by an earlier call of the same name
	Newer   int `json:"newer"`   // left alone, as they have an order of a rollout that was begun later
}

// Start orders the policy for all targets, and returns when the orders are stored. Until then the rollout is held, so that a bad
// target at the end, or a crash, leaves nothing half applied. Workers begin when Start has returned.
//
// Called again with the same name and policy, it goes on where it stopped, after a crash too, orders again what the engine has
// lost, and adds targets that are new. With another policy it returns [ErrRolloutExists]. Where a target has an order of a rollout
// that was begun later, it is left alone. A name without any target stays free.
//
// Its error is a [*zapi.ValidationError], also for a target in the middle of the sequence, [ErrRolloutExists],
// [ErrPolicyTooLarge], [ErrEngine], or that of ctx. The receipt counts what was done until then.
func (f *Fleet) Start(ctx context.Context, r Rollout) (Receipt, error) {
	const op = "Start"
	ctx, end, err := f.begin(ctx, op, r.check(op))
	if err != nil {
		return Receipt{}, err
	}
	defer end()
	s := &starting{fleet: f, rollout: r, call: workerName()}
	if err = s.begin(ctx); err == nil {
		err = s.orderAll(ctx)
	}
	if err == nil {
		err = s.finish(ctx)
	}
	if err != nil && s.created && len(s.targets) == 0 {
		s.free(ctx)
	}
	return s.receipt, err
}

// starting is one call of Start.
type starting struct {
	fleet   *Fleet
	rollout Rollout
	call    string           // its name, in the entry
	created bool             // the entry, as there was none
	entry   rollout          // as this call wrote it
	orders  map[string]order // that were there when the entry was
	order   order            // of this rollout
	targets targets          // so far

	mu      sync.Mutex // guards what follows
	receipt Receipt
}

// begin stores the policy, and finds or makes the entry of the rollout, which holds it. Then it reads the orders: what an earlier call
// of the same name has ordered is among them, unless the entry says that it is still ordering.
func (s *starting) begin(ctx context.Context) error {
	key, data, err := s.fleet.encodePolicy(s.rollout.Policy)
	if err != nil {
		return err
	}
	if err := s.fleet.store.Set(ctx, store.Policies, key, data); err != nil {
		return engineError(ctx, "writing the policy", err)
	}
	s.order = order{Version: format, Rollout: s.rollout.Name, Policy: key}
	if s.entry, err = s.fleet.putRollout(ctx, s.rollout.Name, s.enter); err != nil {
		s.created = false
		return err
	}
	if s.orders, err = readAll(ctx, s.fleet, store.Orders, readOrder); err == nil && s.entry.Number == 0 {
		err = s.number(ctx)
	}
	s.order.Number = s.entry.Number
	return err
}

// errEntryLost reports that the entry of a rollout was lost while it was ordered. The orders that were written are found again.
var errEntryLost = fmt.Errorf("%w: the entry of the rollout was lost meanwhile: start it again", ErrEngine)

// enter changes the entry of an earlier call of the same name, or makes one.
func (s *starting) enter(e *rollout) error {
	s.created = e.Policy == ""
	switch {
	case s.created:
		*e = rollout{
			Policy: s.order.Policy, Created: s.fleet.clock.now(), By: s.fleet.actor, Canary: s.rollout.Canary, HaltAt: s.rollout.HaltAt,
		}
		if e.Canary > 0 {
			e.Held = heldByCanary
		}
	case !e.Cancelled.IsZero():
		return invalid("Start", "Name", "must be a new one, as that rollout was cancelled")
	case e.Policy != s.order.Policy:
		return ErrRolloutExists
	}
	e.Ordering = s.call
	return nil
}

// numberKey is the entry of the number that was given last, among the rollouts. No rollout has a dot in its name.
const numberKey = "number.last"

// number gives the rollout its number.
//
// The numbers decide which of two orders is newer, and an order names by them what it has replaced. So no two rollouts may have the
// same, and they must never go back, although each of the tables that they could be drawn from can be lost or be older than the
// others. The number is above the sequences of all entries of rollouts, above the numbers of all other rollouts, and above those of
// all orders; of two calls at once, only one writes the entry of the last number. If the rollout's entry was lost, its orders tell.
func (s *starting) number(ctx context.Context) error {
	for {
		last, err := s.fleet.store.Newest(ctx, store.Rollouts, numberKey)
		if err != nil {
			return engineError(ctx, "reading the last number", err)
		}
		highest, err := s.highest(ctx)
		if err != nil {
			return err
		}
		if n, err := strconv.ParseUint(string(last.Value), 10, 64); err == nil {
			highest = max(highest, n)
		}
		if highest == math.MaxUint64 { // somebody has written it
			return engineError(ctx, "numbering the rollout", errors.New("no number is left above that of "+numberKey+" or of an order"))
		}
		number := cmp.Or(s.ownNumber(), highest+1)
		_, err = s.fleet.store.Put(ctx, store.Rollouts, numberKey, strconv.AppendUint(nil, max(number, highest), 10), last.Seq)
		if isConflict(err) {
			continue
		}
		if err != nil {
			return engineError(ctx, "writing the last number", err)
		}
		entry, err := s.fleet.putRollout(ctx, s.rollout.Name, func(e *rollout) error {
			if e.Policy == "" {
				return errEntryLost
			}
			e.Number = cmp.Or(e.Number, number)
			return nil
		})
		s.entry.Number = entry.Number // whatever else has changed was not this call
		return err
	}
}

// highest returns the highest of the numbers and sequences of rollouts, and of the numbers of orders.
func (s *starting) highest(ctx context.Context) (uint64, error) {
	highest, err := s.fleet.store.LastSeq(ctx, store.Rollouts)
	if err != nil {
		return 0, engineError(ctx, "reading the rollouts", err)
	}
	all, err := s.fleet.allRollouts(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		highest = max(highest, r.Number)
	}
	for _, o := range s.orders {
		highest = max(highest, o.Number)
	}
	return highest, nil
}

// ownNumber returns the number that orders of this rollout have, or 0.
func (s *starting) ownNumber() (own uint64) {
	for _, o := range s.orders {
		if o.Rollout == s.order.Rollout && o.Policy == s.order.Policy {
			own = max(own, o.Number)
		}
	}
	return own
}

// free gives the name back, unless another call has used it.
func (s *starting) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	e, seq, err := s.fleet.findRollout(ctx, s.rollout.Name)
	if err == nil && e == s.entry {
		_, err = s.fleet.store.Put(ctx, store.Rollouts, s.rollout.Name, nil, seq)
	}
	if err != nil {
		s.fleet.log.WarnContext(ctx, "cannot free the name", "rollout", s.rollout.Name, "error", err)
	}
}

// orderAll orders the policy for each target once, after its account is known to the workers.
func (s *starting) orderAll(ctx context.Context) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(writesInFlight)
	accounts := make(map[string]bool)
	err := s.rollout.eachTarget(working, "Start", func(t Target) error {
		if !accounts[t.Account] {
			if err := s.fleet.addAccount(working, t.Account); err != nil {
				return err
			}
			accounts[t.Account] = true
		}
		s.targets = append(s.targets, hashOf(t.key()))
		canary := len(s.targets) <= s.entry.Canary // of the call that made the entry
		group.Go(func() error { return s.orderOne(working, t.key(), canary) })
		return nil
	})
	return cmp.Or(err, group.Wait())
}

// receiptOf returns how a target counts whose order is found. One that cannot be read is replaced, unless it is of a later release,
// which knows what it wants.
func (s *starting) receiptOf(found order) (one Receipt) {
	switch {
	case errors.Is(found.err, errLater), found.newer(s.order):
		one.Newer = 1
	case found.sameRollout(s.order):
		one.Resumed = 1
	default:
		one.Ordered = 1
	}
	return one
}

// orderOne orders the policy for an instance unless it has that order or a newer one. The order that was there at first may have
// been replaced meanwhile.
func (s *starting) orderOne(ctx context.Context, key string, canary bool) error {
	o := s.order
	o.Canary = canary
	found := s.orders[key]
	for start := time.Now(); ; pause(ctx, 100*time.Millisecond) {
		one := s.receiptOf(found)
		if one.Ordered == 0 {
			if found.err != nil {
				s.fleet.log.WarnContext(ctx, "an order is left as it is", "key", key, "error", found.err)
			}
			s.add(one)
			return nil
		}
		_, err := s.fleet.store.Put(ctx, store.Orders, key, encode(o), found.seq)
		if err == nil {
			s.add(one)
			return nil
		}
		if ctx.Err() != nil || time.Since(start) > 30*time.Second {
			return engineError(ctx, "ordering", err)
		}
		e, readErr := s.fleet.store.Newest(ctx, store.Orders, key)
		if readErr != nil {
			continue
		}
		if found = readOrder(e); found.sameRollout(o) && !isConflict(err) { // only the acknowledgement was lost
			s.add(one)
			return nil
		}
	}
}

func (s *starting) add(one Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receipt.add(one)
}

func (r *Receipt) add(o Receipt) {
	r.Ordered, r.Resumed, r.Newer = r.Ordered+o.Ordered, r.Resumed+o.Resumed, r.Newer+o.Newer
}

// finish records what was done before anything is applied, writes for which instances the rollout was started by this call and by earlier
// ones, and lets the workers begin. While two calls of the same name run, the one that began last lets them.
func (s *starting) finish(ctx context.Context) error {
	detail := "policy " + s.order.Policy
	if s.entry.Canary > 0 {
		detail += fmt.Sprintf(", canary %d", s.entry.Canary)
	}
	if err := s.fleet.record(ctx, actionStart, s.rollout.Name, s.receipt.Ordered, "%s, %d resumed, %d left to newer rollouts",
		detail, s.receipt.Resumed, s.receipt.Newer); err != nil {
		return err
	}
	for key, o := range s.orders { // these are targets, too: a Start that was killed has not stored them, or they were lost
		if o.sameRollout(s.order) {
			s.targets = append(s.targets, hashOf(key))
		}
	}
	entry, err := s.fleet.putRollout(ctx, s.rollout.Name, func(e *rollout) error {
		if e.Number != s.order.Number {
			return errEntryLost
		}
		earlier, err := s.fleet.readTargets(ctx, s.rollout.Name, e.Targets)
		if err != nil {
			return err
		}
		all := earlier.with(s.targets)
		if e.Targets, err = s.fleet.writeTargets(ctx, all); err != nil {
			return err
		}
		if e.Ordering == s.call {
			e.Ordering = ""
		}
		e.Total = max(e.Total, len(all)) // some of the earlier ones may have been lost
		return nil
	})
	if err == nil {
		err = engineError(ctx, "writing to disk", s.fleet.store.Flush())
	}
	switch {
	case err != nil:
	case !entry.Cancelled.IsZero(): // in the meantime
		err = s.fleet.takeBack(ctx, s.rollout.Name)
	case s.receipt.Resumed > 0:
		_, err = s.fleet.orderForgotten(ctx, s.fleet.clock.now())
	}
	return err
}
