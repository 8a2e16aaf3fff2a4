package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/fleet/internal/store/memory"
)

// TestSimulation runs fleets against a store that behaves at its worst, each under a seed that decides everything: who is killed
// when, what is lost, which clock is wrong. Time is that of a bubble, so an hour takes milliseconds. After each run:
//
//   - nothing is lost: the newest order of every instance is settled
//   - nothing is old: the API never got an older policy behind a newer one
//   - repeats are bounded by what was disturbed
//   - the pace is kept
//   - the report equals what the API got
//
// A failing seed reproduces: FLEET_SIM_RUNS=1 FLEET_SIM_SEED=7 go test -run '^TestSimulation$' .
func TestSimulation(t *testing.T) {
	runs, seed := 200, uint64(1)
	if testing.Short() {
		runs = 50
	}
	if text := os.Getenv("FLEET_SIM_RUNS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		runs = n
	}
	if text := os.Getenv("FLEET_SIM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	shards := runtime.GOMAXPROCS(0)
	t.Run("seed", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint("shard", shard), func(t *testing.T) {
				t.Parallel()
				for i := shard; i < runs; i += shards {
					simulate(t, seed+uint64(i))
					if t.Failed() {
						t.Fatalf("FLEET_SIM_RUNS=1 FLEET_SIM_SEED=%d go test -run '^TestSimulation$' .", seed+uint64(i))
					}
				}
			})
		}
	})
}

func simulate(t *testing.T, seed uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, seed)
		s.play()
		s.calm()
		s.end()
		if !t.Failed() {
			s.check()
		}
	})
}

// Seeds of the dice, so that one decision does not depend on another.
func dice(seed uint64, parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed)
	for _, part := range parts {
		fmt.Fprint(h, "|", part)
	}
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// chance is true with probability p.
func chance(d uint64, p float64) bool { return float64(d>>11)/(1<<53) < p }

// simRollout is a rollout of a run, and what the run has done with it.
type simRollout struct {
	name      string
	policy    int
	targets   []Target
	canary    int
	number    uint64 // as the entry says at the end
	bad       bool   // has a bad target at its end
	started   bool   // a call of Start has returned without an error
	begun     bool   // a call of Start was made
	cancelled time.Time
	cancels   bool // a call of Cancel was made
	resumed   time.Time
}

type sim struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	store   *memory.Store
	began   time.Time
	targets []Target
	locked  map[string]bool

	profile  profile
	rollouts []*simRollout
	workers  []*simWorker
	others   []*Fleet
	running  sync.WaitGroup
	ctx      context.Context
	cancel   func()

	mu        sync.Mutex
	isCalm    bool
	damaged   [store.Audit + 1]bool
	disturbed int // how often something may have made a worker repeat what it had in hand
	requests  []simRequest
	away      [2]time.Time // when the API is away
	nth       map[string]int
	skew      map[int]time.Duration
	notes     []string
}

// profile is how bad the store and the API are in a run.
type profile struct {
	lose, ack, behind, repeat, late float64
	slow, fail, limit, hang         float64
	parts, disconnects              bool
}

type simRequest struct {
	worker   int
	instance string
	account  string
	policy   int
	sent     time.Time
	arrived  time.Time // zero if it was not applied
	answered bool
}

type simWorker struct {
	id     int
	handle *memory.Handle
	fleet  *Fleet
	stop   func()
	done   chan struct{}
}

const (
	simRate  = 20
	simBurst = 5
	simCalls = 4
	simApply = 20 * time.Second
)

func newSim(t *testing.T, seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 1))
	memories := memory.New()
	memories.Fetch = 20 * time.Second // an idle hour is shorter
	s := &sim{
		t: t, seed: seed, rng: rng, store: memories, began: time.Now(), locked: make(map[string]bool),
		nth: make(map[string]int), skew: make(map[int]time.Duration),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	accounts := 1 + rng.IntN(2)
	for i := range 2 + rng.IntN(10) {
		target := Target{fmt.Sprintf("acc%d", i%accounts), fmt.Sprintf("I%d", i)}
		s.targets = append(s.targets, target)
		if rng.IntN(8) == 0 {
			s.locked[target.Instance] = true
		}
	}
	some := func(p float64) float64 { return []float64{0, 0, p / 4, p}[rng.IntN(4)] }
	s.profile = profile{
		lose: some(0.05), ack: some(0.1), behind: some(0.5), repeat: some(0.2), late: some(0.1), slow: some(0.1), fail: some(0.3), limit: some(0.2),
		hang: some(0.1), parts: rng.IntN(4) == 0, disconnects: rng.IntN(4) == 0,
	}
	for i := range 1 + rng.IntN(len(policies)) {
		r := &simRollout{name: fmt.Sprintf("r%d", i), policy: i, bad: rng.IntN(6) == 0}
		for _, target := range s.targets {
			if rng.IntN(4) > 0 {
				r.targets = append(r.targets, target)
			}
		}
		if len(r.targets) == 0 {
			r.targets = s.targets[:1]
		}
		if rng.IntN(5) == 0 {
			r.canary = 1 + rng.IntN(len(r.targets))
		}
		s.rollouts = append(s.rollouts, r)
	}
	return s
}

func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf("%8.3fs ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	s.mu.Lock()
	notes := strings.Join(s.notes, "\n")
	s.mu.Unlock()
	s.t.Errorf("seed %d: %s\n%s", s.seed, fmt.Sprintf(format, args...), notes)
}

// count returns the how-many-th time something happens.
func (s *sim) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nth[what]++
	return s.nth[what]
}

func (s *sim) calmNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isCalm
}

// faults decides what goes wrong in the calls of a process.
func (s *sim) faults(who string) memory.Faults {
	return func(call string) memory.Fault {
		d := func(what string) uint64 { return dice(s.seed, who, call, what) }
		n := s.count(who + call)
		call = fmt.Sprint(call, n)
		f := memory.Fault{Wait: time.Millisecond + time.Duration(d("wait")%uint64(10*time.Millisecond))}
		if s.calmNow() {
			return f
		}
		p := s.profile
		f.Lose, f.LoseAck, f.Behind = chance(d("lose"), p.lose), chance(d("ack"), p.ack), chance(d("behind"), p.behind)
		f.Repeat = chance(d("repeat"), p.repeat)
		if chance(d("late"), p.late) {
			f.Late = time.Duration(d("how late") % uint64(90*time.Second))
			if strings.HasPrefix(call, "hand out") {
				s.disturb(1)
			}
		}
		return f
	}
}

func (s *sim) disturb(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disturbed += n
}

func (s *sim) open(who string, h *memory.Handle, wall func() time.Time) *Fleet {
	h.Turn = func() time.Duration {
		return time.Duration(dice(s.seed, who, time.Now().UnixNano()) % uint64(time.Millisecond))
	}
	t := defaultTiming
	t.wall = wall
	t.random = func(n int64) int64 { return int64(dice(s.seed, who, time.Now().UnixNano(), n) % uint64(n)) }
	f := newFleet(h, settings{log: slog.New(slog.DiscardHandler), timing: t})
	f.clock.measure(s.ctx)
	return f
}

// operator returns a fleet for one command.
func (s *sim) operator(who string) (*Fleet, *memory.Handle) {
	h := s.store.Handle(s.faults(who))
	f := s.open(who, h, time.Now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = append(s.others, f)
	return f, h
}

func (s *sim) startWorker(id int) *simWorker {
	who := fmt.Sprint("w", id, "-", s.count(fmt.Sprint("w", id)))
	w := &simWorker{id: id, handle: s.store.Handle(s.faults(who)), done: make(chan struct{})}
	w.fleet = s.open(who, w.handle, func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(s.skew[id])
	})
	ctx, stop := context.WithCancel(s.ctx)
	w.stop = stop
	transport := &simTransport{s, w}
	go func() {
		defer close(w.done)
		err := w.fleet.Work(ctx, simResolver{s, w}, WithCalls(simCalls, 2*simCalls), WithApplyTimeout(simApply),
			WithClient(zapi.WithBaseURL("https://api.example"), zapi.WithTransport(transport), zapi.WithTimeout(simApply)))
		if err != nil && !errors.Is(err, ErrEngine) {
			s.fail("work: %v", err)
		}
	}()
	return w
}

func (w *simWorker) kill() {
	w.handle.Kill()
	w.stop()
}

type simResolver struct {
	s *sim
	w *simWorker
}

func (r simResolver) Credentials(_ context.Context, t Target) (zapi.Credentials, error) {
	r.w.handle.Stopped()
	n, _ := strconv.Atoi(t.Instance[1:])
	if r.s.profile.parts && len(r.s.workers) > 1 && n%len(r.s.workers) == r.w.id {
		return zapi.Credentials{}, ErrElsewhere
	}
	return zapi.Credentials{InstanceID: t.Instance, Token: "T" + t.Account + "xxxxxx", ClientToken: "F" + t.Instance + "xxxxxx"}, nil
}

// simTransport is the way to the API, and the API: it applies a request some time after it was sent, and answers some time later.
// One that the client has given up may still arrive within the time that fleet reckons with.
type simTransport struct {
	s *sim
	w *simWorker
}

func (x *simTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	s := x.s
	parts := strings.Split(r.URL.Path, "/")
	instance := parts[2]
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var body struct {
		V string `json:"visualizationType"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	if x.w.handle.Killed() {
		return nil, errors.New("killed")
	}
	request := simRequest{worker: x.w.id, instance: instance, account: strings.TrimSuffix(strings.TrimPrefix(parts[4], "T"), "xxxxxx"), policy: indexOf(body.V), sent: time.Now()}
	n := s.count("request" + instance)
	d := func(what string) uint64 { return dice(s.seed, "api", instance, n, what) }
	status, text := s.answer(instance, d)
	way := time.Duration(d("way")%uint64(100*time.Millisecond)) + time.Millisecond
	back := time.Duration(d("back")%uint64(100*time.Millisecond)) + time.Millisecond
	p := s.profile
	if s.calmNow() {
		p = profile{}
	}
	if chance(d("slow"), p.slow) {
		way += time.Duration(d("how slow") % uint64(simApply+10*time.Second))
	}
	hangs := status == 0 || chance(d("hang"), p.hang)

	index := s.record(request)
	arrived := make(chan struct{})
	gaveUp := make(chan struct{})
	s.running.Go(func() {
		timer := time.NewTimer(way)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-gaveUp:
			const settle = 9 * time.Second // less than fleet reckons with
			if left := way - time.Since(request.sent); left > settle {
				return // it never arrives
			}
			<-timer.C
		}
		s.arrive(index, status == http.StatusOK)
		close(arrived)
	})
	select {
	case <-arrived:
	case <-r.Context().Done():
		close(gaveUp)
		return nil, r.Context().Err()
	}
	if hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	select {
	case <-time.After(back):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	x.w.handle.Stopped()
	s.mu.Lock()
	s.requests[index].answered = true
	s.mu.Unlock()
	header := http.Header{"Content-Type": {"application/json"}}
	if status == http.StatusTooManyRequests {
		header.Set("Retry-After", strconv.Itoa(1+int(d("after")%30)))
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: r, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(text))}, nil
}

// answer decides what the API answers; status 0 is nothing.
func (s *sim) answer(instance string, d func(string) uint64) (status int, text string) {
	s.mu.Lock()
	away := time.Now().After(s.away[0]) && time.Now().Before(s.away[1])
	calm := s.isCalm
	s.mu.Unlock()
	switch {
	case away && dice(s.seed, "away")%2 == 0:
		return 0, ""
	case away:
		return http.StatusServiceUnavailable, `{"error":"away"}`
	case s.locked[instance]:
		return http.StatusForbidden, `{"error":"Client-Token"}`
	case calm:
	case s.profile.disconnects && dice(s.seed, "connected", instance)%3 == 0:
		return http.StatusBadRequest, `{"error":"You are not connected."}`
	case chance(d("fail"), s.profile.fail):
		return http.StatusServiceUnavailable, `{"error":"busy"}`
	case chance(d("limit"), s.profile.limit):
		return http.StatusTooManyRequests, `{"error":"slow down"}`
	}
	return http.StatusOK, `{"success":true}`
}

func (s *sim) record(r simRequest) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	return len(s.requests) - 1
}

func (s *sim) arrive(index int, applied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if applied {
		s.requests[index].arrived = time.Now()
	}
}

// play runs what the seed has in mind.
func (s *sim) play() {
	rng := s.rng
	length := time.Minute + time.Duration(rng.Int64N(int64(14*time.Minute)))
	for id := range 1 + rng.IntN(3) {
		s.workers = append(s.workers, s.startWorker(id))
	}
	type event struct {
		at time.Duration
		do func()
	}
	var events []event
	at := func(d time.Duration, do func()) { events = append(events, event{d, do}) }
	some := func() time.Duration { return time.Duration(rng.Int64N(int64(length))) }
	begin := time.Duration(0)
	for _, r := range s.rollouts {
		begin += time.Duration(rng.Int64N(int64(length / time.Duration(len(s.rollouts)))))
		again, killed := rng.IntN(4) == 0, rng.IntN(6) == 0
		killedAfter := time.Duration(rng.Int64N(int64(60 * time.Millisecond)))
		at(begin, func() { s.start(r, killed, killedAfter) })
		if again {
			at(begin+time.Duration(rng.Int64N(int64(time.Minute))), func() { s.start(r, false, 0) })
		}
		if rng.IntN(4) == 0 {
			at(begin+time.Duration(rng.Int64N(int64(2*time.Minute))), func() { s.cancelRollout(r) })
		}
		if rng.IntN(4) == 0 {
			pauseAt := begin + time.Duration(rng.Int64N(int64(time.Minute)))
			at(pauseAt, func() {
				s.command("pause", r, func(ctx context.Context, f *Fleet) error { return f.Pause(ctx, r.name) })
			})
			at(pauseAt+some()/2, func() { s.resume(r) })
		}
		if rng.IntN(4) == 0 {
			at(begin+some(), func() {
				s.command("retry", r, func(ctx context.Context, f *Fleet) error { _, err := f.Retry(ctx, Filter{Rollout: r.name}); return err })
			})
		}
	}
	for range rng.IntN(4) {
		i := rng.IntN(len(s.workers))
		pauseFor := time.Duration(rng.Int64N(int64(2 * time.Minute)))
		at(some(), func() { s.killWorker(i, pauseFor) })
	}
	for range rng.IntN(3) {
		i, d := rng.IntN(len(s.workers)), time.Duration(rng.Int64N(int64(2*time.Minute)))
		at(some(), func() {
			s.note("stop worker %d for %v", i, d)
			s.disturb(inHand(simCalls) * 2)
			s.workers[i].handle.Stop(d)
		})
	}
	if rng.IntN(3) == 0 {
		d := time.Duration(rng.Int64N(int64(3 * time.Minute)))
		at(some(), func() {
			s.note("silence for %v", d)
			s.disturb(inHand(simCalls) * 2 * len(s.workers))
			s.store.Silence(d)
		})
	}
	if rng.IntN(4) == 0 {
		i, d := rng.IntN(len(s.workers)), time.Duration(rng.Int64N(int64(2*time.Hour)))-time.Hour
		lasts := time.Duration(rng.Int64N(int64(time.Minute)))
		from := some()
		at(from, func() { s.setSkew(i, d) })
		at(from+lasts, func() { s.setSkew(i, 0) })
	}
	if rng.IntN(4) == 0 {
		from := some()
		lasts := time.Duration(rng.Int64N(int64(3 * time.Hour)))
		at(from, func() {
			s.note("the API is away for %v", lasts)
			s.mu.Lock()
			s.away = [2]time.Time{time.Now(), time.Now().Add(lasts)}
			s.mu.Unlock()
		})
		at(from+lasts, func() {})
	}
	if rng.IntN(3) == 0 {
		s.planDamage(at, some)
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		time.Sleep(e.at - time.Since(s.began))
		e.do()
	}
	time.Sleep(length - time.Since(s.began))
}

func (s *sim) planDamage(at func(time.Duration, func()), some func() time.Duration) {
	table := store.Table(s.rng.IntN(int(store.Audit)))
	n, kind := s.rng.IntN(100), memory.Damage(s.rng.IntN(5))
	from := some()
	if kind > memory.Garbled { // restored from a copy
		var restore func()
		at(from, func() { restore = s.store.Snapshot(table) })
		at(from+some(), func() {
			s.hasDamaged(table, "is older")
			restore()
		})
		return
	}
	at(from, func() {
		s.hasDamaged(table, fmt.Sprint("damage ", kind))
		s.store.Damage(table, kind, n)
	})
}

func (s *sim) hasDamaged(table store.Table, how string) {
	s.note("%v %s", table, how)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged[table] = true
}

func (s *sim) setSkew(worker int, d time.Duration) {
	s.note("the clock of worker %d is off by %v", worker, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew[worker] = d
}

func (s *sim) start(r *simRollout, killed bool, after time.Duration) {
	s.mu.Lock()
	r.begun = true
	s.mu.Unlock()
	f, h := s.operator(fmt.Sprint("start", r.name, s.count("start"+r.name)))
	s.running.Go(func() {
		targets := r.targets
		if r.bad {
			targets = append(slices.Clone(targets), Target{"acc0", "*"})
		}
		receipt, err := f.Start(s.ctx, Rollout{Name: r.name, Policy: policies[r.policy], Targets: each(targets), Canary: r.canary, HaltAt: 1})
		s.note("start %s of %d: %+v %v", r.name, len(r.targets), receipt, err)
		s.mu.Lock()
		defer s.mu.Unlock()
		r.started = r.started || err == nil
	})
	if killed {
		s.note("start %s is killed after %v", r.name, after)
		time.Sleep(after)
		h.Kill()
	}
}

// command runs a command of an operator until it succeeds.
func (s *sim) command(what string, r *simRollout, do func(context.Context, *Fleet) error) {
	f, _ := s.operator(fmt.Sprint(what, r.name, s.count(what+r.name)))
	s.running.Go(func() {
		for range 5 {
			err := do(s.ctx, f)
			s.note("%s %s: %v", what, r.name, err)
			if err == nil || !errors.Is(err, ErrEngine) {
				return
			}
		}
	})
}

func (s *sim) cancelRollout(r *simRollout) {
	s.mu.Lock()
	r.cancels = true
	s.mu.Unlock()
	s.command("cancel", r, func(ctx context.Context, f *Fleet) error {
		_, err := f.Cancel(ctx, r.name)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil && r.cancelled.IsZero() {
			r.cancelled = time.Now()
		}
		return err
	})
}

func (s *sim) resume(r *simRollout) {
	s.mu.Lock()
	if r.resumed.IsZero() {
		r.resumed = time.Now()
	}
	s.mu.Unlock()
	s.command("resume", r, func(ctx context.Context, f *Fleet) error { return f.Resume(ctx, r.name) })
}

func (s *sim) killWorker(i int, pauseFor time.Duration) {
	s.note("kill worker %d", i)
	s.disturb(inHand(simCalls) * 2)
	old := s.workers[i]
	old.kill()
	time.Sleep(pauseFor)
	s.mu.Lock()
	s.others = append(s.others, old.fleet)
	s.mu.Unlock()
	s.workers[i] = s.startWorker(old.id)
}

// calm ends all faults, does what the documentation asks an operator to do, and waits until all is done.
func (s *sim) calm() {
	s.mu.Lock()
	s.isCalm = true
	s.mu.Unlock()
	s.note("calm")
	for i, w := range s.workers { // whatever hangs
		if w.handle.Killed() {
			s.workers[i] = s.startWorker(w.id)
		}
	}
	time.Sleep(3 * time.Minute) // until those commands have ended
	f, _ := s.operator("operator")
	deadline := time.Now().Add(30 * time.Hour)
	for {
		open := ""
		for _, r := range s.rollouts {
			if !r.begun {
				continue
			}
			p, err := f.Progress(s.ctx, r.name)
			switch {
			case errors.Is(err, ErrNoRollout) && (r.bad || !r.started):
				continue
			case errors.Is(err, ErrNoRollout):
				open = "no rollout " + r.name
			case err != nil:
				s.fail("progress of %s: %v", r.name, err)
				return
			case p.Done(), r.bad && p.Ordering:
				continue
			default:
				open = fmt.Sprintf("%s: %+v", r.name, p)
			}
			if p.Held != "" {
				s.mu.Lock()
				if r.resumed.IsZero() {
					r.resumed = time.Now()
				}
				s.mu.Unlock()
				if err := f.Resume(s.ctx, r.name); err != nil {
					s.fail("resume %s: %v", r.name, err)
				}
			}
			lostPolicy := p.Waiting > 0 && s.damaged[store.Policies] // as the kind of those that wait says
			if p.Ordering || p.Missing > 0 || err != nil || lostPolicy {
				_, err := f.Start(s.ctx, Rollout{Name: r.name, Policy: policies[r.policy], Targets: each(r.targets), Canary: r.canary, HaltAt: 1})
				s.note("start %s again: %v", r.name, err)
				s.mu.Lock()
				r.started = r.started || err == nil
				s.mu.Unlock()
			}
		}
		if open == "" {
			return
		}
		if time.Now().After(deadline) {
			s.fail("not done: %s", open)
			return
		}
		time.Sleep(time.Minute)
	}
}

func (s *sim) end() {
	f, _ := s.operator("reader")
	time.Sleep(time.Minute)
	s.report(f)
	s.cancel()
	for _, w := range s.workers {
		w.stop()
		<-w.done
		_ = w.fleet.Close()
	}
	s.running.Wait()
	for _, f := range s.others {
		_ = f.Close()
	}
}

// applied returns what the API has applied to an instance, in its order.
func (s *sim) applied(instance string) (all []simRequest) {
	for _, r := range s.requests {
		if r.instance == instance && !r.arrived.IsZero() {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b simRequest) int { return a.arrived.Compare(b.arrived) })
	return all
}

// report compares what fleet says with what the API got.
func (s *sim) report(f *Fleet) {
	statuses := make(map[Target]Status)
	for status, err := range f.Statuses(s.ctx, Filter{}) {
		if err != nil {
			s.fail("statuses: %v", err)
			return
		}
		statuses[status.Target] = status
	}
	entries, err := f.allRollouts(s.ctx)
	if err != nil {
		s.fail("rollouts: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rollouts {
		r.number = entries[r.name].Number
	}
	fail := func(format string, args ...any) {
		s.mu.Unlock()
		s.fail(format, args...)
		s.mu.Lock()
	}
	for _, target := range s.targets {
		status, ok := statuses[target]
		newest := s.newest(target)
		if !ok {
			if newest != nil && newest.cancelled.IsZero() {
				fail("lost: %v has no order, but %s was started", target, newest.name)
			}
			continue
		}
		r := s.rollouts[status.Rollout[1]-'0']
		got := s.applied(target.Instance)
		switch {
		case newest != nil && r.number < newest.number && !s.damaged[store.Orders] && !s.damaged[store.Rollouts]:
			fail("old: %v has the order of %s, but %s was started", target, r.name, newest.name)
		case status.State == Applied && (len(got) == 0 || got[len(got)-1].policy != r.policy):
			fail("report: %v is said to have %s, the API has %+v", target, r.name, got)
		case status.State == Parked && status.Kind != "unauthorized":
			fail("parked: %v: %+v", target, status)
		case status.State == Parked && !s.locked[target.Instance]:
			fail("parked: %v: %+v", target, status)
		case status.Kind == kindCancelled && !r.cancels:
			fail("cancelled: %v: %+v", target, status)
		}
	}
}

// newest returns the last rollout that was started over a target and was neither refused nor cancelled.
func (s *sim) newest(target Target) (newest *simRollout) {
	for _, r := range s.rollouts {
		if r.started && slices.Contains(r.targets, target) && (newest == nil || r.number > newest.number) {
			newest = r
		}
	}
	return newest
}

// check looks at all that the API got.
func (s *sim) check() {
	late := 0 // requests that were applied without the worker knowing
	for _, r := range s.requests {
		if !r.arrived.IsZero() && !r.answered {
			late++
		}
	}
	repeated := 0
	for _, target := range s.targets {
		got := s.applied(target.Instance)
		for i := 1; i < len(got); i++ {
			before, after := s.rollouts[got[i-1].policy], s.rollouts[got[i].policy]
			if after.number < before.number && !s.damaged[store.Orders] && !s.damaged[store.Statuses] && !s.damaged[store.Rollouts] {
				s.fail("old: %v: %+v", target, got)
			}
			if got[i].policy == got[i-1].policy {
				repeated++
			}
		}
	}
	if most := s.disturbed + late; repeated > most && s.damaged == [store.Audit + 1]bool{} {
		s.fail("%d calls were repeated, at most %d may be", repeated, most)
	}
	for _, r := range s.rollouts {
		for _, q := range s.requests {
			switch {
			case q.policy != r.policy, s.damaged[store.Rollouts]: // what is missing is not held
			case r.bad && !r.started:
				s.fail("half applied: %s has a bad target, and the API got %+v", r.name, q)
				return
			case !r.cancelled.IsZero() && q.sent.After(r.cancelled.Add(1100*time.Millisecond)) && !s.stopped():
				s.fail("cancelled: %s at %v, and the API got %+v", r.name, r.cancelled.Sub(s.began), q)
				return
			case r.canary > 0 && (r.resumed.IsZero() || q.sent.Before(r.resumed)) && !slices.Contains(instances(r.targets[:r.canary]), q.instance):
				s.fail("canary: the API got %+v", q)
				return
			}
		}
	}
	if !s.damaged[store.Paces] && !s.damaged[store.Accounts] {
		s.checkPace()
	}
}

// stopped reports whether a worker was stopped: it may then send what it has claimed when it goes on.
func (s *sim) stopped() bool {
	return slices.ContainsFunc(s.notes, func(n string) bool { return strings.Contains(n, "stop worker") })
}

func instances(targets []Target) (ids []string) {
	for _, t := range targets {
		ids = append(ids, t.Instance)
	}
	return ids
}

func (s *sim) checkPace() {
	const slices = 4 * 3 // that workers may hold
	most := func(d time.Duration) float64 { return simBurst + slices + 1 + simRate*d.Seconds() }
	byAccount := make(map[string][]time.Time)
	for _, r := range s.requests {
		byAccount[r.account] = append(byAccount[r.account], r.sent)
	}
	for account, times := range byAccount {
		for i := range times {
			for j := i + 1; j < len(times); j++ {
				if n := float64(j - i + 1); n > most(times[j].Sub(times[i])) {
					s.fail("pace: %v requests of %s in %v", n, account, times[j].Sub(times[i]))
					return
				}
			}
		}
	}
}
