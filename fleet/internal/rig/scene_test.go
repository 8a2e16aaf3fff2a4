//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

// A scene is what a fault is played on: servers, workers, an API, and what has been ordered.
type scene struct {
	t         *testing.T
	api       *api
	dir       string
	nodes     []*node
	workers   []*process
	accounts  []string
	targets   []fleet.Target
	rollouts  []*rollout
	inFlight  int              // calls that faults may have repeated
	meanwhile func(number int) // what is done every ten seconds until a rollout is done
}

type rollout struct {
	name      string
	targets   map[fleet.Target]bool
	canary    int
	cancelled bool
	forgotten bool // its entry, or its orders, were lost before a newer one replaced them: no report is expected
}

// newScene begins servers, which keep their stores in the folder, and knows n targets of each account.
func newScene(t *testing.T, storeDir string, servers, workers, n int, accounts string) *scene {
	t.Helper()
	s := &scene{t: t, api: newAPI(t), dir: t.TempDir(), accounts: strings.Fields(accounts), meanwhile: func(int) {}}
	for i := range n {
		for _, account := range s.accounts {
			s.targets = append(s.targets, fleet.Target{Account: account, Instance: strconv.Itoa(i)})
		}
	}
	s.addNodes(servers, storeDir)
	for _, account := range s.accounts {
		s.with(func(ctx context.Context, f *fleet.Fleet) error {
			return f.SetPace(ctx, account, fleet.Pace{PerSecond: perSecond, Burst: burst})
		})
	}
	for i := range workers {
		s.workers = append(s.workers, s.again(fmt.Sprint("worker", i), i, "RIG_API="+s.api.URL))
	}
	t.Cleanup(s.logs)
	return s
}

// logs shows the end of each log of a scene that failed.
func (s *scene) logs() {
	for _, p := range s.workers {
		if data, err := os.ReadFile(p.log); s.t.Failed() {
			s.t.Logf("the end of %s (%v):\n%s", p.log, err, data[max(0, len(data)-1500):])
		}
	}
}

// try opens the fleet for one action.
func (s *scene) try(do func(context.Context, *fleet.Fleet) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	f, err := fleet.Open(ctx, fleet.URL(s.urls(0), nats.Token(token)), fleet.WithReplicas(len(s.nodes)))
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, f), f.Close())
}

// with does the same, again and again while the engine is away.
func (s *scene) with(do func(context.Context, *fleet.Fleet) error) {
	s.t.Helper()
	var err error
	wait(100*time.Millisecond, func() bool {
		err = s.try(do)
		return !errors.Is(err, fleet.ErrEngine) && !errors.Is(err, context.DeadlineExceeded)
	})
	require.NoError(s.t, err)
}

// wait asks again and again, and reports whether what is waited for came true.
func wait(every time.Duration, isSo func() bool) bool {
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(every) {
		if isSo() {
			return true
		}
	}
	return false
}

// order begins a rollout for some targets, and returns its number, which its policy holds.
func (s *scene) order(targets []fleet.Target) int {
	s.t.Helper()
	number := s.plan(targets, 0)
	s.start(number)
	return number
}

// plan takes note of a rollout, and does not begin it.
func (s *scene) plan(targets []fleet.Target, canary int) int {
	r := &rollout{name: fmt.Sprint("r", len(s.rollouts)), targets: make(map[fleet.Target]bool), canary: canary}
	for _, t := range targets {
		r.targets[t] = true
	}
	s.rollouts = append(s.rollouts, r)
	return len(s.rollouts) - 1
}

func (s *scene) start(number int) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error { return errorOf(f.Start(ctx, s.spec(number))) })
}

func (s *scene) spec(number int) fleet.Rollout {
	r := s.rollouts[number]
	return fleet.Rollout{
		Name: r.name, Canary: r.canary,
		Targets: func(yield func(fleet.Target) bool) { // in their order, which decides who the canary is
			_ = slices.ContainsFunc(s.targets, func(t fleet.Target) bool { return r.targets[t] && !yield(t) })
		},
		Policy: zapi.Policy{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{phoneOf(number)}}},
	}
}

func (s *scene) cancel(number int) {
	s.t.Helper()
	s.rollouts[number].cancelled = true
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		return errorOf(f.Cancel(ctx, s.rollouts[number].name))
	})
}

func (s *scene) retry() {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error { return errorOf(f.Retry(ctx, fleet.Filter{})) })
}

func (s *scene) pause(number int) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error { return f.Pause(ctx, s.rollouts[number].name) })
}

func (s *scene) resume(number int) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error { return f.Resume(ctx, s.rollouts[number].name) })
}

func errorOf[T any](_ T, err error) error { return err }

// amid begins a rollout, and returns its number when the API has accepted n more calls than before, of n targets at most: there are
// that many to come, however fast they are.
func (s *scene) amid(targets []fleet.Target, n int) int {
	s.t.Helper()
	before := s.api.count("")
	number := s.order(targets)
	s.until("", before+n)
	return number
}

// until waits until the API has accepted so many calls of an account, or in all.
func (s *scene) until(account string, accepted int) {
	s.t.Helper()
	require.True(s.t, wait(5*time.Millisecond, func() bool { return s.api.count(account) >= accepted }), "%d calls of %d", s.api.count(account), accepted)
}

// finish waits until a rollout is done, and resumes it when it is held. If it is not, what is so now is compared nevertheless.
func (s *scene) finish(number int) (p fleet.Progress) {
	s.t.Helper()
	var last time.Time
	done := wait(250*time.Millisecond, func() bool {
		if time.Since(last) > 10*time.Second {
			if s.rollouts[number].cancelled {
				s.cancel(number) // again: what was under way, and failed
			}
			s.meanwhile(number)
			last = time.Now()
		}
		if p = s.progress(number); p.Held != "" {
			s.resume(number)
		}
		return p.Done()
	})
	if !done {
		s.t.Errorf("r%d is not done: %+v", number, p)
		s.check()
		s.t.FailNow()
	}
	return p
}

func (s *scene) finishAll() {
	s.t.Helper()
	for number, r := range s.rollouts {
		if !r.forgotten {
			s.finish(number)
		}
	}
	s.check()
}

func (s *scene) progress(number int) (p fleet.Progress) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) (err error) {
		p, err = f.Progress(ctx, s.rollouts[number].name)
		return err
	})
	return p
}

// rest waits until a rollout is held with nothing of it in flight, and returns why.
func (s *scene) rest(number int) (held string) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		for p, err := range f.Watch(ctx, s.rollouts[number].name) {
			if err != nil {
				return err
			}
			held = p.Held
		}
		return nil
	})
	return held
}

// disturbed counts the calls of workers that may be repeated: those in flight of one, or of all when they could not reach a server.
func (s *scene) disturbed(p *process) {
	n := len(s.workers)
	if slices.Contains(s.workers, p) {
		n = 1
	}
	s.inFlight += n * calls * len(s.accounts)
}

func (s *scene) killed(processes ...*process) {
	for _, p := range processes {
		p.kill()
		s.disturbed(p)
	}
}

// restart kills processes, and starts them again after a while.
func (s *scene) restart(after time.Duration, processes ...*process) {
	s.t.Helper()
	s.killed(processes...)
	time.Sleep(after)
	for _, p := range processes {
		p.start()
	}
}

func (s *scene) hang(p *process) {
	s.t.Helper()
	s.disturbed(p)
	p.signal(syscall.SIGSTOP)
}

// newest is the rollout that an instance should have, or -1.
func (s *scene) newest(t fleet.Target) int {
	for number, r := range slices.Backward(s.rollouts) {
		if r.targets[t] {
			return number
		}
	}
	return -1
}

// statuses reads the report.
func (s *scene) statuses() map[fleet.Target]fleet.Status {
	s.t.Helper()
	all := make(map[fleet.Target]fleet.Status)
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		for status, err := range f.Statuses(ctx, fleet.Filter{}) {
			if err != nil {
				return err
			}
			all[status.Target] = status
		}
		return nil
	})
	return all
}

// part returns every nth target.
func part(targets []fleet.Target, n int) (some []fleet.Target) {
	for i := 0; i < len(targets); i += n {
		some = append(some, targets[i])
	}
	return some
}
