package fleet

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// onOneServer runs a test embedded only: damage to a cluster is for the rig, as a replica mends what another one has lost.
func onOneServer(t *testing.T, test func(t *testing.T, f *Fleet)) {
	t.Helper()
	test(t, open(t, Embedded(t.TempDir())))
}

// got returns how many of the targets the API has on a policy.
func (a *fakeAPI) got(targets []Target, index int) (n int) {
	for _, target := range targets {
		if v := a.Settings(target.Instance).LastSeen.Visibility; v != "" && indexOf(string(v)) == index {
			n++
		}
	}
	return n
}

// The stream of orders is the only truth about what is wanted: with the orders gone, and the statuses still there, a new rollout is
// applied everywhere.
func TestOrdersLost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		lose  func(t *testing.T, f *Fleet)
		while bool // a worker runs
	}{
		{"the stream, while a worker runs", func(t *testing.T, f *Fleet) {
			require.NoError(t, raw(t, f).js.DeleteStream(t.Context(), ordersStream))
		}, true},
		{"the stream", func(t *testing.T, f *Fleet) {
			require.NoError(t, raw(t, f).js.DeleteStream(t.Context(), ordersStream))
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			onOneServer(t, func(t *testing.T, f *Fleet) {
				api := newAPI(t, map[string]int{"acme": 60})
				fullSpeed(t, f, api.targets)
				stop := work(t, f, api)
				start(t, f, "a", policies[0], api.targets)
				finish(t, f, "a")
				if !row.while {
					stop()
				}
				row.lose(t, f)
				if !row.while {
					work(t, f, api)
				}
				assert.Equal(t, Receipt{Ordered: 40}, start(t, f, "b", policies[1], api.targets[:40]))
				assert.Equal(t, 40, finish(t, f, "b").Applied)
				assert.Equal(t, 40, api.got(api.targets[:40], 1))
				assert.Eventually(t, func() bool {
					p, err := f.Progress(t.Context(), "a")
					return err == nil && p.Superseded == 40 && p.Missing == 20 && p.Total == 60 && !p.Done()
				}, 10*time.Second, 10*time.Millisecond, "nobody knows what has become of what no newer rollout has")
				before := len(api.Requests())
				assert.Equal(t, Receipt{Ordered: 20, Newer: 40}, start(t, f, "a", policies[0], api.targets))
				p := finish(t, f, "a")
				assert.GreaterOrEqual(t, len(api.Requests()), before+20, "a status of an order that was lost counts for no other")
				assert.Equal(t, [2]int{20, 40}, [2]int{p.Applied, p.Superseded})
				assert.Equal(t, 40, api.got(api.targets[:40], 1), "nothing old")
			})
		})
	}
}

// Some orders are gone: they are missing, and not superseded, until the rollout is started again.
func TestSomeOrdersLost(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 40})
		fullSpeed(t, f, api.targets)
		start(t, f, "a", policies[0], api.targets)
		for _, target := range api.targets[:8] {
			stream, err := raw(t, f).js.Stream(t.Context(), ordersStream)
			require.NoError(t, err)
			e, err := f.store.Newest(t.Context(), store.Orders, target.key())
			require.NoError(t, err)
			require.NoError(t, stream.DeleteMsg(t.Context(), e.Seq))
		}
		p := progresses(t, f, "a", Progress{Total: 40, Pending: 32, Missing: 8})
		assert.False(t, p.Done())
		start(t, f, "b", policies[1], api.targets[30:])
		progresses(t, f, "a", Progress{Total: 40, Pending: 22, Superseded: 10, Missing: 8})
		assert.Equal(t, Receipt{Ordered: 8, Resumed: 22, Newer: 10}, start(t, f, "a", policies[0], api.targets))
		work(t, f, api)
		assert.Equal(t, 30, finish(t, f, "a").Applied)
		assert.Equal(t, 30, api.got(api.targets[:30], 0))
	})
}

// What a newer rollout took over is superseded as long as its order is there, and then missing; no other instance stands in for it.
func TestNewerOrdersLost(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(60)
		start(t, f, "b", policies[1], targets[:30])
		start(t, f, "c", policies[2], targets[20:])
		stream, err := raw(t, f).js.Stream(t.Context(), ordersStream)
		require.NoError(t, err)
		for _, target := range targets[25:30] {
			e, err := f.store.Newest(t.Context(), store.Orders, target.key())
			require.NoError(t, err)
			require.NoError(t, stream.DeleteMsg(t.Context(), e.Seq))
		}
		progresses(t, f, "b", Progress{Total: 30, Pending: 20, Superseded: 5, Missing: 5})
		progresses(t, f, "c", Progress{Total: 40, Pending: 35, Missing: 5})
		assert.Equal(t, Receipt{Ordered: 5, Resumed: 20, Newer: 5}, start(t, f, "b", policies[1], targets[:30]))
		progresses(t, f, "b", Progress{Total: 30, Pending: 25, Superseded: 5})
		progresses(t, f, "c", Progress{Total: 40, Pending: 35, Missing: 5})
		assert.Equal(t, Receipt{Ordered: 5, Resumed: 35}, start(t, f, "c", policies[2], targets[20:]))
		progresses(t, f, "b", Progress{Total: 30, Pending: 20, Superseded: 10})

		require.NoError(t, raw(t, f).js.DeleteStream(t.Context(), store.Targets.String()))
		progresses(t, f, "b", Progress{Total: 30, Pending: 20, Superseded: 10})
		assert.Equal(t, Receipt{Resumed: 20, Newer: 10}, start(t, f, "b", policies[1], targets[:30]), "which stores them again")
		progresses(t, f, "b", Progress{Total: 30, Pending: 20, Superseded: 10})
	})
}

// A damaged order is replaced. One of a later release is left, and counts as newer; the rollout can be done.
func TestUnreadableOrders(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 10})
		fullSpeed(t, f, api.targets)
		for i, value := range []string{`{"v":1,"r":"x"`, `{"v":9,"what":"ever"}`} {
			require.NoError(t, f.store.Set(t.Context(), store.Orders, api.targets[i].key(), []byte(value)))
		}
		work(t, f, api)
		assert.Equal(t, Receipt{Ordered: 9, Newer: 1}, start(t, f, "a", policies[0], api.targets))
		p := finish(t, f, "a")
		assert.Equal(t, [3]int{10, 9, 1}, [3]int{p.Total, p.Applied, p.Superseded})
		e, err := f.store.Newest(t.Context(), store.Orders, api.targets[1].key())
		require.NoError(t, err)
		assert.JSONEq(t, `{"v":9,"what":"ever"}`, string(e.Value))
	})
}

// Each of the stores may be lost, while a worker runs or between two: what is ordered afterwards is applied, and the report says so.
func TestStoresLost(t *testing.T) {
	t.Parallel()
	for table := range store.Audit {
		t.Run(table.String(), func(t *testing.T) {
			t.Parallel()
			onOneServer(t, func(t *testing.T, f *Fleet) {
				api := newAPI(t, map[string]int{"acme": 20})
				fullSpeed(t, f, api.targets)
				work(t, f, api)
				start(t, f, "a", policies[0], api.targets)
				finish(t, f, "a")
				require.NoError(t, raw(t, f).js.DeleteStream(t.Context(), table.String()))
				require.Eventually(t, func() bool {
					_, err := f.Start(t.Context(), Rollout{Name: "b", Policy: policies[1], Targets: each(api.targets), HaltAt: 1})
					return err == nil
				}, 30*time.Second, 100*time.Millisecond)
				p := finish(t, f, "b")
				assert.Equal(t, [2]int{20, 20}, [2]int{p.Total, p.Applied})
				assert.Equal(t, 20, api.got(api.targets, 1))
				newestWins(t, api.Requests(), api.targets, 1)
			})
		})
	}
}

// Numbers never go back, although the rollouts are gone.
func TestNumbersNeverGoBack(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(5)
		for _, name := range []string{"a", "b", "c"} {
			start(t, f, name, policies[0], targets)
		}
		before, _, err := f.findRollout(t.Context(), "c")
		require.NoError(t, err)
		require.NoError(t, raw(t, f).js.DeleteStream(t.Context(), "KV_"+rolloutBucket))
		require.Eventually(t, func() bool {
			receipt, err := f.Start(t.Context(), Rollout{Name: "d", Policy: policies[1], Targets: each(targets)})
			return err == nil && receipt.Ordered+receipt.Resumed == 5
		}, 20*time.Second, 100*time.Millisecond)
		after, _, err := f.findRollout(t.Context(), "d")
		require.NoError(t, err)
		assert.Greater(t, after.Number, before.Number)
		assert.Equal(t, Receipt{Ordered: 5}, start(t, f, "c", policies[0], targets), "nobody knows the name any more: it is begun now")
	})
}

// A cancelled order is never revived.
func TestRetryAfterCancel(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 10})
		fullSpeed(t, f, api.targets)
		var refuse atomic.Bool
		refuse.Store(true)
		api.before = func(string, string) (*reply, error) {
			if refuse.Load() {
				return &reply{status: http.StatusForbidden}, nil
			}
			return nil, nil
		}
		stop := work(t, f, api)
		start(t, f, "a", policies[0], api.targets)
		assert.Equal(t, 10, finish(t, f, "a").Parked)
		_, err := f.Cancel(t.Context(), "a")
		require.NoError(t, err)
		refuse.Store(false)
		n, err := f.Retry(t.Context(), Filter{})
		require.NoError(t, err)
		assert.Zero(t, n)
		// Nor by a worker that finds its order, written by whoever it may be.
		stop()
		calls := api.calls.Load()
		work(t, f, api)
		e, err := f.store.Newest(t.Context(), store.Orders, api.targets[0].key())
		require.NoError(t, err)
		require.NoError(t, f.store.Set(t.Context(), store.Orders, e.Key, e.Value))
		assert.Eventually(t, func() bool {
			s, err := f.Status(t.Context(), api.targets[0])
			return err == nil && s.State == Superseded && s.Kind == "cancelled"
		}, 10*time.Second, 10*time.Millisecond)
		assert.Equal(t, calls, api.calls.Load())
	})
}

// A bad target at the end applies nothing, and the same name goes on.
func TestBadTargetAtTheEnd(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 50})
		fullSpeed(t, f, api.targets)
		work(t, f, api)
		_, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: slices.Values(append(slices.Clone(api.targets), Target{"acme", "*"}))})
		require.ErrorIs(t, err, zapi.ErrInvalidArgument)
		p, err := f.Progress(t.Context(), "a")
		require.NoError(t, err)
		assert.True(t, p.Ordering)
		assert.False(t, p.Done())
		time.Sleep(time.Second) // workers look at it several times
		assert.Zero(t, api.calls.Load())
		assert.Equal(t, Receipt{Resumed: 50}, start(t, f, "a", policies[0], api.targets))
		assert.Equal(t, 50, finish(t, f, "a").Applied)
	})
}

// Two calls of the same name with different targets, at the same time, count all of them.
func TestStartTwiceWithOtherTargets(t *testing.T) {
	t.Parallel()
	onOneServer(t, func(t *testing.T, f *Fleet) {
		targets := someTargets(60)
		done := make(chan Receipt, 2)
		for _, part := range [][]Target{targets[:30], targets[30:]} {
			go func() {
				receipt, err := f.Start(t.Context(), Rollout{Name: "a", Policy: policies[0], Targets: slices.Values(part)})
				assert.NoError(t, err)
				done <- receipt
			}()
		}
		assert.Equal(t, 60, (<-done).Ordered+(<-done).Ordered)
		progresses(t, f, "a", Progress{Total: 60, Pending: 60})
		r, _, err := f.findRollout(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 60, r.Total)
	})
}

// Only the instance waits that the API tells to.
func TestOneInstanceIsLimited(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, map[string]int{"acme": 60})
	limited := api.targets[3].Instance
	api.before = func(instance, _ string) (*reply, error) {
		if instance == limited {
			return &reply{http.StatusTooManyRequests, http.Header{"Retry-After": {"600"}}}, nil
		}
		return nil, nil
	}
	fullSpeed(t, f, api.targets)
	work(t, f, api)
	start(t, f, "a", policies[0], api.targets)
	assert.Eventually(t, func() bool {
		p, err := f.Progress(t.Context(), "a")
		return err == nil && p.Applied == 59 && p.Waiting == 1 && p.Left > 9*time.Minute
	}, 20*time.Second, 10*time.Millisecond)
}

// Accounts whose API hangs do not keep another one from being served.
func TestHangingAccounts(t *testing.T) {
	t.Parallel()
	f := open(t, Embedded(t.TempDir()))
	api := newAPI(t, map[string]int{"h1": 40, "h2": 40, "h3": 40, "h4": 40, "well": 100})
	accounts := make(map[string]string)
	var well []Target
	for _, target := range api.targets {
		accounts[target.Instance] = target.Account
		if target.Account == "well" {
			well = append(well, target)
		}
	}
	hang := make(chan struct{})
	api.before = func(instance, _ string) (*reply, error) {
		if accounts[instance] != "well" {
			<-hang
			return nil, errors.New("it hangs")
		}
		return nil, nil
	}
	fullSpeed(t, f, api.targets)
	work(t, f, api, WithCalls(16, 64), WithApplyTimeout(time.Minute))
	start(t, f, "others", policies[0], api.targets)
	assert.Eventually(t, func() bool { return api.calls.Load() > 20 }, 10*time.Second, time.Millisecond, "they hang")
	assert.Eventually(t, func() bool { return api.got(well, 0) == 100 }, 20*time.Second, 10*time.Millisecond)
	close(hang)
}

// A store of the first release opens, and goes on.
func TestStoreOfTheFirstRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unpack(t, "testdata/store-v1.tar.gz", dir)
	f := open(t, Embedded(dir))
	p, err := f.Progress(t.Context(), "first")
	require.NoError(t, err)
	assert.Equal(t, [6]int{16, 8, 2, 2, 4, 0}, [6]int{p.Total, p.Applied, p.Waiting, p.Parked, p.Superseded, p.Missing})
	p, err = f.Progress(t.Context(), "second")
	require.NoError(t, err)
	assert.Equal(t, [2]int{4, 4}, [2]int{p.Total, p.Pending})
	p, err = f.Progress(t.Context(), "taken-back")
	require.NoError(t, err)
	assert.Equal(t, [2]int{3, 3}, [2]int{p.Total, p.Cancelled})
	assert.True(t, p.Done())

	api := newAPI(t, nil)
	api.resolves = func(target Target) (zapi.Credentials, error) {
		creds := zapi.Credentials{InstanceID: target.Instance, Token: "T" + target.Instance, ClientToken: "F" + target.Instance}
		api.AddInstanceWith(creds)
		return creds, nil
	}
	fullSpeed(t, f, []Target{{"acme", "a"}})
	work(t, f, api)
	assert.Equal(t, 4, finish(t, f, "second").Applied)
	p = finish(t, f, "first")
	assert.Equal(t, [3]int{10, 2, 4}, [3]int{p.Applied, p.Parked, p.Superseded})
	assert.Len(t, api.Requests(), 6, "what was applied is not applied again")
	n, err := f.Retry(t.Context(), Filter{Rollout: "first"})
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, 12, finish(t, f, "first").Applied)
	var all []Target
	for s, err := range f.Statuses(t.Context(), Filter{Account: "acme"}) {
		require.NoError(t, err)
		all = append(all, s.Target)
	}
	assert.Equal(t, Receipt{Ordered: 16}, start(t, f, "third", policies[2], all))
	assert.Equal(t, 16, finish(t, f, "third").Applied)
	p = finish(t, f, "first")
	assert.Equal(t, [2]int{16, 16}, [2]int{p.Total, p.Superseded})
}

func unpack(t *testing.T, path, dir string) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // it is only read
	plain, err := gzip.NewReader(file)
	require.NoError(t, err)
	for r := tar.NewReader(plain); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		require.NotContains(t, header.Name, "..")
		if strings.HasSuffix(header.Name, "/") {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, header.Name), 0o700))
			continue
		}
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, header.Name), data, 0o600))
	}
}
