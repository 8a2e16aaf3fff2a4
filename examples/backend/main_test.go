package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Backend is an HTTP service"},
		{Name: "nothing", Want: "The service has shut down."},
		{Name: "superfluous argument", Args: []string{"127.0.0.1:0"}, Code: 2, Want: "backend takes flags only; see -h"},
		{Name: "serving without credentials", Args: []string{"-listen", "127.0.0.1:0"}, Code: 1, Want: "ZAPI_INSTANCE_ID, ZAPI_TOKEN: must be set"},
	})
}

var creds = zapi.Credentials{InstanceID: "instance", Token: "t0ken-9B1F", ClientToken: "cl1ent-7A0S"}

// newService is the handler with a network that is the mock; what it logs goes to log.
func newService(t *testing.T, mock *httpmock.MockTransport, log io.Writer) http.Handler {
	t.Helper()
	api, err := zapi.NewAPI(
		zapi.WithTransport(mock),
		zapi.WithRetry(zapi.RetryPolicy{})) // a failure shows at once
	require.NoError(t, err)
	find := func(instanceID string) (zapi.Credentials, bool) {
		stored := creds
		stored.InstanceID = instanceID
		switch instanceID {
		case "quoted":
			stored.Token = `"` + creds.Token + `"`
		case "unset":
			stored.ClientToken = ""
		}
		return stored, instanceID != "other"
	}
	return newHandler(slog.New(slog.NewTextHandler(log, nil)), api, find)
}

// mockAPI responds to the routes of the service with responder, and returns where the last body goes.
func mockAPI(responder httpmock.Responder) (mock *httpmock.MockTransport, sent *string) {
	mock, sent = httpmock.NewMockTransport(), new(string)
	for _, route := range []string{"last-seen", "photo", "online"} {
		mock.RegisterResponder(http.MethodPost, "https://api.z-api.io/instances/instance/token/t0ken-9B1F/privacy/"+route,
			func(req *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(req.Body)
				if err != nil {
					return nil, err
				}
				*sent = string(body)
				return responder(req)
			})
	}
	return mock, sent
}

func responding(status int, body string) httpmock.Responder {
	return httpmock.NewStringResponder(status, body)
}

func failing(err error) httpmock.Responder { return httpmock.NewErrorResponder(err) }

var succeeding = responding(http.StatusOK, `{"success":true}`)

func TestSuccess(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, body, route, sent string
	}{
		{
			"last seen", "/instances/instance/last-seen", `{"visibility": "CONTACTS"}`,
			"last-seen", `{"visualizationType": "CONTACTS"}`,
		},
		{
			"last seen with changes", "/instances/instance/last-seen",
			`{"visibility": "CONTACT_BLACKLIST", "changes": [{"action": "add", "phone": "+55 44 91111-1111"}, {"action": "remove", "phone": "999@lid"}]}`,
			"last-seen",
			`{"visualizationType": "CONTACT_BLACKLIST", "contactsBlacklist": [{"action": "add", "phone": "5544911111111"}, {"action": "remove", "phone": "999@lid"}]}`,
		},
		{
			"photo, the list as it stands", "/instances/instance/photo", `{"visibility": "CONTACT_BLACKLIST"}`,
			"photo", `{"visualizationType": "CONTACT_BLACKLIST", "contactsBlacklist": []}`,
		},
		{
			"online", "/instances/instance/online", `{"visibility": "SAME_LAST_SEEN"}`,
			"online", `{"visualizationType": "SAME_LAST_SEEN"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock, sent := mockAPI(succeeding)
			response, log := serveOne(t, mock, http.MethodPut, tt.path, tt.body)
			assert.Equal(t, http.StatusNoContent, response.Code)
			assert.Empty(t, response.Body.String())
			assert.JSONEq(t, tt.sent, *sent)
			assert.Equal(t, 1, mock.GetCallCountInfo()["POST https://api.z-api.io/instances/instance/token/t0ken-9B1F/privacy/"+tt.route])
			assert.Empty(t, log)
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	t.Parallel()
	const photo = "/instances/instance/photo"
	tests := []struct {
		name, method, path, body string
		status                   int
		response                 string
	}{
		{"malformed phone", http.MethodPut, photo, `{"visibility": "CONTACT_BLACKLIST", "changes": [{"action": "add", "phone": "911"}]}`, http.StatusBadRequest, `"field":"changes[0].phone","reason":"must be 7 to 15 digits`},
		{"changes without a blacklist", http.MethodPut, photo, `{"visibility": "ALL", "changes": [{"action": "add", "phone": "5544911111111"}]}`, http.StatusBadRequest, `"field":"changes","reason":"are allowed only with CONTACT_BLACKLIST"`},
		{"no visibility", http.MethodPut, photo, `{}`, http.StatusBadRequest, `"field":"visibility","reason":"must be one of`},
		{"unknown visibility", http.MethodPut, photo, `{"visibility": "FRIENDS"}`, http.StatusBadRequest, `"reason":"must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST`},
		{"visibility of another setting", http.MethodPut, "/instances/instance/online", `{"visibility": "CONTACTS"}`, http.StatusBadRequest, `"reason":"must be one of ALL, SAME_LAST_SEEN`},
		{"unknown key", http.MethodPut, photo, `{"visibility": "ALL", "phone": "5544911111111"}`, http.StatusBadRequest, `malformed body`},
		{"unknown key of a change", http.MethodPut, photo, `{"visibility": "CONTACT_BLACKLIST", "changes": [{"add": "5544911111111"}]}`, http.StatusBadRequest, `malformed body`},
		{"no JSON", http.MethodPut, photo, `visibility=ALL`, http.StatusBadRequest, `malformed body`},
		{"no body", http.MethodPut, photo, ``, http.StatusBadRequest, `malformed body`},
		{"two JSON values", http.MethodPut, photo, `{"visibility": "ALL"} {}`, http.StatusBadRequest, `malformed body`},
		{"body too large", http.MethodPut, photo, `{"visibility": "` + strings.Repeat("A", maxBody) + `"}`, http.StatusRequestEntityTooLarge, `too large`},
		{"too much after the body", http.MethodPut, photo, `{"visibility": "ALL"}` + strings.Repeat(" ", maxBody), http.StatusRequestEntityTooLarge, `too large`},
		{"unknown instance", http.MethodPut, "/instances/other/photo", `{"visibility": "ALL"}`, http.StatusNotFound, `no such instance`},
		{"unknown route", http.MethodPut, "/instances/instance/description", `{"visibility": "ALL"}`, http.StatusNotFound, ``},
		{"wrong method", http.MethodPost, photo, `{"visibility": "ALL"}`, http.StatusMethodNotAllowed, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock, _ := mockAPI(succeeding)
			response, _ := serveOne(t, mock, tt.method, tt.path, tt.body)
			assert.Equal(t, tt.status, response.Code)
			assert.Contains(t, response.Body.String(), tt.response)
			assert.Zero(t, mock.GetTotalCallCount())
		})
	}
}

func TestFailuresOfTheAPI(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		responder  httpmock.Responder
		status     int
		retryAfter string
		response   string
		failure    string // in the log; empty if nothing is logged
	}{
		{"not connected", responding(http.StatusBadRequest, `{"error":"You are not connected."}`), http.StatusConflict, "", "the number is not connected to WhatsApp", ""},
		{"rejected", responding(http.StatusOK, `{"success":false,"message":"try again"}`), http.StatusConflict, "", "try again", ""},
		{"not found", responding(http.StatusNotFound, `{"error":"Instance not found"}`), http.StatusInternalServerError, "", "Internal Server Error", `"not found"`},
		{"not found with status 200", responding(http.StatusOK, `{"error":"NOT_FOUND"}`), http.StatusInternalServerError, "", "Internal Server Error", `"not found"`},
		{"wrong Client-Token", responding(http.StatusForbidden, `{"error":"Client-Token cl1ent-7A0S not allowed"}`), http.StatusInternalServerError, "", "Internal Server Error", "unauthorized"},
		{"no Client-Token", responding(http.StatusBadRequest, `{"error":"your client-token is not configured"}`), http.StatusInternalServerError, "", "Internal Server Error", "unauthorized"},
		{"rate limited", responding(http.StatusTooManyRequests, ``).HeaderSet(http.Header{"Retry-After": {"7"}}), http.StatusServiceUnavailable, "7", "Service Unavailable", `"rate limited"`},
		{"rate limited, not told for how long", responding(http.StatusTooManyRequests, ``), http.StatusServiceUnavailable, "1", "Service Unavailable", `"rate limited"`},
		{"refused input", responding(http.StatusBadRequest, `{"error":"Invalid phone"}`), http.StatusBadGateway, "", "Bad Gateway", "refused"},
		{"unavailable", responding(http.StatusServiceUnavailable, ``), http.StatusBadGateway, "", "Bad Gateway", "unavailable"},
		{"a page of HTML", responding(http.StatusOK, `<html></html>`), http.StatusBadGateway, "", "Bad Gateway", `"unexpected response"`},
		{"a page of a firewall", responding(http.StatusForbidden, `<html></html>`), http.StatusBadGateway, "", "Bad Gateway", `"unexpected response"`},
		{"connection refused", failing(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), http.StatusBadGateway, "", "Bad Gateway", `"connection refused"`},
		{"timeout", failing(os.ErrDeadlineExceeded), http.StatusGatewayTimeout, "", "Gateway Timeout", "timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock, _ := mockAPI(tt.responder)
			response, log := serveOne(t, mock, http.MethodPut, "/instances/instance/photo", `{"visibility": "ALL"}`)
			assert.Equal(t, tt.status, response.Code)
			assert.Equal(t, tt.retryAfter, response.Header().Get("Retry-After"))
			assert.Equal(t, "application/json", response.Header().Get("Content-Type"))
			assert.Contains(t, response.Body.String(), tt.response)
			if tt.failure == "" {
				assert.Empty(t, log, "the caller can mend it")
			} else {
				assert.Contains(t, log, " failure="+tt.failure+` error="zapi: privacy/photo: `)
			}
			for _, secret := range []string{creds.Token, creds.ClientToken} {
				assert.NotContains(t, response.Body.String()+log, secret)
			}
		})
	}
}

func TestBrokenCredentialsOfOurOwn(t *testing.T) {
	t.Parallel()
	for id, field := range map[string]string{"quoted": "Token", "unset": "ClientToken"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			mock, _ := mockAPI(succeeding)
			response, log := serveOne(t, mock, http.MethodPut, "/instances/"+id+"/photo", `{"visibility": "ALL"}`)
			assert.Equal(t, http.StatusInternalServerError, response.Code)
			assert.JSONEq(t, `{"error": "Internal Server Error"}`, response.Body.String(), "the caller cannot mend it")
			assert.Contains(t, log, `failure="invalid credentials" error="zapi: Instance: `+field+`: must `)
			assert.NotContains(t, log, creds.Token)
			assert.Zero(t, mock.GetTotalCallCount())
		})
	}
}

func TestCallerWentAway(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	mock, _ := mockAPI(func(req *http.Request) (*http.Response, error) {
		leave()
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	var log strings.Builder
	response := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(ctx, http.MethodPut, "/instances/instance/photo", strings.NewReader(`{"visibility": "ALL"}`))
	newService(t, mock, &log).ServeHTTP(response, req)
	assert.Equal(t, statusClientClosedRequest, response.Code)
	assert.Empty(t, log.String())
}

func TestSilentAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mock, _ := mockAPI(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		start := time.Now()
		response, _ := serveOne(t, mock, http.MethodPut, "/instances/instance/photo", `{"visibility": "ALL"}`)
		assert.Equal(t, http.StatusGatewayTimeout, response.Code)
		assert.Equal(t, callTimeout, time.Since(start), "the caller gets its response before the server's WriteTimeout")
	})
}

// serveOne gives one request to the service.
func serveOne(t *testing.T, mock *httpmock.MockTransport, method, path, body string) (response *httptest.ResponseRecorder, logged string) {
	t.Helper()
	var log strings.Builder
	response = httptest.NewRecorder()
	newService(t, mock, &log).ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	return response, log.String()
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	mock, _ := mockAPI(func(req *http.Request) (*http.Response, error) {
		close(arrived)
		<-release
		return succeeding(req)
	})
	server := newServer(newService(t, mock, io.Discard))
	shuttingDown := make(chan struct{})
	server.RegisterOnShutdown(func() { close(shuttingDown) })
	listener := listen(t)
	ctx, interrupt := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, server) }()

	type result struct {
		status int
		err    error
	}
	answered := make(chan result, 1)
	url := "http://" + listener.Addr().String() + "/instances/instance/photo"
	go func() {
		status, _, err := request(t.Context(), url, `{"visibility": "ALL"}`)
		answered <- result{status, err}
	}()

	<-arrived
	interrupt()
	<-shuttingDown
	assert.Empty(t, served, "it waits for the request under way")
	close(release)
	assert.Equal(t, result{http.StatusNoContent, nil}, <-answered)
	require.NoError(t, <-served)
	_, _, err := request(t.Context(), url, `{"visibility": "ALL"}`)
	assert.Error(t, err, "nobody listens any more")
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	require.NoError(t, listener.Close())
	assert.ErrorIs(t, serve(t.Context(), listener, newServer(http.NotFoundHandler())), net.ErrClosed)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

func TestDemonstration(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, demonstrate(t.Context(), &out))
	assert.Equal(t, len(steps()), strings.Count(out.String(), "\nPUT /instances/"))
	assert.Contains(t, out.String(), `
# The number is not connected. Whoever holds the phone can mend that.
PUT /instances/OFFLINE/online {"visibility":"ALL"}
409 Conflict {"error":"the number is not connected to WhatsApp: connect it again in the Z-API panel, then repeat"}
`)
	assert.Contains(t, out.String(), `
# Our own token is broken: nothing has replaced its variable. Nothing is sent, and again only the log has the reason.
PUT /instances/BROKEN/online {"visibility":"ALL"}
level=ERROR msg="not set" path=/instances/BROKEN/online status=500 failure="invalid credentials" error="zapi: Instance: Token: must be `)
	assert.True(t, strings.HasSuffix(out.String(), `
500 Internal Server Error {"error":"Internal Server Error"}

The service has shut down.
`))
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, demonstrate(ended, io.Discard), context.Canceled)
}
