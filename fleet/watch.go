package fleet

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// Progress counts the instances of a rollout, or returns [ErrNoRollout].
func (f *Fleet) Progress(ctx context.Context, name string) (Progress, error) {
	for p, err := range f.Watch(ctx, name) {
		return p, err
	}
	return Progress{}, nil // Watch yields at least once
}

// Watch returns the progress of a rollout as it changes, at most twice a second. The last one is Done, or Held with nothing in
// flight, or comes with an error. It waits up to a minute for an engine that is away.
func (f *Fleet) Watch(ctx context.Context, name string) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		if err := f.watch(ctx, name, func(p Progress) bool { return yield(p, nil) }); err != nil {
			yield(Progress{}, err)
		}
	}
}

const (
	updateEvery = 500 * time.Millisecond
	lookFor     = 10 * time.Second // for the last order, which may have been deleted by hand
)

func (f *Fleet) watch(ctx context.Context, name string, yield func(Progress) bool) error {
	const op = "Watch"
	if err := checkName(op, "name", name); err != nil {
		return err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return err
	}
	defer end()
	entry, seq, err := f.awaitRollout(ctx, name)
	if err != nil {
		return err
	}
	t := newTally(name, entry)
	ctx, stop := f.feed(ctx, t)
	defer stop()
	var last Progress
	looked := time.Now()
	for shown := false; ctx.Err() == nil; pause(ctx, updateEvery) {
		if again, newSeq, err := f.findRollout(ctx, name); err == nil && newSeq != seq && (f.hasReadOrders(ctx, t) || time.Since(looked) > lookFor) {
			seq = newSeq
			t.set(again)
		} else if err == nil && newSeq == seq {
			looked = time.Now()
		}
		now := f.clock.now()
		if p := t.progress(now); !shown || p != last {
			if shown, last = true, p; !yield(p) || p.Done() {
				return nil
			}
		}
		if t.isAtRest(now) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// awaitRollout reads the entry of a rollout. It waits for an engine that is away, such as a cluster during an election.
func (f *Fleet) awaitRollout(ctx context.Context, name string) (rollout, uint64, error) {
	for deadline := time.Now().Add(f.timing.patience); ; pause(ctx, updateEvery) {
		r, seq, err := f.findRollout(ctx, name)
		if err == nil || errors.Is(err, ErrNoRollout) || ctx.Err() != nil || time.Now().After(deadline) {
			return r, seq, err
		}
	}
}

// hasReadOrders reports whether t has counted every order that is there now. An entry that says that all are ordered may be read
// before the orders are, which then seem to be missing.
func (f *Fleet) hasReadOrders(ctx context.Context, t *tally) bool {
	last, err := f.store.LastSeq(ctx, store.Orders)
	return err == nil && t.hasRead(last)
}

// feed starts to count orders and statuses into t, and returns when those that were there are counted. The context that it
// returns ends when they can no longer be read. The caller calls stop at the end.
func (f *Fleet) feed(ctx context.Context, t *tally) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var readers, current sync.WaitGroup
	for table, count := range map[store.Table]func(store.Entry){store.Orders: t.order, store.Statuses: t.status} {
		current.Add(1)
		isCurrent := sync.OnceFunc(current.Done)
		readers.Go(func() {
			defer isCurrent() // if it fails before
			t.again(table)
			cancel(f.follow(ctx, table, f.timing.patience, func(e store.Entry) {
				switch {
				case e.Key != "":
					count(e)
				case e.Seq == 0:
					t.current(table)
					isCurrent()
				default:
					t.again(table)
				}
			}))
		})
	}
	current.Wait()
	return ctx, func() {
		cancel(nil)
		readers.Wait()
	}
}

// follow calls handle for all that [store.Store.Read] returns, until ctx is done. It waits as long as patience for an engine that is
// away, and then reads all again, which it announces with an entry that has a sequence and no key.
func (f *Fleet) follow(ctx context.Context, table store.Table, patience time.Duration, handle func(store.Entry)) error {
	for deadline := time.Now().Add(patience); ctx.Err() == nil; pause(ctx, updateEvery) {
		heard, failure := false, error(nil)
		for e, err := range f.store.Read(ctx, table, true) {
			if failure = err; err == nil {
				heard = true
				handle(e)
			}
		}
		if heard { // it is away from now on: before, it may just have had nothing to say
			deadline = time.Now().Add(patience)
		}
		switch {
		case ctx.Err() != nil: // which is why the reading has ended
		case time.Now().After(deadline):
			return engineError(ctx, "reading", failure)
		default:
			f.log.WarnContext(ctx, "cannot read "+table.String(), "error", failure)
			handle(store.Entry{Seq: 1})
		}
	}
	return nil
}
