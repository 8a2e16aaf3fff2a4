package zapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
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

func getDevice(ctx context.Context, c *zapi.Client) error {
	var device struct{ Phone string }
	return c.Do(ctx, http.MethodGet, "device", nil, &device)
}

// A route is what Do is called with.
type route struct {
	method, route string
	in            any
}

func (r route) String() string { return fmt.Sprintf("%s %s with %v", r.method, r.route, r.in) }

func (r route) do(ctx context.Context, c *zapi.Client) error {
	return c.Do(ctx, r.method, r.route, r.in, nil)
}

func TestDoOnTheWire(t *testing.T) {
	t.Parallel()
	type message struct {
		Phone string `json:"phone"`
		Text  string `json:"message"`
	}
	tests := []struct {
		name, method, route string
		in                  any
		wantURL             string // below the token, if it is not route
		wantBody            string
		wantJSON            bool // the content type
	}{
		{name: "GET", method: "GET", route: "device"},
		{name: "GET with a query", method: "GET", route: "chats?page=1&pageSize=20"},
		{name: "GET with a question mark in the query", method: "GET", route: "chats?next=/a/../b?c"},
		{name: "GET with an empty query", method: "GET", route: "chats?", wantURL: "chats"},
		{name: "GET with an encoded query", method: "GET", route: "chats?name=Jo%C3%A3o+Silva"},
		{name: "GET with a body", method: "GET", route: "chats", in: map[string]int{"page": 1}, wantBody: `{"page":1}`, wantJSON: true},
		{name: "GET of deep segments", method: "GET", route: "group-metadata/120363019502650977-group/members"},
		{name: "escapes", method: "GET", route: "group/caf%C3%A9%20%2b%2B", wantURL: "group/caf%C3%A9%20%2b%2B"},
		{name: "an escaped slash", method: "GET", route: "media/a%2Fb"},
		{name: "an escaped question mark", method: "GET", route: "media/a%3Fb"},
		{name: "an escaped number sign", method: "GET", route: "media/a%23b"},
		{name: "an escaped percent sign", method: "GET", route: "discount/100%25"},
		{name: "an escaped percent sign within", method: "GET", route: "discount/100%25off"},
		{name: "escapes that are not needed", method: "GET", route: "%64evice"},
		{name: "dots within a segment", method: "GET", route: "media/..a/b../...?v=1.2"},
		{name: "marks that need no escape", method: "GET", route: "a-b_c.d~e!f$g&h'i(j)k*l+m,n;o=p:q@r"},
		{name: "marks that are escaped", method: "GET", route: "a\"b<c>d^e`f{g|h}i", wantURL: "a%22b%3Cc%3Ed%5Ee%60f%7Bg%7Ch%7Di"},
		{name: "marks that are escaped, beside escapes", method: "GET", route: "{a}/b%2Fc", wantURL: "%7Ba%7D/b%2Fc"},
		{name: "brackets", method: "GET", route: "a[0]"},
		{name: "POST without a body", method: "POST", route: "restore-session", wantJSON: true},
		{name: "POST", method: "POST", route: "send-text", in: message{"5544911111111", "<olá> & até"}, wantBody: `{"phone":"5544911111111","message":"\u003colá\u003e \u0026 até"}`, wantJSON: true},
		{name: "POST of a list", method: "POST", route: "tags", in: []int{1, 2}, wantBody: `[1,2]`, wantJSON: true},
		{name: "POST of raw JSON", method: "POST", route: "tags", in: json.RawMessage(`{"a":1}`), wantBody: `{"a":1}`, wantJSON: true},
		{name: "POST of a text", method: "POST", route: "tags", in: "a", wantBody: `"a"`, wantJSON: true},
		{name: "POST of a typed nil", method: "POST", route: "tags", in: (*message)(nil), wantBody: `null`, wantJSON: true},
		{name: "PUT", method: "PUT", route: "update-webhook", in: map[string]string{"value": "https://example.com"}, wantBody: `{"value":"https://example.com"}`, wantJSON: true},
		{name: "PATCH", method: "PATCH", route: "tags", in: []int{}, wantBody: `[]`, wantJSON: true},
		{name: "DELETE", method: "DELETE", route: "messages?messageId=1"},
		{name: "DELETE with a body", method: "DELETE", route: "messages", in: map[string]bool{"owner": true}, wantBody: `{"owner":true}`, wantJSON: true},
		{name: "HEAD", method: "HEAD", route: "device"},
		{name: "OPTIONS", method: "OPTIONS", route: "device"},
		{name: "another method", method: "PURGE", route: "device"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(200, `{"value":true}`))
			require.NoError(t, api.client(t).Do(t.Context(), tt.method, tt.route, tt.in, nil))

			require.Len(t, api.requests(), 1)
			request := api.requests()[0]
			assert.Equal(t, tt.method, request.Method)
			if tt.wantURL == "" {
				tt.wantURL = tt.route
			}
			assert.Equal(t, realURL(tt.wantURL), request.URL)
			assert.Equal(t, tt.wantBody, request.Body)
			assert.Equal(t, []string{creds.ClientToken}, request.Header.Values("Client-Token"))
			assert.Equal(t, []string{"application/json"}, request.Header.Values("Accept"))
			if tt.wantJSON {
				assert.Equal(t, []string{"application/json"}, request.Header.Values("Content-Type"))
			} else {
				assert.Empty(t, request.Header.Values("Content-Type"))
			}
		})
	}
}

// What net/http makes of a request on its way to a socket.
func TestDoOnTheSocket(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		route    route
		length   int64
		encoding []string
	}{
		{"GET", route{"GET", "device", nil}, 0, nil},
		{"POST without a body", route{"POST", "restore-session", nil}, 0, nil},
		{"POST", route{"POST", "send-text", []int{1}}, 3, nil},
		{"GET with a body", route{"GET", "device", []int{1}}, 3, nil},
		{"DELETE", route{"DELETE", "messages", nil}, 0, nil},
		{"DELETE with a body", route{"DELETE", "messages", []int{1}}, 3, nil},
		{"HEAD", route{"HEAD", "device", nil}, 0, nil},
		{"escapes", route{"GET", "media/a%2Fb%20c?d=%2F", nil}, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				_, _ = io.WriteString(w, `{}`)
			})
			require.NoError(t, tt.route.do(t.Context(), client))
			require.NotNil(t, got)
			assert.Equal(t, "/instances/"+creds.InstanceID+"/token/"+creds.Token+"/"+tt.route.route, got.RequestURI)
			assert.Equal(t, tt.length, got.ContentLength)
			assert.Empty(t, got.TransferEncoding)
			if tt.route.method == http.MethodPost {
				assert.Contains(t, got.Header, "Content-Length", "which net/http leaves out of a request without a body")
			}
		})
	}
}

func TestDoBelowAPrefix(t *testing.T) {
	t.Parallel()
	api := newMockAPI(responding(200, `{}`))
	client := api.client(t, zapi.WithBaseURL("https://gateway.example/z%2Fapi/"))
	require.NoError(t, client.Do(t.Context(), "GET", "media/a%2Fb?c=d", nil, nil))
	assert.Equal(t, "https://gateway.example/z%2Fapi/instances/"+creds.InstanceID+"/token/"+creds.Token+"/media/a%2Fb?c=d", api.requests()[0].URL)
}

func TestDoRefuses(t *testing.T) {
	t.Parallel()
	var notPointer struct{ Phone string }
	const get, device = http.MethodGet, "device"
	tests := []struct {
		name, method, route string
		in, out             any
		field               string
	}{
		{"no method", "", device, nil, nil, "method"},
		{"a method with a space", "GET ", device, nil, nil, "method"},
		{"a method with a line break", "GET\r\nX:", device, nil, nil, "method"},
		{"a method with a digit", "GET1", device, nil, nil, "method"},
		{"a method with a hyphen", "M-SEARCH", device, nil, nil, "method"},
		{"a method in other letters", "GÉT", device, nil, nil, "method"},
		{"a method that is a route", "/device", device, nil, nil, "method"},

		{"no route", get, "", nil, nil, "route"},
		{"a query only", get, "?page=1", nil, nil, "route"},
		{"a slash", get, "/", nil, nil, "route"},
		{"a leading slash", get, "/device", nil, nil, "route"},
		{"two leading slashes", get, "//evil.example/device", nil, nil, "route"},
		{"a trailing slash", get, "device/", nil, nil, "route"},
		{"a trailing slash before a query", get, "device/?a=b", nil, nil, "route"},
		{"an empty segment", get, "group//members", nil, nil, "route"},
		{"a dot", get, ".", nil, nil, "route"},
		{"two dots", get, "..", nil, nil, "route"},
		{"a dot segment", get, "group/./members", nil, nil, "route"},
		{"two dots in front", get, "../other/token/device", nil, nil, "route"},
		{"two dots within", get, "group/../../members", nil, nil, "route"},
		{"two dots at the end", get, "group/..", nil, nil, "route"},
		{"two dots before a query", get, "group/..?a=b", nil, nil, "route"},
		{"a leading slash, escaped", get, "%2Fdevice", nil, nil, "route"},
		{"a trailing slash, escaped", get, "device%2f", nil, nil, "route"},
		{"an empty segment, escaped", get, "group%2F%2Fmembers", nil, nil, "route"},
		{"a dot, escaped", get, "group/%2e/members", nil, nil, "route"},
		{"two dots, escaped", get, "%2e%2E/device", nil, nil, "route"},
		{"two dots, half escaped", get, ".%2e/device", nil, nil, "route"},
		{"two dots and a slash, escaped", get, "group/%2E%2E%2Fmembers", nil, nil, "route"},
		{"two dots behind an escaped slash", get, "group%2F..", nil, nil, "route"},
		{"two dots before an escaped slash", get, "group/..%2Fmembers", nil, nil, "route"},
		{"two dots, escaped twice", get, "group/%252e%252e/members", nil, nil, "route"},
		{"two dots and a slash, escaped twice", get, "group/%252e%252e%252fmembers", nil, nil, "route"},
		{"a slash, escaped twice", get, "%252Fdevice", nil, nil, "route"},
		{"two dots, escaped thrice", get, "group/%25252e%25252e", nil, nil, "route"},
		{"two dots, escaped twice, beside a percent sign", get, "group/%252e%252e%252f%25zz", nil, nil, "route"},
		{"a backslash", get, `group\members`, nil, nil, "route"},
		{"a backslash in front", get, `\\evil.example`, nil, nil, "route"},
		{"a backslash, escaped", get, "..%5Cdevice", nil, nil, "route"},
		{"a backslash, escaped twice", get, "..%255cdevice", nil, nil, "route"},
		{"a fragment", get, "device#a", nil, nil, "route"},
		{"a fragment behind the query", get, "device?a#b", nil, nil, "route"},
		{"a space", get, "group/my group", nil, nil, "route"},
		{"a space in front", get, " device", nil, nil, "route"},
		{"a space in the query", get, "chats?name=João Silva", nil, nil, "route"},
		{"a line break", get, "device\r\nHost: evil.example", nil, nil, "route"},
		{"a NUL", get, "device\x00", nil, nil, "route"},
		{"a DEL", get, "device\x7f", nil, nil, "route"},
		{"letters beyond ASCII", get, "group/café", nil, nil, "route"},
		{"letters beyond ASCII in the query", get, "group?name=café", nil, nil, "route"},
		{"broken UTF-8", get, "device\xff", nil, nil, "route"},
		{"a bad escape", get, "device%zz", nil, nil, "route"},
		{"half an escape", get, "device%2", nil, nil, "route"},
		{"a lone percent sign", get, "discount/100%", nil, nil, "route"},

		{"in that is a func", "POST", "tags", func() {}, nil, "in"},
		{"in that is a channel", "POST", "tags", make(chan int), nil, "in"},
		{"in with a NaN", "POST", "tags", math.NaN(), nil, "in"},
		{"in that fails", "POST", "tags", failingJSON{}, nil, "in"},
		{"in that is no JSON", "POST", "tags", json.RawMessage(`{`), nil, "in"},
		{"in for HEAD", "HEAD", device, []int{}, nil, "in"},
		{"in for OPTIONS", "OPTIONS", device, []int{}, nil, "in"},

		{"out that is a struct", get, device, nil, notPointer, "out"},
		{"out that is a map", get, device, nil, map[string]any{}, "out"},
		{"out that is a nil pointer", get, device, nil, (*int)(nil), "out"},
		{"out that is a func", get, device, nil, func() {}, "out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(200, `{}`))
			intercepted := 0
			client := api.client(t, zapi.WithInterceptor(func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
				intercepted++
				return next(ctx)
			}))
			err := client.Do(t.Context(), tt.method, tt.route, tt.in, tt.out)
			assertRefused(t, err, "Do", tt.field)
			assert.NotContains(t, err.Error(), "554411111111", "what a Marshaler wrote")
			assert.Empty(t, api.requests())
			assert.Zero(t, intercepted)
		})
	}
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		for _, client := range []*zapi.Client{nil, new(zapi.Client)} {
			assertRefused(t, client.Do(t.Context(), get, device, nil, nil), "Do", "client")
		}
	})
	t.Run("no context", func(t *testing.T) {
		t.Parallel()
		client := newClient(t, succeeding)
		assertRefused(t, client.Do(nil, get, device, nil, nil), "Do", "ctx") //nolint:staticcheck // that is what is tested
	})
}

// failingJSON quotes a phone, as a Marshaler of the caller may.
type failingJSON struct{}

func (failingJSON) MarshalJSON() ([]byte, error) { return nil, errors.New("554411111111") }

// The texts of refusals are for those who write routes.
func TestDoRefusalTexts(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, method, route, want string }{
		{"method", "GET /", "device", `zapi: Do: method: must be letters, such as "GET"`},
		{"space", "GET", "a b", `zapi: Do: route: must be printable ASCII without spaces, # or \: escape what is not`},
		{"slash", "GET", "/device", `zapi: Do: route: must be relative, such as "device", without empty, . or .. segments, escaped or not`},
		{"escape", "GET", "100%", "zapi: Do: route: must have only valid escapes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.EqualError(t, newClient(t, succeeding).Do(t.Context(), tt.method, tt.route, nil, nil), tt.want)
		})
	}
}

func TestDoDecodes(t *testing.T) {
	t.Parallel()
	type device struct {
		Phone      string
		IsBusiness bool
		Name       *string
	}
	tests := []struct {
		name   string
		status int
		body   string
		out    any
		want   any
	}{
		{"an object", 200, `{"phone":"554411111111","isBusiness":true,"name":null}`, new(device), &device{Phone: "554411111111", IsBusiness: true}},
		{"an object into a map", 200, `{"value":true}`, new(map[string]any), &map[string]any{"value": true}},
		{"anything", 200, `[1,{"a":null}]`, new(any), ptr[any]([]any{1.0, map[string]any{"a": nil}})},
		{"a list", 200, `[{"phone":"1"},{"phone":"2"}]`, new([]device), &[]device{{Phone: "1"}, {Phone: "2"}}},
		{"an empty list", 200, `[]`, new([]device), &[]device{}},
		{"a text", 200, `"ok"`, new(string), ptr("ok")},
		{"a number", 200, ` 7 `, new(int), ptr(7)},
		{"null", 200, `null`, new(device), new(device)},
		{"raw JSON", 200, `{"a": [1, 2]}`, new(json.RawMessage), ptr(json.RawMessage(`{"a": [1, 2]}`))},
		{"behind a byte order mark", 200, "\ufeff" + `{"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"201", 201, `{"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"202", 202, `{"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"299", 299, `{"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"success true", 200, `{"success":true,"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"success that is no boolean", 200, `{"success":"false","phone":"1"}`, new(device), &device{Phone: "1"}},
		{"success null", 200, `{"success":null,"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"error null", 200, `{"error":null,"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"error empty", 200, `{"error":"","phone":"1"}`, new(device), &device{Phone: "1"}},
		{"error false", 200, `{"error":false,"phone":"1"}`, new(device), &device{Phone: "1"}},
		{"a message", 200, `{"message":"You are not connected.","phone":"1"}`, new(device), &device{Phone: "1"}},
		{"error within", 200, `{"phone":"1","last":{"error":"busy","success":false}}`, new(device), &device{Phone: "1"}},
		{"errors in a list", 200, `[{"phone":"1","error":"busy","success":false}]`, new([]device), &[]device{{Phone: "1"}}},
		{"dropped", 200, `{"phone":"1"}`, nil, nil},
		{"a list, dropped", 200, `[]`, nil, nil},
		{"no body, dropped", 200, ``, nil, nil},
		{"spaces, dropped", 200, " \r\n", nil, nil},
		{"204, dropped", 204, ``, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, responding(tt.status, tt.body))
			require.NoError(t, client.Do(t.Context(), "GET", "device", nil, tt.out))
			assert.Equal(t, tt.want, tt.out)
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestDoFails(t *testing.T) {
	t.Parallel()
	const dropped, decoded = "dropped", "decoded"
	tests := []struct {
		name   string
		out    string // dropped or decoded; both if empty
		status int
		body   string
		want   error // nil for a 4xx without a kind
		text   string
	}{
		{"no body, although out wants one", decoded, 200, ``, zapi.ErrUnexpectedResponse, "unexpected response: the body is not JSON"},
		{"204, although out wants a body", decoded, 204, ``, zapi.ErrUnexpectedResponse, "204 No Content: the body is not JSON"},
		{"out of another type", decoded, 200, `{"phone":1}`, zapi.ErrUnexpectedResponse, "unexpected response: the body does not fit what out points to"},
		{"out of another shape", decoded, 200, `[]`, zapi.ErrUnexpectedResponse, "unexpected response: the body does not fit what out points to"},
		{"a page", "", 200, `<html>`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not JSON"},
		{"a word", "", 200, `ok`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not JSON"},
		{"half an object", "", 200, `{"phone":"1"`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not JSON"},
		{"two values", "", 200, `{}{}`, zapi.ErrUnexpectedResponse, "unexpected response: the body is not JSON"},
		{"a byte order mark alone, although out wants a body", decoded, 200, "\ufeff", zapi.ErrUnexpectedResponse, ""},
		{"success twice", "", 200, `{"success":false,"success":true}`, zapi.ErrUnexpectedResponse, ""},
		{"success false", "", 200, `{"success":false}`, zapi.ErrRejected, "rejected: success is false"},
		{"success false with a message", "", 200, `{"success":false,"message":"no such chat"}`, zapi.ErrRejected, "rejected: no such chat"},
		{"success false with 201", "", 201, `{"success":false}`, zapi.ErrRejected, "201 Created: success is false"},
		{"error", "", 200, `{"error":"no such chat"}`, zapi.ErrRejected, "rejected: no such chat"},
		{"error although success is true", "", 200, `{"success":true,"error":"no such chat"}`, zapi.ErrRejected, "rejected: no such chat"},
		{"error with 202", "", 202, `{"error":"no such chat"}`, zapi.ErrRejected, "202 Accepted: no such chat"},
		{"the healthy text", "", 200, `{"connected":true,"error":"You are already connected."}`, zapi.ErrRejected, ""},
		{"not connected", "", 200, `{"error":"You are not connected."}`, zapi.ErrNotConnected, "not connected: You are not connected."},
		{"not connected with 201", "", 201, `{"error":"you need to restore the session"}`, zapi.ErrNotConnected, ""},
		{"not connected in message", "", 200, `{"success":false,"message":"You are not connected."}`, zapi.ErrNotConnected, ""},
		{"unknown route", "", 200, `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, zapi.ErrNotFound, "not found: NOT_FOUND: Unable to find matching target resource method"},
		{"unknown instance", "", 200, `{"error":"Instance not found"}`, zapi.ErrNotFound, ""},
		{"no Client-Token", "", 200, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, ""},
		{"301", "", 301, `{}`, zapi.ErrUnexpectedResponse, ""},
		{"307", "", 307, `{}`, zapi.ErrUnexpectedResponse, ""},
		{"400", "", 400, `{"error":"Invalid phone"}`, nil, "400 Bad Request: Invalid phone"},
		{"400 that is not connected", "", 400, `{"error":"You are not connected."}`, zapi.ErrNotConnected, ""},
		{"401", "", 401, ``, zapi.ErrUnauthorized, ""},
		{"403", "", 403, `{"error":"Client-Token ` + creds.ClientToken + ` not allowed"}`, zapi.ErrUnauthorized, "403 Forbidden: Client-Token [REDACTED] not allowed"},
		{"403 of a firewall", "", 403, `<html>`, zapi.ErrUnexpectedResponse, ""},
		{"404", "", 404, ``, zapi.ErrNotFound, ""},
		{"405", "", 405, ``, zapi.ErrMethodNotAllowed, ""},
		{"415", "", 415, ``, zapi.ErrUnsupportedMediaType, ""},
		{"408", "", 408, ``, nil, ""},
		{"425", "", 425, ``, nil, ""},
		{"429", "", 429, ``, zapi.ErrRateLimited, ""},
		{"500", "", 500, `{"success":true}`, zapi.ErrUnavailable, ""},
		{"503", "", 503, ``, zapi.ErrUnavailable, ""},
	}
	for _, tt := range tests {
		for _, out := range []string{dropped, decoded} {
			if tt.out != "" && tt.out != out {
				continue
			}
			t.Run(tt.name+", "+out, func(t *testing.T) {
				t.Parallel()
				network := &script{steps: []step{step(responding(tt.status, tt.body).HeaderSet(http.Header{"Retry-After": {"1"}}))}}
				var device struct{ Phone string }
				var into any
				if out == decoded {
					into = &device
				}
				err := network.client(t).Do(t.Context(), "GET", "device", nil, into)
				var apiErr *zapi.APIError
				require.ErrorAs(t, err, &apiErr)
				assert.Equal(t, "device", apiErr.Op)
				assert.Equal(t, tt.status, apiErr.StatusCode)
				assert.Equal(t, 1, apiErr.Attempts)
				assert.Len(t, network.at, 1)
				assertOnlyKind(t, tt.want, err)
				assertNoSecret(t, fmt.Sprintf("%+v %v %s", apiErr, err, apiErr.Body), "error")
				assert.Zero(t, device)
				if tt.text != "" {
					assert.EqualError(t, err, "zapi: device: "+tt.text)
				}
			})
		}
	}
}

// onceRoutes are routes of all methods, with and without a body.
var onceRoutes = []route{
	{"GET", "restart", nil},
	{"GET", "restart", []int{1}},
	{"HEAD", "restart", nil},
	{"OPTIONS", "restart", nil},
	{"TRACE", "restart", nil},
	{"get", "restart", nil},
	{"POST", "send-text", nil},
	{"POST", "send-text", []int{1}},
	{"PUT", "send-text", nil},
	{"PUT", "send-text", []int{1}},
	{"PATCH", "send-text", []int{1}},
	{"DELETE", "messages", nil},
	{"DELETE", "messages", []int{1}},
}

// One attempt, whatever came back and whatever the retry policy.
func TestDoIsNotRepeated(t *testing.T) {
	t.Parallel()
	answers := []struct {
		name string
		step step
	}{
		{"408", status(408)}, {"425", status(425)}, {"429", asking(429, "1")}, {"500", status(500)}, {"502", status(502)}, {"503", asking(503, "0")}, {"504", status(504)},
		{"EOF", failing(io.EOF)}, {"cut", cut}, {"reset", failing(errors.New("connection reset by peer"))},
	}
	for _, tt := range answers {
		for _, r := range onceRoutes {
			t.Run(tt.name+" to "+r.String(), func(t *testing.T) {
				t.Parallel()
				limited := 0
				network := &script{steps: []step{tt.step}}
				client := network.client(t,
					zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 5, MinWait: 1, MaxWait: time.Hour}),
					zapi.WithRateLimiter(limiterFunc(func(context.Context) error {
						limited++
						return nil
					})))
				err := r.do(t.Context(), client)
				require.Error(t, err)
				assert.Equal(t, 1, attemptsOf(err))
				assert.Len(t, network.at, 1)
				assert.Equal(t, 1, limited)
			})
		}
	}
}

// A server that closes a reused connection after it has read the request makes net/http send a GET again by itself.
func TestDoIsNotRepeatedByNetHTTP(t *testing.T) {
	t.Parallel()
	type arrived struct{ method, connection string }
	closing := func(t *testing.T) (*zapi.Client, func() []arrived) {
		var mu sync.Mutex
		var requests []arrived
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			defer mu.Unlock()
			requests = append(requests, arrived{r.Method, r.RemoteAddr})
			if len(requests) == 1 {
				_, _ = io.WriteString(w, `{"connected":true}`)
				return
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		})
		require.NoError(t, getStatus(t.Context(), client))
		return client, func() []arrived {
			mu.Lock()
			defer mu.Unlock()
			return requests
		}
	}
	for _, r := range onceRoutes {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			client, requests := closing(t)
			err := r.do(t.Context(), client)
			var transportErr *zapi.TransportError
			require.ErrorAs(t, err, &transportErr)
			assert.Equal(t, 1, transportErr.Attempts)
			got := requests()
			require.Len(t, got, 2, "one to open the connection, and one")
			assert.Equal(t, r.method, got[1].method)
			assert.Equal(t, got[0].connection, got[1].connection, "or the connection was not reused")
		})
	}
	t.Run("a GET that may be repeated", func(t *testing.T) {
		t.Parallel()
		client, requests := closing(t)
		require.Error(t, getStatus(t.Context(), client))
		assert.Greater(t, len(requests()), 2, "or this test would not notice that a GET is repeated")
	})
}

func TestDoWaitsForTheLimiter(t *testing.T) {
	t.Parallel()
	errQuota := errors.New("no quota")
	api := newMockAPI(responding(200, `{}`))
	err := getDevice(t.Context(), api.client(t, zapi.WithRateLimiter(limiterFunc(func(context.Context) error { return errQuota }))))
	var transportErr *zapi.TransportError
	require.ErrorAs(t, err, &transportErr)
	assert.Zero(t, transportErr.Attempts)
	require.ErrorIs(t, err, errQuota)
	require.EqualError(t, err, "zapi: device: not sent: no quota")
	assert.Empty(t, api.requests())
}

// What looks like a phone is in no operation: not in errors, not in logs, and not before interceptors.
func TestDoOperation(t *testing.T) {
	t.Parallel()
	const phone, written = "5544911111111", "91111-1111"
	tests := []struct{ name, route, op string }{
		{"plain", "device", "device"},
		{"a query", "chats?phone=" + phone, "chats"},
		{"an empty query", "chats?", "chats"},
		{"a phone", "phone-exists/" + phone, "phone-exists/…"},
		{"a phone in front", phone + "/chat", "…/chat"},
		{"a phone alone", phone, "…"},
		{"two phones", "a/" + phone + "/b/" + phone, "a/…/b/…"},
		{"a written phone", "chats/+55(44)" + written, "chats/…"},
		{"an escaped phone", "chats/%2B55%20" + written, "chats/…"},
		{"escaped digits", "chats/%35%35%34%34%39", "chats/…"},
		{"a private id", "chats/999999999999999@lid", "chats/…"},
		{"a group", "group-metadata/120363019502650977-group", "group-metadata/…"},
		{"seven digits", "tags/1234567", "tags/…"},
		{"seven digits among letters", "tags/a1b2c3d4e5f6g7", "tags/…"},
		{"six digits", "tags/123456", "tags/123456"},
		{"six digits each", "tags/123456/654321", "tags/123456/654321"},
		{"the token", "x/" + creds.Token, "x/…"},
		{"the Client-Token", "x/" + creds.ClientToken, "x/…"},
	}
	outcomes := []struct {
		name string
		step step
	}{
		{"refused", step(responding(400, `{"error":"Invalid phone"}`))},
		{"no response", failing(io.EOF)},
		{"a transport that quotes the URL", func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("GET %s giving up after 5 attempts: %w", r.URL, &url.Error{Op: "Get", URL: r.URL.Path, Err: io.EOF})
		}},
		{"a body whose error quotes the URL", func(r *http.Request) (*http.Response, error) {
			body := readerFunc(func([]byte) (int, error) { return 0, fmt.Errorf("body of %s: %w", r.URL, io.ErrUnexpectedEOF) })
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: r}, nil
		}},
		{"a mock that knows another URL", func(r *http.Request) (*http.Response, error) {
			return httpmock.NewMockTransport().RoundTrip(r)
		}},
		{"a page", step(responding(200, `<html>`))},
	}
	for _, tt := range tests {
		for _, outcome := range outcomes {
			t.Run(tt.name+", "+outcome.name, func(t *testing.T) {
				t.Parallel()
				var seen []zapi.Call
				var log bytes.Buffer
				network := &script{steps: []step{outcome.step}}
				client := network.client(t,
					zapi.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
					zapi.WithInterceptor(func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
						seen = append(seen, call)
						return next(ctx)
					}))
				err := client.Do(t.Context(), "GET", tt.route, nil, nil)
				require.Error(t, err)
				assert.Len(t, network.at, 1)
				assert.Contains(t, err.Error(), "zapi: "+tt.op+": ")
				assert.Equal(t, []zapi.Call{{Op: tt.op, InstanceID: creds.InstanceID}}, seen)
				assert.Equal(t, 2, strings.Count(log.String(), `"op":"`+tt.op+`"`), log.String())
				text := log.String()
				for cause := err; cause != nil; cause = errors.Unwrap(cause) {
					text += fmt.Sprintf(" %v %+v %#v", cause, cause, cause)
				}
				assertNoSecret(t, text, "error and log")
				assert.NotContains(t, text, phone)
				assert.NotContains(t, text, written)
				assert.NotContains(t, text, "1234567")
			})
		}
	}
}

// GET /me answers with the token, which must not come into the program.
func TestDoRedacts(t *testing.T) {
	t.Parallel()
	const due int64 = 1735689599000
	body := fmt.Sprintf(`{"id":%q,"token":%q,"name":"shop","due":%d,"connected":true,"clientToken":%q}`, creds.InstanceID, creds.Token, due, creds.ClientToken)
	for _, opts := range [][]zapi.Option{nil, {wrapping}} {
		var me struct {
			ID, Token, Name, ClientToken string
			Due                          int64
			Connected                    bool
		}
		require.NoError(t, newClient(t, responding(200, body), opts...).Do(t.Context(), "GET", "me", nil, &me))
		assert.Equal(t, creds.InstanceID, me.ID)
		assert.Equal(t, "shop", me.Name)
		assert.Equal(t, due, me.Due)
		assert.True(t, me.Connected)
		assert.Equal(t, "[REDACTED]", me.Token)
		assert.Equal(t, "[REDACTED]", me.ClientToken)

		var raw json.RawMessage
		require.NoError(t, newClient(t, responding(200, body), opts...).Do(t.Context(), "GET", "me", nil, &raw))
		assertNoSecret(t, string(raw), "raw body")
	}
}

func TestDoMiddleware(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*http.Request) error
	}{
		{"another route", func(r *http.Request) error {
			r.URL.Path = strings.Replace(r.URL.Path, "device", "me", 1)
			return nil
		}},
		{"a longer route", func(r *http.Request) error {
			r.URL.Path += "/restart"
			return nil
		}},
		{"another escape", func(r *http.Request) error {
			r.URL.RawPath = strings.Replace(r.URL.EscapedPath(), "device", "%64evice", 1)
			return nil
		}},
		{"another method", func(r *http.Request) error {
			r.Method = http.MethodPost
			return nil
		}},
		{"another host", func(r *http.Request) error {
			r.URL.Host = "evil.example"
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(200, `{}`))
			err := getDevice(t.Context(), api.client(t, before(tt.change)))
			var transportErr *zapi.TransportError
			require.ErrorAs(t, err, &transportErr)
			assert.ErrorContains(t, err, "a middleware changed where the request goes; nothing was sent")
			assert.Empty(t, api.requests())
		})
	}
	t.Run("sees a placeholder", func(t *testing.T) {
		t.Parallel()
		var seen string
		api := newMockAPI(responding(200, `{}`))
		client := api.client(t, before(func(r *http.Request) error {
			seen = r.URL.String()
			return nil
		}))
		require.NoError(t, client.Do(t.Context(), "GET", "media/a%2Fb?c=d", nil, nil))
		assert.Equal(t, "https://api.z-api.io/instances/"+creds.InstanceID+"/token/-/media/a%2Fb?c=d", seen)
		assert.Equal(t, realURL("media/a%2Fb?c=d"), api.requests()[0].URL)
	})
}

// Redirects are not followed, and the limit of a body is that of every call.
func TestDoIsACallLikeEveryOther(t *testing.T) {
	t.Parallel()
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		requests := 0
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		})
		assertOnlyKind(t, zapi.ErrUnexpectedResponse, getDevice(t.Context(), client))
		assert.Equal(t, 1, requests)
	})
	t.Run("large body", func(t *testing.T) {
		t.Parallel()
		err := getDevice(t.Context(), newClient(t, responding(200, `"`+strings.Repeat("a", 1<<20)+`"`)))
		assertOnlyKind(t, zapi.ErrUnexpectedResponse, err)
		assert.ErrorContains(t, err, "larger than 1 MiB")
	})
	t.Run("compressed body", func(t *testing.T) {
		t.Parallel()
		err := getDevice(t.Context(), newClient(t, responding(200, "\x1f\x8b").HeaderSet(http.Header{"Content-Encoding": {"br"}})))
		assertOnlyKind(t, zapi.ErrUnexpectedResponse, err)
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, getDevice(ctx, newClient(t, succeeding)), context.Canceled)
	})
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		err := getDevice(t.Context(), (&script{steps: []step{hanging}}).client(t, zapi.WithTimeout(time.Millisecond)))
		require.EqualError(t, err, "zapi: device: no complete response within 1ms")
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("interceptors", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(responding(200, `{"phone":"1"}`))
		client := api.client(t, zapi.WithInterceptor(func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			return errors.Join(next(ctx), errors.New("breaker is open"))
		}))
		err := getDevice(t.Context(), client)
		var transportErr *zapi.TransportError
		require.ErrorAs(t, err, &transportErr)
		assert.Equal(t, 1, transportErr.Attempts)
		assert.Len(t, api.requests(), 1)
	})
}
