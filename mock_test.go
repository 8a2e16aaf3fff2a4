package zapi_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"

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
	call func(context.Context, *zapi.Client) error
}

// calls has one legal call of each method that talks to the API.
var calls = []call{
	{"privacy/last-seen", func(ctx context.Context, c *zapi.Client) error {
		return c.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"))
	}},
	{"privacy/photo", func(ctx context.Context, c *zapi.Client) error {
		return c.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	}},
	{"privacy/online", func(ctx context.Context, c *zapi.Client) error {
		return c.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen)
	}},
	{"privacy/description", func(ctx context.Context, c *zapi.Client) error {
		return c.SetDescriptionVisibility(ctx, zapi.VisibilityNone)
	}},
	{"privacy/group-add", func(ctx context.Context, c *zapi.Client) error {
		return c.SetGroupAddPermission(ctx, zapi.GroupAddContacts)
	}},
	{"privacy/read-receipts", func(ctx context.Context, c *zapi.Client) error {
		return c.SetReadReceipts(ctx, zapi.ReadReceiptsDisable)
	}},
	{"privacy/messages-duration", func(ctx context.Context, c *zapi.Client) error {
		return c.SetMessageDuration(ctx, zapi.MessageDuration7Days)
	}},
	{"privacy/disallowed-contacts", func(ctx context.Context, c *zapi.Client) error {
		_, err := c.DisallowedContacts(ctx, zapi.BlacklistPhoto)
		return err
	}},
}

// documented is the answer that each call expects.
func documented(op string) string {
	if op == "privacy/disallowed-contacts" {
		return `{"disallowedContacts":[]}`
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

// mockAPI gives each request to a responder and keeps it.
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

// answering is a responder without the content type of JSON, which must not matter.
func answering(status int, body string) httpmock.Responder {
	return httpmock.NewStringResponder(status, body)
}

var succeeding = answering(http.StatusOK, `{"success":true}`)

// assertNoSecret also asserts that there was something to look at.
func assertNoSecret(t *testing.T, text, what string) {
	t.Helper()
	assert.NotEmpty(t, text, what)
	for _, secret := range []string{creds.Token, creds.ClientToken} {
		assert.NotContains(t, text, secret, what)
	}
}

// transportFunc is a RoundTripper from a func.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
