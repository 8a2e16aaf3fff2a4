package zapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-resty/resty/v2"
)

// All calls go one way, and what fails on it is one of three errors:
//
//	method: validate, encode → do → send: limiter, retries → attempt: resty → middleware → lastHop: reveal → transport
//	                              ←       check, decode    ←                             ← conceal         ←

// request is one call, validated and encoded.
type request struct {
	op     string // the route, "privacy/last-seen"
	method string
	query  string // encoded, with its "?"
	body   []byte // nil for none at all; an empty one still says that it is JSON and how long
}

// answer is one HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // why the body is of no use, although the answer is whole
}

// object holds the members of an answer by their exact names.
type object map[string]json.RawMessage

// do sends one call. Of a 200 that reports no error, accept says what is wrong with it, or "".
func (c *Client) do(ctx context.Context, r request, accept func(object) string) error {
	if err := c.ready(ctx, r.op); err != nil {
		return err
	}
	log := c.startLog(ctx, r.op)
	err := c.send(ctx, r, accept, log)
	log.failure(err)
	return err
}

// ready refuses a client that nobody made, and a nil context.
func (c *Client) ready(ctx context.Context, op string) error {
	if err := c.validate(op); err != nil {
		return err
	}
	if ctx == nil {
		return &ValidationError{op, "ctx", "must not be nil"}
	}
	return nil
}

// attempt sends the request once and reads the answer. Its error holds no secret; passing says that asking again may help.
func (c *Client) attempt(ctx context.Context, r request) (a answer, passing bool, err error) {
	conn := c.connection
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if conn.timeout > 0 {
		bounded, cancel = context.WithTimeout(ctx, conn.timeout)
	}
	defer cancel()

	ex := &exchange{Context: bounded, client: c, request: r}
	req := conn.requests.Get().(*resty.Request).SetContext(ex)
	req.Header = conn.header
	if r.body != nil {
		req.Header = conn.headerJSON
		ex.unsent.Reset(r.body)
		req.Body = &ex.unsent // a reader goes out as it is, where a []byte would be copied twice
	}
	var body []byte
	resp, err := req.Execute(r.method, conn.origin+"/instances/"+c.instanceID+"/token/-/"+r.op+r.query)
	req.Body, req.RawRequest = nil, nil // a pooled request must not keep the exchange alive
	conn.requests.Put(req.SetContext(context.Background()))
	if err == nil {
		body, err = ex.body(resp.RawResponse)
	}
	if err != nil && !isWhole(err) {
		passing, err = c.cause(ctx, bounded, err, ex.lost.Load())
		return answer{}, passing, err
	}
	return answer{resp.StatusCode(), resp.Header(), body, err}, false, nil
}

// cause says why there is no whole answer: the caller's context, the timeout, or the network. Of these the timeout may
// pass, and what the last hop saw; what a middleware refuses it would refuse again.
func (c *Client) cause(ctx, bounded context.Context, err error, lost bool) (passing bool, cause error) {
	if ended := contextEnd(ctx); ended != nil {
		return false, ended
	}
	if contextEnd(bounded) != nil {
		return true, timeoutError(c.connection.timeout)
	}
	return lost, c.secrets().redactor.cause(err)
}

// contextEnd is ctx.Err, and right too when the network notices a deadline before the context does.
func contextEnd(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// timeoutError is the end of [WithTimeout]. It is no [context.DeadlineExceeded]: that is the caller's.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no whole answer within %v", time.Duration(e))
}
func (e timeoutError) Timeout() bool { return true }

// check tells a success, nil, from a failure.
func (c *Client) check(op string, a answer, accept func(object) string) *APIError {
	members, reason := parseObject(a)
	code, message := textOf(members["error"]), textOf(members["message"])
	kind := kindOf(a.status, code)
	switch {
	case a.status >= 300 && a.status < 400:
		reason = "redirects are not followed"
	case a.status != http.StatusOK:
		reason = "" // the status says it all
	case reason != "":
		kind = ErrUnexpectedResponse
	case string(members["success"]) == "false":
		kind, reason = cmp.Or(kind, ErrRejected), "success is false"
	case code != "":
		kind, reason = cmp.Or(kind, ErrUnexpectedResponse), "an error with status 200"
	default:
		if reason = accept(members); reason == "" {
			return nil
		}
		kind = ErrUnexpectedResponse
	}
	redactor := c.secrets().redactor
	body := redactor.redact(string(a.body))
	return &APIError{
		Op:         op,
		StatusCode: a.status,
		Code:       shorten(redactor.redact(code), maxErrorPart),
		Message:    shorten(redactor.redact(message), maxErrorPart),
		RetryAfter: retryAfter(a.header.Get("Retry-After")),
		Body:       []byte(body[:min(len(body), maxErrorBody)]),
		kind:       kind,
		reason:     reason,
	}
}

// success is the documented answer to the letter, read once for all: nearly every answer is this one.
var success = object{"success": json.RawMessage("true")}

// parseObject gives the members of the one JSON object that the body must be, or what the body is instead.
func parseObject(a answer) (object, string) {
	switch {
	case a.err != nil:
		return nil, a.err.Error()
	case string(a.body) == `{"success":true}`, string(a.body) == `{"success": true}`:
		return success, ""
	}
	var members object
	if err := json.Unmarshal(a.body, &members); err != nil || members == nil {
		return nil, "the body is not one JSON object"
	}
	return members, ""
}

// textOf is the text of an "error" or "message": of a string its value, of null and anything empty none.
func textOf(raw json.RawMessage) string {
	switch string(raw) {
	case "", "{}", "[]":
		return ""
	}
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return text
	}
	return string(raw)
}

// succeeded accepts the documented {"success": true}.
func succeeded(members object) string {
	if string(members["success"]) != "true" {
		return "success is missing or not a boolean"
	}
	return ""
}

// retryAfter reads the header Retry-After, seconds or an HTTP date; 0 where it says nothing.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
