package zapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
)

// A call runs down through this file, and its response comes back up:
//
//	post     encodes a setting
//	do       checks client and context, and runs the call inside the interceptors
//	repeat   waits, and makes one attempt after another
//	attempt  bounds one request by the timeout and decodes its response
//	send     hands resty a request with a placeholder for the token
//
// Below send are resty, the caller's middleware, lastHop, which adds the secrets, and the transport.

// The routes, as errors name them.
const (
	opLastSeen           = "privacy/last-seen"
	opPhoto              = "privacy/photo"
	opOnline             = "privacy/online"
	opDescription        = "privacy/description"
	opGroupAdd           = "privacy/group-add"
	opReadReceipts       = "privacy/read-receipts"
	opMessageDuration    = "privacy/messages-duration"
	opDisallowedContacts = "privacy/disallowed-contacts"
)

// A request is one call, validated and encoded.
type request struct {
	op     string // the route, such as "privacy/last-seen"
	method string
	query  string // encoded, with its "?"
	body   []byte // JSON; nil for a GET, empty for a POST without a body
}

// A result is how one attempt ended.
type result struct {
	status     int   // 0 without a response
	err        error // nil, an *APIError or a *TransportError
	retryable  bool
	retryAfter time.Duration // what the API asked for; 0 if it did not ask
}

// post sends a setting and expects the documented {"success": true}.
func (c *Client) post(ctx context.Context, op string, setting any) error {
	body, _ := json.Marshal(setting) // cannot fail: setting holds only validated strings and lists of them
	return c.do(ctx, request{op: op, method: http.MethodPost, body: body}, decodeSuccess)
}

// postValue sends a setting whose value goes into the query.
func (c *Client) postValue(ctx context.Context, op, value string) error {
	return c.do(ctx, request{op: op, method: http.MethodPost, query: "?value=" + value, body: []byte{}}, decodeSuccess)
}

// do makes one call, inside the interceptors.
func (c *Client) do(ctx context.Context, r request, decode decoder) error {
	if err := c.ready(ctx, r.op); err != nil {
		return err
	}
	if len(c.shared.interceptors) == 0 {
		return c.repeat(ctx, r, decode)
	}
	next := func(ctx context.Context) error {
		if err := c.ready(ctx, r.op); err != nil {
			return err // an interceptor passed a nil context
		}
		return c.repeat(ctx, r, decode)
	}
	for _, intercept := range slices.Backward(c.shared.interceptors) {
		inner := next
		next = func(ctx context.Context) error {
			return intercept(ctx, Call{r.op, c.instanceID}, inner)
		}
	}
	return asCallError(r.op, next(ctx))
}

// asCallError wraps an error that an interceptor made itself, so that every error of a call is one of three types.
func asCallError(op string, err error) error {
	if err == nil || errors.As(err, new(*ValidationError)) || errors.As(err, new(*APIError)) || errors.As(err, new(*TransportError)) {
		return err
	}
	return &TransportError{Op: op, Err: err}
}

// repeat makes attempts until one succeeds or must not be repeated. It is the only place that waits.
func (c *Client) repeat(ctx context.Context, r request, decode decoder) (err error) {
	log := newCallLog(ctx, c.shared.logger, r.op, c.instanceID)
	defer func() { log.end(err) }()

	var last result
	for n := 1; ; n++ {
		if err := c.admit(ctx); err != nil {
			if last.err != nil && ctx.Err() == nil {
				return last.err // more useful than the refusal of the limiter
			}
			return &TransportError{Op: r.op, Attempts: n - 1, Err: err}
		}
		start := time.Now()
		last = c.attempt(ctx, r, decode, n)
		wait, again := time.Duration(0), false
		if last.retryable {
			wait, again = c.shared.retry.next(ctx, n, last.retryAfter)
		}
		log.attempt(n, last.status, time.Since(start), wait)
		if !again {
			return last.err
		}
		if err := sleep(ctx, wait); err != nil {
			return &TransportError{Op: r.op, Attempts: n, Err: err}
		}
	}
}

// ready returns an error for a nil or zero Client or a nil context.
func (c *Client) ready(ctx context.Context, op string) error {
	if err := c.validate(op); err != nil {
		return err
	}
	if ctx == nil {
		return &ValidationError{op, "ctx", "must not be nil"}
	}
	return nil
}

// admit waits for the rate limiter, if there is one.
func (c *Client) admit(ctx context.Context) error {
	if err := contextErr(ctx); err != nil {
		return err
	}
	if c.shared.limiter == nil {
		return nil
	}
	err := c.shared.limiter.Wait(ctx)
	if ended := contextErr(ctx); ended != nil {
		return ended // whatever the limiter returned
	}
	return err
}

// attempt sends r once and decodes the response. n counts from 1.
func (c *Client) attempt(ctx context.Context, r request, decode decoder, n int) result {
	bounded := ctx
	if c.shared.timeout > 0 { // resty's SetTimeout costs four times as much
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, c.shared.timeout)
		defer cancel()
	}
	resp, err := c.send(bounded, r)
	if err != nil {
		retryable := errors.As(err, new(networkError))
		switch {
		case contextErr(ctx) != nil:
			err, retryable = contextErr(ctx), false
		case contextErr(bounded) != nil:
			err, retryable = timeoutError(c.shared.timeout), true
		}
		return result{err: &TransportError{Op: r.op, Attempts: n, Err: err}, retryable: retryable}
	}
	if apiErr := decodeResponse(r.op, resp, decode, c.secrets().redactor); apiErr != nil {
		apiErr.Attempts = n
		return result{resp.status, apiErr, resp.err == nil && isRetryable(resp.status), apiErr.RetryAfter}
	}
	return result{status: resp.status}
}

// send makes one HTTP exchange. Its error holds no secret.
func (c *Client) send(ctx context.Context, r request) (response, error) {
	path := routePath(c.instanceID, tokenPlaceholder, r.op)
	x := &exchange{secrets: c.secrets, instanceID: c.instanceID, op: r.op, method: r.method, path: path}
	req := c.shared.resty.R().SetContext(context.WithValue(ctx, exchangeKey{}, x))
	req.Header = c.shared.header // resty sends a copy
	if r.body != nil {
		req.Header = c.shared.headerJSON
		req.SetBody(bytes.NewReader(r.body)) // resty would copy a []byte twice
	}
	resp, err := req.Execute(r.method, c.shared.origin+path+r.query)
	if err != nil {
		return response{}, c.secrets().redactor.cause(err)
	}
	// SetResult would read JSON content types only, and take a missing success for false.
	defer resp.RawBody().Close() //nolint:errcheck // lastHop has read it, so there is nothing left to fail
	body, err := readBody(resp.RawBody())
	if err != nil && !isBadContent(err) {
		return response{}, c.secrets().redactor.cause(err)
	}
	return response{resp.StatusCode(), resp.Header(), x.original(body), err}, nil
}

// sleep waits for d, or returns the error of a context that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
