package fleet

import (
	"context"
	"iter"
	"sync"
	"time"
)

// Progress counts the instances of a rollout by state.
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

// Watch returns the progress of a rollout as it changes, at most twice a second. The last one is Done, or an error.
func (f *Fleet) Watch(ctx context.Context, name string) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		if err := f.watch(ctx, name, func(p Progress) bool { return yield(p, nil) }); err != nil {
			yield(Progress{}, err)
		}
	}
}

// patience is how long the engine may be away before Watch fails.
const patience = time.Minute

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
	roll, _, err := f.rollout(ctx, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	type event struct {
		message
		err   error
		order bool
	}
	events := make(chan event, 256)
	send := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	// An engine that is away for a while does not end the reading: all is read again then.
	follow := func(stream string) {
		var failing time.Time // since when; zero before the first failure
		for heard := false; ctx.Err() == nil; pause(ctx, 500*time.Millisecond) {
			var failure error
			for m, err := range f.read(ctx, stream, true) {
				if failure = err; err == nil {
					heard, failing = true, time.Time{}
					send(event{m, nil, stream == ordersStream})
				}
			}
			if failing.IsZero() {
				failing = time.Now()
			}
			if !heard || time.Since(failing) > patience {
				send(event{err: failure})
				return
			}
		}
	}
	var readers sync.WaitGroup
	readers.Go(func() { follow(ordersStream) })
	readers.Go(func() { follow(statusBucket) })
	defer readers.Wait()
	defer cancel()

	t := tally{name: name, created: roll.Created, items: make(map[string]item), workers: make(map[string]time.Time), applied: make(map[int64]int)}
	var tick <-chan time.Time // starts when both streams have been read
	current := make(map[bool]bool)
	shown, last := false, Progress{}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-events:
			switch {
			case e.err != nil:
				return e.err
			case e.key == "":
				if current[e.order] = true; len(current) < 2 || tick != nil {
					continue
				}
				ticker := time.NewTicker(500 * time.Millisecond)
				defer ticker.Stop()
				tick = ticker.C
			case e.order:
				t.order(e.message)
				continue
			default:
				t.status(e.message)
				continue
			}
		case <-tick:
			if !roll.isOrdering() {
				break
			}
			// The orders are older than the entry that says that all are there, but may be read later.
			again, _, err := f.rollout(ctx, name)
			if err != nil {
				break
			}
			if info, err := f.orders.Info(ctx); err == nil && t.read >= info.State.LastSeq {
				roll = again
			}
		}
		p := t.progress(roll, time.Now())
		if shown && p == last {
			continue
		}
		if shown, last = true, p; !yield(p) || p.Done() {
			return nil
		}
	}
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
	name    string
	created time.Time
	read    uint64 // the sequence of the last order
	items   map[string]item
	counts  struct{ pending, applying, applied, waiting, parked, cancelled int }
	workers map[string]time.Time // when each was last heard of
	applied map[int64]int        // by second
}

func (t *tally) order(m message) {
	t.read = m.seq
	o, err := decodeOrder(m.data)
	if err != nil {
		return
	}
	t.change(m.key, func(i *item) { i.order, i.mine = m.seq, o.Rollout == t.name })
}

func (t *tally) status(m message) {
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
	t.add(i.count(), -1)
	change(&i)
	t.add(i.count(), 1)
	t.items[key] = i
}

func (t *tally) add(state State, n int) {
	switch state {
	case Pending:
		t.counts.pending += n
	case Applying:
		t.counts.applying += n
	case Applied:
		t.counts.applied += n
	case Waiting:
		t.counts.waiting += n
	case Parked:
		t.counts.parked += n
	case Superseded:
		t.counts.cancelled += n
	}
}

func (t *tally) progress(roll rollout, now time.Time) Progress {
	c := t.counts
	p := Progress{
		Pending: c.pending, Applying: c.applying, Applied: c.applied, Waiting: c.waiting, Parked: c.parked, Superseded: c.cancelled,
		Total: c.pending + c.applying + c.applied + c.waiting + c.parked + c.cancelled, ordered: !roll.isOrdering(),
	}
	if replaced := roll.Total - p.Total; replaced > 0 {
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
	p.PerSecond /= min(window, max(1, now.Sub(t.created).Seconds()))
	if open := p.Pending + p.Applying + p.Waiting; open > 0 && p.PerSecond > 0 {
		p.Left = time.Duration(float64(open) / p.PerSecond * float64(time.Second)).Round(time.Second)
	}
	return p
}
