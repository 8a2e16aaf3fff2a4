package zapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
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
	var contacts atomic.Pointer[[]string] // an interceptor may call next in parallel
	get := request{op: opDisallowedContacts, method: http.MethodGet, query: "?type=" + string(scope)}
	err := c.do(ctx, get, func(m members) error {
		list, err := decodeContacts(m["disallowedContacts"])
		if err == nil {
			contacts.Store(&list)
		}
		return err
	})
	if err != nil {
		return nil, err // also if an interceptor returned it after a success
	}
	list := contacts.Load()
	if list == nil {
		return nil, &TransportError{Op: opDisallowedContacts, Err: errNoList}
	}
	return *list, nil
}

var errNoList = errors.New("an interceptor returned nil without a response")

// ReplaceBlacklist makes want the whole blacklist of one setting, sets the setting to CONTACT_BLACKLIST, and returns
// what it changed. If the setting was NONE, it becomes visible to all contacts that are not in want.
//
// It reads the list, compares both as sets and sends the difference in one request. Without a difference, it still
// sends the request, as the setting may have had another value.
//
// scope is as for [Client.DisallowedContacts]. want is checked like the phones of a [BlacklistChange] and may name a
// contact twice. Phones are compared as the API lists them: for a Brazilian number with the ninth digit, such as
// 5544991111111, it may list 554491111111, and want must then contain that form. Listed contacts that are empty or only
// spaces are ignored.
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
	if err := blacklistScopes.check(opDisallowedContacts, "scope", scope); err != nil {
		return BlacklistDiff{}, err
	}
	wanted, err := c.phoneParser().normalizeContacts(opDisallowedContacts, "want", want)
	if err != nil {
		return BlacklistDiff{}, err
	}
	return c.replaceBlacklist(ctx, scope, wanted)
}

// replaceBlacklist is ReplaceBlacklist for contacts in their wire form.
func (c *Client) replaceBlacklist(ctx context.Context, scope BlacklistScope, wanted []string) (BlacklistDiff, error) {
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

// visibilityOps are the routes of the settings with a blacklist that take a [Visibility].
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

// diffContacts returns the changes that turn listed into the set of wanted. Listed contacts of unknown form are removed
// exactly as listed; empty ones, and those of only spaces, are skipped.
func diffContacts(listed, wanted []string) BlacklistDiff {
	missing := make(map[string]bool, len(wanted)) // false once it is listed or added
	for _, contact := range wanted {
		missing[contact] = true
	}
	var diff BlacklistDiff
	removed := make(map[string]bool)
	for _, contact := range listed {
		if strings.TrimSpace(contact) == "" {
			continue
		}
		normal, reason := normalizePhone(contact)
		if reason != "" {
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

// normalizeChanges returns changes in their wire form, each contact once. Unless takesBlacklist, the result is nil and
// omitted on the wire.
func (parse phoneParser) normalizeChanges(op string, takesBlacklist bool, changes []BlacklistChange) ([]wireChange, error) {
	if !takesBlacklist {
		if len(changes) > 0 {
			return nil, &ValidationError{op, "changes", "are allowed only with " + string(VisibilityContactBlacklist)}
		}
		return nil, nil
	}
	normal := make([]wireChange, 0, len(changes))
	first := make(map[string]int, len(changes)) // phone to the index of its first change
	for i, change := range changes {
		if !change.Action.Valid() {
			return nil, invalidChange(op, i, "action", blacklistActions.rule())
		}
		phone, reason := parse.normalize(change.Phone)
		if reason != "" {
			return nil, invalidChange(op, i, "phone", reason)
		}
		j, repeated := first[phone]
		switch {
		case !repeated:
			first[phone] = i
			normal = append(normal, wireChange{string(change.Action), phone})
		case changes[j].Action != change.Action:
			return nil, invalidChange(op, i, "phone", fmt.Sprintf("repeats the contact of changes[%d] with the other action", j))
		}
	}
	return normal, nil
}

func invalidChange(op string, i int, member, reason string) error {
	return &ValidationError{op, fmt.Sprintf("changes[%d].%s", i, member), reason}
}

// normalizeContacts returns each contact in its wire form, in the given order.
func (parse phoneParser) normalizeContacts(op, field string, contacts []string) ([]string, error) {
	normal := make([]string, len(contacts))
	for i, contact := range contacts {
		var reason string
		if normal[i], reason = parse.normalize(contact); reason != "" {
			return nil, &ValidationError{op, fmt.Sprintf("%s[%d]", field, i), reason}
		}
	}
	return normal, nil
}

const (
	minPhoneDigits = 7
	maxPhoneDigits = 15 // E.164
	maxIDDigits    = 20
	phoneRule      = "must be 7 to 15 digits, country code first, or digits@lid"
)

// normalizePhone returns the wire form of a phone or private id, or what is wrong with it.
func normalizePhone(phone string) (normal, reason string) {
	if id, isID := strings.CutSuffix(phone, "@lid"); isID {
		if id == "" || len(id) > maxIDDigits || !allDigits(id) {
			return "", "must have 1 to 20 digits before @lid"
		}
		return phone, ""
	}
	digits := strings.Map(withoutSpacing, phone)
	if strings.Contains(digits, "(0)") {
		return "", "must not contain (0), which is not dialed from abroad"
	}
	digits = strings.Map(withoutPunctuation, digits)
	digits = strings.TrimPrefix(digits, "+")
	switch {
	case strings.Contains(digits, "+"):
		return "", "must have + only in front"
	case len(digits) < minPhoneDigits || len(digits) > maxPhoneDigits || !allDigits(digits):
		return "", phoneRule
	case digits[0] == '0':
		return "", "must begin with a country code, which never begins with 0"
	}
	return digits, ""
}

// withoutSpacing drops the spaces, dashes and invisible marks that come with a pasted phone.
func withoutSpacing(r rune) rune {
	switch {
	case unicode.Is(unicode.Zs, r), // spaces, also no-break and narrow ones
		r == '-', r >= '\u2010' && r <= '\u2015', // dashes
		r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // direction marks
		return -1
	}
	return r
}

func withoutPunctuation(r rune) rune {
	switch r {
	case '.', '(', ')':
		return -1
	}
	return r
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// phoneParser is the func given to [WithPhoneParser], or nil.
type phoneParser func(phone string) (string, error)

func (c *Client) phoneParser() phoneParser {
	if c == nil || c.shared == nil {
		return nil // do returns the error
	}
	return c.shared.parsePhone
}

// normalize is like normalizePhone, but first passes a phone through the caller's parser, if there is one.
func (parse phoneParser) normalize(phone string) (normal, reason string) {
	if parse != nil && !strings.HasSuffix(phone, "@lid") {
		parsed, err := parse(phone)
		if err != nil {
			return "", "is refused by the parser given to WithPhoneParser" // whose error may quote the phone
		}
		phone = parsed
	}
	return normalizePhone(phone)
}
