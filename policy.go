package zapi

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// A Policy is the privacy of an instance as one value, to be kept in a file or a database column and applied with
// [Client.Apply]. Settings that are nil or empty are left as they are.
//
// Its JSON and YAML are strict in both directions: unknown keys, repeated keys, and values that [Policy.Validate] refuses are
// errors that name the key. A known key with null is like an absent one. A document that names no setting can be read, but
// not applied.
type Policy struct {
	LastSeen        *Audience        `json:"lastSeen,omitempty"`
	Photo           *Audience        `json:"photo,omitempty"`
	Description     *Audience        `json:"description,omitempty"`
	GroupAdd        *Audience        `json:"groupAdd,omitempty"` // who may add to groups; NONE is not allowed
	Online          OnlineVisibility `json:"online,omitempty"`
	ReadReceipts    ReadReceipts     `json:"readReceipts,omitempty"`
	MessageDuration MessageDuration  `json:"messageDuration,omitempty"`
}

// An Audience is who sees one setting or, for GroupAdd, who may add the number to groups.
type Audience struct {
	Visibility Visibility `json:"visibility"`
	// Except is the complete blacklist, allowed only with CONTACT_BLACKLIST: nil keeps the existing list, empty clears it.
	Except []string `json:"except,omitzero"`
}

// IsZero reports whether p names no setting, as after an empty file was read.
func (p Policy) IsZero() bool { return p == Policy{} }

// Validate returns nil, or everything that is wrong with p: the error joins a [*ValidationError] for each wrong setting,
// which names the JSON key. A Policy that names no setting is refused.
//
// The allowed values are those of the setters. An Audience for GroupAdd cannot be NONE, and Except is allowed only with
// CONTACT_BLACKLIST.
func (p Policy) Validate() error {
	if p.IsZero() {
		return &ValidationError{opPolicy, "", "must name at least one setting"}
	}
	return p.validateSettings()
}

// validateSettings is Validate without the check that there is a setting.
func (p Policy) validateSettings() error {
	var errs []error
	for _, s := range p.settings() {
		errs = append(errs, s.validate())
	}
	return errors.Join(errs...)
}

// MarshalJSON returns an error for a policy with a setting that [Policy.Validate] refuses.
func (p Policy) MarshalJSON() ([]byte, error) {
	if err := p.validateSettings(); err != nil {
		return nil, err
	}
	type plain Policy // without this method
	return json.Marshal(plain(p))
}

// UnmarshalJSON replaces p. If it returns an error, a [*ValidationError] or several, p is left unchanged. A JSON null
// changes nothing.
func (p *Policy) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var policy Policy
	if err := policy.parse(data); err != nil {
		return err
	}
	if err := policy.validateSettings(); err != nil {
		return err
	}
	*p = policy
	return nil
}

// MarshalYAML returns p in the form that YAML libraries encode, or the error of [Policy.MarshalJSON].
func (p Policy) MarshalYAML() (any, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var value any
	err = json.Unmarshal(data, &value)
	return value, err
}

// UnmarshalYAML replaces p. YAML libraries call it. It is as strict as [Policy.UnmarshalJSON], and phones must be quoted, as
// they are strings. If it returns an error, p is left unchanged.
//
// Libraries do not call it for an empty file, which leaves p unchanged, and read only the first document of a file.
// yaml.v2 cannot read a policy: its keys are not strings, and it drops repeated ones.
func (p *Policy) UnmarshalYAML(unmarshal func(any) error) error {
	var value any
	if err := unmarshal(&value); err != nil {
		return err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return &ValidationError{opPolicy, "", "must hold only what JSON can hold, with strings as keys"}
	}
	return p.UnmarshalJSON(data)
}

// UnmarshalJSON replaces a. If it returns an error, a [*ValidationError], a is left unchanged. A JSON null changes nothing.
func (a *Audience) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var audience Audience
	if err := audience.parse(data); err != nil {
		return err
	}
	*a = audience
	return nil
}

const opPolicy = "policy"

// parse sets what the JSON object in data names, to allowed values. Whether the parts fit together is left to Validate.
func (p *Policy) parse(data []byte) error {
	m, err := parseMembers(data, "lastSeen", "photo", "description", "groupAdd", "online", "readReceipts", "messageDuration")
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(m)) { // sorted so that the same data returns the same error
		raw := m[key]
		switch key {
		case "lastSeen":
			p.LastSeen, err = parseAudience(raw)
		case "photo":
			p.Photo, err = parseAudience(raw)
		case "description":
			p.Description, err = parseAudience(raw)
		case "groupAdd":
			p.GroupAdd, err = parseAudience(raw)
		case "online":
			p.Online, err = parseValue(raw, onlineVisibilities)
		case "readReceipts":
			p.ReadReceipts, err = parseValue(raw, readReceipts)
		case "messageDuration":
			p.MessageDuration, err = parseValue(raw, messageDurations)
		}
		if err != nil {
			return withKey(key, err)
		}
	}
	return nil
}

func parseAudience(raw json.RawMessage) (*Audience, error) {
	a := new(Audience)
	return a, a.parse(raw)
}

func (a *Audience) parse(data []byte) error {
	m, err := parseMembers(data, "visibility", "except")
	if err != nil {
		return err
	}
	if raw, ok := m["visibility"]; ok {
		if a.Visibility, err = parseValue(raw, visibilities); err != nil {
			return withKey("visibility", err)
		}
	}
	if raw, ok := m["except"]; ok {
		if json.Unmarshal(raw, &a.Except) != nil {
			return &ValidationError{opPolicy, "except", "must be a list of phones, each a string"}
		}
	}
	return nil
}

// parseValue returns the value in raw, which must be allowed.
func parseValue[T ~string](raw json.RawMessage, allowed enum[T]) (T, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = "" // which no setting allows
	}
	return T(text), allowed.check(opPolicy, "", T(text))
}

// withKey puts key in front of the field that err names.
func withKey(key string, err error) error {
	var validationErr *ValidationError
	if errors.As(err, &validationErr) {
		return &ValidationError{validationErr.Op, strings.TrimSuffix(key+"."+validationErr.Field, "."), validationErr.Reason}
	}
	return err
}

const maxKeyText = 64 // bytes of an unknown key that an error shows

// shownKey returns an unknown key for an error. One with digits may be a phone.
func shownKey(key string) string {
	if strings.ContainsFunc(key, unicode.IsDigit) {
		return "…"
	}
	return shorten(key, maxKeyText)
}

// parseMembers returns the members of a JSON object without those that are null. Keys are matched exactly; an unknown or
// repeated one is an error.
func parseMembers(data []byte, keys ...string) (members, error) {
	m, repeated, err := parseObject(data)
	if err != nil {
		return nil, &ValidationError{opPolicy, "", "must be an object"}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) { // sorted so that the same data returns the same error
		if !slices.Contains(keys, key) {
			return nil, &ValidationError{opPolicy, shownKey(key), "is unknown; the keys are " + strings.Join(keys, ", ")}
		}
	}
	if len(repeated) > 0 {
		return nil, &ValidationError{opPolicy, repeated[0], "must not be repeated"}
	}
	maps.DeleteFunc(m, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	return m, nil
}
