package fleet

import (
	"cmp"
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// Cancel takes back what has not begun of a rollout: the orders that are pending or waiting. It returns how many. Calls
// that are under way end; if one fails, it is taken back, too. A second after Cancel has returned, nothing of the rollout is begun
// any more. An instance keeps the settings that it has, and Start refuses the name from then on. It returns [ErrNoRollout] for an
// unknown name.
func (f *Fleet) Cancel(ctx context.Context, name string) (int, error) {
	const op = "Cancel"
	ctx, end, err := f.begin(ctx, op, checkName(op, "name", name))
	if err != nil {
		return 0, err
	}
	defer end()
	began := f.clock.now()
	if _, err := f.changeRollout(ctx, name, func(r *rollout) error {
		if r.Cancelled.IsZero() {
			r.Cancelled = began
		}
		return nil
	}); err != nil {
		return 0, err
	}
	err = f.takeBack(ctx, name)
	// Workers that meet one of the orders meanwhile take it back, too, so what they took counts.
	taken, countErr := f.instances(ctx, func(i instance) bool {
		return i.order.Rollout == name && i.hasStatus() && i.status.Kind == kindCancelled && !i.status.At.Before(began)
	})
	return len(taken), cmp.Or(f.record(ctx, actionCancel, name, len(taken), "taken back"), err, countErr)
}

// takeBack settles the orders of a rollout that no worker has in hand. Of a worker that claims one and takeBack, whoever writes the
// status first wins.
func (f *Fleet) takeBack(ctx context.Context, name string) error {
	open, err := f.instances(ctx, func(i instance) bool {
		return i.order.Rollout == name && (!i.hasStatus() || i.status.State == Waiting)
	})
	if err != nil {
		return err
	}
	_, err = rewrite(ctx, open, func(ctx context.Context, i instance) error {
		s := takenBack(i.status, i.order, f.clock.now())
		_, err := f.store.Put(ctx, store.Statuses, i.key, encode(s), i.status.seq)
		return err
	})
	return err
}

// Retry orders parked instances that match q again, and returns how many. With the state [Waiting] in q it hurries those that wait.
// Another state is not allowed. Those of a rollout that was cancelled are left alone.
func (f *Fleet) Retry(ctx context.Context, q Filter) (int, error) {
	const op = "Retry"
	q.State = cmp.Or(q.State, Parked)
	if q.State != Parked && q.State != Waiting {
		return 0, invalid(op, "Filter.State", "must be parked, waiting or empty")
	}
	ctx, end, err := f.begin(ctx, op, q.check(op))
	if err != nil {
		return 0, err
	}
	defer end()
	rollouts, err := f.allRollouts(ctx)
	if err != nil {
		return 0, err
	}
	now := f.clock.now()
	found, err := f.instances(ctx, func(i instance) bool {
		return q.matches(i.public(), now) && rollouts[i.order.Rollout].Cancelled.IsZero()
	})
	if err != nil {
		return 0, err
	}
	n, err := f.orderAgain(ctx, found)
	return n, cmp.Or(f.record(ctx, actionRetry, q.Rollout, n, "%s", q.describe()), err)
}

// orderAgain writes the orders of instances again, and returns how many. Where there is a newer order, that one stays.
func (f *Fleet) orderAgain(ctx context.Context, instances []instance) (int, error) {
	return rewrite(ctx, instances, func(ctx context.Context, i instance) error {
		_, err := f.store.Put(ctx, store.Orders, i.key, encode(i.order), i.order.seq)
		return err
	})
}

// rewrite calls write for instances, many at once, and returns how many it wrote. One that has changed since it was read is left
// alone.
func rewrite(ctx context.Context, instances []instance, write func(context.Context, instance) error) (int, error) {
	var written atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesInFlight)
	for _, i := range instances {
		group.Go(func() error {
			err := write(ctx, i)
			switch {
			case err == nil:
				written.Add(1)
			case isConflict(err):
				return nil
			}
			return engineError(ctx, "writing", err)
		})
	}
	err := group.Wait()
	return int(written.Load()), err
}
