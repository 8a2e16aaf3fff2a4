//go:debug x509usefallbackroots=1

// With it, the roots of x509.SetFallbackRoots are those of a transport that has none of its own.

package zapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
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

// A pipeNetwork joins a transport and a server by pipes, so that both, and their clocks, live in one synctest bubble.
type pipeNetwork struct {
	accepted chan net.Conn
	closed   chan struct{}

	mu    sync.Mutex
	conns []*mortalConn
}

func newPipeNetwork() *pipeNetwork {
	return &pipeNetwork{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *pipeNetwork) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepted:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *pipeNetwork) Close() error {
	close(n.closed)
	return nil
}

func (n *pipeNetwork) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (n *pipeNetwork) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.accepted <- server:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn := &mortalConn{Conn: client}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
	return conn, nil
}

// forget makes the network forget its connections, as a NAT does, and returns how many there were.
func (n *pipeNetwork) forget() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.conns {
		conn.dead.Store(true)
	}
	return len(n.conns)
}

func (n *pipeNetwork) opened() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// A mortalConn loses what is sent over it once it is dead, in both directions and without a sign.
type mortalConn struct {
	net.Conn

	dead atomic.Bool
}

func (c *mortalConn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *mortalConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.dead.Load() {
			return n, err
		}
	}
}

// servePipes starts a server over TLS in a bubble and returns its network and a template for a transport to it.
func servePipes(t *testing.T, major int, handler http.HandlerFunc) (*pipeNetwork, *http.Transport) {
	t.Helper()
	network := newPipeNetwork()
	certificate, roots := selfSigned(t, "bubble")
	protocols := new(http.Protocols)
	protocols.SetHTTP1(major == 1)
	protocols.SetHTTP2(major == 2)
	var handling sync.WaitGroup
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handling.Add(1)
		defer handling.Done()
		handler(w, r)
	})
	server := &http.Server{
		Handler: counted, Protocols: protocols, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(network, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		handling.Wait()
	})
	return network, &http.Transport{DialContext: network.dial, TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: protocols}
}

// pipeClient returns a client with the transport that zapi makes of template.
func pipeClient(t *testing.T, template *http.Transport, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	transport := zapi.NewTransport(template, 30*time.Second)
	t.Cleanup(transport.CloseIdleConnections)
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithBaseURL("https://127.0.0.1"), zapi.WithTransport(transport)}, opts...)...)
	require.NoError(t, err)
	return client
}

// makeCalls makes calls, all at once or one after another, and returns how many failed.
func makeCalls(t *testing.T, client *zapi.Client, calls, atOnce int) (failed int) {
	t.Helper()
	var errs atomic.Int32
	for range calls / atOnce {
		var running sync.WaitGroup
		for range atOnce {
			running.Go(func() {
				if err := setOnline(t.Context(), client); err != nil {
					errs.Add(1)
				}
			})
		}
		running.Wait()
	}
	return int(errs.Load())
}

// However many connections died, no call of three attempts fails.
func TestDeadConnections(t *testing.T) {
	t.Parallel()
	templates := map[string]func(*http.Transport){
		"": func(*http.Transport) {},
		", after http2.ConfigureTransports": func(t *http.Transport) { // which shares its connections with every clone
			t.TLSClientConfig.NextProtos = []string{"h2", "http/1.1"}
			t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{"h2": sharedConnections}
		},
	}
	for _, major := range []int{1, 2} {
		for name, change := range templates {
			for _, opened := range []int{1, 64} {
				for _, atOnce := range []int{1, 64} {
					t.Run(fmt.Sprintf("HTTP/%d%s, %d calls before, %d at once", major, name, opened, atOnce), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							var meeting sync.WaitGroup // the first calls wait for each other, so that each needs a connection
							meeting.Add(opened)
							var spoken atomic.Int32
							network, template := servePipes(t, major, func(w http.ResponseWriter, r *http.Request) {
								_, _ = io.Copy(io.Discard, r.Body)
								if spoken.Add(1) <= int32(opened) {
									meeting.Done()
									meeting.Wait()
								}
								assert.Equal(t, major, r.ProtoMajor)
								_, _ = io.WriteString(w, `{"success":true}`)
							})
							change(template)
							client := pipeClient(t, template)
							require.Zero(t, makeCalls(t, client, opened, opened))
							dead := network.forget()
							if major == 1 {
								require.Equal(t, opened, dead)
							}
							assert.Zero(t, makeCalls(t, client, 64, atOnce))
							assert.Greater(t, network.opened(), dead)
						})
					})
				}
			}
		}
	}
}

func sharedConnections(string, *tls.Conn) http.RoundTripper {
	return transportFunc(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("a connection that others use, too")
	})
}

// One connection that stays alive must not vouch for those that died.
func TestDeadConnectionsBesideALiveOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var meeting sync.WaitGroup
		meeting.Add(33)
		var requests atomic.Int32
		network, template := servePipes(t, 1, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if requests.Add(1) <= 33 {
				meeting.Done()
				meeting.Wait()
			}
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, `{"success":true}`)
		})
		client := pipeClient(t, template)
		require.Zero(t, makeCalls(t, client, 33, 33))
		require.Equal(t, 33, network.forget())
		network.conns[7].dead.Store(false)

		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		busy.Go(func() {
			for ctx.Err() == nil {
				_ = setOnline(ctx, client)
			}
		})
		assert.Zero(t, makeCalls(t, client, 16, 8))
		cancel()
		busy.Wait()
	})
}

// A ping finds out within an attempt that a connection is dead, and leaves one alone that is only slow.
func TestPings(t *testing.T) {
	t.Parallel()
	const timeout = 30 * time.Second
	tests := []struct {
		name  string
		slow  time.Duration // of the server
		dies  bool
		took  time.Duration // by the second call
		conns int
	}{
		{"alive", 0, false, 0, 1},
		{"slow", timeout - time.Second, false, timeout - time.Second, 1},
		{"dead", 0, true, 2*timeout/3 + time.Second, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network, template := servePipes(t, 2, func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(tt.slow)
					_, _ = io.WriteString(w, `{"success":true}`)
				})
				client := pipeClient(t, template, zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Second, MaxWait: time.Second}))
				require.NoError(t, setOnline(t.Context(), client))
				if tt.dies {
					network.forget()
				}
				start := time.Now() // by the clock of the bubble
				require.NoError(t, setOnline(t.Context(), client))
				assert.Equal(t, tt.took, time.Since(start))
				assert.Equal(t, tt.conns, network.opened())
			})
		})
	}
}

// Pings take a third of the timeout, within limits, unless the template of the transport has its own.
func TestPingInterval(t *testing.T) {
	t.Parallel()
	own := &http.HTTP2Config{SendPingTimeout: time.Minute, MaxReadFrameSize: 1 << 20}
	tests := []struct {
		name       string
		timeout    time.Duration
		config     *http.HTTP2Config
		send, wait time.Duration
	}{
		{"a third", 15 * time.Second, nil, 5 * time.Second, 5 * time.Second},
		{"at most 10 s", time.Hour, nil, 10 * time.Second, 10 * time.Second},
		{"at least 300 ms", time.Millisecond, nil, 300 * time.Millisecond, 300 * time.Millisecond},
		{"without a timeout", 0, nil, 10 * time.Second, 10 * time.Second},
		{"of the program", 15 * time.Second, own, time.Minute, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			template := &http.Transport{HTTP2: tt.config}
			made := zapi.NewTransport(template, tt.timeout)
			assert.Equal(t, tt.send, made.HTTP2.SendPingTimeout)
			assert.Equal(t, tt.wait, made.HTTP2.PingTimeout)
			assert.Same(t, tt.config, template.HTTP2, "the template is left alone")
			if tt.config != nil {
				assert.Equal(t, tt.config.MaxReadFrameSize, made.HTTP2.MaxReadFrameSize)
			}
		})
	}
	assert.Zero(t, own.PingTimeout)
}

// zapi speaks with a server what the program's http.DefaultTransport speaks with it, used before or not.
func TestDefaultTransports(t *testing.T) {
	var major atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		major.Store(int32(r.ProtoMajor))
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{trustedCertificate(t)}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })

	protocols := func(http1, http2 bool) *http.Protocols {
		p := new(http.Protocols)
		p.SetHTTP1(http1)
		p.SetHTTP2(http2)
		return p
	}
	dial := new(net.Dialer).DialContext
	tests := []struct {
		name      string
		transport func() *http.Transport
		want      int
	}{
		{"that of the standard library", func() *http.Transport { return original.(*http.Transport).Clone() }, 2},
		{"bare", func() *http.Transport { return &http.Transport{} }, 2},
		{"bare, HTTP/2 forced", func() *http.Transport { return &http.Transport{ForceAttemptHTTP2: true} }, 2},
		{"own dialer", func() *http.Transport { return &http.Transport{DialContext: dial} }, 1},
		{"own dialer, HTTP/2 forced", func() *http.Transport { return &http.Transport{DialContext: dial, ForceAttemptHTTP2: true} }, 2},
		{"protocols: HTTP/1", func() *http.Transport { return &http.Transport{Protocols: protocols(true, false)} }, 1},
		{"protocols: HTTP/2", func() *http.Transport { return &http.Transport{Protocols: protocols(false, true)} }, 2},
		{"protocols: both", func() *http.Transport { return &http.Transport{Protocols: protocols(true, true)} }, 2},
		{"protocols: both, own dialer", func() *http.Transport { return &http.Transport{Protocols: protocols(true, true), DialContext: dial} }, 2},
		{"protocols: HTTP/1, HTTP/2 forced", func() *http.Transport {
			return &http.Transport{Protocols: protocols(true, false), ForceAttemptHTTP2: true}
		}, 1},
		{"empty TLSNextProto", func() *http.Transport {
			return &http.Transport{TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
		}, 1},
		{"TLS settings", func() *http.Transport {
			return &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
		}, 1},
		{"TLS settings, HTTP/2 forced", func() *http.Transport {
			return &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
		}, 2},
		{"no keep-alives", func() *http.Transport { return &http.Transport{DisableKeepAlives: true} }, 2},
	}
	get := func(t *testing.T, transport *http.Transport) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: transport}).Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return int(major.Swap(0))
	}
	for _, tt := range tests {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, used before: %t", tt.name, used), func(t *testing.T) {
				transport := tt.transport()
				t.Cleanup(transport.CloseIdleConnections)
				http.DefaultTransport = transport
				if used {
					require.Equal(t, tt.want, get(t, transport))
				}
				client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
				require.NoError(t, err)
				t.Cleanup(client.CloseIdleConnections)
				for range 2 {
					require.NoError(t, setOnline(t.Context(), client))
					assert.EqualValues(t, tt.want, major.Swap(0))
				}
				assert.Equal(t, tt.want, get(t, transport), "and the program's transport goes on speaking it")
			})
		}
	}
	t.Run("after http2.ConfigureTransports", func(t *testing.T) {
		http.DefaultTransport = &http.Transport{
			TLSClientConfig: &tls.Config{NextProtos: []string{"h2", "http/1.1"}},
			TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{"h2": sharedConnections},
		}
		client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
		require.NoError(t, err)
		t.Cleanup(client.CloseIdleConnections)
		require.NoError(t, setOnline(t.Context(), client))
		assert.EqualValues(t, 2, major.Load())
	})
}

// trustedCertificate returns the one certificate for loopback that a transport without roots of its own trusts.
func trustedCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	trustOnce.Do(func() {
		var roots *x509.CertPool
		trusted, roots = selfSigned(t, "trusted")
		x509.SetFallbackRoots(roots) // which may be called once
	})
	return trusted
}

var (
	trustOnce sync.Once
	trusted   tls.Certificate
)

// net/http knows only the reason phrase of a proxy's refusal, which the proxy wrote, or left out.
func TestProxyThatRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status   int
		attempts int
	}{
		{201, 2}, {302, 2}, {400, 1}, {403, 1}, {404, 1}, {407, 1}, {408, 2}, {429, 2}, {500, 2}, {502, 2}, {503, 2}, {599, 2},
	}
	for _, tt := range tests {
		for _, phrase := range []string{"", " ", " Forbidden by " + creds.Token} {
			t.Run(fmt.Sprintf("%d%s", tt.status, phrase), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var asked []string
					proxy := newPipeNetwork()
					done := make(chan struct{})
					go func() {
						defer close(done)
						for {
							conn, err := proxy.Accept()
							if err != nil {
								return
							}
							req, err := http.ReadRequest(bufio.NewReader(conn))
							if assert.NoError(t, err) {
								asked = append(asked, req.Method+" "+req.RequestURI)
							}
							_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d%s\r\nContent-Length: 0\r\n\r\n", tt.status, phrase)
							_ = conn.Close()
						}
					}()
					t.Cleanup(func() {
						_ = proxy.Close()
						<-done
					})
					template := &http.Transport{DialContext: proxy.dial, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example.com"})}
					transport := zapi.NewTransport(template, 0)
					t.Cleanup(transport.CloseIdleConnections)
					client, err := zapi.NewClient(creds, zapi.WithTransport(transport), zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2}))
					require.NoError(t, err)
					err = setOnline(t.Context(), client)
					want := fmt.Sprintf("zapi: privacy/online: no response: the proxy answered CONNECT with %d", tt.status)
					if tt.attempts > 1 {
						want += " (2 attempts)"
					}
					require.EqualError(t, err, want)
					assert.Equal(t, slices.Repeat([]string{"CONNECT api.z-api.io:443"}, tt.attempts), asked)
				})
			})
		}
	}
	t.Run("the hook of the program is kept", func(t *testing.T) {
		t.Parallel()
		own := errors.New("own")
		template := &http.Transport{OnProxyConnectResponse: func(context.Context, *url.URL, *http.Request, *http.Response) error { return own }}
		hook := zapi.NewTransport(template, 0).OnProxyConnectResponse
		require.ErrorIs(t, hook(t.Context(), nil, nil, &http.Response{StatusCode: http.StatusOK}), own)
		template.OnProxyConnectResponse = nil
		require.NoError(t, zapi.NewTransport(template, 0).OnProxyConnectResponse(t.Context(), nil, nil, &http.Response{StatusCode: http.StatusOK}))
	})
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
	client, opened := countConnections(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"success":true}`) })
	other, err := client.ForInstance(creds)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, setOnline(t.Context(), client))
	}
	require.EqualValues(t, 1, opened.Load())
	other.CloseIdleConnections()
	require.NoError(t, setOnline(t.Context(), client))
	assert.EqualValues(t, 2, opened.Load(), "the connections of all clients were closed")
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
