package fleet

import (
	"context"
	"errors"
	"time"
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
func (f *Fleet) takeBack(ctx context.Context, name string) (taken int, err error) {
	orders, err := f.allOrders(ctx)
	if err != nil {
		return 0, err
	}
	records, err := f.allRecords(ctx)
	if err != nil {
		return 0, err
	}
	batch := f.newBatch(ctx)
	defer func() { err = errors.Join(err, batch.flush()) }()
	for key, w := range orders {
		found := records[key]
		if w.Rollout != name || found.Seq >= w.seq && (found.Seq > w.seq || found.State != Waiting) {
			continue
		}
		// The fence stays: an apply of an older order may be under way.
		r := record{
			Version: format, Seq: w.seq, Rollout: name, Policy: w.Policy, State: Superseded, Kind: kindCancelled, At: clock(), Fence: found.Fence,
		}
		if err := batch.publish("$KV."+statusBucket+"."+key, encode(r), found.revision, func(err error) error {
			if err == nil {
				taken++
			}
			return ignoreConflict(ctx, "cancelling", err)
		}); err != nil {
			return taken, err
		}
	}
	return taken, nil
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
func (f *Fleet) orderAgain(ctx context.Context, match func(Status, record) bool) (ordered int, err error) {
	orders, err := f.allOrders(ctx)
	if err != nil {
		return 0, err
	}
	records, err := f.allRecords(ctx)
	if err != nil {
		return 0, err
	}
	batch := f.newBatch(ctx)
	defer func() { err = errors.Join(err, batch.flush()) }()
	for key, w := range orders {
		r := records[key].record
		if !match(statusOf(key, w, r), r) {
			continue
		}
		if err := batch.publish(ordersSubject+key, encode(w.order), w.seq, func(err error) error {
			if err == nil {
				ordered++
			}
			return ignoreConflict(ctx, "ordering again", err)
		}); err != nil {
			return ordered, err
		}
	}
	return ordered, nil
}

func ignoreConflict(ctx context.Context, doing string, err error) error {
	if err == nil || isConflict(err) {
		return nil
	}
	return engineError(ctx, doing, err)
}
