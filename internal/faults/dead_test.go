package faults

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// The tests of this file run one after the other, and only the rows of each in parallel: their timeouts are short, and
// TLS handshakes keep the machine busy.

// protocols are negotiated over TLS, as with the real API.
var protocols = []struct {
	name  string
	major int
}{{"HTTP/1.1", 1}, {"HTTP/2", 2}}

// TestDeadConnections lets connections die silently, as behind a NAT or a load balancer that forgets them. No call may
// fail: the second attempt at the latest goes out on a fresh connection.
func TestDeadConnections(t *testing.T) {
	const idle = 64 // calls that were in progress together before
	for _, protocol := range protocols {
		for name, atOnce := range map[string]int{"one at a time": 1, "64 at once": 64} {
			t.Run(protocol.name+", "+name, func(t *testing.T) {
				t.Parallel()
				var arrived atomic.Int64
				together := make(chan struct{})
				tunnel, client := newTunnel(t, protocol.major, time.Second, func(r *http.Request) {
					switch arrived.Add(1) {
					case 1:
						return
					case 1 + idle:
						close(together)
					}
					select {
					case <-together:
					case <-r.Context().Done():
					}
				})
				for _, n := range []int{1, idle} { // the one lets HTTP/2 dial once
					_, err := makeCalls(t, client, n, n)
					require.NoError(t, err)
				}
				for _, death := range []string{"first", "second"} {
					lost, dialled := tunnel.forget(), tunnel.accepted.Load()
					made, err := makeCalls(t, client, max(10, atOnce), atOnce)
					t.Logf("%s death: %+v, %d new connections", death, made, tunnel.accepted.Load()-dialled)
					assert.Zero(t, made.failed, "calls that failed after the %s death: %v", death, err)
					assert.LessOrEqual(t, made.mostAttempts, 2, "attempts of one call after the %s death", death)
					assert.Greater(t, tunnel.lost.Load(), lost, "bytes lost on dead connections")
					if protocol.major == 1 { // HTTP/2 notices later, by its pings
						assert.Eventually(t, func() bool { return !tunnel.holdsDead() }, patience, 5*time.Millisecond,
							"the client keeps dead connections")
					}
				}
			})
		}
	}
}

// TestSlowServer checks that a server that always responds too late is not dialled again for every attempt. HTTP/1.1 has
// no choice, because giving up a request closes its connection.
func TestSlowServer(t *testing.T) {
	const timeout, calls, attempts = 200 * time.Millisecond, 5, 5 * 3
	for _, protocol := range protocols {
		for name, good := range map[string]int{"from the start": 0, "after a good start": 3} {
			t.Run(protocol.name+", "+name, func(t *testing.T) {
				t.Parallel()
				var slow atomic.Bool
				tunnel, client := newTunnel(t, protocol.major, timeout, func(r *http.Request) {
					if slow.Load() {
						sleep(r.Context(), 10*timeout)
					}
				})
				_, err := makeCalls(t, client, good, 1)
				require.NoError(t, err)
				slow.Store(true)
				made, _ := makeCalls(t, client, calls, 1)
				t.Logf("%+v, %d connections", made, tunnel.accepted.Load())
				assert.Equal(t, calls, made.failed)
				assert.Equal(t, attempts, made.attempts)
				limit := 2 // the first connection, and one fresh connection when the first seems dead
				if protocol.major == 1 {
					limit = attempts + 1
				}
				assert.LessOrEqual(t, tunnel.accepted.Load(), int64(limit), "connections")
			})
		}
	}
}

// TestOneSlowResponse checks that a response that is too late costs its own call one more attempt, and the calls beside
// it nothing.
func TestOneSlowResponse(t *testing.T) {
	const timeout, calls, atOnce = 2 * time.Second, 1500, 64 // generous, for a busy machine
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			var arrived, slow atomic.Int64
			tunnel, client := newTunnel(t, protocol.major, timeout, func(r *http.Request) {
				if arrived.Add(1)%100 != 0 {
					sleep(r.Context(), timeout/100)
					return
				}
				slow.Add(1)
				sleep(r.Context(), 10*timeout)
			})
			_, err := makeCalls(t, client, 1, 1) // lets HTTP/2 dial once
			require.NoError(t, err)
			made, err := makeCalls(t, client, calls, atOnce)
			t.Logf("%+v, %d responses too late, %d connections", made, slow.Load(), tunnel.accepted.Load())
			assert.Zero(t, made.failed, "calls that failed: %v", err)
			assert.LessOrEqual(t, made.attempts, calls+2*int(slow.Load()), "attempts") // twice, for a busy machine
			assert.Less(t, tunnel.accepted.Load(), int64(calls/2), "connections")
		})
	}
}

// TestLiveConnectionIsKept checks that HTTP/2 keeps a connection on which other responses still arrive when one is too late.
func TestLiveConnectionIsKept(t *testing.T) {
	tunnel, client := newTunnel(t, 2, time.Minute, hangPhoto)
	_, err := makeCalls(t, client, 1, 1) // lets HTTP/2 dial once
	require.NoError(t, err)
	inFlight, leave := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- setPhoto(inFlight, client) }() // so that the connection is never idle
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() { ended <- setPhoto(ctx, client) }()
	for ctx.Err() == nil {
		_, err := makeCalls(t, client, 1, 1)
		require.NoError(t, err)
		sleep(ctx, 10*time.Millisecond)
	}
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	_, err = makeCalls(t, client, 1, 1)
	require.NoError(t, err)
	leave()
	require.ErrorIs(t, <-ended, context.Canceled)
	assert.EqualValues(t, 1, tunnel.accepted.Load(), "connections")
}

// TestRetiredConnectionsAreClosed leaves idle connections of HTTP/2 in two retired transports: the second of two calls that
// are too late finds its transport retired already.
func TestRetiredConnectionsAreClosed(t *testing.T) {
	tunnel, client := newTunnel(t, 2, time.Minute, hangPhoto)
	for range 2 {
		_, err := makeCalls(t, client, 1, 1)
		require.NoError(t, err)
		var calls sync.WaitGroup
		for _, timeout := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				assert.ErrorIs(t, setPhoto(ctx, client), context.DeadlineExceeded)
			})
		}
		calls.Wait()
	}
	assert.GreaterOrEqual(t, tunnel.accepted.Load(), int64(2), "connections")
	tunnel.forget()
	assert.Eventually(t, func() bool {
		client.CloseIdleConnections() // again until net/http has forgotten the calls
		return !tunnel.holdsDead()
	}, patience, 5*time.Millisecond, "connections are left open")
}

// TestOutlivingCall checks that a call over HTTP/2 that ends after its transport was retired leaves no connection open.
func TestOutlivingCall(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	tunnel, client := newTunnel(t, 2, time.Minute, func(r *http.Request) {
		hangPhoto(r)
		if strings.HasSuffix(r.URL.Path, "/last-seen") {
			close(arrived)
			<-release
		}
	})
	_, err := makeCalls(t, client, 1, 1)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- client.SetLastSeen(context.WithValue(t.Context(), requestsKey{}, new(requests)), zapi.VisibilityNone)
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, setPhoto(ctx, client), context.DeadlineExceeded) // retires the transport
	close(release)
	require.NoError(t, <-ended)
	tunnel.forget()
	assert.Eventually(t, func() bool { return !tunnel.holdsDead() }, patience, 5*time.Millisecond, "the connection is left open")
}

// TestPings checks that a call learns of a dead connection of HTTP/2 long before its timeout.
func TestPings(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	tunnel, client := newTunnel(t, 2, 2*time.Minute, func(*http.Request) {})
	_, err := makeCalls(t, client, 1, 1)
	require.NoError(t, err)
	tunnel.forget()
	start := time.Now()
	_, err = makeCalls(t, client, 1, 1)
	require.NoError(t, err)
	assert.Less(t, time.Since(start), time.Minute)
}

func setPhoto(ctx context.Context, client *zapi.Client) error {
	return client.SetPhotoVisibility(context.WithValue(ctx, requestsKey{}, new(requests)), zapi.VisibilityNone)
}

// hangPhoto never responds to setPhoto.
func hangPhoto(r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/photo") {
		<-r.Context().Done()
	}
}

// outcome sums up how calls ended.
type outcome struct{ failed, attempts, mostAttempts int }

// makeCalls makes n calls, with atOnce in progress at a time. It returns one of their errors.
func makeCalls(t *testing.T, client *zapi.Client, n, atOnce int) (sum outcome, lastErr error) {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range atOnce {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				var made requests
				err := client.SetOnlineVisibility(context.WithValue(t.Context(), requestsKey{}, &made), zapi.OnlineAll)
				mu.Lock()
				sum.attempts += made.changes
				sum.mostAttempts = max(sum.mostAttempts, made.changes)
				if err != nil {
					sum.failed, lastErr = sum.failed+1, err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return sum, lastErr
}

// A tunnel forwards TCP connections to a server and can forget them.
type tunnel struct {
	accepted atomic.Int64 // connections of the client
	lost     atomic.Int64 // bytes sent on forgotten connections

	mu    sync.Mutex
	pairs []*pair
}

// newTunnel starts a TLS server that calls respond before each success, a tunnel to it, and a client with the default
// transport that goes through the tunnel.
func newTunnel(t *testing.T, major int, timeout time.Duration, respond func(*http.Request)) (*tunnel, *zapi.Client) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, major, r.ProtoMajor)
		_, _ = io.Copy(io.Discard, r.Body) // only then does r.Context end with the connection
		respond(r)
		if r.Context().Err() != nil { // while it closes the connection, the client might still read a response
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	server.EnableHTTP2 = major == 2
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tun := &tunnel{}
	var accepting, forwarding sync.WaitGroup
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		accepting.Wait()
		tun.close()
		forwarding.Wait()
	})
	accepting.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			tun.accepted.Add(1)
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			if err != nil {
				_ = near.Close() // the test is over
				continue
			}
			p := &pair{ends: [2]net.Conn{near, far}, tunnel: tun}
			tun.mu.Lock()
			tun.pairs = append(tun.pairs, p)
			tun.mu.Unlock()
			forwarding.Go(func() { p.forward(near, far) })
			forwarding.Go(func() {
				p.forward(far, near)
				p.closed.Store(true)
			})
		}
	})

	watcher := &watcher{t: t, secrets: []string{"TSECRET", "FSECRET"}}
	client, err := zapi.NewClient(zapi.Credentials{InstanceID: "I", Token: "TSECRET", ClientToken: "FSECRET"},
		zapi.WithBaseURL("https://"+listener.Addr().String()),
		zapi.WithTimeout(timeout),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond}),
		zapi.WithMiddleware(watcher.middleware))
	require.NoError(t, err)
	return tun, client
}

// forget lets all present connections die: what either end sends is lost, without a reset and without an end. It returns how
// many bytes were lost before.
func (tun *tunnel) forget() int64 {
	tun.mu.Lock()
	defer tun.mu.Unlock()
	for _, p := range tun.pairs {
		p.dead.Store(true)
	}
	return tun.lost.Load()
}

// holdsDead reports whether the client has not closed all connections that are dead.
func (tun *tunnel) holdsDead() bool {
	tun.mu.Lock()
	defer tun.mu.Unlock()
	return slices.ContainsFunc(tun.pairs, func(p *pair) bool { return p.dead.Load() && !p.closed.Load() })
}

func (tun *tunnel) close() {
	tun.mu.Lock()
	defer tun.mu.Unlock()
	for _, p := range tun.pairs {
		for _, end := range p.ends {
			_ = end.Close() // the other end may have closed it
		}
	}
}

// A pair is a connection of the client and one to the server.
type pair struct {
	ends   [2]net.Conn
	tunnel *tunnel
	dead   atomic.Bool
	closed atomic.Bool // by the client
}

// forward passes on what one end sends and that it closes, until the pair is dead.
func (p *pair) forward(to, from net.Conn) {
	_, _ = io.Copy(fragile{p, to}, from) // how it ends does not matter
	if !p.dead.Load() {
		_ = to.Close()
	}
}

// fragile writes to one end of a pair, and nowhere once the pair is dead.
type fragile struct {
	pair *pair
	end  io.Writer
}

func (f fragile) Write(data []byte) (int, error) {
	if f.pair.dead.Load() {
		f.pair.tunnel.lost.Add(int64(len(data)))
		return len(data), nil
	}
	return f.end.Write(data)
}
