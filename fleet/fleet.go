package fleet

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Fleet starts rollouts, applies them and reports their progress. It is made by [Open] and safe for concurrent use.
type Fleet struct {
	store  store.Store
	log    *slog.Logger
	timing timing
	clock  *clock
	actor  string // for the audit

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	mu     sync.Mutex // guards calls.Add against calls.Wait
	calls  sync.WaitGroup
}

// timing is what tests make shorter or replace.
type timing struct {
	ackWait    time.Duration // after which the engine gives an order to another worker
	grace      time.Duration // by which the clocks of the workers may differ
	settle     time.Duration // in which a request without a response may still arrive
	fetch      time.Duration // one pull
	patience   time.Duration // how long the engine may be away before Watch fails
	held       time.Duration // after which a held order is looked at again, at most
	sweepEvery time.Duration
	sweepAge   time.Duration       // after which an unsettled order is suspicious
	wall       func() time.Time    // the clock of this machine
	random     func(n int64) int64 // a number in [0, n)
}

var defaultTiming = timing{
	ackWait:    30 * time.Second,
	grace:      15 * time.Second,
	settle:     10 * time.Second,
	fetch:      5 * time.Second,
	patience:   time.Minute,
	held:       30 * time.Second,
	sweepEvery: 5 * time.Minute,
	sweepAge:   time.Minute,
	wall:       time.Now,
	random:     rand.Int64N,
}

// An Option changes a default of [Open].
type Option func(*settings) error

type settings struct {
	replicas int
	log      *slog.Logger
	insecure bool
	actor    string
	timing   timing
}

// WithReplicas sets how many servers of a cluster keep each entry: 1, 3 or 5. Streams that have fewer are raised to that, or
// Open returns an error that names both numbers; streams that have more are left as they are. Without this option, streams are
// created with 1 for [Embedded] and 3 for [URL], and not changed.
func WithReplicas(n int) Option {
	return func(s *settings) error {
		if n != 1 && n != 3 && n != 5 {
			return invalid("Open", "WithReplicas", "must be 1, 3 or 5")
		}
		s.replicas = n
		return nil
	}
}

// WithLogger logs failures with the whole error, and what was ordered again. It logs no credentials, but whatever a [Resolver]
// or a server puts into an error is logged. The default is silent.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) error {
		if l == nil {
			return invalid("Open", "WithLogger", "must not be nil")
		}
		s.log = l
		return nil
	}
}

// WithInsecure accepts a [URL] without TLS beyond loopback: anyone on the way can read policies and the engine's token.
func WithInsecure() Option {
	return func(s *settings) error {
		s.insecure = true
		return nil
	}
}

// configure applies opts to settings.
func configure[S any, O ~func(*S) error](op string, settings *S, opts []O) error {
	for _, opt := range opts {
		if opt == nil {
			return invalid(op, "opts", "must not hold nil")
		}
		if err := opt(settings); err != nil {
			return err
		}
	}
	return nil
}

// Open connects to the engine and creates the streams and buckets if they are missing. It tries once to reach the
// engine, and then waits up to 15 seconds, or until ctx is done, for a cluster that is starting.
//
// Its error is a [*zapi.ValidationError], [ErrStoreInUse], [ErrInsecureURL] or [ErrEngine].
func Open(ctx context.Context, e Engine, opts ...Option) (*Fleet, error) {
	s := settings{log: slog.New(slog.DiscardHandler), timing: defaultTiming}
	if ctx == nil {
		return nil, invalid("Open", "ctx", "must not be nil")
	}
	if e == nil {
		return nil, invalid("Open", "e", "must not be nil")
	}
	if err := configure("Open", &s, opts); err != nil {
		return nil, err
	}
	opened, err := e.open(ctx, s)
	if err != nil {
		return nil, err
	}
	f := newFleet(opened, s)
	f.clock.measure(ctx)
	return f, nil
}

func newFleet(opened store.Store, s settings) *Fleet {
	f := &Fleet{store: opened, log: s.log, timing: s.timing, actor: s.actor}
	f.clock = newClock(opened, s.log, s.timing)
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	f.calls.Go(func() {
		select {
		case <-opened.Closed():
			f.cancel(fmt.Errorf("%w: the connection is closed for good", ErrEngine))
		case <-f.ctx.Done():
		}
	})
	return f
}

// Close ends all calls of f, lets workers end what is in hand, closes the connection and stops the engine if it is
// embedded. It waits for all calls, so it must not be called in a loop over [Fleet.Watch]. Closing again does nothing.
func (f *Fleet) Close() error {
	f.mu.Lock()
	f.cancel(ErrClosed)
	f.mu.Unlock()
	f.calls.Wait()
	return f.store.Close()
}

// begin returns a context that also ends with Close, and with [ErrEngine] when the connection is closed for good. The caller
// calls end when it is done; Close waits for it. Each of checks is what an argument is refused with, or nil.
func (f *Fleet) begin(ctx context.Context, op string, checks ...error) (_ context.Context, end func(), _ error) {
	if err := cmp.Or(checks...); err != nil {
		return nil, nil, err
	}
	if ctx == nil {
		return nil, nil, invalid(op, "ctx", "must not be nil")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return nil, nil, context.Cause(f.ctx)
	}
	f.calls.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(f.ctx, func() { cancel(context.Cause(f.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
		f.calls.Done()
	}, nil
}

// readAll reads the newest entry of each key of a table.
func readAll[V any](ctx context.Context, f *Fleet, t store.Table, read func(store.Entry) V) (map[string]V, error) {
	all := make(map[string]V)
	for e, err := range f.store.Read(ctx, t, false) {
		if err != nil {
			return nil, engineError(ctx, "reading "+t.String(), err)
		}
		all[e.Key] = read(e)
	}
	return all, nil
}

// listed returns what list returns, one after another. Its error, or what an argument is refused with, ends the sequence.
func listed[T any](ctx context.Context, f *Fleet, op string, refused error, list func(context.Context) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var all []T
		ctx, end, err := f.begin(ctx, op, refused)
		if err == nil {
			all, err = list(ctx)
			end()
		}
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			yield(*new(T), err)
		}
	}
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
