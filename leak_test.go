package zapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
)

// No goroutine outlives the tests; that includes those of thousands of calls that were cut off.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Thousands of calls that their deadlines cut off, before, amid and behind the response, leave nothing behind.
func TestShortDeadlinesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	const callers, callsEach = 50, 60
	var requests atomic.Int32
	var calm atomic.Bool
	var mu sync.Mutex
	idle := sync.NewCond(&mu)
	inUse := map[net.Conn]bool{} // connections with a request
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1)%3 == 0 && !calm.Load() {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"success":`)
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, `true}`)
	}))
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		delete(inUse, conn)
		if state == http.StateActive {
			inUse[conn] = true
		}
		idle.Broadcast()
	}
	server.Start()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Microsecond, MaxWait: time.Millisecond}))
	require.NoError(t, err)

	var failed atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range callsEach {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*j%97)*50*time.Microsecond)
				if err := setOnline(ctx, client); err != nil {
					failed.Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	assert.NotZero(t, failed.Load())
	mu.Lock()
	for len(inUse) > 0 { // for ever, if a connection stays in use
		idle.Wait()
	}
	mu.Unlock()

	calm.Store(true)
	assert.NoError(t, setOnline(t.Context(), client), "and the client still works")
}
