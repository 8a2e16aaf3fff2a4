package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/zapi-go/zapi/zapitest"
)

const (
	down      = "down"           // connections are refused
	idleClose = "idle close"     // the server hangs up on connections that are not in use
	patience  = 10 * time.Second // for what must come without faults
)

// faultKinds are the toxics of Toxiproxy with the ranges of their attributes, and what no toxic does.
var faultKinds = []faultKind{
	{"latency", short, []attribute{{"latency", 20, 250}, {"jitter", 5, 100}}},     // ms
	{"bandwidth", short, []attribute{{"rate", 1, 20}}},                            // KB/s
	{"slow_close", short, []attribute{{"delay", 20, 400}}},                        // ms
	{"reset_peer", short, []attribute{{"timeout", 0, 30}}},                        // ms after the first byte
	{"timeout", long, []attribute{{"timeout", 0, 2000}}},                          // ms in which all data is lost; 0 is for ever
	{"limit_data", short, []attribute{{"bytes", 1, 4000}}},                        // of one connection
	{"slicer", short, []attribute{{"average_size", 16, 256}, {"delay", 1, 3000}}}, // bytes, µs
	{down, short, nil},
	{idleClose, short, nil},
}

// How long a fault lasts at most, in milliseconds.
const (
	short = 800
	long  = 2500 // so that calls have to end without the help of the network
)

type faultKind struct {
	name       string
	longest    int
	attributes []attribute
}

type attribute struct {
	name      string
	low, high int
}

// fault is one turn of a kind.
type fault struct {
	kind   string
	toxic  string // as Toxiproxy reads it; empty for none
	lasts  time.Duration
	repose time.Duration // after it
}

// schedule gives faults without end, each kind once per round.
func schedule(random *rand.Rand) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		for {
			for _, i := range random.Perm(len(faultKinds)) {
				if !yield(faultKinds[i].draw(random)) {
					return
				}
			}
		}
	}
}

func (k faultKind) draw(random *rand.Rand) fault {
	f := fault{kind: k.name, lasts: milliseconds(random, 100, k.longest), repose: milliseconds(random, 0, 150)}
	if k.attributes == nil {
		return f
	}
	attributes := make(map[string]int, len(k.attributes))
	for _, a := range k.attributes {
		attributes[a.name] = a.low + random.IntN(a.high-a.low+1)
	}
	toxic, _ := json.Marshal(map[string]any{ // texts and numbers cannot fail
		"type":       k.name,
		"stream":     []string{"upstream", "downstream"}[random.IntN(2)],
		"toxicity":   0.5 + 0.5*random.Float64(), // the share of connections it hits
		"attributes": attributes,
	})
	f.toxic = string(toxic)
	return f
}

func milliseconds(random *rand.Rand, low, high int) time.Duration {
	return time.Duration(low+random.IntN(high-low+1)) * time.Millisecond
}

// network leads from the client to the fake server:
//
//	client → Toxiproxy → reverse proxy → zapitest.Server
//
// The reverse proxy is there to hang up on idle connections and to see when nothing is under way any more.
type network struct {
	api      *zapitest.Server
	front    *httptest.Server
	upstream *http.Transport // of the reverse proxy
	accepted atomic.Int64    // connections that the reverse proxy has

	toxiproxy *toxiproxy.ApiServer // never listens
	proxy     *toxiproxy.Proxy     // the current one
	address   string
}

func newNetwork() (*network, error) {
	n := &network{
		api:       zapitest.NewServer(),
		upstream:  pooled(),
		toxiproxy: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		address:   "127.0.0.1:0",
	}
	target, err := url.Parse(n.api.URL())
	if err != nil {
		return nil, err
	}
	n.front = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: n.upstream,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out = r.Out.WithContext(context.WithoutCancel(r.Out.Context())) // what arrived whole is applied before its connection ends
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // no invented 502
		ErrorLog:     log.New(io.Discard, "", 0),
	})
	n.front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.accepted.Add(1)
		case http.StateClosed:
			n.accepted.Add(-1)
		}
	}
	n.front.Start()
	if err := n.open(""); err != nil {
		n.close()
		return nil, err
	}
	n.address = n.proxy.Listen
	return n, nil
}

// pooled keeps as many idle connections as zapi's own transport.
func pooled() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 512
	return transport
}

// open starts a proxy with the toxic, if any. It is always a new one: Toxiproxy blocks for good when a toxic is taken
// away while connections end.
func (n *network) open(toxic string) error {
	n.proxy = toxiproxy.NewProxy(n.toxiproxy, "faults", n.address, n.front.Listener.Addr().String())
	if toxic != "" {
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("toxic %s: %w", toxic, err)
		}
	}
	var err error
	waitFor(func() bool { // an outgoing connection may hold the port for a moment
		err = n.proxy.Start()
		return err == nil
	})
	return err
}

// run lets the network fail until ctx ends, and then heals it. It counts the faults by kind.
func (n *network) run(ctx context.Context, faults iter.Seq[fault]) (map[string]int, error) {
	counts := make(map[string]int)
	for f := range faults {
		if ctx.Err() != nil {
			break
		}
		if err := n.fail(ctx, f); err != nil {
			return counts, err
		}
		counts[f.kind]++
		sleep(ctx, f.repose)
	}
	return counts, nil
}

// fail lets the network fail in one way for a while.
func (n *network) fail(ctx context.Context, f fault) error {
	if f.kind == idleClose {
		for end := time.Now().Add(f.lasts); time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, 5*time.Millisecond) {
			n.front.Config.SetKeepAlivesEnabled(false)
			n.front.Config.SetKeepAlivesEnabled(true)
		}
		return nil
	}
	n.proxy.Stop() // which cuts all its connections
	if f.toxic != "" {
		if err := n.open(f.toxic); err != nil {
			return err
		}
	}
	sleep(ctx, f.lasts)
	n.proxy.Stop()
	return n.open("")
}

// drain cuts all connections, and returns once what was under way has been applied or lost.
func (n *network) drain() error {
	n.proxy.Stop()
	if !waitFor(func() bool { return n.accepted.Load() == 0 }) {
		return fmt.Errorf("%d connections do not end", n.accepted.Load())
	}
	return n.open("")
}

func (n *network) close() {
	n.proxy.Stop()
	n.front.Close()
	n.upstream.CloseIdleConnections()
	n.api.Close()
}

// dialer counts the connections that are open.
type dialer struct {
	net.Dialer
	open atomic.Int64
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { d.open.Add(-1) })}, nil
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// waitFor reports whether the condition came true in time.
func waitFor(condition func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return condition()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
