package fleet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/zapi-go/zapi"
)

// A Resolver finds the credentials of an instance. It is called for each attempt, from many goroutines. [ErrNoInstance]
// parks the order; after any other error it is tried again. It must return when ctx is done. The text of the error goes to
// the logger, so keep secrets out of it.
type Resolver interface {
	Credentials(ctx context.Context, t Target) (zapi.Credentials, error)
}

// A WorkOption changes a default of [Fleet.Work].
type WorkOption func(*workSettings) error

type workSettings struct {
	client            []zapi.Option
	perAccount, total int
	applyTimeout      time.Duration
	backoff           backoff
}

// WithClient passes options to [zapi.NewClient], such as [zapi.WithBaseURL]. Retries inside the client are always off, as
// Work itself tries again.
func WithClient(opts ...zapi.Option) WorkOption {
	return func(s *workSettings) error {
		s.client = append(s.client, opts...)
		return nil
	}
}

// WithCalls bounds the calls in flight of this worker, per account and in all. The default is 16 and 64.
func WithCalls(perAccount, total int) WorkOption {
	return func(s *workSettings) error {
		if perAccount < 1 || perAccount > total || total > 5_000 {
			return invalid("Work", "WithCalls", "must be 1 ≤ perAccount ≤ total ≤ 5,000")
		}
		s.perAccount, s.total = perAccount, total
		return nil
	}
}

// WithApplyTimeout bounds one call of [zapi.Client.Apply], and that of the resolver with it: a second to an hour, by default
// a minute. An instance stays claimed for as long and 15 seconds after its worker has crashed.
func WithApplyTimeout(d time.Duration) WorkOption {
	return func(s *workSettings) error {
		if d < time.Second || d > time.Hour {
			return invalid("Work", "WithApplyTimeout", "must be a second to an hour")
		}
		s.applyTimeout = d
		return nil
	}
}

// WithAttempts bounds the attempts of an order until it is parked, and the waits between them: between half and all of minWait,
// doubled with each attempt up to maxWait. The default is 8 attempts, 5 seconds and 15 minutes. A 429 does not count.
func WithAttempts(n int, minWait, maxWait time.Duration) WorkOption {
	return func(s *workSettings) error {
		if n < 1 || minWait <= 0 || maxWait < minWait || maxWait > 24*time.Hour {
			return invalid("Work", "WithAttempts", "must be n ≥ 1 and 0 < minWait ≤ maxWait ≤ 24 hours")
		}
		s.backoff = backoff{n, minWait, maxWait}
		return nil
	}
}

// Work applies orders until ctx or f ends: it takes no new ones then, ends the calls that are in flight, and returns nil, or
// [ErrClosed]. Any number of calls and processes can work at the same time.
//
// Its error is a [*zapi.ValidationError] for an option, or [ErrEngine] when the engine cannot be reached at the start.
// Later it waits for the engine to come back.
func (f *Fleet) Work(ctx context.Context, r Resolver, opts ...WorkOption) error {
	const op = "Work"
	if r == nil {
		return invalid(op, "r", "must not be nil")
	}
	s := workSettings{perAccount: 16, total: 64, applyTimeout: time.Minute, backoff: backoff{8, 5 * time.Second, 15 * time.Minute}}
	if err := configure(op, &s, opts); err != nil {
		return err
	}
	// These credentials are never used: each call gets those of its instance.
	none := zapi.Credentials{InstanceID: "none", Token: "none", ClientToken: "none"}
	base, err := zapi.NewClient(none, append(s.client, zapi.WithRetry(zapi.RetryPolicy{}), zapi.WithMiddleware(refuseLate))...)
	if err != nil {
		return err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return err
	}
	defer end()
	w := &worker{
		Fleet: f, workSettings: s, base: base, resolver: r, name: workerName(),
		slots: make(chan struct{}, s.total), hands: make(chan struct{}, inHand(s.total)), suspects: make(chan struct{}, 1),
	}
	return w.run(ctx)
}

// inHand is how many orders are held for so many calls, so that the engine's part does not keep the API waiting.
func inHand(calls int) int { return calls + (calls+1)/2 }

var workers atomic.Int64

// workerName is unique among the workers that run.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%d", host, os.Getpid(), workers.Add(1))
}

// worker is one call of Work.
type worker struct {
	*Fleet
	workSettings
	base     *zapi.Client
	resolver Resolver
	name     string
	policies sync.Map      // key to zapi.Policy
	slots    chan struct{} // one for each call in flight
	hands    chan struct{} // one for each order in hand
	suspects chan struct{} // orders that may end workers go one at a time, so that one takes no others with it
	held     sync.Map      // the jetstream.Msg of each order in hand
}

func (w *worker) run(ctx context.Context) error {
	const forever time.Duration = math.MaxInt64
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops, support sync.WaitGroup
	support.Go(func() { w.heartbeats(background) })
	support.Go(func() { w.sweeps(ctx) })
	accounts := make(map[string]*account)
	err := w.follow(ctx, accountBucket, forever, func(m message) {
		switch a, found := accounts[m.key]; {
		case m.key == "":
		case found:
			a.pacer.set(decodePace(m.data))
		default:
			a = w.newAccount(m.key, decodePace(m.data))
			accounts[m.key] = a
			loops.Go(func() { w.loop(ctx, a) })
		}
	})
	cancel()
	loops.Wait()
	stop() // only now: what is in hand needs heartbeats to its end
	support.Wait()
	if err == nil && context.Cause(ctx) == ErrClosed { //nolint:errorlint // the very cause that Close sets
		return ErrClosed
	}
	return err
}

func (w *worker) warn(ctx context.Context, msg string, err error, args ...any) {
	if ctx.Err() == nil {
		w.log.WarnContext(ctx, msg, append(args, "worker", w.name, "error", err)...)
	}
}

// account is what a worker has of an account.
type account struct {
	name  string
	pacer *pacer
	slots chan struct{}
	hands chan struct{}
}

func (w *worker) newAccount(name string, pace Pace) *account {
	return &account{
		name:  name,
		pacer: newPacer(w.connection, name, pace),
		slots: make(chan struct{}, w.perAccount),
		hands: make(chan struct{}, inHand(w.perAccount)),
	}
}

// loop pulls the orders of an account, as many as there are free hands, and handles each on its own.
func (w *worker) loop(ctx context.Context, a *account) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		consumer, err := w.orders.Consumer(ctx, consumerOf(a.name))
		if errors.Is(err, jetstream.ErrConsumerNotFound) { // deleted by hand
			consumer, err = w.createConsumer(ctx, a.name, w.timing.ackWait)
		}
		for err == nil && ctx.Err() == nil {
			err = w.pull(ctx, a, consumer, &handlers)
		}
		w.warn(ctx, "cannot pull orders", err, "account", a.name)
	}
}

// pull makes one request for orders.
func (w *worker) pull(ctx context.Context, a *account, consumer jetstream.Consumer, handlers *sync.WaitGroup) error {
	free := acquire(ctx, a.hands)
	defer func() {
		for range free {
			<-a.hands
		}
	}()
	if free == 0 {
		return nil
	}
	// All accounts together may have more hands than this worker: leave what it cannot hold to others.
	n := min(free, max(1, cap(w.hands)-len(w.hands)))
	fetch, cancel := context.WithTimeout(ctx, w.timing.fetch)
	defer cancel()
	orders, err := consumer.Fetch(n, jetstream.FetchContext(fetch))
	if err != nil {
		return err
	}
	for m := range orders.Messages() {
		free-- // the order has the hand now
		w.held.Store(m, nil)
		w.hands <- struct{}{}
		handlers.Go(func() {
			defer func() {
				w.held.Delete(m)
				<-w.hands
				<-a.hands
			}()
			w.handle(ctx, a, m)
		})
	}
	if fetch.Err() != nil {
		return nil
	}
	return orders.Error()
}

// acquire waits for one hand, and takes all that are free then.
func acquire(ctx context.Context, hands chan struct{}) (n int) {
	select {
	case hands <- struct{}{}:
		n++
	case <-ctx.Done():
		return 0
	}
	for n < cap(hands) {
		select {
		case hands <- struct{}{}:
			n++
		default:
			return n
		}
	}
	return n
}

// heartbeats keeps what is in hand from being given to another worker.
func (w *worker) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(w.timing.ackWait / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for m := range w.held.Range {
			_ = m.(jetstream.Msg).InProgress() // one that is lost is followed by another
		}
	}
}

// giveBack makes the engine deliver an order again after d.
func giveBack(m jetstream.Msg, d time.Duration) {
	_ = m.NakWithDelay(max(d, 20*time.Millisecond)) // if it is lost, AckWait does the same
}

// soon is a short wait for when another worker was faster.
func soon() time.Duration {
	return 50*time.Millisecond + rand.N(200*time.Millisecond)
}
