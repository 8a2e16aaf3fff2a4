package zapi_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestCallsOnTheWire(t *testing.T) {
	t.Parallel()
	const masked = "+55 (44) 9.1111-1111"
	tests := []struct {
		name     string
		call     func(context.Context, *zapi.Client) error
		wantPath string
		wantBody string
	}{
		{"last seen for all", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityAll)
		}, "privacy/last-seen", `{"visualizationType":"ALL"}`},
		{"last seen for none", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityNone)
		}, "privacy/last-seen", `{"visualizationType":"NONE"}`},
		{"last seen for contacts", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityContacts)
		}, "privacy/last-seen", `{"visualizationType":"CONTACTS"}`},
		{"last seen back to its list", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityContactBlacklist)
		}, "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[]}`},
		{"last seen with changes", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"), zapi.Allow("554422222222"))
		}, "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554411111111"},{"action":"remove","phone":"554422222222"}]}`},
		{"last seen with a masked phone and a private id", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(masked), zapi.Allow("999999999999999@lid"))
		}, "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"},{"action":"remove","phone":"999999999999999@lid"}]}`},
		{"the same change twice is sent once, in its first place", func(ctx context.Context, c *zapi.Client) error {
			return c.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(masked), zapi.Allow("554422222222"), zapi.Disallow("5544911111111"))
		}, "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"},{"action":"remove","phone":"554422222222"}]}`},
		{"photo for all", func(ctx context.Context, c *zapi.Client) error {
			return c.SetPhotoVisibility(ctx, zapi.VisibilityAll)
		}, "privacy/photo", `{"visualizationType":"ALL"}`},
		{"photo for none", func(ctx context.Context, c *zapi.Client) error {
			return c.SetPhotoVisibility(ctx, zapi.VisibilityNone)
		}, "privacy/photo", `{"visualizationType":"NONE"}`},
		{"photo for contacts", func(ctx context.Context, c *zapi.Client) error {
			return c.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
		}, "privacy/photo", `{"visualizationType":"CONTACTS"}`},
		{"photo with changes", func(ctx context.Context, c *zapi.Client) error {
			return c.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist, zapi.Allow("554422222222"))
		}, "privacy/photo", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"remove","phone":"554422222222"}]}`},
		{"description for all", func(ctx context.Context, c *zapi.Client) error {
			return c.SetDescriptionVisibility(ctx, zapi.VisibilityAll)
		}, "privacy/description", `{"visualizationType":"ALL"}`},
		{"description for none", func(ctx context.Context, c *zapi.Client) error {
			return c.SetDescriptionVisibility(ctx, zapi.VisibilityNone)
		}, "privacy/description", `{"visualizationType":"NONE"}`},
		{"description for contacts", func(ctx context.Context, c *zapi.Client) error {
			return c.SetDescriptionVisibility(ctx, zapi.VisibilityContacts)
		}, "privacy/description", `{"visualizationType":"CONTACTS"}`},
		{"description with changes", func(ctx context.Context, c *zapi.Client) error {
			return c.SetDescriptionVisibility(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("554422222222"))
		}, "privacy/description", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554422222222"}]}`},
		{"group add for all", func(ctx context.Context, c *zapi.Client) error {
			return c.SetGroupAddPermission(ctx, zapi.GroupAddAll)
		}, "privacy/group-add", `{"type":"ALL"}`},
		{"group add for contacts", func(ctx context.Context, c *zapi.Client) error {
			return c.SetGroupAddPermission(ctx, zapi.GroupAddContacts)
		}, "privacy/group-add", `{"type":"CONTACTS"}`},
		{"group add back to its list", func(ctx context.Context, c *zapi.Client) error {
			return c.SetGroupAddPermission(ctx, zapi.GroupAddContactBlacklist)
		}, "privacy/group-add", `{"type":"CONTACT_BLACKLIST","contactsBlacklist":[]}`},
		{"group add with changes", func(ctx context.Context, c *zapi.Client) error {
			return c.SetGroupAddPermission(ctx, zapi.GroupAddContactBlacklist, zapi.Disallow(masked))
		}, "privacy/group-add", `{"type":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"}]}`},
		{"read receipts on", func(ctx context.Context, c *zapi.Client) error {
			return c.SetReadReceipts(ctx, zapi.ReadReceiptsEnable)
		}, "privacy/read-receipts?value=enable", ""},
		{"read receipts off", func(ctx context.Context, c *zapi.Client) error {
			return c.SetReadReceipts(ctx, zapi.ReadReceiptsDisable)
		}, "privacy/read-receipts?value=disable", ""},
		{"messages for a day", func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, zapi.MessageDuration24Hours)
		}, "privacy/messages-duration?value=hours24", ""},
		{"messages for a week", func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, zapi.MessageDuration7Days)
		}, "privacy/messages-duration?value=days7", ""},
		{"messages for a quarter", func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, zapi.MessageDuration90Days)
		}, "privacy/messages-duration?value=days90", ""},
		{"messages that stay", func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, zapi.MessageDurationDisable)
		}, "privacy/messages-duration?value=disable", ""},
		{"online for all", func(ctx context.Context, c *zapi.Client) error {
			return c.SetOnlineVisibility(ctx, zapi.OnlineAll)
		}, "privacy/online", `{"visualizationType":"ALL"}`},
		{"online as last seen", func(ctx context.Context, c *zapi.Client) error {
			return c.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen)
		}, "privacy/online", `{"visualizationType":"SAME_LAST_SEEN"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			require.NoError(t, tt.call(t.Context(), api.client(t)))

			requests := api.requests()
			require.Len(t, requests, 1)
			assert.Equal(t, http.MethodPost, requests[0].Method)
			assert.Equal(t, realURL(tt.wantPath), requests[0].URL)
			assert.Equal(t, tt.wantBody, requests[0].Body)
			assert.Equal(t, http.Header{
				"Accept":       {"application/json"},
				"Client-Token": {creds.ClientToken},
				"Content-Type": {"application/json"},
				"User-Agent":   {"zapi-go/0.1.0"},
			}, requests[0].Header)
		})
	}
}

func TestCallsRefuseBeforeSending(t *testing.T) {
	t.Parallel()
	const phone = "554411111111"
	lastSeen := func(v zapi.Visibility, changes ...zapi.BlacklistChange) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error { return c.SetLastSeen(ctx, v, changes...) }
	}
	photo := func(v zapi.Visibility, changes ...zapi.BlacklistChange) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error { return c.SetPhotoVisibility(ctx, v, changes...) }
	}
	online := func(v zapi.OnlineVisibility) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error { return c.SetOnlineVisibility(ctx, v) }
	}
	groupAdd := func(p zapi.GroupAddPermission, changes ...zapi.BlacklistChange) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error { return c.SetGroupAddPermission(ctx, p, changes...) }
	}
	contacts := func(scope zapi.BlacklistScope) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error {
			list, err := c.DisallowedContacts(ctx, scope)
			if list != nil {
				return nil
			}
			return err
		}
	}
	replace := func(scope zapi.BlacklistScope, want ...string) func(context.Context, *zapi.Client) error {
		return func(ctx context.Context, c *zapi.Client) error {
			_, err := c.ReplaceBlacklist(ctx, scope, want)
			return err
		}
	}
	const (
		scopeText      = "scope: must be one of lastSeen, photo, description, groupAdd"
		visibilityText = "visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST"
		phoneText      = "must be 7 to 15 digits, country code first, or digits@lid"
		changesText    = "changes: go with CONTACT_BLACKLIST only"
	)
	tests := []struct {
		name string
		call func(context.Context, *zapi.Client) error
		want string
	}{
		{"last seen, empty value", lastSeen(""), "privacy/last-seen: " + visibilityText},
		{"last seen, lower case", lastSeen("all"), "privacy/last-seen: " + visibilityText},
		{"last seen, a value of online", lastSeen("SAME_LAST_SEEN"), "privacy/last-seen: " + visibilityText},
		{"photo, unknown value", photo("EVERYBODY"), "privacy/photo: " + visibilityText},
		{"online, unknown value", online("NONE"), "privacy/online: visibility: must be one of ALL, SAME_LAST_SEEN"},
		{"description, unknown value", func(ctx context.Context, c *zapi.Client) error {
			return c.SetDescriptionVisibility(ctx, "RECADO")
		}, "privacy/description: " + visibilityText},
		{"group add for no one", groupAdd("NONE"), "privacy/group-add: permission: must be one of ALL, CONTACTS, CONTACT_BLACKLIST"},
		{"group add, changes with ALL", groupAdd(zapi.GroupAddAll, zapi.Allow(phone)), "privacy/group-add: " + changesText},
		{"group add, malformed phone", groupAdd(zapi.GroupAddContactBlacklist, zapi.Allow("")), "privacy/group-add: changes[0].phone: " + phoneText},
		{"read receipts, unknown value", func(ctx context.Context, c *zapi.Client) error {
			return c.SetReadReceipts(ctx, "true")
		}, "privacy/read-receipts: readReceipts: must be one of enable, disable"},
		{"message duration, unknown value", func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, "hours24&value=disable")
		}, "privacy/messages-duration: messageDuration: must be one of hours24, days7, days90, disable"},
		{"contacts of an unknown scope", contacts("last-seen"), "privacy/disallowed-contacts: " + scopeText},
		{"contacts of no scope", contacts(""), "privacy/disallowed-contacts: " + scopeText},
		{"replace, unknown scope", replace("online", phone), "privacy/disallowed-contacts: " + scopeText},
		{"replace, malformed phone", replace(zapi.BlacklistPhoto, phone, phone, "44"), "privacy/disallowed-contacts: want[2]: " + phoneText},
		{"changes with ALL", lastSeen(zapi.VisibilityAll, zapi.Disallow(phone)), "privacy/last-seen: " + changesText},
		{"changes with NONE", lastSeen(zapi.VisibilityNone, zapi.Allow(phone)), "privacy/last-seen: " + changesText},
		{"changes with CONTACTS", photo(zapi.VisibilityContacts, zapi.Disallow(phone)), "privacy/photo: " + changesText},
		{"unknown action", lastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow(phone), zapi.BlacklistChange{Action: "ban", Phone: phone}),
			"privacy/last-seen: changes[1].action: must be one of add, remove"},
		{"no action", lastSeen(zapi.VisibilityContactBlacklist, zapi.BlacklistChange{Phone: phone}),
			"privacy/last-seen: changes[0].action: must be one of add, remove"},
		{"malformed phone", photo(zapi.VisibilityContactBlacklist, zapi.Disallow(phone), zapi.Disallow("44 CALL-ME")),
			"privacy/photo: changes[1].phone: " + phoneText},
		{"a contact added and removed", lastSeen(zapi.VisibilityContactBlacklist, zapi.Allow("554422222222"), zapi.Disallow(phone), zapi.Allow("+55 44 1111-1111")),
			"privacy/last-seen: changes[2].phone: names the contact of changes[1]; a contact is added or removed, not both"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			err := tt.call(t.Context(), api.client(t))

			require.EqualError(t, err, "zapi: "+tt.want)
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			var validationErr *zapi.ValidationError
			require.ErrorAs(t, err, &validationErr)
			assert.Equal(t, tt.want, validationErr.Op+": "+validationErr.Field+": "+validationErr.Reason)
			assert.NotContains(t, err.Error(), phone)
			assert.Empty(t, api.requests())
		})
	}
}

// A POST without a body still says that it is JSON, and that it is empty rather than chunked.
func TestBodylessPostOnTheNetwork(t *testing.T) {
	t.Parallel()
	for _, call := range []func(context.Context, *zapi.Client) error{
		func(ctx context.Context, c *zapi.Client) error {
			return c.SetReadReceipts(ctx, zapi.ReadReceiptsEnable)
		},
		func(ctx context.Context, c *zapi.Client) error {
			return c.SetMessageDuration(ctx, zapi.MessageDurationDisable)
		},
	} {
		var seen *http.Request
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			seen = r
			_, _ = io.WriteString(w, `{"success":true}`)
		})
		require.NoError(t, call(t.Context(), client))
		assert.Equal(t, []string{"0"}, seen.Header["Content-Length"])
		assert.Equal(t, []string{"application/json"}, seen.Header["Content-Type"])
		assert.Empty(t, seen.TransferEncoding)
	}
}

func TestDisallowedContactsOnTheWire(t *testing.T) {
	t.Parallel()
	for scope, query := range map[zapi.BlacklistScope]string{
		zapi.BlacklistLastSeen: "lastSeen", zapi.BlacklistPhoto: "photo", zapi.BlacklistDescription: "description", zapi.BlacklistGroupAdd: "groupAdd",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(answering(200, `{"disallowedContacts":["554411111111","999@lid"]}`))
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

func TestDisallowedContactsAnswers(t *testing.T) {
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
		{"error beside a list", `{"error":"busy","disallowedContacts":[]}`, nil, zapi.ErrUnexpectedResponse},
		{"success false beside a list", `{"success":false,"disallowedContacts":[]}`, nil, zapi.ErrRejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			contacts, err := newClient(t, answering(200, tt.body)).DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
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
	got, err := newClient(t, answering(200, body)).DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
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
		{"no-break space", "5544\u00a011111111", ""},
		{"slash", "5544/11111111", ""},
		{"chat id", "554411111111@c.us", ""},
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
