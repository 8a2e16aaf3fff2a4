package zapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// kinds are all sentinels, so that a test sees that an error matches one of them and no other.
var kinds = []error{
	zapi.ErrInvalidArgument, zapi.ErrUnauthorized, zapi.ErrNotFound, zapi.ErrMethodNotAllowed, zapi.ErrUnsupportedMediaType,
	zapi.ErrRateLimited, zapi.ErrUnavailable, zapi.ErrRejected, zapi.ErrUnexpectedResponse,
}

func assertKind(t *testing.T, want, err error) {
	t.Helper()
	for _, kind := range kinds {
		assert.Equal(t, errors.Is(want, kind), errors.Is(err, kind), "%v", kind)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const html = "<html><body><h1>502 Bad Gateway</h1></body></html>"
	tests := []struct {
		name     string
		status   int
		body     string
		want     error // nil: success; errOfNoKind: an APIError without a kind
		wantText string
	}{
		{"documented success", 200, `{"success":true}`, nil, ""},
		{"success with blanks and other keys", 200, " {\n\"id\": 7, \"success\" : true } \n", nil, ""},
		{"success with null error", 200, `{"success":true,"error":null}`, nil, ""},
		{"success with empty error", 200, `{"success":true,"error":""}`, nil, ""},
		{"success with empty error object", 200, `{"success":true,"error":{}}`, nil, ""},
		{"success false", 200, `{"success":false}`, zapi.ErrRejected, "200 OK: success is false"},
		{"success false with a reason", 200, `{"success":false,"error":"busy","message":"try later"}`, zapi.ErrRejected, "200 OK: busy: try later: success is false"},
		{"success false, not found", 200, `{"success":false,"error":"Instance not found"}`, zapi.ErrNotFound, "200 OK: Instance not found: success is false"},
		{"success with an error", 200, `{"success":true,"error":"Invalid phone"}`, zapi.ErrUnexpectedResponse, "200 OK: Invalid phone: an error with status 200"},
		{"error alone", 200, `{"error":"Invalid phone"}`, zapi.ErrUnexpectedResponse, "200 OK: Invalid phone: an error with status 200"},
		{"error that is no string", 200, `{"success":true,"error":{"code":7}}`, zapi.ErrUnexpectedResponse, `200 OK: {"code":7}: an error with status 200`},
		{"route not found", 200, `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, zapi.ErrNotFound,
			"200 OK: NOT_FOUND: Unable to find matching target resource method: an error with status 200"},
		{"instance not found", 200, `{"error":"Instance not found"}`, zapi.ErrNotFound, "200 OK: Instance not found: an error with status 200"},
		{"no success", 200, `{}`, zapi.ErrUnexpectedResponse, "200 OK: success is missing or not a boolean"},
		{"success null", 200, `{"success":null}`, zapi.ErrUnexpectedResponse, "200 OK: success is missing or not a boolean"},
		{"success a string", 200, `{"success":"true"}`, zapi.ErrUnexpectedResponse, "200 OK: success is missing or not a boolean"},
		{"success a number", 200, `{"success":1}`, zapi.ErrUnexpectedResponse, "200 OK: success is missing or not a boolean"},
		{"success in capitals", 200, `{"SUCCESS":true}`, zapi.ErrUnexpectedResponse, "200 OK: success is missing or not a boolean"},
		{"empty body", 200, ``, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"null", 200, `null`, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"array", 200, `[{"success":true}]`, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"boolean", 200, `true`, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"two values", 200, `{"success":true}{"success":false}`, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"cut JSON", 200, `{"success":true`, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"HTML", 200, html, zapi.ErrUnexpectedResponse, "200 OK: the body is not one JSON object"},
		{"created", 201, `{"success":true}`, zapi.ErrUnexpectedResponse, "201 Created"},
		{"no content", 204, ``, zapi.ErrUnexpectedResponse, "204 No Content"},
		{"not modified", 304, ``, zapi.ErrUnexpectedResponse, "304 Not Modified: redirects are not followed"},
		{"account token missing", 400, `{"error":"your client-token is not configured"}`, zapi.ErrUnauthorized, "400 Bad Request: your client-token is not configured"},
		{"account token null", 400, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, "400 Bad Request: null not allowed"},
		{"account token null, named", 400, `{"error":"Client-Token null not allowed"}`, zapi.ErrUnauthorized, "400 Bad Request: Client-Token null not allowed"},
		{"account token null, forbidden", 403, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, "403 Forbidden: null not allowed"},
		{"account token wrong", 403, `{"error":"Client-Token ` + creds.ClientToken + ` not allowed"}`, zapi.ErrUnauthorized, "403 Forbidden: Client-Token [REDACTED] not allowed"},
		{"account token refused with 200", 200, `{"error":"Client-Token null not allowed"}`, zapi.ErrUnauthorized, "200 OK: Client-Token null not allowed: an error with status 200"},
		{"invalid phone", 400, `{"error":"Invalid phone"}`, errOfNoKind, "400 Bad Request: Invalid phone"},
		{"unauthorized", 401, ``, zapi.ErrUnauthorized, "401 Unauthorized"},
		{"forbidden by a proxy", 403, html, zapi.ErrUnauthorized, "403 Forbidden"},
		{"not found", 404, `{"error":"Instance not found"}`, zapi.ErrNotFound, "404 Not Found: Instance not found"},
		{"method not allowed", 405, ``, zapi.ErrMethodNotAllowed, "405 Method Not Allowed"},
		{"conflict", 409, `{"success":true}`, errOfNoKind, "409 Conflict"},
		{"unsupported media type", 415, ``, zapi.ErrUnsupportedMediaType, "415 Unsupported Media Type"},
		{"too many requests", 429, `{"error":"slow down"}`, zapi.ErrRateLimited, "429 Too Many Requests: slow down"},
		{"server error", 500, `{"success":true}`, zapi.ErrUnavailable, "500 Internal Server Error"},
		{"bad gateway", 502, html, zapi.ErrUnavailable, "502 Bad Gateway"},
		{"unavailable", 503, `[]`, zapi.ErrUnavailable, "503 Service Unavailable"},
		{"status of its own", 599, ``, zapi.ErrUnavailable, "599"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range calls {
				isList := documented(c.op) != `{"success":true}`
				if isList && (tt.want == nil || strings.Contains(tt.wantText, "success is missing")) {
					continue // the list has its own test
				}
				api := newMockAPI(answering(tt.status, tt.body))
				err := c.call(t.Context(), api.client(t))
				require.Len(t, api.requests(), 1, c.op)
				if tt.want == nil {
					require.NoError(t, err, c.op)
					continue
				}
				var apiErr *zapi.APIError
				require.ErrorAs(t, err, &apiErr, c.op)
				assert.EqualError(t, err, "zapi: "+c.op+": "+tt.wantText)
				assertKind(t, tt.want, err)
				assert.Equal(t, c.op, apiErr.Op)
				assert.Equal(t, tt.status, apiErr.StatusCode)
				assert.Equal(t, 1, apiErr.Attempts)
				assert.Equal(t, strings.ReplaceAll(tt.body, creds.ClientToken, "[REDACTED]"), string(apiErr.Body))
			}
		})
	}
}

var errOfNoKind = errors.New("none of the kinds")

func TestAnswerDetails(t *testing.T) {
	t.Parallel()
	err := setOnline(t.Context(), newClient(t, answering(400, `{"error":"Invalid phone","message":"check it"}`)))
	var apiErr *zapi.APIError
	require.ErrorAs(t, err, &apiErr)
	assert.Equal(t, "Invalid phone", apiErr.Code)
	assert.Equal(t, "check it", apiErr.Message)
}

// The dummy credentials of a test may be words that the answers hold: that must not change what is understood.
func TestAnswersWithSecretsThatAreCommonWords(t *testing.T) {
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
					opts := []zapi.Option{zapi.WithTransport(newMockAPI(answering(tt.status, tt.body))), once}
					client, err := zapi.NewClient(common, append(opts, middleware...)...)
					require.NoError(t, err)
					assertKind(t, tt.want, setOnline(t.Context(), client))
				}
			})
		}
	}
}

// wrapping is a middleware that wraps the body, as tracing does.
var wrapping = zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
	return transportFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body = struct{ io.ReadCloser }{resp.Body}
		}
		return resp, err
	})
})

// What a header says of the length is not believed before it is there.
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

func TestErrorsStayShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é\n\x1b[31m\u202e", 200)
	tests := []struct {
		name string
		body string
	}{
		{"long error", fmt.Sprintf(`{"error":%q,"message":%q}`, long, long)},
		{"long page", "<html>" + strings.Repeat("é", 100_000)},
		{"secrets until the cap", strings.Repeat(creds.ClientToken, 1000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := setOnline(t.Context(), newClient(t, answering(400, tt.body)))
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.Less(t, len(err.Error()), 300)
			assert.True(t, utf8.ValidString(err.Error()))
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\x1b")
			assert.NotContains(t, err.Error(), "\u202e", "text that turns the line around")
			assert.LessOrEqual(t, len(apiErr.Code), 512)
			assert.LessOrEqual(t, len(apiErr.Message), 512)
			assert.LessOrEqual(t, len(apiErr.Body), 4<<10)
			assert.NotEmpty(t, apiErr.Body)
			assertNoSecret(t, fmt.Sprintf("%+v %s", apiErr, apiErr.Body), "error")
		})
	}
}

func TestErrorsOfATest(t *testing.T) {
	t.Parallel()
	assertKind(t, zapi.ErrUnauthorized, &zapi.APIError{StatusCode: 403})
	assertKind(t, zapi.ErrNotFound, &zapi.APIError{StatusCode: 200, Code: "NOT_FOUND"})
	assertKind(t, zapi.ErrInvalidArgument, &zapi.ValidationError{})
	assertKind(t, nil, &zapi.APIError{})
	assert.EqualError(t, &zapi.TransportError{Op: "privacy/online"}, "zapi: privacy/online: <nil>")
	assert.False(t, (&zapi.TransportError{}).Timeout())
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		min, max     time.Duration
	}{
		{"none", "", 0, 0},
		{"seconds", "120", 2 * time.Minute, 2 * time.Minute},
		{"date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 59 * time.Minute, time.Hour},
		{"date in the past", "Mon, 02 Jan 2006 15:04:05 GMT", 0, 0},
		{"negative", "-1", 0, 0},
		{"beyond all measure", "99999999999999999999", 0, 0},
		{"words", "soon", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{"Retry-After": {tt.header}}
			err := setOnline(t.Context(), newClient(t, answering(429, "").HeaderSet(header)))
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.GreaterOrEqual(t, apiErr.RetryAfter, tt.min)
			assert.LessOrEqual(t, apiErr.RetryAfter, tt.max)
		})
	}
}

func gzipped(t *testing.T, body string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := io.WriteString(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.String()
}

// serve starts a server on loopback and returns a client that talks to it through the default transport.
func serve(t *testing.T, handler http.HandlerFunc, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithBaseURL(server.URL), once}, opts...)...)
	require.NoError(t, err)
	return client
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
		{"beyond it is no answer", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, documented+strings.Repeat(" ", 1<<20))
		}, isUnexpected("200 OK: the body is larger than 1 MiB")},
		{"gzip", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, packed)
		}, succeeds},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, gzipped(t, documented+strings.Repeat(" ", 64<<20)))
		}, isUnexpected("200 OK: the body is larger than 1 MiB")},
		{"gzip that is none", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, documented)
		}, isUnexpected("200 OK: the body is no valid gzip")},
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
		{"connection closed without an answer", func(http.ResponseWriter, *http.Request) {
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

// isTransport expects a TransportError with the cause, or any cause.
func isTransport(cause error) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		var transportErr *zapi.TransportError
		require.ErrorAs(t, err, &transportErr)
		assert.Equal(t, "privacy/online", transportErr.Op)
		assert.Equal(t, 1, transportErr.Attempts)
		assertKind(t, nil, err)
		if cause != nil {
			assert.ErrorIs(t, err, cause)
		}
	}
}

// A server or proxy may pack an answer although the transport did not ask for it.
func TestGzipThatTheTransportLeaves(t *testing.T) {
	t.Parallel()
	packed := http.Header{"Content-Encoding": {"gzip"}}
	err := setOnline(t.Context(), newClient(t, answering(200, gzipped(t, `{"success":true}`)).HeaderSet(packed)))
	require.NoError(t, err)
	err = setOnline(t.Context(), newClient(t, answering(403, gzipped(t, `{"error":"`+creds.ClientToken+` not allowed"}`)).HeaderSet(packed)))
	require.EqualError(t, err, "zapi: privacy/online: 403 Forbidden: [REDACTED] not allowed")
	err = setOnline(t.Context(), newClient(t, answering(200, "not packed at all").HeaderSet(packed)))
	require.ErrorIs(t, err, zapi.ErrUnexpectedResponse)
	err = setOnline(t.Context(), newClient(t, answering(405, "").HeaderSet(packed)))
	require.ErrorIs(t, err, zapi.ErrMethodNotAllowed)
}

// countConnections starts a server and returns a client of it and the number of connections opened so far.
func countConnections(t *testing.T, handler http.HandlerFunc) (*zapi.Client, *atomic.Int32) {
	t.Helper()
	opened := new(atomic.Int32)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	return client, opened
}

func TestBurstsFindTheirConnections(t *testing.T) {
	t.Parallel()
	const burst = 256
	var arrived sync.WaitGroup // each call waits for all others, so that each needs a connection of its own
	client, opened := countConnections(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived.Done()
		arrived.Wait()
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	for range 3 {
		arrived.Add(burst)
		var calls sync.WaitGroup
		for range burst {
			calls.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
		}
		calls.Wait()
	}
	assert.EqualValues(t, burst, opened.Load())
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 302, 403, 503} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			client, opened := countConnections(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, strings.Repeat(" ", 10_000))
			})
			for range 10 {
				require.Error(t, setOnline(t.Context(), client))
			}
			assert.EqualValues(t, 1, opened.Load())
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{"elsewhere", "back", "%zz malformed", "%zz"} {
			t.Run(fmt.Sprint(status, " ", location), func(t *testing.T) {
				t.Parallel()
				var elsewhere, here atomic.Int32
				other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
				t.Cleanup(other.Close)
				client := serve(t, func(w http.ResponseWriter, r *http.Request) {
					here.Add(1)
					target := map[string]string{"elsewhere": other.URL, "back": r.URL.Path}[location]
					if target == "" {
						target = location
					}
					if strings.HasSuffix(location, "malformed") {
						target += r.URL.Path
					}
					w.Header().Set("Location", target)
					w.WriteHeader(status)
				})
				err := setOnline(t.Context(), client)
				var apiErr *zapi.APIError
				require.ErrorAs(t, err, &apiErr)
				assert.Equal(t, status, apiErr.StatusCode)
				assertKind(t, zapi.ErrUnexpectedResponse, err)
				assertNoSecret(t, fmt.Sprintf("%+v", apiErr), "error")
				assert.EqualValues(t, 1, here.Load())
				assert.Zero(t, elsewhere.Load())
			})
		}
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	stuck := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a client that leaves only then
		<-r.Context().Done()
	}
	dripping := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
	for name, handler := range map[string]http.HandlerFunc{"no answer": stuck, "a body that drips": dripping} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("WithTimeout", func(t *testing.T) {
				t.Parallel()
				err := setOnline(t.Context(), serve(t, handler, zapi.WithTimeout(50*time.Millisecond)))
				require.EqualError(t, err, "zapi: privacy/online: no whole answer within 50ms")
				isTransport(nil)(t, err)
				assert.True(t, isTimeout(err))
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "that is the caller's")
			})
			t.Run("deadline", func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				err := setOnline(ctx, serve(t, handler))
				isTransport(context.DeadlineExceeded)(t, err)
				assert.True(t, isTimeout(err))
			})
			t.Run("cancel", func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				err := setOnline(ctx, serve(t, handler, zapi.WithTimeout(0)))
				isTransport(context.Canceled)(t, err)
				assert.False(t, isTimeout(err))
			})
		})
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func TestDoneContextSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range calls {
		api := newMockAPI(succeeding)
		err := c.call(ctx, api.client(t))
		var transportErr *zapi.TransportError
		require.ErrorAs(t, err, &transportErr)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, transportErr.Attempts)
		assert.Empty(t, api.requests())
	}
}

// The network may notice a deadline a moment before the context does.
func TestDeadlineThatTheNetworkSeesFirst(t *testing.T) {
	t.Parallel()
	ctx := lateContext{t.Context()}
	network := transportFunc(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
	})
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), zapi.WithTimeout(0), once)
	require.NoError(t, err)
	require.ErrorIs(t, setOnline(ctx, client), context.DeadlineExceeded)
}

// lateContext has passed its deadline and does not know it yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Nanosecond), true }

func TestNetworkErrorsKeepTheirType(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	isTransport(nil)(t, err)
	var opErr *net.OpError
	require.ErrorAs(t, err, &opErr)
	assert.Equal(t, "dial", opErr.Op)
}

func TestNeitherAnswerNorError(t *testing.T) {
	t.Parallel()
	network := transportFunc(func(*http.Request) (*http.Response, error) { return nil, nil })
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
	require.NoError(t, err)
	require.EqualError(t, setOnline(t.Context(), client), "zapi: privacy/online: the transport returned neither an answer nor an error")
}
