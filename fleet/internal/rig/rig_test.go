//go:build linux

// Package rig plays faults on real nats-server processes and real workers: what a model of the engine cannot know, such as hung
// nodes, disks, lost files and connections that are made again. After each scene it compares what the fleet reports with what the
// API got. It uses the public API of fleet only.
//
//	go test ./internal/rig                                        # two minutes
//	go test ./internal/rig -rig.long                              # the long scenes, too
//	go test ./internal/rig -run Random -rig.duration 1h -rig.seed 7
package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

var (
	long     = flag.Bool("rig.long", false, "play the scenes that take minutes, too")
	duration = flag.Duration("rig.duration", 40*time.Second, "how long faults follow each other at random")
	seed     = flag.Uint64("rig.seed", 0, "of the random faults; 0 takes one from the clock")
)

const (
	applyTimeout = 5 * time.Second
	calls        = 16              // in flight, of each worker and account
	perSecond    = 200             // requests, of each account; a policy takes two
	burst        = 10              //
	patience     = 4 * time.Minute // of one step: claims of killed workers last for up to a minute, on a machine that is calm
)

var natsServer string // the program

func TestMain(m *testing.M) {
	if os.Getenv("RIG_URL") != "" {
		os.Exit(work())
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // the scenes wait more than they compute
		panic(err)
	}
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		panic(err)
	}
	natsServer = filepath.Join(dir, "nats-server")
	build := exec.Command("go", "build", "-o", natsServer, "github.com/nats-io/nats-server/v2") //nolint:noctx // nothing ends it early
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building nats-server: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			fmt.Fprintln(os.Stderr, "a process was left behind:", child, err)
			code = 1
		}
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// work is the process of a worker, or of an operator who resumes a rollout. It ends with its standard input.
func work() int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it has no more to say
		cancel()
	}()
	for ; ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
		f, err := fleet.Open(ctx, fleet.URL(os.Getenv("RIG_URL"), nats.Token(token), nats.DontRandomize()), fleet.WithReplicas(replicas()),
			fleet.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
		if err != nil {
			slog.Warn("open again", "error", err)
			continue
		}
		if name := os.Getenv("RIG_RESUME"); name != "" {
			if err = errors.Join(f.Resume(ctx, name), f.Close()); err != nil {
				slog.Error("resume", "error", err)
				return 1
			}
			return 0
		}
		err = f.Work(ctx, resolver{}, fleet.WithCalls(calls, 4*calls), fleet.WithApplyTimeout(applyTimeout), fleet.WithClient(zapi.WithBaseURL(os.Getenv("RIG_API"))))
		slog.Warn("work ended", "error", errors.Join(err, f.Close())) // a supervisor would begin again, too
	}
	return 0
}

func replicas() int { return strings.Count(os.Getenv("RIG_URL"), ",") + 1 }

type resolver struct{}

func (resolver) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	return zapi.Credentials{InstanceID: t.Account + "-" + t.Instance, Token: "4F1C09B2A7", ClientToken: "F83d61e09c"}, nil
}

// A process is a server or a worker.
type process struct {
	t         *testing.T
	name, log string
	args, env []string
	cmd       *exec.Cmd // nil while it does not run
	begun     int       // how often
}

func launch(t *testing.T, name, log string, args, env []string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: log, args: args, env: env}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer func() { assert.NoError(p.t, log.Close()) }()
	cmd := exec.Command(p.args[0], p.args[1:]...) //nolint:noctx // kill ends it
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_, err = cmd.StdinPipe() // a worker ends with it, should all else fail
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	p.cmd = cmd
	p.begun++
}

// kill is SIGKILL.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// wait waits until the process has ended by itself.
func (p *process) wait() error {
	defer func() { p.cmd = nil }()
	return p.cmd.Wait()
}

func (p *process) hang() {
	assert.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
}

func (p *process) goOn() {
	assert.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT))
}

const token = "rig-token"

// A node is a nats-server with its store.
type node struct {
	*process
	url, config, settings, dir string
}

// accept makes the servers accept another token, as when it is rotated.
func (s *scene) accept(token string) {
	s.t.Helper()
	for _, n := range s.nodes {
		n.configure(s.t, token)
		assert.NoError(s.t, n.cmd.Process.Signal(syscall.SIGHUP))
	}
}

func (n *node) configure(t *testing.T, token string) {
	t.Helper()
	text := fmt.Sprintf("%s\nauthorization { token: %q }\n", n.settings, token)
	require.NoError(t, os.WriteFile(n.config, []byte(text), 0o600))
}

// store is the folder of a stream.
func (n *node) store(stream string) string {
	return filepath.Join(n.dir, "jetstream", "$G", "streams", stream)
}

// ports lie below those of outgoing connections, so that none is taken in the meantime.
var lastPort = func() *atomic.Int64 {
	var port atomic.Int64
	port.Store(21_000 + int64(os.Getpid()%50)*200)
	return &port
}()

func freePort(t *testing.T) string {
	t.Helper()
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(lastPort.Add(1), 10))
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err == nil {
			require.NoError(t, listener.Close())
			return address
		}
	}
}

// A scene is what a fault is played on: servers, workers, an API, and what has been ordered.
type scene struct {
	t        *testing.T
	api      *api
	dir      string
	nodes    []*node
	workers  []*process
	targets  []fleet.Target
	rollouts []rollout
	inFlight int           // calls that faults may have repeated
	sick     *fleet.Target // the API refuses it for ever
}

type rollout struct {
	name      string
	targets   map[fleet.Target]bool
	canary    int
	cancelled bool
	forgotten bool // its entry, or its orders, were lost before a newer one replaced them: no report is expected
}

// newScene begins servers, and knows n targets of each account.
func newScene(t *testing.T, servers, workers, n int, accounts ...string) *scene {
	t.Helper()
	t.Parallel()
	return newSceneIn(t, t.TempDir(), servers, workers, n, accounts...)
}

// newSceneIn keeps the stores in a folder of their own.
func newSceneIn(t *testing.T, storeDir string, servers, workers, n int, accounts ...string) *scene {
	t.Helper()
	s := &scene{t: t, api: newAPI(t), dir: t.TempDir()}
	for i := range n {
		for _, account := range accounts {
			s.targets = append(s.targets, fleet.Target{Account: account, Instance: strconv.Itoa(i)})
		}
	}
	s.addNodes(servers, storeDir)
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		for _, account := range accounts {
			if err := f.SetPace(ctx, account, fleet.Pace{PerSecond: perSecond, Burst: burst}); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range workers {
		s.addWorker(i)
	}
	t.Cleanup(s.logs)
	return s
}

func (s *scene) addNodes(servers int, dir string) {
	s.t.Helper()
	var routes []string
	for range servers {
		routes = append(routes, freePort(s.t))
	}
	for i, route := range routes {
		name := fmt.Sprintf("n%d", i)
		address := freePort(s.t)
		n := &node{url: "nats://" + address, config: filepath.Join(s.dir, name+".conf"), dir: filepath.Join(dir, name)}
		n.settings = fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q }", name, address, n.dir)
		if servers > 1 {
			n.settings += fmt.Sprintf("\ncluster { name: rig, listen: %q, routes: [nats://%s] }", route, strings.Join(routes, ", nats://"))
		}
		n.configure(s.t, token)
		n.process = launch(s.t, name, filepath.Join(s.dir, name+".log"), []string{natsServer, "-c", n.config}, nil)
		s.nodes = append(s.nodes, n)
	}
}

// addWorker begins a worker that is connected to the node of the same number.
func (s *scene) addWorker(i int) {
	s.t.Helper()
	s.workers = append(s.workers, s.launch(fmt.Sprintf("worker%d", i), i, "RIG_API="+s.api.URL))
}

// launch begins this program anew, connected to the node of that number.
func (s *scene) launch(name string, node int, env string) *process {
	s.t.Helper()
	var urls []string
	for k := range s.nodes {
		urls = append(urls, s.nodes[(node+k)%len(s.nodes)].url)
	}
	return launch(s.t, name, filepath.Join(s.dir, name+".log"), []string{os.Args[0]}, []string{"RIG_URL=" + strings.Join(urls, ","), env})
}

// logs shows the end of each log of a scene that failed.
func (s *scene) logs() {
	if !s.t.Failed() {
		return
	}
	for _, p := range s.workers {
		data, err := os.ReadFile(p.log)
		s.t.Logf("the end of %s (%v):\n%s", p.name, err, data[max(0, len(data)-1500):])
	}
}

// try opens the fleet for one action.
func (s *scene) try(do func(context.Context, *fleet.Fleet) error) error {
	var urls []string
	for _, n := range s.nodes {
		urls = append(urls, n.url)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	f, err := fleet.Open(ctx, fleet.URL(strings.Join(urls, ","), nats.Token(token)), fleet.WithReplicas(len(urls)))
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
	number := s.plan(targets)
	s.orderAgain(number)
	return number
}

// plan takes note of a rollout, and does not begin it.
func (s *scene) plan(targets []fleet.Target) int {
	number := len(s.rollouts)
	r := rollout{name: fmt.Sprint("r", number), targets: make(map[fleet.Target]bool)}
	for _, t := range targets {
		r.targets[t] = true
	}
	s.rollouts = append(s.rollouts, r)
	return number
}

func (s *scene) orderAgain(number int) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		_, err := f.Start(ctx, s.spec(number))
		return err
	})
}

func (s *scene) spec(number int) fleet.Rollout {
	r := s.rollouts[number]
	except := []string{phoneOf(number)}
	return fleet.Rollout{Name: r.name, Targets: maps.Keys(r.targets), Canary: r.canary, Policy: zapi.Policy{
		LastSeen: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: except},
	}}
}

// rest waits until a rollout is held with nothing of it in flight.
func (s *scene) rest(number int) (p fleet.Progress) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		for next, err := range f.Watch(ctx, s.rollouts[number].name) {
			if err != nil {
				return err
			}
			p = next
		}
		return nil
	})
	require.NotEmpty(s.t, p.Held, "%+v", p)
	return p
}

func (s *scene) resume(number int) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error { return f.Resume(ctx, s.rollouts[number].name) })
}

func (s *scene) cancel(number int) {
	s.t.Helper()
	s.rollouts[number].cancelled = true
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		_, err := f.Cancel(ctx, s.rollouts[number].name)
		return err
	})
}

func (s *scene) retry() {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) error {
		_, err := f.Retry(ctx, fleet.Filter{})
		return err
	})
}

// amid begins a rollout, and returns when the API has accepted n more calls than before, of n targets at most: there are
// that many to come, however fast they are.
func (s *scene) amid(targets []fleet.Target, n int) int {
	s.t.Helper()
	before := s.api.count("")
	number := s.order(targets)
	s.until(before + n)
	return number
}

// until waits until the API has accepted so many calls in all.
func (s *scene) until(accepted int) {
	s.t.Helper()
	require.True(s.t, wait(5*time.Millisecond, func() bool { return s.api.count("") >= accepted }), "%d calls of %d", s.api.count(""), accepted)
}

// finish waits until a rollout is done, and resumes it when it was halted. If it is not, what is so now is compared nevertheless.
func (s *scene) finish(number int) fleet.Progress {
	s.t.Helper()
	return s.finishBy(number, func() {})
}

// finishBy does something every ten seconds meanwhile.
func (s *scene) finishBy(number int, do func()) (p fleet.Progress) {
	s.t.Helper()
	var last time.Time
	done := wait(250*time.Millisecond, func() bool {
		if time.Since(last) > 10*time.Second {
			do() // first of all: the rollout may have been lost
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

func (s *scene) progress(number int) (p fleet.Progress) {
	s.t.Helper()
	s.with(func(ctx context.Context, f *fleet.Fleet) (err error) {
		p, err = f.Progress(ctx, s.rollouts[number].name)
		return err
	})
	return p
}

// killed kills processes; each worker may have had all of its calls in flight.
func (s *scene) killed(processes ...*process) {
	for _, p := range processes {
		p.kill()
		if slices.Contains(s.workers, p) {
			s.inFlight += calls * s.accounts()
		} else { // what its workers could not write in time
			s.inFlight += calls * s.accounts() * len(s.workers)
		}
	}
}

func (s *scene) accounts() int {
	seen := make(map[string]bool)
	for _, t := range s.targets {
		seen[t.Account] = true
	}
	return len(seen)
}

func startAll(processes ...*process) {
	for _, p := range processes {
		p.start()
	}
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
