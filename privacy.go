package zapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// The routes, as errors name them.
const (
	opLastSeen           = "privacy/last-seen"
	opPhoto              = "privacy/photo"
	opOnline             = "privacy/online"
	opDescription        = "privacy/description"
	opGroupAdd           = "privacy/group-add"
	opReadReceipts       = "privacy/read-receipts"
	opMessageDuration    = "privacy/messages-duration"
	opDisallowedContacts = "privacy/disallowed-contacts"
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

// groupAddRequest is the body of [Client.SetGroupAddPermission].
type groupAddRequest struct {
	Permission GroupAddPermission `json:"type"`
	Blacklist  []BlacklistChange  `json:"contactsBlacklist,omitzero"`
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

// SetDescriptionVisibility sets who sees the description of the profile, the "recado".
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]; changes go with the
// last only, and alter the blacklist of this setting alone. Without changes it returns to the list as it stands.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/description, https://developer.z-api.io/en/privacy/set-privacy-description
func (c *Client) SetDescriptionVisibility(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opDescription, v, changes)
}

// SetGroupAddPermission sets who may add the number to groups.
//
// p is [GroupAddAll], [GroupAddContacts] or [GroupAddContactBlacklist]; changes go with the last only, and alter the
// blacklist of this setting alone. Without changes it returns to the list as it stands.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/group-add, https://developer.z-api.io/en/privacy/set-group-add
func (c *Client) SetGroupAddPermission(ctx context.Context, p GroupAddPermission, changes ...BlacklistChange) error {
	if err := oneOf(opGroupAdd, "permission", p, groupAddPermissions); err != nil {
		return err
	}
	blacklist, err := normalizeChanges(opGroupAdd, p == GroupAddContactBlacklist, changes)
	if err != nil {
		return err
	}
	return c.post(ctx, opGroupAdd, groupAddRequest{p, blacklist})
}

// SetReadReceipts sets whether read receipts go out. In groups they always do.
//
// r is [ReadReceiptsEnable] or [ReadReceiptsDisable].
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/read-receipts, https://developer.z-api.io/en/privacy/set-read-receipts
func (c *Client) SetReadReceipts(ctx context.Context, r ReadReceipts) error {
	if err := oneOf(opReadReceipts, "readReceipts", r, readReceipts); err != nil {
		return err
	}
	return c.postValue(ctx, opReadReceipts, string(r))
}

// SetMessageDuration sets after how long the messages of new individual chats disappear.
//
// d is [MessageDuration24Hours], [MessageDuration7Days], [MessageDuration90Days] or [MessageDurationDisable].
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/messages-duration, https://developer.z-api.io/en/privacy/set-messages-duration
func (c *Client) SetMessageDuration(ctx context.Context, d MessageDuration) error {
	if err := oneOf(opMessageDuration, "messageDuration", d, messageDurations); err != nil {
		return err
	}
	return c.postValue(ctx, opMessageDuration, string(d))
}

// DisallowedContacts returns the blacklist of one setting as the API has it: phones, or private ids digits@lid.
//
// scope is [BlacklistLastSeen], [BlacklistPhoto], [BlacklistDescription] or [BlacklistGroupAdd]. An empty list is not
// nil. It says nothing about whether the setting uses the list now; the API has no way to ask.
// It returns a [*ValidationError], an [*APIError] or a [*TransportError].
//
// GET /privacy/disallowed-contacts, https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) DisallowedContacts(ctx context.Context, scope BlacklistScope) ([]string, error) {
	if err := oneOf(opDisallowedContacts, "scope", scope, blacklistScopes); err != nil {
		return nil, err
	}
	var contacts []string
	err := c.do(ctx, request{op: opDisallowedContacts, method: http.MethodGet, query: "?type=" + string(scope)}, func(members object) (reason string) {
		contacts, reason = decodeContacts(members["disallowedContacts"])
		return reason
	})
	return contacts, err
}

// ReplaceBlacklist makes want the whole blacklist of one setting and sets it to CONTACT_BLACKLIST; a setting that no
// one could see is open to all other contacts afterwards.
//
// It reads the list, compares both as sets and sends the difference in one request; it returns that difference. Where
// nothing differs it still sends the empty change, as the API does not tell whether the setting uses its list.
//
// scope is as for [Client.DisallowedContacts]; want is checked like the phones of a [BlacklistChange], and may name
// a contact twice. A private id, digits@lid, is a contact of its own: it is not known to which phone it belongs, so
// give it in want as DisallowedContacts returns it, or it is removed. Removals are sent before additions, so a
// contact that is wanted under its phone stays when its private id goes.
//
// It returns a [*ValidationError], an [*APIError] or a [*TransportError], and then no difference. Nothing is lost by
// a failure: the call can be repeated. When two callers replace a list at once, the last difference wins for each
// contact that both change; repeat the call to be sure of the whole list. The same holds for a request that timed out
// and is still under way.
//
// GET /privacy/disallowed-contacts, then POST to the setting's route,
// https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) ReplaceBlacklist(ctx context.Context, scope BlacklistScope, want []string) (BlacklistDiff, error) {
	if err := oneOf(opDisallowedContacts, "scope", scope, blacklistScopes); err != nil {
		return BlacklistDiff{}, err
	}
	wanted, err := normalizeContacts(opDisallowedContacts, "want", want)
	if err != nil {
		return BlacklistDiff{}, err
	}
	listed, err := c.DisallowedContacts(ctx, scope)
	if err != nil {
		return BlacklistDiff{}, err
	}
	diff := diffContacts(listed, wanted)
	if err := c.postBlacklist(ctx, scope, diff.changes()); err != nil {
		return BlacklistDiff{}, err
	}
	return diff, nil
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
	refuse := func(i int, member, reason string) ([]BlacklistChange, error) {
		return nil, &ValidationError{op, fmt.Sprintf("changes[%d].%s", i, member), reason}
	}
	for i, change := range changes {
		if !change.Action.Valid() {
			return refuse(i, "action", mustBeOneOf(blacklistActions))
		}
		phone, ok := normalizePhone(change.Phone)
		if !ok {
			return refuse(i, "phone", phoneRule)
		}
		j, seen := first[phone]
		switch {
		case !seen:
			first[phone] = i
			blacklist = append(blacklist, BlacklistChange{change.Action, phone})
		case changes[j].Action != change.Action:
			return refuse(i, "phone", fmt.Sprintf("names the contact of changes[%d]; a contact is added or removed, not both", j))
		}
	}
	return blacklist, nil
}

// normalizeContacts gives each contact in its wire form, in the order given.
func normalizeContacts(op, field string, contacts []string) ([]string, error) {
	normal := make([]string, len(contacts))
	for i, contact := range contacts {
		var ok bool
		if normal[i], ok = normalizePhone(contact); !ok {
			return nil, &ValidationError{op, fmt.Sprintf("%s[%d]", field, i), phoneRule}
		}
	}
	return normal, nil
}

// diffContacts is what turns the list into the wanted set. A listed contact of unknown form can only be removed.
func diffContacts(listed, wanted []string) BlacklistDiff {
	missing := make(map[string]bool, len(wanted)) // false once it is listed or added
	for _, contact := range wanted {
		missing[contact] = true
	}
	var diff BlacklistDiff
	removed := make(map[string]bool)
	for _, contact := range listed {
		normal, ok := normalizePhone(contact)
		if !ok {
			normal = contact
		}
		if _, keep := missing[normal]; keep {
			missing[normal] = false
		} else if !removed[normal] {
			removed[normal] = true
			diff.Removed = append(diff.Removed, normal)
		}
	}
	for _, contact := range wanted {
		if missing[contact] {
			missing[contact] = false
			diff.Added = append(diff.Added, contact)
		}
	}
	return diff
}

func (d BlacklistDiff) changes() []BlacklistChange {
	changes := make([]BlacklistChange, 0, len(d.Removed)+len(d.Added))
	for _, contact := range d.Removed {
		changes = append(changes, Allow(contact))
	}
	for _, contact := range d.Added {
		changes = append(changes, Disallow(contact))
	}
	return changes
}

// decodeContacts reads the list of an answer, or says what is wrong with it.
func decodeContacts(raw json.RawMessage) (contacts []string, reason string) {
	var list []*string // a null would pass for an empty string
	if err := json.Unmarshal(raw, &list); err != nil || list == nil || slices.Contains(list, nil) {
		return nil, "disallowedContacts is missing or not a list of strings"
	}
	contacts = make([]string, len(list))
	for i, contact := range list {
		contacts[i] = *contact
	}
	return contacts, ""
}

// visibilityOps are the routes of the settings with a list that take a [Visibility].
var visibilityOps = map[BlacklistScope]string{
	BlacklistLastSeen: opLastSeen, BlacklistPhoto: opPhoto, BlacklistDescription: opDescription,
}

// postBlacklist sends changes to the setting that the list belongs to.
func (c *Client) postBlacklist(ctx context.Context, scope BlacklistScope, changes []BlacklistChange) error {
	if scope == BlacklistGroupAdd {
		return c.post(ctx, opGroupAdd, groupAddRequest{GroupAddContactBlacklist, changes})
	}
	return c.post(ctx, visibilityOps[scope], visibilityRequest{VisibilityContactBlacklist, changes})
}

// post sends a setting and expects the documented {"success": true}.
func (c *Client) post(ctx context.Context, op string, setting any) error {
	body, _ := json.Marshal(setting) // strings and lists of strings cannot fail
	return c.do(ctx, request{op: op, method: http.MethodPost, body: body}, succeeded)
}

// postValue sends a setting whose value goes into the query.
func (c *Client) postValue(ctx context.Context, op, value string) error {
	return c.do(ctx, request{op: op, method: http.MethodPost, query: "?value=" + value, body: []byte{}}, succeeded)
}
