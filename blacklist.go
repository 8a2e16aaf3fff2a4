package zapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// DisallowedContacts returns the blacklist of one setting as the API lists it: phones, or private ids digits@lid.
// An empty list is not nil. Whether the setting uses the list at present cannot be read from the API.
//
// scope is [BlacklistLastSeen], [BlacklistPhoto], [BlacklistDescription] or [BlacklistGroupAdd].
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// GET /privacy/disallowed-contacts, https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) DisallowedContacts(ctx context.Context, scope BlacklistScope) ([]string, error) {
	if err := blacklistScopes.check(opDisallowedContacts, "scope", scope); err != nil {
		return nil, err
	}
	var contacts []string
	accept := func(a answer) (kind, reason error) {
		return acceptObject(a, func(m members) (err error) {
			if err := checkSuccess(m); err != nil {
				return err
			}
			contacts, err = decodeContacts(m["disallowedContacts"])
			return err
		})
	}
	get := request{op: opDisallowedContacts, method: http.MethodGet, query: "?type=" + string(scope), reads: true, accept: accept}
	if err := c.do(ctx, get); err != nil {
		return nil, err // also if an interceptor returned it after a success
	}
	return contacts, nil
}

// DiffBlacklist returns what [Client.ReplaceBlacklist] would add to the blacklist of one setting and remove from it, and
// changes nothing. Use it for a preview, and to stop before a list shrinks by mistake.
//
// scope and want are as for [Client.ReplaceBlacklist].
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// GET /privacy/disallowed-contacts, https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) DiffBlacklist(ctx context.Context, scope BlacklistScope, want []string) (BlacklistDiff, error) {
	wanted, err := c.wantedContacts(scope, want)
	if err != nil {
		return BlacklistDiff{}, err
	}
	return c.diffBlacklist(ctx, scope, wanted)
}

// diffBlacklist is DiffBlacklist for contacts in their wire form.
func (c *Client) diffBlacklist(ctx context.Context, scope BlacklistScope, wanted []string) (BlacklistDiff, error) {
	listed, err := c.DisallowedContacts(ctx, scope)
	if err != nil {
		return BlacklistDiff{}, err
	}
	return diffContacts(listed, wanted), nil
}

// wantedContacts returns want in its wire form.
func (c *Client) wantedContacts(scope BlacklistScope, want []string) ([]string, error) {
	if err := blacklistScopes.check(opDisallowedContacts, "scope", scope); err != nil {
		return nil, err
	}
	return c.phones().normalizeContacts(opDisallowedContacts, "want", want)
}

// ReplaceBlacklist makes want the whole blacklist of one setting, sets the setting to CONTACT_BLACKLIST, and returns
// what it changed. If the setting was NONE, it becomes visible to all contacts that are not in want.
//
// It reads the list, compares both as sets and sends the difference in one request. Without a difference, it still
// sends the request, as the setting may have had another value.
//
// scope is as for [Client.DisallowedContacts]. want is checked like the phones of a [BlacklistChange] and may name a
// contact twice. If phones are refused, the error names up to ten of them. Listed contacts that are empty or only spaces
// are ignored.
//
// WhatsApp lists many Brazilian mobiles without their ninth digit. 5544991111111 and 554491111111 are the same contact
// here, so a list that has one of them is not changed for the other. A contact is added in the form of want and removed
// in the form that the API listed.
//
// A private id, digits@lid, counts as a contact of its own, as the API does not reveal its phone. Put it into want as
// DisallowedContacts returns it, or it is removed. Removals are sent before additions: if a contact is listed by its
// private id and wanted by its phone, it stays on the list.
//
// The error is a [*ValidationError], an [*APIError] or a [*TransportError], and the difference is then empty. The call
// can be repeated after any failure. If two callers replace a list at the same time, or a request that timed out arrives
// late, the last request wins for each contact; repeat the call to be sure of the whole list.
//
// GET /privacy/disallowed-contacts, then POST to the route of the setting,
// https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) ReplaceBlacklist(ctx context.Context, scope BlacklistScope, want []string) (BlacklistDiff, error) {
	wanted, err := c.wantedContacts(scope, want)
	if err != nil {
		return BlacklistDiff{}, err
	}
	return c.replaceBlacklist(ctx, scope, wanted)
}

// replaceBlacklist is ReplaceBlacklist for contacts in their wire form.
func (c *Client) replaceBlacklist(ctx context.Context, scope BlacklistScope, wanted []string) (BlacklistDiff, error) {
	diff, err := c.diffBlacklist(ctx, scope, wanted)
	if err != nil {
		return BlacklistDiff{}, err
	}
	if err := c.postBlacklist(ctx, scope, diff.changes()); err != nil {
		return BlacklistDiff{}, err
	}
	return diff, nil
}

// visibilityRequest is the body of the settings that take a [Visibility].
type visibilityRequest struct {
	Visibility string       `json:"visualizationType"`
	Blacklist  []wireChange `json:"contactsBlacklist,omitzero"` // omitzero keeps the empty list that CONTACT_BLACKLIST must send
}

// groupAddRequest is the body of [Client.SetGroupAddPermission].
type groupAddRequest struct {
	Permission string       `json:"type"`
	Blacklist  []wireChange `json:"contactsBlacklist,omitzero"`
}

// wireChange is a validated [BlacklistChange] with its phone in the wire form.
type wireChange struct {
	Action string `json:"action"`
	Phone  string `json:"phone"`
}

// visibilityOps are the operations of the settings with a blacklist that take a [Visibility].
var visibilityOps = map[BlacklistScope]string{
	BlacklistLastSeen: opLastSeen, BlacklistPhoto: opPhoto, BlacklistDescription: opDescription,
}

// postBlacklist sends changes to the setting that the list belongs to.
func (c *Client) postBlacklist(ctx context.Context, scope BlacklistScope, changes []wireChange) error {
	if scope == BlacklistGroupAdd {
		return c.post(ctx, opGroupAdd, groupAddRequest{string(GroupAddContactBlacklist), changes})
	}
	return c.post(ctx, visibilityOps[scope], visibilityRequest{string(VisibilityContactBlacklist), changes})
}

var errNoContacts = errors.New("disallowedContacts is missing or not a list of strings")

// decodeContacts returns the list of contacts in raw.
func decodeContacts(raw json.RawMessage) ([]string, error) {
	var list []*string // into a string, a null would decode as ""
	if err := json.Unmarshal(raw, &list); err != nil || list == nil || slices.Contains(list, nil) {
		return nil, errNoContacts
	}
	contacts := make([]string, len(list))
	for i, contact := range list {
		contacts[i] = *contact
	}
	return contacts, nil
}

// diffContacts returns the changes that turn listed into the set of wanted, comparing contacts by their contactKey.
// A listed contact of unknown form is removed exactly as listed; those that are empty or only spaces are skipped.
func diffContacts(listed, wanted []string) BlacklistDiff {
	listed = listedContacts(listed)
	listedKeys, wantedKeys := contactKeys(listed), contactKeys(wanted)
	var diff BlacklistDiff
	for _, contact := range listed {
		if !wantedKeys[contactKey(contact)] {
			diff.Removed = append(diff.Removed, contact)
		}
	}
	for _, contact := range wanted {
		if key := contactKey(contact); !listedKeys[key] {
			listedKeys[key] = true // from here on
			diff.Added = append(diff.Added, contact)
		}
	}
	return diff
}

// listedContacts returns each contact of a list of the API once, in its wire form if it has one. Both forms of a Brazilian
// number are two contacts here, as the removal of one may leave the other on the list.
func listedContacts(list []string) []string {
	contacts := make([]string, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, contact := range list {
		if normal, reason := normalizePhone(contact); reason == "" {
			contact = normal
		}
		if strings.TrimSpace(contact) != "" && !seen[contact] {
			seen[contact] = true
			contacts = append(contacts, contact)
		}
	}
	return contacts
}

func contactKeys(contacts []string) map[string]bool {
	keys := make(map[string]bool, len(contacts))
	for _, contact := range contacts {
		keys[contactKey(contact)] = true
	}
	return keys
}

// changes returns d as changes, removals first.
func (d BlacklistDiff) changes() []wireChange {
	changes := make([]wireChange, 0, len(d.Removed)+len(d.Added))
	for _, contact := range d.Removed {
		changes = append(changes, wireChange{string(BlacklistRemove), contact})
	}
	for _, contact := range d.Added {
		changes = append(changes, wireChange{string(BlacklistAdd), contact})
	}
	return changes
}

// phones returns what checks the phones of a caller.
func (c *Client) phones() phones {
	if c.validate("") != nil {
		return phones{} // do returns the error
	}
	return c.api.phones
}

// normalizeChanges returns changes in their wire form, each contact once. Unless takesBlacklist, the result is nil and
// omitted on the wire.
func (p phones) normalizeChanges(op string, takesBlacklist bool, changes []BlacklistChange) ([]wireChange, error) {
	if !takesBlacklist {
		if len(changes) > 0 {
			return nil, &ValidationError{op, "changes", "are allowed only with " + string(VisibilityContactBlacklist)}
		}
		return nil, nil
	}
	for i, change := range changes {
		if !change.Action.Valid() {
			return nil, &ValidationError{op, fmt.Sprintf("changes[%d].action", i), blacklistActions.rule()}
		}
	}
	normal := make([]wireChange, 0, len(changes))
	first := make(map[string]int, len(changes)) // contactKey to the index of its first change
	var wrong wrongPhones
	for i, change := range changes {
		phone, reason := p.normalize(change.Phone)
		j, repeated := first[contactKey(phone)]
		switch {
		case reason != "":
			wrong.add(fmt.Sprintf("changes[%d].phone", i), reason)
		case !repeated:
			first[contactKey(phone)] = i
			normal = append(normal, wireChange{string(change.Action), phone})
		case changes[j].Action != change.Action:
			wrong.add(fmt.Sprintf("changes[%d].phone", i), fmt.Sprintf("repeats the contact of changes[%d] with the other action", j))
		}
	}
	return normal, wrong.err(op)
}

// normalizeContacts returns each contact in its wire form, in the given order.
func (p phones) normalizeContacts(op, field string, contacts []string) ([]string, error) {
	normal := make([]string, len(contacts))
	var wrong wrongPhones
	for i, contact := range contacts {
		var reason string
		if normal[i], reason = p.normalize(contact); reason != "" {
			wrong.add(fmt.Sprintf("%s[%d]", field, i), reason)
		}
	}
	return normal, wrong.err(op)
}

// wrongPhones collects the phones of a list that are refused, so that one error names them.
type wrongPhones struct {
	fields, reasons []string // of the first maxWrongPhones; each reason once
	more            int
}

const maxWrongPhones = 10

func (w *wrongPhones) add(field, reason string) {
	if len(w.fields) == maxWrongPhones {
		w.more++
		return
	}
	w.fields = append(w.fields, field)
	if !slices.Contains(w.reasons, reason) {
		w.reasons = append(w.reasons, reason)
	}
}

// err returns nil, or a [*ValidationError] for a field such as "want[1], want[5] and 3 more".
func (w *wrongPhones) err(op string) error {
	if len(w.fields) == 0 {
		return nil
	}
	field := strings.Join(w.fields, ", ")
	if w.more > 0 {
		field += fmt.Sprintf(" and %d more", w.more)
	}
	return &ValidationError{op, field, strings.Join(w.reasons, "; ")}
}
