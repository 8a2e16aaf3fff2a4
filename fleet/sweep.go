package fleet

import (
	"context"
	"slices"
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

// sweep calls orderForgotten unless another worker has done it lately. It returns how many it has ordered again.
func (f *Fleet) sweep(ctx context.Context, now time.Time) (int, error) {
	e, err := f.store.Newest(ctx, store.Rollouts, sweepKey)
	if err != nil {
		return 0, engineError(ctx, "reading the last sweep", err)
	}
	var last time.Time
	if err := last.UnmarshalText(e.Value); err == nil && now.Sub(last) < f.timing.sweepEvery*9/10 {
		return 0, nil
	}
	if _, err := f.store.Put(ctx, store.Rollouts, sweepKey, now.AppendFormat(nil, time.RFC3339Nano), e.Seq); isConflict(err) {
		return 0, nil // another worker sweeps
	} else if err != nil {
		return 0, engineError(ctx, "writing the sweep", err)
	}
	return f.orderForgotten(ctx, now)
}

// orderForgotten orders again what has been unsettled for long although the engine has nothing to deliver, so that no instance depends on
// the engine's bookkeeping alone: that may have lost orders, or the statuses of what it had delivered. The orders of rollouts that are held
// stay with the engine all the time, so they are left out on both sides.
func (f *Fleet) orderForgotten(ctx context.Context, now time.Time) (int, error) {
	rollouts, err := f.allRollouts(ctx)
	if err != nil {
		return 0, err
	}
	unsettled, err := f.instances(ctx, func(i instance) bool { return !i.isSettled() })
	if err != nil {
		return 0, err
	}
	byAccount := make(map[string][]instance)
	for _, i := range unsettled {
		account := targetOf(i.key).Account
		byAccount[account] = append(byAccount[account], i)
	}
	known, err := readAll(ctx, f, store.Accounts, func(e store.Entry) bool { return len(e.Value) > 0 })
	if err != nil {
		return 0, err
	}
	var forgotten []instance
	for account, open := range byAccount {
		if !known[account] { // its entry was lost
			f.log.WarnContext(ctx, "an account was missing, and with it its pace", "account", account)
			if err := f.addAccount(ctx, account); err != nil {
				return 0, err
			}
		}
		queued, err := f.store.Queued(ctx, account)
		if err != nil {
			return 0, engineError(ctx, "reading the queue of "+account, err)
		}
		due := slices.DeleteFunc(slices.Clone(open), func(i instance) bool {
			r, ok := rollouts[i.order.Rollout]
			return ok && r.holds(i.order)
		})
		if held := len(open) - len(due); queued <= held {
			forgotten = append(forgotten, due...)
		}
	}
	return f.orderAgain(ctx, slices.DeleteFunc(forgotten, func(i instance) bool {
		s := i.public()
		return now.Sub(latest(s.At, s.NotBefore, i.status.Fence)) <= f.timing.sweepAge
	}))
}
