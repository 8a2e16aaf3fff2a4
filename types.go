package zapi

import (
	"slices"
	"strings"
)

// Visibility says who sees last seen, the profile photo or the description.
type Visibility string

// The legal values of [Visibility].
const (
	VisibilityAll              Visibility = "ALL"               // everyone
	VisibilityNone             Visibility = "NONE"              // no one
	VisibilityContacts         Visibility = "CONTACTS"          // my contacts
	VisibilityContactBlacklist Visibility = "CONTACT_BLACKLIST" // my contacts except those on the setting's blacklist
)

var visibilities = []Visibility{VisibilityAll, VisibilityNone, VisibilityContacts, VisibilityContactBlacklist}

// Valid reports whether v is one of the four legal values.
func (v Visibility) Valid() bool { return slices.Contains(visibilities, v) }

// UnmarshalText sets v from its wire form and refuses any other text with a [*ValidationError].
func (v *Visibility) UnmarshalText(text []byte) error {
	return unmarshalOneOf(v, "Visibility", text, visibilities)
}

// OnlineVisibility says who sees that the number is online.
type OnlineVisibility string

// The legal values of [OnlineVisibility].
const (
	OnlineAll            OnlineVisibility = "ALL"            // everyone
	OnlineSameAsLastSeen OnlineVisibility = "SAME_LAST_SEEN" // whoever may see last seen
)

var onlineVisibilities = []OnlineVisibility{OnlineAll, OnlineSameAsLastSeen}

// Valid reports whether v is one of the two legal values.
func (v OnlineVisibility) Valid() bool { return slices.Contains(onlineVisibilities, v) }

// UnmarshalText sets v from its wire form and refuses any other text with a [*ValidationError].
func (v *OnlineVisibility) UnmarshalText(text []byte) error {
	return unmarshalOneOf(v, "OnlineVisibility", text, onlineVisibilities)
}

// GroupAddPermission says who may add the number to groups. There is no value for "no one".
type GroupAddPermission string

// The legal values of [GroupAddPermission].
const (
	GroupAddAll              GroupAddPermission = "ALL"               // everyone
	GroupAddContacts         GroupAddPermission = "CONTACTS"          // my contacts
	GroupAddContactBlacklist GroupAddPermission = "CONTACT_BLACKLIST" // my contacts except those on the setting's blacklist
)

var groupAddPermissions = []GroupAddPermission{GroupAddAll, GroupAddContacts, GroupAddContactBlacklist}

// Valid reports whether p is one of the three legal values.
func (p GroupAddPermission) Valid() bool { return slices.Contains(groupAddPermissions, p) }

// UnmarshalText sets p from its wire form and refuses any other text with a [*ValidationError].
func (p *GroupAddPermission) UnmarshalText(text []byte) error {
	return unmarshalOneOf(p, "GroupAddPermission", text, groupAddPermissions)
}

// ReadReceipts says whether read receipts go out.
type ReadReceipts string

// The legal values of [ReadReceipts].
const (
	ReadReceiptsEnable  ReadReceipts = "enable"
	ReadReceiptsDisable ReadReceipts = "disable"
)

var readReceipts = []ReadReceipts{ReadReceiptsEnable, ReadReceiptsDisable}

// Valid reports whether r is one of the two legal values.
func (r ReadReceipts) Valid() bool { return slices.Contains(readReceipts, r) }

// UnmarshalText sets r from its wire form and refuses any other text with a [*ValidationError].
func (r *ReadReceipts) UnmarshalText(text []byte) error {
	return unmarshalOneOf(r, "ReadReceipts", text, readReceipts)
}

// MessageDuration says after how long the messages of new individual chats disappear.
type MessageDuration string

// The legal values of [MessageDuration].
const (
	MessageDuration24Hours MessageDuration = "hours24"
	MessageDuration7Days   MessageDuration = "days7"
	MessageDuration90Days  MessageDuration = "days90"
	MessageDurationDisable MessageDuration = "disable" // they stay
)

var messageDurations = []MessageDuration{MessageDuration24Hours, MessageDuration7Days, MessageDuration90Days, MessageDurationDisable}

// Valid reports whether d is one of the four legal values.
func (d MessageDuration) Valid() bool { return slices.Contains(messageDurations, d) }

// UnmarshalText sets d from its wire form and refuses any other text with a [*ValidationError].
func (d *MessageDuration) UnmarshalText(text []byte) error {
	return unmarshalOneOf(d, "MessageDuration", text, messageDurations)
}

// BlacklistScope names the setting that a blacklist belongs to.
type BlacklistScope string

// The legal values of [BlacklistScope].
const (
	BlacklistLastSeen    BlacklistScope = "lastSeen"
	BlacklistPhoto       BlacklistScope = "photo"
	BlacklistDescription BlacklistScope = "description"
	BlacklistGroupAdd    BlacklistScope = "groupAdd"
)

var blacklistScopes = []BlacklistScope{BlacklistLastSeen, BlacklistPhoto, BlacklistDescription, BlacklistGroupAdd}

// Valid reports whether s is one of the four legal values.
func (s BlacklistScope) Valid() bool { return slices.Contains(blacklistScopes, s) }

// UnmarshalText sets s from its wire form and refuses any other text with a [*ValidationError].
func (s *BlacklistScope) UnmarshalText(text []byte) error {
	return unmarshalOneOf(s, "BlacklistScope", text, blacklistScopes)
}

// BlacklistAction says what a [BlacklistChange] does.
type BlacklistAction string

// The legal values of [BlacklistAction].
const (
	BlacklistAdd    BlacklistAction = "add"    // put the contact on the list: it no longer sees the setting
	BlacklistRemove BlacklistAction = "remove" // take the contact off the list
)

var blacklistActions = []BlacklistAction{BlacklistAdd, BlacklistRemove}

// Valid reports whether a is one of the two legal values.
func (a BlacklistAction) Valid() bool { return slices.Contains(blacklistActions, a) }

// UnmarshalText sets a from its wire form and refuses any other text with a [*ValidationError].
func (a *BlacklistAction) UnmarshalText(text []byte) error {
	return unmarshalOneOf(a, "BlacklistAction", text, blacklistActions)
}

// BlacklistChange adds one contact to a setting's blacklist or removes it.
// The API takes changes only: contacts already on the list are not sent again.
//
// Phone is a number with its country code, 7 to 15 digits, that may be written with "+", blanks,
// "-", "." and parentheses, or a WhatsApp private id, "999999999999999@lid".
type BlacklistChange struct {
	Action BlacklistAction `json:"action"`
	Phone  string          `json:"phone"`
}

// Disallow is the change that puts phone on the blacklist.
func Disallow(phone string) BlacklistChange {
	return BlacklistChange{Action: BlacklistAdd, Phone: phone}
}

// Allow is the change that takes phone off the blacklist.
func Allow(phone string) BlacklistChange {
	return BlacklistChange{Action: BlacklistRemove, Phone: phone}
}

// BlacklistDiff is what [Client.ReplaceBlacklist] changed, each contact as it was sent.
type BlacklistDiff struct {
	Added, Removed []string
}

func oneOf[T ~string](op, field string, value T, legal []T) error {
	if slices.Contains(legal, value) {
		return nil
	}
	return &ValidationError{op, field, mustBeOneOf(legal)}
}

func mustBeOneOf[T ~string](legal []T) string {
	names := make([]string, len(legal))
	for i, v := range legal {
		names[i] = string(v)
	}
	return "must be one of " + strings.Join(names, ", ")
}

func unmarshalOneOf[T ~string](dst *T, name string, text []byte, legal []T) error {
	if err := oneOf("", name, T(text), legal); err != nil {
		return err
	}
	*dst = T(text)
	return nil
}

const (
	minPhoneDigits = 7
	maxPhoneDigits = 15 // E.164
	phoneRule      = "must be 7 to 15 digits, country code first, or digits@lid"
)

var phoneMarks = strings.NewReplacer("+", "", "-", "", ".", "", "(", "", ")", "", " ", "")

// normalizePhone gives the wire form of a contact, or false where there is none.
func normalizePhone(phone string) (string, bool) {
	if id, isLID := strings.CutSuffix(phone, "@lid"); isLID {
		return phone, id != "" && allDigits(id)
	}
	digits := phoneMarks.Replace(phone)
	return digits, len(digits) >= minPhoneDigits && len(digits) <= maxPhoneDigits && allDigits(digits)
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
