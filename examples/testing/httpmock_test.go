package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// TestHideOnTheWire gives the client a mock of its own by WithTransport. httpmock.Activate is not used: it replaces
// http.DefaultTransport for the whole program, which NewClient refuses, and such tests could not run in parallel.
func TestHideOnTheWire(t *testing.T) {
	t.Parallel()
	mock := httpmock.NewMockTransport()
	mock.RegisterNoResponder(httpmock.NewNotFoundResponder(t.Fatal)) // names the method and URL that nobody registered
	client, err := zapi.NewClient(
		zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"},
		zapi.WithTransport(mock),
		zapi.WithRetry(zapi.RetryPolicy{}))
	require.NoError(t, err)

	var routes []string
	for _, route := range []string{"last-seen", "photo", "description"} {
		mock.RegisterResponder(http.MethodPost, "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/"+route,
			func(req *http.Request) (*http.Response, error) {
				routes = append(routes, route)
				assert.Equal(t, "MY-CLIENT-TOKEN", req.Header.Get("Client-Token"))
				assert.Empty(t, req.URL.RawQuery)
				body, err := io.ReadAll(req.Body)
				assert.NoError(t, err)
				assert.JSONEq(t, `{
					"visualizationType": "CONTACT_BLACKLIST",
					"contactsBlacklist": [{"action": "add", "phone": "5544911111111"}]
				}`, string(body))
				return httpmock.NewStringResponse(http.StatusOK, `{"success": true}`), nil
			})
	}
	require.NoError(t, Offboarding{Client: client}.Hide(t.Context(), "+55 44 91111-1111"))
	assert.Equal(t, []string{"last-seen", "photo", "description"}, routes)
}
