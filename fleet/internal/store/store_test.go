package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/fleet/internal/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ackWait = time.Second

// Both stores do the same.
func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		conform(t, func(*testing.T) store.Store {
			s := memory.New()
			s.AckWait, s.Fetch = ackWait, 300*time.Millisecond
			return s.Handle(nil)
		})
	})
	t.Run("JetStream", func(t *testing.T) {
		t.Parallel()
		conform(t, func(t *testing.T) store.Store {
			t.Helper()
			return serve(t, t.TempDir())
		})
	})
}

func serve(t *testing.T, dir string) *store.JetStream {
	t.Helper()
	s, err := store.Serve(t.Context(), dir, store.Server{}, store.Config{
		Replicas: 1, AckWait: ackWait, Fetch: 300 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func conform(t *testing.T, open func(*testing.T) store.Store) {
	t.Helper()
	for _, row := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"entries", testEntries},
		{"read", testRead},
		{"follow", testFollow},
		{"audit", testAudit},
		{"hand out", testHandOut},
		{"replaced orders are not handed out", testReplaced},
		{"closed", testClosed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.test(t, open(t))
		})
	}
}

func put(t *testing.T, s store.Store, table store.Table, key, value string, seq uint64) uint64 {
	t.Helper()
	written, err := s.Put(t.Context(), table, key, []byte(value), seq)
	require.NoError(t, err)
	return written
}

func testEntries(t *testing.T, s store.Store) {
	ctx := t.Context()
	for table := range store.Audit {
		for _, get := range []func(context.Context, store.Table, string) (store.Entry, error){s.Get, s.Newest} {
			e, err := get(ctx, table, "a.b")
			require.NoError(t, err)
			assert.Equal(t, store.Entry{Key: "a.b"}, e, "there is none")
		}
		before, err := s.Now(ctx)
		require.NoError(t, err)
		first := put(t, s, table, "a.b", "one", 0)
		_, err = s.Put(ctx, table, "a.b", []byte("two"), 0)
		assert.ErrorIs(t, err, store.ErrConflict)
		_, err = s.Put(ctx, table, "a.c", []byte("two"), first)
		assert.ErrorIs(t, err, store.ErrConflict, "the sequence is that of the key")
		second := put(t, s, table, "a.b", "two", first)
		assert.Greater(t, second, first)
		require.NoError(t, s.Set(ctx, table, "a.b", []byte("three")))
		for _, get := range []func(context.Context, store.Table, string) (store.Entry, error){s.Get, s.Newest} {
			e, err := get(ctx, table, "a.b")
			require.NoError(t, err)
			assert.Equal(t, "three", string(e.Value))
			assert.Equal(t, "a.b", e.Key)
			assert.Greater(t, e.Seq, second)
			assert.WithinDuration(t, before, e.At, time.Second)
			last, err := s.LastSeq(ctx, table)
			require.NoError(t, err)
			assert.Equal(t, e.Seq, last)
		}
	}
	assert.Positive(t, s.MaxValue())
	assert.NoError(t, s.Flush())
}

func testRead(t *testing.T, s store.Store) {
	for e, err := range s.Read(t.Context(), store.Orders, false) {
		assert.Fail(t, "there is none", "%v %v", e, err)
	}
	for i := range 5 {
		put(t, s, store.Orders, fmt.Sprintf("a.%d", i), "x", 0)
	}
	require.NoError(t, s.Set(t.Context(), store.Orders, "a.1", []byte("y")))
	var read []string
	for e, err := range s.Read(t.Context(), store.Orders, false) {
		require.NoError(t, err)
		read = append(read, e.Key+string(e.Value))
	}
	assert.Equal(t, []string{"a.0x", "a.2x", "a.3x", "a.4x", "a.1y"}, read, "the newest of each, oldest first")
}

func testFollow(t *testing.T, s store.Store) {
	put(t, s, store.Rollouts, "a", "1", 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var read []string
	for e, err := range s.Read(ctx, store.Rollouts, true) {
		if err != nil {
			break
		}
		read = append(read, e.Key+string(e.Value))
		switch e.Key + string(e.Value) {
		case "": // all that was there has been read
			put(t, s, store.Rollouts, "b", "2", 0)
		case "b2":
			cancel()
		}
	}
	assert.Equal(t, []string{"a1", "", "b2"}, read)
}

func testAudit(t *testing.T, s store.Store) {
	for _, value := range []string{"one", "two", "three"} {
		require.NoError(t, s.Set(t.Context(), store.Audit, "start", []byte(value)))
	}
	var read []string
	for e, err := range s.Read(t.Context(), store.Audit, false) {
		require.NoError(t, err)
		assert.Equal(t, "start", e.Key)
		read = append(read, string(e.Value))
	}
	assert.Equal(t, []string{"one", "two", "three"}, read, "all are kept")
}

// take takes what a queue hands out.
func take(t *testing.T, s store.Store, n int) (all []store.Delivery) {
	t.Helper()
	for d, err := range s.HandOut(t.Context(), "a", n) {
		require.NoError(t, err)
		all = append(all, d)
	}
	return all
}

func testHandOut(t *testing.T, s store.Store) {
	ctx := t.Context()
	require.NoError(t, s.Queue(ctx, "a"))
	require.NoError(t, s.Queue(ctx, "a"), "again")
	idle := func() bool {
		n, err := s.Queued(ctx, "a")
		require.NoError(t, err)
		return n == 0
	}
	assert.True(t, idle())
	written := put(t, s, store.Orders, "a.0", "x", 0)
	put(t, s, store.Orders, "a.1", "x", 0)
	put(t, s, store.Orders, "a.2", "x", 0)
	put(t, s, store.Orders, "b.0", "of another account", 0)
	assert.Eventually(t, func() bool { // it is counted a moment later
		n, err := s.Queued(ctx, "a")
		return err == nil && n == 3
	}, 5*time.Second, time.Millisecond)
	first := take(t, s, 1)
	require.Len(t, first, 1)
	assert.Equal(t, "a.0", first[0].Entry().Key)
	assert.Equal(t, "x", string(first[0].Entry().Value))
	assert.Equal(t, written, first[0].Entry().Seq)
	rest := take(t, s, 5)
	require.Len(t, rest, 2, "it waits for the others in vain")
	first[0].Ack()
	rest[0].GiveBack(50 * time.Millisecond)
	again := take(t, s, 1)
	require.Len(t, again, 1)
	assert.Equal(t, rest[0].Entry().Key, again[0].Entry().Key)
	again[0].Ack()
	for range 4 { // longer than ackWait
		time.Sleep(ackWait / 3)
		rest[1].Keep()
	}
	assert.Empty(t, take(t, s, 1), "it is kept")
	assert.Eventually(t, func() bool { return len(take(t, s, 1)) == 1 }, 5*ackWait, time.Millisecond, "it is not kept any more")
	assert.False(t, idle(), "it is in hand")
	require.NoError(t, s.Set(ctx, store.Orders, "a.2", []byte("y")))
	last := take(t, s, 1)
	require.Len(t, last, 1)
	assert.Equal(t, "y", string(last[0].Entry().Value))
	last[0].Ack()
	assert.Eventually(t, idle, 5*time.Second, 10*time.Millisecond)
}

func testReplaced(t *testing.T, s store.Store) {
	require.NoError(t, s.Queue(t.Context(), "a"))
	seq := put(t, s, store.Orders, "a.0", "old", 0)
	old := take(t, s, 1)
	require.Len(t, old, 1)
	put(t, s, store.Orders, "a.0", "new", seq)
	old[0].GiveBack(0)
	newer := take(t, s, 2)
	require.Len(t, newer, 1)
	assert.Equal(t, "new", string(newer[0].Entry().Value))
	old[0].Ack() // late
	newer[0].GiveBack(0)
	assert.Len(t, take(t, s, 1), 1, "that was not of this one")
}

func testClosed(t *testing.T, s store.Store) {
	select {
	case <-s.Closed():
		assert.Fail(t, "it is open")
	default:
	}
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	select {
	case <-s.Closed():
	case <-time.After(5 * time.Second):
		assert.Fail(t, "it is closed")
	}
}

// A table that is lost while the server runs is made again, empty, when it is missed; so are the queues of the orders.
func TestLostTables(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	for table := range store.Audit {
		put(t, s, table, "a.b", "x", 0)
		require.NoError(t, js.DeleteStream(t.Context(), table.String()))
		assert.Eventually(t, func() bool {
			e, err := s.Get(t.Context(), table, "a.b")
			return err == nil && e.Seq == 0
		}, 10*time.Second, time.Millisecond, table)
		put(t, s, table, "a.b", "x", 0)
		time.Sleep(time.Second) // it looks once a second
	}
	require.NoError(t, js.DeleteStream(t.Context(), store.Orders.String()))
	assert.Eventually(t, func() bool {
		_, err := s.Put(t.Context(), store.Orders, "a.b", []byte("x"), 0)
		return err == nil && len(take(t, s, 1)) == 1
	}, 10*time.Second, time.Millisecond)
}

// A table that is lost while no server runs is made again when the store is opened.
func TestLostBetween(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, dir)
	written := put(t, s, store.Orders, "a.b", "x", 0)
	put(t, s, store.Statuses, "a.b", "x", 0)
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(t.Context(), store.Statuses.String()))
	require.NoError(t, s.Close())
	s = serve(t, dir)
	e, err := s.Newest(t.Context(), store.Orders, "a.b")
	require.NoError(t, err)
	assert.Equal(t, written, e.Seq)
	e, err = s.Newest(t.Context(), store.Statuses, "a.b")
	require.NoError(t, err)
	assert.Zero(t, e.Seq)
	_, err = store.Serve(t.Context(), dir, store.Server{}, store.Config{Log: slog.New(slog.DiscardHandler)})
	assert.ErrorIs(t, err, store.ErrInUse)
}

// More replicas than there are servers are an error that names both numbers.
func TestRaise(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, serve(t, dir).Close())
	_, err := store.Serve(t.Context(), dir, store.Server{}, store.Config{Replicas: 3, Raise: true, Log: slog.New(slog.DiscardHandler)})
	assert.ErrorContains(t, err, "has 1 replicas, and 3 cannot be had")
	require.NoError(t, serve(t, dir).Close(), "and leaves the folder free")
}

// What goes wrong in memory looks as it does in JetStream.
func TestFaults(t *testing.T) {
	t.Parallel()
	var next memory.Fault
	s := memory.New()
	h := s.Handle(func(string) memory.Fault { f := next; next = memory.Fault{}; return f })
	seq := put(t, h, store.Statuses, "a.b", "one", 0)
	next = memory.Fault{LoseAck: true}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.Put(ctx, store.Statuses, "a.b", []byte("two"), seq)
	require.Error(t, err)
	assert.NotErrorIs(t, err, store.ErrConflict)
	e, err := h.Newest(t.Context(), store.Statuses, "a.b")
	require.NoError(t, err)
	assert.Equal(t, "two", string(e.Value), "it came through")
	next = memory.Fault{Behind: true}
	e, err = h.Get(t.Context(), store.Statuses, "a.b")
	require.NoError(t, err)
	assert.Equal(t, "one", string(e.Value))
	restore := s.Snapshot(store.Statuses)
	put(t, h, store.Statuses, "a.c", "x", 0)
	restore()
	e, err = h.Get(t.Context(), store.Statuses, "a.c")
	require.NoError(t, err)
	assert.Zero(t, e.Seq)
	s.Damage(store.Statuses, memory.Lost, 0)
	last, err := h.LastSeq(t.Context(), store.Statuses)
	require.NoError(t, err)
	assert.Zero(t, last)
	h.Kill()
	_, err = h.Get(t.Context(), store.Statuses, "a.b")
	assert.ErrorIs(t, err, memory.ErrAway)
}

// A request that is never answered, as its user may not make it, ends by itself.
func TestLimits(t *testing.T) {
	t.Parallel()
	options := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Users: []*server.User{{Username: "admin"}, {Username: "guest", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
			Deny: []string{"$JS.API.CONSUMER.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.MSG.GET.>", "fleet.>"},
		}}}},
	}
	srv, err := server.NewServer(options)
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(srv.WaitForShutdown)
	t.Cleanup(srv.Shutdown)
	dial := func(user string, c store.Config) (*store.JetStream, error) {
		c.Log, c.Options = slog.New(slog.DiscardHandler), []nats.Option{nats.UserInfo(user, "")}
		return store.Dial(t.Context(), srv.ClientURL(), c)
	}
	_, err = dial("guest", store.Config{Replicas: 1})
	require.ErrorIs(t, err, context.DeadlineExceeded, "create")
	admin, err := dial("admin", store.Config{Replicas: 1})
	require.NoError(t, err)
	defer admin.Close() //nolint:errcheck // of a test
	guest, err := dial("guest", store.Config{Replicas: 1, Fetch: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, guest.Close()) })
	for name, request := range map[string]func() error{
		"raise":  func() error { _, err := dial("guest", store.Config{Replicas: 3, Raise: true}); return err },
		"newest": func() error { _, err := guest.Newest(t.Context(), store.Orders, "a.b"); return err },
		"put":    func() error { _, err := guest.Put(t.Context(), store.Orders, "a.b", []byte("x"), 0); return err },
		"queue":  func() error { return guest.Queue(t.Context(), "a") },
		"queued": func() error { _, err := guest.Queued(t.Context(), "a"); return err },
		"hand out": func() (err error) {
			for _, err = range guest.HandOut(t.Context(), "a", 1) {
			}
			return err
		},
		"read": func() (err error) {
			for _, err = range guest.Read(t.Context(), store.Rollouts, false) {
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := request()
			require.Error(t, err)
			assert.NotErrorIs(t, err, store.ErrConflict)
		})
	}
}
