package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Breaker makes calls to a fake server"},
		{Name: "nothing", Want: "The API is up again"},
		{Name: "superfluous argument", Args: []string{"open"}, Code: 2, Want: "breaker takes no arguments; see -h"},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out))
	const unavailable = "requests sent: 2, zapi: privacy/online: 503 Service Unavailable (2 attempts)\n"
	assert.Equal(t, "The API is down:\n"+strings.Repeat(unavailable, 3)+
		strings.Repeat("requests sent: 0, refused by the breaker\n", 2)+
		"\nThe API is up again, after a pause of 200ms:\n"+
		strings.Repeat("requests sent: 1, ok\n", 2), out.String())
}

func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard), context.Canceled)
}

// api is a transport that responds with its status, or not at all.
type api struct {
	status int // 0 for a lost connection
	body   string
	sent   int
}

func (a *api) RoundTrip(req *http.Request) (*http.Response, error) {
	a.sent++
	if a.status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(strings.NewReader(a.body)), Request: req}, nil
}

func TestWhatOpensTheBreaker(t *testing.T) {
	t.Parallel()
	expired := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 0)
	}
	canceled := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	tests := []struct {
		name  string
		api   api
		ctx   func(context.Context) (context.Context, context.CancelFunc)
		phone string
		want  error // of each of the first calls
		opens bool
	}{
		{"unavailable", api{status: http.StatusServiceUnavailable}, nil, "", zapi.ErrUnavailable, true},
		{"lost connection", api{}, nil, "", io.ErrUnexpectedEOF, true},
		{"success", api{status: http.StatusOK, body: `{"success": true}`}, nil, "", nil, false},
		{"rejected", api{status: http.StatusOK, body: `{"success": false}`}, nil, "", zapi.ErrRejected, false},
		{"unauthorized", api{status: http.StatusForbidden}, nil, "", zapi.ErrUnauthorized, false},
		{"not found", api{status: http.StatusNotFound}, nil, "", zapi.ErrNotFound, false},
		{"rate limited", api{status: http.StatusTooManyRequests}, nil, "", zapi.ErrRateLimited, false},
		{"invalid argument", api{}, nil, "911", zapi.ErrInvalidArgument, false},
		{"canceled by the caller", api{}, canceled, "", context.Canceled, false},
		{"deadline over before anything was sent", api{}, expired, "", context.DeadlineExceeded, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, &tt.api, withBreaker(3, time.Minute))
			ctx := t.Context()
			if tt.ctx != nil {
				var cancel context.CancelFunc
				ctx, cancel = tt.ctx(ctx)
				defer cancel()
			}
			call := func() error {
				if tt.phone == "" {
					return client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist)
				}
				return client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(tt.phone))
			}
			for range 3 {
				require.ErrorIs(t, call(), tt.want)
			}
			sent := tt.api.sent
			if err := call(); tt.opens {
				assert.ErrorIs(t, err, gobreaker.ErrOpenState)
				assert.Equal(t, sent, tt.api.sent, "nothing is sent")
			} else {
				assert.ErrorIs(t, err, tt.want)
			}
		})
	}
}

func TestSilentAPI(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		end   func(context.Context) (context.Context, context.CancelFunc) // of the wait for a response
		want  error
		opens bool
	}{
		{"the deadline passes", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, context.DeadlineExceeded, true},
		{"the caller cancels", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, context.Canceled, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				silent := roundTripper(func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done()
					return nil, req.Context().Err()
				})
				client := newClient(t, silent, withBreaker(3, time.Minute))
				call := func() error {
					ctx, cancel := tt.end(t.Context())
					defer cancel()
					return client.SetOnlineVisibility(ctx, zapi.OnlineAll)
				}
				for range 3 {
					require.ErrorIs(t, call(), tt.want)
				}
				if tt.opens {
					require.ErrorIs(t, call(), gobreaker.ErrOpenState)
				} else {
					require.ErrorIs(t, call(), tt.want)
				}
			})
		})
	}
}

func TestTheBreakerClosesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &api{status: http.StatusBadGateway}
		client := newClient(t, host, withBreaker(3, time.Minute))
		call := func(ctx context.Context) error { return client.SetOnlineVisibility(ctx, zapi.OnlineAll) }
		for range 3 {
			require.ErrorIs(t, call(t.Context()), zapi.ErrUnavailable)
		}
		time.Sleep(time.Minute) // of the bubble
		require.ErrorIs(t, call(t.Context()), gobreaker.ErrOpenState)

		time.Sleep(time.Second)
		require.ErrorIs(t, call(t.Context()), zapi.ErrUnavailable, "one call tries")
		require.ErrorIs(t, call(t.Context()), gobreaker.ErrOpenState, "it failed")

		time.Sleep(time.Minute + time.Second)
		host.status = http.StatusForbidden
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, call(canceled), context.Canceled, "which tells nothing")
		require.ErrorIs(t, call(t.Context()), zapi.ErrUnauthorized, "one call tries, and the API responds")
		host.status = http.StatusBadGateway
		require.ErrorIs(t, call(t.Context()), zapi.ErrUnavailable, "the breaker is closed and counts anew")
		require.ErrorIs(t, call(t.Context()), zapi.ErrUnavailable)
	})
}

func TestTheErrorOfAnOpenBreaker(t *testing.T) {
	t.Parallel()
	client := newClient(t, &api{}, withBreaker(1, time.Minute))
	require.Error(t, client.SetOnlineVisibility(t.Context(), zapi.OnlineAll))
	var transport *zapi.TransportError
	require.ErrorAs(t, client.SetOnlineVisibility(t.Context(), zapi.OnlineAll), &transport)
	assert.Zero(t, transport.Attempts)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func newClient(t *testing.T, transport http.RoundTripper, breaker zapi.Interceptor) *zapi.Client {
	t.Helper()
	client, err := zapi.NewClient(zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"},
		zapi.WithTransport(transport), zapi.WithInterceptor(breaker), zapi.WithRetry(zapi.RetryPolicy{}))
	require.NoError(t, err)
	return client
}
