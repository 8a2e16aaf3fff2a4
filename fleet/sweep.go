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

// sweep orders again what is unsettled although the engine has nothing to deliver, so that no instance depends on the
// engine's bookkeeping alone: it may have lost an acknowledgement's worth too much, or the statuses of what is done. It returns
// how many.
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
	idle, err := f.idleAccounts(ctx)
	if err != nil {
		return 0, err
	}
	return f.orderAgain(ctx, func(i instance) bool {
		s := i.public()
		age := now.Sub(latest(s.At, s.NotBefore, i.status.Fence))
		return idle[s.Account] && !i.isSettled() && age > f.timing.sweepAge
	})
}

// idleAccounts returns the accounts whose queues have nothing to hand out. An account that has orders but is not known, as its entry
// was lost, is made known again, with the default pace.
func (f *Fleet) idleAccounts(ctx context.Context) (map[string]bool, error) {
	known := make(map[string]bool)
	for e, err := range f.store.Read(ctx, store.Accounts, false) {
		if err != nil {
			return nil, engineError(ctx, "reading the accounts", err)
		}
		known[e.Key] = len(e.Value) > 0
	}
	orders, err := f.allOrders(ctx)
	if err != nil {
		return nil, err
	}
	idle := make(map[string]bool)
	for key := range orders {
		account := targetOf(key).Account
		if _, done := idle[account]; done {
			continue
		}
		if !known[account] {
			f.log.WarnContext(ctx, "an account was missing, and with it its pace", "account", account)
			if err := f.addAccount(ctx, account); err != nil {
				return nil, err
			}
		}
		if idle[account], err = f.store.IsIdle(ctx, account); err != nil {
			return nil, engineError(ctx, "reading the queue of "+account, err)
		}
	}
	return idle, nil
}
