package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func collect[T any](t *testing.T, seq func(func(T, error) bool)) (all []T) {
	t.Helper()
	for v, err := range seq {
		require.NoError(t, err)
		all = append(all, v)
	}
	return all
}

// await watches a rollout until it rests or is done.
func await(t *testing.T, f *Fleet, name string) (last Progress) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for p, err := range f.Watch(ctx, name) {
		require.NoError(t, err, "%+v", last)
		last = p
	}
	return last
}

// A plan has the counts that Start then has, and changes nothing.
func TestPlan(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 30, "globex": 10})
		require.NoError(t, f.SetPace(t.Context(), "acme", Pace{PerSecond: 10, Burst: 1}))
		targets := append(slices.Clone(api.targets), api.targets[0]) // one twice
		r := Rollout{Name: "a", Policy: policies[3], Targets: each(targets)}
		before, err := f.store.LastSeq(t.Context(), 0)
		require.NoError(t, err)
		p, err := f.Plan(t.Context(), r)
		require.NoError(t, err)
		requests := cost(policies[3])
		assert.Equal(t, Plan{ToOrder: 40, Accounts: []AccountPlan{
			{"acme", 30, 30 * requests, time.Duration(3*requests) * time.Second},
			{"globex", 10, 10 * requests, time.Duration(requests) * time.Second / 2},
		}}, p)
		after, err := f.store.LastSeq(t.Context(), 0)
		require.NoError(t, err)
		assert.Equal(t, before, after)
		assert.Empty(t, collect(t, f.Rollouts(t.Context())))

		start(t, f, "a", policies[3], api.targets[:25])
		start(t, f, "b", policies[1], api.targets[:5])
		p, err = f.Plan(t.Context(), r)
		require.NoError(t, err)
		assert.Equal(t, []int{15, 20, 5, 0}, []int{p.ToOrder, p.Resumed, p.Newer, p.Same})
		receipt := start(t, f, "a", policies[3], targets)
		assert.Equal(t, Receipt{Ordered: p.ToOrder, Resumed: p.Resumed, Newer: p.Newer}, receipt)

		fullSpeed(t, f, api.targets)
		work(t, f, api)
		finish(t, f, "a")
		finish(t, f, "b")
		p, err = f.Plan(t.Context(), Rollout{Name: "c", Policy: policies[1], Targets: each(targets)})
		require.NoError(t, err)
		assert.Equal(t, []int{40, 5}, []int{p.ToOrder, p.Same})
		_, err = f.Plan(t.Context(), Rollout{Name: "a", Policy: policies[1], Targets: each(targets)})
		assert.ErrorIs(t, err, ErrRolloutExists)
	})
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	good := each([]Target{{"acme", "I"}})
	for _, row := range []struct {
		name string
		r    Rollout
		want string
	}{
		{"name", Rollout{Name: "a b", Policy: policies[0], Targets: good}, "Plan: Name: must be"},
		{"no targets", Rollout{Name: "a", Policy: policies[0]}, "Plan: Targets: must not be nil"},
		{"no target", Rollout{Name: "a", Policy: policies[0], Targets: each(nil)}, "Plan: Targets: must not be empty"},
		{"target", Rollout{Name: "a", Policy: policies[0], Targets: each([]Target{{"acme", "I"}, {"acme", "I/1"}})}, "Plan: Targets[1].Instance: must be"},
		{"canary", Rollout{Name: "a", Policy: policies[0], Targets: good, Canary: -1}, "Plan: Canary: must not be negative"},
		{"halt", Rollout{Name: "a", Policy: policies[0], Targets: good, HaltAt: math.NaN()}, "Plan: HaltAt: must be 0 to 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := f.Plan(t.Context(), row.r)
			assert.ErrorContains(t, err, row.want)
		})
	}
}

// The audit names who did what, in order, and each action that a person or a worker takes.
func TestAudit(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		f.actor = "ana@ops"
		api := newAPI(t, map[string]int{"acme": 40})
		api.resolves = func(Target) (zapi.Credentials, error) { return zapi.Credentials{}, ErrNoInstance }
		ctx := t.Context()
		require.NoError(t, f.SetPace(ctx, "acme", Pace{PerSecond: 5000, Burst: 7}))
		_, err := f.Start(ctx, Rollout{Name: "a", Policy: policies[0], Targets: each(api.targets), Canary: 20})
		require.NoError(t, err)
		require.NoError(t, f.Pause(ctx, "a"))
		require.NoError(t, f.Resume(ctx, "a"))
		stop := work(t, f, api)
		assert.Contains(t, await(t, f, "a").Held, "halted: no instance 1")
		stop()
		retried, err := f.Retry(ctx, Filter{Rollout: "a", Kind: "no instance"})
		require.NoError(t, err)
		n, err := f.Cancel(ctx, "a")
		require.NoError(t, err)
		policy, _, err := f.encodePolicy(policies[0])
		require.NoError(t, err)
		assert.ErrorIs(t, f.Pause(ctx, "unknown"), ErrNoRollout, "which is not recorded")

		events := collect(t, f.Audit(ctx))
		var got []string
		for _, e := range events {
			assert.WithinDuration(t, time.Now(), e.At, time.Minute)
			assert.Equal(t, "ana@ops", e.By)
			detail := e.Detail
			if e.Action == "halt" {
				detail, _, _ = strings.Cut(detail, " 1")
			}
			got = append(got, fmt.Sprintf("%s %s %d: %s", e.Action, e.Rollout, e.Instances, detail))
		}
		assert.Equal(t, []string{
			"pace  0: account acme: 5000 per second, burst 7",
			"start a 40: policy " + policy + ", canary 20, 0 resumed, 0 left to newer rollouts",
			"pause a 0: canary: 20 of 40 begun",
			"resume a 0: paused",
			"halt a 0: halted: no instance",
			fmt.Sprintf("retry a %d: parked, kind no instance", retried),
			fmt.Sprintf("cancel a %d: taken back", n),
		}, got)
		data, err := json.Marshal(events[1])
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(data, &fields))
		assert.Subset(t, fields, map[string]any{"by": "ana@ops", "action": "start", "rollout": "a", "instances": 40.})
		assert.Contains(t, fields, "at")
	})
}

func TestRollouts(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		f.actor = "ana"
		targets := []Target{{"acme", "a"}, {"acme", "b"}}
		start(t, f, "old", policies[0], targets)
		_, err := f.Cancel(t.Context(), "old")
		require.NoError(t, err)
		_, err = f.Start(t.Context(), Rollout{Name: "new", Policy: policies[1], Targets: each(targets), Canary: 1})
		require.NoError(t, err)
		all := collect(t, f.Rollouts(t.Context()))
		require.Len(t, all, 2)
		assert.Equal(t, "new", all[0].Name)
		assert.Equal(t, policies[1], all[0].Policy)
		assert.Equal(t, "canary: 1 of 2 begun", all[0].Held)
		assert.Equal(t, "ana", all[0].By)
		assert.Zero(t, all[0].Cancelled)
		assert.Equal(t, 2, all[0].Total)
		assert.Greater(t, all[0].Number, all[1].Number)
		assert.NotZero(t, all[1].Cancelled)
		assert.WithinDuration(t, time.Now(), all[1].Created, time.Minute)

		s, err := f.Status(t.Context(), targets[0])
		require.NoError(t, err)
		p, err := f.Policy(t.Context(), s.Policy)
		require.NoError(t, err)
		assert.Equal(t, policies[1], p)
		_, err = f.Policy(t.Context(), "unknown")
		assert.ErrorIs(t, err, ErrEngine)
		_, err = f.Policy(t.Context(), "a b")
		assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
	})
}

// The wrong Client-Token for 2,000 instances costs each worker at most 10 refusals and its calls in flight; when it is mended, a
// retry and a resume apply all. A resume alone counts anew, and halts again.
func TestWrongTokenHalts(t *testing.T) {
	t.Parallel()
	const workers, calls = 3, 8
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, map[string]int{"acme": 2000})
	var mu sync.Mutex
	wrong := true
	api.before = func(string, string) (*reply, error) {
		mu.Lock()
		defer mu.Unlock()
		if wrong {
			return &reply{status: http.StatusForbidden}, nil
		}
		return nil, nil
	}
	fullSpeed(t, f, api.targets)
	for range workers {
		work(t, f, api, WithCalls(calls, calls))
	}
	_, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: each(api.targets)})
	require.NoError(t, err)
	const most = workers * (fewestParked + calls)
	p := await(t, f, "a")
	first := api.calls.Load()
	t.Logf("%d refusals of %d workers with %d calls each", first, workers, calls)
	assert.Contains(t, p.Held, "halted: unauthorized")
	assert.False(t, p.Done())
	assert.True(t, first >= fewestParked && first <= most, "%d refusals", first)
	assert.Zero(t, p.Applied)

	require.NoError(t, f.Resume(t.Context(), "a"))
	p = await(t, f, "a")
	assert.Contains(t, p.Held, "halted: unauthorized")
	assert.LessOrEqual(t, api.calls.Load()-first, int64(most))

	mu.Lock()
	wrong = false
	mu.Unlock()
	require.NoError(t, f.Resume(t.Context(), "a"))
	_, err = f.Retry(t.Context(), Filter{Rollout: "a"})
	require.NoError(t, err)
	p = finish(t, f, "a")
	assert.Equal(t, 2000, p.Applied)
}

// Few that are parked, or a share below the limit, do not halt.
func TestHaltAt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name            string
		haltAt          float64
		settled, parked int
		halts           bool
	}{
		{"nine", 0, 9, 9, false},
		{"ten of ten", 0, 10, 10, true},
		{"exactly 5 %", 0, 200, 10, false},
		{"more than 5 %", 0, 199, 10, true},
		{"a limit of its own", 0.5, 20, 10, false},
		{"over it", 0.5, 21, 11, true},
		{"never", 1, 100, 100, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			k := known{rollout: rollout{HaltAt: row.haltAt}, settled: row.settled, parked: map[string]int{"not found": 1, "unauthorized": row.parked - 1}}
			reason := k.halt()
			assert.Equal(t, row.halts, reason != "", reason)
			if row.halts {
				assert.Equal(t, fmt.Sprintf("halted: unauthorized %d, not found 1 of %d", row.parked-1, row.settled), reason)
			}
			k.Held = heldByPause
			assert.Empty(t, k.halt(), "it is held already")
		})
	}
}

// The observer hears of each outcome once.
func TestObserver(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, map[string]int{"acme": 12})
	locked := api.targets[0].Instance
	api.before = func(instance, _ string) (*reply, error) {
		if instance == locked {
			return &reply{status: http.StatusForbidden}, nil
		}
		return nil, nil
	}
	var mu sync.Mutex
	var events []Event
	work(t, f, api, WithObserver(func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}))
	start(t, f, "r", policies[0], api.targets)
	finish(t, f, "r")
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, events, 12)
	for _, e := range events {
		assert.Equal(t, "r", e.Rollout)
		assert.Equal(t, "acme", e.Account)
		assert.Positive(t, e.Took)
		if e.Instance == locked {
			assert.Equal(t, []any{Parked, "unauthorized", 1}, []any{e.State, e.Kind, e.Attempts})
		} else {
			assert.Equal(t, []any{Applied, ""}, []any{e.State, e.Kind})
		}
	}
	assert.ErrorIs(t, f.Work(t.Context(), api, WithObserver(nil)), zapi.ErrInvalidArgument)
	_, err := Open(t.Context(), Embedded(t.TempDir()), WithActor(""))
	assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
}

// Those that wait can be hurried.
func TestRetryWaiting(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, map[string]int{"acme": 1})
	api.before = func(string, string) (*reply, error) {
		if api.calls.Load() == 1 {
			return &reply{status: http.StatusServiceUnavailable}, nil
		}
		return nil, nil
	}
	work(t, f, api, WithAttempts(3, time.Hour, time.Hour))
	start(t, f, "r", policies[0], api.targets)
	require.Eventually(t, func() bool {
		s, err := f.Status(t.Context(), api.targets[0])
		return err == nil && s.State == Waiting && time.Until(s.NotBefore) > time.Minute
	}, 20*time.Second, 10*time.Millisecond)
	n, err := f.Retry(t.Context(), Filter{State: Waiting})
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, 1, finish(t, f, "r").Applied)
	_, err = f.Retry(t.Context(), Filter{State: Applied})
	assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
}
