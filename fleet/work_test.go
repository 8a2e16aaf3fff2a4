package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/fleet/internal/store/memory"
)

func TestRolloutReachesEveryInstance(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 150, "globex": 50})
		fullSpeed(t, f, api.targets)
		work(t, f, api)
		work(t, f, api)
		assert.Equal(t, Receipt{Ordered: 200}, start(t, f, "r", policies[1], api.targets))
		p := finish(t, f, "r")
		assert.Equal(t, 200, p.Applied)
		assert.Equal(t, 200, p.Total)
		assert.Zero(t, newestWins(t, api.Requests(), api.targets, 1))
	})
}

// Rollouts that overlap, while four workers are slow: the newest wins everywhere.
func TestOverlappingRollouts(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 100})
		var n atomic.Int64
		api.before = func(string, string) (*reply, error) {
			time.Sleep(time.Duration(n.Add(1)%4) * 20 * time.Millisecond)
			return nil, nil
		}
		fullSpeed(t, f, api.targets)
		for range 4 {
			work(t, f, api)
		}
		for i, name := range []string{"a", "b", "c"} {
			start(t, f, name, policies[i], api.targets)
			time.Sleep(60 * time.Millisecond)
		}
		p := finish(t, f, "c")
		assert.Equal(t, 100, p.Applied)
		newestWins(t, api.Requests(), api.targets, 2)
		for _, name := range []string{"a", "b"} {
			p := finish(t, f, name)
			assert.Equal(t, Progress{Total: 100, Superseded: 100}, Progress{Total: p.Total, Superseded: p.Superseded}, name)
		}
	})
}

// A worker that was stopped for longer than its claim sends an old request; the newest policy is ordered again.
func TestLateRequestIsRepaired(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 1})
		fullSpeed(t, f, api.targets)
		stopped, proceed := make(chan struct{}), make(chan struct{})
		var first atomic.Bool
		api.before = func(string, string) (*reply, error) {
			if first.CompareAndSwap(false, true) {
				close(stopped)
				<-proceed // behind every check: the request goes out
			}
			return nil, nil
		}
		work(t, f, api, WithApplyTimeout(time.Second))
		work(t, f, api, WithApplyTimeout(time.Second))
		start(t, f, "old", policies[0], api.targets)
		<-stopped
		start(t, f, "new", policies[1], api.targets)
		assert.Equal(t, 1, finish(t, f, "new").Applied)
		assert.Equal(t, zapi.VisibilityContacts, api.Settings(api.targets[0].Instance).LastSeen.Visibility)
		close(proceed)
		assert.Eventually(t, func() bool { return api.calls.Load() >= 3 }, 10*time.Second, 10*time.Millisecond, "ordered again")
		finish(t, f, "new")
		assert.Equal(t, zapi.VisibilityContacts, api.Settings(api.targets[0].Instance).LastSeen.Visibility)
	})
}

// A late request that arrives after that of the newer order, but before its outcome, is repaired with a call.
func TestLateRequestBeforeOutcome(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 1})
		fullSpeed(t, f, api.targets)
		stopped, late := make(chan struct{}), make(chan struct{})
		requests := make(chan string, 9)
		api.before = func(string, string) (*reply, error) {
			switch api.calls.Load() {
			case 1:
				close(stopped)
				<-late
				requests <- "old"
			case 2:
				requests <- "new"
				close(late)
				assert.Eventually(t, func() bool { // ordered again
					newest, err := f.store.Newest(t.Context(), store.Orders, api.targets[0].key())
					return err == nil && newest.Seq > 2
				}, 10*time.Second, 10*time.Millisecond)
				time.Sleep(50 * time.Millisecond) // the times that are stored are milliseconds
			default:
				requests <- "new"
			}
			return &reply{status: http.StatusOK}, nil
		}
		work(t, f, api, WithApplyTimeout(2*time.Second))
		start(t, f, "old", policies[0], api.targets)
		<-stopped
		start(t, f, "new", policies[1], api.targets)
		assert.Equal(t, 1, finish(t, f, "new").Applied)
		for _, want := range []string{"new", "old", "new"} {
			select {
			case got := <-requests:
				assert.Equal(t, want, got)
			case <-time.After(5 * time.Second):
				assert.Fail(t, "no request", want)
			}
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	answer := func(status int, times int64) func() (*reply, error) {
		var n atomic.Int64
		return func() (*reply, error) {
			if n.Add(1) > times {
				return nil, nil
			}
			return &reply{status: status}, nil
		}
	}
	type row struct {
		name     string
		before   func() (*reply, error)
		resolves func(*fakeAPI) func(Target) (zapi.Credentials, error)
		want     Status // State, Kind, Error, Attempts
		retried  State  // after Retry, when it was parked
	}
	rows := []row{
		{name: "503 twice", before: answer(503, 2), want: Status{State: Applied, Attempts: 2}},
		{name: "503 always", before: answer(503, 3), want: Status{State: Parked, Kind: "exhausted", Error: "unavailable: lastSeen: privacy/last-seen: 503", Attempts: 3}, retried: Applied},
		{name: "no response", before: func() func() (*reply, error) {
			var n atomic.Int64
			return func() (*reply, error) {
				if n.Add(1) > 1 {
					return nil, nil
				}
				return nil, errors.New("reset")
			}
		}(), want: Status{State: Applied, Attempts: 1}},
		{name: "403 once", before: answer(403, 1), want: Status{State: Parked, Kind: "unauthorized", Error: "lastSeen: privacy/last-seen: 403", Attempts: 1}, retried: Applied},
		{name: "404", before: answer(404, 9), want: Status{State: Parked, Kind: "not found", Error: "lastSeen: privacy/last-seen: 404", Attempts: 1}, retried: Parked},
		{name: "the API panics", before: func() (*reply, error) { panic("at the disco") }, want: Status{State: Parked, Kind: "panic", Attempts: 1}, retried: Parked},
		{name: "the resolver panics", resolves: func(*fakeAPI) func(Target) (zapi.Credentials, error) {
			return func(Target) (zapi.Credentials, error) { panic("at the disco") }
		}, want: Status{State: Parked, Kind: "panic", Attempts: 1}, retried: Parked},
		{name: "an unknown instance", resolves: func(*fakeAPI) func(Target) (zapi.Credentials, error) {
			return func(Target) (zapi.Credentials, error) { return zapi.Credentials{}, ErrNoInstance }
		}, want: Status{State: Parked, Kind: "no instance", Attempts: 1}, retried: Parked},
		{name: "credentials without a token", resolves: func(*fakeAPI) func(Target) (zapi.Credentials, error) {
			return func(t Target) (zapi.Credentials, error) { return zapi.Credentials{InstanceID: t.Instance}, nil }
		}, want: Status{State: Parked, Kind: "invalid credentials", Error: "Instance: Token", Attempts: 1}, retried: Parked},
		{name: "the resolver fails once", resolves: func(api *fakeAPI) func(Target) (zapi.Credentials, error) {
			var n atomic.Int64
			return func(t Target) (zapi.Credentials, error) {
				if n.Add(1) == 1 {
					return zapi.Credentials{}, errors.New("database is away")
				}
				creds, _ := api.creds.Load(t.Instance)
				return creds.(zapi.Credentials), nil
			}
		}, want: Status{State: Applied, Attempts: 1}},
	}
	f := open(t, Embedded(t.TempDir()))
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			api := newAPI(t, map[string]int{"acme": 1})
			if row.before != nil {
				api.before = func(string, string) (*reply, error) { return row.before() }
			}
			if row.resolves != nil {
				api.resolves = row.resolves(api)
			}
			target := api.targets[0]
			name := "r" + target.Instance
			start(t, f, name, policies[1], api.targets)
			fullSpeed(t, f, api.targets)
			stop := work(t, f, api)
			defer stop()
			finish(t, f, name)
			got, err := f.Status(t.Context(), target)
			require.NoError(t, err)
			assert.NotEmpty(t, got.Worker)
			assert.WithinDuration(t, time.Now(), got.At, 10*time.Second)
			row.want.Target, row.want.Rollout, row.want.Worker, row.want.At = target, name, got.Worker, got.At
			row.want.Policy, row.want.Last = got.Policy, got.Last
			assert.Equal(t, row.want, got)
			if row.want.State != Parked {
				return
			}
			n, err := f.Retry(t.Context(), Filter{Rollout: name})
			require.NoError(t, err)
			assert.Equal(t, 1, n)
			finish(t, f, name)
			got, err = f.Status(t.Context(), target)
			require.NoError(t, err)
			assert.Equal(t, row.retried, got.State)
		})
	}
}

// 429s of several instances make all workers of the account wait, do not count as an attempts, and leave other accounts alone.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 60, "globex": 20})
		const hold = 4 * time.Second
		accounts := map[string]string{}
		for _, target := range api.targets {
			accounts[target.Instance] = target.Account
		}
		var limited, sent atomic.Int64
		var since atomic.Pointer[time.Time]
		api.before = func(instance, _ string) (*reply, error) {
			if accounts[instance] != "acme" {
				return nil, nil
			}
			if n := sent.Add(1); n >= 10 && n < 14 {
				now := time.Now()
				since.CompareAndSwap(nil, &now)
				return &reply{http.StatusTooManyRequests, http.Header{"Retry-After": {"4"}}}, nil
			}
			// What has been let through by then may still go: a slice of 250 ms, or more where all is slow.
			if at := since.Load(); at != nil && time.Since(*at) > 2*time.Second && time.Since(*at) < hold {
				limited.Add(1)
			}
			return nil, nil
		}
		require.NoError(t, f.SetPace(t.Context(), "acme", Pace{PerSecond: 50, Burst: 1}))
		require.NoError(t, f.SetPace(t.Context(), "globex", Pace{PerSecond: 1000, Burst: 1}))
		work(t, f, api, WithCalls(4, 64))
		work(t, f, api, WithCalls(4, 64))
		start(t, f, "r", policies[1], api.targets)
		p := finish(t, f, "r")
		assert.Equal(t, 80, p.Applied)
		assert.Zero(t, limited.Load(), "requests while the account was held")
		for s, err := range f.Statuses(t.Context(), Filter{Account: "acme"}) {
			require.NoError(t, err)
			assert.Zero(t, s.Attempts)
		}
	})
}

// A 429 of several instances, and a new pace, also count for the orders that wait for their time, and for those of other workers.
func TestPaceOfThoseWhoWait(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 60})
		var limited atomic.Pointer[time.Time]
		var during atomic.Int64
		api.before = func(string, string) (*reply, error) {
			now := time.Now()
			limited.CompareAndSwap(nil, &now)
			switch since := limited.Load(); {
			case now.Sub(*since) < 1500*time.Millisecond: // of two workers, one sees three of them
				return &reply{http.StatusTooManyRequests, http.Header{"Retry-After": {"600"}}}, nil
			case now.Sub(*since) > 2500*time.Millisecond:
				during.Add(1)
			}
			return nil, nil
		}
		require.NoError(t, f.SetPace(t.Context(), "acme", Pace{PerSecond: 4, Burst: 1}))
		work(t, f, api)
		work(t, f, api)
		start(t, f, "r", policies[1], api.targets)
		assert.Eventually(t, func() bool { return limited.Load() != nil }, 10*time.Second, time.Millisecond)
		time.Sleep(3 * time.Second)
		assert.LessOrEqual(t, during.Load(), int64(2), "requests while the account was held")
		fullSpeed(t, f, api.targets)
		assert.Eventually(t, func() bool { return api.calls.Load() == 60 }, 10*time.Second, 10*time.Millisecond, "a new pace ends the wait: %d", api.calls.Load())
	})
}

// A new pace ends the wait also where the slice in hand, which begins when a 429 ends, has several calls.
func TestPaceEndsAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(memory.New().Handle(nil), settings{log: slog.New(slog.DiscardHandler), timing: defaultTiming})
		ctx, pace := t.Context(), Pace{PerSecond: 20, Burst: 1}
		require.NoError(t, f.SetPace(ctx, "acme", pace))
		p := newPacer(f, "acme", pace)
		for range 6 { // until a slice is as long as several calls
			require.NoError(t, p.wait(ctx, 1))
		}
		require.NoError(t, p.hold(ctx, f.clock.now().Add(time.Hour)))
		waited := make(chan error, 1)
		go func() {
			var err error
			for range 6 { // past the slice in hand
				err = cmp.Or(err, p.wait(ctx, 1))
			}
			waited <- err
		}()
		time.Sleep(2 * time.Second)
		require.Empty(t, waited, "it is not held")
		require.NoError(t, f.SetPace(ctx, "acme", pace))
		p.set(pace)
		time.Sleep(10 * time.Second)
		require.Len(t, waited, 1, "it is held still")
		require.NoError(t, <-waited)
		require.NoError(t, f.Close())
	})
}

// All workers together stay within the pace.
func TestPace(t *testing.T) {
	t.Parallel()
	seconds := 3
	if os.Getenv("FLEET_TEST_LONG") != "" {
		seconds = 10
	}
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		const rate, burst = 100, 10
		api := newAPI(t, map[string]int{"acme": rate*(seconds+1) + 50})
		require.NoError(t, f.SetPace(t.Context(), "acme", Pace{PerSecond: rate, Burst: burst}))
		start(t, f, "r", policies[1], api.targets)
		api.calls.Store(0)
		for range 4 {
			work(t, f, api)
		}
		assert.Eventually(t, func() bool { return api.calls.Load() > 0 }, 10*time.Second, time.Millisecond)
		time.Sleep(500 * time.Millisecond) // the first burst
		before, begun := api.calls.Load(), time.Now()
		time.Sleep(time.Duration(seconds) * time.Second)
		sent, elapsed := api.calls.Load()-before, time.Since(begun)
		t.Logf("%d requests in %v at a pace of %d/s", sent, elapsed, rate)
		least, most := 0.9, 1.05
		if seconds < 10 { // a slice that falls on the edge weighs more, and other tests keep the machine busy
			least, most = 0.1, 1.12
		}
		assert.LessOrEqual(t, float64(sent), most*rate*elapsed.Seconds())
		assert.GreaterOrEqual(t, float64(sent), least*rate*elapsed.Seconds(), "and they use it")
	})
}

// What a worker has not begun when it ends goes to another one at once; what it has begun ends.
func TestWorkerEnds(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 60})
		api.before = func(string, string) (*reply, error) {
			time.Sleep(100 * time.Millisecond)
			return nil, nil
		}
		fullSpeed(t, f, api.targets)
		start(t, f, "r", policies[1], api.targets)
		stop := work(t, f, api, WithCalls(8, 8))
		assert.Eventually(t, func() bool { return api.calls.Load() > 20 }, 10*time.Second, time.Millisecond)
		stop()
		assert.Eventually(t, func() bool { // once the replica that is asked has caught up
			p, err := f.Progress(t.Context(), "r")
			return err == nil && p.Applying == 0
		}, 5*time.Second, 10*time.Millisecond)
		work(t, f, api, WithCalls(8, 8))
		finish(t, f, "r")
		assert.Zero(t, newestWins(t, api.Requests(), api.targets, 1))
	})
}

// The sweep orders again what the engine has forgotten.
func TestSweep(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 20})
		fullSpeed(t, f, api.targets)
		start(t, f, "r", policies[1], api.targets)
		consumer := raw(t, f).queue("acme")
		require.Eventually(t, func() bool { // a cluster counts what is pending with a delay
			info, err := consumer.Info(t.Context())
			return err == nil && info.NumPending == 20
		}, 10*time.Second, 10*time.Millisecond)
		later := time.Now().Add(2 * f.timing.sweepEvery)
		n, err := f.sweep(t.Context(), later)
		require.NoError(t, err)
		assert.Zero(t, n, "the engine will deliver them")
		batch, err := consumer.Fetch(10)
		require.NoError(t, err)
		for m := range batch.Messages() {
			require.NoError(t, m.DoubleAck(t.Context())) // as if the engine had lost ten orders
		}
		work(t, f, api)
		assert.Eventually(t, func() bool {
			p, err := f.Progress(t.Context(), "r")
			return err == nil && p.Applied == 10
		}, 10*time.Second, 50*time.Millisecond)
		n, err = f.sweep(t.Context(), time.Now())
		require.NoError(t, err)
		assert.Zero(t, n, "they are not old enough")
		assert.Eventually(t, func() bool { // until the engine has counted the acknowledgements
			later = later.Add(2 * f.timing.sweepEvery)
			n, err = f.sweep(t.Context(), later)
			require.NoError(t, err)
			return n > 0
		}, 10*time.Second, 50*time.Millisecond)
		assert.Equal(t, 10, n)
		assert.Equal(t, 20, finish(t, f, "r").Applied)
	})
}

// What was deleted by hand is written again when it is needed.
func TestDeletedByHand(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{statusBucket, policyBucket, rolloutBucket, accountBucket, paceBucket} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			onEachEngine(t, func(t *testing.T, f *Fleet) {
				api := newAPI(t, map[string]int{"acme": 1})
				work(t, f, api)
				start(t, f, "a", policies[0], api.targets)
				finish(t, f, "a")
				entries, err := raw(t, f).js.KeyValue(t.Context(), bucket)
				require.NoError(t, err)
				keys, err := entries.Keys(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, keys)
				for _, key := range keys {
					require.NoError(t, entries.Delete(t.Context(), key))
				}
				start(t, f, "b", policies[0], api.targets)
				if bucket == rolloutBucket {
					start(t, f, "a", policies[0], api.targets)
				}
				assert.Equal(t, 1, finish(t, f, "b").Total)
			})
		})
	}
}

// A consumer that was deleted by hand delivers all orders again; those that are settled are left alone.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 60})
		fullSpeed(t, f, api.targets)
		start(t, f, "a", policies[0], api.targets)
		api.before = func(string, string) (*reply, error) {
			if api.calls.Load() == 10 {
				assert.NoError(t, raw(t, f).js.DeleteConsumer(t.Context(), ordersStream, "apply-acme"))
			}
			return nil, nil
		}
		work(t, f, api, WithCalls(4, 4))
		assert.Equal(t, 60, finish(t, f, "a").Applied)
		assert.LessOrEqual(t, newestWins(t, api.Requests(), api.targets, 0), inHand(4))
	})
}

// Of two sweeps, one does it.
func TestOneSweepAtATime(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	_, err := f.sweep(t.Context(), time.Now())
	require.NoError(t, err)
	first, err := f.store.Newest(t.Context(), store.Rollouts, sweepKey)
	require.NoError(t, err)
	_, err = f.sweep(t.Context(), time.Now())
	require.NoError(t, err)
	second, err := f.store.Newest(t.Context(), store.Rollouts, sweepKey)
	require.NoError(t, err)
	assert.NotZero(t, first.Seq)
	assert.Equal(t, first, second)
}

func TestWorkRefuses(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, nil)
	for _, row := range []struct {
		name     string
		resolver Resolver
		option   WorkOption
		want     string
	}{
		{"no resolver", nil, nil, "zapi: Work: r: must not be nil"},
		{"a nil option", api, nil, "zapi: Work: opts: must not hold nil"},
		{"no calls", api, WithCalls(0, 1), "zapi: Work: WithCalls: must be 1 ≤ perAccount ≤ total ≤ 5,000"},
		{"more calls per account than in all", api, WithCalls(2, 1), "zapi: Work: WithCalls: must be 1 ≤ perAccount ≤ total ≤ 5,000"},
		{"a short apply", api, WithApplyTimeout(time.Millisecond), "zapi: Work: WithApplyTimeout: must be a second to an hour"},
		{"no attempts", api, WithAttempts(0, 1, 1), "zapi: Work: WithAttempts: must be n ≥ 1 and 0 < minWait ≤ maxWait ≤ 24 hours"},
		{"waits the wrong way round", api, WithAttempts(1, 2, 1), "zapi: Work: WithAttempts: must be n ≥ 1 and 0 < minWait ≤ maxWait ≤ 24 hours"},
		{"an option of the client", api, WithClient(zapi.WithTimeout(-1)), "zapi: NewAPI: WithTimeout: must not be negative"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := f.Work(ctx, row.resolver, row.option)
			assert.EqualError(t, err, row.want)
			assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
		})
	}
}

type endingResolver struct{}

func (endingResolver) Credentials(context.Context, Target) (zapi.Credentials, error) {
	runtime.Goexit()
	return zapi.Credentials{}, nil
}

// A resolver that ends its goroutine, as t.FailNow does, does not keep the call slot.
func TestResolverEndsGoroutine(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	worked := make(chan error)
	go func() { worked <- f.Work(ctx, endingResolver{}, WithCalls(1, 1)) }()
	start(t, f, "r", policies[0], someTargets(2))
	assert.Eventually(t, func() bool {
		p, err := f.Progress(t.Context(), "r")
		return err == nil && p.Applying == 2
	}, 10*time.Second, 10*time.Millisecond, "one call is in flight at a time")
	cancel()
	assert.NoError(t, <-worked)
}

// A worker that cannot reach the engine at the start says so.
func TestWorkWithoutEngine(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	raw(t, f).nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	assert.ErrorIs(t, f.Work(ctx, newAPI(t, nil)), ErrEngine)
	assert.NoError(t, ctx.Err())
}

type anyResolver struct{}

func (anyResolver) Credentials(_ context.Context, t Target) (zapi.Credentials, error) {
	return zapi.Credentials{InstanceID: t.Instance, Token: "T" + t.Account, ClientToken: "F" + t.Instance}, nil
}

// workInMemory runs a worker, in the bubble of a test, with a store in memory and requests that go to transport.
func workInMemory(t *testing.T, log *slog.Logger, transport roundTripper, opts ...WorkOption) (f *Fleet, stop func()) {
	t.Helper()
	f = newFleet(memory.New().Handle(nil), settings{log: log, timing: defaultTiming})
	ctx, cancel := context.WithCancel(t.Context())
	worked := make(chan error)
	opts = append(opts, WithClient(zapi.WithBaseURL("https://api.example"), zapi.WithTransport(transport)))
	go func() { worked <- f.Work(ctx, anyResolver{}, opts...) }()
	return f, func() {
		cancel()
		assert.NoError(t, <-worked)
		assert.NoError(t, f.Close())
	}
}

// The logger hears once when an account is away, back and held, and nothing of an account that is well.
func TestAccountChangesAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log safeBuffer
		var status, calls atomic.Int64
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "acme") && status.Load() != http.StatusOK {
				calls.Add(1)
				return respond(int(status.Load()), http.Header{"Retry-After": {"60"}}, `{"error":"later"}`), nil
			}
			return respond(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, `{"success":true}`), nil
		})
		f, stop := workInMemory(t, slog.New(slog.NewJSONHandler(&log, nil)), transport)
		defer stop()
		targets := []Target{{"globex", "a"}, {"globex", "b"}}
		for i := range 40 {
			targets = append(targets, Target{"acme", fmt.Sprint("I", i)})
		}
		changes := func() (all []map[string]any) {
			for line := range strings.Lines(log.String()) {
				var record map[string]any
				require.NoError(t, json.Unmarshal([]byte(line), &record))
				if strings.HasPrefix(record["msg"].(string), "account ") {
					assert.Equal(t, "acme", record["account"])
					assert.NotContains(t, record, "key")
					assert.Contains(t, []any{"INFO", "WARN"}, record["level"])
					all = append(all, record)
				}
			}
			return all
		}
		for i, row := range []struct {
			status int64
			after  []any // of all changes
		}{
			{http.StatusServiceUnavailable, []any{"account away"}},
			{http.StatusOK, []any{"account away", "account back"}},
			{http.StatusTooManyRequests, []any{"account away", "account back", "account held"}},
			{http.StatusOK, []any{"account away", "account back", "account held"}},
		} {
			status.Store(row.status)
			began := time.Now()
			start(t, f, fmt.Sprint("r", i), policies[i], targets)
			time.Sleep(20 * time.Second)
			before := calls.Load()
			time.Sleep(10 * time.Second)
			assert.LessOrEqual(t, calls.Load()-before, int64(1), "it is probed, or held")
			var got []any
			for _, record := range changes() {
				got = append(got, record["msg"])
				if until, ok := record["until"]; ok && row.status == http.StatusTooManyRequests {
					at, err := time.Parse(time.RFC3339, until.(string))
					require.NoError(t, err)
					assert.WithinDuration(t, began.Add(time.Minute), at, 5*time.Second)
				}
			}
			assert.Equal(t, row.after, got)
		}
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 42, finish(t, f, "r3").Applied)
	})
}
