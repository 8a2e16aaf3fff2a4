package zapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	idlePerHost  = 512 // so that bursts of some hundred calls reuse their connections
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
)

// pool sends requests over connections that it gives up when they may be dead. A NAT or a load balancer can forget a
// connection without a word: HTTP/2 would then send every later request down that connection, and HTTP/1.1 each attempt
// down the next dead one.
type pool struct {
	start        time.Time
	current      atomic.Pointer[generation]
	newTransport func() http.RoundTripper // nil for a transport of the caller, which is never replaced
}

// generation is one transport of a pool.
type generation struct {
	http.RoundTripper
	lastResponse atomic.Int64 // when it came, as a time.Duration since the start of the pool; 0 for none
}

// newPool returns a pool over clones of template. Its pings end the calls that wait on a dead HTTP/2 connection.
func newPool(template *http.Transport) *pool {
	template = template.Clone()
	template.MaxIdleConns = 0 // bounded per host
	template.MaxIdleConnsPerHost = idlePerHost
	template.MaxResponseHeaderBytes = maxResponseHeader
	if template.HTTP2 == nil {
		template.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingInterval, PingTimeout: pingTimeout}
	}
	p := &pool{start: time.Now(), newTransport: func() http.RoundTripper { return template.Clone() }}
	p.current.Store(&generation{RoundTripper: p.newTransport()})
	return p
}

// newCallerPool returns a pool over a transport of the caller.
func newCallerPool(transport http.RoundTripper) *pool {
	p := &pool{start: time.Now()}
	p.current.Store(&generation{RoundTripper: transport})
	return p
}

func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	g := p.current.Load()
	began := time.Since(p.start)
	resp, err := g.RoundTrip(req)
	switch {
	case err != nil:
		p.suspect(req.Context(), g, began)
	case resp != nil:
		g.lastResponse.Store(int64(max(1, time.Since(p.start))))
		if resp.Body != nil {
			resp.Body = &pooledBody{resp.Body, p, g, req.Context(), began}
		}
	}
	return resp, err
}

// suspect gives up the connections of g if the request that began then ran into its deadline, and g has responded before
// but not during the second half of that time. So neither a server that is slow from the start nor one slow response
// among many costs the other connections. Requests that wait on g go on.
func (p *pool) suspect(ctx context.Context, g *generation, began time.Duration) {
	if !errors.Is(contextErr(ctx), context.DeadlineExceeded) {
		return
	}
	last, middle := g.lastResponse.Load(), (began+time.Since(p.start))/2
	if last == 0 || last > int64(middle) || !g.lastResponse.CompareAndSwap(last, 0) {
		return
	}
	if p.newTransport != nil {
		p.current.CompareAndSwap(g, &generation{RoundTripper: p.newTransport()})
	}
	g.closeIdleConnections()
}

// leave closes the connections of a generation that was given up, once its last request leaves them idle.
func (p *pool) leave(g *generation) {
	if p.current.Load() != g {
		g.closeIdleConnections()
	}
}

// closeIdleConnections does what [http.Client.CloseIdleConnections] does.
func (g *generation) closeIdleConnections() {
	if closer, ok := g.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// pooledBody is the body of a response: its connection may die while it is read.
type pooledBody struct {
	io.ReadCloser

	pool  *pool
	from  *generation
	ctx   context.Context
	began time.Duration
}

func (b *pooledBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.pool.suspect(b.ctx, b.from, b.began)
	}
	return n, err
}

func (b *pooledBody) Close() error {
	defer b.pool.leave(b.from)
	return b.ReadCloser.Close()
}
