package zapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
)

const tokenPlaceholder = "-"

var (
	errRerouted   = errors.New("a middleware changed where the request goes; nothing was sent")
	errNoContext  = errors.New("a middleware dropped the context of the request; nothing was sent")
	errNoResponse = errors.New("the transport returned neither a response nor an error")
)

// An exchange travels in the context of a request. It holds what secretTransport has to know of the instance and the call.
type exchange struct {
	secrets    sealed[*secrets]
	instanceID string
	route      string // below the token, escaped
	method     string
}

type exchangeKey struct{}

// routePath returns where a request goes, below the base URL, escaped. route is escaped already.
func routePath(instanceID, token, route string) string {
	prefix := url.URL{Path: "/instances/" + instanceID + "/token/" + token + "/"}
	return prefix.EscapedPath() + route
}

// A networkError is a failure that another attempt may avoid. Errors of middleware are not wrapped in it.
type networkError struct{ error }

func (e networkError) Unwrap() error { return e.error }

// A secretTransport puts the secrets into a copy of each request and redacts them in each response. The token is part of
// the path, where traces and logs of middleware would record it. So what is above this transport, resty and middleware,
// works with a placeholder, and only the transport below it sees the real request.
type secretTransport struct {
	next http.RoundTripper
	base *url.URL
}

func (t secretTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, _ := req.Context().Value(exchangeKey{}).(*exchange)
	if err := t.check(req, x); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper must
		}
		return nil, err
	}
	secrets := x.secrets()
	resp, err := t.next.RoundTrip(t.reveal(req, x, secrets))
	switch {
	case err != nil:
		return nil, classify(secrets.redactor.withoutSecrets(err), req)
	case resp == nil:
		return nil, errNoResponse
	}
	return conceal(resp, req, secrets.redactor), nil
}

// check returns an error unless req still goes where the client sent it: a middleware that follows redirects must not take
// the secrets to another host.
func (t secretTransport) check(req *http.Request, x *exchange) error {
	switch {
	case x == nil:
		return errNoContext
	case req.Method != x.method, req.URL.Scheme != t.base.Scheme, req.URL.Host != t.base.Host,
		req.URL.EscapedPath() != t.base.EscapedPath()+routePath(x.instanceID, tokenPlaceholder, x.route):
		return errRerouted
	}
	return nil
}

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

// reveal returns the request as the API gets it.
func (t secretTransport) reveal(req *http.Request, x *exchange, secrets *secrets) *http.Request {
	outgoing := req.WithContext(withoutSecretTrace(req.Context(), secrets.redactor))
	u := *t.base
	u.RawPath = t.base.EscapedPath() + routePath(x.instanceID, secrets.token, x.route)
	u.Path, _ = url.PathUnescape(u.RawPath) // cannot fail: its parts were escaped
	u.RawQuery = req.URL.RawQuery
	outgoing.URL = &u
	outgoing.Host = ""
	outgoing.Header = maps.Clone(req.Header)
	maps.DeleteFunc(outgoing.Header, func(name string, _ []string) bool {
		return strings.EqualFold(name, "Client-Token") || // a middleware may have set one, in any case
			strings.EqualFold(name, "Accept-Encoding") // without it the transport decompresses, and the body can be redacted
	})
	if len(secrets.clientToken) > 0 {
		outgoing.Header["Client-Token"] = secrets.clientToken
	}
	return outgoing
}

// conceal reads the whole body and returns the response as middleware may see it: without secrets, and with the
// request that has the placeholder. A body that is not whole is shown empty, as its end may be half a secret.
func conceal(resp *http.Response, req *http.Request, redactor redactor) *http.Response {
	body := &shownBody{}
	if resp.Body != nil { // nil is allowed for a RoundTripper
		if resp.StatusCode != http.StatusSwitchingProtocols { // the raw connection: no context ends a read of it
			body.text, body.err = readBody(resp.Body, resp.ContentLength)
		}
		_ = resp.Body.Close() // read to its end or given up: the error of Close adds nothing
	}
	switch {
	case body.err != nil && !isBadContent(body.err):
		body.text, body.err = nil, networkError{redactor.withoutSecrets(body.err)}
	case len(body.text) > 0 && resp.Header.Get("Content-Encoding") != "":
		body.text, body.err = nil, errEncoded // it cannot be redacted
	}
	body.text = redactor.redactBody(body.text)

	shown := *resp
	shown.Request = req
	shown.Status = redactor.redact(resp.Status)
	shown.Header = redactor.redactHeader(resp.Header)
	for _, name := range []string{"Content-Encoding", "Location"} { // the body is decoded, and redirects are not followed
		if shown.Header[name] != nil {
			shown.Header = shown.Header.Clone()
			delete(shown.Header, name)
		}
	}
	shown.Trailer = nil
	shown.ContentLength = -1
	shown.Body = body
	if resp.TLS != nil && inCertificates(*resp.TLS, redactor) {
		shown.TLS = nil
	}
	return &shown
}

// A shownBody is a body as middleware may see it. It ends as the real one ended.
type shownBody struct {
	text []byte // the part not read yet
	err  error  // nil for a complete body
}

func (b *shownBody) Read(p []byte) (int, error) {
	if len(b.text) == 0 && len(p) > 0 {
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

// withoutSecretTrace hides from a trace what holds a secret: the fields of the request's header, of which one is the
// Client-Token, those of a 1xx response, which may echo it, and a certificate that quotes one.
func withoutSecretTrace(ctx context.Context, redactor redactor) context.Context {
	if httptrace.ContextClientTrace(ctx) == nil {
		return ctx
	}
	return quietContext{ctx, redactor}
}

type quietContext struct {
	context.Context

	redactor redactor
}

func (c quietContext) Value(key any) any {
	value := c.Context.Value(key)
	trace, ok := value.(*httptrace.ClientTrace)
	if !ok {
		return value
	}
	quiet := *trace
	quiet.WroteHeaderField, quiet.Got1xxResponse = nil, nil
	if done := trace.TLSHandshakeDone; done != nil {
		quiet.TLSHandshakeDone = func(state tls.ConnectionState, err error) {
			if inCertificates(state, c.redactor) {
				state = tls.ConnectionState{}
			}
			done(state, c.redactor.withoutSecrets(err))
		}
	}
	return &quiet
}

// inCertificates reports whether a certificate of the server quotes a secret.
func inCertificates(state tls.ConnectionState, redactor redactor) bool {
	return slices.ContainsFunc(state.PeerCertificates, func(c *x509.Certificate) bool { return redactor.inBytes(c.Raw) })
}
