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
// when, what is lost, which clock is wrong. Time is that of a bubble, so an hour takes milliseconds. What must be so afterwards is
// in sim_check_test.go.
//
// A failing seed is printed and reproduces: FLEET_SIM_RUNS=1 FLEET_SIM_SEED=7 go test -run '^TestSimulation$' .
func TestSimulation(t *testing.T) {
	runs, seed := 200, 1
	if testing.Short() {
		runs = 50
	}
	for name, n := range map[string]*int{"FLEET_SIM_RUNS": &runs, "FLEET_SIM_SEED": &seed} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *n, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	var done sync.Map // what somebody has done in a run
	shards := runtime.GOMAXPROCS(0)
	t.Run("seed", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint("shard", shard), func(t *testing.T) {
				t.Parallel()
				for i := shard; i < runs; i += shards {
					simulate(t, uint64(seed+i), &done) // it ends the shard if it fails
				}
			})
		}
	})
	for _, action := range []string{"start", "cancel", "retry", "pause", "resume", "halt", "pace"} {
		if _, ok := done.Load(action); !ok && runs >= 200 && !t.Failed() {
			t.Errorf("no run had a %s", action)
		}
	}
}

func simulate(t *testing.T, seed uint64, done *sync.Map) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, seed)
		if s.scene == anything {
			s.play()
		} else {
			s.playScene()
		}
		s.calm()
		s.end()
		if !t.Failed() {
			s.check()
		}
		for event := range s.said.events {
			action, _, _ := strings.Cut(event, " ")
			done.Store(action, true)
		}
	})
}

// dice decides something. What they say depends on nothing but the seed, what it is about, and the how-many-th time it is.
func (s *sim) dice(about string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, about)
	return rand.New(rand.NewPCG(h.Sum64()+uint64(n)*0x9e3779b97f4a7c15, s.seed))
}

func chance(d *rand.Rand, p float64) bool { return d.Float64() < p }

// upTo returns a time below most.
func upTo(d *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(most)))
}

// simRollout is a rollout of a run, and what the run has done with it.
type simRollout struct {
	name    string
	policy  int
	targets []Target
	canary  int
	haltAt  float64
	bad     bool // has a bad target at its end
	inParts bool // is started in several calls with different targets

	called    time.Time       // Start, for the first time
	returned  time.Time       // the last call of it
	ordered   map[Target]bool // by calls that returned without an error
	tried     map[Target]bool // by any call
	cancels   bool            // a call of Cancel was made
	cancelled time.Time       // it returned
	paused    time.Time       // Pause returned
	resumed   time.Time       // Resume was called, for the first time
	number    uint64          // as fleet says at the end
}

// started returns the targets of all calls of Start that have returned without an error.
func (r *simRollout) started() (targets []Target) {
	for _, target := range r.targets {
		if r.ordered[target] {
			targets = append(targets, target)
		}
	}
	return targets
}

type sim struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	store   *memory.Store
	began   time.Time
	scene   scene
	targets []Target
	locked  map[string]bool // instances whose Client-Token is refused for good
	sick    string          // the limited instance
	paces   map[string]Pace // that are not the default

	profile  profile
	rollouts []*simRollout
	workers  []*simWorker
	others   []*Fleet
	running  sync.WaitGroup
	ctx      context.Context
	cancel   func()
	said     said

	mu        sync.Mutex
	isCalm    bool
	damaged   [store.Audit + 1]bool
	stopped   bool // a worker was: it may then send what it has claimed when it goes on
	disturbed int  // how often something may have made a worker repeat what it had in hand
	requests  []simRequest
	away      [2]time.Time // when the API is away
	nth       map[string]int
	skew      map[int]time.Duration
	deaf      map[int]time.Time // until then a worker hears nothing of the statuses that it writes
	tried     map[string]int    // what somebody has tried to do, by action and rollout
	did       map[string]int    // without an error
	notes     []string
}

// profile is how bad the store and the API are in a run.
type profile struct {
	lose, ack, behind, repeat, late float64
	slow, fail, limit, hang         float64
	parts, disconnects              bool // a worker knows a part of the instances; some numbers are not connected
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
	simSlice = 5 // requests of a quarter of a second
	simCalls = 4
	simApply = 20 * time.Second
)

func newSim(t *testing.T, seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 1))
	memories := memory.New()
	memories.Fetch = time.Minute // an idle hour is shorter
	s := &sim{
		t: t, seed: seed, rng: rng, store: memories, began: time.Now(), locked: make(map[string]bool), paces: make(map[string]Pace),
		nth: make(map[string]int), skew: make(map[int]time.Duration), deaf: make(map[int]time.Time),
		tried: make(map[string]int), did: make(map[string]int),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if rng.IntN(8) == 0 {
		s.setScene(1 + scene(rng.IntN(int(scenes-1))))
		return s
	}
	accounts := 1 + rng.IntN(2)
	for i := range 2 + rng.IntN(10) {
		target := Target{fmt.Sprintf("acc%d", i%accounts), fmt.Sprintf("I%d", i)}
		s.targets = append(s.targets, target)
		s.locked[target.Instance] = rng.IntN(8) == 0
	}
	if rng.IntN(4) == 0 { // so slow that orders wait in hand
		s.paces["acc0"] = Pace{PerSecond: 0.2 + rng.Float64(), Burst: 1 + rng.IntN(2)}
	}
	some := func(p float64) float64 { return []float64{0, 0, p / 4, p}[rng.IntN(4)] }
	s.profile = profile{
		lose: some(0.05), ack: some(0.1), behind: some(0.5), repeat: some(0.2), late: some(0.1),
		slow: some(0.1), fail: some(0.3), limit: some(0.2), hang: some(0.1), parts: rng.IntN(4) == 0, disconnects: rng.IntN(4) == 0,
	}
	for i := range 1 + rng.IntN(len(policies)) {
		r := s.addRollout(nil)
		r.policy, r.haltAt, r.bad = i, 1, rng.IntN(6) == 0
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
	}
	return s
}

func (s *sim) addRollout(targets []Target) *simRollout {
	r := &simRollout{name: fmt.Sprint("r", len(s.rollouts)), targets: targets, ordered: make(map[Target]bool), tried: make(map[Target]bool)}
	s.rollouts = append(s.rollouts, r)
	return r
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
	s.t.Errorf("FLEET_SIM_RUNS=1 FLEET_SIM_SEED=%d go test -run '^TestSimulation$' .", s.seed)
}

// count returns the how-many-th time something happens.
func (s *sim) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nth[what]++
	return s.nth[what]
}

// now returns what is wrong now, and whether the worker is deaf.
func (s *sim) now(worker int) (p profile, deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isCalm {
		return profile{}, false
	}
	return s.profile, time.Now().Before(s.deaf[worker])
}

// operators are no worker.
const operators = -1

// faults decides what goes wrong in the calls of a process.
func (s *sim) faults(who string, worker int) memory.Faults {
	return func(call string) memory.Fault {
		d := s.dice(who+call, s.count(who+call))
		p, deaf := s.now(worker)
		f := memory.Fault{
			Wait: time.Millisecond + upTo(d, 10*time.Millisecond), Lose: chance(d, p.lose), LoseAck: chance(d, p.ack),
			Behind: chance(d, p.behind), Repeat: chance(d, p.repeat),
		}
		if chance(d, p.late) {
			f.Late = upTo(d, 90*time.Second)
			if strings.HasPrefix(call, "deliver") {
				s.disturb(1)
			}
		}
		isStatus := strings.HasPrefix(call, "put "+store.Statuses.String())
		f.LoseAck = f.LoseAck || deaf && isStatus
		if f.LoseAck && !deaf && (isStatus || strings.HasPrefix(call, "put "+store.Orders.String())) {
			s.disturb(1) // whether an outcome was in place, before another order replaced it, is then unknown
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
		return upTo(s.dice(who, int(time.Now().UnixNano())), time.Millisecond)
	}
	t := defaultTiming
	t.wall = wall
	t.random = func(n int64) int64 { return s.dice(who, int(time.Now().UnixNano())).Int64N(n) }
	f := newFleet(h, settings{log: slog.New(slog.DiscardHandler), timing: t})
	f.clock.measure(s.ctx)
	return f
}

// operator returns a fleet for one command.
func (s *sim) operator(who string) (*Fleet, *memory.Handle) {
	h := s.store.Handle(s.faults(who, operators))
	f := s.open(who, h, time.Now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = append(s.others, f)
	return f, h
}

func (s *sim) startWorker(id int) *simWorker {
	who := fmt.Sprint("w", id, "-", s.count(fmt.Sprint("w", id)))
	w := &simWorker{id: id, handle: s.store.Handle(s.faults(who, id)), done: make(chan struct{})}
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
	account := strings.TrimSuffix(strings.TrimPrefix(parts[4], "T"), "xxxxxx")
	request := simRequest{worker: x.w.id, instance: instance, account: account, policy: indexOf(body.V), sent: time.Now()}
	n := s.count("request" + instance)
	d := s.dice("api"+instance, n)
	p, _ := s.now(operators)
	if n%5 == 0 { // no order is exhausted by chance
		p = profile{disconnects: p.disconnects}
	}
	status, text := s.answer(instance, account, p, d)
	way, back := time.Millisecond+upTo(d, 100*time.Millisecond), time.Millisecond+upTo(d, 100*time.Millisecond)
	if chance(d, p.slow) {
		way += upTo(d, simApply+10*time.Second)
	}
	hangs := status == 0 || chance(d, p.hang)

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
		header.Set("Retry-After", strconv.Itoa(1+d.IntN(30)))
	}
	return &http.Response{
		StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
		Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// answer decides what the API answers; status 0 is nothing.
func (s *sim) answer(instance, account string, p profile, d *rand.Rand) (status int, text string) {
	s.mu.Lock()
	away := time.Now().After(s.away[0]) && time.Now().Before(s.away[1])
	scene := s.scene
	if s.isCalm {
		scene = anything
	}
	s.mu.Unlock()
	switch {
	case scene == hangingAccounts && account != healthyAccount, away && s.seed%2 == 0:
		return 0, ""
	case away:
		return http.StatusServiceUnavailable, `{"error":"away"}`
	case scene == wrongToken, s.locked[instance]:
		return http.StatusForbidden, `{"error":"Client-Token"}`
	case p.disconnects && s.dice("connected"+instance, 0).IntN(3) == 0:
		return http.StatusBadRequest, `{"error":"You are not connected."}`
	case chance(d, p.fail):
		return http.StatusServiceUnavailable, `{"error":"busy"}`
	case scene == limitedInstance && instance == s.sick, chance(d, p.limit):
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

// An event is something that happens at its time of a run.
type event struct {
	at time.Duration
	do func()
}

// plan collects the events of a run.
type plan struct {
	*rand.Rand
	length time.Duration
	events []event
}

func (p *plan) at(d time.Duration, do func()) { p.events = append(p.events, event{d, do}) }
func (p *plan) some() time.Duration           { return upTo(p.Rand, p.length) }
func (p *plan) oneIn(n int) bool              { return p.IntN(n) == 0 }

// play runs what the seed has in mind.
func (s *sim) play() {
	p := &plan{Rand: s.rng}
	p.length = time.Minute + upTo(p.Rand, 14*time.Minute)
	s.startWorkers(1 + p.IntN(3))
	s.setPaces()
	begin := time.Duration(0)
	for _, r := range s.rollouts {
		begin += upTo(p.Rand, p.length/time.Duration(len(s.rollouts)))
		s.planRollout(p, r, begin)
	}
	s.planWorkers(p)
	if p.oneIn(3) {
		d := upTo(p.Rand, 3*time.Minute)
		p.at(p.some(), func() {
			s.note("silence for %v", d)
			s.disturb(inHand(simCalls) * 2 * len(s.workers))
			s.store.Silence(d)
		})
	}
	if p.oneIn(4) {
		from, lasts := p.some(), upTo(p.Rand, 30*time.Minute)
		if p.oneIn(10) { // longer than the attempts of an order last
			lasts = upTo(p.Rand, 3*time.Hour)
		}
		p.at(from, func() { s.setAway(lasts) })
		p.at(from+lasts, func() {})
	}
	if p.oneIn(3) {
		s.planDamage(p)
	}
	slices.SortStableFunc(p.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range p.events {
		time.Sleep(e.at - time.Since(s.began))
		e.do()
	}
	time.Sleep(p.length - time.Since(s.began))
}

func (s *sim) setAway(d time.Duration) {
	s.note("the API is away for %v", d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = [2]time.Time{time.Now(), time.Now().Add(d)}
}

// planRollout plans what operators do with a rollout.
func (s *sim) planRollout(p *plan, r *simRollout, begin time.Duration) {
	if !r.bad && p.oneIn(5) { // in several calls at once, or one after the other
		r.canary, r.inParts = 0, true
		size, apart := 1+p.IntN(len(r.targets)), []time.Duration{20 * time.Millisecond, time.Minute}[p.IntN(2)]
		for part := range slices.Chunk(r.targets, size) {
			p.at(begin+upTo(p.Rand, apart), func() { s.start(r, part) })
		}
	} else {
		killed, after := p.oneIn(6), upTo(p.Rand, 60*time.Millisecond)
		p.at(begin, func() {
			h := s.start(r, r.targets)
			if killed {
				s.note("start %s is killed after %v", r.name, after)
				time.Sleep(after)
				h.Kill()
			}
		})
	}
	if p.oneIn(4) {
		p.at(begin+upTo(p.Rand, time.Minute), func() { s.start(r, r.targets) })
	}
	if p.oneIn(4) {
		p.at(begin+upTo(p.Rand, 2*time.Minute), func() { s.cancelRollout(r) })
	}
	if p.oneIn(4) {
		pauseAt := begin + upTo(p.Rand, []time.Duration{3 * time.Second, time.Minute}[p.IntN(2)])
		p.at(pauseAt, func() { s.pause(r) })
		p.at(pauseAt+p.some()/2, func() { s.resume(r) })
	}
	if p.oneIn(4) {
		p.at(begin+p.some(), func() {
			s.command("retry", r, func(ctx context.Context, f *Fleet) error { _, err := f.Retry(ctx, Filter{Rollout: r.name}); return err })
		})
	}
}

// planWorkers plans what happens to workers: they are killed or stopped, their clocks are set, they hear no acknowledgements.
func (s *sim) planWorkers(p *plan) {
	for range p.IntN(4) {
		i, away := p.IntN(len(s.workers)), upTo(p.Rand, 2*time.Minute)
		p.at(p.some(), func() { s.killWorker(i, away) })
	}
	for range p.IntN(3) {
		i, d := p.IntN(len(s.workers)), upTo(p.Rand, 2*time.Minute)
		p.at(p.some(), func() { s.stopWorker(i, d) })
	}
	if p.oneIn(4) {
		i, d := p.IntN(len(s.workers)), upTo(p.Rand, 2*time.Hour)-time.Hour
		from := p.some()
		p.at(from, func() { s.setSkew(i, d) })
		p.at(from+upTo(p.Rand, time.Minute), func() { s.setSkew(i, 0) })
	}
	if p.oneIn(4) {
		i, d := p.IntN(len(s.workers)), upTo(p.Rand, 2*time.Minute)
		p.at(p.some()/2, func() {
			s.note("worker %d hears nothing of the statuses that it writes for %v", i, d)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.deaf[i] = time.Now().Add(d)
		})
	}
}

func (s *sim) startWorkers(n int) {
	for id := range n {
		s.workers = append(s.workers, s.startWorker(id))
	}
}

func (s *sim) setPaces() {
	for account, pace := range s.paces {
		f, _ := s.operator("pace" + account)
		for s.act("pace", "", func() error { return f.SetPace(s.ctx, account, pace) }) != nil {
			time.Sleep(time.Second)
		}
		s.note("the pace of %s is %v", account, pace)
	}
}

func (s *sim) planDamage(p *plan) {
	table := store.Table(p.IntN(int(store.Audit)))
	n, kind := p.IntN(100), memory.Damage(p.IntN(5))
	from := p.some()
	if kind > memory.Garbled { // restored from a copy
		var restore func()
		p.at(from, func() { restore = s.store.Snapshot(table) })
		p.at(from+p.some(), func() {
			s.hasDamaged(table, "is older")
			restore()
		})
		return
	}
	p.at(from, func() {
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

// act does something as an operator, which the audit has to show.
func (s *sim) act(action, rollout string, do func() error) error {
	count := func(counts map[string]int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		counts[action+" "+rollout]++
	}
	count(s.tried)
	err := do()
	if err == nil {
		count(s.did)
	}
	return err
}

// start calls Start in a process of its own.
func (s *sim) start(r *simRollout, targets []Target) *memory.Handle {
	f, h := s.operator(fmt.Sprint("start", r.name, s.count("start"+r.name)))
	s.running.Go(func() { s.startNow(f, r, targets) })
	return h
}

func (s *sim) startNow(f *Fleet, r *simRollout, targets []Target) {
	s.mu.Lock()
	if r.called.IsZero() {
		r.called = time.Now()
	}
	for _, target := range targets {
		r.tried[target] = true
	}
	s.mu.Unlock()
	given := targets
	if r.bad {
		given = append(slices.Clone(targets), Target{"acc0", "*"})
	}
	var receipt Receipt
	err := s.act("start", r.name, func() (err error) {
		receipt, err = f.Start(s.ctx, Rollout{Name: r.name, Policy: policies[r.policy], Targets: each(given), Canary: r.canary, HaltAt: r.haltAt})
		return err
	})
	s.note("start %s of %d from %v: %+v %v", r.name, len(given), given[0], receipt, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.returned = time.Now()
	for _, target := range targets {
		r.ordered[target] = r.ordered[target] || err == nil
	}
}

// command runs a command of an operator until it succeeds.
func (s *sim) command(what string, r *simRollout, do func(context.Context, *Fleet) error) {
	f, _ := s.operator(fmt.Sprint(what, r.name, s.count(what+r.name)))
	s.running.Go(func() {
		for range 5 {
			err := s.act(what, r.name, func() error { return do(s.ctx, f) })
			s.note("%s %s: %v", what, r.name, err)
			if err == nil || !errors.Is(err, ErrEngine) {
				return
			}
		}
	})
}

// once sets a time, unless it is set.
func (s *sim) once(t *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.IsZero() {
		*t = time.Now()
	}
}

func (s *sim) cancelRollout(r *simRollout) {
	s.mu.Lock()
	r.cancels = true
	s.mu.Unlock()
	s.command("cancel", r, func(ctx context.Context, f *Fleet) error {
		_, err := f.Cancel(ctx, r.name)
		if err == nil {
			s.once(&r.cancelled)
		}
		return err
	})
}

func (s *sim) pause(r *simRollout) {
	s.command("pause", r, func(ctx context.Context, f *Fleet) error {
		err := f.Pause(ctx, r.name)
		if err == nil {
			s.once(&r.paused)
		}
		return err
	})
}

func (s *sim) resume(r *simRollout) {
	s.once(&r.resumed)
	s.command("resume", r, func(ctx context.Context, f *Fleet) error { return f.Resume(ctx, r.name) })
}

func (s *sim) stopWorker(i int, d time.Duration) {
	s.note("stop worker %d for %v", i, d)
	s.disturb(inHand(simCalls) * 2)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.workers[i].handle.Stop(d)
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
	time.Sleep(3 * time.Minute) // until those commands have ended
	f, _ := s.operator("operator")
	for deadline := time.Now().Add(30 * time.Hour); ; time.Sleep(time.Minute) {
		open := ""
		for _, r := range s.rollouts {
			if !r.called.IsZero() {
				open = cmp.Or(open, s.settle(f, r))
			}
		}
		if open == "" || s.t.Failed() {
			return
		}
		if time.Now().After(deadline) {
			s.fail("not done: %s", open)
			return
		}
	}
}

// settle does what has to be done for a rollout, and returns what is open of it.
func (s *sim) settle(f *Fleet, r *simRollout) (open string) {
	p, err := f.Progress(s.ctx, r.name)
	switch {
	case errors.Is(err, ErrNoRollout):
		if r.bad || len(r.started()) == 0 {
			return ""
		}
	case err != nil:
		s.fail("progress of %s: %v", r.name, err)
		return ""
	case s.scene == wrongToken && p.Parked > 0:
		if err := s.act("retry", r.name, func() error { _, err := f.Retry(s.ctx, Filter{Rollout: r.name}); return err }); err != nil {
			s.fail("retry %s: %v", r.name, err)
		}
	case p.Done(), r.bad && p.Ordering:
		return ""
	}
	if p.Held != "" {
		s.once(&r.resumed)
		if err := s.act("resume", r.name, func() error { return f.Resume(s.ctx, r.name) }); err != nil {
			s.fail("resume %s: %v", r.name, err)
		}
	}
	lostPolicy := p.Waiting > 0 && s.damaged[store.Policies] // as the kind of those that wait says
	if p.Ordering || p.Missing > 0 || err != nil || lostPolicy {
		s.startNow(f, r, r.targets)
	}
	return fmt.Sprintf("%s: %+v %v", r.name, p, err)
}

// end reads what fleet says, and ends everything.
func (s *sim) end() {
	time.Sleep(time.Minute)
	f, _ := s.operator("reader")
	s.hear(f)
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
