package zapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// dying is a server whose present connections can die: requests on them are never answered.
type dying struct {
	*httptest.Server

	opened, dead atomic.Int32 // connections are numbered from 1; those up to dead are dead
	arrived      sync.WaitGroup
}

type connectionKey struct{}

func newDying(t *testing.T) *dying {
	t.Helper()
	s := new(dying)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Context().Value(connectionKey{}).(int32) <= s.dead.Load() {
			<-r.Context().Done()
			return
		}
		if s.dead.Load() == 0 { // warming up: each request needs a connection of its own
			s.arrived.Done()
			s.arrived.Wait()
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, s.opened.Add(1))
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// warm opens n connections, which then die.
func (s *dying) warm(t *testing.T, client *zapi.Client, n int) {
	t.Helper()
	s.arrived.Add(n)
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
	}
	calls.Wait()
	require.EqualValues(t, n, s.opened.Load())
	s.dead.Store(int32(n))
}

// However many connections died, the second attempt goes out on a new one.
func TestDeadConnectionsCostOneAttempt(t *testing.T) {
	t.Parallel()
	retry := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond})
	transports := map[string]func() []zapi.Option{
		"of zapi": func() []zapi.Option { return nil },
		"of the caller": func() []zapi.Option {
			return []zapi.Option{zapi.WithTransport(&http.Transport{MaxIdleConnsPerHost: 64})}
		},
	}
	for name, transport := range transports {
		for _, atOnce := range []int{1, 16} {
			t.Run(fmt.Sprint(name, ", ", atOnce, " at once"), func(t *testing.T) {
				t.Parallel()
				server := newDying(t)
				client, err := zapi.NewClient(creds, append(transport(), zapi.WithBaseURL(server.URL), zapi.WithTimeout(time.Second), retry)...)
				require.NoError(t, err)
				t.Cleanup(client.CloseIdleConnections)
				server.warm(t, client, 16)
				for range 3 {
					var calls sync.WaitGroup
					for range atOnce {
						calls.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
					}
					calls.Wait()
				}
			})
		}
	}
}

// One connection that stays alive must not vouch for those that died.
func TestDeadConnectionsBesideALiveOne(t *testing.T) {
	t.Parallel()
	server := newDying(t)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), zapi.WithTimeout(time.Second),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond}))
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	server.warm(t, client, 33)
	server.dead.Store(32) // the last one may or may not be the next to be used
	ctx, cancel := context.WithCancel(t.Context())
	var busy, calls sync.WaitGroup
	busy.Go(func() {
		for ctx.Err() == nil {
			_ = setOnline(ctx, client)
		}
	})
	for range 8 {
		calls.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
	}
	calls.Wait()
	cancel()
	busy.Wait()
}

// closes counts how often its idle connections are closed.
type closes struct {
	http.RoundTripper

	n atomic.Int32
}

func (c *closes) CloseIdleConnections() { c.n.Add(1) }

func TestWhenConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []step
		want  int32 // times that the idle connections are closed
	}{
		{"success", []step{status(200)}, 0},
		{"refused", []step{status(200), status(403)}, 0},
		{"reset", []step{status(200), failing(io.EOF)}, 0},
		{"a timeout after a response", []step{status(200), hanging}, 1},
		{"a timeout within a body", []step{status(200), drip}, 1},
		{"once for each response before it", []step{status(200), hanging, hanging, hanging}, 1},
		{"again after a response", []step{status(200), hanging, status(200), hanging}, 2},
		{"slow from the start", []step{hanging, hanging}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := &script{steps: tt.steps}
				transport := &closes{RoundTripper: network}
				client, err := zapi.NewClient(creds, zapi.WithTransport(transport), once)
				require.NoError(t, err)
				for range tt.steps {
					_ = setOnline(t.Context(), client)
				}
				assert.Len(t, network.at, len(tt.steps))
				assert.Equal(t, tt.want, transport.n.Load())
			})
		})
	}
	t.Run("not when the caller cancels", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			transport := &closes{RoundTripper: &script{steps: []step{status(200), hanging}}}
			client, err := zapi.NewClient(creds, zapi.WithTransport(transport), once)
			require.NoError(t, err)
			require.NoError(t, setOnline(t.Context(), client))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			require.ErrorIs(t, setOnline(ctx, client), context.Canceled)
			assert.Zero(t, transport.n.Load())
		})
	})
}

func TestCloseIdleConnections(t *testing.T) {
	t.Parallel()
	server := newDying(t)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	other, err := client.ForInstance(creds)
	require.NoError(t, err)
	server.warm(t, client, 20)
	server.dead.Store(-1)
	other.CloseIdleConnections()
	require.NoError(t, setOnline(t.Context(), client))
	assert.EqualValues(t, 21, server.opened.Load(), "the connections of all clients were closed")
	client.CloseIdleConnections()
	(*zapi.Client)(nil).CloseIdleConnections()
	new(zapi.Client).CloseIdleConnections()

	transport := &closes{RoundTripper: newMockAPI(succeeding)}
	client, err = zapi.NewClient(creds, zapi.WithTransport(transport))
	require.NoError(t, err)
	client.CloseIdleConnections()
	assert.EqualValues(t, 1, transport.n.Load())
	newClient(t, succeeding).CloseIdleConnections() // a transport without the method
}

// countConnections starts a server and returns a client of it and the number of connections opened so far.
func countConnections(t *testing.T, handler http.HandlerFunc) (*zapi.Client, *atomic.Int32) {
	t.Helper()
	opened := new(atomic.Int32)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	return client, opened
}

func TestBurstsFindTheirConnections(t *testing.T) {
	t.Parallel()
	const burst = 256
	var arrived sync.WaitGroup // each call waits for all others, so that each needs a connection of its own
	client, opened := countConnections(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived.Done()
		arrived.Wait()
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	for range 3 {
		arrived.Add(burst)
		var calls sync.WaitGroup
		for range burst {
			calls.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
		}
		calls.Wait()
	}
	assert.EqualValues(t, burst, opened.Load())
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 302, 403, 503} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			client, opened := countConnections(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, strings.Repeat(" ", 10_000))
			})
			for range 10 {
				require.Error(t, setOnline(t.Context(), client))
			}
			assert.EqualValues(t, 1, opened.Load())
		})
	}
}
