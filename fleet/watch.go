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

const updateEvery = 500 * time.Millisecond

// watch calls yield until it returns false or the rollout is done or rests. It counts anew whenever the entry of the rollout has
// changed, or the engine was away.
func (f *Fleet) watch(ctx context.Context, name string, yield func(Progress) bool) error {
	const op = "Watch"
	ctx, end, err := f.begin(ctx, op, checkName(op, "name", name))
	if err != nil {
		return err
	}
	defer end()
	var last Progress
	show := func(p Progress) (goOn bool) {
		if p == last {
			return true
		}
		last = p
		return yield(p) && !p.done && !p.rests
	}
	for deadline := time.Now().Add(f.timing.patience); ; pause(ctx, updateEvery) {
		ended, err := f.watchEntry(ctx, name, func(p Progress) bool {
			deadline = time.Now().Add(f.timing.patience)
			return show(p)
		})
		switch {
		case ended || errors.Is(err, ErrNoRollout):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && time.Now().After(deadline):
			return err
		case err != nil:
			f.log.WarnContext(ctx, "cannot watch", "rollout", name, "error", err)
		}
	}
}

// watchEntry calls show, until that returns false, the engine is away, or the entry of the rollout has changed. What the entry says is
// read before the orders are: otherwise it might say that all are ordered, and they would seem to be missing.
func (f *Fleet) watchEntry(ctx context.Context, name string, show func(Progress) bool) (ended bool, _ error) {
	entry, seq, err := f.findRollout(ctx, name)
	if err != nil {
		return false, err
	}
	targets, err := f.readTargets(ctx, name, entry.Targets)
	if err != nil {
		return false, err
	}
	t := newTally(name, entry, targets)
	ctx, cancel := context.WithCancelCause(ctx)
	var readers, current sync.WaitGroup
	defer readers.Wait()
	defer cancel(nil)
	for _, table := range []store.Table{store.Orders, store.Statuses} {
		current.Add(1)
		isCurrent := sync.OnceFunc(current.Done)
		readers.Go(func() {
			defer isCurrent() // if it fails before
			for e, err := range f.store.Read(ctx, table, true) {
				switch {
				case err != nil:
					cancel(engineError(ctx, "reading "+table.String(), err))
				case e.Key == "":
					isCurrent()
				default:
					t.read(table, e)
				}
			}
		})
	}
	for current.Wait(); ctx.Err() == nil; pause(ctx, updateEvery) {
		if !show(t.progress(f.clock.now())) {
			return true, nil
		}
		if _, again, err := f.findRollout(ctx, name); err == nil && again != seq {
			return false, nil
		}
	}
	return false, context.Cause(ctx)
}

// follow calls handle for all that a table holds and for what is written to it, until ctx is done. It waits for an engine that is away, and
// then reads all again.
func (f *Fleet) follow(ctx context.Context, table store.Table, handle func(store.Entry)) {
	for ; ctx.Err() == nil; pause(ctx, updateEvery) {
		for e, err := range f.store.Read(ctx, table, true) {
			switch {
			case err == nil && e.Key != "":
				handle(e)
			case err != nil && ctx.Err() == nil:
				f.log.WarnContext(ctx, "cannot read "+table.String(), "error", err)
			}
		}
	}
}
