package zapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

const (
	idlePerHost       = 512 // so that bursts of some hundred calls reuse their connections
	maxResponseHeader = 64 << 10
	shortestPing      = 300 * time.Millisecond
	longestPing       = 10 * time.Second
)

// newTransport returns a copy of template with settings for many calls to one host.
func newTransport(template *http.Transport, timeout time.Duration) *http.Transport {
	t := template.Clone()
	keepHTTP2(t)
	pingConnections(t, timeout)
	nameProxyRefusals(t)
	t.MaxIdleConns = 0 // bounded per host
	t.MaxIdleConnsPerHost = idlePerHost
	t.MaxResponseHeaderBytes = maxResponseHeader
	return t
}

// keepHTTP2 makes a cloned transport speak what the original speaks. Clone copies the offer of HTTP/2 that net/http has
// added to the TLS settings of the original, and not always what speaks it: the server then answers in HTTP/2, which the
// clone reads as HTTP/1.1. If golang.org/x/net/http2 has set up the original, Clone copies its connections too, so that all
// clones share them, and those that are dead.
func keepHTTP2(t *http.Transport) {
	offered := t.TLSClientConfig != nil && slices.Contains(t.TLSClientConfig.NextProtos, "h2")
	switch {
	case t.TLSNextProto["h2"] != nil:
		t.TLSNextProto, t.ForceAttemptHTTP2 = nil, true
	case t.TLSNextProto == nil && t.Protocols == nil && offered:
		t.ForceAttemptHTTP2 = true
	}
}

// pingConnections makes HTTP/2 find out early that a connection is dead. A NAT or a load balancer forgets a connection
// without closing it. HTTP/2 would send every later request, and every retry, over that same connection, each waiting for
// its timeout. A ping after a third of the timeout, with another third for its answer, ends the connection within the
// attempt, so that the next one dials.
func pingConnections(t *http.Transport, timeout time.Duration) {
	interval := longestPing
	if timeout > 0 {
		interval = min(max(timeout/3, shortestPing), longestPing)
	}
	settings := http.HTTP2Config{}
	if t.HTTP2 != nil {
		settings = *t.HTTP2
	}
	if settings.SendPingTimeout == 0 {
		settings.SendPingTimeout = interval
	}
	if settings.PingTimeout == 0 {
		settings.PingTimeout = interval
	}
	t.HTTP2 = &settings
}

// nameProxyRefusals makes the refusal of a proxy an error with its status. net/http returns only the reason phrase of the
// response to CONNECT, which may be empty.
func nameProxyRefusals(t *http.Transport) {
	onResponse := t.OnProxyConnectResponse
	t.OnProxyConnectResponse = func(ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response) error {
		if onResponse != nil {
			if err := onResponse(ctx, proxy, connect, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode != http.StatusOK {
			return proxyError(resp.StatusCode)
		}
		return nil
	}
}

// A proxyError is the status with which a proxy refused CONNECT.
type proxyError int

func (e proxyError) Error() string { return fmt.Sprintf("the proxy answered CONNECT with %d", int(e)) }

// temporary reports whether the proxy may accept later.
func (e proxyError) temporary() bool {
	return e < 400 || e >= 500 || e == http.StatusRequestTimeout || e == http.StatusTooManyRequests
}

// A connectionKeeper sends requests, and closes the idle connections when one runs into its deadline. A NAT that has
// forgotten one connection has usually forgotten all of that age. HTTP/1.1 closes the one that timed out and sends the next
// attempt over another idle one, which is as dead: with many of them, each attempt would meet another. After a deadline,
// later attempts dial instead.
type connectionKeeper struct {
	http.RoundTripper

	responded atomic.Bool // since the idle connections were last closed; a server that never responds is slow, not forgotten
}

func (k *connectionKeeper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := k.RoundTripper.RoundTrip(req)
	if err != nil {
		k.failed(req.Context())
	} else {
		k.responded.Store(true)
	}
	return resp, err
}

// failed closes the idle connections if ctx, of a request without a complete response, has reached its deadline.
func (k *connectionKeeper) failed(ctx context.Context) {
	if errors.Is(contextErr(ctx), context.DeadlineExceeded) && k.responded.Swap(false) {
		k.closeIdleConnections()
	}
}

// closeIdleConnections does what [http.Client.CloseIdleConnections] does.
func (k *connectionKeeper) closeIdleConnections() {
	if closer, ok := k.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
