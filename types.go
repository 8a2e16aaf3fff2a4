package zapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Visibility is who sees last seen, the profile photo or the description.
type Visibility string

// The allowed values of [Visibility].
const (
	VisibilityAll              Visibility = "ALL"               // everyone
	VisibilityNone             Visibility = "NONE"              // no one
	VisibilityContacts         Visibility = "CONTACTS"          // my contacts
	VisibilityContactBlacklist Visibility = "CONTACT_BLACKLIST" // my contacts except those on the setting's blacklist
)

var visibilities = enum[Visibility]{VisibilityAll, VisibilityNone, VisibilityContacts, VisibilityContactBlacklist}

// Valid reports whether v is one of the four allowed values.
func (v Visibility) Valid() bool { return visibilities.has(v) }

// MarshalText returns the wire form of v, nothing for the zero value, or a [*ValidationError] for any other value.
func (v Visibility) MarshalText() ([]byte, error) { return visibilities.marshal(v, "Visibility") }

// UnmarshalText sets v from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (v *Visibility) UnmarshalText(text []byte) error {
	return visibilities.unmarshal(v, "Visibility", text)
}

// An OnlineVisibility is who sees that the number is online.
type OnlineVisibility string

// The allowed values of [OnlineVisibility].
const (
	OnlineAll            OnlineVisibility = "ALL"            // everyone
	OnlineSameAsLastSeen OnlineVisibility = "SAME_LAST_SEEN" // whoever sees last seen
)

var onlineVisibilities = enum[OnlineVisibility]{OnlineAll, OnlineSameAsLastSeen}

// Valid reports whether v is one of the two allowed values.
func (v OnlineVisibility) Valid() bool { return onlineVisibilities.has(v) }

// MarshalText returns the wire form of v, nothing for the zero value, or a [*ValidationError] for any other value.
func (v OnlineVisibility) MarshalText() ([]byte, error) {
	return onlineVisibilities.marshal(v, "OnlineVisibility")
}

// UnmarshalText sets v from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (v *OnlineVisibility) UnmarshalText(text []byte) error {
	return onlineVisibilities.unmarshal(v, "OnlineVisibility", text)
}

// A GroupAddPermission is who may add the number to groups. There is no value for "no one".
type GroupAddPermission string

// The allowed values of [GroupAddPermission].
const (
	GroupAddAll              GroupAddPermission = "ALL"               // everyone
	GroupAddContacts         GroupAddPermission = "CONTACTS"          // my contacts
	GroupAddContactBlacklist GroupAddPermission = "CONTACT_BLACKLIST" // my contacts except those on the setting's blacklist
)

var groupAddPermissions = enum[GroupAddPermission]{GroupAddAll, GroupAddContacts, GroupAddContactBlacklist}

// Valid reports whether p is one of the three allowed values.
func (p GroupAddPermission) Valid() bool { return groupAddPermissions.has(p) }

// MarshalText returns the wire form of p, nothing for the zero value, or a [*ValidationError] for any other value.
func (p GroupAddPermission) MarshalText() ([]byte, error) {
	return groupAddPermissions.marshal(p, "GroupAddPermission")
}

// UnmarshalText sets p from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (p *GroupAddPermission) UnmarshalText(text []byte) error {
	return groupAddPermissions.unmarshal(p, "GroupAddPermission", text)
}

// A ReadReceipts value switches read receipts on or off.
type ReadReceipts string

// The allowed values of [ReadReceipts].
const (
	ReadReceiptsEnable  ReadReceipts = "enable"
	ReadReceiptsDisable ReadReceipts = "disable"
)

var readReceipts = enum[ReadReceipts]{ReadReceiptsEnable, ReadReceiptsDisable}

// Valid reports whether r is one of the two allowed values.
func (r ReadReceipts) Valid() bool { return readReceipts.has(r) }

// MarshalText returns the wire form of r, nothing for the zero value, or a [*ValidationError] for any other value.
func (r ReadReceipts) MarshalText() ([]byte, error) { return readReceipts.marshal(r, "ReadReceipts") }

// UnmarshalText sets r from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (r *ReadReceipts) UnmarshalText(text []byte) error {
	return readReceipts.unmarshal(r, "ReadReceipts", text)
}

// A MessageDuration is the time after which the messages of new individual chats disappear.
type MessageDuration string

// The allowed values of [MessageDuration].
const (
	MessageDuration24Hours MessageDuration = "hours24"
	MessageDuration7Days   MessageDuration = "days7"
	MessageDuration90Days  MessageDuration = "days90"
	MessageDurationDisable MessageDuration = "disable" // messages stay
)

var messageDurations = enum[MessageDuration]{
	MessageDuration24Hours, MessageDuration7Days, MessageDuration90Days, MessageDurationDisable,
}

// Valid reports whether d is one of the four allowed values.
func (d MessageDuration) Valid() bool { return messageDurations.has(d) }

// MarshalText returns the wire form of d, nothing for the zero value, or a [*ValidationError] for any other value.
func (d MessageDuration) MarshalText() ([]byte, error) {
	return messageDurations.marshal(d, "MessageDuration")
}

// UnmarshalText sets d from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (d *MessageDuration) UnmarshalText(text []byte) error {
	return messageDurations.unmarshal(d, "MessageDuration", text)
}

// A BlacklistScope names the setting that a blacklist belongs to.
type BlacklistScope string

// The allowed values of [BlacklistScope].
const (
	BlacklistLastSeen    BlacklistScope = "lastSeen"
	BlacklistPhoto       BlacklistScope = "photo"
	BlacklistDescription BlacklistScope = "description"
	BlacklistGroupAdd    BlacklistScope = "groupAdd"
)

var blacklistScopes = enum[BlacklistScope]{BlacklistLastSeen, BlacklistPhoto, BlacklistDescription, BlacklistGroupAdd}

// Valid reports whether s is one of the four allowed values.
func (s BlacklistScope) Valid() bool { return blacklistScopes.has(s) }

// MarshalText returns the wire form of s, nothing for the zero value, or a [*ValidationError] for any other value.
func (s BlacklistScope) MarshalText() ([]byte, error) {
	return blacklistScopes.marshal(s, "BlacklistScope")
}

// UnmarshalText sets s from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (s *BlacklistScope) UnmarshalText(text []byte) error {
	return blacklistScopes.unmarshal(s, "BlacklistScope", text)
}

// A BlacklistAction is what a [BlacklistChange] does.
type BlacklistAction string

// The allowed values of [BlacklistAction].
const (
	BlacklistAdd    BlacklistAction = "add"    // puts the contact on the list, so that it no longer sees the setting
	BlacklistRemove BlacklistAction = "remove" // takes the contact off the list
)

var blacklistActions = enum[BlacklistAction]{BlacklistAdd, BlacklistRemove}

// Valid reports whether a is one of the two allowed values.
func (a BlacklistAction) Valid() bool { return blacklistActions.has(a) }

// MarshalText returns the wire form of a, nothing for the zero value, or a [*ValidationError] for any other value.
func (a BlacklistAction) MarshalText() ([]byte, error) {
	return blacklistActions.marshal(a, "BlacklistAction")
}

// UnmarshalText sets a from its wire form, or to the zero value from no text. It returns a [*ValidationError] for any other text.
func (a *BlacklistAction) UnmarshalText(text []byte) error {
	return blacklistActions.unmarshal(a, "BlacklistAction", text)
}

// A BlacklistChange adds one contact to the blacklist of a setting or removes it.
// Contacts that no change names stay as they are.
//
// Phone is a number with its country code, 7 to 15 digits, that may be written with "+", spaces, "-", "." and
// parentheses, or a WhatsApp private id such as "999999999999999@lid".
type BlacklistChange struct {
	Action BlacklistAction `json:"action"`
	Phone  string          `json:"phone"`
}

// Disallow returns the change that puts phone on the blacklist.
func Disallow(phone string) BlacklistChange {
	return BlacklistChange{Action: BlacklistAdd, Phone: phone}
}

// Allow returns the change that takes phone off the blacklist.
func Allow(phone string) BlacklistChange {
	return BlacklistChange{Action: BlacklistRemove, Phone: phone}
}

// A BlacklistDiff is what [Client.ReplaceBlacklist] changed, or would change. Each contact is in its wire form.
type BlacklistDiff struct {
	Added, Removed []string
}

// enum is the set of allowed values of one type.
type enum[T ~string] []T

func (e enum[T]) has(value T) bool { return slices.Contains(e, value) }

// check returns a *ValidationError unless value is allowed.
func (e enum[T]) check(op, field string, value T) error {
	if e.has(value) {
		return nil
	}
	reason := e.rule()
	if harmless.MatchString(string(value)) {
		reason += fmt.Sprintf(", not %q", value)
	}
	return &ValidationError{op, field, reason}
}

// harmless matches an unknown value that an error may quote: it is neither a phone nor a secret.
var harmless = regexp.MustCompile(`^[A-Za-z_-]{1,40}$`)

func (e enum[T]) rule() string {
	names := make([]string, len(e))
	for i, value := range e {
		names[i] = string(value)
	}
	return "must be one of " + strings.Join(names, ", ")
}

// marshal accepts the zero value, too: it is the default of a flag or an omitted field.
func (e enum[T]) marshal(value T, typeName string) ([]byte, error) {
	if value == "" {
		return nil, nil
	}
	if err := e.check("", typeName, value); err != nil {
		return nil, err
	}
	return []byte(value), nil
}

// unmarshal accepts no text for the zero value, which marshal writes so. It is still refused when it is used.
func (e enum[T]) unmarshal(dst *T, typeName string, text []byte) error {
	if len(text) == 0 {
		*dst = ""
		return nil
	}
	if err := e.check("", typeName, T(text)); err != nil {
		return err
	}
	*dst = T(text)
	return nil
}
