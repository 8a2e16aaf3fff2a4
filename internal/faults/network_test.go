package faults

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/zapitest"
)

// faults are the ways in which a network fails.
var faults = []string{
	"latency", // before each read and each write
	"cut off", // connections end after some bytes
	"lost",    // connections take all data and lead nowhere
	"refused", // nobody listens
	"reset",   // the server resets connections at their first byte
	"idle",    // the server closes connections that are not in use
}

// A line dials the connections of a client. It can forget them: what is sent on them is lost then, without a reset and
// without an end.
type line struct {
	ctx       context.Context // of the test
	fault     atomic.Value    // of connections that are dialed now: one of faults, or empty
	dialed    atomic.Int64    // number of the newest connection
	forgotten atomic.Int64    // number of the newest connection that is forgotten
}

func (l *line) forget() { l.forgotten.Store(l.dialed.Load()) }

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	fault, _ := l.fault.Load().(string)
	if fault == "refused" {
		address = "127.0.0.1:1"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, line: l, fault: fault, number: l.dialed.Add(1)}
	c.open, c.closed = context.WithCancel(l.ctx)
	return c, nil
}

type connection struct {
	net.Conn

	line   *line
	fault  string
	number int64
	read   int             // bytes
	open   context.Context // until the client closes it
	closed func()
}

func (c *connection) isLost() bool {
	return c.fault == "lost" || c.number <= c.line.forgotten.Load()
}

func (c *connection) delay() {
	if c.fault == "latency" {
		sleep(c.open, 60*time.Millisecond)
	}
}

func (c *connection) Write(data []byte) (int, error) {
	c.delay()
	if c.isLost() {
		return len(data), nil
	}
	return c.Conn.Write(data)
}

func (c *connection) Read(data []byte) (int, error) {
	c.delay()
	if c.fault == "cut off" {
		if data = data[:min(len(data), 300-c.read)]; len(data) == 0 {
			return 0, io.EOF
		}
	}
	n, err := c.Conn.Read(data)
	c.read += n
	if c.isLost() {
		<-c.open.Done()
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *connection) Close() error {
	c.closed()
	return c.Conn.Close()
}

// A network leads from the client to the fake server:
//
//	client → line → reverse proxy → zapitest.Server
//
// The reverse proxy closes connections and knows when no request is in progress any more.
type network struct {
	line

	api   *zapitest.Server
	front *httptest.Server
	open  atomic.Int64 // connections of front
}

func newNetwork(t *testing.T) *network {
	n := &network{line: line{ctx: t.Context()}, api: zapitest.NewServer()}
	t.Cleanup(n.api.Close)
	target, err := url.Parse(n.api.URL())
	require.NoError(t, err)
	upstream := newDefault()
	upstream.MaxIdleConnsPerHost = 64
	t.Cleanup(upstream.CloseIdleConnections)
	n.front = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: upstream,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out = r.Out.WithContext(context.WithoutCancel(r.Out.Context())) // a complete request is applied before its connection ends
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // instead of a 502
		ErrorLog:     discard,
	})
	n.front.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		switch {
		case state == http.StateNew:
			n.open.Add(1)
		case state == http.StateClosed:
			n.open.Add(-1)
		case state == http.StateActive && n.fault.Load() == "reset":
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}
	n.front.Start()
	t.Cleanup(n.front.Close)
	return n
}

// fail breaks the network in one way for a while, and lets it work for a while.
func (n *network) fail(ctx context.Context, fault string, random *rand.Rand) {
	broken, cancel := context.WithTimeout(ctx, time.Duration(100+random.IntN(700))*time.Millisecond)
	defer cancel()
	n.front.CloseClientConnections()
	n.fault.Store(fault)
	for ; broken.Err() == nil; sleep(broken, 5*time.Millisecond) {
		if fault == "idle" {
			n.front.Config.SetKeepAlivesEnabled(false)
			n.front.Config.SetKeepAlivesEnabled(true)
		}
	}
	n.fault.Store("")
	n.front.CloseClientConnections()
	sleep(ctx, time.Duration(random.IntN(150))*time.Millisecond)
}

// drain closes all connections and returns once every request in progress has been applied or lost.
func (n *network) drain(ctx context.Context) {
	for ; n.open.Load() > 0; sleep(ctx, time.Millisecond) {
		n.front.CloseClientConnections()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
