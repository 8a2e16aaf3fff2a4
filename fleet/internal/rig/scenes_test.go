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
	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi/fleet"
)

// A play is what happens in a scene before all rollouts are finished and checked.
type play struct {
	name                      string
	servers, workers, targets int
	accounts                  string
	long                      bool // one of those that take minutes, or only vary others
	act                       func(*scene)
}

func TestScenes(t *testing.T) {
	t.Parallel()
	var stage errgroup.Group
	stage.SetLimit(8)                                                                                      // whatever the cores: the scenes wait more than they compute
	for _, p := range slices.Concat(nodeHangs(), storeDamaged(), held(), plays, storeOfOneNodeDamaged()) { // the longest begin first
		if p.long && !*long {
			continue
		}
		stage.Go(func() error {
			t.Run(p.name, func(t *testing.T) {
				s := newScene(t, t.TempDir(), p.servers, p.workers, p.targets, p.accounts)
				p.act(s)
				s.finishAll()
			})
			return nil
		})
	}
	require.NoError(t, stage.Wait())
}

var plays = []play{
	// Another rollout of the account goes on behind them.
	{"10,000 held", 1, 2, 10_300, "acme", false, func(s *scene) {
		first := s.plan(s.targets[:10_000], 1)
		s.start(first)
		s.finish(s.order(s.targets[10_000:]))
		assert.Contains(s.t, s.rest(first), "canary")
		assert.Equal(s.t, 1, s.api.has(first), "accepted of the rollout that is held")
		if !*long {
			s.cancel(first)
		}
	}},
	{"workers killed", 1, 3, 300, "acme", false, func(s *scene) {
		for _, worker := range s.workers {
			s.amid(s.targets, 60)
			s.restart(0, worker)
		}
	}},
	// For longer than its claims last, and it goes on behind two newer rollouts.
	{"worker hangs", 1, 2, 200, "acme", false, func(s *scene) {
		first := s.amid(s.targets, 60)
		s.hang(s.workers[0])
		second := s.order(part(s.targets, 2))
		s.finish(first)
		s.finish(second)
		s.workers[0].signal(syscall.SIGCONT)
		s.order(part(s.targets, 3))
	}},
	{"server killed", 1, 2, 300, "acme", false, func(s *scene) {
		for _, away := range []time.Duration{0, 4 * time.Second, 4 * time.Second} {
			s.amid(s.targets, 60)
			s.restart(away, s.nodes[0].process)
		}
	}},
	{"nodes killed", 3, 2, 300, "acme", false, func(s *scene) {
		n0, n1, n2 := s.nodes[0].process, s.nodes[1].process, s.nodes[2].process
		for _, victims := range [][]*process{{n0}, {n1}, {n2}, {n0, n1}} {
			s.amid(s.targets, 60)
			s.restart(3*time.Second, victims...)
		}
		s.order(part(s.targets, 2))
	}},
	// Whatever the node leads, rollouts are started and reported.
	{"start while node hangs", 3, 2, 100, "acme", false, func(s *scene) {
		for _, n := range s.nodes {
			s.hang(n.process)
			s.finish(s.order(s.targets))
			n.signal(syscall.SIGCONT)
			time.Sleep(2 * time.Second) // it catches up before the next one hangs
		}
	}},
	{"token rotated, one server", 1, 2, 600, "acme", false, rotateToken},
	{"token rotated, three nodes", 3, 2, 600, "acme", false, rotateToken},
	// It is always told to come back later: only it waits.
	{"one instance limited", 1, 2, 600, "acme", false, func(s *scene) {
		const sick = "7"
		s.api.set(func(_, instance string) (reply answer) {
			if instance == sick {
				reply = answer{status: http.StatusTooManyRequests, retryAfter: 10}
			}
			return reply
		})
		begun := time.Now()
		s.order(s.targets)
		s.until("", len(s.targets)-1)
		asked := s.api.asked("acme", sick)
		assert.LessOrEqual(s.t, asked, 1+int(time.Since(begun)/(10*time.Second)), "every try of this one takes ten seconds")
		s.api.set(nil)
	}},
	{"accounts hang", 1, 1, 400, "a b c d well", false, func(s *scene) {
		s.api.set(func(account, _ string) answer { return answer{hang: account != "well"} })
		begun := time.Now()
		s.order(s.targets)
		s.until("well", 400)
		for _, account := range s.accounts[:4] {
			asked := s.api.asked(account, "")
			// All calls, some that follow the first that end, and probes, of which each hangs, too.
			assert.LessOrEqual(s.t, asked, 2*calls+int(time.Since(begun)/applyTimeout), "requests to an account that hangs")
		}
		s.api.set(nil)
	}},
	{"API away", 1, 2, 400, "acme", false, apiAway(20 * time.Second)},
	{"API away for long", 1, 2, 400, "acme", true, apiAway(25 * time.Minute)},
	// Amid storms, and retried: what was taken back stays so.
	{"cancelled", 1, 2, 400, "acme", false, func(s *scene) {
		first := s.amid(s.targets, 50)
		s.api.set(func(_, instance string) answer {
			if strings.HasSuffix(instance, "3") {
				return answer{status: http.StatusForbidden} // parked: a retry would order it again
			}
			return answer{status: http.StatusInternalServerError}
		})
		time.Sleep(2 * time.Second)
		s.cancel(first)
		s.api.set(nil)
		s.finish(first)
		accepted := s.api.count("")
		s.retry()
		time.Sleep(3 * time.Second)
		assert.Equal(s.t, accepted, s.api.count(""), "calls after the end of a cancelled rollout, and a retry")
		s.check()
		s.order(part(s.targets, 2))
	}},
	// All instances are refused, as with a wrong token: each worker halts the rollout by itself. Once that is mended, it goes on.
	{"halted", 1, 3, 400, "acme", false, func(s *scene) {
		const fewestParked = 10
		s.api.set(func(string, string) answer { return answer{status: http.StatusUnauthorized, after: time.Second} })
		first := s.order(s.targets)
		held := s.rest(first)
		s.t.Logf("%d refused: %s", s.api.asked("acme", ""), held)
		assert.Contains(s.t, held, "halted: unauthorized")
		assert.LessOrEqual(s.t, s.api.asked("acme", ""), len(s.workers)*(fewestParked+calls), "refusals, of all workers")
		s.api.set(nil)
		s.retry()
		assert.Zero(s.t, s.api.has(first), "accepted before it is resumed")
		s.resume(first)
		assert.Zero(s.t, s.finish(first).Parked)
	}},
}

// The token is refused for some seconds, and accepted again.
func rotateToken(s *scene) {
	s.amid(s.targets, 60)
	for _, token := range []string{"another", token} {
		s.accept(token)
		time.Sleep(5 * time.Second)
	}
}

func apiAway(away time.Duration) func(*scene) {
	return func(s *scene) {
		s.api.set(func(string, string) answer { return answer{status: http.StatusServiceUnavailable} })
		first := s.order(s.targets)
		time.Sleep(away)
		s.api.set(nil)
		assert.Zero(s.t, s.finish(first).Parked)
	}
}

// A rollout is held while workers and the server are killed, and a newer one goes on over it. Then it is resumed by another
// process, or cancelled.
func held() (all []play) {
	const canary = 40
	for _, hold := range []string{"canary", "paused"} {
		for _, end := range []string{"resumed", "cancelled"} {
			isLong := (hold == "canary") != (end == "resumed")
			all = append(all, play{"held: " + hold + " and " + end, 1, 2, 450, "acme", isLong, func(s *scene) {
				most, begun := canary, canary
				if hold == "paused" {
					begun = 0 // all of them
				}
				first := s.plan(s.targets, begun)
				s.start(first)
				s.until("", canary/2)
				s.killed(s.workers[0])
				if hold == "paused" {
					s.pause(first)
					most = s.api.has(first) + perSecond/2 + burst + late // within the second in which the other worker may not know
				}
				s.workers[0].start()
				assert.Contains(s.t, s.rest(first), hold)
				s.restart(0, s.nodes[0].process, s.workers[1])
				s.finish(s.order(part(s.targets, 3)))
				assert.LessOrEqual(s.t, s.api.has(first), most, "accepted of the rollout that is held")
				assert.Contains(s.t, s.rest(first), hold)
				if end == "cancelled" {
					s.cancel(first)
					return
				}
				require.NoError(s.t, s.again("operator", 0, "RIG_RESUME="+s.rollouts[first].name).wait())
				assert.Empty(s.t, s.progress(first).Held)
			}})
		}
	}
	return all
}

// A node hangs: TCP connections to it stay, and what is sent there is lost. The first worker is connected to the first node.
func nodeHangs() (all []play) {
	for victim := range 3 {
		all = append(all, play{fmt.Sprint("node ", victim, " hangs"), 3, 2, 7200, "acme", victim > 0, func(s *scene) {
			s.amid(s.targets, 100)
			paces := []float64{s.pace(8 * time.Second)} // before
			s.hang(s.nodes[victim].process)
			for range 6 {
				paces = append(paces, s.pace(10*time.Second))
			}
			// A machine that is busy does not reach the nominal pace, and what it reaches varies.
			whole := min(paces[0], perSecond/2)
			s.t.Logf("calls per second, before and every ten seconds: %.0f", paces)
			assert.GreaterOrEqual(s.t, slices.Min(paces[3:]), whole/2, "20 s after a node hangs")
			assert.GreaterOrEqual(s.t, max(paces[5], paces[6]), whole*9/10, "a minute after a node hangs")
			s.nodes[victim].signal(syscall.SIGCONT)
		}})
	}
	return all
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

// stores are the streams behind orders and buckets.
var stores = []string{
	"KV_fleet_status", "FLEET_ORDERS", "KV_fleet_policies", "KV_fleet_rollouts", "KV_fleet_accounts", "KV_fleet_pace", "KV_fleet_targets",
}

// isBig reports whether a store has an entry for each instance.
func isBig(store string) bool { return store == "FLEET_ORDERS" || store == "KV_fleet_status" }

// A store is lost, cut short as after a power loss, or replaced by an older copy while the server is down amid a rollout.
func storeDamaged() (all []play) {
	for _, damage := range []struct {
		name string
		do   func(t *testing.T, store, earlier string)
	}{{"cut", cut}, {"older", replace}, {"removed", remove}} {
		for _, store := range stores {
			all = append(all, play{store + " is " + damage.name, 1, 1, 150, "acme", damage.name != "removed" && !isBig(store), func(s *scene) {
				server, dir, earlier := s.nodes[0], s.nodes[0].store(store), filepath.Join(s.dir, "earlier")
				first := s.order(s.targets)
				s.finish(first)
				s.killed(server.process)
				require.NoError(s.t, os.CopyFS(earlier, os.DirFS(dir)))
				server.start()
				second := s.amid(s.targets, 70)
				s.killed(server.process)
				damage.do(s.t, dir, earlier)
				server.start()
				s.inFlight += len(s.targets) // what is not known any more
				s.mustNotBoast(second)
				s.rollouts[first].forgotten = true // its entry may have been lost with the store
				s.meanwhile = s.start              // as whoever finds a rollout unfinished does, until nothing is missing
				s.finish(second)
				s.finish(s.order(part(s.targets, 2)))
			}})
		}
	}
	return all
}

// One node of three comes back without a store: the others have it.
func storeOfOneNodeDamaged() (all []play) {
	for _, store := range stores {
		all = append(all, play{store + " of one node is removed", 3, 2, 300, "acme", !isBig(store), func(s *scene) {
			s.amid(s.targets, 100)
			s.killed(s.nodes[0].process)
			remove(s.t, s.nodes[0].store(store), "")
			s.nodes[0].start()
			s.finish(0)
			s.order(part(s.targets, 2))
		}})
	}
	return all
}

func remove(t *testing.T, store, _ string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(store))
}

func replace(t *testing.T, store, earlier string) {
	t.Helper()
	remove(t, store, earlier)
	require.NoError(t, os.CopyFS(store, os.DirFS(earlier)))
}

// cut removes a quarter of the largest file of messages.
func cut(t *testing.T, store, _ string) {
	t.Helper()
	var largest string
	var size int64
	require.NoError(t, filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}))
	if largest != "" { // or the store is empty
		require.NoError(t, os.Truncate(largest, size*3/4))
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
	s := newScene(t, disk, 1, 1, 4000, "acme")
	s.finish(s.order(part(s.targets, 20)))
	filler, zeros := filepath.Join(disk, "filler"), make([]byte, 64<<20)
	require.ErrorIs(t, os.WriteFile(filler, zeros, 0o600), syscall.ENOSPC)
	second := s.plan(s.targets, 0)
	err := s.try(func(ctx context.Context, f *fleet.Fleet) error { return errorOf(f.Start(ctx, s.spec(second))) })
	t.Log("start on a full disk:", err)
	if err == nil { // there was room: the orders are there
		s.mustNotBoast(second)
	}
	require.NoError(t, os.Remove(filler))
	s.restart(0, s.nodes[0].process)
	s.start(second)
	s.finishAll()
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
