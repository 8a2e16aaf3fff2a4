package zapi

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	maxAnswerBody   = 1 << 20 // bytes, after decompression; tens of thousands of contacts fit
	maxAnswerHeader = 64 << 10
)

var (
	errRerouted  = errors.New("a middleware changed where the request goes; nothing was sent")
	errNoAnswer  = errors.New("the transport returned neither an answer nor an error")
	errTooLarge  = errors.New("the body is larger than 1 MiB")
	errUnpacking = errors.New("the body is no valid gzip")
)

// exchange is the context of one attempt and tells the last hop whose request it is.
type exchange struct {
	context.Context // it is that context itself, which saves wrapping it

	client  *Client
	request request
	unsent  bytes.Reader              // of the request's body
	lost    atomic.Bool               // set when the network failed in a way that may pass
	quoted  atomic.Pointer[wholeBody] // set when an answer quotes a secret
}

type exchangeKey struct{}

// Value finds the exchange in any context derived from it.
func (ex *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return ex
	}
	return ex.Context.Value(key)
}

// lastHop puts the secrets into a copy of each request, under resty and under all middleware, and takes them out of
// each answer: nothing above it ever holds one.
type lastHop struct {
	next http.RoundTripper
	base *url.URL
}

func (h lastHop) RoundTrip(req *http.Request) (*http.Response, error) {
	ex, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok || !h.expects(req, ex) {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper owes this, and nothing was written that could fail
		}
		return nil, errRerouted
	}
	resp, err := h.next.RoundTrip(h.reveal(req, ex))
	switch {
	case err != nil:
		var untrusted *tls.CertificateVerificationError
		ex.lost.Store(!errors.As(err, &untrusted))
		return nil, ex.client.secrets().redactor.cause(err)
	case resp == nil || resp.Body == nil:
		return nil, errNoAnswer
	}
	return conceal(resp, req, ex), nil
}

// expects reports whether req still goes where the client sent it: a middleware that follows redirects must not
// take the secrets to another host.
func (h lastHop) expects(req *http.Request, ex *exchange) bool {
	return req.Method == ex.request.method && req.URL.Scheme == h.base.Scheme && req.URL.Host == h.base.Host &&
		consistsOf(req.URL.Path, h.base.Path, "/instances/", ex.client.instanceID, "/token/-/", ex.request.op)
}

// consistsOf compares without building the whole.
func consistsOf(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.HasPrefix(text, part) {
			return false
		}
		text = text[len(part):]
	}
	return text == ""
}

// reveal gives the request as the API gets it.
func (h lastHop) reveal(req *http.Request, ex *exchange) *http.Request {
	secrets := ex.client.secrets()
	if httptrace.ContextClientTrace(req.Context()) != nil {
		req = req.WithContext(headerTraceless{req.Context()})
	}
	copied := &struct { // one allocation for both
		http.Request
		url url.URL
	}{*req, *h.base}
	outgoing := &copied.Request
	outgoing.URL = &copied.url
	path := "/instances/" + ex.client.instanceID + "/token/" + secrets.token + "/" + ex.request.op
	outgoing.URL.Path += path
	if h.base.RawPath != "" {
		escaped := url.URL{Path: path}
		outgoing.URL.RawPath += escaped.EscapedPath()
	}
	outgoing.URL.RawQuery = req.URL.RawQuery
	outgoing.Host = ""
	outgoing.Header = make(http.Header, len(req.Header)+1)
	maps.Copy(outgoing.Header, req.Header) // values are shared: nobody changes those of a request
	outgoing.Header.Del("Accept-Encoding") // the transport then unpacks, so that the answer can be redacted
	if len(secrets.clientToken) > 0 {
		outgoing.Header["Client-Token"] = secrets.clientToken
	}
	return outgoing
}

// conceal reads the whole body and gives the answer as middleware may see it: the secrets redacted, the request the
// one with the placeholder.
func conceal(resp *http.Response, req *http.Request, ex *exchange) *http.Response {
	concealed := &struct { // one allocation for both
		http.Response
		body wholeBody
	}{Response: *resp}
	original, err := readBody(unpacked(resp), resp.ContentLength)
	_ = resp.Body.Close() // read to its end or given up: either way there is no more to learn
	body := &concealed.body
	body.shown, body.err = original, err
	redactor := ex.client.secrets().redactor
	switch {
	case errors.Is(err, errTooLarge):
		body.shown = []byte(redactor.redact(string(original)))
		body.shown = body.shown[:min(len(body.shown), maxErrorBody)] // the end may be half a secret
	case err != nil:
		ex.lost.Store(true)
		body.shown = nil // likewise
	case redactor.in(string(original)):
		body.shown = []byte(redactor.redact(string(original)))
		body.original = func() []byte { return original }
		ex.quoted.Store(body)
	}
	body.unread.Reset(body.shown)

	concealed.Request = req
	concealed.Status = redactor.redact(resp.Status)
	if redactor.inHeader(resp.Header) {
		concealed.Header = redactor.redactHeader(resp.Header)
	}
	concealed.Trailer = nil
	concealed.ContentLength = -1
	concealed.Body = body
	return &concealed.Response
}

// wholeBody is a body that was read to its end, as middleware may see it.
type wholeBody struct {
	unread   bytes.Reader // of shown
	shown    []byte
	original func() []byte // where it quotes a secret; a closure, as for secrets
	err      error         // how the body ended, nil for well
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.unread.Read(p)
	if err != nil && b.err != nil {
		err = b.err
	}
	return n, err
}

func (b *wholeBody) Close() error { return nil }

// failingReader is a body that cannot be read.
type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// unpacked is the body of resp without the gzip that a server may send unasked.
func unpacked(resp *http.Response) io.Reader {
	if !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		return resp.Body
	}
	reader, err := gzip.NewReader(resp.Body)
	if err != nil {
		return failingReader{err}
	}
	return reader
}

// readBody reads at most [maxAnswerBody] bytes, of which length are expected; the error is nil only when that was all.
// It is io.ReadAll with a limit, and without its 512 bytes for an answer of sixteen.
func readBody(body io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > maxAnswerBody {
		length = bytes.MinRead
	}
	data := make([]byte, 0, length+1) // room to see the end
	for {
		n, err := body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case len(data) > maxAnswerBody:
			return data[:maxAnswerBody], errTooLarge
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil && isCorrupt(err):
			return data, errUnpacking
		case err != nil:
			return data, err
		case len(data) == cap(data):
			data = slices.Grow(data, len(data))
		}
	}
}

func isCorrupt(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt)
}

// isWhole reports whether readBody failed on an answer that came in whole, so that asking again would not help.
func isWhole(err error) bool { return errors.Is(err, errTooLarge) || errors.Is(err, errUnpacking) }

// headerTraceless hides the two trace hooks that are handed header values: those of the request hold the Client-Token,
// and those of an early answer may echo it.
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

// body is an answer's body for the client, secrets and all, unless a middleware put another in its place.
func (ex *exchange) body(resp *http.Response) ([]byte, error) {
	body, untouched := resp.Body.(*wholeBody)
	if !untouched {
		data, err := readBody(resp.Body, resp.ContentLength)
		_ = resp.Body.Close() // read to its end or given up
		if body = ex.quoted.Load(); body == nil || !bytes.Equal(data, body.shown) {
			return data, err
		} // a middleware wrapped the body, as tracing does
	}
	if body.original != nil {
		return body.original(), body.err
	}
	return body.shown, body.err
}
