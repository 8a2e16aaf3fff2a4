package faults

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// protocols are negotiated over TLS, as with the real API.
var protocols = []protocol{{"HTTP/1.1", 1, false}, {"HTTP/2", 2, false}, {"HTTP/2 of golang.org/x/net", 2, true}}

type protocol struct {
	name  string
	major int
	xNet  bool
}

// newLine starts a server, and returns a client of it whose connections are those of a line.
func newLine(t *testing.T, protocol protocol, timeout time.Duration, respond func(*http.Request)) (*line, *zapi.Client) {
	l, template, watcher := &line{ctx: t.Context()}, newDefault(), &watcher{t: t, secrets: []string{"TSECRET", "FSECRET"}}
	template.DialContext = l.dial
	if protocol.xNet {
		useXNet(template)
	}
	url := startServer(t, protocol.major, respond)
	return l, newClient(t, template, url, zapi.WithTimeout(timeout), zapi.WithMiddleware(watcher.middleware))
}

// makeCalls makes n calls, one after the other, in each of some goroutines.
func makeCalls(t *testing.T, client *zapi.Client, n, goroutines int) (attempts, failed int) {
	var made requests
	ctx := context.WithValue(t.Context(), requestsKey{}, &made)
	var failures atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range n {
				if err := client.SetOnlineVisibility(ctx, zapi.OnlineAll); err != nil {
					failures.Add(1)
					t.Log(err)
				}
			}
		})
	}
	wg.Wait()
	return int(made.changes.Load()), int(failures.Load())
}

// TestDeadConnections lets connections die silently, as behind a NAT or a load balancer that forgets them. No call may fail.
func TestDeadConnections(t *testing.T) {
	const idle = 64 // calls that were in progress together before
	for _, protocol := range protocols {
		for name, calls := range map[string]struct{ n, atOnce int }{"one at a time": {10, 1}, "64 at once": {1, 64}} {
			var waiting atomic.Int64
			var open sync.Once
			together := make(chan struct{})
			line, client := newLine(t, protocol, 2*time.Second, func(r *http.Request) {
				if waiting.Add(1) == idle {
					open.Do(func() { close(together) })
				}
				select {
				case <-together:
				case <-r.Context().Done():
					waiting.Add(-1)
				}
			})
			t.Run(protocol.name+", "+name, func(t *testing.T) {
				_, failed := makeCalls(t, client, 1, idle)
				require.Zero(t, failed)
				for range 2 {
					line.forget()
					attempts, failed := makeCalls(t, client, calls.n, calls.atOnce)
					assert.Zero(t, failed)
					assert.Greater(t, attempts, calls.n*calls.atOnce, "attempts, of which some met a dead connection")
				}
			})
		}
	}
}

// TestSlowServer checks that a server that always responds too late is not dialed again for every attempt. HTTP/1.1 has no
// choice, because giving up a request closes its connection.
func TestSlowServer(t *testing.T) {
	const calls = 5
	for _, protocol := range protocols {
		for name, good := range map[string]int{"from the start": 0, "after a good start": 3} {
			var slow atomic.Bool
			line, client := newLine(t, protocol, 100*time.Millisecond, func(r *http.Request) {
				if slow.Load() {
					<-r.Context().Done()
				}
			})
			t.Run(protocol.name+", "+name, func(t *testing.T) {
				t.Parallel()
				_, failed := makeCalls(t, client, good, 1)
				require.Zero(t, failed)
				slow.Store(true)
				attempts, failed := makeCalls(t, client, calls, 1)
				assert.Equal(t, calls, failed)
				assert.Equal(t, calls*maxAttempts, attempts)
				limit := map[int]int64{1: calls*maxAttempts + 1, 2: 2} // one more when the first seems dead
				assert.LessOrEqual(t, line.dialed.Load(), limit[protocol.major], "connections")
			})
		}
	}
}

// TestOneSlowResponse checks that a response that is too late costs its own call one more attempt, and the calls beside it
// nothing.
func TestOneSlowResponse(t *testing.T) {
	for _, protocol := range protocols {
		var arrived atomic.Int64
		line, client := newLine(t, protocol, 2*time.Second, func(r *http.Request) {
			if arrived.Add(1) == 100 {
				<-r.Context().Done()
			}
		})
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			attempts, failed := makeCalls(t, client, 20, 16)
			assert.Zero(t, failed)
			assert.Equal(t, 20*16+1, attempts)
			assert.LessOrEqual(t, line.dialed.Load(), int64(2*16), "connections")
		})
	}
}

// TestLivingConnectionIsKept checks that HTTP/2 keeps a connection that is slow but alive, as the responses to its pings
// show, and one on which another call reaches its deadline.
func TestLivingConnectionIsKept(t *testing.T) {
	for _, protocol := range protocols[1:] {
		line, client := newLine(t, protocol, 3*time.Second, func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/photo") {
				<-r.Context().Done()
			}
			sleep(r.Context(), 1500*time.Millisecond) // pings are sent after 1 s
		})
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			_, failed := makeCalls(t, client, 1, 1)
			require.Zero(t, failed)
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), requestsKey{}, new(requests)), 500*time.Millisecond)
			defer cancel()
			var photo sync.WaitGroup
			photo.Go(func() {
				assert.ErrorIs(t, client.SetPhotoVisibility(ctx, zapi.VisibilityNone), context.DeadlineExceeded)
			})
			attempts, failed := makeCalls(t, client, 1, 8)
			photo.Wait()
			assert.Zero(t, failed)
			assert.Equal(t, 8, attempts)
			assert.EqualValues(t, 1, line.dialed.Load(), "connections")
		})
	}
}
