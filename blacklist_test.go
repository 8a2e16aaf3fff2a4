package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
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

func TestPhones(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		phone string
		want  string // "" where it is refused
	}{
		{"digits", "554411111111", "554411111111"},
		{"every mark", "+55 (44) 9.1111-1111", "5544911111111"},
		{"shortest", "1234567", "1234567"},
		{"longest", "123456789012345", "123456789012345"},
		{"private id", "999999999999999@lid", "999999999999999@lid"},
		{"long private id", "12345678901234567890@lid", "12345678901234567890@lid"},
		{"empty", "", ""},
		{"marks only", "+ - . ( )", ""},
		{"too short", "123456", ""},
		{"too long", "1234567890123456", ""},
		{"letters", "5544CALLME1", ""},
		{"Arabic digits", "٥٥٤٤١١١١١١١١", ""},
		{"full-width digits", "５５４４１１１１１１１１", ""},
		{"tab", "5544\t11111111", ""},
		{"newline", "554411111111\n", ""},
		{"no-break and narrow spaces", "55\u00a044\u202f1111\u20091111", "554411111111"},
		{"dashes", "55\u201044\u201111\u201211\u201311\u201411\u2015", "554411111111"},
		{"direction marks", "\u202a+55 44 1111-1111\u202c\u200e\u200f\u2066\u2069", "554411111111"},
		{"zero-width space", "5544\u200b11111111", ""},
		{"leading zeros", "0055 44 1111-1111", ""},
		{"international prefix", "011 55 44 1111-1111", ""},
		{"zeros", "00000000", ""},
		{"trunk prefix in parentheses", "+44 (0)20 7946 0018", ""},
		{"trunk prefix in parentheses with spaces", "+44 ( 0 ) 20 7946 0018", ""},
		{"area code in parentheses that begins with 0", "+55 (044) 1111-1111", "5504411111111"},
		{"plus in parentheses", "(+55) 44 1111-1111", "554411111111"},
		{"plus in the middle", "55+4411111111", ""},
		{"plus twice", "++554411111111", ""},
		{"plus behind", "554411111111+", ""},
		{"two phones", "+5544111111 +5544222", ""},
		{"two phones and a comma", "5544111111,5544222", ""},
		{"slash", "5544/11111111", ""},
		{"chat id", "554411111111@c.us", ""},
		{"private id of 21 digits", "123456789012345678901@lid", ""},
		{"private id without digits", "@lid", ""},
		{"private id with marks", "+999 999@lid", ""},
		{"private id in capitals", "999999999999999@LID", ""},
		{"private id twice", "999@lid@lid", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			err := api.client(t).SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(tt.phone))
			if tt.want == "" {
				require.ErrorIs(t, err, zapi.ErrInvalidArgument)
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			require.Len(t, api.requests(), 1)
			assert.Equal(t, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"`+tt.want+`"}]}`, api.requests()[0].Body)
		})
	}
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

// mask writes a phone as people do.
func mask(r *rand.Rand, phone string) string {
	if strings.HasSuffix(phone, "@lid") {
		return phone
	}
	masked := new(strings.Builder)
	if r.IntN(2) == 0 {
		masked.WriteByte('+')
	}
	for _, digit := range phone {
		if r.IntN(3) == 0 {
			masked.WriteString([]string{"-", ".", " ", ")", "\u00a0"}[r.IntN(5)])
		}
		masked.WriteRune(digit)
	}
	return masked.String()
}

// Whatever the server has and whatever is wanted, in any order, mask and number: afterwards the list is the wanted set.
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
					contact := fmt.Sprintf("5544%08d", r.IntN(60))
					if r.IntN(5) == 0 {
						contact = fmt.Sprintf("%d@lid", r.IntN(10))
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
				assert.ElementsMatch(t, wanted, after)
				assert.Len(t, after, len(before)+len(diff.Added)-len(diff.Removed), "the difference is what happened")

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

func TestPhoneParser(t *testing.T) {
	t.Parallel()
	brazilian := zapi.WithPhoneParser(func(phone string) (string, error) {
		if strings.Contains(phone, "?") {
			return "", errors.New("cannot parse " + phone)
		}
		if !strings.HasPrefix(phone, "+") {
			phone = "+55" + phone
		}
		return phone, nil
	})
	tests := []struct {
		name string
		call caller
		want string // the phones sent, or the error
	}{
		{"changes", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("(44) 91111-1111"), zapi.Allow("+44 20 7946 0018")), "5544911111111 442079460018"},
		{"changes of groups", setGroupAdd(zapi.GroupAddContactBlacklist, zapi.Disallow("(44) 91111-1111")), "5544911111111"},
		{"the same contact in two forms", setPhoto(zapi.VisibilityContactBlacklist, zapi.Disallow("(44) 91111-1111"), zapi.Disallow("+55 44 91111-1111")), "5544911111111"},
		{"ReplaceBlacklist", replaceBlacklist(zapi.BlacklistPhoto, "(44) 91111-1111"), "5544911111111"},
		{"private ids are not parsed", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("999@lid")), "999@lid"},
		{"its error quotes no phone", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("91111?")), "changes[0].phone: is refused by the parser given to WithPhoneParser"},
		{"its error in ReplaceBlacklist", replaceBlacklist(zapi.BlacklistPhoto, "91111?"), "want[0]: is refused by the parser given to WithPhoneParser"},
		{"its result is checked", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("+1")), "changes[0].phone: must be 7 to 15 digits, country code first, or digits@lid"},
		{"a policy is international", func(ctx context.Context, c *zapi.Client) error {
			return c.Apply(ctx, zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"44 2079460018"}}})
		}, "442079460018"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing())
			err := tt.call(t.Context(), api.client(t, brazilian))
			if strings.Contains(tt.want, ":") {
				require.ErrorContains(t, err, tt.want)
				require.ErrorIs(t, err, zapi.ErrInvalidArgument)
				assert.NotContains(t, err.Error(), "91111")
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			var phones []string
			for _, match := range regexp.MustCompile(`"phone":"(.*?)"`).FindAllStringSubmatch(api.requests()[len(api.requests())-1].Body, -1) {
				phones = append(phones, match[1])
			}
			assert.Equal(t, tt.want, strings.Join(phones, " "))
		})
	}
}
