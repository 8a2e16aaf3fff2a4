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

// No goroutine outlives the tests; that includes those of ten thousand calls that were cut off.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Thousands of calls that their deadlines cut off, before, amid and behind the response, leave nothing behind.
func TestShortDeadlinesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	const callers, callsEach = 50, 200
	var inUse, requests atomic.Int32
	var calm atomic.Bool
	states := sync.Map{} // connection to its state
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
		if before, _ := states.Swap(conn, state); before == http.StateActive {
			inUse.Add(-1)
		}
		if state == http.StateActive {
			inUse.Add(1)
		}
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
	assert.Eventually(t, func() bool { return inUse.Load() == 0 }, 10*time.Second, 10*time.Millisecond, "connections in use")

	calm.Store(true)
	assert.NoError(t, setOnline(t.Context(), client), "and the client still works")
}
