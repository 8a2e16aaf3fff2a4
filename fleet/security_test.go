package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// filesWith returns the files under dir that hold text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// streamsWith returns the streams that hold text in a subject or a message.
func streamsWith(t *testing.T, f *Fleet, text string) []string {
	t.Helper()
	var found []string
	for name := range raw(t, f).js.StreamNames(t.Context()).Name() {
		stream, err := raw(t, f).js.Stream(t.Context(), name)
		require.NoError(t, err)
		state := stream.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err == nil && (strings.Contains(m.Subject, text) || bytes.Contains(m.Data, []byte(text))) {
				found = append(found, name)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// No credential is in any stream, file or log, and phones are in the policies only, with a server and a resolver that quote
// what they can.
func TestSecretsAndPhonesStayOut(t *testing.T) {
	t.Parallel()
	const phone = "5544911111111"
	for _, row := range []struct {
		name     string
		opts     []EmbeddedOption
		readable bool
	}{
		{"plain", nil, true},
		{"encrypted", []EmbeddedOption{WithEncryptionKey("a key of thirty-two bytes or more")}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var log safeBuffer
			f, err := Open(t.Context(), Embedded(dir, row.opts...), withTiming(fast), WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			require.NoError(t, err)
			defer f.Close() //nolint:errcheck // closed below
			api := newAPI(t, map[string]int{"acme": 6})
			policy := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{phone}}}
			for i, target := range api.targets {
				creds, _ := api.creds.Load(target.Instance)
				c := creds.(zapi.Credentials)
				switch i {
				case 0:
					c.ClientToken = "Fwrong-client-token" // the API quotes it
				case 1:
					c.Token = "Twrong-instance-token"
				}
				api.creds.Store(target.Instance, c)
			}
			fullSpeed(t, f, api.targets)
			stop := work(t, f, api)
			start(t, f, "r", policy, api.targets)
			p := finish(t, f, "r")
			assert.Equal(t, 4, p.Applied)
			assert.Equal(t, 2, p.Parked)
			stop()

			secrets := []string{"wrong-client-token", "wrong-instance-token"}
			for _, target := range api.targets {
				creds, _ := api.creds.Load(target.Instance)
				c := creds.(zapi.Credentials)
				secrets = append(secrets, c.Token, c.ClientToken)
			}
			// What must be found is found: the search works.
			instance := api.targets[0].Instance
			assert.Equal(t, []string{"FLEET_ORDERS", "KV_fleet_status"}, streamsWith(t, f, instance))
			assert.Equal(t, []string{"KV_fleet_policies"}, streamsWith(t, f, phone))
			assert.Contains(t, log.String(), instance)
			assert.Contains(t, log.String(), "unauthorized")
			for _, secret := range secrets {
				assert.Empty(t, streamsWith(t, f, secret))
				assert.NotContains(t, log.String(), secret)
			}
			assert.NotContains(t, log.String(), phone)
			require.NoError(t, f.Close())
			assert.Equal(t, row.readable, len(filesWith(t, dir, instance)) > 0, "an instance ID on disk")
			phones := filesWith(t, dir, phone)
			assert.Equal(t, row.readable, len(phones) > 0, "a phone on disk")
			for _, path := range phones {
				assert.Contains(t, path, "KV_fleet_policies")
			}
			for _, secret := range secrets {
				assert.Empty(t, filesWith(t, dir, secret))
			}
			_, err = Open(t.Context(), Embedded(dir, WithEncryptionKey("another key of thirty-two bytes or more")))
			assert.ErrorIs(t, err, ErrEngine)
			assert.ErrorContains(t, err, "another encryption key")
			if !row.readable {
				_, err := Open(t.Context(), Embedded(dir))
				assert.ErrorIs(t, err, ErrEngine, "without the key")
				f, err := Open(t.Context(), Embedded(dir, row.opts...))
				require.NoError(t, err)
				s, err := f.Status(t.Context(), api.targets[5])
				assert.NoError(t, err)
				assert.Equal(t, Applied, s.State)
				assert.NoError(t, f.Close())
			}
		})
	}
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// The roles of the README.
var (
	bucketInfo = func(b string) string { return "$JS.API.STREAM.INFO.KV_" + b }
	bucketGet  = func(b string) string { return "$JS.API.DIRECT.GET.KV_" + b + ".>" }
	streamRead = func(s string) []string { // by an ordered consumer
		return []string{"$JS.API.STREAM.INFO." + s, "$JS.API.CONSUMER.CREATE." + s + ".>", "$JS.API.CONSUMER.INFO." + s + ".*",
			"$JS.API.CONSUMER.MSG.NEXT." + s + ".*"}
	}
	infos = []string{ // everyone looks for what is missing
		"$JS.API.STREAM.INFO.FLEET_ORDERS", "$JS.API.STREAM.INFO.FLEET_AUDIT", bucketInfo("fleet_status"), bucketInfo("fleet_policies"),
		bucketInfo("fleet_rollouts"), bucketInfo("fleet_accounts"), bucketInfo("fleet_pace"), bucketInfo("fleet_targets"),
	}
	newest     = func(s string) string { return "$JS.API.STREAM.MSG.GET." + s }
	workerRole = slices.Concat(infos,
		[]string{
			"$JS.API.CONSUMER.INFO.FLEET_ORDERS.*", "$JS.API.CONSUMER.MSG.NEXT.FLEET_ORDERS.*",
			"$JS.ACK.FLEET_ORDERS.>", "$JS.ACK.*.*.FLEET_ORDERS.>", "$KV.fleet_status.>", "$KV.fleet_pace.>", "$KV.fleet_rollouts.>",
			bucketGet("fleet_status"), bucketGet("fleet_policies"),
			newest("FLEET_ORDERS"), newest("KV_fleet_status"), newest("KV_fleet_rollouts"), newest("KV_fleet_pace"), newest("KV_fleet_policies"),
			"fleet.audit.halt",
		},
		streamRead("KV_fleet_accounts"),
	)
	viewerRole = slices.Concat(infos,
		[]string{newest("KV_fleet_rollouts"), newest("KV_fleet_targets"), bucketGet("fleet_status"), "$JS.API.DIRECT.GET.FLEET_ORDERS.>"},
		streamRead("FLEET_ORDERS"), streamRead("KV_fleet_status"), streamRead("KV_fleet_rollouts"), streamRead("KV_fleet_accounts"), streamRead("FLEET_AUDIT"),
	)
	ordererRole = slices.Concat(viewerRole, []string{
		"fleet.orders.>", "$KV.fleet_policies.>", "$KV.fleet_rollouts.>", "$KV.fleet_accounts.>", "$KV.fleet_status.>", "$KV.fleet_pace.>",
		"$KV.fleet_targets.>", newest("FLEET_ORDERS"), newest("KV_fleet_accounts"), newest("KV_fleet_pace"), "fleet.audit.>",
		bucketGet("fleet_policies"), "$JS.API.CONSUMER.DELETE.FLEET_ORDERS.*",
	})
)

// A worker, an orderer and a viewer can do what they must, and no more.
func TestRoles(t *testing.T) {
	t.Parallel()
	user := func(name string, allow []string) *server.User {
		u := &server.User{Username: name, Password: "p"}
		if allow != nil {
			u.Permissions = &server.Permissions{
				Publish: &server.SubjectPermission{Allow: allow}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}
		}
		return u
	}
	node, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{user("admin", nil), user("worker", workerRole), user("orderer", ordererRole), user("viewer", viewerRole)},
	})
	require.NoError(t, err)
	node.Start()
	t.Cleanup(func() { node.Shutdown(); node.WaitForShutdown() })
	require.True(t, node.ReadyForConnections(10*time.Second))
	as := func(name string, denied *safeBuffer) *Fleet {
		return open(t, URL(node.ClientURL(), nats.UserInfo(name, "p"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			fmt.Fprintln(denied, err)
		})), WithReplicas(1))
	}
	var denied safeBuffer
	as("admin", &denied)
	orderer, worker, viewer := as("orderer", &denied), as("worker", &denied), as("viewer", &denied)
	api := newAPI(t, map[string]int{"acme": 50})
	start(t, orderer, "r", policies[1], api.targets)
	fullSpeed(t, orderer, api.targets)
	stop := work(t, worker, api)
	assert.Equal(t, 50, finish(t, viewer, "r").Applied)
	stop()
	_, err = viewer.Status(t.Context(), api.targets[0])
	assert.NoError(t, err)
	start(t, orderer, "hasty", policies[1], []Target{{"idle", "a"}, {"idle", "b"}})
	n, err := orderer.Cancel(t.Context(), "hasty")
	assert.NoError(t, err)
	assert.Equal(t, 2, n)
	work(t, worker, api)
	start(t, orderer, "unknown", policies[1], []Target{{"acme", "unknown"}})
	assert.Equal(t, 1, finish(t, viewer, "unknown").Parked)
	n, err = orderer.Retry(t.Context(), Filter{})
	assert.NoError(t, err)
	assert.Equal(t, 1, n)
	require.NoError(t, orderer.Pause(t.Context(), "unknown"))
	require.NoError(t, orderer.Resume(t.Context(), "unknown"))
	plan, err := orderer.Plan(t.Context(), Rollout{Name: "next", Policy: policies[1], Targets: each(api.targets)})
	require.NoError(t, err)
	assert.Equal(t, 50, plan.Same)
	assert.Equal(t, policies[1], collect(t, orderer.Rollouts(t.Context()))[0].Policy)
	assert.Len(t, collect(t, viewer.Audit(t.Context())), 8)
	require.NoError(t, worker.record(t.Context(), actionHalt, "r", 0, "of a test"))
	assert.Empty(t, denied.String())
	infos := collect(t, viewer.Rollouts(t.Context())) // without the policies, which may hold phones
	require.Len(t, infos, 3)
	assert.Zero(t, infos[0].Policy)

	refused := func(what string, do func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		before := len(denied.String())
		assert.Error(t, do(ctx), what)
		assert.Eventually(t, func() bool { return strings.Contains(denied.String()[before:], "Permissions Violation") }, 5*time.Second, time.Millisecond, what)
	}
	for name, f := range map[string]*Fleet{"worker": worker, "viewer": viewer} {
		refused(name+" orders", func(ctx context.Context) error {
			_, err := f.store.Put(ctx, store.Orders, "acme.new", nil, 0)
			return err
		})
		refused(name+" writes a policy", func(ctx context.Context) error {
			_, err := raw(t, f).js.Publish(ctx, "$KV."+policyBucket+".x", nil)
			return err
		})
		refused(name+" deletes", func(ctx context.Context) error { return raw(t, f).js.DeleteStream(ctx, ordersStream) })
	}
	refused("a worker records a start", func(ctx context.Context) error { return worker.record(ctx, actionStart, "r", 0, "of a test") })
	refused("an orderer deletes the audit", func(ctx context.Context) error { return raw(t, orderer).js.DeleteStream(ctx, store.Audit.String()) })
	refused("a viewer writes a status", func(ctx context.Context) error {
		_, err := raw(t, viewer).js.Publish(ctx, "$KV."+statusBucket+".acme.x", nil)
		return err
	})
	refused("a viewer takes an order", func(ctx context.Context) error {
		_, err := raw(t, viewer).js.CreateOrUpdateConsumer(ctx, ordersStream, jetstream.ConsumerConfig{Durable: "mine"})
		if err == nil {
			_, err = raw(t, viewer).js.Publish(ctx, "$JS.ACK.FLEET_ORDERS.x", nil)
		}
		return err
	})
	refused("a viewer pauses", func(ctx context.Context) error {
		_, err := viewer.store.Put(ctx, store.Rollouts, "r", nil, 0)
		return err
	})
	refused("a viewer reads a policy", func(ctx context.Context) error {
		_, err := viewer.store.Get(ctx, store.Policies, "x")
		return err
	})
	refused("an orderer deletes", func(ctx context.Context) error { return raw(t, orderer).js.DeleteStream(ctx, ordersStream) })
}

func TestTLSIsRequiredBeyondLoopback(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		url     string
		opts    []nats.Option
		want    error
		allowed bool
	}{
		{url: "nats://192.0.2.1:4222", want: ErrInsecureURL},
		{url: "192.0.2.1:4222", want: ErrInsecureURL},
		{url: "ws://fleet.example", want: ErrInsecureURL},
		{url: "nats://127.0.0.1:1, nats://fleet.example", want: ErrInsecureURL},
		{url: "tls://127.0.0.1:1,nats://fleet.example", want: ErrInsecureURL},
		{url: "nats://localhost.example", want: ErrInsecureURL},
		{url: "nats://127.0.0.1:1", allowed: true},
		{url: "LocalHost:1", allowed: true},
		{url: "nats://[::1]:1", allowed: true},
		{url: "tls://fleet.invalid", allowed: true},
		{url: "nats://fleet.invalid", opts: []nats.Option{nats.Secure()}, allowed: true},
		{url: "TLS://fleet.invalid", allowed: true},
		{url: "", want: zapi.ErrInvalidArgument},
		{url: "tls://fleet.invalid,", want: zapi.ErrInvalidArgument},
		{url: "tls://user:s3cret@fleet.invalid:x", want: zapi.ErrInvalidArgument},
		{url: "tls://user:s3/cret@fleet.invalid", want: zapi.ErrInvalidArgument},
		{url: "tls://fleet.invalid,tls://s3cret@ fleet.invalid", want: zapi.ErrInvalidArgument},
		{url: "nats://127.0.0.1:1", opts: []nats.Option{nil}, want: zapi.ErrInvalidArgument},
	} {
		t.Run(row.url, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Open(ctx, URL(row.url, row.opts...))
			if row.allowed {
				assert.NotErrorIs(t, err, ErrInsecureURL)
				assert.Error(t, err, "nobody is there")
				return
			}
			assert.ErrorIs(t, err, row.want)
			assert.NotContains(t, err.Error(), "s3")
		})
	}
	t.Run("WithInsecure", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Open(ctx, URL("nats://fleet.invalid"), WithInsecure())
		assert.NotErrorIs(t, err, ErrInsecureURL)
		assert.Error(t, err)
	})
}

func TestOpen(t *testing.T) {
	t.Parallel()
	t.Run("a store in use", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		f := open(t, Embedded(dir))
		_, err := Open(t.Context(), Embedded(dir))
		assert.ErrorIs(t, err, ErrStoreInUse)
		require.NoError(t, f.Close())
		open(t, Embedded(dir))
	})
	t.Run("what was ordered is there again", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		f := open(t, Embedded(dir))
		start(t, f, "r", policies[0], someTargets(10))
		require.NoError(t, f.Close())
		p, err := open(t, Embedded(dir)).Progress(t.Context(), "r")
		require.NoError(t, err)
		assert.Equal(t, 10, p.Pending)
	})
	t.Run("others on this machine need the token", func(t *testing.T) {
		t.Parallel()
		f := open(t, Embedded(t.TempDir(), WithListen("127.0.0.1:0", "a token")))
		start(t, f, "r", policies[0], someTargets(10))
		p, err := open(t, URL(address(f), nats.Token("a token"))).Progress(t.Context(), "r")
		require.NoError(t, err)
		assert.Equal(t, 10, p.Pending)
		_, err = Open(t.Context(), URL(address(f), nats.Token("another")))
		assert.ErrorIs(t, err, ErrEngine)
		assert.ErrorIs(t, err, nats.ErrAuthorization)
	})
	t.Run("a disk that was full", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), nil, 0o600))
		open(t, Embedded(dir))
	})
	t.Run("errors of the connection are logged", func(t *testing.T) {
		t.Parallel()
		var log safeBuffer
		f := open(t, Embedded(t.TempDir()), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		raw(t, f).nc.Opts.AsyncErrorCB(raw(t, f).nc, nil, nats.ErrSlowConsumer)
		assert.Contains(t, log.String(), "slow consumer")
	})
	t.Run("no port without WithListen", func(t *testing.T) {
		t.Parallel()
		f := open(t, Embedded(t.TempDir()))
		assert.Empty(t, address(f))
	})
	t.Run("nobody is there", func(t *testing.T) {
		t.Parallel()
		begun := time.Now()
		_, err := Open(t.Context(), URL(fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))))
		assert.ErrorIs(t, err, ErrEngine)
		assert.Less(t, time.Since(begun), 10*time.Second)
	})
	t.Run("somebody else is there", func(t *testing.T) {
		t.Parallel()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close() //nolint:errcheck // of a test
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = Open(ctx, URL("nats://"+listener.Addr().String()))
		assert.Error(t, err)
	})
	t.Run("a server without JetStream", func(t *testing.T) {
		t.Parallel()
		srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
		require.NoError(t, err)
		srv.Start()
		defer srv.WaitForShutdown()
		defer srv.Shutdown()
		_, err = Open(t.Context(), URL(srv.ClientURL()))
		assert.ErrorIs(t, err, ErrEngine)
		assert.ErrorContains(t, err, "is JetStream on")
	})
	t.Run("three replicas on one server", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Embedded(t.TempDir()), WithReplicas(3))
		assert.ErrorIs(t, err, ErrEngine)
		assert.ErrorContains(t, err, "are there 3 servers?")
	})
	t.Run("a folder that is a file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err := Open(t.Context(), Embedded(file))
		assert.ErrorIs(t, err, ErrEngine)
	})
	for _, row := range []struct {
		name   string
		engine Engine
		opts   []Option
		want   string
	}{
		{"no engine", nil, nil, "zapi: Open: e: must not be nil"},
		{"a nil option", Embedded("x"), []Option{nil}, "zapi: Open: opts: must not hold nil"},
		{"two replicas", Embedded("x"), []Option{WithReplicas(2)}, "zapi: Open: WithReplicas: must be 1, 3 or 5"},
		{"no logger", Embedded("x"), []Option{WithLogger(nil)}, "zapi: Open: WithLogger: must not be nil"},
		{"no folder", Embedded(""), nil, "zapi: Embedded: dir: must not be empty"},
		{"a nil embedded option", Embedded("x", nil), nil, "zapi: Embedded: opts: must not hold nil"},
		{"a short key", Embedded("x", WithEncryptionKey("short")), nil, "zapi: Embedded: WithEncryptionKey: must have at least 32 bytes"},
		{"no token", Embedded("x", WithListen("127.0.0.1:0", "")), nil, "zapi: Embedded: WithListen: needs a token"},
		{"all interfaces", Embedded("x", WithListen("0.0.0.0:4222", "t")), nil, "zapi: Embedded: WithListen: must be a loopback address with a port, such as 127.0.0.1:4222"},
		{"no host", Embedded("x", WithListen(":4222", "t")), nil, "zapi: Embedded: WithListen: must be a loopback address with a port, such as 127.0.0.1:4222"},
		{"no port", Embedded("x", WithListen("127.0.0.1", "t")), nil, "zapi: Embedded: WithListen: must be a loopback address with a port, such as 127.0.0.1:4222"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), row.engine, row.opts...)
			assert.EqualError(t, err, row.want)
		})
	}
}

// Close ends what runs, and nothing works afterwards.
func TestClose(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 3})
		start(t, f, "r", policies[0], api.targets)
		working, watching := make(chan error), make(chan error)
		go func() { working <- f.Work(t.Context(), api, api.client(t)) }()
		start(t, f, "slow", policies[1], someTargets(500))
		go func() {
			var last error
			for _, err := range f.Watch(t.Context(), "slow") {
				last = err
			}
			watching <- last
		}()
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, f.Close())
		assert.ErrorIs(t, <-working, ErrClosed)
		assert.ErrorIs(t, <-watching, ErrClosed)
		assert.NoError(t, f.Close())
		_, err := f.Start(t.Context(), Rollout{Name: "r", Policy: policies[0], Targets: each(api.targets)})
		assert.ErrorIs(t, err, ErrClosed)
		_, err = f.Cancel(t.Context(), "r")
		assert.ErrorIs(t, err, ErrClosed)
		_, err = f.Retry(t.Context(), Filter{})
		assert.ErrorIs(t, err, ErrClosed)
		_, err = f.Progress(t.Context(), "r")
		assert.ErrorIs(t, err, ErrClosed)
		_, err = f.Status(t.Context(), api.targets[0])
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, f.SetPace(t.Context(), "acme", Pace{1, 1}), ErrClosed)
		assert.ErrorIs(t, f.Work(t.Context(), api), ErrClosed)
		for _, err := range f.Statuses(t.Context(), Filter{}) {
			assert.ErrorIs(t, err, ErrClosed)
		}
	})
}
