package fleet

import (
	"context"
	"math/rand/v2"
	"time"
)

// sweepKey is the entry of the last sweep, among the rollouts. No rollout has a dot in its name.
const sweepKey = "sweep.last"

// sweeps runs the sweeps of a worker. Of all workers, one at a time does it.
func (w *worker) sweeps(ctx context.Context) {
	for {
		pause(ctx, w.timing.sweepEvery+rand.N(w.timing.sweepEvery/10+1))
		if ctx.Err() != nil {
			return
		}
		n, err := w.sweep(ctx, time.Now())
		if err != nil {
			w.warn(ctx, "cannot sweep", err)
		} else if n > 0 {
			w.log.WarnContext(ctx, "ordered again what the engine had forgotten", "instances", n, "worker", w.name)
		}
	}
}

// sweep orders again what is unsettled although the engine has nothing to deliver, so that no instance depends on the
// engine's bookkeeping alone. It returns how many.
func (f *Fleet) sweep(ctx context.Context, now time.Time) (int, error) {
	value, revision, err := f.get(ctx, rolloutBucket, sweepKey)
	if err != nil {
		return 0, err
	}
	var last time.Time
	if err := last.UnmarshalText(value); err == nil && now.Sub(last) < f.timing.sweepEvery*9/10 {
		return 0, nil
	}
	text, err := now.MarshalText()
	if err != nil {
		return 0, err
	}
	if _, err := f.put(ctx, rolloutBucket, sweepKey, text, revision); isConflict(err) {
		return 0, nil // another worker sweeps
	} else if err != nil {
		return 0, err
	}
	idle := make(map[string]bool)
	for m, err := range f.read(ctx, accountBucket, false) {
		if err != nil {
			return 0, err
		}
		consumer, err := f.orders.Consumer(ctx, consumerOf(m.key))
		if err != nil {
			return 0, engineError(ctx, "reading the consumer of "+m.key, err)
		}
		info := consumer.CachedInfo() // just read
		idle[m.key] = info.NumPending == 0 && info.NumAckPending == 0
	}
	return f.orderAgain(ctx, func(s Status, r record) bool {
		return idle[s.Account] && !s.State.final() && now.Sub(latest(s.At, r.NotBefore, r.Fence)) > f.timing.sweepAge
	})
}
