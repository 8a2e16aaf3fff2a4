package fleet

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("FLEET_TEST_ROLE"); role != "" {
		os.Exit(playRole(role)) // a process of a chaos test
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // the tests wait more than they compute
		panic(err)
	}
	code := m.Run()
	if cluster.started {
		cluster.stop()
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// fast is a timing for tests.
var fast = timing{
	ackWait: 2 * time.Second, grace: 200 * time.Millisecond, settle: 100 * time.Millisecond, fetch: 500 * time.Millisecond, patience: time.Minute, held: time.Second, wall: time.Now, random: rand.Int64N,
	sweepEvery: time.Hour, sweepAge: time.Second,
}

func withTiming(t timing) Option {
	return func(s *settings) error {
		s.timing = t
		return nil
	}
}

// onEachEngine runs a test embedded and on three nodes.
func onEachEngine(t *testing.T, test func(t *testing.T, f *Fleet)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, Embedded(t.TempDir())))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, cluster.engine(t)))
	})
}

func open(t *testing.T, e Engine, opts ...Option) *Fleet {
	t.Helper()
	f, err := Open(t.Context(), e, append([]Option{withTiming(fast)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

// cluster is one cluster of three nodes for all tests. Each test has an account of its own, so the names do not collide.
var cluster threeNodes

type threeNodes struct {
	once    sync.Once
	started bool
	dir     string
	nodes   []*server.Server
	next    atomic.Int64
}

const testAccounts = 40

func (c *threeNodes) engine(t *testing.T) Engine {
	t.Helper()
	c.once.Do(func() { c.start(t) })
	n := c.next.Add(1) - 1
	require.Less(t, n, int64(testAccounts), "more accounts are needed")
	urls := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		urls[i] = node.ClientURL()
	}
	return URL(strings.Join(urls, ","), nats.UserInfo(fmt.Sprintf("u%d", n), "secret"))
}

func (c *threeNodes) start(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet-cluster") //nolint:usetesting // it outlives this test
	require.NoError(t, err)
	c.started, c.dir = true, dir
	var routes []string
	var ports []int
	for range 3 {
		port := freePort(t)
		ports = append(ports, port)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	var accounts strings.Builder
	for i := range testAccounts {
		fmt.Fprintf(&accounts, "A%d { jetstream: enabled, users: [ { user: u%d, password: secret } ] }\n", i, i)
	}
	for i, port := range ports {
		config := filepath.Join(dir, fmt.Sprintf("node%d.conf", i))
		text := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:-1\njetstream { store_dir: %q }\ncluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\naccounts {\n%s}\n",
			i, filepath.Join(dir, fmt.Sprint(i)), port, strings.Join(routes, ", "), accounts.String())
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
		options, err := server.ProcessConfigFile(config)
		require.NoError(t, err)
		options.NoSigs, options.NoLog = true, true
		node, err := server.NewServer(options)
		require.NoError(t, err)
		node.Start()
		c.nodes = append(c.nodes, node)
	}
	require.Eventually(t, func() bool {
		for _, node := range c.nodes {
			if node.JetStreamIsLeader() && len(node.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond, "no leader")
}

func (c *threeNodes) stop() {
	for _, node := range c.nodes {
		node.Shutdown()
	}
	for _, node := range c.nodes {
		node.WaitForShutdown()
	}
	_ = os.RemoveAll(c.dir)
}

// freePort returns a port below those that systems give to outgoing connections, one of which might take it first.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			require.NoError(t, listener.Close())
			return port
		}
	}
	require.Fail(t, "no port is free")
	return 0
}

// fakeAPI is a fake API with instances and a way to interfere.
type fakeAPI struct {
	*zapitest.Server
	creds    sync.Map // instance ID to zapi.Credentials
	targets  []Target
	resolves func(Target) (zapi.Credentials, error)    // nil for the credentials of the instance
	before   func(instance, op string) (*reply, error) // nil for nothing; called before each request is sent
	calls    atomic.Int64
}

func newAPI(t *testing.T, accounts map[string]int) *fakeAPI {
	t.Helper()
	api := &fakeAPI{Server: zapitest.NewServer()}
	t.Cleanup(api.Close)
	for account, n := range accounts {
		for range n {
			creds := api.AddInstance()
			api.creds.Store(creds.InstanceID, creds)
			api.targets = append(api.targets, Target{account, creds.InstanceID})
		}
	}
	return api
}

func (a *fakeAPI) Credentials(_ context.Context, t Target) (zapi.Credentials, error) {
	if a.resolves != nil {
		return a.resolves(t)
	}
	creds, ok := a.creds.Load(t.Instance)
	if !ok {
		return zapi.Credentials{}, ErrNoInstance
	}
	return creds.(zapi.Credentials), nil
}

// client are the options of a client of the API, which sends through before.
func (a *fakeAPI) client(t *testing.T) WorkOption {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	t.Cleanup(transport.CloseIdleConnections)
	return WithClient(zapi.WithBaseURL(a.URL()), zapi.WithTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
		a.calls.Add(1)
		if a.before != nil {
			parts := strings.SplitN(r.URL.Path, "/", 6)
			reply, err := a.before(parts[2], parts[5])
			if err != nil {
				return nil, err
			}
			if reply != nil && reply.status == http.StatusOK {
				return respond(reply.status, reply.header, `{"success":true}`), nil
			} else if reply != nil {
				return respond(reply.status, reply.header, `{"error":"of the server"}`), nil
			}
		}
		return transport.RoundTrip(r)
	})))
}

// reply is what the API answers instead.
type reply struct {
	status int
	header http.Header
}

func respond(status int, header http.Header, body string) *http.Response {
	rec := &http.Response{StatusCode: status, Header: header, Body: http.NoBody}
	if rec.Header == nil {
		rec.Header = http.Header{}
	}
	if body != "" {
		rec.Body = readCloser{strings.NewReader(body)}
	}
	return rec
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// work runs a worker until the test ends, or until the returned function is called.
func work(t *testing.T, f *Fleet, api *fakeAPI, opts ...WorkOption) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	all := append([]WorkOption{api.client(t), WithApplyTimeout(time.Second * 5), WithAttempts(3, 50*time.Millisecond, 200*time.Millisecond)}, opts...)
	go func() {
		defer close(done)
		assert.NoError(t, f.Work(ctx, api, all...))
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// policies can be told apart by their requests: the later one has the higher index.
var policies = []zapi.Policy{
	{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityAll}},
	{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityContacts}},
	{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityNone}},
	{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist}},
}

func indexOf(v string) int {
	for i, p := range policies {
		if string(p.LastSeen.Visibility) == v {
			return i
		}
	}
	return -1
}

func start(t *testing.T, f *Fleet, name string, p zapi.Policy, targets []Target) Receipt {
	t.Helper()
	receipt, err := f.Start(t.Context(), Rollout{Name: name, Policy: p, Targets: each(targets), HaltAt: 1})
	require.NoError(t, err)
	return receipt
}

func each(targets []Target) func(func(Target) bool) {
	return func(yield func(Target) bool) {
		for _, target := range targets {
			if !yield(target) {
				return
			}
		}
	}
}

// The streams and buckets, as the documentation names them.
const (
	ordersStream  = "FLEET_ORDERS"
	ordersSubject = "fleet.orders."
	statusBucket  = "fleet_status"
	policyBucket  = "fleet_policies"
	rolloutBucket = "fleet_rollouts"
	accountBucket = "fleet_accounts"
	paceBucket    = "fleet_pace"
)

// address is where other processes reach an embedded engine.
func address(f *Fleet) string { return f.store.(*store.JetStream).Address() }

// engine reaches behind a Fleet, as an administrator does.
type engine struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream
}

func raw(t *testing.T, f *Fleet) engine {
	t.Helper()
	nc := f.store.(*store.JetStream).Conn()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return engine{t, nc, js}
}

func (e engine) info(stream string) (*jetstream.StreamInfo, error) {
	s, err := e.js.Stream(e.t.Context(), stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

func (e engine) queue(account string) jetstream.Consumer {
	e.t.Helper()
	consumer, err := e.js.Consumer(e.t.Context(), ordersStream, "apply-"+account)
	require.NoError(e.t, err)
	return consumer
}

// fullSpeed lifts the pace of all accounts of the targets.
func fullSpeed(t *testing.T, f *Fleet, targets []Target) {
	t.Helper()
	seen := map[string]bool{}
	for _, target := range targets {
		if !seen[target.Account] {
			seen[target.Account] = true
			require.NoError(t, f.SetPace(t.Context(), target.Account, Pace{PerSecond: 100_000, Burst: 1000}))
		}
	}
}

// finish waits until a rollout is done.
func finish(t *testing.T, f *Fleet, name string) Progress {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last Progress
	for p, err := range f.Watch(ctx, name) {
		require.NoError(t, err, "%+v", last)
		last = p
	}
	require.True(t, last.Done(), "%+v", last)
	return last
}

// newestWins checks that every instance has the policy of index newest and that no request of an older policy followed one of
// a newer one. It returns how many calls were repeated.
func newestWins(t *testing.T, requests []zapitest.Request, targets []Target, newest int) (repeated int) {
	t.Helper()
	last := map[string]int{}
	for _, r := range requests {
		if r.StatusCode != http.StatusOK {
			continue
		}
		var body struct {
			V string `json:"visualizationType"`
		}
		if assert.NoError(t, json.Unmarshal(r.Body, &body)) {
			index := indexOf(body.V)
			if before, ok := last[r.InstanceID]; ok {
				assert.GreaterOrEqual(t, index, before, "instance %s went back", r.InstanceID)
				if index == before {
					repeated++
				}
			}
			last[r.InstanceID] = index
		}
	}
	for _, target := range targets {
		index, ok := last[target.Instance]
		assert.True(t, ok && index == newest, "instance %s has policy %d (asked at all: %v)", target.Instance, index, ok)
	}
	return repeated
}
