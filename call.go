package zapi

import (
	"bytes"
	"cmp"
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
// Below send are resty, the caller's middleware, secretTransport, which adds the secrets, connectionKeeper and the transport.

// The operations, which are also their routes.
const (
	opLastSeen           = "privacy/last-seen"
	opPhoto              = "privacy/photo"
	opOnline             = "privacy/online"
	opDescription        = "privacy/description"
	opGroupAdd           = "privacy/group-add"
	opReadReceipts       = "privacy/read-receipts"
	opMessageDuration    = "privacy/messages-duration"
	opDisallowedContacts = "privacy/disallowed-contacts"
	opStatus             = "status"
)

// A request is one call, validated and encoded.
type request struct {
	op     string   // as errors, logs and interceptors show it
	route  string   // below the token, escaped, if it is not op
	phones []string // those of the route, which a transport may quote in its error
	method string
	query  string // encoded, with its "?"
	body   []byte // JSON; nil for none, empty for a POST without one
	once   bool   // must not be repeated
	reads  bool   // the caller wants what the response holds
	accept acceptor
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
	return c.do(ctx, request{op: op, method: http.MethodPost, body: body, accept: acceptSuccess})
}

// postValue sends a setting whose value goes into the query.
func (c *Client) postValue(ctx context.Context, op, value string) error {
	return c.do(ctx, request{op: op, method: http.MethodPost, query: "?value=" + value, body: []byte{}, accept: acceptSuccess})
}

// do makes one call, inside the interceptors.
func (c *Client) do(ctx context.Context, r request) error {
	if err := c.ready(ctx, r.op); err != nil {
		return err
	}
	if len(c.api.interceptors) == 0 {
		_, err := c.repeat(ctx, r)
		return err
	}
	sent, answered := 0, false // attempts, and whether one succeeded; interceptors call next one at a time
	next := func(ctx context.Context) error {
		attempts, err := c.repeat(ctx, r)
		sent += attempts
		answered = answered || err == nil
		return err
	}
	for _, intercept := range slices.Backward(c.api.interceptors) {
		inner := next
		next = func(ctx context.Context) error {
			err := intercept(ctx, Call{r.op, c.instanceID}, inner)
			return asCallError(r.op, sent, err) // in two steps, as intercept changes sent
		}
	}
	err := next(ctx)
	if err == nil && r.reads && !answered {
		return &TransportError{r.op, sent, errNoAnswer}
	}
	return err
}

var errNoAnswer = errors.New("an interceptor returned nil without a response")

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

// asCallError wraps an error that an interceptor made itself, so that every error of a call is one of three types.
func asCallError(op string, attempts int, err error) error {
	if err == nil || errors.As(err, new(*ValidationError)) || errors.As(err, new(*APIError)) || errors.As(err, new(*TransportError)) {
		return err
	}
	return &TransportError{Op: op, Attempts: attempts, Err: err}
}

// repeat makes attempts until one succeeds or must not be repeated. It is the only place that waits.
func (c *Client) repeat(ctx context.Context, r request) (attempts int, err error) {
	log := newCallLog(ctx, c.api.logger, r.op, c.instanceID)
	defer func() { log.ended(err) }()

	var last result
	for n := 1; ; n++ {
		if err := c.admit(ctx); err != nil {
			if last.err != nil && ctx.Err() == nil {
				return n - 1, last.err // more useful than the refusal of the limiter
			}
			return n - 1, &TransportError{Op: r.op, Attempts: n - 1, Err: err}
		}
		start := time.Now()
		last = c.attempt(ctx, r, n)
		wait, again := time.Duration(0), false
		if last.retryable && !r.once {
			wait, again = c.api.retry.next(ctx, n, last.retryAfter)
		}
		log.tried(n, last.status, time.Since(start), wait)
		if !again {
			return n, last.err
		}
		if err := sleep(ctx, wait); err != nil {
			return n, &TransportError{Op: r.op, Attempts: n, Err: err}
		}
	}
}

// admit waits for the rate limiter, if there is one.
func (c *Client) admit(ctx context.Context) error {
	if err := contextErr(ctx); err != nil {
		return err
	}
	if c.api.limiter == nil {
		return nil
	}
	err := c.api.limiter.Wait(ctx)
	if ended := contextErr(ctx); ended != nil {
		return ended // whatever the limiter returned
	}
	return err
}

// attempt sends r once and decodes the response. n counts from 1.
func (c *Client) attempt(ctx context.Context, r request, n int) result {
	bounded := ctx
	if c.api.timeout > 0 { // resty's SetTimeout costs four times as much
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, c.api.timeout)
		defer cancel()
	}
	resp, err := c.send(bounded, r)
	if err != nil {
		retryable := errors.As(err, new(networkError))
		switch {
		case contextErr(ctx) != nil:
			err, retryable = contextErr(ctx), false
		case contextErr(bounded) != nil:
			err, retryable = timeoutError(c.api.timeout), true
		case errors.Is(err, context.DeadlineExceeded):
			err = networkTimeoutError{err}
		}
		return result{err: &TransportError{Op: r.op, Attempts: n, Err: err}, retryable: retryable}
	}
	if apiErr := decodeResponse(r.op, resp, r.accept, c.secrets().redactor); apiErr != nil {
		apiErr.Attempts = n
		return result{status: resp.status, err: apiErr, retryable: isRetryable(resp.status), retryAfter: apiErr.RetryAfter}
	}
	return result{status: resp.status}
}

// send makes one HTTP exchange. Neither its error nor the body holds a secret.
func (c *Client) send(ctx context.Context, r request) (response, error) {
	route := cmp.Or(r.route, r.op)
	x := &exchange{c.secrets, c.instanceID, r.method, route, routePath(c.instanceID, tokenPlaceholder, route), r.once}
	resty := c.api.resty
	if r.method == http.MethodGet && r.body != nil {
		resty = c.api.restyGetBody
	}
	req := resty.R().SetContext(context.WithValue(ctx, exchangeKey{}, x))
	req.Header = c.api.header // resty sends a copy
	if r.body != nil {
		req.Header = c.api.headerJSON
		req.SetBody(bytes.NewReader(r.body)) // resty would copy a []byte twice
	}
	resp, err := req.Execute(r.method, c.api.baseURL+x.path+r.query)
	redactor := c.secrets().redactor
	if err != nil {
		return response{}, redactor.with(r.phones).withoutSecrets(err)
	}
	// SetResult would read JSON content types only, and take a missing success for false.
	raw := resp.RawBody()
	defer raw.Close() //nolint:errcheck // secretTransport has read it, so there is nothing left to fail
	body, ok := raw.(*shownBody)
	if !ok { // a middleware stands between
		body = &shownBody{}
		body.text, body.err = readBody(raw, -1)
		body.text = redactor.redactBody(body.text)
	}
	if body.err != nil && !isBadContent(body.err) {
		return response{}, redactor.with(r.phones).withoutSecrets(body.err)
	}
	return response{resp.StatusCode(), resp.Header(), body.text, body.err}, nil
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
