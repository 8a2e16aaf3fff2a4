package zapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// A RetryPolicy sets how many attempts a call makes and how long it waits between them.
//
// After attempt n it waits for a random time between MinWait and MinWait·2ⁿ, at most MaxWait, or exactly as long as the
// API asked with Retry-After. A MinWait of zero means 500 ms, and a MaxWait of zero 8 s.
type RetryPolicy struct {
	MaxAttempts      int // requests of one call; 0 and 1 mean no retry
	MinWait, MaxWait time.Duration
}

var defaultRetry = RetryPolicy{MaxAttempts: 3, MinWait: 500 * time.Millisecond, MaxWait: 8 * time.Second}

// withDefaults fills in the waits that are zero. If only one is set, the default of the other is adjusted so that MinWait
// does not exceed MaxWait.
func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MinWait == 0 {
		p.MinWait = defaultRetry.MinWait
		if p.MaxWait != 0 {
			p.MinWait = min(p.MinWait, p.MaxWait)
		}
	}
	if p.MaxWait == 0 {
		p.MaxWait = max(p.MinWait, defaultRetry.MaxWait)
	}
	return p
}

// next returns how long to wait after attempt n, and whether to try again. It returns false if the wait would exceed
// MaxWait or the caller's deadline: an error now is more useful than a timeout later.
//
// The retries of resty stay off: they clip a Retry-After to the maximum wait, and wait without jitter the first time.
func (p RetryPolicy) next(ctx context.Context, n int, retryAfter time.Duration) (wait time.Duration, again bool) {
	if n >= p.MaxAttempts {
		return 0, false
	}
	wait = retryAfter
	if wait == 0 {
		wait = p.backoff(n)
	}
	if deadline, ok := ctx.Deadline(); wait > p.MaxWait || ok && time.Until(deadline) <= wait {
		return 0, false
	}
	return wait, true
}

// backoff returns a random wait after attempt n.
func (p RetryPolicy) backoff(n int) time.Duration {
	longest := p.MinWait
	for range n {
		if longest > p.MaxWait/2 { // doubling it could overflow
			longest = p.MaxWait
			break
		}
		longest *= 2
	}
	return p.MinWait + rand.N(longest-p.MinWait+1)
}

// isRetryable reports whether another attempt may succeed within seconds, after a response with this status. The body that
// came with it does not matter, as a proxy may have written it. 520 to 530, of a CDN whose origin is away, are not tried
// again: they last for minutes.
func isRetryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// A networkError is a failure that another attempt may avoid. Errors of middleware are not wrapped in it.
type networkError struct{ error }

func (e networkError) Unwrap() error { return e.error }

// classify wraps an error of the transport in a networkError if another attempt may avoid it.
func classify(err error, req *http.Request) error {
	var refused proxyError
	switch {
	case isUntrusted(err): // an attack or a mistake: another attempt would meet it again
		return err
	case errors.As(err, &refused) && !refused.temporary():
		return err
	case strings.HasPrefix(err.Error(), "no responder found"): // httpmock, for a request that a test did not expect
		return fmt.Errorf("%w: %s %s", err, req.Method, req.URL.Path)
	}
	return networkError{err}
}
