package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/zapi-go/zapi"
)

const maxAttempts = 3

// newClient returns a client of a program that has assigned template to http.DefaultTransport. That is global, so no other
// test may run beside it.
func newClient(t *testing.T, template *http.Transport, baseURL string, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	original := http.DefaultTransport
	http.DefaultTransport = template
	defer func() { http.DefaultTransport = original }()
	client, err := zapi.NewClient(zapi.Credentials{InstanceID: "I", Token: "TSECRET", ClientToken: "FSECRET"}, append(opts,
		zapi.WithBaseURL(baseURL),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: maxAttempts, MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond}))...)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// startServer starts a TLS server that calls respond before each success. It returns its URL.
func startServer(t *testing.T, major int, respond func(*http.Request)) string {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does r.Context end with the connection
		respond(r)
		if r.Context().Err() != nil { // while it closes the connection, the client might still read a response
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	server.EnableHTTP2 = major == 2
	server.Config.ErrorLog = discard
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// newDefault returns a transport like that of net/http.
func newDefault() *http.Transport { return http.DefaultTransport.(*http.Transport).Clone() }

// useXNet lets transport speak the HTTP/2 of golang.org/x/net.
func useXNet(transport *http.Transport) {
	if _, err := http2.ConfigureTransports(transport); err != nil {
		panic(err) // it has an HTTP/2 already
	}
}

// TestClientSpeaksWhatTheTransportSpeaks checks that a client uses the version of HTTP that the program's own requests use.
func TestClientSpeaksWhatTheTransportSpeaks(t *testing.T) {
	var spoken atomic.Value
	server := startServer(t, 2, func(r *http.Request) { spoken.Store(r.Proto) })
	ask := func(t *testing.T, transport *http.Transport) {
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := (&http.Client{Transport: transport}).Get(server) //nolint:noctx // a test of a program's own transport
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	h1, both := new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	dial, noNextProto := new(net.Dialer).DialContext, map[string]func(string, *tls.Conn) http.RoundTripper{}
	for name, configure := range map[string]func(*http.Transport){
		"bare":                   func(*http.Transport) {},
		"own dialer":             func(own *http.Transport) { own.DialContext = dial },
		"own dialer and HTTP/2":  func(own *http.Transport) { own.DialContext, own.ForceAttemptHTTP2 = dial, true },
		"own dialer and both":    func(own *http.Transport) { own.DialContext, own.Protocols = dial, both },
		"TLS settings":           func(own *http.Transport) { own.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13} },
		"both":                   func(own *http.Transport) { own.Protocols = both },
		"HTTP/1 only":            func(own *http.Transport) { own.Protocols = h1 },
		"HTTP/1 by TLSNextProto": func(own *http.Transport) { own.TLSNextProto = noNextProto },
		"golang.org/x/net":       useXNet,
	} {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, used before: %t", name, used), func(t *testing.T) {
				itself, template := &http.Transport{}, &http.Transport{}
				configure(itself)
				configure(template)
				ask(t, itself)
				want := spoken.Swap("")
				if used {
					ask(t, template)
				}
				require.NoError(t, newClient(t, template, server).SetOnlineVisibility(t.Context(), zapi.OnlineAll))
				assert.Equal(t, want, spoken.Load())
				ask(t, template) // it still works itself
				assert.Equal(t, want, spoken.Load())
			})
		}
	}
}

// TestProxyRefusals checks that a proxy that refuses a connection is named, and asked again only if it may accept later.
func TestProxyRefusals(t *testing.T) {
	for status, attempts := range map[string]int32{"403 Forbidden": 1, "407 Proxy Authentication Required": 1, "404 ": 1,
		"408 Request Timeout": 3, "429 Too Many Requests": 3, "502 Bad Gateway": 3, "503 ": 3} {
		t.Run(status, func(t *testing.T) {
			var asked atomic.Int32
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				assert.Equal(t, "CONNECT api.invalid:443", r.Method+" "+r.Host)
				assert.Empty(t, r.Header.Get("Client-Token"))
				conn, _, _ := w.(http.Hijacker).Hijack() // net/http would write a reason phrase
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status)
				_ = conn.Close()
			}))
			t.Cleanup(proxy.Close)
			template := newDefault()
			template.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
			err := newClient(t, template, "https://api.invalid").SetOnlineVisibility(t.Context(), zapi.OnlineAll)
			text := "zapi: privacy/online: no response: the proxy answered CONNECT with " + status[:3]
			if attempts > 1 {
				text += fmt.Sprintf(" (%d attempts)", attempts)
			}
			require.EqualError(t, err, text)
			assert.Equal(t, attempts, asked.Load())
		})
	}
}

// TestDialTimeout checks that a timeout of the transport does not look like the deadline of the caller.
func TestDialTimeout(t *testing.T) {
	template := newDefault()
	template.DialContext = (&net.Dialer{Timeout: time.Nanosecond}).DialContext
	err := newClient(t, template, "https://127.0.0.1:1").SetOnlineVisibility(t.Context(), zapi.OnlineAll)
	var transportErr *zapi.TransportError
	require.ErrorAs(t, err, &transportErr)
	assert.Equal(t, maxAttempts, transportErr.Attempts)
	assert.True(t, transportErr.Timeout())
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
}
