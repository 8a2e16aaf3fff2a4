package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Resolver finds the credentials of an instance. It is called for each attempt, from many goroutines. [ErrNoInstance]
// parks the order, [ErrElsewhere] leaves it to other workers; after any other error it is tried again. It must return when ctx is
// done. The text of the error goes to the logger, so keep secrets out of it.
type Resolver interface {
	Credentials(ctx context.Context, t Target) (zapi.Credentials, error)
}

// A WorkOption changes a default of [Fleet.Work].
type WorkOption func(*workSettings) error

type workSettings struct {
	client            []zapi.Option
	perAccount, total int // calls in flight
	applyTimeout      time.Duration
	limits            limits
	observe           func(Event)
}

// WithClient passes options to [zapi.NewAPI], such as [zapi.WithBaseURL]. Retries inside the client are always off, as
// Work itself tries again.
func WithClient(opts ...zapi.Option) WorkOption {
	return func(s *workSettings) error {
		s.client = append(s.client, opts...)
		return nil
	}
}

// WithCalls bounds the calls in flight of this worker, per account and in all. The default is 16 and 64. Two more may be in flight
// for orders during which workers have died before.
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

// WithAttempts bounds the attempts of an order until it is parked, and the waits between them: minWait, doubled with each attempt
// up to maxWait, and up to a quarter more. The default is 12 attempts, 5 seconds and 15 minutes, which is over an hour. What is not
// the fault of the order does not count: up to ten 429s in a row, a number that is not connected, an API that is away.
func WithAttempts(n int, minWait, maxWait time.Duration) WorkOption {
	return func(s *workSettings) error {
		if n < 1 || minWait <= 0 || maxWait < minWait || maxWait > 24*time.Hour {
			return invalid("Work", "WithAttempts", "must be n ≥ 1 and 0 < minWait ≤ maxWait ≤ 24 hours")
		}
		s.limits.attempts, s.limits.minWait, s.limits.maxWait = n, minWait, maxWait
		return nil
	}
}

// Work applies orders until ctx or f ends: it takes no new ones then, ends the calls that are in flight, and returns nil, or
// [ErrClosed]. Any number of calls and processes can work at the same time.
//
// It waits for an engine that is away. Its error is a [*zapi.ValidationError] for an option, or [ErrEngine] when the connection to
// the engine was closed for good.
func (f *Fleet) Work(ctx context.Context, r Resolver, opts ...WorkOption) error {
	const op = "Work"
	if r == nil {
		return invalid(op, "r", "must not be nil")
	}
	s := workSettings{perAccount: 16, total: 64, applyTimeout: time.Minute, limits: limits{
		12, 5 * time.Second, 15 * time.Minute, f.timing.settle, f.timing.random,
	}}
	if err := configure(op, &s, opts); err != nil {
		return err
	}
	api, err := zapi.NewAPI(append(s.client, zapi.WithRetry(zapi.RetryPolicy{}), zapi.WithMiddleware(refuseLate))...)
	if err != nil {
		return err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return err
	}
	defer end()
	w := &worker{
		workSettings: s, fleet: f, api: api, resolver: r, name: workerName(), holds: holds{fleet: f, known: make(map[string]known)},
		calls: semaphore.NewWeighted(int64(s.total)), suspects: semaphore.NewWeighted(suspectCalls),
	}
	return w.run(ctx)
}

// workerName is unique among the workers that run, and among those that have ended: a container begins anew with the same
// host name and process.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d-%08x", host, os.Getpid(), rand.Uint32())
}

// worker is one call of Work.
type worker struct {
	workSettings
	fleet     *Fleet
	api       *zapi.API
	resolver  Resolver
	name      string
	holds     holds
	policies  sync.Map            // key to zapi.Policy
	calls     *semaphore.Weighted // in flight
	suspects  *semaphore.Weighted // calls for orders that may crash a worker: few at a time, so that few others are lost with them
	inHand    sync.Map            // the store.Delivery of each order, by handID
	elsewhere sync.Map            // key to when the resolver did not know it
	busy      atomic.Int64        // accounts with orders in hand
}

// handID tells an order that is in hand.
type handID struct {
	key string
	seq uint64
}

const suspectCalls = 2

func (w *worker) run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops, support sync.WaitGroup
	support.Go(func() { w.heartbeats(background) })
	support.Go(func() { w.sweeps(ctx) })
	support.Go(func() { w.fleet.clock.follow(background) })
	accounts := make(map[string]*account)
	w.fleet.follow(ctx, store.Accounts, func(e store.Entry) {
		a, found := accounts[e.Key]
		if found {
			a.pacer.set(decodePace(e.Value))
		} else {
			a = &account{
				name: e.Key, pacer: newPacer(w.fleet, e.Key, decodePace(e.Value)), health: health{log: w.fleet.log, account: e.Key},
				calls: semaphore.NewWeighted(int64(w.perAccount)), freed: make(chan struct{}, 1),
			}
			accounts[e.Key] = a
			loops.Go(func() { w.loop(ctx, a) })
		}
	})
	ended := context.Cause(ctx)
	cancel()
	loops.Wait()
	stop() // only now: what is in hand needs heartbeats to its end
	support.Wait()
	if errors.Is(ended, ErrClosed) || errors.Is(ended, ErrEngine) {
		return ended
	}
	return nil
}

func (w *worker) warn(ctx context.Context, msg string, err error, args ...any) {
	if ctx.Err() == nil {
		w.fleet.log.WarnContext(ctx, msg, append(args, "worker", w.name, "error", err)...)
	}
}

// account is what a worker has of an account.
type account struct {
	name   string
	pacer  *pacer
	health health
	calls  *semaphore.Weighted // in flight
	inHand atomic.Int64
	freed  chan struct{} // has a value when an order has left the hand
}

// take takes an order of an account into the hand. It leaves it with release, which may be called again.
func (w *worker) take(a *account) (release func()) {
	if a.inHand.Add(1) == 1 {
		w.busy.Add(1)
	}
	return sync.OnceFunc(func() {
		if a.inHand.Add(-1) == 0 {
			w.busy.Add(-1)
		}
		select {
		case a.freed <- struct{}{}:
		default:
		}
	})
}

// inHand is how many orders are held for so many calls, so that the engine's part does not keep the API waiting.
func inHand(calls int) int { return calls + (calls+1)/2 }

// free returns how many orders of an account the worker may take now.
//
// An account whose API hangs keeps all that it has in hand until the calls time out. So that four of those do not keep a fifth
// from being served, an account that is not alone has no more than its share, and one more share is left for whoever comes next.
func (w *worker) free(a *account) int {
	has := a.inHand.Load()
	others := w.busy.Load()
	if has > 0 {
		others--
	}
	most := inHand(w.perAccount)
	if others > 0 {
		most = max(1, min(most, inHand(w.total)/int(others+2)))
	}
	return most - int(has)
}

// loop takes orders of an account, as many as it may have in hand, and handles each on its own.
func (w *worker) loop(ctx context.Context, a *account) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for ctx.Err() == nil {
		n := w.free(a)
		if n <= 0 {
			select {
			case <-a.freed:
			case <-time.After(100 * time.Millisecond): // its share may have grown
			case <-ctx.Done():
			}
			continue
		}
		for d, err := range w.fleet.store.HandOut(ctx, a.name, n) {
			if err != nil {
				w.warn(ctx, "cannot take orders", err, "account", a.name)
				pause(ctx, time.Second)
				break
			}
			e := d.Entry()
			id := handID{e.Key, e.Seq}
			if _, has := w.inHand.LoadOrStore(id, d); has {
				continue // it came twice
			}
			j := &job{instance: instance{key: e.Key, order: readOrder(e)}, worker: w, account: a, release: w.take(a)}
			handlers.Go(func() {
				defer w.inHand.Delete(id)
				defer j.release()
				if v := j.handle(ctx); v.action == drop {
					d.Ack() // what is lost is delivered again, and dropped again
				} else {
					d.GiveBack(v.wait)
				}
			})
		}
	}
}

// heartbeats keeps what is in hand from being given to another worker.
func (w *worker) heartbeats(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, w.fleet.timing.ackWait/3) {
		for _, d := range w.inHand.Range {
			d.(store.Delivery).Keep()
		}
	}
}

// soon is a short delay for when another worker was faster.
func (w *worker) soon() verdict {
	return verdict{delay, 50*time.Millisecond + time.Duration(w.fleet.timing.random(int64(200*time.Millisecond)))}
}

// toOthers is a delay in which another worker may take an order that this one must leave.
func (w *worker) toOthers() verdict { return verdict{delay, time.Second + 10*w.soon().wait} }
