package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// TestRig is not parallel, so that what it leaves behind is its own.
func TestRig(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run([]string{"-duration", "3s", "-goroutines", "16", "-instances", "40"}, &out, io.Discard), out.String())
	assert.Regexp(t, `(?m)^calls +[1-9]`, out.String())
	assert.Regexp(t, `(?m)^succeeded +[1-9]`, out.String())
	assert.Regexp(t, `(?m)^retries among them +[1-9]`, out.String())
	assert.Regexp(t, `(?m)^violations +0\nfinal mismatches +0$`, out.String())
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const secret = "TSECRET"
	lost := func(cause error) error {
		return &zapi.TransportError{Op: "privacy/photo", Attempts: 2, Err: cause}
	}
	once, twice := requests{1, 1}, requests{1, 2}
	tests := []struct {
		name      string
		err       error
		made      requests
		took      time.Duration
		violation string // "" for none
	}{
		{"success", nil, once, time.Second, ""},
		{"success without a change", nil, requests{reads: 1}, time.Second, "success after 1 reads and 0 changes"},
		{"no whole answer", lost(io.ErrUnexpectedEOF), twice, 2 * time.Second, ""},
		{"no answer to the read", &zapi.TransportError{Op: "privacy/disallowed-contacts", Attempts: 1, Err: io.EOF}, requests{reads: 1}, 0, ""},
		{"within the grace", lost(context.DeadlineExceeded), twice, 2*time.Second + grace, ""},
		{"after the grace", lost(context.DeadlineExceeded), twice, 2*time.Second + grace + 1, "took 3.000000001s"},
		{"too many requests", nil, requests{1, 5}, 0, "5 changes by one call"},
		{"attempts that do not add up", lost(io.EOF), once, 0, "1 requests, but 2 attempts"},
		{"an error of no documented type", io.EOF, once, 0, "*errors.errorString: EOF"},
		{"an error of two types", lost(&zapi.APIError{}), twice, 0, "*zapi.TransportError: "},
		{"an answer that nobody gave", &zapi.APIError{StatusCode: 502}, once, 0, "502 Bad Gateway"},
		{"refused input", &zapi.ValidationError{}, requests{}, 0, "*zapi.ValidationError"},
		{"a secret", lost(errors.New("dial " + secret)), twice, 0, "shows a secret or a phone"},
		{"a phone", lost(errors.New("malformed 5544900000001")), twice, 0, "shows a secret or a phone"},
		{"a secret in a cause", lost(hiding{errors.New(secret)}), twice, 0, "shows a secret or a phone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			watch := &inspector{secrets: []string{secret}}
			watch.judge(tt.err, tt.made, tt.took, 2*time.Second)
			if tt.violation == "" {
				assert.Empty(t, watch.examples)
				return
			}
			assert.Contains(t, strings.Join(watch.examples, "\n"), tt.violation)
			assert.Error(t, result{violations: watch.violations}.verdict())
		})
	}
}

// hiding prints nothing of its cause.
type hiding struct{ cause error }

func (hiding) Error() string                { return "hidden" }
func (hiding) Format(out fmt.State, _ rune) { fmt.Fprint(out, "hidden") }
func (h hiding) Unwrap() error              { return h.cause }

func TestReplace(t *testing.T) {
	t.Parallel()
	pass := func(next http.RoundTripper) http.RoundTripper { return next }
	pretend := func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodGet {
				return next.RoundTrip(req)
			}
			return answer(req, http.StatusOK), nil
		})
	}
	broken := func(http.RoundTripper) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { panic("broken") })
	}
	tests := []struct {
		name       string
		middleware func(http.RoundTripper) http.RoundTripper
		lost       bool
		overtaken  int
		mismatches int
		violation  string // "" for none
	}{
		{"a list that is as wanted", pass, false, 0, 0, ""},
		{"a success that changed nothing", pretend, false, 0, 1, "is not as wanted"},
		{"a list that a lost change may have altered", pretend, true, 1, 1, ""},
		{"a panic", broken, false, 0, 1, "panic: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := zapitest.NewServer()
			defer server.Close()
			watch := &inspector{}
			client, err := server.Client(zapi.WithMiddleware(watch.middleware, tt.middleware))
			require.NoError(t, err)
			l := &list{client: client, scope: zapi.BlacklistPhoto, wanted: []string{"5544900000001", "5544900000001"}, lost: tt.lost}
			c := &caller{api: server, watch: watch, lists: []*list{l}, tally: tally{failed: make(map[string]int)}}
			_ = c.replace(l, patience) // a panic is the only failure here
			assert.Equal(t, tt.overtaken, c.tally.overtaken)
			assert.Equal(t, tt.mismatches, c.mismatches())
			assert.Equal(t, tt.mismatches == 0, result{mismatches: c.mismatches()}.verdict() == nil)
			if tt.violation == "" {
				assert.Empty(t, watch.examples)
			} else {
				assert.Contains(t, strings.Join(watch.examples, "\n"), tt.violation)
			}
		})
	}
}

func answer(req *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"success":true}`)), Request: req}
}

func TestScheduleFollowsSeed(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) []fault {
		var faults []fault
		for f := range schedule(rand.New(rand.NewPCG(seed, 0))) {
			if faults = append(faults, f); len(faults) == len(faultKinds) {
				break
			}
		}
		return faults
	}
	first, again := draw(1), draw(1)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, draw(2))
	drawn := make(map[string]bool)
	for _, f := range first {
		drawn[f.kind] = true
	}
	assert.Len(t, drawn, len(faultKinds), "each kind comes once per round")
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-unknown"}, {"argument"}, {"-goroutines", "0"}, {"-goroutines", "2", "-instances", "1"}} {
		assert.Error(t, run(args, io.Discard, io.Discard), args)
	}
}

// A limiter of golang.org/x/time fits as it is.
var _ zapi.RateLimiter = (*rate.Limiter)(nil)

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	const second = time.Second
	tests := []struct {
		name     string
		limiter  *rate.Limiter
		statuses []int           // of the answers, then 200
		timeout  time.Duration   // of each call
		sent     []time.Duration // when the requests go out
		refused  int             // calls that the limiter refuses
	}{
		{"one per second", rate.NewLimiter(1, 1), nil, time.Hour, []time.Duration{0, second, 2 * second}, 0},
		{"a burst of two", rate.NewLimiter(1, 2), nil, time.Hour, []time.Duration{0, 0, second}, 0},
		{"one per minute", rate.NewLimiter(rate.Every(time.Minute), 1), nil, time.Hour, []time.Duration{0, 60 * second, 120 * second}, 0},
		{"no limit", rate.NewLimiter(rate.Inf, 0), nil, time.Hour, []time.Duration{0, 0, 0}, 0},
		{"a retry waits too", rate.NewLimiter(1, 1), []int{503}, time.Hour, []time.Duration{0, second, 2 * second, 3 * second}, 0},
		{"a wait beyond the deadline", rate.NewLimiter(rate.Every(time.Minute), 1), nil, second, []time.Duration{0}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var sent []time.Duration
				transport := roundTripper(func(req *http.Request) (*http.Response, error) {
					sent = append(sent, time.Since(start))
					if len(sent) <= len(tt.statuses) {
						return answer(req, tt.statuses[len(sent)-1]), nil
					}
					return answer(req, http.StatusOK), nil
				})
				client, err := zapi.NewClient(zapi.Credentials{InstanceID: "first", Token: "T", ClientToken: "F"},
					zapi.WithTransport(transport), zapi.WithRateLimiter(tt.limiter),
					zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: 1, MaxWait: 1}))
				require.NoError(t, err)

				refused := 0
				for i := range 3 {
					own, err := client.ForInstance(zapi.Credentials{InstanceID: fmt.Sprint(i), Token: "T", ClientToken: "F"})
					require.NoError(t, err)
					ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
					if err := own.SetOnlineVisibility(ctx, zapi.OnlineAll); err != nil {
						var transportErr *zapi.TransportError
						require.ErrorAs(t, err, &transportErr)
						assert.Zero(t, transportErr.Attempts)
						refused++
					}
					cancel()
				}
				assert.Equal(t, tt.sent, sent)
				assert.Equal(t, tt.refused, refused)
			})
		})
	}
}
