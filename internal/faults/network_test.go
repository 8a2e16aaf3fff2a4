package faults

import (
	"context"
	"encoding/json"
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
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/zapitest"
)

// How long a fault lasts at most, in milliseconds.
const (
	short = 800
	long  = 2500 // so that calls have to end without the help of the network
)

const (
	down      = "down"       // connections are refused
	idleClose = "idle close" // the server closes connections that are not in use
)

// faultKinds are the toxics of Toxiproxy with the ranges of their attributes, and two faults that are no toxics.
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

type faultKind struct {
	name       string
	longest    int
	attributes []attribute
}

type attribute struct {
	name      string
	low, high int
}

// A fault is one occurrence of a kind.
type fault struct {
	kind  string
	toxic string // JSON for Toxiproxy; empty for none
	lasts time.Duration
	pause time.Duration // after the fault
}

// schedule yields faults without end, each kind once per round.
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
	f := fault{kind: k.name, lasts: milliseconds(random, 100, k.longest), pause: milliseconds(random, 0, 150)}
	if k.attributes == nil {
		return f
	}
	attributes := make(map[string]int, len(k.attributes))
	for _, a := range k.attributes {
		attributes[a.name] = a.low + random.IntN(a.high-a.low+1)
	}
	toxic, _ := json.Marshal(map[string]any{ // strings and numbers cannot fail
		"type":       k.name,
		"stream":     []string{"upstream", "downstream"}[random.IntN(2)],
		"toxicity":   0.5 + 0.5*random.Float64(), // the share of connections that it affects
		"attributes": attributes,
	})
	f.toxic = string(toxic)
	return f
}

func milliseconds(random *rand.Rand, low, high int) time.Duration {
	return time.Duration(low+random.IntN(high-low+1)) * time.Millisecond
}

func TestScheduleFollowsSeed(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) (round []fault) {
		for f := range schedule(rand.New(rand.NewPCG(seed, 0))) {
			if round = append(round, f); len(round) == len(faultKinds) {
				break
			}
		}
		return round
	}
	first := draw(1)
	assert.Equal(t, first, draw(1))
	assert.NotEqual(t, first, draw(2))
}

// A network leads from the client to the fake server:
//
//	client → Toxiproxy → reverse proxy → zapitest.Server
//
// The reverse proxy closes idle connections and knows when no request is in progress any more.
type network struct {
	api       *zapitest.Server
	front     *httptest.Server
	accepted  atomic.Int64 // open connections of front
	toxiproxy *toxiproxy.ApiServer
	proxy     *toxiproxy.Proxy // the current one
	address   string
}

func newNetwork(t *testing.T) *network {
	n := &network{
		api:       zapitest.NewServer(),
		toxiproxy: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), // never listens
		address:   "127.0.0.1:0",
	}
	t.Cleanup(n.api.Close)
	target, err := url.Parse(n.api.URL())
	require.NoError(t, err)
	upstream := http.DefaultTransport.(*http.Transport).Clone()
	upstream.MaxIdleConns, upstream.MaxIdleConnsPerHost = 0, 512
	t.Cleanup(upstream.CloseIdleConnections)
	n.front = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: upstream,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out = r.Out.WithContext(context.WithoutCancel(r.Out.Context())) // a complete request is applied before its connection ends
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // instead of a 502
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
	t.Cleanup(n.front.Close)
	n.open(t, "")
	n.address = n.proxy.Listen
	t.Cleanup(func() { n.proxy.Stop() })
	return n
}

// open starts a proxy with the toxic, if any. It is always a new one, because Toxiproxy can block forever when a toxic
// is removed while connections end.
func (n *network) open(t *testing.T, toxic string) {
	n.proxy = toxiproxy.NewProxy(n.toxiproxy, "faults", n.address, n.front.Listener.Addr().String())
	if toxic != "" {
		_, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
		require.NoError(t, err, toxic)
	}
	require.Eventually(t, func() bool { return n.proxy.Start() == nil }, patience, 5*time.Millisecond,
		"the port stays in use") // an outgoing connection may use it for a moment
}

// fail breaks the network in one way for a while.
func (n *network) fail(ctx context.Context, t *testing.T, f fault) {
	if f.kind == idleClose {
		for end := time.Now().Add(f.lasts); time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, 5*time.Millisecond) {
			n.front.Config.SetKeepAlivesEnabled(false)
			n.front.Config.SetKeepAlivesEnabled(true)
		}
		return
	}
	n.proxy.Stop() // which closes all its connections
	if f.toxic != "" {
		n.open(t, f.toxic)
	}
	sleep(ctx, f.lasts)
	n.proxy.Stop()
	n.open(t, "")
}

// drain closes all connections and returns once every request in progress has been applied or lost.
func (n *network) drain(t *testing.T) {
	n.proxy.Stop()
	require.Eventually(t, func() bool { return n.accepted.Load() == 0 }, patience, 5*time.Millisecond, "connections do not end")
	n.open(t, "")
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
