package zapi

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
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

// exchange travels in the context of one attempt and tells the last hop whose request it is.
type exchange struct {
	client *Client
	method string
	op     string
	path   string                            // what req.URL.Path holds, "-" for the token
	lost   atomic.Bool                       // set when the network failed in a way that may pass
	quoted atomic.Pointer[func() quotedBody] // set when an answer quotes a secret; a closure, as for secrets
}

// quotedBody is a body that quotes a secret, beside the copy that is shown to middleware.
type quotedBody struct{ original, shown []byte }

type exchangeKey struct{}

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
		return nil, ex.client.secrets.redactor().cause(err)
	case resp == nil || resp.Body == nil:
		return nil, errNoAnswer
	}
	return conceal(resp, req, ex), nil
}

// expects reports whether req still goes where the client sent it: a middleware that follows redirects must not
// take the secrets to another host.
func (h lastHop) expects(req *http.Request, ex *exchange) bool {
	return req.Method == ex.method && req.URL.Path == ex.path &&
		req.URL.Scheme == h.base.Scheme && req.URL.Host == h.base.Host
}

// reveal gives the request as the API gets it.
func (h lastHop) reveal(req *http.Request, ex *exchange) *http.Request {
	token, clientToken := ex.client.secrets()
	outgoing := req.WithContext(withoutHeaderTrace(req.Context()))
	outgoing.URL = routeURL(h.base, ex.client.instanceID, token, ex.op)
	outgoing.URL.RawQuery = req.URL.RawQuery
	outgoing.Host = ""
	outgoing.Header = req.Header.Clone()
	outgoing.Header.Del("Accept-Encoding") // the transport then unpacks, so that the answer can be redacted
	if clientToken != "" {
		outgoing.Header.Set("Client-Token", clientToken)
	}
	return outgoing
}

// routeURL is where a call goes. The base URL's own escapes are kept; credentials hold nothing that needs cleaning.
func routeURL(base *url.URL, instanceID, token, op string) *url.URL {
	path := "/instances/" + instanceID + "/token/" + token + "/" + op
	route := *base
	route.Path += path
	if base.RawPath != "" {
		escaped := url.URL{Path: path}
		route.RawPath += escaped.EscapedPath()
	}
	return &route
}

// conceal reads the whole body and gives the answer as middleware may see it: the secrets redacted, the request the
// one with the placeholder. A redirect has no target left to follow.
func conceal(resp *http.Response, req *http.Request, ex *exchange) *http.Response {
	original, err := readBody(unpacked(resp))
	_ = resp.Body.Close() // read to its end or given up: either way there is no more to learn
	redactor := ex.client.secrets.redactor()
	text := redactor.redact(string(original))
	switch {
	case errors.Is(err, errTooLarge):
		text = text[:min(len(text), maxErrorBody)]
	case err != nil:
		ex.lost.Store(true)
		text = "" // it may end in half a secret
	case text != string(original):
		body := quotedBody{original, []byte(text)}
		quoted := func() quotedBody { return body }
		ex.quoted.Store(&quoted)
	}

	shown := *resp
	shown.Request = req
	shown.Status = redactor.redact(resp.Status)
	shown.Header = make(http.Header, len(resp.Header))
	for name, values := range resp.Header {
		for _, value := range values {
			shown.Header.Add(redactor.redact(name), redactor.redact(value))
		}
	}
	shown.Header.Del("Content-Encoding")
	shown.Header.Del("Location")
	shown.Trailer = nil
	shown.ContentLength = -1
	shown.Body = io.NopCloser(io.MultiReader(strings.NewReader(text), failingReader{err}))
	return &shown
}

// failingReader ends a body as the real one ended.
type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) {
	if r.err == nil {
		return 0, io.EOF
	}
	return 0, r.err
}

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

// readBody reads at most [maxAnswerBody] bytes; the error is nil only when that was all.
func readBody(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxAnswerBody+1))
	var corrupt flate.CorruptInputError
	switch {
	case len(data) > maxAnswerBody:
		return data[:maxAnswerBody], errTooLarge
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return data, errUnpacking
	}
	return data, err
}

// isWhole reports whether readBody failed on an answer that came in whole, so that asking again would not help.
func isWhole(err error) bool { return errors.Is(err, errTooLarge) || errors.Is(err, errUnpacking) }

// withoutHeaderTrace hides the two trace hooks that are handed header values: those of the request hold the Client-Token,
// and those of an early answer may echo it.
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

// originalBody gives back what [conceal] redacted, unless a middleware put another body in its place.
func (ex *exchange) originalBody(body []byte) []byte {
	if quoted := ex.quoted.Load(); quoted != nil {
		if b := (*quoted)(); bytes.Equal(body, b.shown) {
			return b.original
		}
	}
	return body
}
