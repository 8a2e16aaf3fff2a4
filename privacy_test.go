package zapi_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// A caller makes one call.
type caller func(context.Context, *zapi.Client) error

func setLastSeen(v zapi.Visibility, changes ...zapi.BlacklistChange) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetLastSeen(ctx, v, changes...) }
}

func setPhoto(v zapi.Visibility, changes ...zapi.BlacklistChange) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetPhotoVisibility(ctx, v, changes...) }
}

func setOnlineTo(v zapi.OnlineVisibility) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetOnlineVisibility(ctx, v) }
}

func setGroupAdd(p zapi.GroupAddPermission, changes ...zapi.BlacklistChange) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetGroupAddPermission(ctx, p, changes...) }
}

func getContacts(scope zapi.BlacklistScope) caller {
	return func(ctx context.Context, c *zapi.Client) error {
		_, err := c.DisallowedContacts(ctx, scope)
		return err
	}
}

func replaceBlacklist(scope zapi.BlacklistScope, want ...string) caller {
	return func(ctx context.Context, c *zapi.Client) error {
		_, err := c.ReplaceBlacklist(ctx, scope, want)
		return err
	}
}

func setDescription(v zapi.Visibility, changes ...zapi.BlacklistChange) caller {
	return func(ctx context.Context, c *zapi.Client) error {
		return c.SetDescriptionVisibility(ctx, v, changes...)
	}
}

func setReadReceipts(r zapi.ReadReceipts) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetReadReceipts(ctx, r) }
}

func setMessageDuration(d zapi.MessageDuration) caller {
	return func(ctx context.Context, c *zapi.Client) error { return c.SetMessageDuration(ctx, d) }
}

func TestCallsOnTheWire(t *testing.T) {
	t.Parallel()
	const masked = "+55 (44) 9.1111-1111"
	tests := []struct {
		name     string
		call     caller
		wantPath string
		wantBody string
	}{
		{"last seen for all", setLastSeen(zapi.VisibilityAll), "privacy/last-seen", `{"visualizationType":"ALL"}`},
		{"last seen for none", setLastSeen(zapi.VisibilityNone), "privacy/last-seen", `{"visualizationType":"NONE"}`},
		{"last seen for contacts", setLastSeen(zapi.VisibilityContacts), "privacy/last-seen", `{"visualizationType":"CONTACTS"}`},
		{"last seen back to its list", setLastSeen(zapi.VisibilityContactBlacklist), "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[]}`},
		{"last seen with changes", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"), zapi.Allow("554422222222")), "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554411111111"},{"action":"remove","phone":"554422222222"}]}`},
		{"last seen with a masked phone and a private id", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow(masked), zapi.Allow("999999999999999@lid")), "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"},{"action":"remove","phone":"999999999999999@lid"}]}`},
		{"the same change twice is sent once, in its first place", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow(masked), zapi.Allow("554422222222"), zapi.Disallow("5544911111111")), "privacy/last-seen", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"},{"action":"remove","phone":"554422222222"}]}`},
		{"photo for all", setPhoto(zapi.VisibilityAll), "privacy/photo", `{"visualizationType":"ALL"}`},
		{"photo for none", setPhoto(zapi.VisibilityNone), "privacy/photo", `{"visualizationType":"NONE"}`},
		{"photo for contacts", setPhoto(zapi.VisibilityContacts), "privacy/photo", `{"visualizationType":"CONTACTS"}`},
		{"photo with changes", setPhoto(zapi.VisibilityContactBlacklist, zapi.Allow("554422222222")), "privacy/photo", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"remove","phone":"554422222222"}]}`},
		{"description for all", setDescription(zapi.VisibilityAll), "privacy/description", `{"visualizationType":"ALL"}`},
		{"description for none", setDescription(zapi.VisibilityNone), "privacy/description", `{"visualizationType":"NONE"}`},
		{"description for contacts", setDescription(zapi.VisibilityContacts), "privacy/description", `{"visualizationType":"CONTACTS"}`},
		{"description with changes", setDescription(zapi.VisibilityContactBlacklist, zapi.Disallow("554422222222")), "privacy/description", `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554422222222"}]}`},
		{"group add for all", setGroupAdd(zapi.GroupAddAll), "privacy/group-add", `{"type":"ALL"}`},
		{"group add for contacts", setGroupAdd(zapi.GroupAddContacts), "privacy/group-add", `{"type":"CONTACTS"}`},
		{"group add back to its list", setGroupAdd(zapi.GroupAddContactBlacklist), "privacy/group-add", `{"type":"CONTACT_BLACKLIST","contactsBlacklist":[]}`},
		{"group add with changes", setGroupAdd(zapi.GroupAddContactBlacklist, zapi.Disallow(masked)), "privacy/group-add", `{"type":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"5544911111111"}]}`},
		{"read receipts on", setReadReceipts(zapi.ReadReceiptsEnable), "privacy/read-receipts?value=enable", ""},
		{"read receipts off", setReadReceipts(zapi.ReadReceiptsDisable), "privacy/read-receipts?value=disable", ""},
		{"messages for a day", setMessageDuration(zapi.MessageDuration24Hours), "privacy/messages-duration?value=hours24", ""},
		{"messages for a week", setMessageDuration(zapi.MessageDuration7Days), "privacy/messages-duration?value=days7", ""},
		{"messages for a quarter", setMessageDuration(zapi.MessageDuration90Days), "privacy/messages-duration?value=days90", ""},
		{"messages that stay", setMessageDuration(zapi.MessageDurationDisable), "privacy/messages-duration?value=disable", ""},
		{"online for all", setOnlineTo(zapi.OnlineAll), "privacy/online", `{"visualizationType":"ALL"}`},
		{"online as last seen", setOnlineTo(zapi.OnlineSameAsLastSeen), "privacy/online", `{"visualizationType":"SAME_LAST_SEEN"}`},
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
	const (
		scopeText      = "scope: must be one of lastSeen, photo, description, groupAdd"
		visibilityText = "visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST"
		phoneText      = "must be 7 to 15 digits, country code first, or digits@lid"
		changesText    = "changes: are allowed only with CONTACT_BLACKLIST"
	)
	tests := []struct {
		name string
		call caller
		want string
	}{
		{"last seen, empty value", setLastSeen(""), "privacy/last-seen: " + visibilityText},
		{"last seen, lower case", setLastSeen("all"), "privacy/last-seen: " + visibilityText + `, not "all"`},
		{"last seen, a value of online", setLastSeen("SAME_LAST_SEEN"), "privacy/last-seen: " + visibilityText + `, not "SAME_LAST_SEEN"`},
		{"photo, unknown value", setPhoto("EVERYBODY"), "privacy/photo: " + visibilityText + `, not "EVERYBODY"`},
		{"online, unknown value", setOnlineTo("NONE"), `privacy/online: visibility: must be one of ALL, SAME_LAST_SEEN, not "NONE"`},
		{"description, unknown value", setDescription("RECADO"), "privacy/description: " + visibilityText + `, not "RECADO"`},
		{"group add for no one", setGroupAdd("NONE"), `privacy/group-add: permission: must be one of ALL, CONTACTS, CONTACT_BLACKLIST, not "NONE"`},
		{"group add, changes with ALL", setGroupAdd(zapi.GroupAddAll, zapi.Allow(phone)), "privacy/group-add: " + changesText},
		{"group add, malformed phone", setGroupAdd(zapi.GroupAddContactBlacklist, zapi.Allow("")), "privacy/group-add: changes[0].phone: " + phoneText},
		{"read receipts, unknown value", setReadReceipts("true"), `privacy/read-receipts: readReceipts: must be one of enable, disable, not "true"`},
		{"message duration, unknown value", setMessageDuration("hours24&value=disable"), "privacy/messages-duration: messageDuration: must be one of hours24, days7, days90, disable"},
		{"contacts of an unknown scope", getContacts("last-seen"), "privacy/disallowed-contacts: " + scopeText + `, not "last-seen"`},
		{"message duration, a phone", setMessageDuration(phone), "privacy/messages-duration: messageDuration: must be one of hours24, days7, days90, disable"},
		{"contacts of no scope", getContacts(""), "privacy/disallowed-contacts: " + scopeText},
		{"replace, unknown scope", replaceBlacklist("online", phone), "privacy/disallowed-contacts: " + scopeText + `, not "online"`},
		{"replace, malformed phone", replaceBlacklist(zapi.BlacklistPhoto, phone, phone, "44"), "privacy/disallowed-contacts: want[2]: " + phoneText},
		{"changes with ALL", setLastSeen(zapi.VisibilityAll, zapi.Disallow(phone)), "privacy/last-seen: " + changesText},
		{"changes with NONE", setLastSeen(zapi.VisibilityNone, zapi.Allow(phone)), "privacy/last-seen: " + changesText},
		{"changes with CONTACTS", setPhoto(zapi.VisibilityContacts, zapi.Disallow(phone)), "privacy/photo: " + changesText},
		{"unknown action", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow(phone), zapi.BlacklistChange{Action: "ban", Phone: phone}),
			"privacy/last-seen: changes[1].action: must be one of add, remove"},
		{"no action", setLastSeen(zapi.VisibilityContactBlacklist, zapi.BlacklistChange{Phone: phone}),
			"privacy/last-seen: changes[0].action: must be one of add, remove"},
		{"malformed phone", setPhoto(zapi.VisibilityContactBlacklist, zapi.Disallow(phone), zapi.Disallow("44 CALL-ME")),
			"privacy/photo: changes[1].phone: " + phoneText},
		{"a contact added and removed", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Allow("554422222222"), zapi.Disallow(phone), zapi.Allow("+55 44 1111-1111")),
			"privacy/last-seen: changes[2].phone: repeats the contact of changes[1] with the other action"},
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
