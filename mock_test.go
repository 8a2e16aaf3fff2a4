package zapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

var creds = zapi.Credentials{
	InstanceID:  "3C01D5A4B6",
	Token:       "70C4D2E7-t0ken-9B1F",
	ClientToken: "F5e2c1d8-cl1ent-7A0S",
}

// realURL is where a call must go, the query included.
func realURL(route string) string {
	return "https://api.z-api.io/instances/" + creds.InstanceID + "/token/" + creds.Token + "/" + route
}

type call struct {
	op   string
	call caller
}

// calls has one allowed call of each method that talks to the API.
var calls = []call{
	{"privacy/last-seen", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"))},
	{"privacy/photo", setPhoto(zapi.VisibilityContacts)},
	{"privacy/online", setOnlineTo(zapi.OnlineSameAsLastSeen)},
	{"privacy/description", setDescription(zapi.VisibilityNone)},
	{"privacy/group-add", setGroupAdd(zapi.GroupAddContacts)},
	{"privacy/read-receipts", setReadReceipts(zapi.ReadReceiptsDisable)},
	{"privacy/messages-duration", setMessageDuration(zapi.MessageDuration7Days)},
	{"privacy/disallowed-contacts", getContacts(zapi.BlacklistPhoto)},
	{"status", func(ctx context.Context, c *zapi.Client) error {
		_, err := c.Status(ctx)
		return err
	}},
}

// documented is the response that each call expects.
func documented(op string) string {
	switch op {
	case "privacy/disallowed-contacts":
		return `{"disallowedContacts":[]}`
	case "status":
		return `{"connected":true,"smartphoneConnected":true,"error":"You are already connected."}`
	}
	return `{"success":true}`
}

func setOnline(ctx context.Context, c *zapi.Client) error {
	return c.SetOnlineVisibility(ctx, zapi.OnlineAll)
}

// sent is a request as the API got it.
type sent struct {
	Method, URL, Body string
	Header            http.Header
}

// mockAPI passes each request to a responder and keeps it.
type mockAPI struct {
	*httpmock.MockTransport

	mu   sync.Mutex
	sent []sent
}

func newMockAPI(responder httpmock.Responder) *mockAPI {
	api := &mockAPI{MockTransport: httpmock.NewMockTransport()}
	api.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
		var body []byte
		if req.Body != nil {
			var err error
			if body, err = io.ReadAll(req.Body); err != nil {
				return nil, err
			}
		}
		api.mu.Lock()
		api.sent = append(api.sent, sent{req.Method, req.URL.String(), string(body), req.Header.Clone()})
		api.mu.Unlock()
		return responder(req)
	})
	return api
}

func (api *mockAPI) requests() []sent {
	api.mu.Lock()
	defer api.mu.Unlock()
	return api.sent
}

// once switches retries off, for the tests that are not about them.
var once = zapi.WithRetry(zapi.RetryPolicy{})

// client returns a client whose network is the mock; it tries once unless opts say otherwise.
func (api *mockAPI) client(t *testing.T, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithTransport(api), once}, opts...)...)
	require.NoError(t, err)
	return client
}

func newClient(t *testing.T, responder httpmock.Responder, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	return newMockAPI(responder).client(t, opts...)
}

// responding is a responder without the content type of JSON, which must not matter.
func responding(status int, body string) httpmock.Responder {
	return httpmock.NewStringResponder(status, body)
}

var succeeding = responding(http.StatusOK, `{"success":true}`)

// serve starts a server on loopback and returns a client that talks to it through the default transport, without a timeout:
// how busy the machine is does not matter.
func serve(t *testing.T, handler http.HandlerFunc, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithBaseURL(server.URL), zapi.WithTimeout(0), once}, opts...)...)
	require.NoError(t, err)
	return client
}

// script is a network that takes one step after the other, repeats the last one, and keeps when each request came.
type script struct {
	steps []step

	mu     sync.Mutex
	at     []time.Time
	bodies []string
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	s.mu.Lock()
	next := s.steps[min(len(s.at), len(s.steps)-1)]
	s.at = append(s.at, time.Now())
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	return next(req)
}

func (s *script) client(t *testing.T, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithTransport(s)}, opts...)...)
	require.NoError(t, err)
	return client
}

// waits are the pauses between the requests.
func (s *script) waits() []time.Duration {
	var waits []time.Duration
	for i := 1; i < len(s.at); i++ {
		waits = append(waits, s.at[i].Sub(s.at[i-1]))
	}
	return waits
}

// step is how the network treats one request.
type step func(*http.Request) (*http.Response, error)

func status(code int) step { return step(responding(code, `{"success":true}`)) }

func asking(code int, retryAfter string) step {
	return step(responding(code, "").HeaderSet(http.Header{"Retry-After": {retryAfter}}))
}

func failing(err error) step { return func(*http.Request) (*http.Response, error) { return nil, err } }

func cut(req *http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader(`{"success":true`), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: req}, nil
}

func hanging(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// drip sends a body that never ends, one space a second.
func drip(req *http.Request) (*http.Response, error) {
	body := readerFunc(func(p []byte) (int, error) {
		select {
		case <-req.Context().Done():
			return 0, req.Context().Err()
		case <-time.After(time.Second):
			p[0] = ' '
			return 1, nil
		}
	})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: req}, nil
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

// transportFunc is a RoundTripper from a func.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type limiterFunc func(context.Context) error

func (f limiterFunc) Wait(ctx context.Context) error { return f(ctx) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// counting is a body that knows whether it was closed.
type counting struct {
	io.Reader
	closed int
}

func (c *counting) Close() error {
	c.closed++
	return nil
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func gzipped(t *testing.T, body string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := io.WriteString(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.String()
}

// kinds are all sentinels, so that a test sees that an error matches one of them and no other.
var kinds = []error{
	zapi.ErrInvalidArgument, zapi.ErrInvalidCredentials, zapi.ErrUnauthorized, zapi.ErrNotFound, zapi.ErrMethodNotAllowed,
	zapi.ErrUnsupportedMediaType, zapi.ErrRateLimited, zapi.ErrUnavailable, zapi.ErrNotConnected, zapi.ErrRejected,
	zapi.ErrUnexpectedResponse,
}

func assertKind(t *testing.T, want, err error) {
	t.Helper()
	for _, kind := range kinds {
		assert.Equal(t, errors.Is(want, kind), errors.Is(err, kind), "%v", kind)
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

// skipUnderRace skips a test that counts allocations: with the race detector, pools drop some of their values, and buffers
// that grow are allocated twice.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("allocations are counted without the race detector")
	}
}

// bytesAllocated returns how many bytes f allocates. A test that calls it must not be parallel: those that are wait until it
// ends.
func bytesAllocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func attemptsOf(err error) int {
	var apiErr *zapi.APIError
	var transportErr *zapi.TransportError
	switch {
	case errors.As(err, &apiErr):
		return apiErr.Attempts
	case errors.As(err, &transportErr):
		return transportErr.Attempts
	}
	return -1
}

// assertRefused also asserts that the refusal quotes nothing that was given.
func assertRefused(t *testing.T, err error, op, field string, given ...string) {
	t.Helper()
	var validationErr *zapi.ValidationError
	require.ErrorAs(t, err, &validationErr)
	require.ErrorIs(t, err, zapi.ErrInvalidArgument)
	assert.Equal(t, op, validationErr.Op)
	assert.Equal(t, field, validationErr.Field)
	assert.NotEmpty(t, validationErr.Reason)
	for _, value := range given {
		if len(value) > 3 {
			assert.NotContains(t, err.Error(), value)
		}
	}
}

// assertNoSecret also asserts that there was something to look at.
func assertNoSecret(t *testing.T, text, what string) {
	t.Helper()
	assert.NotEmpty(t, text, what)
	for _, secret := range []string{creds.Token, creds.ClientToken} {
		assert.NotContains(t, text, secret, what)
	}
}
