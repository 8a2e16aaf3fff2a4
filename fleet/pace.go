package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
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
	ctx, end, err := f.begin(ctx, op, checkName(op, "account", account), p.check(op))
	if err != nil {
		return err
	}
	defer end()
	if err := f.store.Queue(ctx, account); err != nil {
		return engineError(ctx, "making the queue", err)
	}
	if err := f.changePace(ctx, account, func(used, _ time.Time) (time.Time, time.Time) {
		if now := f.clock.now(); used.After(now) {
			used = now
		}
		return used, time.Time{}
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

// cost returns the number of requests that Apply sends.
func cost(p zapi.Policy) (requests int) {
	for _, audience := range []*zapi.Audience{p.LastSeen, p.Photo, p.Description, p.GroupAdd} {
		if audience != nil {
			requests++
			if audience.Except != nil {
				requests++ // the list is read first
			}
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
// wants nothing. A worker takes a slice of the time behind the first by compare-and-set, and spends it by itself. A slice is
// as long as one call, or twice as long as the last one if that was used up in time: so no worker takes what another one needs. A time
// that is far ahead was written by a worker whose clock is wrong, and does not count.
type pacer struct {
	fleet   *Fleet
	account string

	mu      sync.Mutex
	pace    Pace
	changed chan struct{} // closed when the pace changes

	// What follows belongs to the one order whose turn it is. The others have no times yet, so that a hold reaches them.
	turn                 *semaphore.Weighted
	next, until, expires time.Time // of the slice in hand
	size                 time.Duration
}

func newPacer(f *Fleet, account string, pace Pace) *pacer {
	return &pacer{fleet: f, account: account, turn: semaphore.NewWeighted(1), pace: pace, changed: make(chan struct{})}
}

// set changes the pace. The order that waits asks again.
func (p *pacer) set(pace Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = pace
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
		select {
		case <-time.After(p.fleet.clock.until(at)):
			return nil
		case <-changed:
			p.next, p.until = time.Time{}, time.Time{} // the slice in hand may begin when an older pace or a 429 ends
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reserve returns when n requests may be sent, unless the pace changes before.
func (p *pacer) reserve(ctx context.Context, n int) (at time.Time, changed chan struct{}, err error) {
	p.mu.Lock()
	pace, changed := p.pace, p.changed
	p.mu.Unlock()
	need, now := pace.duration(n), p.fleet.clock.now()
	isSpent, isOver := p.next.Add(need).After(p.until), now.After(p.expires)
	if isSpent || isOver {
		p.size = min(2*p.size, sliceLength)
		if isOver { // it did not need all of it
			p.size = need
		}
		p.size = max(need, p.size.Truncate(need)) // a whole number of calls, or the rest would be lost
		from, err := p.take(ctx, pace, p.size, need)
		if err != nil {
			return at, nil, err
		}
		p.next, p.until = from, from.Add(p.size)
		p.expires = latest(p.fleet.clock.now(), p.until).Add(sliceLength)
	}
	at = p.next
	p.next = at.Add(need)
	return at, changed, nil
}

// take takes a slice of the shared time, and returns when it begins.
func (p *pacer) take(ctx context.Context, pace Pace, size, need time.Duration) (from time.Time, err error) {
	err = p.fleet.changePace(ctx, p.account, func(used, held time.Time) (time.Time, time.Time) {
		now := p.fleet.clock.now()
		if farthest := now.Add(max(farthestTaken, mostSlices*need)); used.After(farthest) {
			p.fleet.log.WarnContext(ctx, "the pace was handed out too far ahead: the clock of a worker differs", "account", p.account, "until", used)
			used = farthest
		}
		from = latest(used, held, now.Add(-pace.duration(pace.Burst)))
		return from.Add(size), held
	})
	return from, err
}

// hold keeps all workers of the account from sending until then, as the API asked for it. Each may spend the slice that it has in hand.
func (p *pacer) hold(ctx context.Context, until time.Time) error {
	return p.fleet.changePace(ctx, p.account, func(used, held time.Time) (time.Time, time.Time) { return used, latest(held, until) })
}

// changePace writes what next makes of the time up to which the pace was handed out, and of that until which the account is held.
func (f *Fleet) changePace(ctx context.Context, account string, next func(used, held time.Time) (time.Time, time.Time)) error {
	for ; ; pause(ctx, 5*time.Millisecond) {
		e, err := f.store.Newest(ctx, store.Paces, account)
		if err != nil {
			return engineError(ctx, "reading the pace", err)
		}
		if _, err = f.store.Put(ctx, store.Paces, account, encodeTimes(next(decodeTimes(e.Value))), e.Seq); !isConflict(err) {
			return engineError(ctx, "writing the pace", err)
		}
	}
}

// encodeTimes writes the two times as nanoseconds, and decodeTimes reads them. An earlier release wrote only the first.
func encodeTimes(used, held time.Time) []byte {
	value := binary.BigEndian.AppendUint64(nil, uint64(used.UnixNano()))
	return binary.BigEndian.AppendUint64(value, uint64(held.UnixNano()))
}

func decodeTimes(value []byte) (used, held time.Time) {
	var nanos [2]int64
	_, _ = binary.Decode(slices.Concat(value, make([]byte, 16)), binary.BigEndian, &nanos) // it is never too short
	return time.Unix(0, nanos[0]), time.Unix(0, nanos[1])
}
