package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// The limit includes the three allocations of the transport.
func TestAllocations(t *testing.T) {
	skipUnderRace(t)
	const limit = 55
	header := http.Header{"Content-Type": {"application/json"}}
	network := transportFunc(func(req *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, req.Body)
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(`{"success":true}`)), Request: req}, nil
	})
	client, err := zapi.NewClient(creds, zapi.WithTransport(network))
	require.NoError(t, err)
	allocations := testing.AllocsPerRun(100, func() {
		_ = client.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"), zapi.Allow("554422222222"))
	})
	assert.NotZero(t, allocations)
	assert.LessOrEqual(t, allocations, float64(limit))
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	dripping := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
	for name, handler := range map[string]http.HandlerFunc{"no response": hang, "a body that drips": dripping} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("WithTimeout", func(t *testing.T) {
				t.Parallel()
				err := setOnline(t.Context(), serve(t, handler, zapi.WithTimeout(50*time.Millisecond)))
				require.EqualError(t, err, "zapi: privacy/online: no complete response within 50ms")
				isTransport(nil)(t, err)
				assert.True(t, isTimeout(err))
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "that is the caller's")
			})
			t.Run("deadline", func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				err := setOnline(ctx, serve(t, handler))
				isTransport(context.DeadlineExceeded)(t, err)
				assert.True(t, isTimeout(err))
			})
			t.Run("cancel", func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				err := setOnline(ctx, serve(t, handler, zapi.WithTimeout(0)))
				isTransport(context.Canceled)(t, err)
				assert.False(t, isTimeout(err))
			})
		})
	}
}

func TestDoneContextSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range calls {
		api := newMockAPI(succeeding)
		err := c.call(ctx, api.client(t))
		var transportErr *zapi.TransportError
		require.ErrorAs(t, err, &transportErr)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, transportErr.Attempts)
		assert.Empty(t, api.requests())
	}
}

// Timeouts of net and net/http match context.DeadlineExceeded, which here means that the caller's deadline has passed.
func TestTimeoutsOfTheTransport(t *testing.T) {
	t.Parallel()
	expired := &net.Dialer{Deadline: time.Unix(1, 0)}
	tests := []struct {
		name      string
		transport func(*http.Transport)
		isNet     bool // a *net.OpError is found
	}{
		{"dial", func(t *http.Transport) { t.DialContext = expired.DialContext }, true},
		{"header of the response", func(t *http.Transport) { t.ResponseHeaderTimeout = time.Second }, false},
		{"TLS handshake", func(t *http.Transport) {
			t.TLSHandshakeTimeout = time.Second
			t.DialContext = func(context.Context, string, string) (net.Conn, error) {
				conn, silent := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, silent) }()
				return conn, nil
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, template := servePipes(t, 1, hang)
				tt.transport(template)
				check := func(ctx context.Context, attempts int) error {
					err := setOnline(ctx, pipeClient(t, template))
					var transportErr *zapi.TransportError
					require.ErrorAs(t, err, &transportErr)
					assert.Equal(t, attempts, transportErr.Attempts)
					assert.True(t, transportErr.Timeout())
					assert.Equal(t, "timeout", zapi.Kind(err))
					_, again := zapi.Retryable(err)
					assert.True(t, again)
					return err
				}
				err := check(t.Context(), 3)
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "zapi: privacy/online: no response: ")
				assert.Equal(t, tt.isNet, errors.As(err, new(*net.OpError)))

				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.NotErrorIs(t, check(ctx, 3), context.DeadlineExceeded, "it has not passed")
			})
		})
	}
	t.Run("one that looks like the caller's", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			err := setOnline(t.Context(), (&script{steps: []step{failing(context.DeadlineExceeded)}}).client(t))
			require.EqualError(t, err, "zapi: privacy/online: no response: context deadline exceeded (3 attempts)")
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.True(t, isTimeout(err))
		})
	})
}

// The network may notice a deadline a moment before the context does.
func TestDeadlineThatTheNetworkSeesFirst(t *testing.T) {
	t.Parallel()
	ctx := lateContext{t.Context()}
	network := transportFunc(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
	})
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), zapi.WithTimeout(0), once)
	require.NoError(t, err)
	require.ErrorIs(t, setOnline(ctx, client), context.DeadlineExceeded)
}

// lateContext has passed its deadline and does not know it yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Nanosecond), true }

func TestNetworkErrorsKeepTheirType(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	isTransport(nil)(t, err)
	var opErr *net.OpError
	require.ErrorAs(t, err, &opErr)
	assert.Equal(t, "dial", opErr.Op)
	assert.Equal(t, "connection refused", zapi.Kind(err), "on every system")
}

// Every method goes through do: it is retried, sends the same each time, and its errors name the route.
func TestEveryMethodIsACall(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := &script{steps: []step{failing(io.EOF), cut, step(responding(200, documented(c.op)))}}
				require.NoError(t, c.call(t.Context(), network.client(t)))
				require.Len(t, network.bodies, 3)
				assert.Equal(t, network.bodies[0], network.bodies[1])
				assert.Equal(t, network.bodies[0], network.bodies[2])

				for _, failure := range []step{status(403), step(responding(200, `{"success":false}`)), failing(io.EOF)} {
					err := c.call(t.Context(), (&script{steps: []step{failure}}).client(t, once))
					require.ErrorContains(t, err, "zapi: "+c.op+": ")
					var apiErr *zapi.APIError
					var transportErr *zapi.TransportError
					if errors.As(err, &apiErr) {
						assert.Equal(t, c.op, apiErr.Op)
					} else if assert.ErrorAs(t, err, &transportErr) {
						assert.Equal(t, c.op, transportErr.Op)
					}
				}
			})
		})
	}
}

func TestTheCallerEndsTheCall(t *testing.T) {
	t.Parallel()
	const after = 10 * time.Millisecond
	backingOff := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Second, MaxWait: time.Second})
	waiting := zapi.WithRateLimiter(limiterFunc(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}))
	deaf := zapi.WithRateLimiter(limiterFunc(func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}))
	tests := []struct {
		name     string
		step     step
		opt      zapi.Option
		attempts int
	}{
		{"in flight", hanging, zapi.WithTimeout(0), 1},
		{"in the body", drip, zapi.WithTimeout(0), 1},
		{"in flight, before the timeout", hanging, zapi.WithTimeout(time.Minute), 1},
		{"in the limiter", status(200), waiting, 0},
		{"in a limiter that does not tell", status(200), deaf, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
				"cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
					ctx, cancel := context.WithCancel(ctx)
					time.AfterFunc(after, cancel)
					return ctx, cancel
				},
				"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
					return context.WithTimeout(ctx, after)
				},
			} {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := end(t.Context())
					defer cancel()
					start := time.Now()
					err := setOnline(ctx, (&script{steps: []step{tt.step}}).client(t, tt.opt))
					synctest.Wait()
					require.ErrorIs(t, err, ctx.Err(), name)
					assert.Equal(t, name == "deadline", isTimeout(err))
					assert.Equal(t, tt.attempts, attemptsOf(err))
					assert.Equal(t, after, time.Since(start))
				})
			}
		})
	}
	t.Run("in the backoff", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(after, cancel)
			start := time.Now()
			network := &script{steps: []step{status(503)}}
			err := setOnline(ctx, network.client(t, backingOff))
			isTransport(context.Canceled)(t, err)
			assert.Equal(t, after, time.Since(start))
			assert.Len(t, network.at, 1)
		})
	})
	t.Run("a deadline amid the attempts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			network := &script{steps: []step{status(503), hanging}}
			err := setOnline(ctx, network.client(t, backingOff))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 2, attemptsOf(err))
		})
	})
}

func TestTimeoutBoundsEachAttempt(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]step{"no response": hanging, "a body that drips": drip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fixed := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Second, MaxWait: time.Second})
				start := time.Now()
				err := setOnline(t.Context(), (&script{steps: []step{slow}}).client(t, fixed))
				require.EqualError(t, err, "zapi: privacy/online: no complete response within 30s (3 attempts)")
				assert.True(t, isTimeout(err))
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, 3*30*time.Second+2*time.Second, time.Since(start))
			})
		})
	}
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	t.Run("waits before each attempt, with the caller's context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			type key struct{}
			ctx := context.WithValue(t.Context(), key{}, "caller")
			var waited []any
			limiter := limiterFunc(func(ctx context.Context) error {
				waited = append(waited, ctx.Value(key{}))
				_, bounded := ctx.Deadline()
				assert.False(t, bounded, "the wait is no part of the attempt")
				return nil
			})
			network := &script{steps: []step{status(503), status(503), status(200)}}
			require.NoError(t, setOnline(ctx, network.client(t, zapi.WithRateLimiter(limiter))))
			assert.Equal(t, []any{"caller", "caller", "caller"}, waited)
		})
	})
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		full := errors.New("limiter is full")
		network := &script{steps: []step{status(200)}}
		err := setOnline(t.Context(), network.client(t, zapi.WithRateLimiter(limiterFunc(func(context.Context) error { return full }))))
		require.EqualError(t, err, "zapi: privacy/online: not sent: limiter is full")
		require.ErrorIs(t, err, full)
		assert.Zero(t, attemptsOf(err))
		assert.Empty(t, network.at)
	})
	t.Run("refuses the second attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			passes := 1
			limiter := limiterFunc(func(context.Context) error {
				if passes--; passes < 0 {
					return errors.New("limiter is full")
				}
				return nil
			})
			err := setOnline(t.Context(), (&script{steps: []step{status(503)}}).client(t, zapi.WithRateLimiter(limiter)))
			require.EqualError(t, err, "zapi: privacy/online: 503 Service Unavailable")
			assert.Equal(t, 1, attemptsOf(err))
		})
	})
	t.Run("waits before the second attempt until the deadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			passes := 1
			limiter := limiterFunc(func(ctx context.Context) error {
				if passes--; passes < 0 {
					<-ctx.Done()
				}
				return ctx.Err()
			})
			err := setOnline(ctx, (&script{steps: []step{status(503)}}).client(t, zapi.WithRateLimiter(limiter)))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 1, attemptsOf(err))
		})
	})
	t.Run("is not asked for a context that is done", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		limiter := limiterFunc(func(context.Context) error {
			t.Error("asked")
			return nil
		})
		require.ErrorIs(t, setOnline(ctx, (&script{steps: []step{status(200)}}).client(t, zapi.WithRateLimiter(limiter))), context.Canceled)
	})
}

// An error of a middleware is final; an error of the network is tried again, below a middleware as well.
func TestMiddlewareAndRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := errors.New("circuit open")
		network := &script{steps: []step{status(200)}}
		err := setOnline(t.Context(), network.client(t, before(func(*http.Request) error { return open })))
		require.ErrorIs(t, err, open)
		assert.Equal(t, 1, attemptsOf(err))

		var seen int
		network = &script{steps: []step{failing(io.EOF), cut, status(200)}}
		require.NoError(t, setOnline(t.Context(), network.client(t, before(func(*http.Request) error {
			seen++
			return nil
		}))))
		assert.Equal(t, 3, seen)
	})
}

func TestNilAndZeroClients(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*zapi.Client{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range calls {
				assertRefused(t, c.call(t.Context(), client), c.op, "client")
			}
			_, err := client.ForInstance(creds)
			assertRefused(t, err, "ForInstance", "client")
		})
	}
}

func TestNilContext(t *testing.T) {
	t.Parallel()
	var none context.Context
	for _, c := range calls {
		api := newMockAPI(succeeding)
		assertRefused(t, c.call(none, api.client(t)), c.op, "ctx")
		assert.Empty(t, api.requests())
	}
}

// A POST without a body still has the content type JSON and the length 0, and is not chunked.
func TestBodylessPostOnTheNetwork(t *testing.T) {
	t.Parallel()
	for _, call := range []caller{setReadReceipts(zapi.ReadReceiptsEnable), setMessageDuration(zapi.MessageDurationDisable)} {
		var seen *http.Request
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			seen = r
			_, _ = io.WriteString(w, `{"success":true}`)
		})
		require.NoError(t, call(t.Context(), client))
		assert.Equal(t, []string{"0"}, seen.Header["Content-Length"])
		assert.Equal(t, []string{"application/json"}, seen.Header["Content-Type"])
		assert.Empty(t, seen.TransferEncoding)
	}
}

func TestInterceptors(t *testing.T) {
	t.Parallel()
	t.Run("order, retries and errors", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			type key struct{}
			var events []string
			named := func(name string) zapi.Interceptor {
				return func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
					events = append(events, fmt.Sprintf("%s before %v %v", name, call, ctx.Value(key{})))
					err := next(context.WithValue(ctx, key{}, name))
					events = append(events, fmt.Sprintf("%s after %v", name, err))
					return err
				}
			}
			network := &script{steps: []step{status(503), status(403)}}
			client := network.client(t, zapi.WithInterceptor(named("first"), named("second")), zapi.WithInterceptor(named("third")))
			err := setOnline(t.Context(), client)
			assertKind(t, zapi.ErrUnauthorized, err)
			text := "zapi: privacy/online: 403 Forbidden (2 attempts)"
			require.EqualError(t, err, text)
			assert.Equal(t, []string{
				"first before {privacy/online 3C01D5A4B6} <nil>", "second before {privacy/online 3C01D5A4B6} first", "third before {privacy/online 3C01D5A4B6} second",
				"third after " + text, "second after " + text, "first after " + text,
			}, events)
		})
	})
	open := errors.New("circuit open")
	none := func(context.Context, zapi.Call, func(context.Context) error) error { return nil }
	refuses := func(context.Context, zapi.Call, func(context.Context) error) error { return open }
	tests := []struct {
		name        string
		interceptor zapi.Interceptor
		call        caller
		requests    int
		want        string // the error; "" for none
	}{
		{"refuses", refuses, setOnline, 0, "zapi: privacy/online: not sent: circuit open"},
		{"refuses after the response", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			_ = next(ctx)
			return open
		}, setOnline, 1, "zapi: privacy/online: no response: circuit open"},
		{"refuses after two responses", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			_, _ = next(ctx), next(ctx)
			return open
		}, setOnline, 2, "zapi: privacy/online: no response: circuit open (2 attempts)"},
		{"sees valid calls only", refuses, setOnlineTo("NONE"), 0, `zapi: privacy/online: visibility: must be one of ALL, SAME_LAST_SEEN, not "NONE"`},
		{"calls again", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			return errors.Join(next(ctx), next(ctx))
		}, setOnline, 2, ""},
		{"calls each request of a replacement again", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			return errors.Join(next(ctx), next(ctx))
		}, replaceBlacklist(zapi.BlacklistPhoto, "554422222222"), 4, ""},
		{"wraps", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			done, cancel := context.WithCancel(ctx)
			cancel()
			return fmt.Errorf("wrapped: %w", next(done))
		}, setOnline, 0, "wrapped: zapi: privacy/online: not sent: context canceled"},
		{"makes no call", none, setOnline, 0, ""},
		{"makes no call to read a list", none, replaceBlacklist(zapi.BlacklistPhoto, "554422222222"), 0,
			"zapi: privacy/disallowed-contacts: not sent: an interceptor returned nil without a response"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing())
			err := tt.call(t.Context(), api.client(t, zapi.WithInterceptor(tt.interceptor)))
			assert.Len(t, api.requests(), tt.requests)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tt.want)
			assert.Equal(t, strings.Contains(tt.want, open.Error()), errors.Is(err, open))
			if errors.Is(err, open) {
				assert.Equal(t, tt.requests, attemptsOf(err))
			}
		})
	}
}

// Wherever an error comes from, an interceptor sees what the caller would see if it stood alone.
func TestInterceptorsSeeTheErrorOfTheCaller(t *testing.T) {
	t.Parallel()
	open := errors.New("circuit open")
	refusing := func(context.Context, zapi.Call, func(context.Context) error) error { return open }
	late := func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
		_ = next(ctx)
		return open
	}
	tests := []struct {
		name string
		step step
		opts []zapi.Option // what makes the call fail
	}{
		{"an inner interceptor before the call", status(200), []zapi.Option{zapi.WithInterceptor(refusing)}},
		{"an inner interceptor after the call", status(200), []zapi.Option{zapi.WithInterceptor(late)}},
		{"the limiter", status(200), []zapi.Option{zapi.WithRateLimiter(limiterFunc(func(context.Context) error { return open }))}},
		{"a middleware", status(200), []zapi.Option{before(func(*http.Request) error { return open })}},
		{"the API", status(403), nil},
		{"the network", failing(io.EOF), nil},
		{"the timeout", hanging, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				alone := setOnline(t.Context(), (&script{steps: []step{tt.step}}).client(t, append([]zapi.Option{once}, tt.opts...)...))
				require.Error(t, alone)
				var seen []error
				looking := func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
					err := next(ctx)
					seen = append(seen, err)
					return err
				}
				opts := append([]zapi.Option{once, zapi.WithInterceptor(looking, looking)}, tt.opts...)
				err := setOnline(t.Context(), (&script{steps: []step{tt.step}}).client(t, opts...))
				assert.Equal(t, []error{alone, alone, alone}, append(seen, err))
				assert.Equal(t, zapi.Kind(alone), zapi.Kind(seen[0]))
			})
		})
	}
}
