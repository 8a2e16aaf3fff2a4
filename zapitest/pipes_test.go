package zapitest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// TestTime measures calls by the clock of a bubble.
func TestTime(t *testing.T) {
	t.Parallel()
	anHour := http.Header{"Retry-After": {"3600"}}
	patient := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MaxWait: time.Hour})
	once := zapi.WithRetry(zapi.RetryPolicy{})
	tests := []struct {
		name     string
		answers  []zapitest.Answer
		opts     []zapi.Option
		want     error // nil for a success
		took     time.Duration
		statuses []int
	}{
		{"no failure", nil, nil, nil, 0, []int{200}},
		{"Retry-After of an hour", []zapitest.Answer{{StatusCode: 429, Header: anHour}}, []zapi.Option{patient},
			nil, time.Hour, []int{429, 200}},
		{"Retry-After of an hour, twice", []zapitest.Answer{{StatusCode: 503, Header: anHour}, {StatusCode: 429, Header: anHour}},
			[]zapi.Option{patient}, nil, 2 * time.Hour, []int{503, 429, 200}},
		{"Retry-After of an hour, impatient client", []zapitest.Answer{{StatusCode: 429, Header: anHour}}, nil,
			zapi.ErrRateLimited, 0, []int{429}},
		{"Retry-After as a date", []zapitest.Answer{{StatusCode: 503, Header: http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:10:00 GMT"}}}},
			[]zapi.Option{patient}, nil, 10 * time.Minute, []int{503, 200}}, // a bubble begins on 1 January 2000
		{"delay", []zapitest.Answer{{Delay: 29 * time.Second, Body: succeeded}}, []zapi.Option{once}, nil, 29 * time.Second, []int{200}},
		{"delay above the default timeout", []zapitest.Answer{{Delay: time.Hour}}, []zapi.Option{once}, errTimeout, 30 * time.Second, []int{200}},
		{"delay above a long timeout", []zapitest.Answer{{Delay: 25 * time.Hour}}, []zapi.Option{once, zapi.WithTimeout(24 * time.Hour)},
			errTimeout, 24 * time.Hour, []int{200}},
		{"delay before a drop", []zapitest.Answer{{Delay: time.Minute, Drop: true}}, []zapi.Option{once, zapi.WithTimeout(time.Hour)},
			io.EOF, time.Minute, []int{0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := start(t)
				c, err := server.Client(tt.opts...)
				require.NoError(t, err)
				for _, answer := range tt.answers {
					server.FailNext(1, answer)
				}
				began := time.Now()
				err = c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone)
				assert.Equal(t, tt.took, time.Since(began))
				if errors.Is(tt.want, errTimeout) {
					var transportErr *zapi.TransportError
					require.ErrorAs(t, err, &transportErr)
					assert.True(t, transportErr.Timeout())
				} else {
					require.ErrorIs(t, err, tt.want)
				}
				assert.Equal(t, tt.statuses, statuses(server))
			})
		})
	}
}

var errTimeout = errors.New("the timeout of the client")

func TestDrop(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		server := start(t)
		c := client(t, server)
		for range 3 { // on a new connection, and on one that was used before
			server.FailNext(1, zapitest.Answer{Drop: true})
			require.ErrorIs(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone), io.EOF)
			require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone))
		}
	})
}

func TestClientGivesUp(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		server := start(t)
		c := client(t, server)
		ctx, giveUp := context.WithCancel(t.Context())
		server.FailWhen(func(zapitest.Request) bool { giveUp(); return true }, zapitest.Answer{Delay: time.Hour})
		require.ErrorIs(t, c.SetPhotoVisibility(ctx, zapi.VisibilityNone), context.Canceled)
		server.Close()
		assert.Len(t, server.Requests(), 1)
	})
}

func TestCloseEndsDelays(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		server := start(t)
		c := client(t, server, zapi.WithTimeout(0))
		arrived := make(chan struct{})
		server.FailWhen(func(zapitest.Request) bool { close(arrived); return true }, zapitest.Answer{Delay: time.Hour})
		result := make(chan error, 1)
		began := time.Now()
		go func() { result <- c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone) }()
		<-arrived
		server.Close()
		require.ErrorIs(t, <-result, zapi.ErrUnexpectedResponse, "an answer without a body")
		assert.Less(t, time.Since(began), time.Hour)
	})
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		server := start(t)
		c := client(t, server)
		var phones []string
		var changes []zapi.BlacklistChange
		for i := range 10_000 {
			phones = append(phones, fmt.Sprintf("5544310%05d", i))
			changes = append(changes, zapi.Disallow(phones[i]))
		}
		require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, changes...))
		listed, err := c.DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
		require.NoError(t, err)
		assert.True(t, slices.Equal(phones, listed))
	})
}

func TestManyRequestsInParallel(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		const callers = 150 // more than connections stay idle
		server := start(t)
		c, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 5, MinWait: time.Millisecond}))
		require.NoError(t, err)
		server.FailNext(callers/3, zapitest.Answer{StatusCode: 503})
		server.FailNext(callers/3, zapitest.Answer{Drop: true})
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				phone := fmt.Sprintf("5544310%05d", i)
				for range 3 {
					for c.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(phone)) != nil {
						continue // one caller may get many of the failures
					}
				}
			})
		}
		wg.Wait()
		assert.Len(t, server.Settings(c.InstanceID()).Photo.Blacklist, callers)
		assert.Len(t, server.Requests(), 3*callers+2*(callers/3))
	})
}

// connection returns a context and what it tells of the connection of the last request with it.
func connection(t *testing.T) (context.Context, func() (network string, reused bool)) {
	t.Helper()
	var last httptrace.GotConnInfo
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { last = info }})
	return ctx, func() (string, bool) { return last.Conn.RemoteAddr().Network(), last.Reused }
}

func TestClientsShareTheirConnections(t *testing.T) {
	t.Parallel()
	zapitest.Everywhere(t, func(t *testing.T) {
		server := start(t)
		first := client(t, server)
		other, err := first.ForInstance(server.AddInstance())
		require.NoError(t, err)
		second := client(t, server)
		ctx, last := connection(t)
		call := func(c *zapi.Client) (reused bool) {
			require.NoError(t, c.SetPhotoVisibility(ctx, zapi.VisibilityNone))
			network, reused := last()
			assert.Equal(t, "pipe", network)
			return reused
		}
		assert.False(t, call(first))
		assert.True(t, call(first))
		assert.True(t, call(other))
		assert.True(t, call(second))
		other.CloseIdleConnections()
		assert.False(t, call(first))
		assert.True(t, call(other))
	})
}

func TestOtherWaysToTheServer(t *testing.T) {
	t.Parallel()
	server := start(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	defer front.Close()
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	tests := []struct {
		name    string
		opts    []zapi.Option
		network string
		status  int
	}{
		{"memory", nil, "pipe", 200},
		{"base URL of the server", []zapi.Option{zapi.WithBaseURL(server.URL())}, "tcp", 200},
		{"base URL of another server", []zapi.Option{zapi.WithBaseURL(front.URL)}, "tcp", 418},
		{"own transport", []zapi.Option{zapi.WithTransport(own), zapi.WithBaseURL(server.URL())}, "tcp", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { // one after another, as the requests are counted
			c := client(t, server, tt.opts...)
			defer c.CloseIdleConnections()
			before := len(server.Requests())
			ctx, last := connection(t)
			err := c.SetPhotoVisibility(ctx, zapi.VisibilityNone)
			network, _ := last()
			assert.Equal(t, tt.network, network)
			if tt.status == 200 {
				require.NoError(t, err)
				assert.Len(t, server.Requests(), before+1)
				return
			}
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.Equal(t, tt.status, apiErr.StatusCode)
			assert.Len(t, server.Requests(), before)
		})
	}
}

// TestCloseClosesAllConnections has a client connect to another server, too.
func TestCloseClosesAllConnections(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	front := httptest.NewUnstartedServer(http.NotFoundHandler())
	closed := make(chan struct{})
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	front.Start()
	defer front.Close()
	c := client(t, server, zapi.WithBaseURL(front.URL))
	require.ErrorIs(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone), zapi.ErrUnexpectedResponse)
	server.Close()
	<-closed
}

func TestURL(t *testing.T) {
	t.Parallel()
	get := func(url string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	tests := []struct {
		name        string
		beforeClose bool
	}{
		{"open", true},
		{"asked for only after Close", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := zapitest.NewServer()
			if tt.beforeClose {
				require.NoError(t, get(server.URL()))
			}
			server.Close()
			assert.Error(t, get(server.URL()), "nobody listens")
		})
	}
}

func TestURLInParallel(t *testing.T) {
	t.Parallel()
	server := start(t)
	urls := make(chan string)
	for range 8 {
		go func() { urls <- server.URL() }()
	}
	want := server.URL()
	for range 8 {
		assert.Equal(t, want, <-urls)
	}
}
