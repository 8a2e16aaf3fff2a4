package zapi_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// The credentials of a test may be words of the response, whose redaction must not change how it is decoded.
func TestSecretsThatAreCommonWords(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		status     int
		want       error
	}{
		{"success", `{"success":true}`, 200, nil},
		{"rejected", `{"success":false}`, 200, zapi.ErrRejected},
		{"account token missing", `{"error":"your client-token is not configured"}`, 400, zapi.ErrUnauthorized},
	}
	for _, tt := range tests {
		for _, common := range []zapi.Credentials{
			{InstanceID: "instance", Token: "token", ClientToken: "client-token"},
			{InstanceID: "instance", Token: "success", ClientToken: "true"},
			{InstanceID: "instance", Token: "e", ClientToken: "\""},
		} {
			t.Run(tt.name+" with "+common.Token, func(t *testing.T) {
				t.Parallel()
				for _, middleware := range [][]zapi.Option{nil, {wrapping}} {
					opts := []zapi.Option{zapi.WithTransport(newMockAPI(responding(tt.status, tt.body))), once}
					client, err := zapi.NewClient(common, append(opts, middleware...)...)
					require.NoError(t, err)
					assertKind(t, tt.want, setOnline(t.Context(), client))
				}
			})
		}
	}
}

// The Content-Length is not trusted: a false or huge one changes nothing.
func TestContentLengthIsOnlyAHint(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{-1, 0, 1, 15, 16, 1 << 20, 1 << 21, 1 << 60} {
		network := transportFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := succeeding(req)
			resp.ContentLength = length
			return resp, err
		})
		client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client), length)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	const documented = `{"success":true}`
	large := `{"success":true,"pad":"` + strings.Repeat("x", 1<<20-26) + `"}`
	require.Len(t, large, 1<<20-1)
	packed := gzipped(t, documented)
	packedHeader := func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip") }
	tests := []struct {
		name    string
		handler http.HandlerFunc
		check   func(*testing.T, error)
	}{
		{"up to 1 MiB is read", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }, succeeds},
		{"beyond it is no response", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, documented+strings.Repeat(" ", 1<<20))
		}, isUnexpected("unexpected response: the body is larger than 1 MiB")},
		{"gzip", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, packed)
		}, succeeds},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, gzipped(t, documented+strings.Repeat(" ", 64<<20)))
		}, isUnexpected("unexpected response: the body is larger than 1 MiB")},
		{"gzip that is none", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, documented)
		}, isUnexpected("unexpected response: the body is not valid gzip")},
		{"cut gzip", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, packed[:len(packed)/2])
		}, isTransport(io.ErrUnexpectedEOF)},
		{"cut body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, documented)
		}, isTransport(io.ErrUnexpectedEOF)},
		{"cut body of an error", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, documented)
		}, isTransport(io.ErrUnexpectedEOF)},
		{"connection closed without a response", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, isTransport(io.EOF)},
		{"endless header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
		}, isTransport(nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.check(t, setOnline(t.Context(), serve(t, tt.handler)))
		})
	}
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	require.NoError(t, err)
}

func isUnexpected(text string) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		require.EqualError(t, err, "zapi: privacy/online: "+text)
		assertKind(t, zapi.ErrUnexpectedResponse, err)
	}
}

// A server or proxy may pack a response although the transport did not ask for it.
func TestGzipThatTheTransportLeaves(t *testing.T) {
	t.Parallel()
	packed := http.Header{"Content-Encoding": {"gzip"}}
	err := setOnline(t.Context(), newClient(t, responding(200, gzipped(t, `{"success":true}`)).HeaderSet(packed)))
	require.NoError(t, err)
	err = setOnline(t.Context(), newClient(t, responding(403, gzipped(t, `{"error":"`+creds.ClientToken+` not allowed"}`)).HeaderSet(packed)))
	require.EqualError(t, err, "zapi: privacy/online: 403 Forbidden: [REDACTED] not allowed")
	err = setOnline(t.Context(), newClient(t, responding(200, "not packed at all").HeaderSet(packed)))
	require.ErrorIs(t, err, zapi.ErrUnexpectedResponse)
	err = setOnline(t.Context(), newClient(t, responding(405, "").HeaderSet(packed)))
	require.ErrorIs(t, err, zapi.ErrMethodNotAllowed)
}

func TestNeitherResponseNorError(t *testing.T) {
	t.Parallel()
	network := transportFunc(func(*http.Request) (*http.Response, error) { return nil, nil })
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
	require.NoError(t, err)
	require.EqualError(t, setOnline(t.Context(), client), "zapi: privacy/online: no response: the transport returned neither a response nor an error")
}

// dump is a middleware that writes down all it can see.
func dump(seen *strings.Builder) zapi.Option {
	write := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(seen, "%v\n%+v\n%#v\n", v, v, v)
			failed := &failedTest{}
			assert.Equal(failed, []any{v}, v)
			seen.WriteString(failed.text)
		}
	}
	return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (*http.Response, error) {
			request, _ := httputil.DumpRequest(req, true)
			seen.Write(request)
			write(req.URL, req.Header, req, req.Context())
			resp, err := next.RoundTrip(req)
			write(err, req, req.Context())
			if err != nil {
				return resp, err
			}
			if resp.Request != req {
				seen.WriteString("another request in the response: " + creds.Token)
			}
			response, _ := httputil.DumpResponse(resp, true)
			seen.Write(response)
			write(resp, resp.Header, resp.Request, req.Context())
			return resp, err
		})
	})
}

func TestMiddlewareSeesNoSecret(t *testing.T) {
	t.Parallel()
	for i, failure := range failures {
		for _, c := range []zapi.Credentials{creds, awkward} {
			t.Run(failure.name+" with "+c.Token[:5], func(t *testing.T) {
				t.Parallel()
				var seen strings.Builder
				plain := failingCall(t, i, c)
				dumped := failingCall(t, i, c, dump(&seen))
				assert.Contains(t, seen.String(), "/instances/"+c.InstanceID+"/token/-/privacy/last-seen")
				assertNoQuote(t, c, seen.String(), "dump")
				var apiErr *zapi.APIError
				if errors.As(plain, &apiErr) {
					assert.ErrorContains(t, dumped, strings.Split(plain.Error(), "127.0.0.1")[0], "looking on changes nothing")
				}
			})
		}
	}
}

// Half a secret cannot be found and redacted, so middleware gets nothing that may end in one.
func TestMiddlewareSeesNoHalfSecret(t *testing.T) {
	t.Parallel()
	half := creds.ClientToken[:len(creds.ClientToken)-1]
	tests := []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"body cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "page "+half)
		}},
		{"body of broken gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			_, _ = io.WriteString(packed, "page "+half)
			_ = packed.Flush()
			_, _ = io.WriteString(w, "\a") // begins a block of a type that does not exist
		}},
		{"body beyond the limit", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "page"+strings.Repeat(" ", 1<<20-len(half)-4)+creds.ClientToken)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen string
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err != nil {
						return nil, err
					}
					body, err := io.ReadAll(resp.Body)
					seen = fmt.Sprint(string(body), err)
					return nil, err
				})
			})
			require.Error(t, setOnline(t.Context(), serve(t, tt.handler, looking)))
			assert.NotEmpty(t, seen)
			assert.NotContains(t, seen, half)
		})
	}
}

// The trace hooks of the caller's context are run by the transport, under the last hop.
func TestTraceSeesNoSecret(t *testing.T) {
	t.Parallel()
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Client-Token")+r.URL.Path)
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	var headers, events []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteHeaderField: func(name string, values []string) { headers = append(headers, fmt.Sprint(name, values)) },
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			headers = append(headers, fmt.Sprint(header))
			return nil
		},
		GotConn:      func(info httptrace.GotConnInfo) { events = append(events, fmt.Sprintf("%+v", info)) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { events = append(events, fmt.Sprintf("%+v", info)) },
	})
	require.NoError(t, setOnline(ctx, client))
	assert.Len(t, events, 2, "the other hooks are kept")
	assertNoSecret(t, fmt.Sprint(events), "trace")
	assert.Empty(t, headers)
}

// A real TLS server whose certificate nobody trusts is asked once.
func TestUntrustedServerIsAskedOnce(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			asked.Store(conn.RemoteAddr().String(), true)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL))
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)
	assert.Equal(t, 1, attemptsOf(err))
	connections := 0
	asked.Range(func(any, any) bool { connections++; return true })
	assert.Equal(t, 1, connections)
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
	assert.Empty(t, header.Get("Accept-Encoding"), "a response that cannot be read cannot be redacted")
	assert.Empty(t, host)
}

func TestMiddlewareSeesThePlainResponse(t *testing.T) {
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
	assert.EqualValues(t, -1, seen.ContentLength, "redaction may change the length")
}

func TestBodiesAreClosed(t *testing.T) {
	t.Parallel()
	response := func(body *counting) transportFunc {
		return func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: body, Request: req}, nil
		}
	}
	t.Run("of the transport", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		client, err := zapi.NewClient(creds, zapi.WithTransport(response(body)))
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client))
		assert.Equal(t, 1, body.closed)
	})
	t.Run("of a middleware", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		instead := zapi.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return response(body) })
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
		"host":   func(req *http.Request) { req.URL.Host = "evil.example.com" },
		"scheme": func(req *http.Request) { req.URL.Scheme = "http" },
		"path":   func(req *http.Request) { req.URL.Path = "/collect" },
		"suffix": func(req *http.Request) { req.URL.Path += "/../read-receipts" },
		"prefix": func(req *http.Request) { req.URL.Path = "/elsewhere" + req.URL.Path },
		"method": func(req *http.Request) { req.Method = http.MethodGet },
		"body":   func(req *http.Request) { req.Body, req.URL.Host = nil, "evil.example.com" },
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
			assert.EqualError(t, err, "zapi: privacy/online: no response: a middleware changed where the request goes; nothing was sent")
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

func TestMiddlewareThatResponds(t *testing.T) {
	t.Parallel()
	respondingWith := func(status int, header http.Header, body io.Reader) zapi.Option {
		return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return transportFunc(func(req *http.Request) (*http.Response, error) {
				if _, err := next.RoundTrip(req); err != nil { // its response is thrown away
					return nil, err
				}
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: req}, nil
			})
		})
	}
	echo := responding(403, `{"error":"Client-Token `+creds.ClientToken+` not allowed"}`)
	tests := []struct {
		name string
		opt  zapi.Option
		want error
	}{
		{"success", respondingWith(200, nil, strings.NewReader(`{"success":true}`)), nil},
		{"unavailable", respondingWith(503, nil, strings.NewReader("")), zapi.ErrUnavailable},
		{"redirect", respondingWith(307, http.Header{"Location": {"https://evil.example.com"}}, strings.NewReader("")), zapi.ErrUnexpectedResponse},
		{"endless", respondingWith(200, nil, endless{}), zapi.ErrUnexpectedResponse},
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
		err := setOnline(t.Context(), newClient(t, succeeding, respondingWith(200, nil, broken)))
		isTransport(io.ErrUnexpectedEOF)(t, err)
		assertNoSecret(t, err.Error(), "error")
	})
}

// The body of a 101 is the raw connection, and no context ends a read of it.
func TestSwitchingProtocolsFailsAtOnce(t *testing.T) {
	t.Parallel()
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	}, zapi.WithTimeout(0))
	err := setOnline(t.Context(), client)
	require.EqualError(t, err, "zapi: privacy/online: 101 Switching Protocols: the documented status is 200")
	assertKind(t, zapi.ErrUnexpectedResponse, err)
}

func TestResponseWithoutBody(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{200: zapi.ErrUnexpectedResponse, 403: zapi.ErrUnauthorized, 503: zapi.ErrUnavailable} {
		network := transportFunc(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: status}, nil })
		client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
		require.NoError(t, err)
		assertKind(t, want, setOnline(t.Context(), client))
	}
}

// What a middleware sees of an error of the body, or of the names of header fields, is redacted, too.
func TestMiddlewareSeesNoSecretInOddPlaces(t *testing.T) {
	t.Parallel()
	responses := map[string]func(zapi.Credentials) string{
		"a broken trailer": func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + c.ClientToken + "\r\n\r\n"
		},
		"a broken chunk": func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n" + c.ClientToken + "\r\n\r\n"
		},
		"the name of a header field": func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Forbidden\r\nX-" + c.ClientToken + ": 1\r\n" + strings.ToLower(c.Token) + ": 2\r\nY-" + strings.ReplaceAll(c.Token, "-", "%2d") + ": 3\r\nContent-Length: 2\r\n\r\n{}"
		},
	}
	for name, response := range responses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen strings.Builder
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err == nil {
						body, bodyErr := io.ReadAll(resp.Body)
						fmt.Fprintf(&seen, "%v %s %v %+v %#v", resp.Header, body, bodyErr, bodyErr, errors.Unwrap(bodyErr))
						resp.Body = io.NopCloser(strings.NewReader(string(body)))
					}
					fmt.Fprintf(&seen, "%v", err)
					return resp, err
				})
			})
			client, err := zapi.NewClient(creds, append(rawResponse(t, response), once, looking)...)
			require.NoError(t, err)
			require.Error(t, setOnline(t.Context(), client))
			assertNoSecret(t, strings.ToLower(seen.String()), "middleware")
			for _, secret := range []string{creds.Token, creds.ClientToken} {
				assert.NotContains(t, strings.ToLower(seen.String()), strings.ToLower(secret))
				assert.NotContains(t, strings.ToLower(seen.String()), strings.ReplaceAll(strings.ToLower(secret), "-", "%2d"))
			}
		})
	}
}

// The original body of a redacted response belongs to the exchange that received it, and to no other.
func TestReplayedResponseStaysRedacted(t *testing.T) {
	t.Parallel()
	var kept []byte
	caching := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (*http.Response, error) {
			if kept == nil {
				resp, err := next.RoundTrip(req)
				if err != nil {
					return nil, err
				}
				kept, err = io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(strings.NewReader(string(kept)))
				return resp, err
			}
			return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(strings.NewReader(string(kept))), Request: req}, nil
		})
	})
	first := newClient(t, responding(400, `{"error":"`+creds.ClientToken+`"}`), caching)
	second, err := first.ForInstance(zapi.Credentials{InstanceID: "second", Token: "second-token", ClientToken: "second-client-token"})
	require.NoError(t, err)
	for _, client := range []*zapi.Client{first, second} {
		var apiErr *zapi.APIError
		require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
		assert.JSONEq(t, `{"error":"[REDACTED]"}`, string(apiErr.Body))
	}
}

// Secrets of fewer than six characters are test values: they stand in every response.
func TestShortSecretsAreLeftAlone(t *testing.T) {
	t.Parallel()
	response := responding(429, `{"error":"wait 120 seconds"}`).HeaderSet(http.Header{"Retry-After": {"120"}})
	client, err := zapi.NewClient(zapi.Credentials{InstanceID: "1", Token: "wait", ClientToken: "1"}, zapi.WithTransport(newMockAPI(response)), once)
	require.NoError(t, err)
	var apiErr *zapi.APIError
	require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
	assert.Equal(t, 2*time.Minute, apiErr.RetryAfter)
	assert.Equal(t, "wait 120 seconds", apiErr.Code)
}

// A test that forgot a responder learns at once which one.
func TestMissingResponder(t *testing.T) {
	t.Parallel()
	path := "POST /instances/" + creds.InstanceID + "/token/-/privacy/online"
	tests := []struct{ name, method, url, want string }{
		{"another route", "POST", realURL("privacy/photo"), "no responder found: " + path},
		{"another method", "GET", realURL("privacy/online"), `no responder found for method "POST", but one matches method "GET": ` + path},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock := httpmock.NewMockTransport()
			mock.RegisterResponder(tt.method, tt.url, succeeding)
			client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
			require.NoError(t, err)
			err = setOnline(t.Context(), client)
			require.ErrorContains(t, err, "zapi: privacy/online: no response: "+tt.want)
			require.ErrorIs(t, err, httpmock.NoResponderFound)
			assert.Equal(t, 1, attemptsOf(err))
			assertNoSecret(t, err.Error(), "error")
		})
	}
}

func TestMiddlewareThatDropsTheContext(t *testing.T) {
	t.Parallel()
	api := newMockAPI(succeeding)
	err := setOnline(t.Context(), api.client(t, before(func(req *http.Request) error {
		*req = *req.WithContext(context.Background())
		return nil
	})))
	require.EqualError(t, err, "zapi: privacy/online: no response: a middleware dropped the context of the request; nothing was sent")
	assert.Empty(t, api.requests())
}
