package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// failingRoutes responds with success, but to the given routes, each named by its last segment, with these.
func failingRoutes(fail map[string]httpmock.Responder) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		if responder, ok := fail[path.Base(req.URL.Path)]; ok {
			return responder(req)
		}
		return listing("554400000000")(req)
	}
}

// ops are the operations of requests, with the method of those that change something.
func ops(requests []sent) []string {
	var ops []string
	for _, request := range requests {
		op := strings.TrimPrefix(request.URL, realURL("privacy/"))
		if request.Method != http.MethodGet {
			op = request.Method + " " + op
		}
		ops = append(ops, op)
	}
	return ops
}

func TestApplyError(t *testing.T) {
	t.Parallel()
	all := []string{"lastSeen", "photo", "description", "groupAdd", "online", "readReceipts", "messageDuration"}
	without := func(failed ...string) []string {
		var rest []string
		for _, key := range all {
			if !strings.Contains(" "+strings.Join(failed, " ")+" ", " "+key+" ") {
				rest = append(rest, key)
			}
		}
		return rest
	}
	unavailable, forbidden, reset := responding(503, ""), responding(403, ""), httpmock.NewErrorResponder(errors.New("connection reset"))
	tests := []struct {
		name            string
		fail            map[string]httpmock.Responder
		applied, failed []string
		skipped         []string
		texts           []string
	}{
		{
			"one setting", map[string]httpmock.Responder{"photo": unavailable},
			without("photo"), []string{"photo"}, nil,
			[]string{"photo: zapi: privacy/photo: 503 Service Unavailable"},
		},
		{
			"the first and the last", map[string]httpmock.Responder{"last-seen": unavailable, "messages-duration": reset},
			without("lastSeen", "messageDuration"), []string{"lastSeen", "messageDuration"}, nil,
			[]string{"lastSeen: zapi: privacy/last-seen: 503 Service Unavailable", "messageDuration: zapi: privacy/messages-duration: no response: connection reset"},
		},
		{
			"reading the lists", map[string]httpmock.Responder{"disallowed-contacts": responding(200, `{"success":false}`)},
			without("lastSeen", "groupAdd"), []string{"lastSeen", "groupAdd"}, nil,
			[]string{"lastSeen: zapi: privacy/disallowed-contacts: rejected: success is false", "groupAdd: zapi: privacy/disallowed-contacts: rejected: success is false"},
		},
		{
			"not connected", map[string]httpmock.Responder{"online": responding(400, `{"error":"You are not connected."}`)},
			without("online"), []string{"online"}, nil,
			[]string{"online: zapi: privacy/online: 400 Bad Request: You are not connected."},
		},
		{
			"credentials refused at first", map[string]httpmock.Responder{"disallowed-contacts": forbidden},
			nil, []string{"lastSeen"}, without("lastSeen"),
			[]string{"lastSeen: zapi: privacy/disallowed-contacts: 403 Forbidden"},
		},
		{
			"credentials refused amid", map[string]httpmock.Responder{"photo": unavailable, "description": responding(400, `{"error":"null not allowed"}`)},
			[]string{"lastSeen"}, []string{"photo", "description"}, []string{"groupAdd", "online", "readReceipts", "messageDuration"},
			[]string{"photo: zapi: privacy/photo: 503 Service Unavailable", "description: zapi: privacy/description: 400 Bad Request: null not allowed"},
		},
		{
			"credentials refused at last", map[string]httpmock.Responder{"messages-duration": forbidden},
			without("messageDuration"), []string{"messageDuration"}, nil,
			[]string{"messageDuration: zapi: privacy/messages-duration: 403 Forbidden"},
		},
		{
			"a firewall in front", map[string]httpmock.Responder{"photo": responding(403, "<html>")},
			without("photo"), []string{"photo"}, nil,
			[]string{"photo: zapi: privacy/photo: 403 Forbidden: the response is a page of a proxy or firewall, not the API's"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, failingRoutes(tt.fail))
			err := client.Apply(t.Context(), fullPolicy())
			var applyErr *zapi.ApplyError
			require.ErrorAs(t, err, &applyErr)
			assert.Equal(t, tt.applied, applyErr.Applied)
			assert.Equal(t, tt.skipped, applyErr.Skipped)
			var failed []string
			for i, failure := range applyErr.Failed {
				failed = append(failed, failure.Setting)
				assert.EqualError(t, failure, tt.texts[i])
				assert.EqualError(t, &failure, tt.texts[i])
				assert.Equal(t, failure.Err, errors.Unwrap(failure))
			}
			assert.Equal(t, tt.failed, failed)
			assert.EqualError(t, err, strings.Join(tt.texts, "\n"))

			unwrapped := applyErr.Unwrap()
			require.Len(t, unwrapped, len(tt.texts))
			for i, failure := range unwrapped {
				assert.EqualError(t, failure, tt.texts[i])
				assert.ErrorIs(t, err, failure)
			}
			var pointer *zapi.SettingError
			require.ErrorAs(t, err, &pointer)
			assert.Equal(t, applyErr.Failed[0], *pointer)
			var value zapi.SettingError
			require.ErrorAs(t, err, &value)
			assert.Equal(t, applyErr.Failed[0], value)
		})
	}
}

func TestApplySkipsTheRestOnceTheContextIsDone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(t, failingRoutes(map[string]httpmock.Responder{"description": func(*http.Request) (*http.Response, error) {
		cancel()
		return nil, context.Canceled
	}}))
	err := client.Apply(ctx, fullPolicy())
	require.ErrorIs(t, err, context.Canceled)
	var applyErr *zapi.ApplyError
	require.ErrorAs(t, err, &applyErr)
	assert.Equal(t, []string{"lastSeen", "photo"}, applyErr.Applied)
	require.Len(t, applyErr.Failed, 1)
	assert.Equal(t, "description", applyErr.Failed[0].Setting)
	assert.Equal(t, []string{"groupAdd", "online", "readReceipts", "messageDuration"}, applyErr.Skipped)

	api := newMockAPI(succeeding)
	require.ErrorAs(t, api.client(t).Apply(ctx, fullPolicy()), &applyErr)
	assert.Empty(t, applyErr.Applied)
	require.Len(t, applyErr.Failed, 1)
	assert.Equal(t, "lastSeen", applyErr.Failed[0].Setting)
	assert.Len(t, applyErr.Skipped, 6)
	assert.Empty(t, api.requests())
}

// An ApplyError matches what its failures match.
func TestApplyErrorUnwraps(t *testing.T) {
	t.Parallel()
	invalid, limited := &zapi.ValidationError{Op: "policy"}, &zapi.APIError{StatusCode: 429}
	err := error(&zapi.ApplyError{Failed: []zapi.SettingError{{Setting: "photo", Err: invalid}, {Setting: "online", Err: limited}}})
	assert.ErrorIs(t, err, zapi.ErrInvalidArgument)
	assert.ErrorIs(t, err, zapi.ErrRateLimited)
	assert.NotErrorIs(t, err, zapi.ErrUnauthorized)
	var apiErr *zapi.APIError
	require.ErrorAs(t, err, &apiErr)
	assert.Same(t, limited, apiErr)
	assert.ErrorIs(t, fmt.Errorf("job 7: %w", err), zapi.ErrRateLimited)
	assert.NotPanics(t, func() { _ = new(zapi.ApplyError).Error() })
	assert.NotPanics(t, func() { _ = new(zapi.SettingError).Error() })
}

func TestPoliciesThatNameNothing(t *testing.T) {
	t.Parallel()
	var nobody *zapi.Audience
	for name, policy := range map[string]zapi.Policy{"zero": {}, "nil audiences": {LastSeen: nobody, GroupAdd: nobody}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.True(t, policy.IsZero())
			api := newMockAPI(succeeding)
			assertRefused(t, policy.Validate(), "policy", "")
			assertRefused(t, api.client(t).Apply(t.Context(), policy), "policy", "")
			plan, err := api.client(t).Plan(t.Context(), policy)
			assertRefused(t, err, "policy", "")
			assert.Nil(t, plan)
			assert.Empty(t, api.requests())
		})
	}
	for name, policy := range map[string]zapi.Policy{
		"audience": {Description: new(zapi.Audience)}, "online": {Online: "x"}, "read receipts": {ReadReceipts: "x"}, "duration": {MessageDuration: "x"},
	} {
		t.Run("not zero: "+name, func(t *testing.T) {
			t.Parallel()
			assert.False(t, policy.IsZero(), "wrong, but it names a setting")
			assert.ErrorIs(t, policy.Validate(), zapi.ErrInvalidArgument)
		})
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const a, b, ninth, eight = "554411111111", "554422222222", "5544991111111", "554491111111"
	blacklist := zapi.VisibilityContactBlacklist
	tests := []struct {
		name   string
		policy zapi.Policy
		listed []string
		want   zapi.Plan
		reads  []string // scopes
	}{
		{
			"everything", fullPolicy(), []string{b},
			zapi.Plan{
				{"lastSeen", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{Added: []string{a}, Removed: []string{b}}},
				{"photo", "NONE", nil},
				{"description", "CONTACT_BLACKLIST", nil},
				{"groupAdd", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{Removed: []string{b}}},
				{"online", "SAME_LAST_SEEN", nil},
				{"readReceipts", "disable", nil},
				{"messageDuration", "hours24", nil},
			},
			[]string{"lastSeen", "groupAdd"},
		},
		{"values only", zapi.Policy{MessageDuration: zapi.MessageDuration90Days, Online: zapi.OnlineAll}, nil, zapi.Plan{{"online", "ALL", nil}, {"messageDuration", "days90", nil}}, nil},
		{"the list as it stands", zapi.Policy{Photo: &zapi.Audience{Visibility: blacklist}}, nil, zapi.Plan{{"photo", "CONTACT_BLACKLIST", nil}}, nil},
		{"nothing to change", zapi.Policy{Photo: &zapi.Audience{Visibility: blacklist, Except: []string{"+55 44 1111-1111"}}}, []string{a}, zapi.Plan{{"photo", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{}}}, []string{"photo"}},
		{"without the ninth digit", zapi.Policy{Photo: &zapi.Audience{Visibility: blacklist, Except: []string{ninth}}}, []string{eight}, zapi.Plan{{"photo", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{}}}, []string{"photo"}},
		{"an empty list", zapi.Policy{Description: &zapi.Audience{Visibility: blacklist, Except: []string{}}}, []string{a, b}, zapi.Plan{{"description", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{Removed: []string{a, b}}}}, []string{"description"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing(tt.listed...))
			plan, err := api.client(t).Plan(t.Context(), tt.policy)
			require.NoError(t, err)
			assert.Equal(t, tt.want, plan)

			var reads []string
			for _, scope := range tt.reads {
				reads = append(reads, "disallowed-contacts?type="+scope)
			}
			assert.Equal(t, reads, ops(api.requests()), "nothing else is read, and nothing is changed")

			// Apply then does what was planned, in its order.
			api = newMockAPI(listing(tt.listed...))
			require.NoError(t, api.client(t).Apply(t.Context(), tt.policy))
			var posts []sent
			for _, request := range api.requests() {
				if request.Method == http.MethodPost {
					posts = append(posts, request)
				}
			}
			require.Len(t, posts, len(plan))
			for i, planned := range plan {
				assert.Contains(t, posts[i].Body+posts[i].URL, planned.Value, planned.Setting)
				if planned.Blacklist != nil {
					assert.Equal(t, len(planned.Blacklist.Added), strings.Count(posts[i].Body, `"add"`))
					assert.Equal(t, len(planned.Blacklist.Removed), strings.Count(posts[i].Body, `"remove"`))
				}
			}
		})
	}
}

func TestPlanFails(t *testing.T) {
	t.Parallel()
	t.Run("reading", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(responding(503, ""))
		plan, err := api.client(t).Plan(t.Context(), fullPolicy())
		require.EqualError(t, err, "lastSeen: zapi: privacy/disallowed-contacts: 503 Service Unavailable")
		require.ErrorIs(t, err, zapi.ErrUnavailable)
		var settingErr *zapi.SettingError
		require.ErrorAs(t, err, &settingErr)
		assert.Equal(t, "lastSeen", settingErr.Setting)
		assert.Nil(t, plan)
		assert.Len(t, api.requests(), 1)
	})
	t.Run("a wrong policy", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(succeeding)
		policy := fullPolicy()
		policy.MessageDuration = "forever"
		_, err := api.client(t).Plan(t.Context(), policy)
		assertRefused(t, err, "policy", "messageDuration")
		assert.Empty(t, api.requests())
	})
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		for _, client := range []*zapi.Client{nil, new(zapi.Client)} {
			_, err := client.Plan(t.Context(), fullPolicy())
			assertRefused(t, err, "policy", "client")
		}
	})
	t.Run("no context", func(t *testing.T) {
		t.Parallel()
		_, err := newClient(t, succeeding).Plan(nil, fullPolicy()) //nolint:staticcheck // that is what is tested
		assertRefused(t, err, "policy", "ctx")
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, succeeding).Plan(ctx, fullPolicy())
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestPlanString(t *testing.T) {
	t.Parallel()
	const a, b = "554411111111", "554422222222"
	plan := zapi.Plan{
		{"lastSeen", "CONTACT_BLACKLIST", &zapi.BlacklistDiff{Added: []string{a, b}, Removed: []string{"999999999999999@lid"}}},
		{"photo", "NONE", nil},
		{"groupAdd", "CONTACT_BLACKLIST", new(zapi.BlacklistDiff)},
	}
	const want = `SETTING   VALUE              BLACKLIST
lastSeen  CONTACT_BLACKLIST  2 added, 1 removed
photo     NONE               -
groupAdd  CONTACT_BLACKLIST  0 added, 0 removed
`
	assert.Equal(t, want, plan.String())
	for _, text := range []string{plan.String(), fmt.Sprint(plan), fmt.Sprintf("%v", plan), fmt.Sprintf("%+v", plan)} {
		assert.NotEmpty(t, text)
		assert.NotContains(t, text, a)
		assert.NotContains(t, text, "@lid")
	}
	assert.NotContains(t, zapi.Plan(nil).String(), "added")
}

// The phones of a policy are international: the same file serves instances in every country.
func TestPlanDoesNotUseThePhoneParser(t *testing.T) {
	t.Parallel()
	client := newClient(t, listing(), zapi.WithPhoneParser(func(string) (string, error) { return "15550100999", nil }))
	policy := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"554411111111"}}}
	plan, err := client.Plan(t.Context(), policy)
	require.NoError(t, err)
	assert.Equal(t, []string{"554411111111"}, plan[0].Blacklist.Added)
}

// What DiffBlacklist returns is what ReplaceBlacklist then does.
func TestDiffBlacklist(t *testing.T) {
	t.Parallel()
	const a, b, c, lid = "554411111111", "554422222222", "554433333333", "999999999999999@lid"
	tests := []struct {
		name           string
		listed, want   []string
		added, removed []string
	}{
		{"nothing", nil, nil, nil, nil},
		{"add", []string{a}, []string{b, a, c}, []string{b, c}, nil},
		{"remove", []string{a, b, c}, []string{b}, nil, []string{a, c}},
		{"clear", []string{a, lid}, nil, nil, []string{a, lid}},
		{"both", []string{a, b}, []string{b, c}, []string{c}, []string{a}},
		{"in another writing", []string{a}, []string{"+55 (44) 1111-1111"}, nil, nil},
		{"twice", nil, []string{a, "+" + a, a}, []string{a}, nil},
		{"a private id", []string{lid}, []string{a}, []string{a}, []string{lid}},
		{"an unknown form", []string{"someone@c.us"}, nil, nil, []string{"someone@c.us"}},

		{"listed without the ninth digit", []string{"554491111111"}, []string{"5544991111111"}, nil, nil},
		{"wanted without the ninth digit", []string{"5544991111111"}, []string{"554491111111"}, nil, nil},
		{"wanted without it and masked", []string{"5544991111111"}, []string{"+55 (44) 9111-1111"}, nil, nil},
		{"wanted in both forms, listed without", []string{"554491111111"}, []string{"5544991111111", "554491111111"}, nil, nil},
		{"wanted in both forms, not listed", nil, []string{"5544991111111", "554491111111"}, []string{"5544991111111"}, nil},
		{"wanted in both forms, the other way round", nil, []string{"554491111111", "5544991111111"}, []string{"554491111111"}, nil},
		{"listed in both forms, wanted in one", []string{"554491111111", "5544991111111"}, []string{"5544991111111"}, nil, nil},
		{"removed as listed, without", []string{"554491111111"}, []string{a}, []string{a}, []string{"554491111111"}},
		{"removed as listed, with", []string{"5544991111111"}, nil, nil, []string{"5544991111111"}},
		{"removed as listed, both", []string{"554491111111", "5544991111111"}, nil, nil, []string{"554491111111", "5544991111111"}},
		{"added as written", []string{a}, []string{a, "5544991111111"}, []string{"5544991111111"}, nil},
		{"from 6", []string{"551161111111"}, []string{"5511961111111"}, nil, nil},
		{"from 7", []string{"551171111111"}, []string{"5511971111111"}, nil, nil},
		{"from 8", []string{"551181111111"}, []string{"5511981111111"}, nil, nil},
		{"first area code", []string{"551191111111"}, []string{"5511991111111"}, nil, nil},
		{"last area code", []string{"559991111111"}, []string{"5599991111111"}, nil, nil},
		{"from 5 is a landline", []string{"554451111111"}, []string{"5544951111111"}, []string{"5544951111111"}, []string{"554451111111"}},
		{"from 2 is a landline", []string{"554421111111"}, []string{"5544921111111"}, []string{"5544921111111"}, []string{"554421111111"}},
		{"another ninth digit", []string{"554491111111"}, []string{"5544891111111"}, []string{"5544891111111"}, []string{"554491111111"}},
		{"no area code ends in 0", []string{"554091111111"}, []string{"5540991111111"}, []string{"5540991111111"}, []string{"554091111111"}},
		{"another country", []string{"544491111111"}, []string{"5444991111111"}, []string{"5444991111111"}, []string{"544491111111"}},
		{"a private id with these digits", []string{"5544991111111@lid"}, []string{"554491111111"}, []string{"554491111111"}, []string{"5544991111111@lid"}},
		{"a longer number", []string{"5544911111111"}, []string{"55449911111111"}, []string{"55449911111111"}, []string{"5544911111111"}},
	}
	for _, tt := range tests {
		for _, scope := range []zapi.BlacklistScope{zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd} {
			t.Run(tt.name+" of "+string(scope), func(t *testing.T) {
				t.Parallel()
				want := zapi.BlacklistDiff{Added: tt.added, Removed: tt.removed}
				api := newMockAPI(listing(tt.listed...))
				diff, err := api.client(t).DiffBlacklist(t.Context(), scope, tt.want)
				require.NoError(t, err)
				assert.Equal(t, want, diff)
				assert.Equal(t, []string{"disallowed-contacts?type=" + string(scope)}, ops(api.requests()))

				api = newMockAPI(listing(tt.listed...))
				done, err := api.client(t).ReplaceBlacklist(t.Context(), scope, tt.want)
				require.NoError(t, err)
				assert.Equal(t, diff, done)
				require.Len(t, api.requests(), 2)
				changes := make([]string, 0, len(tt.added)+len(tt.removed))
				for _, phone := range tt.removed {
					changes = append(changes, `{"action":"remove","phone":"`+phone+`"}`)
				}
				for _, phone := range tt.added {
					changes = append(changes, `{"action":"add","phone":"`+phone+`"}`)
				}
				assert.Contains(t, api.requests()[1].Body, `"contactsBlacklist":[`+strings.Join(changes, ",")+`]`)
			})
		}
	}
}

func TestDiffBlacklistFails(t *testing.T) {
	t.Parallel()
	diff := func(scope zapi.BlacklistScope, want ...string) caller {
		return func(ctx context.Context, c *zapi.Client) error {
			diff, err := c.DiffBlacklist(ctx, scope, want)
			assert.Zero(t, diff)
			return err
		}
	}
	const op = "privacy/disallowed-contacts"
	refused := []struct {
		name  string
		call  caller
		field string
	}{
		{"scope", diff("online"), "scope"},
		{"no scope", diff(""), "scope"},
		{"phone", diff(zapi.BlacklistPhoto, "554411111111", "5544911111111.0"), "want[1]"},
		{"phones", diff(zapi.BlacklistPhoto, "nobody", "554411111111", "911111111111111111"), "want[0], want[2]"},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing())
			assertRefused(t, tt.call(t.Context(), api.client(t)), op, tt.field, "nobody", "5544911111111.0")
			assert.Empty(t, api.requests())
		})
	}
	t.Run("reading", func(t *testing.T) {
		t.Parallel()
		err := diff(zapi.BlacklistPhoto)(t.Context(), newClient(t, responding(403, "")))
		assertOnlyKind(t, zapi.ErrUnauthorized, err)
		assert.ErrorContains(t, err, "zapi: "+op+": ")
	})
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		for _, client := range []*zapi.Client{nil, new(zapi.Client)} {
			assertRefused(t, diff(zapi.BlacklistPhoto, "554411111111")(t.Context(), client), op, "client")
		}
	})
	t.Run("no context", func(t *testing.T) {
		t.Parallel()
		assertRefused(t, diff(zapi.BlacklistPhoto)(nil, newClient(t, succeeding)), op, "ctx")
	})
	t.Run("the parser of the caller", func(t *testing.T) {
		t.Parallel()
		client := newClient(t, listing("5544991111111"), zapi.WithPhoneParser(func(phone string) (string, error) { return "+55" + phone, nil }))
		got, err := client.DiffBlacklist(t.Context(), zapi.BlacklistPhoto, []string{"44991111111"})
		require.NoError(t, err)
		assert.Zero(t, got)
	})
}

// In the changes of a setter, too, the two forms are one contact.
func TestChangesWithoutTheNinthDigit(t *testing.T) {
	t.Parallel()
	const ninth, eight = "5544991111111", "554491111111"
	tests := []struct {
		name    string
		changes []zapi.BlacklistChange
		want    string // the list; empty if refused
	}{
		{"repeated", []zapi.BlacklistChange{zapi.Disallow(ninth), zapi.Disallow(eight)}, `[{"action":"add","phone":"` + ninth + `"}]`},
		{"repeated, the other way round", []zapi.BlacklistChange{zapi.Allow(eight), zapi.Allow(ninth)}, `[{"action":"remove","phone":"` + eight + `"}]`},
		{"contradictory", []zapi.BlacklistChange{zapi.Disallow(ninth), zapi.Allow(eight)}, ""},
		{"contradictory, the other way round", []zapi.BlacklistChange{zapi.Allow(eight), zapi.Disallow(ninth)}, ""},
		{"a landline", []zapi.BlacklistChange{zapi.Disallow("5544931111111"), zapi.Allow("554431111111")}, `[{"action":"add","phone":"5544931111111"},{"action":"remove","phone":"554431111111"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			err := api.client(t).SetGroupAddPermission(t.Context(), zapi.GroupAddContactBlacklist, tt.changes...)
			if tt.want == "" {
				assertRefused(t, err, "privacy/group-add", "changes[1].phone", ninth, eight)
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			assert.JSONEq(t, `{"type":"CONTACT_BLACKLIST","contactsBlacklist":`+tt.want+`}`, api.requests()[0].Body)
		})
	}
}

// NormalizePhone returns what the setters send, and refuses what they refuse.
func TestNormalizePhone(t *testing.T) {
	t.Parallel()
	tests := []struct{ phone, want string }{
		{"554411111111", "554411111111"},
		{"+55 (44) 91111-1111", "5544911111111"},
		{"+55.44.91111.1111", "5544911111111"},
		{"+39 06 698 1234", "39066981234"},
		{"+1 (202) 555-0100", "12025550100"},
		{"55 0800 123 4567", "5508001234567"},
		{"1234567", "1234567"},
		{"123456789012345", "123456789012345"},
		{"999999999999999@lid", "999999999999999@lid"},
		{"1@lid", "1@lid"},

		{"", ""},
		{"123456", ""},
		{"1234567890123456", ""},
		{"nobody", ""},
		{"@lid", ""},
		{"12a@lid", ""},
		{"5544911111111@c.us", ""},
		{"5544911111111.0", ""},
		{"554491111111.00", ""},
		{"554491111111,0", ""},
		{"5544911111111-0", ""},
		{"5544911111111 (2)", ""},
		{"5.544911111111E+12", ""},
		{"+55 (044) 91111-1111", ""},
		{"55 044 91111-1111", ""},
		{"5504491111111", ""},
		{"+44 (0207) 946 0958", ""},
		{"+49 (0171) 1234567", ""},
		{"+44 (0)20 7946 0958", ""},
		{"044911111111", ""},
		{"00554411111111", ""},
		{"55+4411111111", ""},
		{"٥٥٤٤١١١١١١١١", ""},
	}
	for _, tt := range tests {
		t.Run(tt.phone, func(t *testing.T) {
			t.Parallel()
			got, err := zapi.NormalizePhone(tt.phone)
			api := newMockAPI(succeeding)
			sent := setPhoto(zapi.VisibilityContactBlacklist, zapi.Disallow(tt.phone))(t.Context(), api.client(t))
			assert.Equal(t, tt.want, got)
			if tt.want == "" {
				assertRefused(t, err, "NormalizePhone", "phone", strings.TrimSuffix(tt.phone, "@lid"))
				assert.NotErrorIs(t, err, zapi.ErrInvalidCredentials)
				require.ErrorIs(t, sent, zapi.ErrInvalidArgument)
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			require.NoError(t, sent)
			assert.Contains(t, api.requests()[0].Body, `"phone":"`+tt.want+`"`)
			again, err := zapi.NormalizePhone(got)
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}
