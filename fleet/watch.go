package fleet

import (
	"context"
	"iter"
	"sync"
	"time"
)

// A Progress counts the instances of a rollout by state.
type Progress struct {
	Total, Pending, Applying, Applied, Waiting, Parked, Superseded int

	Workers   int           // that changed a status of the rollout within the last minute
	PerSecond float64       // applied, over the last 10 seconds
	Left      time.Duration // at that rate; 0 if there is none

	ordered bool // [Fleet.Start] has returned, or the rollout is cancelled
}

// Done reports whether nothing is pending, applying or waiting, and all of the rollout has been ordered.
func (p Progress) Done() bool {
	return p.ordered && p.Pending+p.Applying+p.Waiting == 0
}

// Progress counts the instances of a rollout, or returns [ErrNoRollout].
func (f *Fleet) Progress(ctx context.Context, name string) (Progress, error) {
	for p, err := range f.Watch(ctx, name) {
		return p, err
	}
	return Progress{}, nil // Watch yields at least once
}

// Watch returns the progress of a rollout as it changes, at most twice a second. The last one is Done, or comes with an error.
// It waits up to a minute for an engine that is away.
func (f *Fleet) Watch(ctx context.Context, name string) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		if err := f.watch(ctx, name, func(p Progress) bool { return yield(p, nil) }); err != nil {
			yield(Progress{}, err)
		}
	}
}

const updateEvery = 500 * time.Millisecond

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
	entry, _, err := f.rollout(ctx, name)
	if err != nil {
		return err
	}
	t := &tally{
		name: name, items: make(map[string]item), counts: make(map[State]int),
		workers: make(map[string]time.Time), applied: make(map[int64]int),
	}
	ctx, stop := f.feed(ctx, t)
	defer stop()
	var last Progress
	for shown := false; ctx.Err() == nil; pause(ctx, updateEvery) {
		if entry.isOrdering() {
			// The orders are older than the entry that says that all are there, but may be read later.
			again, _, err := f.rollout(ctx, name)
			info, infoErr := f.orders.Info(ctx)
			if err == nil && infoErr == nil && t.hasRead(info.State.LastSeq) {
				entry = again
			}
		}
		p := t.progress(entry, time.Now())
		if shown && p == last {
			continue
		}
		if shown, last = true, p; !yield(p) || p.Done() {
			return nil
		}
	}
	return context.Cause(ctx)
}

// feed starts to count orders and statuses into t, and returns when those that were there are counted. The context that it
// returns ends when they can no longer be read. The caller calls stop at the end.
func (f *Fleet) feed(ctx context.Context, t *tally) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var readers, current sync.WaitGroup
	for stream, count := range map[string]func(message){ordersStream: t.order, statusBucket: t.status} {
		current.Add(1)
		isCurrent := sync.OnceFunc(current.Done)
		readers.Go(func() {
			defer isCurrent() // if it fails before
			cancel(f.follow(ctx, stream, f.timing.patience, func(m message) {
				if m.key == "" {
					isCurrent()
					return
				}
				count(m)
			}))
		})
	}
	current.Wait()
	return ctx, func() {
		cancel(nil)
		readers.Wait()
	}
}

// follow calls handle for all that [connection.read] returns, until ctx is done. It fails if the stream cannot be read at
// first. Later it waits as long as patience for an engine that is away, and then reads all again.
func (f *Fleet) follow(ctx context.Context, stream string, patience time.Duration, handle func(message)) error {
	for deadline := time.Now(); ctx.Err() == nil; pause(ctx, updateEvery) {
		heard, failure := false, error(nil)
		for m, err := range f.read(ctx, stream, true) {
			if failure = err; err == nil {
				heard = true
				handle(m)
			}
		}
		if heard { // it is away from now on: before, it may just have had nothing to say
			deadline = time.Now().Add(patience)
		}
		switch {
		case ctx.Err() != nil: // which is why the reading has ended
		case time.Now().After(deadline):
			return failure
		default:
			f.log.WarnContext(ctx, "cannot read "+stream, "error", failure)
		}
	}
	return nil
}

// item is what tally knows of an instance.
type item struct {
	order, status uint64 // sequences
	mine          bool   // the order belongs to the rollout
	statusMine    bool
	state         State
}

// count returns the state under which the instance counts, or none.
func (i item) count() State {
	switch {
	case i.order == 0 || i.status > i.order && !i.statusMine:
		return "" // ordered by another rollout, perhaps with an order that has not been read yet
	case !i.mine && i.status <= i.order:
		return ""
	case i.status < i.order:
		return Pending
	}
	return i.state
}

// tally counts the instances of one rollout from what is read.
type tally struct {
	name string

	mu      sync.Mutex
	read    uint64 // the sequence of the last order
	items   map[string]item
	counts  map[State]int
	workers map[string]time.Time // when each was last heard of
	applied map[int64]int        // by second
}

func (t *tally) order(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = m.seq
	if o, err := decodeOrder(m.data); err == nil {
		t.change(m.key, func(i *item) { i.order, i.mine = m.seq, o.Rollout == t.name })
	}
}

func (t *tally) hasRead(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read >= seq
}

func (t *tally) status(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, err := decodeRecord(m.data)
	if err != nil {
		return
	}
	mine := r.Rollout == t.name
	before := t.items[m.key]
	t.change(m.key, func(i *item) { i.status, i.statusMine, i.state = r.Seq, mine, r.State })
	if !mine || before == t.items[m.key] {
		return
	}
	if r.At.After(t.workers[r.Worker]) {
		t.workers[r.Worker] = r.At
	}
	if r.State == Applied {
		t.applied[r.At.Unix()]++
	}
}

func (t *tally) change(key string, change func(*item)) {
	i := t.items[key]
	t.counts[i.count()]--
	change(&i)
	t.counts[i.count()]++
	t.items[key] = i
}

func (t *tally) progress(entry rollout, now time.Time) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Progress{
		Pending: t.counts[Pending], Applying: t.counts[Applying], Applied: t.counts[Applied],
		Waiting: t.counts[Waiting], Parked: t.counts[Parked], Superseded: t.counts[Superseded],
		ordered: !entry.isOrdering(),
	}
	open := p.Pending + p.Applying + p.Waiting
	p.Total = open + p.Applied + p.Parked + p.Superseded
	if replaced := entry.Total - p.Total; replaced > 0 {
		p.Total += replaced
		p.Superseded += replaced
	}
	for worker, at := range t.workers {
		if worker != "" && now.Sub(at) < time.Minute {
			p.Workers++
		}
	}
	const window = 10
	for second, n := range t.applied {
		if age := now.Unix() - second; age > window {
			delete(t.applied, second)
		} else if age > 0 { // the current second is not over
			p.PerSecond += float64(n)
		}
	}
	p.PerSecond /= min(window, max(1, now.Sub(entry.Created).Seconds()))
	if open > 0 && p.PerSecond > 0 {
		p.Left = time.Duration(float64(open) / p.PerSecond * float64(time.Second)).Round(time.Second)
	}
	return p
}
