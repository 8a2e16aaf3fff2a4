package readme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

var creds = zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"}

// causeErrors returns the texts of errors that calls really return, for the symptoms of docs/troubleshooting.md.
func causeErrors(t *testing.T) []string {
	t.Helper()
	var texts []string
	fails := func(err error) {
		t.Helper()
		require.Error(t, err)
		texts = append(texts, err.Error())
	}
	newClient := func(opts ...zapi.Option) *zapi.Client {
		t.Helper()
		client, err := zapi.NewClient(creds, append([]zapi.Option{zapi.WithRetry(zapi.RetryPolicy{})}, opts...)...)
		require.NoError(t, err)
		return client
	}
	setPhoto := func(ctx context.Context, opts ...zapi.Option) {
		t.Helper()
		fails(newClient(opts...).SetPhotoVisibility(ctx, zapi.VisibilityNone))
	}
	ctx := t.Context()

	// Before anything is sent.
	_, err := zapi.CredentialsFromEnv() // a test has no credentials in its environment
	fails(err)
	for _, refused := range []zapi.Credentials{
		{InstanceID: "MY-ID", Token: "MY-TOKEN"},
		{InstanceID: "MY-ID", Token: "MY-TOKEN ", ClientToken: "MY-CLIENT-TOKEN"},
		{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN\n"},
		{InstanceID: "MY-ID", Token: "${TOKEN}", ClientToken: "MY-CLIENT-TOKEN"},
		{InstanceID: "MY-TOKEN", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"},
		{InstanceID: "MY-ID", Token: "success", ClientToken: "MY-CLIENT-TOKEN"},
	} {
		_, err := zapi.NewClient(refused)
		fails(err)
	}
	for _, opt := range []zapi.Option{
		zapi.WithBaseURL("http://api.example.com"),
		zapi.WithBaseURL("https://api.example.com/MY-TOKEN"),
		zapi.WithBaseURL("https://api.example.com/instances/MY-ID/token/MY-TOKEN"),
		zapi.WithTimeout(30),
		zapi.WithLogger(nil), zapi.WithTimeout(-1), zapi.WithRetry(zapi.RetryPolicy{MinWait: 2, MaxWait: 1}), zapi.WithUserAgent(""),
		zapi.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return nil }),
		zapi.WithBaseURL("api.example.com"), zapi.WithBaseURL("https://a]"), zapi.WithBaseURL("https://me@api.example.com"),
		zapi.WithBaseURL("ftp://api.example.com"), zapi.WithBaseURL("https://api.example.com/.."),
	} {
		_, err = zapi.NewClient(creds, opt)
		fails(err)
	}
	parser := zapi.WithPhoneParser(func(string) (string, error) { return "", errors.New("not a phone") })
	client := newClient()
	for _, phone := range []string{
		"1234", "044 91111-1111", "+55 (0)44 91111-1111", "+55 044 91111-1111", "5544911111111.0", "2) 55 44 91111-1111",
		"+55 15 44 91111-1111", "55+44911111111",
	} {
		fails(client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(phone)))
	}
	fails(newClient(parser).SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("1234")))
	fails(client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"), zapi.Allow("554411111111")))
	fails(client.SetLastSeen(ctx, zapi.VisibilityAll, zapi.Disallow("554411111111")))
	fails(client.SetLastSeen(ctx, "EVERYONE"))
	var policy zapi.Policy
	fails(json.Unmarshal([]byte(`{"lastseen": null}`), &policy))
	fails(json.Unmarshal([]byte("\ufeff{}"), &policy))
	fails(client.Apply(ctx, policy))
	for _, text := range []string{
		`[]`, `{"photo": {}, "photo": {}}`, `{"photo": {"visibility": "CONTACT_BLACKLIST", "except": [1]}}`,
		`{"photo": {"visibility": "ALL", "except": []}}`,
	} {
		fails(json.Unmarshal([]byte(text), &policy))
	}
	fails(policy.UnmarshalYAML(func(value any) error {
		*value.(*any) = map[any]any{1: "ALL"} // what a YAML library passes
		return nil
	}))
	fails(new(zapi.Client).SetPhotoVisibility(ctx, zapi.VisibilityNone))
	_, err = new(zapi.API).Instance(creds)
	fails(err)
	fails(client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("@lid")))
	for _, wrong := range []struct {
		method, route string
		in, out       any
	}{
		{"", "device", nil, nil},
		{"GET", "phone exists", nil, nil},
		{"GET", "/device", nil, nil},
		{"GET", "device/%", nil, nil},
		{"GET", "device", nil, 1},
		{"POST", "device", func() {}, nil},
	} {
		fails(client.Do(ctx, wrong.method, wrong.route, wrong.in, wrong.out))
	}

	// Responses, of the fake server where it knows them.
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	local := zapi.WithBaseURL(server.URL())
	setPhoto(ctx, local) // an unknown instance
	for _, answer := range []zapitest.Answer{
		{StatusCode: 400, Body: `{"error": "your client-token is not configured"}`},
		{StatusCode: 400, Body: `{"error": "null not allowed"}`},
		{StatusCode: 403, Body: `{"error": "Client-Token MY-CLIENT-TOKEN not allowed"}`},
		{Body: `{"error": "NOT_FOUND", "message": "Unable to find matching target resource method"}`},
		{Body: `{"error": "Instance not found"}`},
		{StatusCode: 400, Body: `{"error": "Invalid phone"}`},
		{StatusCode: 405}, {StatusCode: 415}, {StatusCode: 429}, {StatusCode: 503}, {StatusCode: 522}, {StatusCode: 302},
		{Body: `{"success": false}`},
		{Body: `{}`},
		{Body: `{"success": true, "error": "Something went wrong"}`},
		{Body: "<html>Sign in</html>"},
		{StatusCode: 403, Body: "<html>Blocked</html>"},
		{StatusCode: 400, Body: `{"error": "You are not connected."}`},
		{Body: `{"error": "You are not connected."}`},
		{StatusCode: 204},
		{Body: `{"success": true, "success": true}`},
		{Header: http.Header{"Content-Encoding": {"br"}}, Body: "compressed"},
		{Body: strings.Repeat(" ", 1<<20) + "{}"},
	} {
		server.FailNext(1, answer)
		setPhoto(ctx, local)
	}

	server.FailNext(1, zapitest.Answer{Body: `{"connected": true, "smartphoneConnected": 1}`})
	_, err = newClient(local).Status(ctx)
	fails(err)
	for _, body := range []string{"<html>", `{"phone": 1}`} {
		server.FailNext(1, zapitest.Answer{Body: body})
		fails(newClient(local).Do(ctx, "GET", "device", nil, new([]string)))
	}
	server.FailNext(1, zapitest.Answer{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: "not gzip at all"})
	setPhoto(ctx, local)
	server.FailNext(2, zapitest.Answer{Body: `{}`})
	_, err = newClient(local).Status(ctx)
	fails(err)
	_, err = newClient(local).DisallowedContacts(ctx, zapi.BlacklistPhoto)
	fails(err)

	// No response.
	setPhoto(ctx, local, zapi.WithTransport(hanging{}), zapi.WithTimeout(time.Millisecond))
	expired, cancel := context.WithTimeout(ctx, 0)
	defer cancel()
	setPhoto(expired, local)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	setPhoto(short, local, zapi.WithTransport(hanging{}))
	server.FailNext(1, zapitest.Answer{Drop: true})
	setPhoto(ctx, local)
	for _, err := range []error{
		os.NewSyscallError("connect", syscall.ECONNREFUSED), // of a real port, the text differs between systems
		os.NewSyscallError("read", syscall.ECONNRESET),
		&net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true},
		errors.New("http2: Transport: cannot retry err [GOAWAY]"), // those of net/http
		errors.New(`malformed HTTP response "\x00"`),
	} {
		setPhoto(ctx, local, zapi.WithTransport(failing{err}))
	}

	swallowing := zapi.WithInterceptor(func(context.Context, zapi.Call, func(context.Context) error) error { return nil })
	_, err = newClient(swallowing).Status(ctx)
	fails(err)
	for _, change := range []func(*http.Request) *http.Request{
		func(req *http.Request) *http.Request {
			req = req.Clone(req.Context())
			req.Method = http.MethodPut
			return req
		},
		func(req *http.Request) *http.Request { return req.Clone(context.Background()) },
	} {
		setPhoto(ctx, local, zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) { return next.RoundTrip(change(req)) })
		}))
	}
	for _, err := range []error{nil, &url.Error{}} {
		setPhoto(ctx, local, zapi.WithTransport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })))
	}

	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // the failed handshakes are wanted
	secure.StartTLS()
	t.Cleanup(secure.Close)
	setPhoto(ctx, zapi.WithBaseURL(secure.URL))
	plain, err := url.Parse(server.URL())
	require.NoError(t, err)
	plain.Scheme = "https"
	setPhoto(ctx, zapi.WithBaseURL(plain.String()))
	setPhoto(ctx, zapi.WithBaseURL("https://api.example.com"), zapi.WithTransport(through(t, refusingURL(t))))
	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(denying.Close)
	usual := http.DefaultTransport
	http.DefaultTransport = through(t, denying.URL) // as if HTTPS_PROXY named it
	setPhoto(ctx, zapi.WithBaseURL("https://api.example.com"))
	http.DefaultTransport = usual

	// Tests with httpmock.
	mock := httpmock.NewMockTransport()
	setPhoto(ctx, zapi.WithTransport(mock))
	mock.RegisterResponder("GET", "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, ""))
	setPhoto(ctx, zapi.WithTransport(mock))
	httpmock.Activate()
	_, err = zapi.NewClient(creds)
	httpmock.Deactivate()
	fails(err)
	return texts
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// failing is a transport without a network.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: f.err}
}

// hanging is a transport that never gets a response.
type hanging struct{}

func (hanging) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// through returns a transport that sends everything to a proxy.
func through(t *testing.T, proxyURL string) http.RoundTripper {
	t.Helper()
	proxy, err := url.Parse(proxyURL)
	require.NoError(t, err)
	return &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
}

// refusingURL returns the URL of a port that nobody listens on.
func refusingURL(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return "http://" + listener.Addr().String()
}

// The page quotes texts that calls really return, and none of those above is missing from it. The test is not parallel,
// as it replaces http.DefaultTransport for a moment.
func TestTroubleshooting(t *testing.T) {
	causes := causeErrors(t)
	var quoted []*regexp.Regexp
	for _, table := range readPage(t, "docs/troubleshooting.md").tables {
		for _, text := range table.codes() {
			pattern := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*"))
			quoted = append(quoted, pattern)
			assert.True(t, slices.ContainsFunc(causes, pattern.MatchString), "no call returns %q", text)
		}
	}
	require.NotEmpty(t, quoted)
	for _, cause := range causes {
		matches := func(pattern *regexp.Regexp) bool { return pattern.MatchString(cause) }
		assert.True(t, slices.ContainsFunc(quoted, matches), "the page does not explain %q", cause)
	}
}
