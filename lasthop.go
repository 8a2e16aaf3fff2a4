package zapi

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

const (
	tokenPlaceholder  = "-"
	maxResponseBody   = 1 << 20 // bytes, after decompression; tens of thousands of contacts fit
	maxResponseHeader = 64 << 10
)

var (
	errRerouted   = errors.New("a middleware changed where the request goes; nothing was sent")
	errNoContext  = errors.New("a middleware dropped the context of the request; nothing was sent")
	errNoResponse = errors.New("the transport returned neither a response nor an error")
	errTooLarge   = errors.New("the body is larger than 1 MiB")
	errBadGzip    = errors.New("the body is not valid gzip")
)

// An exchange travels in the context of a request. It holds what lastHop needs to know of the instance and the call.
type exchange struct {
	secrets    sealed[*secrets]
	instanceID string
	op         string
	method     string
	path       string                               // below the base URL, with the placeholder
	redacted   atomic.Pointer[sealed[redactedBody]] // set by lastHop if the body of the response quotes a secret
}

type exchangeKey struct{}

// A redactedBody is a body before and after its redaction.
type redactedBody struct{ original, shown []byte }

// routePath returns where a request goes, below the base URL.
func routePath(instanceID, token, op string) string {
	return "/instances/" + instanceID + "/token/" + token + "/" + op
}

// original returns body as it was before its redaction, or unchanged if a middleware replaced it. It is needed for
// decoding, as a secret may equal a word of the documented response.
func (x *exchange) original(body []byte) []byte {
	if seal := x.redacted.Load(); seal != nil {
		if b := (*seal)(); bytes.Equal(body, b.shown) {
			return b.original
		}
	}
	return body
}

// A networkError is a failure that a retry may avoid. Errors of middleware are not wrapped in it.
type networkError struct{ error }

func (e networkError) Unwrap() error { return e.error }

// A lastHop puts the secrets into a copy of each request and redacts them in each response. What is above it, resty and
// middleware, never holds one.
type lastHop struct {
	next http.RoundTripper
	base *url.URL
}

func (h lastHop) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, refuse(req, errNoContext)
	}
	if !h.expects(req, x) {
		return nil, refuse(req, errRerouted)
	}
	resp, err := h.next.RoundTrip(h.reveal(req, x))
	if err != nil {
		return nil, classify(x.secrets().redactor.cause(err), req)
	}
	if resp == nil {
		return nil, errNoResponse
	}
	return conceal(resp, req, x), nil
}

// refuse closes the body of req, as a RoundTripper must, and returns err.
func refuse(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return err
}

// classify wraps an error of the transport in a networkError if a retry may avoid it.
func classify(err error, req *http.Request) error {
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)): // an attack or a mistake: a retry would meet it again
		return err
	case strings.HasPrefix(err.Error(), "no responder found"): // httpmock, for a request that a test did not expect
		return fmt.Errorf("%w: %s %s", err, req.Method, req.URL.Path)
	}
	return networkError{err}
}

// expects reports whether req still goes where the client sent it: a middleware that follows redirects must not take
// the secrets to another host.
func (h lastHop) expects(req *http.Request, x *exchange) bool {
	return req.Method == x.method && req.URL.Scheme == h.base.Scheme && req.URL.Host == h.base.Host &&
		req.URL.Path == h.base.Path+x.path
}

// reveal returns the request as the API gets it.
func (h lastHop) reveal(req *http.Request, x *exchange) *http.Request {
	secrets := x.secrets()
	outgoing := req.WithContext(withoutHeaderTrace(req.Context()))
	outgoing.URL = appendPath(h.base, routePath(x.instanceID, secrets.token, x.op))
	outgoing.URL.RawQuery = req.URL.RawQuery
	outgoing.Host = ""
	outgoing.Header = maps.Clone(req.Header)
	outgoing.Header.Del("Accept-Encoding") // so that the transport decompresses the response, which can then be redacted
	if len(secrets.clientToken) > 0 {
		outgoing.Header["Client-Token"] = secrets.clientToken
	}
	return outgoing
}

// appendPath is like base.JoinPath, but keeps the path of base as it is written.
func appendPath(base *url.URL, path string) *url.URL {
	u := *base
	u.Path += path
	if base.RawPath != "" {
		u.RawPath += (&url.URL{Path: path}).EscapedPath()
	}
	return &u
}

// conceal reads the whole body and returns the response as middleware may see it: without secrets, and with the
// request that has the placeholder.
func conceal(resp *http.Response, req *http.Request, x *exchange) *http.Response {
	redactor := x.secrets().redactor
	original, err := readBody(bodyOf(resp))
	if resp.Body != nil {
		_ = resp.Body.Close() // read to its end or given up: the error of Close adds nothing
	}
	body := &shownBody{text: redactor.redact(string(original)), err: err}
	switch {
	case errors.Is(err, errTooLarge):
		body.text = body.text[:min(len(body.text), maxErrorBody)] // the end may be half a secret
	case err != nil:
		body.text = "" // likewise
		if !isBadContent(err) {
			body.err = networkError{redactor.cause(err)}
		}
	case body.text != string(original):
		both := seal(redactedBody{original, []byte(body.text)})
		x.redacted.Store(&both)
	}
	shown := *resp
	shown.Request = req
	shown.Status = redactor.redact(resp.Status)
	shown.Header = redactor.redactHeader(resp.Header)
	shown.Trailer = nil
	shown.ContentLength = -1
	shown.Body = body
	return &shown
}

// A shownBody is a body as middleware may see it. It ends as the real one ended.
type shownBody struct {
	text string // the part not read yet
	err  error  // nil for a complete body
}

func (b *shownBody) Read(p []byte) (int, error) {
	if b.text == "" && len(p) > 0 {
		if b.err != nil {
			return 0, b.err
		}
		return 0, io.EOF
	}
	n := copy(p, b.text)
	b.text = b.text[n:]
	return n, nil
}

func (b *shownBody) Close() error { return nil }

// bodyOf returns the body of resp, without the gzip that a server may send unasked.
func bodyOf(resp *http.Response) io.Reader {
	switch {
	case resp.Body == nil: // allowed for a RoundTripper
		return http.NoBody
	case resp.StatusCode == http.StatusSwitchingProtocols: // the raw connection: no context ends a read of it
		return http.NoBody
	case !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip"):
		return resp.Body
	}
	reader, err := gzip.NewReader(resp.Body)
	if err != nil {
		return failingReader{err}
	}
	return reader
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// readBody reads at most [maxResponseBody] bytes. The error is nil only if the body ended within that limit.
func readBody(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxResponseBody+1))
	switch {
	case len(data) > maxResponseBody:
		return data[:maxResponseBody], errTooLarge
	case err != nil && isBadGzip(err):
		return data, errBadGzip
	}
	return data, err
}

func isBadGzip(err error) bool {
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, new(flate.CorruptInputError))
}

// isBadContent reports whether err, from readBody, is a fault of the content and not of the network: a retry would bring
// the same.
func isBadContent(err error) bool { return errors.Is(err, errTooLarge) || errors.Is(err, errBadGzip) }

// withoutHeaderTrace hides the two trace hooks that receive headers: those of the request hold the Client-Token, and
// those of a 1xx response may echo it.
func withoutHeaderTrace(ctx context.Context) context.Context {
	if httptrace.ContextClientTrace(ctx) == nil {
		return ctx
	}
	return headerTraceless{ctx}
}

type headerTraceless struct{ context.Context }

func (c headerTraceless) Value(key any) any {
	value := c.Context.Value(key)
	if trace, ok := value.(*httptrace.ClientTrace); ok {
		quiet := *trace
		quiet.WroteHeaderField, quiet.Got1xxResponse = nil, nil
		return &quiet
	}
	return value
}
