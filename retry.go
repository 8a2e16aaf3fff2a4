package zapi

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"
)

// RetryPolicy says how often a call is tried and how long it waits in between.
//
// Before attempt n+1 it waits a random time between MinWait and MinWait·2ⁿ, and never longer than MaxWait; or exactly as
// long as the API asked with Retry-After. Waits of zero stand for the defaults, 500 ms and 8 s.
type RetryPolicy struct {
	MaxAttempts      int // requests for one call; 0 and 1 are no retry
	MinWait, MaxWait time.Duration
}

var defaultRetry = RetryPolicy{MaxAttempts: 3, MinWait: 500 * time.Millisecond, MaxWait: 8 * time.Second}

// withDefaults fills in the waits that are not given, so that MinWait ≤ MaxWait holds where one of them is.
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

// backoff is the random wait behind an attempt.
func (p RetryPolicy) backoff(attempt int) time.Duration {
	longest := p.MinWait
	for range attempt {
		if longest > p.MaxWait/2 { // and so it cannot overflow
			longest = p.MaxWait
			break
		}
		longest *= 2
	}
	return p.MinWait + rand.N(longest-p.MinWait+1)
}

// outcome is how one attempt ended.
type outcome struct {
	err        error // nil for a success
	status     int   // 0 without an answer
	passing    bool  // asking again may help
	retryAfter time.Duration
}

// send tries a call until it succeeds or may not be tried again. It is the only place that waits.
func (c *Client) send(ctx context.Context, r request, accept func(object) string, log *callLog) error {
	policy := c.connection.retry
	var last outcome
	for attempt := 1; ; attempt++ {
		if err := c.admit(ctx); err != nil {
			if last.err != nil && ctx.Err() == nil {
				return last.err // says more than the limiter
			}
			return &TransportError{Op: r.op, Attempts: attempt - 1, Err: err}
		}
		log.startAttempt()
		last = c.try(ctx, r, accept, attempt)
		wait, again := policy.next(ctx, attempt, last)
		log.attempt(attempt, last.status, wait)
		if !again {
			return last.err
		}
		if err := sleep(ctx, wait); err != nil {
			return &TransportError{Op: r.op, Attempts: attempt, Err: err}
		}
	}
}

// admit waits for the limiter; a context that is done ends the call before anything is sent.
func (c *Client) admit(ctx context.Context) error {
	var err error
	if limiter := c.connection.limiter; limiter != nil && ctx.Err() == nil {
		err = limiter.Wait(ctx)
	}
	if ended := contextEnd(ctx); ended != nil {
		return ended
	}
	return err
}

// try makes one attempt.
func (c *Client) try(ctx context.Context, r request, accept func(object) string, attempt int) outcome {
	a, passing, err := c.attempt(ctx, r)
	if err != nil {
		return outcome{err: &TransportError{Op: r.op, Attempts: attempt, Err: err}, passing: passing}
	}
	apiErr := c.check(r.op, a, accept)
	if apiErr == nil {
		return outcome{status: a.status}
	}
	apiErr.Attempts = attempt
	return outcome{err: apiErr, status: a.status, passing: a.err == nil && isPassing(a.status), retryAfter: apiErr.RetryAfter}
}

// isPassing tells the failures of the moment from those that would come again.
func isPassing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// next says whether to try again, and after what wait. A wait that is longer than allowed, by the policy or by the
// caller's deadline, ends the call at once: the caller can plan, where sleeping would only fail later.
func (p RetryPolicy) next(ctx context.Context, attempt int, last outcome) (wait time.Duration, again bool) {
	if last.err == nil || !last.passing || attempt >= p.MaxAttempts {
		return 0, false
	}
	wait = last.retryAfter
	if wait == 0 {
		wait = p.backoff(attempt)
	}
	if deadline, ok := ctx.Deadline(); wait > p.MaxWait || ok && time.Until(deadline) <= wait {
		return 0, false
	}
	return wait, true
}

// sleep waits, or returns why the context ended first.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
