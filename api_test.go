package zapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

var otherCreds = zapi.Credentials{InstanceID: "3C02OTHER", Token: "81D5E3F8-t0ken-0C2A", ClientToken: "G6f3d2e9-cl1ent-8B1T"}

// NewClient is NewAPI, then Instance, whatever the options.
func TestNewAPIThenInstanceIsNewClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		creds zapi.Credentials
		opts  []zapi.Option
	}{
		{"defaults", creds, nil},
		{"base URL", creds, []zapi.Option{zapi.WithBaseURL("https://gateway.example/z-api/")}},
		{"user agent", creds, []zapi.Option{zapi.WithUserAgent("acme-backend/1.4")}},
		{"no Client-Token", zapi.Credentials{InstanceID: creds.InstanceID, Token: creds.Token}, []zapi.Option{zapi.WithoutClientToken()}},
		{"middleware", creds, []zapi.Option{before(func(r *http.Request) error {
			r.Header.Set("Traceparent", "00-1")
			return nil
		})}},
		{"phone parser", creds, []zapi.Option{zapi.WithPhoneParser(func(phone string) (string, error) { return "+55" + phone, nil })}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requests := func(newClient func(...zapi.Option) (*zapi.Client, error)) []sent {
				network := newMockAPI(responding(503, `{"success":true}`))
				client, err := newClient(append(tt.opts, zapi.WithTransport(network), zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: 1, MaxWait: 1}))...)
				require.NoError(t, err)
				assert.Equal(t, tt.creds.InstanceID, client.InstanceID())
				err = setPhoto(zapi.VisibilityContactBlacklist, zapi.Disallow("44911111111"))(t.Context(), client)
				require.EqualError(t, err, "zapi: privacy/photo: 503 Service Unavailable (2 attempts)")
				return network.requests()
			}
			byClient := requests(func(opts ...zapi.Option) (*zapi.Client, error) { return zapi.NewClient(tt.creds, opts...) })
			byAPI := requests(func(opts ...zapi.Option) (*zapi.Client, error) {
				api, err := zapi.NewAPI(opts...)
				if err != nil {
					return nil, err
				}
				return api.Instance(tt.creds)
			})
			require.Len(t, byClient, 2)
			assert.Equal(t, byClient, byAPI)
		})
	}
}

// Errors name the func that was called, and the field.
func TestOptionErrorsNameTheFunc(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, field string
		opt         zapi.Option
	}{
		{"no option", "opts[0]", nil},
		{"base URL", "WithBaseURL", zapi.WithBaseURL("http://api.z-api.io")},
		{"base URL of the panel", "WithBaseURL", zapi.WithBaseURL("https://api.z-api.io/instances/3C01/token/70C4")},
		{"transport", "WithTransport", zapi.WithTransport(nil)},
		{"timeout", "WithTimeout", zapi.WithTimeout(30)},
		{"retry", "WithRetry.MaxAttempts", zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: -1})},
		{"middleware", "WithMiddleware[0]", zapi.WithMiddleware(nil)},
		{"middleware that returns nil", "WithMiddleware[0]", zapi.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return nil })},
		{"logger", "WithLogger", zapi.WithLogger(nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, err := zapi.NewAPI(tt.opt)
			assert.Nil(t, api)
			assertRefused(t, err, "NewAPI", tt.field)
			require.NotErrorIs(t, err, zapi.ErrInvalidCredentials)
			client, err := zapi.NewClient(creds, tt.opt)
			assert.Nil(t, client)
			assertRefused(t, err, "NewClient", tt.field)
			require.NotErrorIs(t, err, zapi.ErrInvalidCredentials)
			assert.ErrorContains(t, err, "zapi: NewClient: "+tt.field+": ")
		})
	}
}

func TestInvalidCredentials(t *testing.T) {
	t.Parallel()
	with := func(set func(*zapi.Credentials)) zapi.Credentials {
		c := creds
		set(&c)
		return c
	}
	tests := []struct {
		name, field string
		creds       zapi.Credentials
	}{
		{"zero", "InstanceID", zapi.Credentials{}},
		{"no ID", "InstanceID", with(func(c *zapi.Credentials) { c.InstanceID = "" })},
		{"ID with a slash", "InstanceID", with(func(c *zapi.Credentials) { c.InstanceID = "a/b" })},
		{"ID in quotes", "InstanceID", with(func(c *zapi.Credentials) { c.InstanceID = `"3C01D5A4B6"` })},
		{"ID that is the token", "InstanceID", with(func(c *zapi.Credentials) { c.InstanceID = c.Token })},
		{"ID that is the Client-Token", "InstanceID", with(func(c *zapi.Credentials) { c.InstanceID = c.ClientToken })},
		{"no token", "Token", with(func(c *zapi.Credentials) { c.Token = "" })},
		{"token with a dot segment", "Token", with(func(c *zapi.Credentials) { c.Token = ".." })},
		{"token as a variable", "Token", with(func(c *zapi.Credentials) { c.Token = "${ZAPI_TOKEN}" })},
		{"token as a placeholder", "Token", with(func(c *zapi.Credentials) { c.Token = "<token>" })},
		{"token that the base URL holds", "Token", with(func(c *zapi.Credentials) { c.Token = "gateway.example" })},
		{"no Client-Token", "ClientToken", with(func(c *zapi.Credentials) { c.ClientToken = "" })},
		{"Client-Token with a line break", "ClientToken", with(func(c *zapi.Credentials) { c.ClientToken = "F5e2c1\n" })},
		{"Client-Token with a comma", "ClientToken", with(func(c *zapi.Credentials) { c.ClientToken += "," })},
	}
	base := zapi.WithBaseURL("https://gateway.example")
	api, err := zapi.NewAPI(base)
	require.NoError(t, err)
	first, err := api.Instance(creds)
	require.NoError(t, err)
	for _, tt := range tests {
		funcs := []struct {
			op  string
			new func() (*zapi.Client, error)
		}{
			{"NewClient", func() (*zapi.Client, error) { return zapi.NewClient(tt.creds, base) }},
			{"Instance", func() (*zapi.Client, error) { return api.Instance(tt.creds) }},
			{"ForInstance", func() (*zapi.Client, error) { return first.ForInstance(tt.creds) }},
		}
		for _, f := range funcs {
			t.Run(tt.name+" of "+f.op, func(t *testing.T) {
				t.Parallel()
				client, err := f.new()
				assert.Nil(t, client)
				assertRefused(t, err, f.op, tt.field, tt.creds.Token, tt.creds.ClientToken)
				require.ErrorIs(t, err, zapi.ErrInvalidCredentials)
				require.ErrorIs(t, fmt.Errorf("tenant 7: %w", err), zapi.ErrInvalidCredentials)
				assert.Equal(t, "invalid credentials", zapi.Kind(err))
				_, ok := zapi.Retryable(err)
				assert.False(t, ok)
			})
		}
	}
}

func TestInvalidCredentialsOfTheEnvironment(t *testing.T) {
	t.Setenv("ZAPI_INSTANCE_ID", "")
	t.Setenv("ZAPI_TOKEN", creds.Token)
	t.Setenv("ZAPI_CLIENT_TOKEN", creds.ClientToken)
	_, err := zapi.CredentialsFromEnv()
	assertRefused(t, err, "CredentialsFromEnv", "ZAPI_INSTANCE_ID", creds.Token)
	require.ErrorIs(t, err, zapi.ErrInvalidCredentials)
}

// What a user gave is not our own configuration: a service answers 400 to the one, and 500 to the other.
func TestOtherValidationErrorsAreNotAboutCredentials(t *testing.T) {
	t.Parallel()
	policy := func(text string) error { return json.Unmarshal([]byte(text), new(zapi.Policy)) }
	_, noAPI := new(zapi.API).Instance(creds)
	_, noClient := new(zapi.Client).ForInstance(creds)
	_, phone := zapi.NormalizePhone("nobody")
	tests := []struct {
		name string
		err  error
	}{
		{"a key of a policy", policy(`{"Token":"x"}`)},
		{"another key of a policy", policy(`{"ClientToken":"x"}`)},
		{"the ID as a key of a policy", policy(`{"InstanceID":"x"}`)},
		{"a phone", phone},
		{"a value", setOnlineTo("NONE")(t.Context(), newClient(t, succeeding))},
		{"a route", newClient(t, succeeding).Do(t.Context(), "GET", "/device", nil, nil)},
		{"a zero API", noAPI},
		{"a zero client", noClient},
		{"a ValidationError of a test", &zapi.ValidationError{Op: "privacy/photo", Field: "changes[0].phone"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, tt.err, zapi.ErrInvalidArgument)
			require.NotErrorIs(t, tt.err, zapi.ErrInvalidCredentials)
			assert.Equal(t, "invalid argument", zapi.Kind(tt.err))
		})
	}
}

func TestNoAPI(t *testing.T) {
	t.Parallel()
	for name, api := range map[string]*zapi.API{"nil": nil, "zero": new(zapi.API)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := api.Instance(creds)
			assert.Nil(t, client)
			assertRefused(t, err, "Instance", "api", creds.Token)
			require.EqualError(t, err, "zapi: Instance: api: must come from NewAPI")
			assert.NotPanics(t, api.CloseIdleConnections)
		})
	}
	for name, client := range map[string]*zapi.Client{"nil": nil, "zero": new(zapi.Client)} {
		t.Run(name+" client", func(t *testing.T) {
			t.Parallel()
			_, err := client.ForInstance(creds)
			assertRefused(t, err, "ForInstance", "client", creds.Token)
			assert.NotPanics(t, client.CloseIdleConnections)
		})
	}
}

// All instances of an API share its connections, those of another API do not.
func TestInstancesShareConnections(t *testing.T) {
	t.Parallel()
	var opened, closed atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	api, err := zapi.NewAPI(zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	first, err := api.Instance(creds)
	require.NoError(t, err)
	second, err := api.Instance(otherCreds)
	require.NoError(t, err)
	third, err := second.ForInstance(creds)
	require.NoError(t, err)
	for _, client := range []*zapi.Client{first, second, third, first} {
		require.NoError(t, setOnline(t.Context(), client))
	}
	assert.EqualValues(t, 1, opened.Load())

	api.CloseIdleConnections()
	assert.Eventually(t, func() bool { return closed.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, setOnline(t.Context(), second))
	assert.EqualValues(t, 2, opened.Load(), "the API goes on")
	second.CloseIdleConnections()
	assert.Eventually(t, func() bool { return closed.Load() == 2 }, 10*time.Second, time.Millisecond, "those of an instance are those of all")

	apart, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), once)
	require.NoError(t, err)
	require.NoError(t, setOnline(t.Context(), first))
	require.NoError(t, setOnline(t.Context(), apart))
	assert.EqualValues(t, 4, opened.Load())
}

func TestCloseIdleConnectionsOfAnAPI(t *testing.T) {
	t.Parallel()
	transport := &closes{RoundTripper: newMockAPI(succeeding)}
	api, err := zapi.NewAPI(zapi.WithTransport(transport))
	require.NoError(t, err)
	api.CloseIdleConnections()
	assert.EqualValues(t, 1, transport.n.Load())
	client, err := api.Instance(creds)
	require.NoError(t, err)
	client.CloseIdleConnections()
	assert.EqualValues(t, 2, transport.n.Load())

	api, err = zapi.NewAPI(zapi.WithTransport(newMockAPI(succeeding)))
	require.NoError(t, err)
	assert.NotPanics(t, api.CloseIdleConnections, "a transport without the method")
}

// A service makes a client for every request that it serves, in many goroutines.
func TestInstancesOfAnAPIDoNotCross(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := make(map[string]int)
	calls := make(map[string]int)
	limited := 0
	network := newMockAPI(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[req.URL.Path+" "+req.Header.Get("Client-Token")]++
		return succeeding(req)
	})
	api, err := zapi.NewAPI(zapi.WithTransport(network),
		zapi.WithLogger(slog.New(slog.DiscardHandler)),
		zapi.WithRateLimiter(limiterFunc(func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			limited++
			return nil
		})),
		zapi.WithInterceptor(func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
			mu.Lock()
			calls[call.InstanceID]++
			mu.Unlock()
			return next(ctx)
		}))
	require.NoError(t, err)
	const instances, requestsEach = 20, 10
	var wg sync.WaitGroup
	wantSeen, wantCalls := make(map[string]int), make(map[string]int)
	for i := range instances {
		c := zapi.Credentials{InstanceID: fmt.Sprint("instance", i), Token: fmt.Sprint("token", i), ClientToken: fmt.Sprint("client", i)}
		wantSeen[fmt.Sprintf("/instances/instance%d/token/token%d/privacy/online client%d", i, i, i)] = requestsEach
		wantCalls[c.InstanceID] = requestsEach
		for range requestsEach {
			wg.Go(func() {
				client, err := api.Instance(c)
				if assert.NoError(t, err) {
					assert.NoError(t, setOnline(t.Context(), client))
				}
			})
		}
	}
	wg.Wait()
	assert.Equal(t, wantSeen, seen)
	assert.Equal(t, wantCalls, calls)
	assert.Equal(t, instances*requestsEach, limited)
}

// Printers that do not call Format, as spew and pp do not, look for String.
func TestCredentialsString(t *testing.T) {
	t.Parallel()
	var stringer fmt.Stringer = creds
	assert.Equal(t, `zapi.Credentials("`+creds.InstanceID+`")`, stringer.String())
	assert.Equal(t, stringer.String(), fmt.Sprint(creds))
	assert.Equal(t, stringer.String(), fmt.Sprint(&creds))
	assertNoSecret(t, stringer.String(), "text")
}
