package zapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// step is how the network treats one request.
type step func(*http.Request) (*http.Response, error)

func status(code int) step { return step(answering(code, `{"success":true}`)) }

func asking(code int, retryAfter string) step {
	return step(answering(code, "").HeaderSet(http.Header{"Retry-After": {retryAfter}}))
}

func failing(err error) step { return func(*http.Request) (*http.Response, error) { return nil, err } }

func cut(req *http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader(`{"success":true`), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: req}, nil
}

func hanging(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// drip sends a body that never ends, one blank a second.
func drip(req *http.Request) (*http.Response, error) {
	body := readerFunc(func(p []byte) (int, error) {
		select {
		case <-req.Context().Done():
			return 0, req.Context().Err()
		case <-time.After(time.Second):
			p[0] = ' '
			return 1, nil
		}
	})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: req}, nil
}

// script is a network that takes one step after the other, repeats the last one, and keeps when each request came.
type script struct {
	steps []step

	mu     sync.Mutex
	at     []time.Time
	bodies []string
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	s.mu.Lock()
	next := s.steps[min(len(s.at), len(s.steps)-1)]
	s.at = append(s.at, time.Now())
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	return next(req)
}

func (s *script) client(t *testing.T, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithTransport(s)}, opts...)...)
	require.NoError(t, err)
	return client
}

// waits are the pauses between the requests.
func (s *script) waits() []time.Duration {
	var waits []time.Duration
	for i := 1; i < len(s.at); i++ {
		waits = append(waits, s.at[i].Sub(s.at[i-1]))
	}
	return waits
}

func attemptsOf(err error) int {
	var apiErr *zapi.APIError
	var transportErr *zapi.TransportError
	switch {
	case errors.As(err, &apiErr):
		return apiErr.Attempts
	case errors.As(err, &transportErr):
		return transportErr.Attempts
	}
	return -1
}

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	large := step(answering(200, strings.Repeat(" ", 2<<20)))
	untrusted := failing(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
	tests := []struct {
		name  string
		step  step
		again bool
		why   string
	}{
		{"refused", failing(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), true, "nothing was sent"},
		{"reset", failing(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), true, "setting a value twice does no harm"},
		{"closed by the server", failing(io.EOF), true, "an idle connection that the server just closed"},
		{"truncated", cut, true, "the answer may have said success"},
		{"attempt timeout", hanging, true, "the next attempt may be faster"},
		{"429", status(429), true, "it says so"},
		{"500", status(500), true, "may pass"},
		{"502", status(502), true, "may pass"},
		{"503", status(503), true, "may pass"},
		{"504", status(504), true, "may pass"},
		{"501", status(501), false, "will never be implemented in seconds"},
		{"400", status(400), false, "the same would be refused again"},
		{"401", status(401), false, "so would the credentials"},
		{"403", status(403), false, "likewise"},
		{"404", status(404), false, "likewise"},
		{"405", status(405), false, "likewise"},
		{"408", status(408), false, "other 4xx"},
		{"415", status(415), false, "likewise"},
		{"302", status(302), false, "redirects are a wrong base URL"},
		{"307", status(307), false, "likewise"},
		{"success false", step(answering(200, `{"success":false}`)), false, "the API decided"},
		{"unexpected 200", step(answering(200, `<html>`)), false, "something else answers there"},
		{"201", status(201), false, "likewise"},
		{"too large", large, false, "would be as large again"},
		{"too large 503", step(answering(503, strings.Repeat(" ", 2<<20))), false, "would be as large again"},
		{"no gzip", step(answering(200, "not packed at all").HeaderSet(http.Header{"Content-Encoding": {"gzip"}})), false, "whole but wrong"},
		{"certificate", untrusted, false, "an attacker or a mistake, and neither passes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := &script{steps: []step{tt.step}}
				err := setOnline(t.Context(), network.client(t))
				require.Error(t, err)
				want := 1
				if tt.again {
					want = 3
				}
				assert.Len(t, network.at, want, tt.why)
				assert.Equal(t, want, attemptsOf(err))
				if tt.again {
					assert.ErrorContains(t, err, " (3 attempts)")
				} else {
					assert.NotContains(t, err.Error(), "attempts")
				}

				recovering := &script{steps: []step{tt.step, status(200)}}
				err = setOnline(t.Context(), recovering.client(t))
				assert.Equal(t, tt.again, err == nil, "%v", err)
			})
		})
	}
}

func TestRetriesSendTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := &script{steps: []step{failing(io.EOF), cut, step(answering(200, documented(c.op)))}}
				require.NoError(t, c.call(t.Context(), network.client(t)))
				require.Len(t, network.bodies, 3)
				assert.Equal(t, network.bodies[0], network.bodies[1])
				assert.Equal(t, network.bodies[0], network.bodies[2])
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name    string
		policy  zapi.RetryPolicy
		longest []time.Duration // the wait is random from MinWait to this
	}{
		{"default", zapi.RetryPolicy{MaxAttempts: 3, MinWait: 500 * ms, MaxWait: 8 * time.Second}, []time.Duration{1000 * ms, 2000 * ms}},
		{"waits by default", zapi.RetryPolicy{MaxAttempts: 7}, []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 8000 * ms, 8000 * ms}},
		{"no retry", zapi.RetryPolicy{}, nil},
		{"one attempt", zapi.RetryPolicy{MaxAttempts: 1}, nil},
		{"fixed", zapi.RetryPolicy{MaxAttempts: 4, MinWait: 100 * ms, MaxWait: 100 * ms}, []time.Duration{100 * ms, 100 * ms, 100 * ms}},
		{"small maximum alone", zapi.RetryPolicy{MaxAttempts: 3, MaxWait: 20 * ms}, []time.Duration{20 * ms, 20 * ms}},
		{"large minimum alone", zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Hour}, []time.Duration{time.Hour, time.Hour}},
		{"beyond all measure", zapi.RetryPolicy{MaxAttempts: 3, MinWait: 1, MaxWait: math.MaxInt64}, []time.Duration{2, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rounds = 200
				shortest := tt.policy.MinWait
				if shortest == 0 {
					shortest = min(500*ms, append(tt.longest, 500*ms)[0])
				}
				seen := make([][]time.Duration, len(tt.longest))
				for range rounds {
					network := &script{steps: []step{status(503)}}
					require.Error(t, setOnline(t.Context(), network.client(t, zapi.WithRetry(tt.policy))))
					require.Len(t, network.waits(), len(tt.longest))
					for i, wait := range network.waits() {
						assert.GreaterOrEqual(t, wait, shortest)
						assert.LessOrEqual(t, wait, tt.longest[i])
						seen[i] = append(seen[i], wait)
					}
				}
				for i, waits := range seen {
					if tt.longest[i]-shortest < ms {
						continue
					}
					third := (tt.longest[i] - shortest) / 3
					assert.Less(t, slices.Min(waits), shortest+third, "wait %d uses its whole range", i+1)
					assert.Greater(t, slices.Max(waits), tt.longest[i]-third, "wait %d uses its whole range", i+1)
				}
			})
		})
	}
}

// Clients that failed together must not come back together.
func TestFirstRetryIsSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &script{steps: []step{status(503)}}
		client := network.client(t, zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2}))
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() { assert.Error(t, setOnline(t.Context(), client)) })
		}
		wg.Wait()
		retries := network.at[40:]
		slices.SortFunc(retries, time.Time.Compare)
		assert.Greater(t, retries[39].Sub(retries[0]), 250*time.Millisecond)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	inSeconds := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	tests := []struct {
		name       string
		retryAfter func() string
		deadline   time.Duration // of the caller; 0 for none
		want       time.Duration // 0 where the call gives up at once
		retryIn    time.Duration // what the error says then
	}{
		{"seconds", func() string { return "3" }, 0, 3 * time.Second, 0},
		{"seconds at the maximum", func() string { return "8" }, 0, 8 * time.Second, 0},
		{"seconds below MinWait are no reason to wait longer", func() string { return "1" }, 0, time.Second, 0},
		{"date", func() string { return inSeconds(5 * time.Second) }, 0, 5 * time.Second, 0},
		{"longer than MaxWait", func() string { return "9" }, 0, 0, 9 * time.Second},
		{"date beyond MaxWait", func() string { return inSeconds(time.Hour) }, 0, 0, time.Hour},
		{"longer than the deadline", func() string { return "3" }, 2 * time.Second, 0, 3 * time.Second},
		{"up to the deadline", func() string { return "3" }, 3 * time.Second, 0, 3 * time.Second},
		{"within the deadline", func() string { return "3" }, 4 * time.Second, 3 * time.Second, 0},
	}
	for _, tt := range tests {
		for _, code := range []int{429, 503} {
			t.Run(fmt.Sprint(tt.name, " with ", code), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if tt.deadline > 0 {
						ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					}
					defer cancel()
					network := &script{steps: []step{asking(code, tt.retryAfter()), status(200)}}
					start := time.Now()
					err := setOnline(ctx, network.client(t))
					assert.Equal(t, tt.want, time.Since(start))
					if tt.want > 0 {
						require.NoError(t, err)
						assert.Len(t, network.at, 2)
						return
					}
					var apiErr *zapi.APIError
					require.ErrorAs(t, err, &apiErr)
					assert.Equal(t, tt.retryIn, apiErr.RetryAfter)
					assert.Equal(t, 1, apiErr.Attempts)
					assert.Len(t, network.at, 1)
				})
			})
		}
	}
}

// A wait that the deadline cuts short would only turn an answer into a timeout.
func TestBackoffBeyondTheDeadlineGivesUpAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		step  step
		cause error
	}{
		"answer":    {status(503), zapi.ErrUnavailable},
		"no answer": {failing(io.EOF), io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
				defer cancel()
				start := time.Now()
				network := &script{steps: []step{tt.step}}
				err := setOnline(ctx, network.client(t))
				require.ErrorIs(t, err, tt.cause)
				assert.Equal(t, 1, attemptsOf(err))
				assert.Zero(t, time.Since(start))
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
	for name, slow := range map[string]step{"no answer": hanging, "a body that drips": drip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fixed := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Second, MaxWait: time.Second})
				start := time.Now()
				err := setOnline(t.Context(), (&script{steps: []step{slow}}).client(t, fixed))
				require.EqualError(t, err, "zapi: privacy/online: no whole answer within 30s (3 attempts)")
				assert.True(t, isTimeout(err))
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, 3*30*time.Second+2*time.Second, time.Since(start))
			})
		})
	}
}

type limiterFunc func(context.Context) error

func (f limiterFunc) Wait(ctx context.Context) error { return f(ctx) }

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
		require.EqualError(t, err, "zapi: privacy/online: limiter is full")
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

// What a middleware refuses it would refuse again; what the network refuses is tried again under middleware as well.
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

func TestLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"success", []step{status(200)}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=200 duration=0s wait=0s`,
		}},
		{"success in the end", []step{asking(429, "2"), failing(io.EOF), status(200)}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=429 duration=0s wait=2s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=0 duration=0s wait=1s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=200 duration=0s wait=0s`,
		}},
		{"refused", []step{step(answering(400, `{"error":"Invalid phone 554411111111"}`))}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=400 duration=0s wait=0s`,
			`WARN zapi: call failed operation=privacy/last-seen instance=3C01D5A4B6 attempts=1 status=400 failure=refused duration=0s`,
		}},
		{"unauthorized", []step{status(403)}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=403 duration=0s wait=0s`,
			`WARN zapi: call failed operation=privacy/last-seen instance=3C01D5A4B6 attempts=1 status=403 failure=unauthorized duration=0s`,
		}},
		{"timeout", []step{asking(503, "1"), hanging, failing(io.EOF)}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=0 duration=30s wait=1s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=0 duration=0s wait=0s`,
			`WARN zapi: call failed operation=privacy/last-seen instance=3C01D5A4B6 attempts=3 status=0 failure="no answer" duration=32s`,
		}},
		{"timeout at last", []step{asking(503, "1"), asking(503, "1"), hanging}, []string{
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt operation=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=0 duration=30s wait=0s`,
			`WARN zapi: call failed operation=privacy/last-seen instance=3C01D5A4B6 attempts=3 status=0 failure=timeout duration=32s`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: plain}))
				fixed := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Second, MaxWait: 2 * time.Second})
				client := (&script{steps: tt.steps}).client(t, fixed, zapi.WithLogger(logger))
				_ = client.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"))
				got := strings.Split(strings.TrimSpace(strings.NewReplacer("level=", "", "msg=", "", `"zapi: attempt"`, "zapi: attempt", `"zapi: call failed"`, "zapi: call failed").Replace(log.String())), "\n")
				require.Len(t, got, len(tt.want))
				for i, want := range tt.want {
					assert.Equal(t, want, got[i])
				}
				assertNoSecret(t, log.String(), "log")
				assert.NotContains(t, log.String(), "554411111111")
			})
		})
	}
}

// plain drops the time, and rounds the waits, which are random, to seconds.
func plain(_ []string, attr slog.Attr) slog.Attr {
	switch {
	case attr.Key == slog.TimeKey:
		return slog.Attr{}
	case attr.Value.Kind() == slog.KindDuration:
		return slog.Duration(attr.Key, attr.Value.Duration().Truncate(time.Second))
	}
	return attr
}

func TestLogLevelsAndCancel(t *testing.T) {
	t.Parallel()
	lines := func(level slog.Level, call func(*zapi.Client) error) []map[string]any {
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))
		require.Error(t, call(newClient(t, answering(403, ""), zapi.WithLogger(logger))))
		var parsed []map[string]any
		for decoder := json.NewDecoder(&log); decoder.More(); {
			var line map[string]any
			require.NoError(t, decoder.Decode(&line))
			parsed = append(parsed, line)
		}
		return parsed
	}
	set := func(c *zapi.Client) error { return setOnline(t.Context(), c) }
	assert.Len(t, lines(slog.LevelDebug, set), 2)
	assert.Len(t, lines(slog.LevelInfo, set), 1)
	assert.Empty(t, lines(slog.LevelError, set))
	assert.Empty(t, lines(slog.LevelDebug, func(c *zapi.Client) error {
		return c.SetOnlineVisibility(t.Context(), "NONE")
	}), "nothing was sent")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	canceled := lines(slog.LevelDebug, func(c *zapi.Client) error { return setOnline(ctx, c) })
	require.Len(t, canceled, 1)
	assert.Equal(t, "canceled", canceled[0]["failure"])
	assert.EqualValues(t, 0, canceled[0]["attempts"])
}

// A real TLS server whose certificate nobody trusts is asked once.
func TestUntrustedServerIsAskedOnce(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			asked.Store(conn.RemoteAddr().String(), true)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL))
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)
	assert.Equal(t, 1, attemptsOf(err))
	connections := 0
	asked.Range(func(any, any) bool { connections++; return true })
	assert.Equal(t, 1, connections)
}
