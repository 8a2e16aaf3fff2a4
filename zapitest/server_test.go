package zapitest_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

func statuses(server *zapitest.Server) []int {
	var statuses []int
	for _, request := range server.Requests() {
		statuses = append(statuses, request.StatusCode)
	}
	return statuses
}

func ops(requests []zapitest.Request) []string {
	var ops []string
	for _, request := range requests {
		ops = append(ops, request.Op)
	}
	return ops
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
	header := http.Header{"retry-after": {"7"}, "Content-Type": {"text/plain"}}
	server.FailNext(2, zapitest.Answer{StatusCode: 429, Header: header, Body: "slow down"})
	clear(header)
	server.FailNext(0, zapitest.Answer{StatusCode: 500})
	server.FailNext(-1, zapitest.Answer{StatusCode: 500})
	server.FailNext(1, zapitest.Answer{Body: `{"success":false}`})
	server.FailNext(1, zapitest.Answer{StatusCode: 503, Drop: true})
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
	assert.Equal(t, []int{429, 429, 200, 0, 200}, statuses(server))
}

func TestAnswerContentType(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header http.Header
		want   []string
	}{
		{"default", nil, []string{"application/json"}},
		{"given", http.Header{"Content-Type": {"text/html"}}, []string{"text/html"}},
		{"given in lower case", http.Header{"content-type": {"text/html"}}, []string{"text/html"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			server.FailNext(1, zapitest.Answer{Header: tt.header})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL(), http.NoBody)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, tt.want, resp.Header.Values("Content-Type"))
		})
	}
}

func TestFailNextWithoutEnd(t *testing.T) {
	t.Parallel()
	server := start(t)
	server.FailNext(math.MaxInt, zapitest.Answer{StatusCode: 503})
	c := client(t, server)
	for range 3 {
		require.ErrorIs(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), zapi.ErrUnavailable)
	}
}

func TestFailWhen(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	photo := func() error { return c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone) }
	online := func() error { return c.SetOnlineVisibility(t.Context(), zapi.OnlineSameAsLastSeen) }
	onOp := func(op string) func(zapitest.Request) bool {
		return func(r zapitest.Request) bool { return r.Op == op }
	}

	server.FailWhen(onOp("privacy/unknown"), zapitest.Answer{StatusCode: 500})
	require.NoError(t, online(), "what never matches changes nothing")
	server.FailWhen(onOp("privacy/photo"), zapitest.Answer{StatusCode: 503})
	for range 2 {
		require.ErrorIs(t, photo(), zapi.ErrUnavailable)
		require.NoError(t, online())
	}
	assert.Equal(t, zapi.VisibilityAll, server.Settings(c.InstanceID()).Photo.Visibility)

	server.FailNext(1, zapitest.Answer{StatusCode: 429})
	require.ErrorIs(t, photo(), zapi.ErrRateLimited, "FailNext goes first")
	require.ErrorIs(t, photo(), zapi.ErrUnavailable)

	server.FailWhen(onOp("privacy/photo"), zapitest.Answer{StatusCode: 404})
	require.ErrorIs(t, photo(), zapi.ErrNotFound, "the last that matches goes first")
	server.FailWhen(func(zapitest.Request) bool { return false }, zapitest.Answer{StatusCode: 500})
	require.ErrorIs(t, photo(), zapi.ErrNotFound)
	assert.Equal(t, []int{200, 503, 200, 503, 200, 429, 503, 404, 404}, statuses(server))
}

func TestFailWhenMatch(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	var seen zapitest.Request
	server.FailWhen(func(r zapitest.Request) bool {
		if r.Op == "privacy/disallowed-contacts" {
			return false
		}
		seen = r
		assert.Equal(t, zapi.VisibilityAll, server.Settings(r.InstanceID).Photo.Visibility)
		contacts, err := c.DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
		assert.NoError(t, err, "a request while match runs")
		assert.Empty(t, contacts)
		assert.Len(t, server.Requests(), 1)
		server.ForgetRequests()
		server.SetSettings(r.InstanceID, server.Settings(r.InstanceID))
		server.FailNext(0, zapitest.Answer{})
		server.FailWhen(func(zapitest.Request) bool { return false }, zapitest.Answer{})
		server.AddInstance()
		clear(r.Header)
		r.Body[0] = '!'
		return false
	}, zapitest.Answer{StatusCode: 503})
	require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone), "match gets a copy")

	requests := server.Requests()
	require.Len(t, requests, 1)
	assert.Equal(t, server.Credentials().ClientToken, requests[0].Header.Get("Client-Token"))
	assert.JSONEq(t, `{"visualizationType":"NONE"}`, string(requests[0].Body))
	assert.Equal(t, 200, requests[0].StatusCode)
	assert.Zero(t, seen.StatusCode, "there is no response yet")
	assert.Equal(t, c.InstanceID(), seen.InstanceID)
	assert.Equal(t, "privacy/photo", seen.Op)
	assert.Equal(t, http.MethodPost, seen.Method)
}

func TestPanics(t *testing.T) {
	t.Parallel()
	server := start(t)
	always := func(zapitest.Request) bool { return true }
	tests := []struct {
		name string
		call func()
		want string
	}{
		{"FailNext, negative status", func() { server.FailNext(1, zapitest.Answer{StatusCode: -1}) }, "zapitest: FailNext: StatusCode must be 0 or 200 to 599, not -1"},
		{"FailNext, informational status", func() { server.FailNext(1, zapitest.Answer{StatusCode: 103}) }, "zapitest: FailNext: StatusCode must be 0 or 200 to 599, not 103"},
		{"FailNext, status too large", func() { server.FailNext(1, zapitest.Answer{StatusCode: 600}) }, "zapitest: FailNext: StatusCode must be 0 or 200 to 599, not 600"},
		{"FailNext, status too large for no request", func() { server.FailNext(0, zapitest.Answer{StatusCode: 600}) }, "zapitest: FailNext: StatusCode must be 0 or 200 to 599, not 600"},
		{"FailWhen, informational status", func() { server.FailWhen(always, zapitest.Answer{StatusCode: 199}) }, "zapitest: FailWhen: StatusCode must be 0 or 200 to 599, not 199"},
		{"FailWhen without match", func() { server.FailWhen(nil, zapitest.Answer{}) }, "zapitest: FailWhen: match must not be nil"},
		{"SetSettings of an unknown instance", func() { server.SetSettings("X", zapitest.Settings{}) }, `zapitest: SetSettings: there is no instance "X"`},
		{"SetConnected of an unknown instance", func() { server.SetConnected("X", true) }, `zapitest: SetConnected: there is no instance "X"`},
		{"AddInstanceWith, no ID", func() { server.AddInstanceWith(zapi.Credentials{Token: "T"}) }, "zapitest: AddInstanceWith: InstanceID and Token must not be empty or contain a slash"},
		{"AddInstanceWith, slash in the token", func() { server.AddInstanceWith(zapi.Credentials{InstanceID: "I", Token: "T/"}) }, "zapitest: AddInstanceWith: InstanceID and Token must not be empty or contain a slash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.PanicsWithValue(t, tt.want, tt.call)
			c := client(t, server)
			assert.NoError(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), "the server goes on")
		})
	}
}

func TestBoundaryStatuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 599} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			server := start(t)
			server.FailNext(1, zapitest.Answer{StatusCode: status})
			got, body := send(t, server, post("privacy/online", `{"visualizationType":"ALL"}`))
			assert.Equal(t, status, got)
			assert.Empty(t, body)
		})
	}
}

func TestAddInstanceWith(t *testing.T) {
	t.Parallel()
	const id, token, clientToken = "3C01D5A4B6", "70C4D2E79B1F", "F5e2c1d87A0S"
	set := func(t *testing.T, server *zapitest.Server, creds zapi.Credentials, opts ...zapi.Option) error {
		t.Helper()
		other, err := client(t, server, opts...).ForInstance(creds)
		require.NoError(t, err)
		return other.SetPhotoVisibility(t.Context(), zapi.VisibilityNone)
	}
	tests := []struct {
		name        string
		known, sent string // Client-Token of the instance, and of the request
		want        error
	}{
		{"the right Client-Token", clientToken, clientToken, nil},
		{"a wrong Client-Token", clientToken, "F0", zapi.ErrUnauthorized},
		{"no Client-Token", clientToken, "", zapi.ErrUnauthorized},
		{"not activated, none sent", "", "", nil},
		{"not activated, one sent", "", clientToken, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			server.AddInstanceWith(zapi.Credentials{InstanceID: id, Token: token, ClientToken: tt.known})
			assert.Equal(t, zapi.VisibilityAll, server.Settings(id).Photo.Visibility)
			err := set(t, server, zapi.Credentials{InstanceID: id, Token: token, ClientToken: tt.sent}, zapi.WithoutClientToken())
			require.ErrorIs(t, err, tt.want)
			assert.Equal(t, tt.want == nil, server.Settings(id).Photo.Visibility == zapi.VisibilityNone)
			assert.Equal(t, zapi.VisibilityAll, server.Settings(server.Credentials().InstanceID).Photo.Visibility)
		})
	}

	t.Run("twice replaces", func(t *testing.T) {
		t.Parallel()
		server := start(t)
		old := zapi.Credentials{InstanceID: id, Token: token, ClientToken: clientToken}
		server.AddInstanceWith(old)
		require.NoError(t, set(t, server, old))
		server.AddInstanceWith(zapi.Credentials{InstanceID: id, Token: "T2", ClientToken: clientToken})
		assert.Equal(t, zapi.VisibilityAll, server.Settings(id).Photo.Visibility, "as a new instance")
		require.ErrorIs(t, set(t, server, old), zapi.ErrNotFound)
	})

	t.Run("the first instance", func(t *testing.T) {
		t.Parallel()
		server := start(t)
		want := zapi.Credentials{InstanceID: server.Credentials().InstanceID, Token: token, ClientToken: clientToken}
		server.AddInstanceWith(want)
		assert.Equal(t, want, server.Credentials())
		require.NoError(t, client(t, server).SetPhotoVisibility(t.Context(), zapi.VisibilityNone))
	})
}

func TestSetSettings(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	settings := zapitest.Settings{
		LastSeen:        zapitest.Audience{Visibility: zapi.VisibilityNone, Blacklist: []string{"554422222222", "", "554411111111", "554422222222"}},
		Photo:           zapitest.Audience{Visibility: zapi.VisibilityContacts, Blacklist: []string{}},
		Description:     zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{"55@c.us", "554433333333"}},
		GroupAdd:        zapitest.Audience{Visibility: zapi.VisibilityAll},
		Online:          zapi.OnlineSameAsLastSeen,
		ReadReceipts:    zapi.ReadReceiptsDisable,
		MessageDuration: zapi.MessageDuration7Days,
	}
	want := settings
	want.LastSeen.Blacklist = []string{"", "554411111111", "554422222222"}
	want.Photo.Blacklist = nil
	want.Description.Blacklist = []string{"554433333333", "55@c.us"}
	given := slices.Clone(settings.LastSeen.Blacklist)

	server.SetSettings(c.InstanceID(), settings)
	assert.Equal(t, given, settings.LastSeen.Blacklist, "the argument stays as it is")
	settings.Description.Blacklist[0] = "changed"
	assert.Equal(t, want, server.Settings(c.InstanceID()))
	contacts, err := c.DisallowedContacts(t.Context(), zapi.BlacklistLastSeen)
	require.NoError(t, err)
	assert.Equal(t, want.LastSeen.Blacklist, contacts)

	require.NoError(t, c.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Allow("554411111111")))
	assert.Equal(t, zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{"", "554422222222"}},
		server.Settings(c.InstanceID()).LastSeen, "calls go on from there")
}

func TestRequestsAreCopies(t *testing.T) {
	t.Parallel()
	server := start(t)
	creds := server.Credentials()
	send(t, server, post("privacy/read-receipts?value=disable", ""))
	send(t, server, post("privacy/online", `{"visualizationType":"ALL"}`))
	send(t, server, wire{method: http.MethodGet, path: "/elsewhere"})

	requests := server.Requests()
	require.Len(t, requests, 3)
	assert.Equal(t, []string{"privacy/read-receipts", "privacy/online", "/elsewhere"}, ops(requests))
	assert.Equal(t, []string{creds.InstanceID, creds.InstanceID, ""}, []string{requests[0].InstanceID, requests[1].InstanceID, requests[2].InstanceID})
	assert.Equal(t, url.Values{"value": {"disable"}}, requests[0].Query)
	assert.Equal(t, creds.ClientToken, requests[1].Header.Get("Client-Token"))

	requests[0].Query["value"][0] = "changed"
	requests[1].Header["Client-Token"][0] = "changed"
	requests[1].Body[0] = '!'
	again := server.Requests()
	assert.Equal(t, "disable", again[0].Query.Get("value"))
	assert.Equal(t, creds.ClientToken, again[1].Header.Get("Client-Token"))
	assert.JSONEq(t, `{"visualizationType":"ALL"}`, string(again[1].Body))
}

func TestForgetRequests(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server)
	require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone))
	server.FailNext(1, zapitest.Answer{StatusCode: 503})
	require.Len(t, server.Requests(), 1)
	server.ForgetRequests()
	assert.Empty(t, server.Requests())
	assert.Equal(t, zapi.VisibilityNone, server.Settings(c.InstanceID()).Photo.Visibility, "settings stay")
	require.ErrorIs(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), zapi.ErrUnavailable, "failures stay")
	assert.Equal(t, []int{503}, statuses(server))
}

// TestClientRetries compares the retries of Client with the default ones of zapi, on a fake clock.
func TestClientRetries(t *testing.T) {
	t.Parallel()
	server := start(t)
	tests := []struct {
		name       string
		retryAfter string
		longest    time.Duration // of a call by Client
	}{
		{"backoff", "", 6 * time.Millisecond},
		{"Retry-After", "8", 16 * time.Second},
		{"Retry-After that is too long", "9", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				unavailable := roundTripper(func(r *http.Request) (*http.Response, error) {
					header := http.Header{}
					if tt.retryAfter != "" {
						header.Set("Retry-After", tt.retryAfter)
					}
					return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: header, Body: http.NoBody, Request: r}, nil
				})
				attempts := func(c *zapi.Client, err error) int {
					require.NoError(t, err)
					var apiErr *zapi.APIError
					require.ErrorAs(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), &apiErr)
					return apiErr.Attempts
				}
				byDefault := attempts(zapi.NewClient(server.Credentials(), zapi.WithTransport(unavailable)))
				start := time.Now()
				assert.Equal(t, byDefault, attempts(server.Client(zapi.WithTransport(unavailable))))
				assert.LessOrEqual(t, time.Since(start), tt.longest)
				once := zapi.WithRetry(zapi.RetryPolicy{})
				assert.Equal(t, 1, attempts(server.Client(once, zapi.WithTransport(unavailable))), "opts override")
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	c := client(t, server)
	require.NoError(t, c.SetPhotoVisibility(t.Context(), zapi.VisibilityNone))
	server.Close()
	server.Close()
	var transportErr *zapi.TransportError
	require.ErrorAs(t, c.SetOnlineVisibility(t.Context(), zapi.OnlineAll), &transportErr)
	assert.Equal(t, zapi.VisibilityNone, server.Settings(c.InstanceID()).Photo.Visibility, "the state stays")
	assert.Len(t, server.Requests(), 1)
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
	var offered atomic.Int64
	server.FailWhen(func(zapitest.Request) bool { offered.Add(1); return false }, zapitest.Answer{})
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
	assert.Equal(t, int64(2*writers), offered.Load(), "each request is offered once")
	assert.Len(t, server.Settings(first.InstanceID()).LastSeen.Blacklist, writers)
	assert.Len(t, server.Requests(), 2*writers)
}
