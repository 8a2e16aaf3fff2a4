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

func oneOf[T ~string](op, field string, value T, legal []T) error {
	if slices.Contains(legal, value) {
		return nil
	}
	names := make([]string, len(legal))
	for i, v := range legal {
		names[i] = string(v)
	}
	return &ValidationError{Op: op, Field: field, Reason: "must be one of " + strings.Join(names, ", ")}
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
