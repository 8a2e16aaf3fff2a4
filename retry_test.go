package zapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func encoded(status int) httpmock.Responder {
	return responding(status, "not packed at all").HeaderSet(http.Header{"Content-Encoding": {"br"}})
}

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	large := step(responding(200, strings.Repeat(" ", 2<<20)))
	untrusted := failing(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
	tests := []struct {
		name  string
		step  step
		again bool
		why   string
	}{
		{"refused", failing(system("connect: connection refused")), true, "nothing was sent"},
		{"reset", failing(system("read: connection reset by peer")), true, "setting a value twice does no harm"},
		{"closed by the server", failing(io.EOF), true, "an idle connection that the server just closed"},
		{"closed by a server of HTTP/2", failing(errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug=""`)), true, "it is an error of the network"},
		{"truncated", cut, true, "the response may have said success"},
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
		{"408", status(408), true, "the server waited for a request, and asks for it again"},
		{"409", status(409), false, "other 4xx"},
		{"415", status(415), false, "likewise"},
		{"425", status(425), true, "too early asks for it again"},
		{"520", status(520), false, "the origin of a CDN is away, which takes minutes"},
		{"530", status(530), false, "likewise"},
		{"599", status(599), false, "no status that is known to pass"},
		{"302", status(302), false, "redirects are a wrong base URL"},
		{"307", status(307), false, "likewise"},
		{"success false", step(responding(200, `{"success":false}`)), false, "the API decided"},
		{"unexpected 200", step(responding(200, `<html>`)), false, "something else responds there"},
		{"201", status(201), false, "likewise"},
		{"too large", large, false, "would be as large again"},
		{"too large 403", step(responding(403, strings.Repeat(" ", 2<<20))), false, "the status decides"},
		{"too large 429", step(responding(429, strings.Repeat(" ", 2<<20))), true, "the status decides"},
		{"too large 503", step(responding(503, strings.Repeat(" ", 2<<20))), true, "the status decides"},
		{"encoded 200", step(encoded(200)), false, "complete but wrong"},
		{"encoded 400", step(encoded(400)), false, "the status decides"},
		{"encoded 408", step(encoded(408)), true, "the status decides"},
		{"encoded 502", step(encoded(502)), true, "the status decides"},
		{"a page with 403", step(responding(403, "<html>")), false, "a firewall does not change its mind in seconds"},
		{"a page with 503", step(responding(503, "<html>")), true, "the status decides"},
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

func TestBackoff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name     string
		policy   zapi.RetryPolicy
		shortest time.Duration
		longest  []time.Duration // of each wait
	}{
		{"default", zapi.RetryPolicy{MaxAttempts: 3, MinWait: 500 * ms, MaxWait: 8 * time.Second}, 500 * ms, []time.Duration{1000 * ms, 2000 * ms}},
		{"waits by default", zapi.RetryPolicy{MaxAttempts: 7}, 500 * ms, []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 8000 * ms, 8000 * ms}},
		{"no retry", zapi.RetryPolicy{}, 0, nil},
		{"one attempt", zapi.RetryPolicy{MaxAttempts: 1}, 0, nil},
		{"fixed", zapi.RetryPolicy{MaxAttempts: 4, MinWait: 100 * ms, MaxWait: 100 * ms}, 100 * ms, []time.Duration{100 * ms, 100 * ms, 100 * ms}},
		{"small maximum alone", zapi.RetryPolicy{MaxAttempts: 3, MaxWait: 20 * ms}, 20 * ms, []time.Duration{20 * ms, 20 * ms}},
		{"large minimum alone", zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Hour}, time.Hour, []time.Duration{time.Hour, time.Hour}},
		{"beyond all measure", zapi.RetryPolicy{MaxAttempts: 3, MinWait: 1, MaxWait: math.MaxInt64}, 1, []time.Duration{2, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rounds = 200
				seen := make([][]time.Duration, len(tt.longest))
				for range rounds {
					network := &script{steps: []step{status(503)}}
					require.Error(t, setOnline(t.Context(), network.client(t, zapi.WithRetry(tt.policy))))
					require.Len(t, network.waits(), len(tt.longest))
					for i, wait := range network.waits() {
						assert.GreaterOrEqual(t, wait, tt.shortest)
						assert.LessOrEqual(t, wait, tt.longest[i])
						seen[i] = append(seen[i], wait)
					}
				}
				for i, waits := range seen {
					if tt.longest[i]-tt.shortest < ms {
						continue
					}
					third := (tt.longest[i] - tt.shortest) / 3
					assert.Less(t, slices.Min(waits), tt.shortest+third, "wait %d uses its whole range", i+1)
					assert.Greater(t, slices.Max(waits), tt.longest[i]-third, "wait %d uses its whole range", i+1)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	inSeconds := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	tests := []struct {
		name       string
		retryAfter func() string
		deadline   time.Duration // of the caller; 0 for none
		want       time.Duration // 0 where the call gives up at once
		retryIn    time.Duration // RetryAfter of the error then
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

// A wait that the deadline cuts short would only turn a response into a timeout.
func TestBackoffBeyondTheDeadlineGivesUpAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		step  step
		cause error
	}{
		"response":    {status(503), zapi.ErrUnavailable},
		"no response": {failing(io.EOF), io.EOF},
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
