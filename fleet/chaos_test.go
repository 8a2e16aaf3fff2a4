//go:build unix

package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chaosSize is the number of instances of a chaos test; FLEET_TEST_INSTANCES makes it larger.
func chaosSize(t *testing.T, n int) int {
	t.Helper()
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	if text := os.Getenv("FLEET_TEST_INSTANCES"); text != "" {
		large, err := strconv.Atoi(text)
		require.NoError(t, err)
		return large
	}
	return n
}

// chaosAPI is a slow API that remembers the policies of each instance in the order in which it applied them.
type chaosAPI struct {
	*httptest.Server
	mu       sync.Mutex
	applied  map[string][]int
	requests int
	limited  int // how many requests get a 429
}

func newChaosAPI(t *testing.T) *chaosAPI {
	t.Helper()
	api := &chaosAPI{applied: make(map[string][]int)}
	api.Server = httptest.NewServer(api)
	t.Cleanup(api.Close)
	return api
}

func (a *chaosAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		V string `json:"visualizationType"`
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return // the worker died amid the request
	}
	if json.Unmarshal(data, &body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	time.Sleep(20*time.Millisecond + rand.N(80*time.Millisecond)) // also when the worker is dead: the request has arrived
	instance := strings.Split(r.URL.Path, "/")[2]
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	w.Header().Set("Content-Type", "application/json")
	kind, _, _ := strings.Cut(instance, "-")
	switch {
	case kind == "gone":
		w.WriteHeader(http.StatusNotFound)
	case kind == "locked":
		w.WriteHeader(http.StatusForbidden)
	case kind == "shaky" && a.requests%2 == 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case a.limited > 0 && a.requests > 100:
		a.limited--
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		a.applied[instance] = append(a.applied[instance], indexOf(body.V))
		_, _ = io.WriteString(w, `{"success":true}`)
	}
}

func (a *chaosAPI) seen() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// check makes the three checks: the newest policy is everywhere, none went back, and no more calls were repeated than were in
// flight.
func (a *chaosAPI) check(t *testing.T, targets []Target, newest, inFlight int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	old, back, repeated := 0, 0, 0
	for _, target := range targets {
		list := a.applied[target.Instance]
		for i := 1; i < len(list); i++ {
			if list[i] < list[i-1] {
				back++
			}
			if list[i] == list[i-1] {
				repeated++
			}
		}
		if len(list) == 0 || list[len(list)-1] != newest {
			old++
		}
	}
	t.Logf("%d instances, %d requests, %d calls repeated of at most %d", len(targets), a.requests, repeated, inFlight)
	assert.Zero(t, old, "instances without the newest policy")
	assert.Zero(t, back, "instances on which an older policy followed a newer one")
	assert.LessOrEqual(t, repeated, inFlight, "calls repeated")
}

// process is a process of the test.
type process struct {
	t    *testing.T
	role string
	env  []string
	cmd  *exec.Cmd
	in   io.Closer
}

func launch(t *testing.T, role string, env ...string) *process {
	t.Helper()
	p := &process{t: t, role: role, env: env}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0]) //nolint:noctx // it is ended by its standard input or by kill
	p.cmd.Env = append(os.Environ(), append(p.env, "FLEET_TEST_ROLE="+p.role)...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	require.NoError(p.t, err)
	p.in = in
	require.NoError(p.t, p.cmd.Start())
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

func (p *process) restart() {
	p.kill()
	p.start()
}

func (p *process) signal(s syscall.Signal) { assert.NoError(p.t, p.cmd.Process.Signal(s)) }

// stage is what a chaos test plays on.
type stage struct {
	api      *chaosAPI
	f        *Fleet
	targets  []Target
	patience time.Duration // how long one step may take
}

// setUp connects to the engine and orders nothing yet.
func setUp(t *testing.T, url string, n int) *stage {
	t.Helper()
	s := &stage{api: newChaosAPI(t), patience: 2*time.Minute + time.Duration(n)*20*time.Millisecond}
	for i := range n {
		s.targets = append(s.targets, Target{"acme", fmt.Sprintf("ok-%d", i)})
	}
	require.Eventually(t, func() bool {
		f, err := Open(t.Context(), URL(url, nats.Token(chaosToken)), withTiming(chaosTiming))
		s.f = f
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	t.Cleanup(func() { assert.NoError(t, s.f.Close()) })
	fullSpeed(t, s.f, s.targets)
	return s
}

func (s *stage) workers(t *testing.T, url string, n int) []*process {
	t.Helper()
	workers := make([]*process, n)
	for i := range workers {
		workers[i] = launch(t, "worker", "FLEET_TEST_URL="+url, "FLEET_TEST_API="+s.api.URL)
	}
	return workers
}

// start orders a policy, however often the engine goes away meanwhile.
func (s *stage) start(t *testing.T, index int) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := s.f.Start(t.Context(), Rollout{Name: fmt.Sprintf("r%d", index), Policy: policies[index], Targets: each(s.targets), HaltAt: 1})
		if err != nil {
			t.Log("start again:", err)
		}
		return err == nil
	}, s.patience, 100*time.Millisecond)
}

// until waits for so many requests.
func (s *stage) until(t *testing.T, requests int) {
	t.Helper()
	require.Eventually(t, func() bool { return s.api.seen() >= requests }, s.patience, time.Millisecond, "%d requests", requests)
}

func (s *stage) finish(t *testing.T, index int) Progress {
	t.Helper()
	var last Progress
	deadline := time.Now().Add(s.patience)
	for !last.Done() && time.Now().Before(deadline) {
		for p, err := range s.f.Watch(t.Context(), fmt.Sprintf("r%d", index)) {
			if err != nil {
				require.ErrorIs(t, err, ErrEngine) // it is away
				t.Log("watch again:", err)
				break
			}
			if last = p; time.Now().After(deadline) {
				break
			}
		}
	}
	require.True(t, last.Done(), "%+v", last)
	return last
}

func listenOn(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }

// Workers are killed while three rollouts overlap, and some instances cannot be applied.
func TestChaosWorkersKilled(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 400)
	f := open(t, Embedded(t.TempDir(), WithListen("127.0.0.1:0", chaosToken)), withTiming(chaosTiming))
	s := setUp(t, address(f), n)
	ok := s.targets
	var refused []Target
	for _, kind := range []string{"gone", "locked", "panics", "unknown"} {
		for i := range 5 {
			refused = append(refused, Target{"acme", fmt.Sprintf("%s-%d", kind, i)})
		}
	}
	for i := range 10 {
		ok = append(ok, Target{"acme", fmt.Sprintf("flaky-%d", i)}, Target{"acme", fmt.Sprintf("shaky-%d", i)})
	}
	s.targets = slices.Concat(ok, refused)
	s.api.limited = 3
	workers := s.workers(t, address(f), 3)
	const kills = 4
	for i := range 3 {
		s.start(t, i)
		s.until(t, s.api.seen()+n/4)
		for k := range kills {
			if k%3 == i {
				workers[k%3].restart()
				s.until(t, s.api.seen()+20)
			}
		}
	}
	p := s.finish(t, 2)
	assert.Equal(t, len(refused), p.Parked)
	assert.Equal(t, len(ok), p.Applied)
	s.api.check(t, ok, 2, kills*inHand(chaosCalls))
}

// A worker is stopped for longer than its claims last, and continued, while rollouts overlap.
func TestChaosWorkerStopped(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 200)
	f := open(t, Embedded(t.TempDir(), WithListen("127.0.0.1:0", chaosToken)), withTiming(chaosTiming))
	s := setUp(t, address(f), n)
	workers := s.workers(t, address(f), 2)
	for i := range 3 {
		s.start(t, i)
		s.until(t, s.api.seen()+n/4)
		workers[0].signal(syscall.SIGSTOP)
		if i < 2 {
			time.Sleep(200 * time.Millisecond) // so that the next rollout meets claims of the stopped worker
			continue
		}
		s.finish(t, 2) // without the stopped worker
		workers[0].signal(syscall.SIGCONT)
		time.Sleep(chaosTiming.ackWait)
		s.finish(t, 2)
	}
	s.api.check(t, s.targets, 2, 3*inHand(chaosCalls))
}

// The process with the embedded engine and a worker is killed.
func TestChaosEmbeddedKilled(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 300)
	listen := listenOn(t)
	api := newChaosAPI(t)
	p := launch(t, "embedded", "FLEET_TEST_DIR="+t.TempDir(), "FLEET_TEST_LISTEN="+listen, "FLEET_TEST_API="+api.URL)
	s := setUp(t, "nats://"+listen, n)
	s.api = api
	const kills = 3
	for i := range 2 {
		s.start(t, i)
		s.until(t, s.api.seen()+n/4)
		p.restart()
		s.until(t, s.api.seen()+n/4)
	}
	p.restart()
	assert.Equal(t, n, s.finish(t, 1).Applied)
	s.api.check(t, s.targets, 1, kills*inHand(chaosCalls))
}

// The engine is killed while workers of other processes go on.
func TestChaosEngineKilled(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 400)
	listen := listenOn(t)
	engine := launch(t, "engine", "FLEET_TEST_DIR="+t.TempDir(), "FLEET_TEST_LISTEN="+listen)
	s := setUp(t, "nats://"+listen, n)
	workers := s.workers(t, "nats://"+listen, 2)
	const kills = 3
	for i := range kills {
		if i < 2 {
			s.start(t, i)
		}
		s.until(t, s.api.seen()+n/5)
		engine.restart()
	}
	assert.Equal(t, n, s.finish(t, 1).Applied)
	s.api.check(t, s.targets, 1, kills*len(workers)*inHand(chaosCalls))
}

// Of three nodes the leader is killed, and then two at once.
func TestChaosNodesKilled(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 400)
	dir := t.TempDir()
	var routes, urls []string
	for range 3 {
		routes = append(routes, "nats://"+listenOn(t))
		urls = append(urls, "nats://"+listenOn(t))
	}
	nodes := make(map[string]*process)
	for i := range 3 {
		config := filepath.Join(dir, fmt.Sprintf("n%d.conf", i))
		text := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q }\nauthorization { token: %q }\ncluster { name: chaos, listen: %q, routes: [%s] }\n",
			i, strings.TrimPrefix(urls[i], "nats://"), filepath.Join(dir, fmt.Sprint(i)), chaosToken, strings.TrimPrefix(routes[i], "nats://"), strings.Join(routes, ", "))
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
		nodes[fmt.Sprintf("n%d", i)] = launch(t, "node", "FLEET_TEST_CONFIG="+config)
	}
	url := strings.Join(urls, ",")
	s := setUp(t, url, n)
	workers := s.workers(t, url, 2)
	leader := func() string {
		var name string
		require.Eventually(t, func() bool {
			info, err := raw(t, s.f).info(ordersStream)
			if err == nil && info.Cluster != nil {
				name = info.Cluster.Leader
			}
			return name != ""
		}, 30*time.Second, 50*time.Millisecond)
		return name
	}
	s.start(t, 0)
	s.until(t, n/4)
	nodes[leader()].restart()
	s.start(t, 1)
	s.until(t, s.api.seen()+n/4)
	first := leader()
	for name, node := range nodes {
		if name != first {
			nodes[first].kill()
			node.kill()
			time.Sleep(500 * time.Millisecond)
			nodes[first].start()
			node.start()
			break
		}
	}
	assert.Equal(t, n, s.finish(t, 1).Applied)
	const kills = 3
	s.api.check(t, s.targets, 1, kills*len(workers)*inHand(chaosCalls))
}

// An order that ends the process of every worker that takes it is parked, and takes no others with it.
func TestChaosPoison(t *testing.T) {
	t.Parallel()
	n := chaosSize(t, 50)
	f := open(t, Embedded(t.TempDir(), WithListen("127.0.0.1:0", chaosToken)), withTiming(chaosTiming))
	s := setUp(t, address(f), n)
	ok := s.targets
	s.targets = slices.Concat(ok, []Target{{"acme", "deadly-1"}})
	worker := s.workers(t, address(f), 1)[0]
	s.start(t, 1)
	deaths := 0
	var status Status
	require.Eventually(t, func() bool {
		if exited(worker) {
			deaths++
			worker.start()
		}
		var err error
		status, err = f.Status(t.Context(), Target{"acme", "deadly-1"})
		return err == nil && status.State == Parked
	}, time.Minute, 20*time.Millisecond)
	assert.Equal(t, maxClaims, deaths)
	assert.Equal(t, kindPoison, status.Kind)
	p := s.finish(t, 1)
	assert.Equal(t, n, p.Applied)
	assert.Equal(t, 1, p.Parked)
	s.api.check(t, ok, 1, deaths*inHand(chaosCalls))
}

// exited reports whether a process has ended by itself, and clears it away.
func exited(p *process) bool {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	return err == nil && pid == p.cmd.Process.Pid || errors.Is(err, syscall.ECHILD)
}
