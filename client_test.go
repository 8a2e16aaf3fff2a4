package zapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

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

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	unfitForPath := map[string]string{
		"empty": "", "dot": ".", "dots": "..", "slash": "secret/x", "backslash": `secret\x`, "question mark": "secret?x", "number sign": "secret#x",
		"percent": "secret%41", "blank": "secret x", "blank behind": "secret ", "tab": "secret\tx", "newline": "secret\n", "NUL": "secret\x00",
		"delete": "secret\x7f", "accent": "sécret", "invalid UTF-8": "secret\xff",
	}
	unfitForHeader := map[string]string{
		"empty": "", "newline": "secret\nX: y", "return": "secret\r", "NUL": "secret\x00", "delete": "secret\x7f", "blank before": " secret", "blank behind": "secret ", "blank": " ",
	}
	fields := []struct {
		field  string
		values map[string]string
		set    func(*zapi.Credentials, string)
	}{
		{"InstanceID", unfitForPath, func(c *zapi.Credentials, v string) { c.InstanceID = v }},
		{"Token", unfitForPath, func(c *zapi.Credentials, v string) { c.Token = v }},
		{"ClientToken", unfitForHeader, func(c *zapi.Credentials, v string) { c.ClientToken = v }},
	}
	client, err := zapi.NewClient(creds)
	require.NoError(t, err)
	for _, field := range fields {
		for name, value := range field.values {
			t.Run(field.field+" "+name, func(t *testing.T) {
				t.Parallel()
				c := creds
				field.set(&c, value)
				_, err := zapi.NewClient(c)
				assertRefused(t, err, "NewClient", field.field, value, "secret")
				_, err = client.ForInstance(c)
				assertRefused(t, err, "ForInstance", field.field, value, "secret")
			})
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	returnsNil := func(http.RoundTripper) http.RoundTripper { return nil }
	keeps := func(next http.RoundTripper) http.RoundTripper { return next }
	tests := []struct {
		name  string
		opts  []zapi.Option
		field string
	}{
		{"nil option", []zapi.Option{zapi.WithTimeout(1), nil}, "opts[1]"},
		{"nil transport", []zapi.Option{zapi.WithTransport(nil)}, "WithTransport"},
		{"nil pointer as transport", []zapi.Option{zapi.WithTransport((*http.Transport)(nil))}, "WithTransport"},
		{"nil func as transport", []zapi.Option{zapi.WithTransport(transportFunc(nil))}, "WithTransport"},
		{"nil middleware", []zapi.Option{zapi.WithMiddleware(keeps, nil)}, "WithMiddleware[1]"},
		{"middleware that returns nil", []zapi.Option{zapi.WithMiddleware(keeps), zapi.WithMiddleware(returnsNil)}, "WithMiddleware[1]"},
		{"negative timeout", []zapi.Option{zapi.WithTimeout(-time.Second)}, "WithTimeout"},
		{"negative attempts", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: -1})}, "WithRetry.MaxAttempts"},
		{"negative minimum wait", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MinWait: -1})}, "WithRetry.MinWait"},
		{"negative maximum wait", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MaxWait: -1})}, "WithRetry.MaxWait"},
		{"minimum wait above the maximum", []zapi.Option{zapi.WithRetry(zapi.RetryPolicy{MinWait: 2, MaxWait: 1})}, "WithRetry.MinWait"},
		{"nil limiter", []zapi.Option{zapi.WithRateLimiter(nil)}, "WithRateLimiter"},
		{"nil func as limiter", []zapi.Option{zapi.WithRateLimiter(limiterFunc(nil))}, "WithRateLimiter"},
		{"nil logger", []zapi.Option{zapi.WithLogger(nil)}, "WithLogger"},
		{"empty product", []zapi.Option{zapi.WithUserAgent("")}, "WithUserAgent"},
		{"product with a newline", []zapi.Option{zapi.WithUserAgent("a\nb")}, "WithUserAgent"},
		{"product with a blank before", []zapi.Option{zapi.WithUserAgent(" a")}, "WithUserAgent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := zapi.NewClient(creds, tt.opts...)
			assertRefused(t, err, "NewClient", tt.field)
		})
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
		{"prefix with a blank", "https://example.com/a b", nil, "https://example.com/a%20b"},
		{"scheme in capitals", "HTTPS://example.com", nil, "https://example.com"},
		{"loopback by name", "http://localhost:8080", nil, "http://localhost:8080"},
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

func TestCredentialsReachTheWireAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"/", "/a%2Fb", "/{placeholder}"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var path, clientToken string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path, clientToken = r.URL.Path, r.Header.Get("Client-Token")
				_, _ = io.WriteString(w, `{"success":true}`)
			}))
			t.Cleanup(server.Close)
			odd := zapi.Credentials{InstanceID: `!"$&'()*+,-.:;<=>@[]^_{x}|~`, Token: `~|}{` + "`" + `_^][@>=<;:.-,+*)('&$"!`, ClientToken: "F é \t {x}"}
			client, err := zapi.NewClient(odd, zapi.WithBaseURL(server.URL+base))
			require.NoError(t, err)
			require.NoError(t, setOnline(t.Context(), client))
			prefix := strings.TrimSuffix(strings.ReplaceAll(base, "%2F", "/"), "/")
			assert.Equal(t, prefix+"/instances/"+odd.InstanceID+"/token/"+odd.Token+"/privacy/online", path)
			assert.Equal(t, odd.ClientToken, clientToken)
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

func TestInstancesDoNotCross(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path+" "+r.Header.Get("Client-Token")]++
		mu.Unlock()
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	assert.Equal(t, creds.InstanceID, first.InstanceID())
	const instances, callsEach = 50, 10
	var wg sync.WaitGroup
	for i := range instances {
		c := zapi.Credentials{InstanceID: fmt.Sprint("instance", i), Token: fmt.Sprint("token", i), ClientToken: fmt.Sprint("client", i)}
		client, err := first.ForInstance(c)
		require.NoError(t, err)
		assert.Equal(t, c.InstanceID, client.InstanceID())
		for range callsEach {
			wg.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
		}
	}
	wg.Wait()
	want := map[string]int{}
	for i := range instances {
		want[fmt.Sprintf("/instances/instance%d/token/token%d/privacy/online client%d", i, i, i)] = callsEach
	}
	assert.Equal(t, want, seen)
}

func TestClientsThatNobodyMade(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*zapi.Client{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range calls {
				assertRefused(t, c.call(t.Context(), client), c.op, "client")
			}
			_, err := client.ForInstance(creds)
			assertRefused(t, err, "ForInstance", "client")
		})
	}
}

func TestNilContext(t *testing.T) {
	t.Parallel()
	var none context.Context
	for _, c := range calls {
		api := newMockAPI(succeeding)
		assertRefused(t, c.call(none, api.client(t)), c.op, "ctx")
		assert.Empty(t, api.requests())
	}
}

func TestCredentialsFromEnv(t *testing.T) {
	tests := []struct {
		name                    string
		instance, token, token2 string
		missing                 string
	}{
		{"all", creds.InstanceID, creds.Token, creds.ClientToken, ""},
		{"none", "", "", "", "ZAPI_INSTANCE_ID, ZAPI_TOKEN, ZAPI_CLIENT_TOKEN"},
		{"no instance", "", creds.Token, creds.ClientToken, "ZAPI_INSTANCE_ID"},
		{"no token", creds.InstanceID, "", creds.ClientToken, "ZAPI_TOKEN"},
		{"no client token", creds.InstanceID, creds.Token, "", "ZAPI_CLIENT_TOKEN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ZAPI_INSTANCE_ID", tt.instance)
			t.Setenv("ZAPI_TOKEN", tt.token)
			t.Setenv("ZAPI_CLIENT_TOKEN", tt.token2)
			got, err := zapi.CredentialsFromEnv()
			if tt.missing != "" {
				assertRefused(t, err, "CredentialsFromEnv", tt.missing, creds.Token, creds.ClientToken)
				assert.Zero(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, creds, got)
		})
	}
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
