package zapi_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestResponses(t *testing.T) {
	t.Parallel()
	const foreign = "the response is a page of a proxy or firewall, not the API's"
	const html = "<html><body><h1>502 Bad Gateway</h1></body></html>"
	tests := []struct {
		name     string
		status   int
		body     string
		want     error // nil: success; errOfNoKind: an APIError without a kind
		wantText string
	}{
		{"documented success", 200, `{"success":true}`, nil, ""},
		{"success with spaces and other keys", 200, " {\n\"id\": 7, \"success\" : true } \n", nil, ""},
		{"success with null error", 200, `{"success":true,"error":null}`, nil, ""},
		{"success with empty error", 200, `{"success":true,"error":""}`, nil, ""},
		{"success with empty error object", 200, `{"success":true,"error":{}}`, nil, ""},
		{"success with error false", 200, `{"success":true,"error":false}`, nil, ""},
		{"success with error 0", 200, `{"success":true,"error":0}`, nil, ""},
		{"success with an empty error list and spaces", 200, `{"success":true,"error":[ ],"message":{ }}`, nil, ""},
		{"success behind a byte order mark", 200, "\ufeff" + `{"success":true}`, nil, ""},
		{"success with another member twice", 200, `{"id":1,"success":true,"id":2}`, nil, ""},
		{"success false", 200, `{"success":false}`, zapi.ErrRejected, "rejected: success is false"},
		{"success false with a reason", 200, `{"success":false,"error":"busy","message":"try later"}`, zapi.ErrRejected, "rejected: busy: try later"},
		{"success false, not found", 200, `{"success":false,"error":"Instance not found"}`, zapi.ErrNotFound, "not found: Instance not found"},
		{"success with an error", 200, `{"success":true,"error":"Invalid phone"}`, zapi.ErrUnexpectedResponse, "unexpected response: Invalid phone: status 200 with an error in the body"},
		{"error alone", 200, `{"error":"Invalid phone"}`, zapi.ErrUnexpectedResponse, "unexpected response: Invalid phone: status 200 with an error in the body"},
		{"error that is no string", 200, `{"success":true,"error":{"code":7}}`, zapi.ErrUnexpectedResponse, `unexpected response: {"code":7}: status 200 with an error in the body`},
		{"route not found", 200, `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, zapi.ErrNotFound,
			"not found: NOT_FOUND: Unable to find matching target resource method"},
		{"instance not found", 200, `{"error":"Instance not found"}`, zapi.ErrNotFound, "not found: Instance not found"},
		{"instance not found, with spaces", 200, `{"error":" Instance not found\n"}`, zapi.ErrNotFound, "not found:  Instance not found "},
		{"no success", 200, `{}`, zapi.ErrUnexpectedResponse, "unexpected response: success is missing or not a boolean"},
		{"success null", 200, `{"success":null}`, zapi.ErrUnexpectedResponse, "unexpected response: success is missing or not a boolean"},
		{"success a string", 200, `{"success":"true"}`, zapi.ErrUnexpectedResponse, "unexpected response: success is missing or not a boolean"},
		{"success a number", 200, `{"success":1}`, zapi.ErrUnexpectedResponse, "unexpected response: success is missing or not a boolean"},
		{"success in capitals", 200, `{"SUCCESS":true}`, zapi.ErrUnexpectedResponse, "unexpected response: success is missing or not a boolean"},
		{"success twice, false first", 200, `{"success":false,"success":true}`, zapi.ErrUnexpectedResponse, "unexpected response: the body repeats a member"},
		{"success twice, the same", 200, `{"success":true,"success":true}`, zapi.ErrUnexpectedResponse, "unexpected response: the body repeats a member"},
		{"error twice", 200, `{"success":true,"error":null,"error":""}`, zapi.ErrUnexpectedResponse, "unexpected response: the body repeats a member"},
		{"message twice", 200, `{"success":true,"message":"","message":""}`, zapi.ErrUnexpectedResponse, "unexpected response: the body repeats a member"},
		{"success with error true", 200, `{"success":true,"error":true}`, zapi.ErrUnexpectedResponse, "unexpected response: true: status 200 with an error in the body"},
		{"success with error 1", 200, `{"success":true,"error":1}`, zapi.ErrUnexpectedResponse, "unexpected response: 1: status 200 with an error in the body"},
		{"success with an error beyond every number", 200, `{"success":true,"error":1e999}`, zapi.ErrUnexpectedResponse, "unexpected response: 1e999: status 200 with an error in the body"},
		{"empty body", 200, ``, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"null", 200, `null`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"array", 200, `[{"success":true}]`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"boolean", 200, `true`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"two values", 200, `{"success":true}{"success":false}`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"cut JSON", 200, `{"success":true`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"HTML", 200, html, zapi.ErrUnexpectedResponse, "unexpected response: the body is not one JSON object"},
		{"created", 201, `{"success":true}`, zapi.ErrUnexpectedResponse, "201 Created: the documented status is 200"},
		{"no content", 204, ``, zapi.ErrUnexpectedResponse, "204 No Content: the documented status is 200"},
		{"not modified", 304, ``, zapi.ErrUnexpectedResponse, "304 Not Modified: redirects are not followed"},
		{"account token missing", 400, `{"error":"your client-token is not configured"}`, zapi.ErrUnauthorized, "400 Bad Request: your client-token is not configured"},
		{"account token null", 400, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, "400 Bad Request: null not allowed"},
		{"account token null, named", 400, `{"error":"Client-Token null not allowed"}`, zapi.ErrUnauthorized, "400 Bad Request: Client-Token null not allowed"},
		{"account token null, forbidden", 403, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, "403 Forbidden: null not allowed"},
		{"account token wrong", 403, `{"error":"Client-Token ` + creds.ClientToken + ` not allowed"}`, zapi.ErrUnauthorized, "403 Forbidden: Client-Token [REDACTED] not allowed"},
		{"account token refused with 200", 200, `{"error":"Client-Token null not allowed"}`, zapi.ErrUnauthorized, "unauthorized: Client-Token null not allowed"},
		{"a phone that is not allowed", 400, `{"error":"Phone 5544 not allowed"}`, errOfNoKind, "400 Bad Request: Phone 5544 not allowed"},
		{"a value that is not allowed", 400, `{"error":"NONE not allowed"}`, errOfNoKind, "400 Bad Request: NONE not allowed"},
		{"a method that is not allowed", 400, `{"error":"Method not allowed"}`, errOfNoKind, "400 Bad Request: Method not allowed"},
		{"a value that is not allowed with 200", 200, `{"success":false,"error":"NONE not allowed"}`, zapi.ErrRejected, "rejected: NONE not allowed"},
		{"invalid phone", 400, `{"error":"Invalid phone"}`, errOfNoKind, "400 Bad Request: Invalid phone"},
		{"unauthorized", 401, ``, zapi.ErrUnauthorized, "401 Unauthorized"},
		{"unauthorized, with spaces", 401, " \r\n", zapi.ErrUnauthorized, "401 Unauthorized"},
		{"forbidden", 403, `{"error":"Forbidden"}`, zapi.ErrUnauthorized, "403 Forbidden: Forbidden"},
		{"forbidden with an object that says nothing", 403, `{}`, zapi.ErrUnauthorized, "403 Forbidden"},
		{"unauthorized by a login page", 401, html, zapi.ErrUnexpectedResponse, "401 Unauthorized: " + foreign},
		{"forbidden by a proxy", 403, html, zapi.ErrUnexpectedResponse, "403 Forbidden: " + foreign},
		{"forbidden by a firewall", 403, "error code: 1020", zapi.ErrUnexpectedResponse, "403 Forbidden: " + foreign},
		{"forbidden with two objects", 403, `{"error":"Forbidden"}{}`, zapi.ErrUnexpectedResponse, "403 Forbidden: " + foreign},
		{"forbidden with a list", 403, `["Forbidden"]`, zapi.ErrUnexpectedResponse, "403 Forbidden: " + foreign},
		{"forbidden with a string", 403, `"Forbidden"`, zapi.ErrUnexpectedResponse, "403 Forbidden: " + foreign},
		{"not found by a proxy", 404, html, zapi.ErrUnexpectedResponse, "404 Not Found: " + foreign},
		{"not found without a body", 404, ``, zapi.ErrNotFound, "404 Not Found"},
		{"method not allowed, with a page", 405, html, zapi.ErrMethodNotAllowed, "405 Method Not Allowed"},
		{"unsupported media type, with a page", 415, html, zapi.ErrUnsupportedMediaType, "415 Unsupported Media Type"},
		{"bad request, with a page", 400, html, errOfNoKind, "400 Bad Request"},
		{"not connected", 200, `{"error":"You are not connected."}`, zapi.ErrNotConnected, "not connected: You are not connected."},
		{"not connected, success false", 200, `{"success":false,"message":"you need to restore the session"}`, zapi.ErrNotConnected, "not connected: you need to restore the session"},
		{"not connected, bad request", 400, `{"error":"You are not connected."}`, zapi.ErrNotConnected, "400 Bad Request: You are not connected."},
		{"not connected, server error", 500, `{"error":"x","message":"YOU ARE NOT CONNECTED"}`, zapi.ErrNotConnected, "500 Internal Server Error: x: YOU ARE NOT CONNECTED"},
		{"not connected, forbidden", 403, `{"error":"You are not connected."}`, zapi.ErrUnauthorized, "403 Forbidden: You are not connected."},
		{"not connected within a longer text", 400, `{"error":"You are not connected. Sorry."}`, errOfNoKind, "400 Bad Request: You are not connected. Sorry."},
		{"not found", 404, `{"error":"Instance not found"}`, zapi.ErrNotFound, "404 Not Found: Instance not found"},
		{"method not allowed", 405, ``, zapi.ErrMethodNotAllowed, "405 Method Not Allowed"},
		{"conflict", 409, `{"success":true}`, errOfNoKind, "409 Conflict"},
		{"unsupported media type", 415, ``, zapi.ErrUnsupportedMediaType, "415 Unsupported Media Type"},
		{"too many requests", 429, `{"error":"slow down"}`, zapi.ErrRateLimited, "429 Too Many Requests: slow down"},
		{"server error", 500, `{"success":true}`, zapi.ErrUnavailable, "500 Internal Server Error"},
		{"bad gateway", 502, html, zapi.ErrUnavailable, "502 Bad Gateway"},
		{"unavailable", 503, `[]`, zapi.ErrUnavailable, "503 Service Unavailable"},
		{"status of its own", 599, ``, zapi.ErrUnavailable, "status 599"},
		{"no status", 0, ``, zapi.ErrUnexpectedResponse, "status 0: the documented status is 200"},
		{"below every status", 99, `{"success":true}`, zapi.ErrUnexpectedResponse, "status 99: the documented status is 200"},
		{"informational", 102, `{"success":true}`, zapi.ErrUnexpectedResponse, "102 Processing: the documented status is 200"},
		{"above every status", 600, `{"success":true}`, zapi.ErrUnexpectedResponse, "status 600: the documented status is 200"},
		{"far above every status", 999, ``, zapi.ErrUnexpectedResponse, "status 999: the documented status is 200"},
		{"request timeout", 408, ``, errOfNoKind, "408 Request Timeout"},
		{"too early", 425, ``, errOfNoKind, "425 Too Early"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(tt.status, tt.body))
			err := setOnline(t.Context(), api.client(t))
			require.Len(t, api.requests(), 1)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.EqualError(t, err, "zapi: privacy/online: "+tt.wantText)
			assertKind(t, tt.want, err)
			assert.Equal(t, tt.status, apiErr.StatusCode)
			assert.Equal(t, 1, apiErr.Attempts)
			assert.Equal(t, strings.ReplaceAll(tt.body, creds.ClientToken, "[REDACTED]"), string(apiErr.Body))
		})
	}
}

var errOfNoKind = errors.New("none of the kinds")

func TestResponseDetails(t *testing.T) {
	t.Parallel()
	err := setOnline(t.Context(), newClient(t, responding(400, `{"error":"Invalid phone","message":"check it"}`)))
	var apiErr *zapi.APIError
	require.ErrorAs(t, err, &apiErr)
	assert.Equal(t, "Invalid phone", apiErr.Code)
	assert.Equal(t, "check it", apiErr.Message)
}

// A list is as strict about success as a setting, where it is there.
func TestSuccessBesideAList(t *testing.T) {
	t.Parallel()
	const list = `"disallowedContacts":["554411111111"]`
	const reason = "zapi: privacy/disallowed-contacts: unexpected response: success is missing or not a boolean"
	tests := []struct{ name, body, want string }{
		{"absent", `{` + list + `}`, ""},
		{"true", `{"success":true,` + list + `}`, ""},
		{"false", `{"success":false,` + list + `}`, "zapi: privacy/disallowed-contacts: rejected: success is false"},
		{"text", `{"success":"true",` + list + `}`, reason},
		{"null", `{"success":null,` + list + `}`, reason},
		{"0", `{"success":0,` + list + `}`, reason},
		{"1", `{"success":1,` + list + `}`, reason},
		{"object", `{"success":{},` + list + `}`, reason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			contacts, err := newClient(t, responding(200, tt.body)).DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
				assert.Nil(t, contacts)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"554411111111"}, contacts)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) func() string {
		return func() string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	}
	text := func(value string) func() string { return func() string { return value } }
	tests := []struct {
		name   string
		header func() string
		want   time.Duration
	}{
		{"none", text(""), 0},
		{"seconds", text("120"), 2 * time.Minute},
		{"zero", text("0"), 0},
		{"date", in(time.Hour), time.Hour},
		{"date that is now", in(0), 0},
		{"date in the past", in(-time.Hour), 0},
		{"negative", text("-1"), 0},
		{"beyond all measure", text("99999999999999999999"), math.MaxInt64},
		{"seconds that overflow nanoseconds", text("10000000000"), math.MaxInt64},
		{"fraction", text("1.5"), 0},
		{"words", text("soon"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // its clock stands still
				header := http.Header{"Retry-After": {tt.header()}}
				err := setOnline(t.Context(), newClient(t, responding(429, "").HeaderSet(header)))
				var apiErr *zapi.APIError
				require.ErrorAs(t, err, &apiErr)
				assert.Equal(t, tt.want, apiErr.RetryAfter)
			})
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
