package zapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idlePerHost  = 512 // so that bursts of some hundred calls reuse their connections
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
	maxIdle      = 90 * time.Second // after which http.DefaultTransport closes an idle connection
)

// A pool sends requests and retires connections that may be dead. A NAT or a load balancer can forget connections without
// closing them. Without a pool, HTTP/2 would send every later request over the dead connection, and HTTP/1.1 each attempt
// over another dead one.
type pool struct {
	start        time.Time
	newTransport func() http.RoundTripper // nil for a transport of the caller, which is never replaced
	current      atomic.Pointer[generation]

	mu      sync.Mutex
	retired []*generation // replaced; their last requests may still be under way
}

// A generation is one transport of a pool.
type generation struct {
	http.RoundTripper
	lastResponse atomic.Int64 // when one last came, as a time.Duration since the start of the pool; 0 for none
	lastClosed   atomic.Int64 // when its idle connections were last closed, likewise
	retiredAt    time.Duration
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
	g, began := p.current.Load(), time.Since(p.start)
	resp, err := g.RoundTrip(req)
	switch {
	case err != nil:
		p.failed(req.Context(), g, began)
	case resp != nil:
		g.lastResponse.Store(int64(max(1, time.Since(p.start))))
		if resp.Body != nil {
			resp.Body = &pooledBody{resp.Body, p, g, req.Context(), began}
		}
	}
	return resp, err
}

// failed retires connections of g if the request that began at the given time ran into its deadline. If g never received
// a response, the server is slow, and dialing it again and again would not help.
func (p *pool) failed(ctx context.Context, g *generation, began time.Duration) {
	now, last := time.Since(p.start), time.Duration(g.lastResponse.Load())
	if last == 0 || !errors.Is(contextErr(ctx), context.DeadlineExceeded) {
		return
	}
	if last <= (began+now)/2 { // a response in the second half of the time would prove an HTTP/2 connection alive
		p.replace(g, now)
	}
	g.closeIdleSince(began, last, now)
}

// replace makes later requests use a new transport, as an HTTP/2 connection with requests in flight cannot be closed as
// idle. Requests in flight on g go on.
func (p *pool) replace(g *generation, now time.Duration) {
	if p.newTransport == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.current.CompareAndSwap(g, &generation{RoundTripper: p.newTransport()}) {
		return // another request did it
	}
	g.retiredAt = now
	p.retired = append(slices.DeleteFunc(p.retired, func(old *generation) bool { return now-old.retiredAt > 2*maxIdle }), g)
}

// closeIdleSince closes the idle connections, which later requests over HTTP/1.1 would use, unless they are newer than the
// request that began at the given time, or no response has left one idle since they were closed.
func (g *generation) closeIdleSince(began, last, now time.Duration) {
	closed := g.lastClosed.Load()
	if time.Duration(closed) <= began && time.Duration(closed) <= last && g.lastClosed.CompareAndSwap(closed, int64(now)) {
		g.closeIdleConnections()
	}
}

// closeIdleConnections closes those of the current and of all retired transports.
func (p *pool) closeIdleConnections() {
	p.current.Load().closeIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.retired {
		g.closeIdleConnections()
	}
}

// closeIdleConnections does what [http.Client.CloseIdleConnections] does.
func (g *generation) closeIdleConnections() {
	if closer, ok := g.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// A pooledBody is the body of a response. Its connection may die while it is read.
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
		b.pool.failed(b.ctx, b.from, b.began)
	}
	return n, err
}

// Close also closes the connection if its transport is retired, as no later request would use it.
func (b *pooledBody) Close() error {
	err := b.ReadCloser.Close()
	if b.pool.current.Load() != b.from {
		b.from.closeIdleConnections()
	}
	return err
}
