package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/zapi-go/zapi"
)

// A limiter of golang.org/x/time fits as it is. The test is here because this module requires it and zapi does not.
func TestRateLimiter(t *testing.T) {
	t.Parallel()
	const second = time.Second
	tests := []struct {
		name    string
		limiter *rate.Limiter
		status  int             // of the first response; the others are 200
		timeout time.Duration   // of each call
		sent    []time.Duration // when the requests go out
		refused int             // calls that the limiter refuses
	}{
		{"one per second", rate.NewLimiter(1, 1), 200, time.Hour, []time.Duration{0, second, 2 * second}, 0},
		{"a burst of two", rate.NewLimiter(1, 2), 200, time.Hour, []time.Duration{0, 0, second}, 0},
		{"one per minute", rate.NewLimiter(rate.Every(time.Minute), 1), 200, time.Hour, []time.Duration{0, 60 * second, 120 * second}, 0},
		{"no limit", rate.NewLimiter(rate.Inf, 0), 200, time.Hour, []time.Duration{0, 0, 0}, 0},
		{"a retry waits too", rate.NewLimiter(1, 1), 503, time.Hour, []time.Duration{0, second, 2 * second, 3 * second}, 0},
		{"a wait beyond the deadline", rate.NewLimiter(rate.Every(time.Minute), 1), 200, second, []time.Duration{0}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, status, refused := time.Now(), tt.status, 0
				var sent []time.Duration
				transport := roundTripper(func(req *http.Request) (*http.Response, error) {
					sent = append(sent, time.Since(start))
					resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"success":true}`)), Request: req}
					status = http.StatusOK
					return resp, nil
				})
				client, err := zapi.NewClient(zapi.Credentials{InstanceID: "first", Token: "T", ClientToken: "F"},
					zapi.WithTransport(transport), zapi.WithRateLimiter(tt.limiter),
					zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: 1, MaxWait: 1}))
				require.NoError(t, err)
				for i := range 3 { // instances share the limiter
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
