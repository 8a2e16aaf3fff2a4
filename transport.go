package zapi

import (
	"context"
	"errors"
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

// keepHTTP2 makes a clone speak HTTP/2 if the original does. When a transport is first used, net/http offers HTTP/2 in its
// TLS settings. Clone copies that offer, but not always the code that keeps it: the server then answers in HTTP/2, and the
// clone reads HTTP/1.1. After ConfigureTransports of golang.org/x/net/http2, Clone copies that code together with its
// connections, so that all clones would share them, dead ones included.
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

// An idleCloser sends requests, and closes the idle connections when a request runs into its deadline. A NAT that has
// forgotten one connection has usually forgotten all of that age. After a timeout, HTTP/1.1 closes that one connection and
// sends the next attempt over another idle one, which is as dead. Without idle connections, the next attempt dials.
type idleCloser struct {
	http.RoundTripper

	responded atomic.Bool // since idle connections were last closed; without a response, closing more of them cannot help
}

func (k *idleCloser) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := k.RoundTripper.RoundTrip(req)
	if err != nil {
		k.failed(req.Context())
	} else {
		k.responded.Store(true)
	}
	return resp, err
}

// failed closes the idle connections if ctx, of a request without a complete response, has reached its deadline.
func (k *idleCloser) failed(ctx context.Context) {
	if errors.Is(contextErr(ctx), context.DeadlineExceeded) && k.responded.Swap(false) {
		k.closeIdleConnections()
	}
}

// closeIdleConnections does what [http.Client.CloseIdleConnections] does.
func (k *idleCloser) closeIdleConnections() {
	if closer, ok := k.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
