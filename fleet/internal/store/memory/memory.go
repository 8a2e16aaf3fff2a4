// Package memory keeps a [store.Store] in memory, for tests and for the simulator. It behaves like JetStream on its worst
// days: see [Faults], and [Store.Damage]. Without faults it is what the test of conformance compares with a real server.
package memory

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// ErrAway is what every call returns that is not answered.
var ErrAway = errors.New("the store is away")

// Store is the part that all its users share. Each has a [Handle].
type Store struct {
	AckWait, Fetch time.Duration

	mu     sync.Mutex
	tables map[store.Table]*table
	queues map[string]*queue
	silent time.Time // until then nothing is answered
}

type table struct {
	last    uint64
	entries map[string]store.Entry
	before  map[string]store.Entry // what each replaced: what a replica that is behind still holds
	events  []store.Entry          // of a table that keeps all
	epoch   int                    // counts how often it was lost
	changed signal
}

// queue is what of an account has been handed out or given back.
type queue struct {
	next    uint64 // the first sequence that was never handed out
	pending map[string]pending
	changed signal
}

type pending struct {
	entry store.Entry
	until time.Time // when it is handed out again
}

// A signal is closed, and made anew, by every change. It is used with s.mu held.
type signal struct{ c chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) send() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

// New returns an empty store.
func New() *Store {
	s := &Store{AckWait: 30 * time.Second, Fetch: 5 * time.Second, tables: make(map[store.Table]*table), queues: make(map[string]*queue)}
	for t := store.Orders; t <= store.Audit; t++ {
		s.tables[t] = &table{entries: make(map[string]store.Entry), before: make(map[string]store.Entry)}
	}
	return s
}

// setQueues replaces all queues.
func (s *Store) setQueues(queues map[string]*queue) {
	for _, q := range s.queues {
		q.changed.send()
	}
	s.queues = queues
}

func (t *table) write(key string, value []byte) {
	t.before[key] = t.entries[key]
	t.last++
	t.entries[key] = store.Entry{Key: key, Seq: t.last, At: time.Now(), Value: slices.Clone(value)}
	t.changed.send()
}

// sorted returns the entries in the order in which they were written.
func (t *table) sorted() []store.Entry {
	all := slices.AppendSeq(slices.Clone(t.events), maps.Values(t.entries))
	slices.SortFunc(all, func(a, b store.Entry) int { return int(a.Seq) - int(b.Seq) })
	return all
}

// A Damage is what happens to a table that is damaged.
type Damage int

// The kinds of damage.
const (
	Lost    Damage = iota // with its queues; its sequences begin anew
	Cut                   // the last quarter of the entries is gone, as after a power loss
	Missing               // one entry is gone
	Garbled               // one entry cannot be read
)

// Snapshot copies a table, so that an older state can be restored, once.
func (s *Store) Snapshot(t store.Table) (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, last := maps.Clone(s.tables[t].entries), s.tables[t].last
	queues := make(map[string]*queue)
	for account, q := range s.queues {
		queues[account] = &queue{next: q.next, pending: maps.Clone(q.pending)}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		current := s.tables[t]
		current.entries, current.last = old, last
		clear(current.before)
		current.epoch++
		if t == store.Orders {
			s.setQueues(queues)
		}
		current.changed.send()
	}
}

// Damage damages a table. n chooses the entry.
func (s *Store) Damage(t store.Table, d Damage, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.tables[t]
	all := current.sorted()
	switch {
	case d == Lost:
		current.last = 0
		clear(current.entries)
		if t == store.Orders {
			s.setQueues(make(map[string]*queue))
		}
	case len(all) == 0:
		return
	case d == Cut:
		kept := all[:len(all)*3/4]
		current.last = 0
		for _, e := range all[len(kept):] {
			delete(current.entries, e.Key)
		}
		for _, e := range kept {
			current.last = e.Seq
		}
	case d == Missing:
		delete(current.entries, all[n%len(all)].Key)
	case d == Garbled:
		e := all[n%len(all)]
		e.Value = []byte(`{"v":1,`)
		current.entries[e.Key] = e
	}
	clear(current.before)
	current.epoch++
	current.changed.send()
}

// Silence makes the store answer nothing for a while.
func (s *Store) Silence(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = time.Now().Add(d)
}

// Faults decides what goes wrong in one call of a [Handle]. The call is named, so that a decision need not depend on the order in
// which goroutines run.
type Faults func(call string) Fault

// A Fault is what goes wrong.
type Fault struct {
	Wait    time.Duration // that the call takes
	Lose    bool          // a request does not arrive
	LoseAck bool          // a request arrives, its acknowledgement does not
	Behind  bool          // a read is answered by a replica that has not heard of the last write
	Repeat  bool          // a delivery comes twice
	Late    time.Duration // a delivery, or an acknowledgement, comes so much later
}

// A Handle is the store as one process sees it.
type Handle struct {
	*Store
	Turn func() time.Duration // how long it takes to react; nil for no time

	faults func(call string) Fault
	mu     sync.Mutex
	killed bool
	stop   time.Time     // until then the process is stopped
	closed chan struct{} // for good
}

// Handle returns a new handle.
func (s *Store) Handle(faults Faults) *Handle {
	if faults == nil {
		faults = func(string) Fault { return Fault{} }
	}
	return &Handle{Store: s, faults: faults, closed: make(chan struct{})}
}

// Kill ends the process: nothing that it does has an effect from now on.
func (h *Handle) Kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.killed = true
}

// Killed reports whether the process was killed.
func (h *Handle) Killed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.killed
}

// Stop stops the process for a while, as SIGSTOP does.
func (h *Handle) Stop(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop = time.Now().Add(d)
}

// Stopped waits as long as the process is stopped.
func (h *Handle) Stopped() {
	h.mu.Lock()
	d := time.Until(h.stop)
	h.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

// call waits as long as a call takes, and returns what goes wrong with it.
func (h *Handle) call(ctx context.Context, name string) (Fault, error) {
	f := h.faults(name)
	sleep(ctx, f.Wait)
	h.Stopped()
	h.Store.mu.Lock()
	silent := time.Until(h.silent)
	h.Store.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return f, ctx.Err()
	case h.Killed():
		return f, ErrAway
	case silent > 0:
		sleep(ctx, min(silent, 10*time.Second))
		return f, ErrAway
	case f.Lose:
		sleep(ctx, 5*time.Second)
		return f, ErrAway
	}
	return f, nil
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Get implements [store.Store].
func (h *Handle) Get(ctx context.Context, t store.Table, key string) (store.Entry, error) {
	f, err := h.call(ctx, "get "+t.String()+key)
	if err != nil {
		return store.Entry{}, err
	}
	return h.get(t, key, f.Behind), nil
}

// Newest implements [store.Store].
func (h *Handle) Newest(ctx context.Context, t store.Table, key string) (store.Entry, error) {
	if _, err := h.call(ctx, "newest "+t.String()+key); err != nil {
		return store.Entry{}, err
	}
	return h.get(t, key, false), nil
}

func (s *Store) get(t store.Table, key string, behind bool) store.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tables[t].entries[key]
	if behind {
		e = s.tables[t].before[key]
	}
	e.Key, e.Value = key, slices.Clone(e.Value)
	return e
}

// Put implements [store.Store].
func (h *Handle) Put(ctx context.Context, t store.Table, key string, value []byte, seq uint64) (uint64, error) {
	f, err := h.call(ctx, "put "+t.String()+key)
	if err != nil {
		return 0, err
	}
	written, err := h.put(t, key, value, &seq)
	if err == nil && f.LoseAck {
		sleep(ctx, 5*time.Second)
		return 0, ErrAway
	}
	return written, err
}

// Set implements [store.Store].
func (h *Handle) Set(ctx context.Context, t store.Table, key string, value []byte) error {
	call := "set " + t.String()
	if t == store.Audit {
		call = "append"
	}
	if _, err := h.call(ctx, call+key); err != nil {
		return err
	}
	_, err := h.put(t, key, value, nil)
	return err
}

func (s *Store) put(t store.Table, key string, value []byte, seq *uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.tables[t]
	if seq != nil && current.entries[key].Seq != *seq {
		return 0, store.ErrConflict
	}
	current.write(key, value)
	if t == store.Audit { // it keeps all
		current.events = append(current.events, current.entries[key])
		clear(current.entries)
	}
	if account, _, _ := strings.Cut(key, "."); t == store.Orders && s.queues[account] != nil {
		s.queues[account].changed.send()
	}
	return current.last, nil
}

// LastSeq implements [store.Store].
func (h *Handle) LastSeq(ctx context.Context, t store.Table) (uint64, error) {
	if _, err := h.call(ctx, "last"+t.String()); err != nil {
		return 0, err
	}
	h.Store.mu.Lock()
	defer h.Store.mu.Unlock()
	return h.tables[t].last, nil
}

// Read implements [store.Store].
func (h *Handle) Read(ctx context.Context, t store.Table, follow bool) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		_, err := h.call(ctx, "read"+t.String())
		if err != nil {
			yield(store.Entry{}, err)
			return
		}
		var last uint64
		h.Store.mu.Lock()
		epoch := h.tables[t].epoch
		h.Store.mu.Unlock()
		for first := true; ; first = false {
			h.Store.mu.Lock()
			all, changed, lost := h.tables[t].sorted(), h.tables[t].changed.wait(), h.tables[t].epoch != epoch
			h.Store.mu.Unlock()
			if lost || h.Killed() {
				yield(store.Entry{}, ErrAway)
				return
			}
			for _, e := range all {
				if e.Seq > last {
					if last = e.Seq; !yield(e, nil) {
						return
					}
				}
			}
			if first && (!follow || !yield(store.Entry{}, nil)) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(store.Entry{}, ctx.Err())
				return
			}
		}
	}
}

// Queue implements [store.Store].
func (h *Handle) Queue(ctx context.Context, account string) error {
	_, err := h.call(ctx, "queue"+account)
	h.Store.mu.Lock()
	defer h.Store.mu.Unlock()
	if err == nil {
		h.mend(account)
	}
	return err
}

// mend makes a queue that is missing, or that is ahead of its orders. It is called with s.mu held.
func (s *Store) mend(account string) *queue {
	q := s.queues[account]
	if q != nil && q.next <= s.tables[store.Orders].last+1 {
		return q
	}
	if q != nil {
		q.changed.send()
	}
	q = &queue{pending: make(map[string]pending)}
	s.queues[account] = q
	return q
}

// HandOut implements [store.Store].
func (h *Handle) HandOut(ctx context.Context, account string, n int) iter.Seq2[store.Delivery, error] {
	return func(yield func(store.Delivery, error) bool) {
		if _, err := h.call(ctx, "hand out"+account); err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithTimeout(ctx, h.Fetch)
		defer cancel()
		for n > 0 && ctx.Err() == nil && !h.Killed() {
			entry, next, changed := h.take(account, time.Now())
			if entry.Seq == 0 {
				timer := time.NewTimer(next)
				select {
				case <-timer.C:
				case <-changed:
				case <-ctx.Done():
				}
				timer.Stop()
				if h.Turn != nil { // of several that wait, it is not chance who is first
					sleep(ctx, h.Turn())
				}
				continue
			}
			f := h.faults("deliver" + entry.Key)
			if f.Late > 0 { // longer than anyone waits for it: another worker may have it by then
				sleep(ctx, f.Late)
			}
			h.Stopped()
			d := delivery{h, account, entry}
			n--
			if !yield(d, nil) || f.Repeat && !yield(d, nil) {
				return
			}
		}
	}
}

// take takes the next order that is due, or returns how long there is none.
func (s *Store) take(account string, now time.Time) (store.Entry, time.Duration, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[account]
	if q == nil {
		q = &queue{pending: make(map[string]pending)}
		s.queues[account] = q
	}
	if silent := s.silent.Sub(now); silent > 0 {
		return store.Entry{}, silent, q.changed.wait()
	}
	orders := s.tables[store.Orders].entries
	wait := time.Duration(math.MaxInt64)
	var best store.Entry
	for key, p := range q.pending {
		if orders[key].Seq != p.entry.Seq { // it was replaced
			delete(q.pending, key)
		} else if due := p.until.Sub(now); due > 0 {
			wait = min(wait, due)
		} else if best.Seq == 0 || p.entry.Seq < best.Seq {
			best = orders[key]
		}
	}
	if best.Seq == 0 {
		for key, e := range orders {
			if e.Seq >= q.next && strings.HasPrefix(key, account+".") && (best.Seq == 0 || e.Seq < best.Seq) {
				best = e
			}
		}
		if best.Seq > 0 {
			q.next = best.Seq + 1
		}
	}
	if best.Seq > 0 {
		q.pending[best.Key] = pending{best, now.Add(s.AckWait)}
	}
	return best, wait, q.changed.wait()
}

// Queued implements [store.Store].
func (h *Handle) Queued(ctx context.Context, account string) (n int, err error) {
	if _, err := h.call(ctx, "queued"+account); err != nil {
		return 0, err
	}
	h.Store.mu.Lock()
	defer h.Store.mu.Unlock()
	q := h.mend(account)
	for key, e := range h.tables[store.Orders].entries {
		if strings.HasPrefix(key, account+".") && (e.Seq >= q.next || q.pending[key].entry.Seq == e.Seq) {
			n++
		}
	}
	return n, nil
}

// Now implements [store.Store].
func (h *Handle) Now(ctx context.Context) (time.Time, error) {
	_, err := h.call(ctx, "now")
	return time.Now(), err
}

// MaxValue implements [store.Store].
func (h *Handle) MaxValue() int64 { return 1 << 20 }

// Flush implements [store.Store].
func (h *Handle) Flush() error { return nil }

// Closed implements [store.Store].
func (h *Handle) Closed() <-chan struct{} { return h.closed }

// Close implements [store.Store].
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
	return nil
}

type delivery struct {
	h       *Handle
	account string
	entry   store.Entry
}

func (d delivery) Entry() store.Entry { return d.entry }
func (d delivery) Ack()               { d.change("ack", func(q *queue) { delete(q.pending, d.entry.Key) }) }
func (d delivery) Keep()              { d.GiveBack(d.h.AckWait) }

func (d delivery) GiveBack(after time.Duration) {
	d.change("give back", func(q *queue) {
		q.pending[d.entry.Key] = pending{d.entry, time.Now().Add(after)}
		q.changed.send()
	})
}

// change changes the queue if it still has the order in hand. It is sent and forgotten, as with JetStream.
func (d delivery) change(call string, change func(*queue)) {
	f := d.h.faults(call + d.entry.Key)
	if d.h.Killed() || f.Lose || f.LoseAck {
		return
	}
	d.h.Store.mu.Lock()
	defer d.h.Store.mu.Unlock()
	q := d.h.queues[d.account]
	if q != nil && q.pending[d.entry.Key].entry.Seq == d.entry.Seq && time.Now().After(d.h.silent) {
		change(q)
	}
}
