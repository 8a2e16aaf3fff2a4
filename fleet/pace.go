package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"sync"
	"time"

	"github.com/zapi-go/zapi"
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
	if _, err := f.createConsumer(ctx, account, f.timing.ackWait); err != nil {
		return err
	}
	if err := newPacer(f.connection, account, p).change(ctx, func(used time.Time) time.Time {
		if now := time.Now(); used.After(now) {
			return now
		}
		return used
	}); err != nil {
		return err
	}
	return f.set(ctx, accountBucket, account, encode(p))
}

// addAccount makes an account known to the workers, unless it is.
func (f *Fleet) addAccount(ctx context.Context, account string) error {
	if _, err := f.createConsumer(ctx, account, f.timing.ackWait); err != nil {
		return err
	}
	if _, err := f.put(ctx, accountBucket, account, encode(defaultPace), 0); err != nil && !isConflict(err) {
		return err
	}
	return nil
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

// sliceLength is the most of the shared time that a worker takes at once, and how long it may keep what it does not use.
const sliceLength = 250 * time.Millisecond

// pacer hands out the pace of an account. The entry in the bucket holds the time at which all that was handed out is used
// up (GCRA). Each worker takes slices of it by compare-and-set and spends them by itself. The size of a slice follows what
// the worker has used of late, so that none takes what another one needs.
type pacer struct {
	connection *connection
	account    string
	turn       chan struct{} // one order at a time waits: times that are given out early escape a hold

	mu                 sync.Mutex
	pace               Pace
	size               time.Duration // of a slice
	start, next, until time.Time     // of the slice in hand
	taken, expires     time.Time
	changed            chan struct{} // closed when the slice in hand no longer counts
}

func newPacer(c *connection, account string, pace Pace) *pacer {
	return &pacer{connection: c, account: account, turn: make(chan struct{}, 1), pace: pace, changed: make(chan struct{})}
}

func (p *pacer) set(pace Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = pace
	p.drop()
}

// drop makes the order that waits take another slice.
func (p *pacer) drop() {
	p.start, p.next, p.until = time.Time{}, time.Time{}, time.Time{}
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits until n requests may be sent.
func (p *pacer) wait(ctx context.Context, n int) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		at, changed, err := p.reserve(ctx, n)
		if err != nil {
			return err
		}
		d := time.Until(at)
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

func (p *pacer) reserve(ctx context.Context, n int) (at time.Time, changed chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	need, now := p.pace.duration(n), time.Now()
	if spent := p.next.Add(need).After(p.until); spent || now.After(p.expires) {
		if used := p.next.Sub(p.start); spent && now.Sub(p.taken) < sliceLength {
			p.size = min(2*p.size, sliceLength)
		} else {
			p.size = used
		}
		p.size = max(need, p.size.Truncate(need)) // a whole number of calls, or the rest would be lost
		from, to, err := p.take(ctx, p.size)
		if err != nil {
			return at, nil, err
		}
		p.start, p.next, p.until = from, from, to
		p.taken, p.expires = now, latest(now, to).Add(sliceLength)
	}
	at = p.next
	p.next = at.Add(need)
	return at, p.changed, nil
}

// take gets a slice of the shared time.
func (p *pacer) take(ctx context.Context, length time.Duration) (from, to time.Time, err error) {
	err = p.change(ctx, func(used time.Time) time.Time {
		from = latest(used, time.Now().Add(-p.pace.duration(p.pace.Burst)))
		to = from.Add(length)
		return to
	})
	return from, to, err
}

// hold keeps all workers of the account from sending for d, as the API asked for it.
func (p *pacer) hold(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
	until := time.Now().Add(d)
	return p.change(ctx, func(used time.Time) time.Time { return latest(used, until) })
}

// change writes what next makes of the time at which all that was handed out is used up.
func (p *pacer) change(ctx context.Context, next func(used time.Time) time.Time) error {
	for {
		value, revision, err := p.connection.get(ctx, paceBucket, p.account)
		if err != nil {
			return err
		}
		var used time.Time
		if len(value) == 8 {
			used = time.Unix(0, int64(binary.BigEndian.Uint64(value)))
		}
		value = binary.BigEndian.AppendUint64(nil, uint64(next(used).UnixNano()))
		if _, err = p.connection.put(ctx, paceBucket, p.account, value, revision); !isConflict(err) {
			return err
		}
		pause(ctx, 5*time.Millisecond)
	}
}
