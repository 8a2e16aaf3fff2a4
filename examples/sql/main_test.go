package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Sql serves tenants"},
		{Name: "nothing", Want: "500 Internal Server Error"},
		{Name: "superfluous argument", Args: []string{"acme"}, Code: 2, Want: "sql takes no arguments; see -h"},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, slog.New(slog.DiscardHandler)))
	assert.Equal(t, `
# The number gets both settings.
PUT /tenants/acme/privacy {"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}
204 No Content 

# A mistake of the caller.
PUT /tenants/acme/privacy {"photo": {"visibility": "FRIENDS"}}
400 Bad Request {"error":"malformed body: zapi: policy: photo.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST, not \"FRIENDS\""}

# No row in the table.
PUT /tenants/nobody/privacy {"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}
404 Not Found {"error":"no such tenant"}

# The number is not connected to WhatsApp.
PUT /tenants/offline/privacy {"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}
409 Conflict {"error":"photo: zapi: privacy/photo: 400 Bad Request: You are not connected.\nreadReceipts: zapi: privacy/read-receipts: 400 Bad Request: You are not connected."}

# The API is busy, so one setting is missing. The same request will complete it.
PUT /tenants/busy/privacy {"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}
503 Service Unavailable {"applied":["photo"],"error":"Service Unavailable"}
Retry-After: 60

# The token in the table is broken, which the caller cannot mend: the log has the reason.
PUT /tenants/broken/privacy {"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}
500 Internal Server Error {"error":"Internal Server Error"}
`, out.String())
}

// A service is the handler in front of a fake server, with the tenant "acme" in its table.
type service struct {
	fake    *zapitest.Server
	creds   zapi.Credentials // of acme
	store   store
	handler http.Handler
	log     strings.Builder
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{fake: zapitest.NewServer()}
	t.Cleanup(s.fake.Close)
	var err error
	s.store, err = openStore(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.store.db.Close()) })
	s.creds = s.fake.AddInstance() // not the first, which a client of the server has
	require.NoError(t, s.store.add(t.Context(), "acme", s.creds))
	api, err := zapi.NewAPI(zapi.WithBaseURL(s.fake.URL()), zapi.WithRetry(zapi.RetryPolicy{})) // a failure shows at once
	require.NoError(t, err)
	s.handler = newHandler(slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), api, s.store)
	return s
}

func (s *service) put(ctx context.Context, tenant, body string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	s.handler.ServeHTTP(response, httptest.NewRequestWithContext(ctx, http.MethodPut, "/tenants/"+tenant+"/privacy", strings.NewReader(body)))
	return response
}

func TestEachTenantHasItsOwnInstance(t *testing.T) {
	t.Parallel()
	s := newService(t)
	globex := s.fake.AddInstance()
	require.NoError(t, s.store.add(t.Context(), "globex", globex))
	untouched := s.fake.Settings(s.creds.InstanceID)
	want := untouched
	want.Online = zapi.OnlineSameAsLastSeen

	response := s.put(t.Context(), "globex", `{"online": "SAME_LAST_SEEN"}`)
	assert.Equal(t, http.StatusNoContent, response.Code)
	assert.Empty(t, response.Body.String())
	assert.Equal(t, want, s.fake.Settings(globex.InstanceID))
	assert.Equal(t, untouched, s.fake.Settings(s.creds.InstanceID))

	_, err := s.store.db.ExecContext(t.Context(), `UPDATE instances SET instance_id = ?, token = ?, client_token = ? WHERE tenant = 'globex'`,
		s.creds.InstanceID, s.creds.Token, s.creds.ClientToken)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, s.put(t.Context(), "globex", `{"online": "SAME_LAST_SEEN"}`).Code)
	assert.Equal(t, want, s.fake.Settings(s.creds.InstanceID), "what the table has now counts")
	assert.Empty(t, s.log.String())
}

func TestRefusedBeforeSending(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, tenant, body string
		status             int
		response           string
	}{
		{"unknown tenant", "nobody", `{"online": "ALL"}`, http.StatusNotFound, "no such tenant"},
		{"tenant that is SQL", "x'%20OR%20'1'='1", `{"online": "ALL"}`, http.StatusNotFound, "no such tenant"},
		{"no setting", "acme", `{}`, http.StatusBadRequest, "zapi: policy: must name at least one setting"},
		{"no body", "acme", ``, http.StatusBadRequest, "malformed body"},
		{"no JSON", "acme", `online=ALL`, http.StatusBadRequest, "malformed body"},
		{"two JSON values", "acme", `{"online": "ALL"} {}`, http.StatusBadRequest, "malformed body"},
		{"unknown key", "acme", `{"Online": "ALL"}`, http.StatusBadRequest, "zapi: policy: Online: is unknown"},
		{"too large", "acme", `{"online": "ALL"}` + strings.Repeat(" ", 1<<20), http.StatusBadRequest, "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			response := s.put(t.Context(), tt.tenant, tt.body)
			assert.Equal(t, tt.status, response.Code)
			assert.Contains(t, response.Body.String(), tt.response)
			assert.Empty(t, s.fake.Requests())
			assert.Empty(t, s.log.String(), "the caller can mend it")
		})
	}
}

func TestFailuresOfTheAPI(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		answer     zapitest.Answer
		status     int
		retryAfter string
		failure    string // in the log; empty if nothing is logged
	}{
		{"not connected", zapitest.Answer{StatusCode: 400, Body: `{"error": "You are not connected."}`}, http.StatusConflict, "", ""},
		{"rejected", zapitest.Answer{Body: `{"success": false}`}, http.StatusConflict, "", ""},
		{"rate limited", zapitest.Answer{StatusCode: 429, Header: http.Header{"Retry-After": {"60"}}}, http.StatusServiceUnavailable, "60", `"rate limited"`},
		{"unavailable", zapitest.Answer{StatusCode: 503}, http.StatusServiceUnavailable, "1", "unavailable"},
		{"lost connection", zapitest.Answer{Drop: true}, http.StatusServiceUnavailable, "1", `"connection closed"`},
		{"page of a firewall", zapitest.Answer{StatusCode: 403, Body: `<html></html>`}, http.StatusServiceUnavailable, "1", `"unexpected response"`},
		{"unauthorized", zapitest.Answer{StatusCode: 403, Body: `{"error": "Client-Token SECRET not allowed"}`}, http.StatusInternalServerError, "", "unauthorized"},
		{"not found", zapitest.Answer{Body: `{"error": "NOT_FOUND"}`}, http.StatusInternalServerError, "", `"not found"`},
		{"refused", zapitest.Answer{StatusCode: 400, Body: `{"error": "Invalid phone"}`}, http.StatusInternalServerError, "", "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			tt.answer.Body = strings.ReplaceAll(tt.answer.Body, "SECRET", s.creds.ClientToken)
			s.fake.FailNext(1, tt.answer)
			response := s.put(t.Context(), "acme", `{"online": "SAME_LAST_SEEN"}`)
			assert.Equal(t, tt.status, response.Code)
			assert.Equal(t, tt.retryAfter, response.Header().Get("Retry-After"))
			if tt.failure == "" {
				assert.Empty(t, s.log.String(), "the caller can mend it")
			} else {
				assert.Contains(t, s.log.String(), " tenant=acme failure="+tt.failure+" ")
				assert.JSONEq(t, fmt.Sprintf(`{"error": %q}`, http.StatusText(tt.status)), response.Body.String())
			}
			for _, secret := range []string{s.creds.Token, s.creds.ClientToken} {
				assert.NotContains(t, response.Body.String()+s.log.String(), secret)
			}
		})
	}
}

func TestWhatTheTableHasIsBroken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, column, value, field string
	}{
		{"no instance ID", "instance_id", "", "InstanceID"},
		{"token in quotes", "token", `"T123456789"`, "Token"},
		{"no Client-Token", "client_token", "", "ClientToken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			_, err := s.store.db.ExecContext(t.Context(), `UPDATE instances SET `+tt.column+` = ?`, tt.value)
			require.NoError(t, err)
			response := s.put(t.Context(), "acme", `{"online": "SAME_LAST_SEEN"}`)
			assert.Equal(t, http.StatusInternalServerError, response.Code)
			assert.JSONEq(t, `{"error": "Internal Server Error"}`, response.Body.String())
			assert.Contains(t, s.log.String(), `failure="invalid credentials" error="zapi: Instance: `+tt.field+": must ")
			assert.NotContains(t, s.log.String(), "T123456789")
			assert.Empty(t, s.fake.Requests())
		})
	}
}

func TestDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newService(t)
	require.NoError(t, s.store.db.Close())
	response := s.put(t.Context(), "acme", `{"online": "SAME_LAST_SEEN"}`)
	assert.Equal(t, http.StatusInternalServerError, response.Code)
	assert.JSONEq(t, `{"error": "Internal Server Error"}`, response.Body.String())
	assert.Contains(t, s.log.String(), "failure=failed error=\"sql: database is closed\"")
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard, slog.New(slog.DiscardHandler)), context.Canceled)
}
