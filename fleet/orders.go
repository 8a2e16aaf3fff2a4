package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi"
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
	if err := r.check(op); err != nil {
		return Receipt{}, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return Receipt{}, err
	}
	defer end()
	s := &starting{fleet: f, rollout: r, call: fmt.Sprintf("%s/%d", workerName(), time.Now().UnixNano())}
	if s.orders, err = f.allOrders(ctx); err != nil {
		return Receipt{}, err
	}
	if err := s.begin(ctx); err != nil {
		return Receipt{}, err
	}
	if err = s.orderAll(ctx); err == nil {
		err = s.record(ctx) // before anything is applied
	}
	if err == nil {
		err = s.finish(ctx)
	} else if !s.tried {
		s.free(ctx)
	}
	return s.receipt, err
}

// starting is one call of Start.
type starting struct {
	fleet   *Fleet
	rollout Rollout
	call    string                 // its name, in the entry
	orders  map[string]storedOrder // that were there at first
	order   order                  // of this rollout
	shared  bool                   // another call of the same name works, or has worked, on it
	tried   bool                   // to order something

	mu       sync.Mutex // guards what follows
	receipt  Receipt
	added    int // instances that had no order of this rollout at first, and have, or had, one now
	unproven int // of the newer ones, those that have not replaced an order of this rollout
}

// orderAll orders the policy for each target once, after its account is known to the workers.
func (s *starting) orderAll(ctx context.Context) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(writesInFlight)
	accounts := make(map[string]bool)
	targets := 0
	err := s.eachTarget(working, "Start", func(t Target) error {
		if !accounts[t.Account] {
			if err := s.fleet.addAccount(working, t.Account); err != nil {
				return err
			}
			accounts[t.Account] = true
		}
		s.tried = true
		targets++
		canary := targets <= s.rollout.Canary
		group.Go(func() error { return s.orderOne(working, t.key(), canary) })
		return nil
	})
	return cmp.Or(err, group.Wait())
}

// eachTarget calls do for each target once.
func (s *starting) eachTarget(ctx context.Context, op string, do func(Target) error) error {
	seen := make(map[string]bool)
	position := 0
	for target := range s.rollout.Targets {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := target.check(op, fmt.Sprintf("Targets[%d]", position)); err != nil {
			return err
		}
		position++
		if seen[target.key()] {
			continue
		}
		seen[target.key()] = true
		if err := do(target); err != nil {
			return err
		}
	}
	if position == 0 {
		return invalid(op, "Targets", "must not be empty")
	}
	return nil
}

// begin stores the policy and finds or makes the entry of the rollout, which holds it.
func (s *starting) begin(ctx context.Context) error {
	policy, err := s.fleet.storePolicy(ctx, s.rollout.Policy)
	if err != nil {
		return err
	}
	s.order = order{Rollout: s.rollout.Name, Policy: policy}
	entry, err := s.fleet.changeRollout(ctx, s.rollout.Name, s.resume)
	if errors.Is(err, ErrNoRollout) {
		entry, err = s.create(ctx)
	}
	if err == nil && entry.Number == 0 {
		entry, err = s.number(ctx)
	}
	s.order.Version, s.order.Number = format, entry.Number
	return err
}

// free gives the name back, if this call is the only one that has used it: nobody has cancelled or paused it.
func (s *starting) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	e, seq, err := s.fleet.findRollout(ctx, s.rollout.Name)
	isUnused := e.Ordering == s.call && e.Total == 0 && s.count(e.Number) == 0 && !s.shared
	if err == nil && isUnused && e.Cancelled.IsZero() && e.Held != heldByPause {
		_, err = s.fleet.store.Put(ctx, store.Rollouts, s.rollout.Name, nil, seq)
	}
	if err != nil {
		s.fleet.log.WarnContext(ctx, "cannot free the name", "rollout", s.rollout.Name, "error", err)
	}
}

// resume changes the entry of an earlier call of the same name.
func (s *starting) resume(e *rollout) error {
	isEmpty := e.Total == 0 && e.Ordering == "" && s.count(e.Number) == 0 // an earlier release began it without any target
	switch {
	case !e.Cancelled.IsZero():
		return invalid("Start", "Name", "must be a new one, as that rollout was cancelled")
	case e.Policy != s.order.Policy && !isEmpty:
		return ErrRolloutExists
	}
	s.shared = e.Ordering != "" && e.Ordering != s.call || e.Total > s.count(e.Number)
	e.Policy, e.Ordering = s.order.Policy, s.call
	return nil
}

func (s *starting) create(ctx context.Context) (rollout, error) {
	e := rollout{
		Policy: s.order.Policy, Created: s.fleet.clock.now(), By: s.fleet.actor, Ordering: s.call,
		Canary: s.rollout.Canary, HaltAt: s.rollout.HaltAt,
	}
	if e.Canary > 0 {
		e.Held = heldByCanary
	}
	_, seq, err := s.fleet.findRollout(ctx, s.rollout.Name)
	if errors.Is(err, ErrNoRollout) { // nor in the meantime
		_, err = s.fleet.store.Put(ctx, store.Rollouts, s.rollout.Name, encode(e), seq)
	}
	if err == nil || isConflict(err) { // of another call of the same name
		return s.fleet.changeRollout(ctx, s.rollout.Name, s.resume)
	}
	return rollout{}, engineError(ctx, "writing the rollout", err)
}

// number gives the rollout its number.
//
// The numbers decide which of two orders is newer, so they must never go back, although each of the tables that they could
// be drawn from can be lost or be older than the others. The number is above the sequence of the rollout's entry, above those of
// all other rollouts, and above those of all orders. If the entry itself was lost, its orders still tell the number.
func (s *starting) number(ctx context.Context) (rollout, error) {
	all, err := s.fleet.allRollouts(ctx)
	if err != nil {
		return rollout{}, err
	}
	_, highest, err := s.fleet.findRollout(ctx, s.rollout.Name)
	if err != nil {
		return rollout{}, err
	}
	var own uint64
	for _, r := range all {
		highest = max(highest, r.Number)
	}
	for _, o := range s.orders {
		highest = max(highest, o.Number)
		if o.Rollout == s.order.Rollout && o.Policy == s.order.Policy {
			own = max(own, o.Number)
		}
	}
	return s.fleet.changeRollout(ctx, s.rollout.Name, func(e *rollout) error {
		if e.Number == 0 {
			e.Number = cmp.Or(own, highest+1)
		}
		return nil
	})
}

// storePolicy returns the key under which the policy is stored.
func (f *Fleet) storePolicy(ctx context.Context, p zapi.Policy) (string, error) {
	key, data, err := f.encodePolicy(p)
	if err != nil {
		return "", err
	}
	return key, engineError(ctx, "writing the policy", f.store.Set(ctx, store.Policies, key, data))
}

// encodePolicy returns the JSON of a policy and its key.
func (f *Fleet) encodePolicy(p zapi.Policy) (key string, data []byte, err error) {
	if data, err = json.Marshal(p); err != nil {
		return "", nil, err
	}
	if int64(len(data)) > f.store.MaxValue() {
		return "", nil, ErrPolicyTooLarge
	}
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:16]), data, nil // it is in every order and status, so it is short
}

// orderOne orders the policy for an instance unless it has that order or a newer one. The order found may have been replaced since
// it was read. One that cannot be read is replaced, unless it is of a later release, which knows what it wants.
func (s *starting) orderOne(ctx context.Context, key string, canary bool) error {
	o := s.order
	o.Canary = canary
	found := s.orders[key]
	for start := time.Now(); ; pause(ctx, 100*time.Millisecond) {
		switch {
		case errors.Is(found.err, errLater):
			s.fleet.log.WarnContext(ctx, "an order is left as it is", "key", key, "error", found.err)
			fallthrough
		case found.newer(o):
			s.add(Receipt{Newer: 1}, key, found.order)
			return nil
		case found.sameRollout(o):
			s.add(Receipt{Resumed: 1}, key, o)
			return nil
		}
		_, err := s.fleet.store.Put(ctx, store.Orders, key, encode(o.over(found)), found.seq)
		if err == nil {
			s.add(Receipt{Ordered: 1}, key, o)
			return nil
		}
		if ctx.Err() != nil || time.Since(start) > 30*time.Second {
			return engineError(ctx, "ordering", err)
		}
		if e, readErr := s.fleet.store.Newest(ctx, store.Orders, key); readErr == nil {
			if found = readOrder(e); found.sameRollout(o) && !isConflict(err) {
				s.add(Receipt{Ordered: 1}, key, o) // only the acknowledgement was lost
				return nil
			}
		}
	}
}

func (s *starting) record(ctx context.Context) error {
	detail := "policy " + s.order.Policy
	if s.rollout.Canary > 0 {
		detail += fmt.Sprintf(", canary %d", s.rollout.Canary)
	}
	return s.fleet.record(ctx, actionStart, s.rollout.Name, s.receipt.Ordered, "%s, %d resumed, %d left to newer rollouts", detail, s.receipt.Resumed, s.receipt.Newer)
}

// add counts an instance that has the order o now.
func (s *starting) add(one Receipt, key string, o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receipt.Ordered += one.Ordered
	s.receipt.Resumed += one.Resumed
	s.receipt.Newer += one.Newer
	switch {
	case !s.shows(o, s.order.Number):
		s.unproven++
	case !s.shows(s.orders[key].order, s.order.Number):
		s.added++
	}
}

// shows reports whether o is of the rollout with that number, or has replaced an order of it.
func (s *starting) shows(o order, number uint64) bool {
	replaced, _ := o.replaced(number)
	return replaced || o.Number == number && o.Rollout == s.rollout.Name
}

// count returns how many instances have, or had, an order of the rollout with that number.
func (s *starting) count(number uint64) (n int) {
	for _, o := range s.orders {
		if s.shows(o.order, number) {
			n++
		}
	}
	return n
}

// finish writes how many instances the rollout has, and lets the workers begin.
//
// The total counts every instance once, whoever ordered it: those that had an order of this rollout before, those that this call
// has ordered, and those that a later rollout had already. If another call of the same name has worked on it meanwhile, the
// orders are counted again. While two such calls run, the one that began last lets the workers begin.
func (s *starting) finish(ctx context.Context) error {
	total := s.count(s.order.Number) + s.added
	entry, err := s.fleet.changeRollout(ctx, s.rollout.Name, func(e *rollout) error {
		if s.shared || e.Ordering != s.call {
			orders, err := s.fleet.allOrders(ctx)
			if err != nil {
				return err
			}
			s.orders = orders
			total = s.count(s.order.Number)
		}
		if e.Ordering == s.call {
			e.Ordering = ""
		}
		e.Newer = max(e.Newer, s.unproven)
		e.Total = max(e.Total, total+e.Newer)
		return nil
	})
	if err == nil {
		err = engineError(ctx, "writing to disk", s.fleet.store.Flush())
	}
	switch {
	case err != nil:
	case !entry.Cancelled.IsZero(): // in the meantime
		_, err = s.fleet.takeBack(ctx, s.rollout.Name, entry.Cancelled)
	case s.receipt.Resumed > 0:
		err = s.orderForgotten(ctx)
	}
	return err
}

// orderForgotten orders again what no worker has claimed, or whose claim has ended, for a while. If the statuses were lost, the queues
// think that those orders are done. One that is only waiting for its turn gets another place in the queue by that.
func (s *starting) orderForgotten(ctx context.Context) error {
	instances, err := s.fleet.allInstances(ctx)
	if err != nil {
		return err
	}
	now := s.fleet.clock.now()
	_, err = s.fleet.orderAgain(ctx, instances, func(i instance) bool {
		state := i.public().State
		age := now.Sub(latest(i.order.at, i.public().At, i.status.Fence))
		return i.order.sameRollout(s.order) && (state == Pending || state == Applying) && age > s.fleet.timing.sweepAge
	})
	return err
}
