//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/fleet"
)

// stores are the streams behind orders and buckets.
var stores = []string{"FLEET_ORDERS", "KV_fleet_status", "KV_fleet_policies", "KV_fleet_rollouts", "KV_fleet_accounts", "KV_fleet_pace"}

// Workers are killed while rollouts overlap.
func TestWorkersKilled(t *testing.T) {
	s := newScene(t, 1, 3, 300, "acme")
	for i := range 3 {
		s.amid(s.targets, 60)
		s.killed(s.workers[i])
		s.workers[i].start()
	}
	s.finish(2)
	s.check()
}

// A worker is stopped for longer than its claims last, and continued behind two newer rollouts.
func TestWorkerHangs(t *testing.T) {
	s := newScene(t, 1, 2, 200, "acme")
	s.amid(s.targets, 60)
	s.workers[0].hang()
	s.inFlight += calls
	s.order(part(s.targets, 2))
	s.finish(0)
	s.finish(1)
	s.workers[0].goOn()
	s.order(part(s.targets, 3))
	s.finish(2)
	s.check()
}

// The only server is killed, again and again.
func TestServerKilled(t *testing.T) {
	s := newScene(t, 1, 2, 300, "acme")
	for i := range 3 {
		s.amid(s.targets, 60)
		s.killed(s.nodes[0].process)
		if i > 0 { // for a moment, or longer
			time.Sleep(4 * time.Second)
		}
		s.nodes[0].start()
	}
	s.finish(2)
	s.check()
}

// Of three nodes each is killed once, then two at once.
func TestNodesKilled(t *testing.T) {
	s := newScene(t, 3, 2, 300, "acme")
	for _, victims := range [][]*process{{s.nodes[0].process}, {s.nodes[1].process}, {s.nodes[2].process}, {s.nodes[0].process, s.nodes[1].process}} {
		s.amid(s.targets, 60)
		s.killed(victims...)
		time.Sleep(3 * time.Second)
		startAll(victims...)
	}
	s.order(part(s.targets, 2))
	for number := range s.rollouts {
		s.finish(number)
	}
	s.check()
}

// A node hangs: TCP connections to it stay, and what is sent there is lost. The first worker is connected to it.
func TestNodeHangs(t *testing.T) {
	t.Parallel()
	victims := 1
	if *long {
		victims = 3
	}
	for victim := range victims {
		t.Run(fmt.Sprint("n", victim), func(t *testing.T) {
			s := newScene(t, 3, 2, 7200, "acme")
			s.amid(s.targets, 100)
			paces := []float64{s.pace(8 * time.Second)} // before
			s.nodes[victim].hang()
			s.inFlight += 2 * calls
			for range 6 {
				paces = append(paces, s.pace(10*time.Second))
			}
			// A machine that is busy does not reach the nominal pace, and what it reaches varies.
			whole := min(paces[0], perSecond/2)
			t.Logf("calls per second, before and every ten seconds: %.0f", paces)
			assert.GreaterOrEqual(t, slices.Min(paces[3:]), whole/2, "20 s after a node hangs")
			assert.GreaterOrEqual(t, max(paces[5], paces[6]), whole*9/10, "a minute after a node hangs")
			s.nodes[victim].goOn()
			s.finish(0)
			s.check()
		})
	}
}

// A rollout is started and reported while a node hangs, whichever part of the engine that node leads.
func TestStartWhileNodeHangs(t *testing.T) {
	s := newScene(t, 3, 2, 100, "acme")
	for _, n := range s.nodes {
		n.hang()
		s.inFlight += 2 * calls
		s.finish(s.order(s.targets))
		n.goOn()
		time.Sleep(2 * time.Second) // it catches up before the next one hangs
	}
	s.check()
}

// A store is lost, cut short as after a power loss, or replaced by an older copy while the server is down amid a rollout.
func TestStoreDamaged(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		for _, damage := range []string{"removed", "cut", "older"} {
			if damage != "removed" && store != "FLEET_ORDERS" && store != "KV_fleet_status" && !*long {
				continue
			}
			t.Run(store+" "+damage, func(t *testing.T) {
				s := newScene(t, 1, 1, 150, "acme")
				server, dir, earlier := s.nodes[0], s.nodes[0].store(store), filepath.Join(s.dir, "earlier")
				s.order(s.targets)
				s.finish(0)
				s.killed(server.process)
				require.NoError(t, os.CopyFS(earlier, os.DirFS(dir)))
				server.start()
				second := s.amid(s.targets, 70)
				s.killed(server.process)
				switch damage {
				case "removed":
					require.NoError(t, os.RemoveAll(dir))
				case "older":
					require.NoError(t, os.RemoveAll(dir))
					require.NoError(t, os.CopyFS(dir, os.DirFS(earlier)))
				case "cut":
					cut(t, dir)
				}
				server.start()
				s.inFlight += len(s.targets) // what is not known any more
				s.mustNotBoast(second)
				// Whoever finds it unfinished starts it again, until nothing is missing.
				s.finishBy(second, func() { s.orderAgain(second) })
				third := s.order(part(s.targets, 2))
				s.finishBy(third, func() { s.orderAgain(third) })
				s.finish(second)
				s.rollouts[0].forgotten = true // its entry may have been lost with the store
				s.check()
			})
		}
	}
}

// One node of three comes back without a store, or with an older one: the others have it.
func TestStoreOfOneNodeDamaged(t *testing.T) {
	t.Parallel()
	damaged := []string{"FLEET_ORDERS", "KV_fleet_status"}
	if *long {
		damaged = stores
	}
	for _, store := range damaged {
		t.Run(store, func(t *testing.T) {
			s := newScene(t, 3, 2, 300, "acme")
			s.amid(s.targets, 100)
			victim := s.nodes[0]
			s.killed(victim.process)
			require.NoError(t, os.RemoveAll(victim.store(store)))
			victim.start()
			s.finish(0)
			s.order(part(s.targets, 2))
			s.finish(1)
			s.check()
		})
	}
}

// cut removes a quarter of the largest file of messages.
func cut(t *testing.T, dir string) {
	t.Helper()
	var largest string
	var size int64
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}))
	if largest == "" {
		return // a store that is empty
	}
	require.NoError(t, os.Truncate(largest, size*3/4))
}

// The token is refused for some seconds, as when it is rotated, and accepted again.
func TestTokenRotated(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			s := newScene(t, nodes, 2, 600, "acme")
			s.amid(s.targets, 60)
			for _, token := range []string{"another", token} {
				s.accept(token)
				s.inFlight += 2 * calls
				time.Sleep(5 * time.Second)
			}
			s.finish(0)
			s.check()
		})
	}
}

// The disk is full while a rollout is ordered and applied; then there is room again, and the server is started again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(disk, 0)) })
	s := newSceneIn(t, disk, 1, 1, 4000, "acme")
	s.order(part(s.targets, 20))
	s.finish(0)
	filler := filepath.Join(disk, "filler")
	var zeros [1 << 16]byte
	file, err := os.Create(filler)
	require.NoError(t, err)
	for err == nil {
		_, err = file.Write(zeros[:])
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, file.Close())
	second := s.plan(s.targets)
	err = s.try(func(ctx context.Context, f *fleet.Fleet) error {
		_, err := f.Start(ctx, s.spec(second))
		return err
	})
	t.Log("start on a full disk:", err)
	if err == nil { // there was room: the orders are there
		s.mustNotBoast(second)
	}
	require.NoError(t, os.Remove(filler))
	s.killed(s.nodes[0].process)
	s.nodes[0].start()
	s.orderAgain(second)
	s.finish(second)
	s.check()
}

// One instance is always told to come back later: only it waits.
func TestOneInstanceLimited(t *testing.T) {
	s := newScene(t, 1, 2, 600, "acme")
	sick := s.targets[7]
	s.sick = &sick
	s.api.set(func(_, instance string) (reply answer) {
		if instance == sick.Instance {
			reply = answer{status: http.StatusTooManyRequests, retryAfter: 10}
		}
		return reply
	})
	begun := time.Now()
	s.order(s.targets)
	require.True(t, wait(250*time.Millisecond, func() bool { return s.progress(0).Applied == len(s.targets)-1 }))
	asked := s.api.asked(sick.Account, sick.Instance)
	assert.LessOrEqual(t, asked, 1+int(time.Since(begun)/(10*time.Second)), "every try of this one takes ten seconds")
	s.check()
}

// Some accounts hang: the others keep their pace.
func TestAccountsHang(t *testing.T) {
	accounts := []string{"a", "b", "c", "d", "well"}
	s := newScene(t, 1, 1, 400, accounts...)
	s.api.set(func(account, _ string) answer { return answer{hang: account != "well"} })
	begun := time.Now()
	s.order(s.targets)
	assert.True(t, wait(50*time.Millisecond, func() bool { return s.api.count("well") >= 400 }), "%d of 400", s.api.count("well"))
	for _, account := range accounts[:4] {
		asked := s.api.asked(account, "")
		// All calls, some that follow the first that end, and probes, of which each hangs, too.
		assert.LessOrEqual(t, asked, 2*calls+int(time.Since(begun)/applyTimeout), "requests to an account that hangs")
	}
	s.api.set(nil)
	s.finish(0)
	s.check()
}

// The API is away: nothing is parked, and all is applied soon after its return.
func TestAPIAway(t *testing.T) {
	away := 20 * time.Second
	if *long {
		away = 25 * time.Minute
	}
	s := newScene(t, 1, 2, 400, "acme")
	s.api.set(func(string, string) answer { return answer{status: http.StatusServiceUnavailable} })
	s.order(s.targets)
	time.Sleep(away)
	s.api.set(nil)
	assert.Zero(t, s.finish(0).Parked)
	s.check()
}

// Rollouts are cancelled amid storms, and retried: what was taken back stays so.
func TestCancelled(t *testing.T) {
	s := newScene(t, 1, 2, 400, "acme")
	s.amid(s.targets, 50)
	s.api.set(func(_, instance string) answer {
		if strings.HasSuffix(instance, "3") {
			return answer{status: http.StatusForbidden} // parked: a retry would order it again
		}
		return answer{status: http.StatusInternalServerError}
	})
	time.Sleep(2 * time.Second)
	s.cancel(0)
	s.api.set(nil)
	s.finishBy(0, func() { s.cancel(0) }) // again: what was under way, and failed
	accepted := s.api.count("")
	s.retry()
	time.Sleep(3 * time.Second)
	assert.Equal(t, accepted, s.api.count(""), "calls after the end of a cancelled rollout, and a retry")
	s.check()
	s.order(part(s.targets, 2))
	s.finish(1)
	s.check()
}

// pace returns how many calls the API accepts per second. What is finished meanwhile was fast enough.
func (s *scene) pace(during time.Duration) float64 {
	before, begun := s.api.count(""), time.Now()
	time.Sleep(during)
	after, took := s.api.count(""), time.Since(begun)
	if after >= len(s.targets) {
		return perSecond / 2
	}
	return float64(after-before) / took.Seconds()
}

// mustNotBoast fails if a rollout is said to be further than the API knows.
func (s *scene) mustNotBoast(number int) {
	s.t.Helper()
	var p fleet.Progress
	err := s.try(func(ctx context.Context, f *fleet.Fleet) (err error) {
		p, err = f.Progress(ctx, s.rollouts[number].name)
		return err
	})
	if errors.Is(err, fleet.ErrNoRollout) || errors.Is(err, fleet.ErrEngine) {
		return // that is no boast
	}
	require.NoError(s.t, err)
	accepted := s.api.has(number)
	assert.LessOrEqual(s.t, p.Applied, accepted, "applied of %+v", p)
	assert.Zero(s.t, p.Superseded, "superseded of %+v: nothing newer was ordered", p)
	if p.Done() {
		assert.Equal(s.t, len(s.rollouts[number].targets), accepted, "done: %+v", p)
	}
}
