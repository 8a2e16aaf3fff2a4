package zapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// before is a middleware that looks at, changes or refuses a request.
func before(look func(*http.Request) error) zapi.Option {
	return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			if err := look(req); err != nil {
				return nil, err
			}
			return next.RoundTrip(req)
		})
	})
}

func TestMiddlewareOrderAndHeaders(t *testing.T) {
	t.Parallel()
	var order []string
	named := func(name string) zapi.Option {
		return before(func(req *http.Request) error {
			order = append(order, name)
			req.Header.Set("Traceparent", name)
			req.Header.Set("Client-Token", "forged")
			req.Header.Set("Accept-Encoding", "br")
			req.Host = "elsewhere.example.com"
			return nil
		})
	}
	var host string
	api := newMockAPI(func(req *http.Request) (*http.Response, error) {
		host = req.Host
		return succeeding(req)
	})
	require.NoError(t, setOnline(t.Context(), api.client(t, named("outer"), named("inner"))))
	assert.Equal(t, []string{"outer", "inner"}, order)
	header := api.requests()[0].Header
	assert.Equal(t, "inner", header.Get("Traceparent"), "what middleware adds is sent")
	assert.Equal(t, creds.ClientToken, header.Get("Client-Token"))
	assert.Empty(t, header.Get("Accept-Encoding"), "an answer that cannot be read cannot be redacted")
	assert.Empty(t, host)
}

func TestMiddlewareSeesThePlainAnswer(t *testing.T) {
	t.Parallel()
	const packed = "gzip"
	network := transportFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{"Content-Encoding": {packed}, "X-Request-Id": {"7"}},
			Trailer:    http.Header{"X-Trailer": {creds.ClientToken}},
			Body:       io.NopCloser(strings.NewReader(gzipped(t, `{"success":true}`))),
			Request:    req,
		}, nil
	})
	var seen *http.Response
	looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (resp *http.Response, err error) {
			resp, err = next.RoundTrip(req)
			seen = resp
			return resp, err
		})
	})
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), looking)
	require.NoError(t, err)
	require.NoError(t, setOnline(t.Context(), client))
	assert.Equal(t, http.Header{"X-Request-Id": {"7"}}, seen.Header)
	assert.Empty(t, seen.Trailer)
}

// counting is a body that knows whether it was closed.
type counting struct {
	io.Reader
	closed int
}

func (c *counting) Close() error {
	c.closed++
	return nil
}

func TestBodiesAreClosed(t *testing.T) {
	t.Parallel()
	answer := func(body *counting) transportFunc {
		return func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: body, Request: req}, nil
		}
	}
	t.Run("of the transport", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		client, err := zapi.NewClient(creds, zapi.WithTransport(answer(body)))
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client))
		assert.Equal(t, 1, body.closed)
	})
	t.Run("of a middleware", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		instead := zapi.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return answer(body) })
		require.NoError(t, setOnline(t.Context(), newClient(t, succeeding, instead)))
		assert.Equal(t, 1, body.closed)
	})
	t.Run("of a request that is not sent", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader("{}")}
		err := setOnline(t.Context(), newClient(t, succeeding, before(func(req *http.Request) error {
			req.Body, req.URL.Host = body, "elsewhere.example.com"
			return nil
		})))
		require.Error(t, err)
		assert.Equal(t, 1, body.closed)
	})
}

func TestMiddlewareCannotTakeTheSecretsElsewhere(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*http.Request){
		"host":    func(req *http.Request) { req.URL.Host = "evil.example.com" },
		"scheme":  func(req *http.Request) { req.URL.Scheme = "http" },
		"path":    func(req *http.Request) { req.URL.Path = "/collect" },
		"suffix":  func(req *http.Request) { req.URL.Path += "/../read-receipts" },
		"prefix":  func(req *http.Request) { req.URL.Path = "/elsewhere" + req.URL.Path },
		"method":  func(req *http.Request) { req.Method = http.MethodGet },
		"body":    func(req *http.Request) { req.Body, req.URL.Host = nil, "evil.example.com" },
		"context": func(req *http.Request) { *req = *req.WithContext(context.Background()) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			err := setOnline(t.Context(), api.client(t, before(func(req *http.Request) error {
				change(req)
				return nil
			})))
			isTransport(nil)(t, err)
			assert.EqualError(t, err, "zapi: privacy/online: a middleware changed where the request goes; nothing was sent")
			assert.Empty(t, api.requests())
		})
	}
}

func TestMiddlewareThatRefuses(t *testing.T) {
	t.Parallel()
	open := errors.New("circuit open")
	api := newMockAPI(succeeding)
	err := setOnline(t.Context(), api.client(t, before(func(*http.Request) error { return open })))
	isTransport(open)(t, err)
	assert.Empty(t, api.requests())
}

func TestMiddlewareThatAnswers(t *testing.T) {
	t.Parallel()
	answers := func(status int, header http.Header, body io.Reader) zapi.Option {
		return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return transportFunc(func(req *http.Request) (*http.Response, error) {
				if _, err := next.RoundTrip(req); err != nil { // its answer is thrown away
					return nil, err
				}
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: req}, nil
			})
		})
	}
	echo := answering(403, `{"error":"Client-Token `+creds.ClientToken+` not allowed"}`)
	tests := []struct {
		name string
		opt  zapi.Option
		want error
	}{
		{"success", answers(200, nil, strings.NewReader(`{"success":true}`)), nil},
		{"unavailable", answers(503, nil, strings.NewReader("")), zapi.ErrUnavailable},
		{"redirect", answers(307, http.Header{"Location": {"https://evil.example.com"}}, strings.NewReader("")), zapi.ErrUnexpectedResponse},
		{"endless", answers(200, nil, endless{}), zapi.ErrUnexpectedResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assertKind(t, tt.want, setOnline(t.Context(), newClient(t, echo, tt.opt)))
		})
	}
	t.Run("broken", func(t *testing.T) {
		t.Parallel()
		broken := io.MultiReader(strings.NewReader(`{"succ`), readerFunc(func([]byte) (int, error) {
			return 0, &url.Error{Op: "read", URL: creds.Token, Err: io.ErrUnexpectedEOF}
		}))
		err := setOnline(t.Context(), newClient(t, succeeding, answers(200, nil, broken)))
		isTransport(io.ErrUnexpectedEOF)(t, err)
		assertNoSecret(t, err.Error(), "error")
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
