package zapi_test

import (
	"context"
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
	const (
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
