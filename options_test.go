package zapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	returnsNil := func(http.RoundTripper) http.RoundTripper { return nil }
	noInterceptor := func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error { return next(ctx) }
	keeps := func(next http.RoundTripper) http.RoundTripper { return next }
	tests := []struct {
		name  string
		opts  []zapi.Option
		field string
	}{
		{"nil option", []zapi.Option{zapi.WithTimeout(time.Second), nil}, "opts[1]"},
		{"nil transport", []zapi.Option{zapi.WithTransport(nil)}, "WithTransport"},
		{"nil pointer as transport", []zapi.Option{zapi.WithTransport((*http.Transport)(nil))}, "WithTransport"},
		{"nil func as transport", []zapi.Option{zapi.WithTransport(transportFunc(nil))}, "WithTransport"},
		{"nil middleware", []zapi.Option{zapi.WithMiddleware(keeps, nil)}, "WithMiddleware[1]"},
		{"middleware that returns nil", []zapi.Option{zapi.WithMiddleware(keeps), zapi.WithMiddleware(returnsNil)}, "WithMiddleware[1]"},
		{"nil interceptor", []zapi.Option{zapi.WithInterceptor(noInterceptor, nil)}, "WithInterceptor[1]"},
		{"negative timeout", []zapi.Option{zapi.WithTimeout(-time.Second)}, "WithTimeout"},
		{"timeout without a unit", []zapi.Option{zapi.WithTimeout(30)}, "WithTimeout"},
		{"timeout just below a millisecond", []zapi.Option{zapi.WithTimeout(time.Millisecond - 1)}, "WithTimeout"},
		{"negative attempts", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: -1})}, "WithRetry.MaxAttempts"},
		{"negative minimum wait", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MinWait: -1})}, "WithRetry.MinWait"},
		{"negative maximum wait", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MaxWait: -1})}, "WithRetry.MaxWait"},
		{"minimum wait above the maximum", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MinWait: 2, MaxWait: 1})}, "WithRetry.MinWait"},
		{"nil limiter", []zapi.Option{zapi.WithRateLimiter(nil)}, "WithRateLimiter"},
		{"nil func as limiter", []zapi.Option{zapi.WithRateLimiter(limiterFunc(nil))}, "WithRateLimiter"},
		{"nil phone parser", []zapi.Option{zapi.WithPhoneParser(nil)}, "WithPhoneParser"},
		{"nil logger", []zapi.Option{zapi.WithLogger(nil)}, "WithLogger"},
		{"empty product", []zapi.Option{zapi.WithUserAgent("")}, "WithUserAgent"},
		{"product with a newline", []zapi.Option{zapi.WithUserAgent("a\nb")}, "WithUserAgent"},
		{"product with a space before", []zapi.Option{zapi.WithUserAgent(" a")}, "WithUserAgent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := zapi.NewClient(creds, tt.opts...)
			assertRefused(t, err, "NewClient", tt.field)
		})
	}
}

func TestTimeoutsThatAreAccepted(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, time.Millisecond, time.Hour} {
		_, err := zapi.NewClient(creds, zapi.WithTimeout(timeout))
		require.NoError(t, err, timeout)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	insecure := zapi.WithInsecureHTTP()
	tests := []struct {
		name   string
		rawURL string
		opts   []zapi.Option
		want   string // the URL up to /instances; "" where it is refused
	}{
		{"host", "https://example.com", nil, "https://example.com"},
		{"closing slash", "https://example.com/", nil, "https://example.com"},
		{"port", "https://example.com:8443", nil, "https://example.com:8443"},
		{"empty port", "https://example.com:", nil, "https://example.com"},
		{"path prefix", "https://example.com/z/api/", nil, "https://example.com/z/api"},
		{"escaped path prefix", "https://example.com/a%2Fb", nil, "https://example.com/a%2Fb"},
		{"path prefix that ends with an escaped slash", "https://example.com/a%2F", nil, "https://example.com/a%2F"},
		{"path prefix that ends with both slashes", "https://example.com/a%2f//", nil, "https://example.com/a%2f"},
		{"prefix with a space", "https://example.com/secret b", nil, ""},
		{"zero-width space", "https://example\u200b.com", nil, ""},
		{"name beyond ASCII", "https://exämple.com", nil, ""},
		{"port 0", "https://example.com:0", nil, ""},
		{"port beyond all", "https://example.com:99999", nil, ""},
		{"scheme in capitals", "HTTPS://example.com", nil, "https://example.com"},
		{"loopback by name", "http://localhost:8080", nil, "http://localhost:8080"},
		{"loopback in capitals, which net/http would send to a proxy", "http://LOCALHOST:8080", nil, "http://localhost:8080"},
		{"host in capitals", "https://EXAMPLE.com", nil, "https://example.com"},
		{"loopback IPv4", "http://127.9.9.9", nil, "http://127.9.9.9"},
		{"loopback IPv6", "http://[::1]:80", nil, "http://[::1]:80"},
		{"http beyond loopback, allowed", "http://example.com", []zapi.Option{insecure}, "http://example.com"},
		{"http beyond loopback", "http://secret.example.com", nil, ""},
		{"http to an address beyond loopback", "http://10.0.0.1", nil, ""},
		{"http to a name that begins like loopback", "http://localhost.example.com", nil, ""},
		{"empty", "", nil, ""},
		{"no scheme", "example.com", nil, ""},
		{"no host", "https://", nil, ""},
		{"port only", "https://:443", nil, ""},
		{"path only", "/instances", nil, ""},
		{"opaque", "https:example.com", nil, ""},
		{"another scheme", "ftp://example.com", nil, ""},
		{"another scheme, insecure", "file://example.com", []zapi.Option{insecure}, ""},
		{"user info", "https://user:secret@example.com", nil, ""},
		{"query", "https://example.com?secret=1", nil, ""},
		{"empty query", "https://example.com?", nil, ""},
		{"fragment", "https://example.com#secret", nil, ""},
		{"empty fragment", "https://example.com#", nil, ""},
		{"dot segments", "https://example.com/secret/../x", nil, ""},
		{"escaped dot segments", "https://example.com/secret/%2e%2e/x", nil, ""},
		{"control character", "https://example.com/secret\n", nil, ""},
		{"malformed escape", "https://example.com/secret%zz", nil, ""},
		{"malformed port", "https://example.com:secret", nil, ""},
		{"two empty ports", "https://secret.example.com::", nil, ""},
		{"IPv6 without brackets", "http://::1:80", nil, ""},
		{"IPv6 with a zone", "https://[fe80::1%25eth0]:8443", nil, "https://[fe80::1%25eth0]:8443"},
		{"underscore", "https://z_api-1.example.com", nil, "https://z_api-1.example.com"},
		{"escaped name beyond ASCII", "https://secret%C3%A4.com", nil, ""},
		{"escaped byte that is not UTF-8", "https://secret%ff.com", nil, ""},
		{"bracket in the host", "https://secret].com", nil, ""},
		{"the URL of the panel", "https://api.z-api.io/instances/3C01/token/secret", nil, ""},
		{"the URL of the panel with a route", "https://api.z-api.io/instances/3C01/token/secret/send-text", nil, ""},
		{"a segment instances", "https://example.com/secret/instances", nil, ""},
		{"a segment instances and a slash", "https://example.com/secret/instances/", nil, ""},
		{"a segment token", "https://example.com/token/secret", nil, ""},
		{"a segment in capitals", "https://example.com/Instances/secret", nil, ""},
		{"an escaped segment", "https://example.com/%69nstances/secret", nil, ""},
		{"an escaped segment behind an escaped slash", "https://example.com/secret%2Ftoken", nil, ""},
		{"segments that only begin so", "https://example.com/tokens/instances2", nil, "https://example.com/tokens/instances2"},
		{"a host named so", "https://token.example.com", nil, "https://token.example.com"},
		{"quotation mark in the host", `https://"secret".com`, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			// The order of options must not matter: try both.
			opts := append([]zapi.Option{zapi.WithTransport(api), zapi.WithBaseURL(tt.rawURL)}, tt.opts...)
			reversed := append(append([]zapi.Option{}, tt.opts...), zapi.WithBaseURL(tt.rawURL), zapi.WithTransport(api))
			for _, opts := range [][]zapi.Option{opts, reversed} {
				client, err := zapi.NewClient(creds, opts...)
				if tt.want == "" {
					assertRefused(t, err, "NewClient", "WithBaseURL", tt.rawURL, "secret")
					continue
				}
				require.NoError(t, err)
				require.NoError(t, setOnline(t.Context(), client))
			}
			for _, request := range api.requests() {
				assert.Equal(t, tt.want+strings.TrimPrefix(realURL("privacy/online"), "https://api.z-api.io"), request.URL)
			}
		})
	}
}

func TestWithoutClientToken(t *testing.T) {
	t.Parallel()
	api := newMockAPI(succeeding)
	without := zapi.Credentials{InstanceID: "without", Token: "token"}
	client, err := zapi.NewClient(without, zapi.WithoutClientToken(), zapi.WithTransport(api))
	require.NoError(t, err)
	require.NoError(t, setOnline(t.Context(), client))
	with, err := client.ForInstance(creds)
	require.NoError(t, err)
	require.NoError(t, setOnline(t.Context(), with))

	requests := api.requests()
	require.Len(t, requests, 2)
	assert.NotContains(t, requests[0].Header, "Client-Token")
	assert.Equal(t, []string{creds.ClientToken}, requests[1].Header["Client-Token"])
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	api := newMockAPI(succeeding)
	require.NoError(t, setOnline(t.Context(), api.client(t, zapi.WithUserAgent("acme-backend/1.4 (privacy)"))))
	assert.Equal(t, "acme-backend/1.4 (privacy) zapi-go/0.1.0", api.requests()[0].Header.Get("User-Agent"))
}

func TestNoCookies(t *testing.T) {
	t.Parallel()
	var cookies []*http.Cookie
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cookies = append(cookies, r.Cookies()...)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "of another tenant"})
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	for range 2 {
		require.NoError(t, setOnline(t.Context(), client))
	}
	assert.Empty(t, cookies)
}

// A program that replaced the default transport, say by one that logs, must not get the secrets unasked.
func TestReplacedDefaultTransport(t *testing.T) {
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	http.DefaultTransport = newMockAPI(succeeding)
	_, err := zapi.NewClient(creds)
	assertRefused(t, err, "NewClient", "WithTransport")
	_, err = zapi.NewClient(creds, zapi.WithTransport(http.DefaultTransport))
	require.NoError(t, err)
}
