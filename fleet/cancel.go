package fleet

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Cancel takes back what has not begun of a rollout: the orders that are pending or waiting. It returns how many. Calls
// that are under way end; if one fails, it is waiting and can be taken back by calling Cancel again. An instance keeps
// the settings that it has, and Start refuses the name from then on. It returns [ErrNoRollout] for an unknown name.
func (f *Fleet) Cancel(ctx context.Context, name string) (int, error) {
	const op = "Cancel"
	if err := checkName(op, "name", name); err != nil {
		return 0, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return 0, err
	}
	defer end()
	if _, err := f.changeRollout(ctx, name, func(r *rollout) {
		if r.Cancelled.IsZero() {
			r.Cancelled = time.Now()
		}
	}); err != nil {
		return 0, err
	}
	return f.takeBack(ctx, name)
}

// takeBack settles the orders of a rollout that no worker has in hand. Of a worker and takeBack, whoever writes the status
// first wins.
func (f *Fleet) takeBack(ctx context.Context, name string) (int, error) {
	return f.rewrite(ctx, func(i instance) bool {
		pending := i.found.Seq < i.seq
		waiting := i.found.Seq == i.seq && i.found.State == Waiting
		return i.Rollout == name && (pending || waiting)
	}, func(ctx context.Context, i instance) error {
		// The fence stays: an apply of an older order may be under way.
		r := record{
			Version: format, Seq: i.seq, Rollout: name, Policy: i.Policy, State: Superseded, Kind: kindCancelled, At: clock(), Fence: i.found.Fence,
		}
		_, err := f.put(ctx, statusBucket, i.key, encode(r), i.found.revision)
		return err
	})
}

// Retry orders parked instances that match q again, and returns how many. The state of q is [Parked] or empty.
func (f *Fleet) Retry(ctx context.Context, q Filter) (int, error) {
	const op = "Retry"
	if q.State != "" && q.State != Parked {
		return 0, invalid(op, "Filter.State", "must be parked or empty")
	}
	q.State = Parked
	if err := q.check(op); err != nil {
		return 0, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return 0, err
	}
	defer end()
	now := time.Now()
	return f.orderAgain(ctx, func(s Status, _ record) bool { return q.matches(s, now) })
}

// orderAgain writes the orders of the instances that match again. Where there is a newer order, that one stays.
func (f *Fleet) orderAgain(ctx context.Context, match func(Status, record) bool) (int, error) {
	return f.rewrite(ctx, func(i instance) bool {
		return match(i.status(), i.found.record)
	}, func(ctx context.Context, i instance) error {
		return f.publish(ctx, ordersSubject+i.key, encode(i.order), i.seq)
	})
}

// rewrite calls write for all instances that match, many at once, and returns how many it wrote. One that has changed since it
// was read is left alone.
func (f *Fleet) rewrite(ctx context.Context, match func(instance) bool, write func(context.Context, instance) error) (int, error) {
	instances, err := f.allInstances(ctx)
	if err != nil {
		return 0, err
	}
	var written atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesInFlight)
	for _, i := range instances {
		if !match(i) {
			continue
		}
		group.Go(func() error {
			err := write(ctx, i)
			if err == nil {
				written.Add(1)
			}
			if isConflict(err) {
				return nil
			}
			return err
		})
	}
	err = group.Wait()
	return int(written.Load()), err
}
