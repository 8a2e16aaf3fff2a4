package zapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func TestDisallowedContactsOnTheWire(t *testing.T) {
	t.Parallel()
	for scope, query := range map[zapi.BlacklistScope]string{
		zapi.BlacklistLastSeen: "lastSeen", zapi.BlacklistPhoto: "photo", zapi.BlacklistDescription: "description", zapi.BlacklistGroupAdd: "groupAdd",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(200, `{"disallowedContacts":["554411111111","999@lid"]}`))
			contacts, err := api.client(t).DisallowedContacts(t.Context(), scope)
			require.NoError(t, err)
			assert.Equal(t, []string{"554411111111", "999@lid"}, contacts)

			requests := api.requests()
			require.Len(t, requests, 1)
			assert.Equal(t, http.MethodGet, requests[0].Method)
			assert.Equal(t, realURL("privacy/disallowed-contacts?type="+query), requests[0].URL)
			assert.Empty(t, requests[0].Body)
			assert.Equal(t, http.Header{
				"Accept":       {"application/json"},
				"Client-Token": {creds.ClientToken},
				"User-Agent":   {"zapi-go/0.1.0"},
			}, requests[0].Header)
		})
	}
}

func TestDisallowedContactsResponses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		body string
		want []string
		kind error
	}{
		{"empty list", `{"disallowedContacts":[]}`, []string{}, nil},
		{"with success beside it", `{"success":true,"disallowedContacts":["5544"]}`, []string{"5544"}, nil},
		{"no list", `{}`, nil, zapi.ErrUnexpectedResponse},
		{"success without a list", `{"success":true}`, nil, zapi.ErrUnexpectedResponse},
		{"null", `{"disallowedContacts":null}`, nil, zapi.ErrUnexpectedResponse},
		{"string", `{"disallowedContacts":"5544"}`, nil, zapi.ErrUnexpectedResponse},
		{"object", `{"disallowedContacts":{"5544":true}}`, nil, zapi.ErrUnexpectedResponse},
		{"number in the list", `{"disallowedContacts":["5544",5544]}`, nil, zapi.ErrUnexpectedResponse},
		{"null in the list", `{"disallowedContacts":["5544",null]}`, nil, zapi.ErrUnexpectedResponse},
		{"list alone", `["5544"]`, nil, zapi.ErrUnexpectedResponse},
		{"key in capitals", `{"DisallowedContacts":[]}`, nil, zapi.ErrUnexpectedResponse},
		{"list twice", `{"disallowedContacts":[],"disallowedContacts":["5544"]}`, nil, zapi.ErrUnexpectedResponse},
		{"error beside a list", `{"error":"busy","disallowedContacts":[]}`, nil, zapi.ErrUnexpectedResponse},
		{"success false beside a list", `{"success":false,"disallowedContacts":[]}`, nil, zapi.ErrRejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			contacts, err := newClient(t, responding(200, tt.body)).DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
			assertKind(t, tt.kind, err)
			assert.Equal(t, tt.want, contacts)
			if tt.want == nil {
				var apiErr *zapi.APIError
				require.ErrorAs(t, err, &apiErr)
			}
		})
	}
}

func TestTensOfThousandsOfContactsFit(t *testing.T) {
	t.Parallel()
	const contacts = 50_000
	body := `{"disallowedContacts":["` + strings.Repeat(`5544911111111","`, contacts-1) + `5544911111111"]}`
	got, err := newClient(t, responding(200, body)).DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
	require.NoError(t, err)
	assert.Len(t, got, contacts)
}

func TestLargeBlacklistIsOneRequest(t *testing.T) {
	t.Parallel()
	const contacts = 20_000
	changes := make([]zapi.BlacklistChange, contacts)
	for i := range changes {
		changes[i] = zapi.Disallow("5544" + strings.Repeat("0", 7-len(strconv.Itoa(i))) + strconv.Itoa(i))
	}
	api := newMockAPI(succeeding)
	require.NoError(t, api.client(t).SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, changes...))
	require.Len(t, api.requests(), 1)
	assert.Equal(t, contacts, strings.Count(api.requests()[0].Body, `"action":"add"`))
}

// listing responds to a read with a list and each POST with success.
func listing(contacts ...string) httpmock.Responder {
	list := `{"disallowedContacts":[]}`
	if len(contacts) > 0 {
		list = `{"disallowedContacts":["` + strings.Join(contacts, `","`) + `"]}`
	}
	return func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet {
			return responding(200, list)(req)
		}
		return succeeding(req)
	}
}

func TestReplaceBlacklist(t *testing.T) {
	t.Parallel()
	const a, b, c, lid = "554411111111", "554422222222", "554433333333", "999999999999999@lid"
	const long, short = "5544991111111", "554491111111" // one Brazilian mobile
	tests := []struct {
		name     string
		listed   []string
		want     []string
		diff     zapi.BlacklistDiff
		wantList string
	}{
		{"nothing to nothing", nil, nil, zapi.BlacklistDiff{}, `[]`},
		{"the same in another order", []string{a, b}, []string{b, a}, zapi.BlacklistDiff{}, `[]`},
		{"the same in a mask and twice", []string{a}, []string{"+55 (44) 1111-1111", a}, zapi.BlacklistDiff{}, `[]`},
		{"add", []string{a}, []string{c, a, "+" + c, b}, zapi.BlacklistDiff{Added: []string{c, b}}, `[{"action":"add","phone":"` + c + `"},{"action":"add","phone":"` + b + `"}]`},
		{"remove", []string{a, b, c}, []string{b}, zapi.BlacklistDiff{Removed: []string{a, c}}, `[{"action":"remove","phone":"` + a + `"},{"action":"remove","phone":"` + c + `"}]`},
		{"clear", []string{a}, []string{}, zapi.BlacklistDiff{Removed: []string{a}}, `[{"action":"remove","phone":"` + a + `"}]`},
		{"removals come first", []string{lid}, []string{a}, zapi.BlacklistDiff{Added: []string{a}, Removed: []string{lid}}, `[{"action":"remove","phone":"` + lid + `"},{"action":"add","phone":"` + a + `"}]`},
		{"a private id stays when it is wanted", []string{lid}, []string{lid}, zapi.BlacklistDiff{}, `[]`},
		{"a listed contact twice, and masked", []string{a, a, "+55 44 1111-1111"}, nil, zapi.BlacklistDiff{Removed: []string{a}}, `[{"action":"remove","phone":"` + a + `"}]`},
		{"blank entries are skipped", []string{"", " ", "\u00a0", a}, []string{b}, zapi.BlacklistDiff{Added: []string{b}, Removed: []string{a}}, `[{"action":"remove","phone":"` + a + `"},{"action":"add","phone":"` + b + `"}]`},
		{"wanted with the ninth digit, listed without", []string{short}, []string{long}, zapi.BlacklistDiff{}, `[]`},
		{"wanted without the ninth digit, listed with", []string{long}, []string{short}, zapi.BlacklistDiff{}, `[]`},
		{"both forms are listed and wanted once", []string{long, short}, []string{short}, zapi.BlacklistDiff{}, `[]`},
		{"both forms are wanted, neither is listed", nil, []string{long, short}, zapi.BlacklistDiff{Added: []string{long}}, `[{"action":"add","phone":"` + long + `"}]`},
		{"both forms are listed and unwanted", []string{long, short}, nil, zapi.BlacklistDiff{Removed: []string{long, short}}, `[{"action":"remove","phone":"` + long + `"},{"action":"remove","phone":"` + short + `"}]`},
		{"removed in the form of the list", []string{short}, []string{a}, zapi.BlacklistDiff{Added: []string{a}, Removed: []string{short}}, `[{"action":"remove","phone":"` + short + `"},{"action":"add","phone":"` + a + `"}]`},
		{"a listed contact of unknown form", []string{"someone@c.us"}, []string{a}, zapi.BlacklistDiff{Added: []string{a}, Removed: []string{"someone@c.us"}}, `[{"action":"remove","phone":"someone@c.us"},{"action":"add","phone":"` + a + `"}]`},
	}
	settings := []struct {
		scope zapi.BlacklistScope
		op    string
		head  string
	}{
		{zapi.BlacklistLastSeen, "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST"`},
		{zapi.BlacklistPhoto, "privacy/photo", `{"visualizationType":"CONTACT_BLACKLIST"`},
		{zapi.BlacklistDescription, "privacy/description", `{"visualizationType":"CONTACT_BLACKLIST"`},
		{zapi.BlacklistGroupAdd, "privacy/group-add", `{"type":"CONTACT_BLACKLIST"`},
	}
	for _, tt := range tests {
		for _, setting := range settings {
			t.Run(tt.name+" of "+string(setting.scope), func(t *testing.T) {
				t.Parallel()
				api := newMockAPI(listing(tt.listed...))
				diff, err := api.client(t).ReplaceBlacklist(t.Context(), setting.scope, tt.want)
				require.NoError(t, err)
				assert.Equal(t, tt.diff, diff)

				requests := api.requests()
				require.Len(t, requests, 2)
				assert.Equal(t, http.MethodGet, requests[0].Method)
				assert.Equal(t, realURL("privacy/disallowed-contacts?type="+string(setting.scope)), requests[0].URL)
				assert.Equal(t, http.MethodPost, requests[1].Method)
				assert.Equal(t, realURL(setting.op), requests[1].URL)
				assert.Equal(t, setting.head+`,"contactsBlacklist":`+tt.wantList+`}`, requests[1].Body)
			})
		}
	}
}

func TestWrongPhonesOfAList(t *testing.T) {
	t.Parallel()
	const right, rule, zero = "554411111111", "must be 7 to 15 digits, country code first, or digits@lid", "must begin with a country code, which never begins with 0"
	policy := func(scope zapi.BlacklistScope, except ...string) caller {
		audience := &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: except}
		return func(ctx context.Context, c *zapi.Client) error {
			if scope == zapi.BlacklistPhoto {
				return c.Apply(ctx, zapi.Policy{Photo: audience})
			}
			return c.Apply(ctx, zapi.Policy{LastSeen: audience})
		}
	}
	changes := func(phones ...string) caller {
		list := make([]zapi.BlacklistChange, len(phones))
		for i, phone := range phones {
			list[i] = zapi.Disallow(phone)
		}
		return setPhoto(zapi.VisibilityContactBlacklist, list...)
	}
	wrong := slices.Repeat([]string{"4444"}, 10)
	ten := func(element string) string {
		fields := make([]string, 10)
		for i := range fields {
			fields[i] = fmt.Sprintf(element, i)
		}
		return strings.Join(fields, ", ")
	}
	tests := []struct {
		name   string
		call   caller
		field  string
		reason string
	}{
		{"one of want", replaceBlacklist(zapi.BlacklistPhoto, right, "4444"), "want[1]", rule},
		{"two of want", replaceBlacklist(zapi.BlacklistPhoto, "4444", right, "4444"), "want[0], want[2]", rule},
		{"reasons are not repeated", replaceBlacklist(zapi.BlacklistPhoto, "4444", "04411111111", "4444", "04422222222"), "want[0], want[1], want[2], want[3]", rule + "; " + zero},
		{"ten of want", replaceBlacklist(zapi.BlacklistPhoto, append(wrong, right)...), ten("want[%d]"), rule},
		{"eleven of want", replaceBlacklist(zapi.BlacklistPhoto, append(wrong, right, "4444")...), ten("want[%d]") + " and 1 more", rule},
		{"thirteen of want, the reasons of those that are named", replaceBlacklist(zapi.BlacklistPhoto, append(wrong, "04411111111", "4444", "4444")...), ten("want[%d]") + " and 3 more", rule},
		{"two changes", changes(right, "4444", right, "04411111111"), "changes[1].phone, changes[3].phone", rule + "; " + zero},
		{"thirteen changes", changes(append(wrong, "4444", right, "4444", "4444")...), ten("changes[%d].phone") + " and 3 more", rule},
		{"a contradiction beside them", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow(right), zapi.Disallow("4444"), zapi.Allow(right)), "changes[1].phone, changes[2].phone", rule + "; repeats the contact of changes[0] with the other action"},
		{"an unknown action comes first, and alone", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("4444"), zapi.BlacklistChange{Action: "ban", Phone: "4444"}), "changes[1].action", "must be one of add, remove"},
		{"groups", setGroupAdd(zapi.GroupAddContactBlacklist, zapi.Allow("4444"), zapi.Allow("4444")), "changes[0].phone, changes[1].phone", rule},
		{"two of a policy", policy(zapi.BlacklistLastSeen, right, "4444", "4444"), "lastSeen.except[1], lastSeen.except[2]", rule},
		{"thirteen of a policy", policy(zapi.BlacklistPhoto, append(wrong, "4444", "4444", "4444")...), ten("photo.except[%d]") + " and 3 more", rule},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing())
			var validationErr *zapi.ValidationError
			require.ErrorAs(t, tt.call(t.Context(), api.client(t)), &validationErr)
			assert.Equal(t, tt.field, validationErr.Field)
			assert.Equal(t, tt.reason, validationErr.Reason)
			assert.NotContains(t, validationErr.Error(), "4444")
			assert.Empty(t, api.requests())
		})
	}
}

func TestReplaceBlacklistFails(t *testing.T) {
	t.Parallel()
	t.Run("reading", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(responding(403, ""))
		diff, err := api.client(t).ReplaceBlacklist(t.Context(), zapi.BlacklistPhoto, []string{"554411111111"})
		require.EqualError(t, err, "zapi: privacy/disallowed-contacts: 403 Forbidden")
		assert.Zero(t, diff)
		assert.Len(t, api.requests(), 1, "nothing is changed by guessing at the list")
	})
	t.Run("writing", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodGet {
				return listing()(req)
			}
			return responding(200, `{"success":false}`)(req)
		})
		diff, err := api.client(t).ReplaceBlacklist(t.Context(), zapi.BlacklistPhoto, []string{"554411111111"})
		require.ErrorIs(t, err, zapi.ErrRejected)
		require.ErrorContains(t, err, "zapi: privacy/photo: ")
		assert.Zero(t, diff)
	})
}

// mask writes a Brazilian phone as people do, with or without its ninth digit.
func mask(r *rand.Rand, contact string) string {
	if strings.HasSuffix(contact, "@lid") {
		return contact
	}
	subscriber := contact[4:]
	if subscriber[0] == '9' && r.IntN(2) == 0 {
		subscriber = "9" + subscriber
	}
	masks := []string{"55%s%s%s", "+55%s%s%s", "+55 (%s) %s-%s", "+55 %s %s-%s", "55.%s.%s.%s", "(55) %s %s%s", "+55\u00a0%s\u00a0%s\u2011%s"}
	half := len(subscriber) - 4
	return fmt.Sprintf(masks[r.IntN(len(masks))], contact[2:4], subscriber[:half], subscriber[half:])
}

// withoutNinthDigit returns contacts with the Brazilian mobiles in their shorter form, sorted.
func withoutNinthDigit(contacts []string) []string {
	short := make([]string, len(contacts))
	for i, contact := range contacts {
		if strings.HasPrefix(contact, "554499") && len(contact) == 13 {
			contact = "5544" + contact[5:]
		}
		short[i] = contact
	}
	slices.Sort(short)
	return short
}

// Whatever the server has and whatever is wanted, in any order, mask, form and number: afterwards the list is the wanted set.
func TestReplaceBlacklistReachesTheWantedSet(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	first, err := server.Client()
	require.NoError(t, err)
	scopes := []zapi.BlacklistScope{zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			client, err := first.ForInstance(server.AddInstance())
			require.NoError(t, err)
			for range 5 {
				scope := scopes[r.IntN(len(scopes))]
				var wanted, written []string
				for range r.IntN(50) {
					var contact string
					switch r.IntN(5) {
					case 0:
						contact = fmt.Sprintf("%d@lid", r.IntN(10))
					case 1, 2:
						contact = fmt.Sprintf("55449%07d", r.IntN(60)) // a mobile, without its ninth digit
					default:
						contact = fmt.Sprintf("55443%07d", r.IntN(60))
					}
					wanted = append(wanted, contact)
					for range 1 + r.IntN(2) {
						written = append(written, mask(r, contact))
					}
				}
				slices.Sort(wanted)
				wanted = slices.Compact(wanted)
				r.Shuffle(len(written), func(i, j int) { written[i], written[j] = written[j], written[i] })

				before, err := client.DisallowedContacts(t.Context(), scope)
				require.NoError(t, err)
				diff, err := client.ReplaceBlacklist(t.Context(), scope, written)
				require.NoError(t, err)
				after, err := client.DisallowedContacts(t.Context(), scope)
				require.NoError(t, err)
				assert.ElementsMatch(t, wanted, withoutNinthDigit(after))
				assert.Len(t, after, len(before)+len(diff.Added)-len(diff.Removed), "the difference is what happened")
				assert.Subset(t, before, diff.Removed, "removals are in the form of the list")

				again, err := client.ReplaceBlacklist(t.Context(), scope, written)
				require.NoError(t, err)
				assert.Zero(t, again)
				assert.Equal(t, zapi.VisibilityContactBlacklist, audience(server.Settings(client.InstanceID()), scope).Visibility)
			}
		})
	}
}

func audience(settings zapitest.Settings, scope zapi.BlacklistScope) zapitest.Audience {
	return map[zapi.BlacklistScope]zapitest.Audience{
		zapi.BlacklistLastSeen:    settings.LastSeen,
		zapi.BlacklistPhoto:       settings.Photo,
		zapi.BlacklistDescription: settings.Description,
		zapi.BlacklistGroupAdd:    settings.GroupAdd,
	}[scope]
}
