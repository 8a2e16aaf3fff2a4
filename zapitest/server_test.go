package zapitest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func start(t *testing.T) *zapitest.Server {
	t.Helper()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	return server
}

func client(t *testing.T, server *zapitest.Server, opts ...zapi.Option) *zapi.Client {
	t.Helper()
	once := zapi.WithRetry(zapi.RetryPolicy{})
	c, err := server.Client(append([]zapi.Option{once}, opts...)...)
	require.NoError(t, err)
	return c
}

// send is a request by hand, as no client of this module would send it.
func send(t *testing.T, server *zapitest.Server, method, path, clientToken, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	if clientToken != "" {
		req.Header.Set("Client-Token", clientToken)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { assert.NoError(t, resp.Body.Close()) }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	return resp.StatusCode, string(answer)
}

func TestServerIsStrict(t *testing.T) {
	t.Parallel()
	server := start(t)
	creds := server.Credentials()
	other := server.AddInstance()
	root := "/instances/" + creds.InstanceID + "/token/" + creds.Token
	const (
		post     = http.MethodPost
		jsonType = "application/json"
		ok       = `{"success":true}`
		notFound = `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`
	)
	tests := []struct {
		name, method, path, clientToken, contentType, body string
		status                                             int
		answer                                             string
	}{
		{"success", post, root + "/privacy/last-seen", creds.ClientToken, jsonType, `{"visualizationType":"ALL"}`, 200, ok},
		{"content type with charset", post, root + "/privacy/photo", creds.ClientToken, "Application/JSON; charset=utf-8", `{"visualizationType":"ALL"}`, 200, ok},
		{"unknown route", post, root + "/privacy/lastseen", creds.ClientToken, jsonType, `{}`, 200, notFound},
		{"closing slash", post, root + "/privacy/online/", creds.ClientToken, jsonType, `{}`, 200, notFound},
		{"no instance", post, "/privacy/online", creds.ClientToken, jsonType, `{}`, 200, notFound},
		{"another form of path", post, "/instance/" + creds.InstanceID + "/token/" + creds.Token + "/privacy/online", creds.ClientToken, jsonType, `{}`, 200, notFound},
		{"method", http.MethodPut, root + "/privacy/online", creds.ClientToken, jsonType, `{"visualizationType":"ALL"}`, 405, `{"error":"METHOD_NOT_ALLOWED"}`},
		{"unknown instance", post, "/instances/X/token/" + creds.Token + "/privacy/online", creds.ClientToken, jsonType, `{}`, 404, `{"error":"Instance not found"}`},
		{"token of another instance", post, "/instances/" + creds.InstanceID + "/token/" + other.Token + "/privacy/online", creds.ClientToken, jsonType, `{}`, 404, `{"error":"Instance not found"}`},
		{"no Client-Token", post, root + "/privacy/online", "", jsonType, `{}`, 400, `{"error":"your client-token is not configured"}`},
		{"wrong Client-Token", post, root + "/privacy/online", "F12345", jsonType, `{}`, 403, `{"error":"Client-Token F12345 not allowed"}`},
		{"no content type", post, root + "/privacy/online", creds.ClientToken, "", `{}`, 415, `{"error":"UNSUPPORTED_MEDIA_TYPE"}`},
		{"another content type", post, root + "/privacy/online", creds.ClientToken, "text/plain", `{}`, 415, `{"error":"UNSUPPORTED_MEDIA_TYPE"}`},
		{"no body", post, root + "/privacy/last-seen", creds.ClientToken, jsonType, ``, 400, `{"error":"Invalid request body"}`},
		{"no JSON", post, root + "/privacy/online", creds.ClientToken, jsonType, `visualizationType=ALL`, 400, `{"error":"Invalid request body"}`},
		{"two JSON values", post, root + "/privacy/online", creds.ClientToken, jsonType, `{"visualizationType":"ALL"} {}`, 400, `{"error":"Invalid request body"}`},
		{"unknown key", post, root + "/privacy/online", creds.ClientToken, jsonType, `{"visualizationType":"ALL","contactsBlacklist":[]}`, 400, `{"error":"Invalid request body"}`},
		{"no value", post, root + "/privacy/online", creds.ClientToken, jsonType, `{}`, 400, `{"error":"Invalid visualizationType"}`},
		{"unknown value", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"all"}`, 400, `{"error":"Invalid visualizationType"}`},
		{"value of another setting", post, root + "/privacy/online", creds.ClientToken, jsonType, `{"visualizationType":"CONTACTS"}`, 400, `{"error":"Invalid visualizationType"}`},
		{"missing blacklist", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"CONTACT_BLACKLIST"}`, 400, `{"error":"contactsBlacklist must be sent with CONTACT_BLACKLIST"}`},
		{"misplaced blacklist", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"ALL","contactsBlacklist":[]}`, 400, `{"error":"contactsBlacklist goes with CONTACT_BLACKLIST only"}`},
		{"unknown action", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"ban","phone":"5544111111"}]}`, 400, `{"error":"Invalid action"}`},
		{"masked phone", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"+55 44 11"}]}`, 400, `{"error":"Invalid phone"}`},
		{"group add for no one", post, root + "/privacy/group-add", creds.ClientToken, jsonType, `{"type":"NONE"}`, 400, `{"error":"Invalid type"}`},
		{"group add with the key of the others", post, root + "/privacy/group-add", creds.ClientToken, jsonType, `{"visualizationType":"ALL"}`, 400, `{"error":"Invalid request body"}`},
		{"group add, misplaced blacklist", post, root + "/privacy/group-add", creds.ClientToken, jsonType, `{"type":"ALL","contactsBlacklist":[]}`, 400, `{"error":"contactsBlacklist goes with CONTACT_BLACKLIST only"}`},
		{"read receipts without content type", post, root + "/privacy/read-receipts?value=enable", creds.ClientToken, "", ``, 415, `{"error":"UNSUPPORTED_MEDIA_TYPE"}`},
		{"read receipts in the body", post, root + "/privacy/read-receipts", creds.ClientToken, jsonType, `{"value":"enable"}`, 400, `{"error":"Invalid value"}`},
		{"read receipts with a body", post, root + "/privacy/read-receipts?value=enable", creds.ClientToken, jsonType, `{}`, 400, `{"error":"Invalid value"}`},
		{"read receipts, unknown value", post, root + "/privacy/read-receipts?value=true", creds.ClientToken, jsonType, ``, 400, `{"error":"Invalid value"}`},
		{"message duration, unknown value", post, root + "/privacy/messages-duration?value=days1", creds.ClientToken, jsonType, ``, 400, `{"error":"Invalid value"}`},
		{"contacts by POST", post, root + "/privacy/disallowed-contacts?type=photo", creds.ClientToken, jsonType, ``, 405, `{"error":"METHOD_NOT_ALLOWED"}`},
		{"contacts of an unknown type", http.MethodGet, root + "/privacy/disallowed-contacts?type=online", creds.ClientToken, "", ``, 400, `{"error":"Invalid type"}`},
		{"contacts by the path of one page of the documentation", http.MethodGet, root + "/disallowed-contacts?type=photo", creds.ClientToken, "", ``, 200, notFound},
		{"no contacts", http.MethodGet, root + "/privacy/disallowed-contacts?type=photo", creds.ClientToken, "", ``, 200, `{"disallowedContacts":[]}`},
		{"empty blacklist", post, root + "/privacy/photo", creds.ClientToken, jsonType, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[]}`, 200, ok},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := send(t, server, tt.method, tt.path, tt.clientToken, tt.contentType, tt.body)
			assert.Equal(t, tt.status, status)
			assert.Equal(t, tt.answer, answer)
		})
	}
	requests := server.Requests()
	require.Len(t, requests, len(tests))
	for i, tt := range tests {
		assert.Equal(t, tt.method, requests[i].Method)
		assert.Equal(t, tt.status, requests[i].StatusCode)
		assert.Equal(t, tt.body, string(requests[i].Body))
	}
	assert.Equal(t, "privacy/last-seen", requests[0].Op)
	assert.Equal(t, creds.InstanceID, requests[0].InstanceID)
	assert.Equal(t, creds.ClientToken, requests[0].Header.Get("Client-Token"))
	assert.Equal(t, "/privacy/online", requests[4].Op)
	assert.Empty(t, requests[4].InstanceID)
}

func TestServerKeepsState(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	settings := func() zapitest.Settings { return server.Settings(c.InstanceID()) }
	everyone := zapitest.Audience{Visibility: zapi.VisibilityAll}
	assert.Equal(t, zapitest.Settings{
		LastSeen: everyone, Photo: everyone, Description: everyone, GroupAdd: everyone,
		Online: zapi.OnlineAll, ReadReceipts: zapi.ReadReceiptsEnable, MessageDuration: zapi.MessageDurationDisable,
	}, settings())

	require.NoError(t, c.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("5544222222"), zapi.Disallow("5544111111")))
	require.NoError(t, c.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("5544222222"), zapi.Disallow("999@lid"), zapi.Allow("5544111111"), zapi.Allow("5544333333")))
	assert.Equal(t, zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{"5544222222", "999@lid"}}, settings().LastSeen)
	assert.Equal(t, everyone, settings().Photo, "each setting has its own list")

	require.NoError(t, c.SetLastSeen(t.Context(), zapi.VisibilityNone))
	require.NoError(t, c.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist))
	assert.Equal(t, []string{"5544222222", "999@lid"}, settings().LastSeen.Blacklist, "the list outlives another visibility")

	require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("5544000001")))
	require.NoError(t, c.SetDescriptionVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("5544000002")))
	require.NoError(t, c.SetGroupAddPermission(t.Context(), zapi.GroupAddContactBlacklist, zapi.Disallow("5544000003")))
	require.NoError(t, c.SetReadReceipts(t.Context(), zapi.ReadReceiptsDisable))
	require.NoError(t, c.SetMessageDuration(t.Context(), zapi.MessageDuration90Days))
	except := func(phone string) zapitest.Audience {
		return zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{phone}}
	}
	assert.Equal(t, except("5544000001"), settings().Photo)
	assert.Equal(t, except("5544000002"), settings().Description)
	assert.Equal(t, except("5544000003"), settings().GroupAdd)
	assert.Equal(t, zapi.ReadReceiptsDisable, settings().ReadReceipts)
	assert.Equal(t, zapi.MessageDuration90Days, settings().MessageDuration)
	for scope, want := range map[zapi.BlacklistScope][]string{
		zapi.BlacklistLastSeen: {"5544222222", "999@lid"}, zapi.BlacklistPhoto: {"5544000001"},
		zapi.BlacklistDescription: {"5544000002"}, zapi.BlacklistGroupAdd: {"5544000003"},
	} {
		contacts, err := c.DisallowedContacts(t.Context(), scope)
		require.NoError(t, err)
		assert.Equal(t, want, contacts)
	}

	settings().LastSeen.Blacklist[0] = "changed"
	assert.Equal(t, "5544222222", settings().LastSeen.Blacklist[0], "what is handed out is a copy")

	require.NoError(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineSameAsLastSeen))
	assert.Equal(t, zapi.OnlineSameAsLastSeen, settings().Online)

	other, err := c.ForInstance(server.AddInstance())
	require.NoError(t, err)
	require.NoError(t, other.SetPhotoVisibility(t.Context(), zapi.VisibilityNone))
	assert.Equal(t, zapi.VisibilityNone, server.Settings(other.InstanceID()).Photo.Visibility)
	assert.Equal(t, except("5544000001"), settings().Photo)
	empty, err := other.DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
	require.NoError(t, err)
	assert.Equal(t, []string{}, empty)
	assert.Zero(t, server.Settings("unknown"))
}

func TestFailNext(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	set := func() error { return c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone) }
	server.FailNext(2, zapitest.Answer{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}, "Content-Type": {"text/plain"}}, Body: "slow down"})
	server.FailNext(1, zapitest.Answer{Body: `{"success":false}`})
	server.FailNext(1, zapitest.Answer{Drop: true})
	for range 2 {
		var apiErr *zapi.APIError
		require.ErrorAs(t, set(), &apiErr)
		require.ErrorIs(t, apiErr, zapi.ErrRateLimited)
		assert.Equal(t, 7*time.Second, apiErr.RetryAfter)
		assert.Equal(t, "slow down", string(apiErr.Body))
	}
	require.ErrorIs(t, set(), zapi.ErrRejected)
	require.ErrorIs(t, set(), io.EOF)
	assert.Equal(t, zapi.VisibilityAll, server.Settings(c.InstanceID()).Photo.Visibility, "a scripted answer changes nothing")
	require.NoError(t, set())

	var statuses []int
	for _, request := range server.Requests() {
		statuses = append(statuses, request.StatusCode)
	}
	assert.Equal(t, []int{429, 429, 200, 0, 200}, statuses)
}

func TestDelay(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	patient := client(t, server, zapi.WithTimeout(0))
	server.FailNext(1, zapitest.Answer{Delay: time.Millisecond, Body: `{"success":true}`})
	require.NoError(t, patient.SetOnlineVisibility(t.Context(), zapi.OnlineAll))

	c := client(t, server, zapi.WithTimeout(50*time.Millisecond))
	server.FailNext(2, zapitest.Answer{Delay: time.Hour})
	var transportErr *zapi.TransportError
	require.ErrorAs(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), &transportErr)
	assert.True(t, transportErr.Timeout())

	answered := make(chan error)
	go func() { answered <- patient.SetOnlineVisibility(t.Context(), zapi.OnlineAll) }()
	require.Eventually(t, func() bool { return len(server.Requests()) == 3 }, time.Minute, time.Millisecond)
	server.Close()
	require.ErrorIs(t, <-answered, zapi.ErrUnexpectedResponse, "Close ends the delay")
}

func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	server := start(t)
	body := io.MultiReader(strings.NewReader("{"), broken{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL(), body)
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(req) //nolint:bodyclose // there is no answer
	require.ErrorIs(t, err, io.ErrNoProgress)
	assert.Empty(t, server.Requests())
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestServerInParallel(t *testing.T) {
	t.Parallel()
	server := start(t)
	first := client(t, server)
	const writers = 32
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			own, err := first.ForInstance(server.AddInstance())
			assert.NoError(t, err)
			phone := fmt.Sprintf("55441000%04d", i)
			assert.NoError(t, first.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(phone)))
			assert.NoError(t, own.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(phone)))
			assert.Equal(t, []string{phone}, server.Settings(own.InstanceID()).Photo.Blacklist)
		})
	}
	wg.Wait()
	assert.Len(t, server.Settings(first.InstanceID()).LastSeen.Blacklist, writers)
	assert.Len(t, server.Requests(), 2*writers)
}
