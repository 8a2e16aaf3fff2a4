package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Pace is a rate of requests to the API that all workers of an account share.
type Pace struct {
	PerSecond float64 `json:"rate"`  // 0.001 to 1,000,000
	Burst     int     `json:"burst"` // requests that may go at once after a rest; at least 1
}

// defaultPace is a guess: no limit of the provider's is known.
var defaultPace = Pace{PerSecond: 20, Burst: 5}

func (p Pace) check(op string) error {
	switch {
	case math.IsNaN(p.PerSecond), p.PerSecond < 0.001, p.PerSecond > 1e6:
		return invalid(op, "Pace.PerSecond", "must be 0.001 to 1,000,000")
	case p.Burst < 1, p.Burst > 1e6:
		return invalid(op, "Pace.Burst", "must be 1 to 1,000,000")
	}
	return nil
}

func (p Pace) duration(requests int) time.Duration {
	return time.Duration(float64(requests) / p.PerSecond * float64(time.Second))
}

// SetPace sets the rate of an account. Workers that are running change to it at once, and no longer wait for what an older
// pace or a 429 asked for. The default is 20 requests per second with a burst of 5.
func (f *Fleet) SetPace(ctx context.Context, account string, p Pace) error {
	const op = "SetPace"
	if err := checkName(op, "account", account); err != nil {
		return err
	}
	if err := p.check(op); err != nil {
		return err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return err
	}
	defer end()
	if err := f.store.Queue(ctx, account); err != nil {
		return engineError(ctx, "making the queue", err)
	}
	if err := newPacer(f, account, p).change(ctx, func(used, _ time.Time) (time.Time, time.Time) {
		return earliest(used, f.clock.now()), time.Time{}
	}); err != nil {
		return err
	}
	if err := f.store.Set(ctx, store.Accounts, account, encode(p)); err != nil {
		return engineError(ctx, "writing the account", err)
	}
	return f.record(ctx, actionPace, "", 0, "account %s: %g per second, burst %d", account, p.PerSecond, p.Burst)
}

// addAccount makes an account known to the workers, unless it is.
func (f *Fleet) addAccount(ctx context.Context, account string) error {
	err := f.store.Queue(ctx, account)
	var e store.Entry
	if err == nil {
		e, err = f.store.Newest(ctx, store.Accounts, account)
	}
	if err == nil && len(e.Value) == 0 {
		_, err = f.store.Put(ctx, store.Accounts, account, encode(defaultPace), e.Seq)
	}
	if isConflict(err) {
		return nil
	}
	return engineError(ctx, "adding the account", err)
}

func decodePace(data []byte) Pace {
	var p Pace
	if json.Unmarshal(data, &p) != nil || p.check("") != nil {
		return defaultPace
	}
	return p
}

// cost is the number of requests that Apply sends.
func cost(p zapi.Policy) int {
	requests := 0
	for _, audience := range []*zapi.Audience{p.LastSeen, p.Photo, p.Description, p.GroupAdd} {
		switch {
		case audience == nil:
		case audience.Except != nil:
			requests += 2 // the list is read first
		default:
			requests++
		}
	}
	for _, set := range []bool{p.Online != "", p.ReadReceipts != "", p.MessageDuration != ""} {
		if set {
			requests++
		}
	}
	return requests
}

const (
	sliceLength   = 250 * time.Millisecond // the most that a worker takes at once, and how long it may keep what it does not use
	farthestTaken = time.Minute            // how far ahead the pace may be handed out, unless its slices are long
	mostSlices    = 100
)

// pacer hands out the pace of an account.
//
// The entry in the store holds one time, up to which everything was handed out (this is GCRA), and another one, until which the API
// wants nothing. A worker takes a slice of the time behind the first by compare-and-set, and spends it by itself. The size of a
// slice follows what the worker has used of late, so that none takes what another one needs. Each remembers what it has
// written: where nobody else has, the next slice needs no read. A time that is far ahead was written by a worker whose clock is
// wrong, and does not count.
type pacer struct {
	fleet   *Fleet
	account string
	turn    *semaphore.Weighted // one order at a time waits: times that are given out early escape a hold

	mu                 sync.Mutex // not held while the store is asked
	pace               Pace
	size               time.Duration // of a slice
	start, next, until time.Time     // of the slice in hand
	taken, expires     time.Time
	changed            chan struct{} // closed when the slice in hand no longer counts
	entry              store.Entry   // as it was last written or read
}

func newPacer(f *Fleet, account string, pace Pace) *pacer {
	return &pacer{fleet: f, account: account, turn: semaphore.NewWeighted(1), pace: pace, changed: make(chan struct{})}
}

func (p *pacer) set(pace Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = pace
	p.drop()
}

// drop makes the order that waits take another slice. It is called with p.mu held.
func (p *pacer) drop() {
	p.start, p.next, p.until = time.Time{}, time.Time{}, time.Time{}
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits until n requests may be sent.
func (p *pacer) wait(ctx context.Context, n int) error {
	if err := p.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.turn.Release(1)
	for {
		at, changed, err := p.reserve(ctx, n)
		if err != nil {
			return err
		}
		d := p.fleet.clock.until(at)
		if d <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(d):
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reserve returns when n requests may be sent. It is called by one at a time.
func (p *pacer) reserve(ctx context.Context, n int) (at time.Time, changed chan struct{}, err error) {
	for {
		p.mu.Lock()
		changed = p.changed
		need, now := p.pace.duration(n), p.fleet.clock.now()
		spent := p.next.Add(need).After(p.until)
		if !spent && !now.After(p.expires) {
			at = p.next
			p.next = at.Add(need)
			p.mu.Unlock()
			return at, changed, nil
		}
		if used := p.next.Sub(p.start); spent && now.Sub(p.taken) < sliceLength {
			p.size = min(2*p.size, sliceLength)
		} else {
			p.size = used
		}
		p.size = max(need, p.size.Truncate(need)) // a whole number of calls, or the rest would be lost
		pace, size := p.pace, p.size
		p.mu.Unlock()

		from, to, err := p.take(ctx, pace, size, need)
		if err != nil {
			return at, nil, err
		}
		p.mu.Lock()
		if changed == p.changed { // or it is for an earlier pace
			p.start, p.next, p.until = from, from, to
			p.taken, p.expires = now, latest(p.fleet.clock.now(), to).Add(sliceLength)
		}
		p.mu.Unlock()
	}
}

// take gets a slice of the shared time.
func (p *pacer) take(ctx context.Context, pace Pace, length, need time.Duration) (from, to time.Time, err error) {
	err = p.change(ctx, func(used, held time.Time) (time.Time, time.Time) {
		now := p.fleet.clock.now()
		if farthest := now.Add(max(farthestTaken, mostSlices*need)); used.After(farthest) {
			p.fleet.log.WarnContext(ctx, "the pace was handed out too far ahead: the clock of a worker differs", "account", p.account, "until", used)
			used = farthest
		}
		from = latest(used, held, now.Add(-pace.duration(pace.Burst)))
		to = from.Add(length)
		return to, held
	})
	return from, to, err
}

// hold keeps all workers of the account from sending until then, as the API asked for it.
func (p *pacer) hold(ctx context.Context, until time.Time) error {
	p.mu.Lock()
	p.drop()
	p.mu.Unlock()
	return p.change(ctx, func(used, held time.Time) (time.Time, time.Time) { return used, latest(held, until) })
}

// change writes what next makes of the time up to which the pace was handed out, and of that until which the account is held.
func (p *pacer) change(ctx context.Context, next func(used, held time.Time) (time.Time, time.Time)) error {
	p.mu.Lock()
	e := p.entry
	p.mu.Unlock()
	for {
		var err error
		if e.Seq == 0 {
			if e, err = p.fleet.store.Newest(ctx, store.Paces, p.account); err != nil {
				return engineError(ctx, "reading the pace", err)
			}
		}
		value := encodeTimes(next(decodeTimes(e.Value)))
		seq, err := p.fleet.store.Put(ctx, store.Paces, p.account, value, e.Seq)
		e = store.Entry{}
		if err == nil {
			e = store.Entry{Seq: seq, Value: value}
		}
		p.mu.Lock()
		p.entry = e
		p.mu.Unlock()
		if !isConflict(err) {
			return engineError(ctx, "writing the pace", err)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// decodeTimes reads the two times, of which an earlier release had only the first.
func decodeTimes(value []byte) (used, held time.Time) {
	times := [2]time.Time{}
	for i := range times {
		if len(value) >= 8*(i+1) {
			if nanos := int64(binary.BigEndian.Uint64(value[8*i:])); nanos > 0 {
				times[i] = time.Unix(0, nanos)
			}
		}
	}
	return times[0], times[1]
}

func encodeTimes(used, held time.Time) []byte {
	value := binary.BigEndian.AppendUint64(nil, uint64(used.UnixNano()))
	if !held.IsZero() {
		value = binary.BigEndian.AppendUint64(value, uint64(held.UnixNano()))
	}
	return value
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
