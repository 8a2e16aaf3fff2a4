package fleet

import (
	"context"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// sweepKey is the entry of the last sweep, among the rollouts. No rollout has a dot in its name.
const sweepKey = "sweep.last"

// sweeps runs the sweeps of a worker. Of all workers, one at a time does it.
func (w *worker) sweeps(ctx context.Context) {
	t := w.fleet.timing
	for {
		pause(ctx, t.sweepEvery+time.Duration(t.random(int64(t.sweepEvery/10)+1)))
		if ctx.Err() != nil {
			return
		}
		n, err := w.fleet.sweep(ctx, w.fleet.clock.now())
		if err != nil {
			w.warn(ctx, "cannot sweep", err)
		} else if n > 0 {
			w.fleet.log.WarnContext(ctx, "ordered again what the engine had forgotten", "instances", n, "worker", w.name)
		}
	}
}

// sweep orders again what has been unsettled for long although the engine has nothing to deliver, so that no instance depends on
// the engine's bookkeeping alone: that may have lost orders, or the statuses of what it had delivered. The orders of rollouts that are held
// stay with the engine all the time, so they are left out on both sides. It returns how many it has ordered again.
func (f *Fleet) sweep(ctx context.Context, now time.Time) (int, error) {
	e, err := f.store.Newest(ctx, store.Rollouts, sweepKey)
	if err != nil {
		return 0, engineError(ctx, "reading the last sweep", err)
	}
	var last time.Time
	if err := last.UnmarshalText(e.Value); err == nil && now.Sub(last) < f.timing.sweepEvery*9/10 {
		return 0, nil
	}
	text, err := now.MarshalText()
	if err != nil {
		return 0, err
	}
	if _, err := f.store.Put(ctx, store.Rollouts, sweepKey, text, e.Seq); isConflict(err) {
		return 0, nil // another worker sweeps
	} else if err != nil {
		return 0, engineError(ctx, "writing the sweep", err)
	}
	rollouts, err := f.allRollouts(ctx)
	if err != nil {
		return 0, err
	}
	instances, err := f.allInstances(ctx)
	if err != nil {
		return 0, err
	}
	isHeld := func(i instance) bool {
		r, ok := rollouts[i.order.Rollout]
		return ok && r.holds(i.order.order)
	}
	held := make(map[string]int) // orders, by account
	for _, i := range instances {
		if account := targetOf(i.key).Account; !i.isSettled() && isHeld(i) {
			held[account]++
		} else {
			held[account] += 0
		}
	}
	idle, err := f.idleAccounts(ctx, held)
	if err != nil {
		return 0, err
	}
	return f.orderAgain(ctx, instances, func(i instance) bool {
		s := i.public()
		age := now.Sub(latest(s.At, s.NotBefore, i.status.Fence))
		return idle[s.Account] && !i.isSettled() && !isHeld(i) && age > f.timing.sweepAge
	})
}

// idleAccounts returns the accounts whose queues have no more than the orders that are held. An account that has orders but is not known,
// as its entry was lost, is made known again, with the default pace.
func (f *Fleet) idleAccounts(ctx context.Context, held map[string]int) (map[string]bool, error) {
	known := make(map[string]bool)
	for e, err := range f.store.Read(ctx, store.Accounts, false) {
		if err != nil {
			return nil, engineError(ctx, "reading the accounts", err)
		}
		known[e.Key] = len(e.Value) > 0
	}
	idle := make(map[string]bool)
	for account, n := range held {
		if !known[account] {
			f.log.WarnContext(ctx, "an account was missing, and with it its pace", "account", account)
			if err := f.addAccount(ctx, account); err != nil {
				return nil, err
			}
		}
		queued, err := f.store.Queued(ctx, account)
		if err != nil {
			return nil, engineError(ctx, "reading the queue of "+account, err)
		}
		idle[account] = queued <= n
	}
	return idle, nil
}
