package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/zapitest"
)

func someTargets(n int) []Target {
	targets := make([]Target, n)
	for i := range targets {
		targets[i] = Target{"acme", fmt.Sprintf("I%05d", i)}
	}
	return targets
}

// progresses waits for a progress: on a cluster, the replica that is asked may be behind.
func progresses(t *testing.T, f *Fleet, name string, want Progress) (p Progress) {
	t.Helper()
	assert.Eventually(t, func() bool {
		var err error
		p, err = f.Progress(t.Context(), name)
		want.done, want.rests, want.Ordering = p.done, p.rests, p.Ordering
		return err == nil && p == want
	}, 10*time.Second, 10*time.Millisecond, "not %+v", want)
	return p
}

// The name of a rollout without any target, or whose first target is bad, is free.
func TestEmptyTargets(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		for _, targets := range [][]Target{nil, {{"acme", "*"}, {"acme", "b"}}} {
			_, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: slices.Values(targets)})
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			_, err = f.Progress(t.Context(), "a")
			require.ErrorIs(t, err, ErrNoRollout)
		}
		assert.Equal(t, Receipt{Ordered: 3}, start(t, f, "a", policies[1], someTargets(3)), "with another policy")
		assert.False(t, Progress{}.Done(), "the one that comes with an error")
	})
}

// Targets that never end do not keep Start from ending with its context.
func TestStartEndless(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		ctx, cancel := context.WithCancel(t.Context())
		given := 0
		_, err := f.Start(ctx, Rollout{Name: "a", Policy: policies[0], Targets: func(yield func(Target) bool) {
			for given < 1000 && yield(Target{"acme", "I1"}) {
				if given++; given == 10 {
					cancel()
				}
			}
		}})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 10, given)
	})
}

// A rollout that was begun earlier does not overwrite a later one, and the same name goes on where it stopped.
func TestStartAgain(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(100)
		assert.Equal(t, Receipt{Ordered: 60}, start(t, f, "a", policies[0], append(targets[:60:60], targets[:10]...)), "repeated targets count once")
		assert.Equal(t, Receipt{Ordered: 20, Resumed: 60}, start(t, f, "a", policies[0], targets[:80]))
		assert.Equal(t, Receipt{Ordered: 40}, start(t, f, "b", policies[1], targets[:40]))
		assert.Equal(t, Receipt{Ordered: 20, Resumed: 40, Newer: 40}, start(t, f, "a", policies[0], targets))
		for i, want := range []string{"b", "b", "a"} {
			s, err := f.Status(t.Context(), targets[i*39])
			require.NoError(t, err)
			assert.Equal(t, Status{Target: targets[i*39], Rollout: want, Policy: s.Policy, State: Pending, At: s.At}, s)
		}
		assert.False(t, progresses(t, f, "a", Progress{Total: 100, Pending: 60, Superseded: 40}).Done())
		assert.False(t, progresses(t, f, "b", Progress{Total: 40, Pending: 40}).Done())
	})
}

// A caller that stops in the middle leaves a rollout that is not done until it is started again.
func TestStartInterrupted(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(100)
		ctx, cancel := context.WithCancel(t.Context())
		receipt, err := f.Start(ctx, Rollout{Name: "a", Policy: policies[0], Targets: func(yield func(Target) bool) {
			for i, target := range targets {
				if i == 50 {
					cancel()
				}
				if !yield(target) {
					return
				}
			}
		}})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Less(t, receipt.Ordered, 100)
		p, err := f.Progress(t.Context(), "a")
		require.NoError(t, err)
		p.Pending = 0
		assert.False(t, p.Done(), "even if all that was ordered is settled")
		again := start(t, f, "a", policies[0], targets)
		assert.Equal(t, 100, again.Ordered+again.Resumed)
		progresses(t, f, "a", Progress{Total: 100, Pending: 100})
	})
}

// Two rollouts that order the same instances at the same time: the one that was begun later has them all.
func TestStartAtTheSameTime(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(300)
		entered, goOn, done := make(chan struct{}), make(chan struct{}), make(chan Receipt)
		go func() {
			receipt, err := f.Start(t.Context(), Rollout{Name: "early", Policy: policies[0], Targets: func(yield func(Target) bool) {
				close(entered) // after it has read what there is
				<-goOn
				each(targets)(yield)
			}})
			assert.NoError(t, err)
			done <- receipt
		}()
		<-entered
		assert.Equal(t, Receipt{Ordered: 300}, start(t, f, "late", policies[1], targets))
		close(goOn)
		assert.Equal(t, Receipt{Newer: 300}, <-done)
		assert.True(t, progresses(t, f, "early", Progress{Total: 300, Superseded: 300}).Done())
		stream, err := raw(t, f).js.Stream(t.Context(), ordersStream)
		require.NoError(t, err)
		newest, err := f.store.Newest(t.Context(), store.Orders, targets[7].key())
		require.NoError(t, err)
		require.NoError(t, stream.DeleteMsg(t.Context(), newest.Seq))
		assert.False(t, progresses(t, f, "early", Progress{Total: 300, Superseded: 299, Missing: 1}).Done(), "without the order, nothing proves it")
	})
}

// Rollouts that begin at the same moment get numbers of their own, and none is given that cannot be read.
func TestNumbers(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			_, err := f.Start(t.Context(), Rollout{Name: fmt.Sprint("r", i), Policy: policies[0], Targets: each(someTargets(5))})
			assert.NoError(t, err)
		})
	}
	group.Wait()
	numbers := make(map[uint64]bool)
	for r, err := range f.Rollouts(t.Context()) {
		require.NoError(t, err)
		numbers[r.Number] = true
	}
	assert.Len(t, numbers, 8)
	require.NoError(t, f.store.Set(t.Context(), store.Rollouts, numberKey, fmt.Append(nil, uint64(math.MaxUint64))))
	_, err := f.Start(t.Context(), Rollout{Name: "last", Policy: policies[0], Targets: each(someTargets(5))})
	assert.ErrorIs(t, err, ErrEngine)
	assert.ErrorContains(t, err, numberKey)
}

// Two calls that order the same rollout at the same time count each instance once.
func TestStartTheSameAtTheSameTime(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(30)
		receipt, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: func(yield func(Target) bool) {
			each(targets[:10])(yield)
			other := start(t, f, "a", policies[0], targets)
			assert.Equal(t, 30, other.Ordered+other.Resumed)
			each(targets[10:])(yield)
		}})
		require.NoError(t, err)
		assert.Equal(t, 30, receipt.Ordered+receipt.Resumed)
		progresses(t, f, "a", Progress{Total: 30, Pending: 30})
	})
}

// A slow caller of Watch hears that all is ordered before it has seen the orders: they are not superseded.
func TestWatchWhileStarting(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(1000) // more than Watch reads ahead
		entered, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			_, err := f.Start(t.Context(), Rollout{Name: "b", Policy: policies[1], Targets: func(yield func(Target) bool) {
				close(entered)
				<-goOn
				each(targets)(yield)
			}})
			assert.NoError(t, err)
		}()
		<-entered
		first := true
		for p, err := range f.Watch(t.Context(), "b") {
			require.NoError(t, err)
			require.Equal(t, Progress{Total: p.Pending, Pending: p.Pending}, Progress{Total: p.Total, Pending: p.Pending, Superseded: p.Superseded})
			if first {
				first = false
				close(goOn)
				<-done
				time.Sleep(600 * time.Millisecond) // longer than the time between two
			}
			if p.Pending == 1000 && !p.Ordering {
				break
			}
		}
	})
}

// An engine that goes away ends Watch, and what reads all, with an error.
func TestWatchEngineAway(t *testing.T) {
	t.Parallel()
	engine, err := Open(t.Context(), Embedded(t.TempDir(), WithListen("127.0.0.1:0", "a token")))
	require.NoError(t, err)
	impatient := fast
	impatient.patience = time.Second
	f := open(t, URL(address(engine), nats.Token("a token")), withTiming(impatient))
	start(t, f, "a", policies[0], someTargets(3))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for p, err := range f.Watch(ctx, "a") {
		if err != nil {
			assert.ErrorIs(t, err, ErrEngine)
			return
		}
		assert.Equal(t, 3, p.Pending)
		require.NoError(t, engine.Close())
	}
	assert.Fail(t, "Watch ended")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 50})
		require.NoError(t, f.SetPace(t.Context(), "acme", Pace{PerSecond: 20, Burst: 1}))
		stop := work(t, f, api)
		start(t, f, "a", policies[0], api.targets)
		assert.Eventually(t, func() bool { return api.calls.Load() > 4 }, 10*time.Second, time.Millisecond)
		n, err := f.Cancel(t.Context(), "a")
		require.NoError(t, err)
		p := finish(t, f, "a")
		assert.Equal(t, 50, p.Total)
		assert.Positive(t, n)
		assert.GreaterOrEqual(t, p.Cancelled, n, "a call that was under way and failed is taken back later")
		assert.Equal(t, 50-p.Cancelled, p.Applied)
		stop()
		assert.GreaterOrEqual(t, api.calls.Load(), int64(p.Applied))
		assert.LessOrEqual(t, api.calls.Load(), int64(50-n), "what was taken back is not sent")
		_, err = f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: each(api.targets)})
		assert.ErrorIs(t, err, zapi.ErrInvalidArgument, "the name is used up")
		again, err := f.Cancel(t.Context(), "a")
		assert.NoError(t, err)
		assert.Zero(t, again)
		var kinds []string
		for s, err := range f.Statuses(t.Context(), Filter{State: Superseded, Kind: "cancelled"}) {
			require.NoError(t, err)
			kinds = append(kinds, s.Kind)
		}
		assert.Len(t, kinds, p.Cancelled)

		fullSpeed(t, f, api.targets)
		work(t, f, api)
		start(t, f, "b", policies[1], api.targets)
		assert.Equal(t, 50, finish(t, f, "b").Applied, "a new rollout has them all")
	})
}

// A rollout that is cancelled while it is being ordered takes back what is ordered later, too.
func TestCancelWhileStarting(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	targets := someTargets(30)
	_, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: func(yield func(Target) bool) {
		for i, target := range targets {
			if i == 10 {
				_, err := f.Cancel(t.Context(), "a")
				assert.NoError(t, err)
			}
			if !yield(target) {
				return
			}
		}
	}})
	require.NoError(t, err)
	p := finish(t, f, "a")
	assert.Equal(t, Progress{Total: 30, Cancelled: 30, done: true}, p)
}

// A rollout that is cancelled while an older apply is under way does not open the way for a third one.
func TestCancelKeepsTheFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		target := Target{"acme", "I1"}
		entered, proceed := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		var requests []zapitest.Request
		f, stop := workInMemory(t, slog.New(slog.DiscardHandler), func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			mu.Lock()
			requests = append(requests, zapitest.Request{InstanceID: target.Instance, StatusCode: http.StatusOK, Body: body})
			isFirst := len(requests) == 1
			mu.Unlock()
			if isFirst {
				close(entered)
				<-proceed
			}
			return respond(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, `{"success":true}`), nil
		}, WithApplyTimeout(5*time.Second))
		defer stop()
		start(t, f, "a", policies[0], []Target{target})
		<-entered
		start(t, f, "b", policies[1], []Target{target})
		n, err := f.Cancel(t.Context(), "b")
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		start(t, f, "c", policies[2], []Target{target})
		time.Sleep(700 * time.Millisecond) // longer than a fence is rechecked
		mu.Lock()
		assert.Len(t, requests, 1)
		mu.Unlock()
		close(proceed)
		assert.Equal(t, 1, finish(t, f, "c").Applied)
		mu.Lock()
		defer mu.Unlock()
		newestWins(t, requests, []Target{target}, 2)
	})
}

func TestRetryTakesOnlyWhatMatches(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 5, "globex": 4})
		unknown := api.targets
		for _, target := range unknown {
			api.creds.Delete(target.Instance)
		}
		fullSpeed(t, f, api.targets)
		work(t, f, api)
		start(t, f, "a", policies[0], api.targets)
		assert.Equal(t, 9, finish(t, f, "a").Parked)
		for _, row := range []struct {
			filter Filter
			want   int
		}{
			{Filter{Kind: "unauthorized"}, 0},
			{Filter{Rollout: "b"}, 0},
			{Filter{OlderThan: time.Hour}, 0},
			{Filter{Account: "globex"}, 4},
		} {
			n, err := f.Retry(t.Context(), row.filter)
			require.NoError(t, err)
			assert.Equal(t, row.want, n, "%+v", row.filter)
			finish(t, f, "a")
		}
		n, err := f.Retry(t.Context(), Filter{State: Parked, Kind: "no instance"})
		require.NoError(t, err)
		assert.Equal(t, 9, n)
		_, err = f.Retry(t.Context(), Filter{State: Applied})
		assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
	})
}

func TestArguments(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	ctx := t.Context()
	good := Rollout{Name: "r", Policy: policies[0], Targets: each(someTargets(1))}
	started := func(change func(*Rollout)) func() error {
		return func() error {
			r := good
			change(&r)
			_, err := f.Start(ctx, r)
			return err
		}
	}
	for _, row := range []struct {
		name string
		call func() error
		want string
	}{
		{"no name", started(func(r *Rollout) { r.Name = "" }), "zapi: Start: Name: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"a name with a dot", started(func(r *Rollout) { r.Name = sweepKey }), "zapi: Start: Name: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"a long name", started(func(r *Rollout) { r.Name = strings.Repeat("a", 65) }), "zapi: Start: Name: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"an empty policy", started(func(r *Rollout) { r.Policy = zapi.Policy{} }), "zapi: policy: must name at least one setting"},
		{"no targets", started(func(r *Rollout) { r.Targets = nil }), "zapi: Start: Targets: must not be nil"},
		{"empty targets", started(func(r *Rollout) { r.Targets = each(nil) }), "zapi: Start: Targets: must not be empty"},
		{"a wildcard", started(func(r *Rollout) { r.Targets = each([]Target{{"acme", "a"}, {"acme", "*"}}) }), "zapi: Start: Targets[1].Instance: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"an account with a dot", started(func(r *Rollout) { r.Targets = each([]Target{{"a.b", "a"}}) }), "zapi: Start: Targets[0].Account: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"cancel without a name", func() error { _, err := f.Cancel(ctx, ""); return err }, "zapi: Cancel: name: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"progress without a name", func() error { _, err := f.Progress(ctx, ""); return err }, "zapi: Watch: name: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"the status of nothing", func() error { _, err := f.Status(ctx, Target{}); return err }, "zapi: Status: Target.Account: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
		{"statuses of an unknown state", func() error {
			for _, err := range f.Statuses(ctx, Filter{State: "lost"}) {
				return err
			}
			return nil
		}, "zapi: Statuses: Filter.State: must be one of the constants of State, or empty"},
		{"a negative age", func() error { _, err := f.Retry(ctx, Filter{OlderThan: -1}); return err }, "zapi: Retry: Filter.OlderThan: must not be negative"},
		{"no pace", func() error { return f.SetPace(ctx, "acme", Pace{Burst: 1}) }, "zapi: SetPace: Pace.PerSecond: must be 0.001 to 1,000,000"},
		{"a pace that would overflow", func() error { return f.SetPace(ctx, "acme", Pace{1e-12, 1}) }, "zapi: SetPace: Pace.PerSecond: must be 0.001 to 1,000,000"},
		{"a pace that is no number", func() error { return f.SetPace(ctx, "acme", Pace{math.NaN(), 1}) }, "zapi: SetPace: Pace.PerSecond: must be 0.001 to 1,000,000"},
		{"no burst", func() error { return f.SetPace(ctx, "acme", Pace{PerSecond: 1}) }, "zapi: SetPace: Pace.Burst: must be 1 to 1,000,000"},
		{"the pace of nothing", func() error { return f.SetPace(ctx, "*", Pace{1, 1}) }, "zapi: SetPace: account: must be 1 to 64 of A-Z, a-z, 0-9, _ and -"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			err := row.call()
			assert.EqualError(t, err, row.want)
			assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
		})
	}
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		big := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist}}
		for i := range 80_000 {
			big.Photo.Except = append(big.Photo.Except, fmt.Sprintf("55449%08d", i))
		}
		assert.ErrorIs(t, started(func(r *Rollout) { r.Policy = big })(), ErrPolicyTooLarge)
		big.Photo.Except = big.Photo.Except[:60_000]
		assert.NoError(t, started(func(r *Rollout) { r.Name, r.Policy = "big", big })())
		require.NoError(t, started(func(r *Rollout) { r.Name = "taken" })())
		assert.ErrorIs(t, started(func(r *Rollout) { r.Name, r.Policy = "taken", policies[1] })(), ErrRolloutExists)
		_, err := f.Progress(ctx, "unknown")
		assert.ErrorIs(t, err, ErrNoRollout)
		_, err = f.Cancel(ctx, "unknown")
		assert.ErrorIs(t, err, ErrNoRollout)
		_, err = f.Status(ctx, Target{"acme", "unknown"})
		assert.ErrorIs(t, err, ErrNoInstance)
	})
}

func TestCost(t *testing.T) {
	t.Parallel()
	list := &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{}}
	for _, row := range []struct {
		policy zapi.Policy
		want   int
	}{
		{zapi.Policy{}, 0},
		{policies[0], 1},
		{zapi.Policy{Photo: list}, 2},
		{zapi.Policy{LastSeen: list, Photo: list, Description: list, GroupAdd: list, Online: zapi.OnlineAll,
			ReadReceipts: zapi.ReadReceiptsEnable, MessageDuration: zapi.MessageDuration24Hours}, 11},
	} {
		assert.Equal(t, row.want, cost(row.policy))
	}
}
