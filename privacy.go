package zapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// The routes, as errors name them.
const (
	opLastSeen = "privacy/last-seen"
	opPhoto    = "privacy/photo"
	opOnline   = "privacy/online"
)

// visibilityRequest is the body of the settings that take a [Visibility].
type visibilityRequest struct {
	Visibility Visibility        `json:"visualizationType"`
	Blacklist  []BlacklistChange `json:"contactsBlacklist,omitzero"` // omitzero keeps the empty list that CONTACT_BLACKLIST must send
}

// onlineRequest is the body of [Client.SetOnlineVisibility].
type onlineRequest struct {
	Visibility OnlineVisibility `json:"visualizationType"`
}

// SetLastSeen sets who sees when the number was last online.
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]; changes go with the
// last only, and alter the blacklist of this setting alone. Without changes it returns to the list as it stands.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/last-seen, https://developer.z-api.io/en/privacy/set-last-seen
func (c *Client) SetLastSeen(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opLastSeen, v, changes)
}

// SetPhotoVisibility sets who sees the profile photo.
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]; changes go with the
// last only, and alter the blacklist of this setting alone. Without changes it returns to the list as it stands.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/photo, https://developer.z-api.io/en/privacy/set-photo-visualization
func (c *Client) SetPhotoVisibility(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opPhoto, v, changes)
}

// SetOnlineVisibility sets who sees that the number is online.
//
// v is [OnlineAll] or [OnlineSameAsLastSeen]; this setting has no blacklist of its own.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/online, https://developer.z-api.io/en/privacy/set-privacy-online
func (c *Client) SetOnlineVisibility(ctx context.Context, v OnlineVisibility) error {
	if err := oneOf(opOnline, "visibility", v, onlineVisibilities); err != nil {
		return err
	}
	return c.post(ctx, opOnline, onlineRequest{v})
}

// setVisibility validates and sends one of the settings that take a [Visibility].
func (c *Client) setVisibility(ctx context.Context, op string, v Visibility, changes []BlacklistChange) error {
	if err := oneOf(op, "visibility", v, visibilities); err != nil {
		return err
	}
	blacklist, err := normalizeChanges(op, v == VisibilityContactBlacklist, changes)
	if err != nil {
		return err
	}
	return c.post(ctx, op, visibilityRequest{v, blacklist})
}

// normalizeChanges gives the changes as the wire has them, each once: never nil with CONTACT_BLACKLIST, nil without.
func normalizeChanges(op string, takesBlacklist bool, changes []BlacklistChange) ([]BlacklistChange, error) {
	if !takesBlacklist {
		if len(changes) > 0 {
			return nil, &ValidationError{op, "changes", "go with " + string(VisibilityContactBlacklist) + " only"}
		}
		return nil, nil
	}
	blacklist := make([]BlacklistChange, 0, len(changes))
	first := make(map[string]int, len(changes)) // phone to the index of the change that named it
	for i, change := range changes {
		field := fmt.Sprintf("changes[%d]", i)
		if err := oneOf(op, field+".action", change.Action, blacklistActions); err != nil {
			return nil, err
		}
		phone, ok := normalizePhone(change.Phone)
		if !ok {
			return nil, &ValidationError{op, field + ".phone", phoneRule}
		}
		j, seen := first[phone]
		switch {
		case !seen:
			first[phone] = i
			blacklist = append(blacklist, BlacklistChange{change.Action, phone})
		case changes[j].Action != change.Action:
			reason := fmt.Sprintf("names the contact of changes[%d]; a contact is added or removed, not both", j)
			return nil, &ValidationError{op, field + ".phone", reason}
		}
	}
	return blacklist, nil
}

// post sends a setting and expects the documented {"success": true}.
func (c *Client) post(ctx context.Context, op string, setting any) error {
	body, _ := json.Marshal(setting) // strings and lists of strings cannot fail
	return c.do(ctx, request{op: op, method: http.MethodPost, body: body}, succeeded)
}
