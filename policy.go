package zapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// A Policy is the privacy of an instance as one value, to be kept in a file or a database column and applied with
// [Client.Apply]. Settings that are nil or empty are left as they are.
//
// Its JSON and YAML are strict in both directions: unknown keys, repeated keys, and values that [Policy.Validate] refuses are
// errors that name the key. A known key with null is like an absent one.
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

// Validate returns nil, or everything that is wrong with p: the error joins a [*ValidationError] for each wrong setting,
// which names the JSON key.
//
// The allowed values are those of the setters. An Audience for GroupAdd cannot be NONE, and Except is allowed only with
// CONTACT_BLACKLIST.
func (p Policy) Validate() error {
	var errs []error
	for _, s := range p.settings() {
		if s.isSet() {
			errs = append(errs, s.validate())
		}
	}
	return errors.Join(errs...)
}

// Apply sets the privacy of the instance to p.
//
// It validates all of p first, and sends nothing if any part is wrong. It then applies each setting, in the order
// lastSeen, photo, description, groupAdd, online, readReceipts, messageDuration. A failure does not keep the others from
// being applied, unless the context is done or the credentials are refused: then the rest is skipped.
//
// The error joins all failures. Each names its JSON key and wraps a [*ValidationError], an [*APIError] or a
// [*TransportError]. Applying p again is safe and completes what is missing.
//
// Each setting uses its own route. One with Except is applied by [Client.ReplaceBlacklist].
func (c *Client) Apply(ctx context.Context, p Policy) error {
	if err := c.ready(ctx, opPolicy); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return err
	}
	var failures []error
	for _, s := range p.settings() {
		if !s.isSet() {
			continue
		}
		if err := s.apply(ctx, c); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", s.key, err))
			if ctx.Err() != nil || errors.Is(err, ErrUnauthorized) {
				break
			}
		}
	}
	return errors.Join(failures...)
}

// MarshalJSON returns an error for a policy that [Policy.Validate] refuses.
func (p Policy) MarshalJSON() ([]byte, error) {
	if err := p.Validate(); err != nil {
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
	if err := policy.read(data); err != nil {
		return err
	}
	if err := policy.Validate(); err != nil {
		return err
	}
	*p = policy
	return nil
}

// MarshalYAML returns p in the form that YAML libraries encode, or an error for a policy that [Policy.Validate] refuses.
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
	if err := audience.read(data); err != nil {
		return err
	}
	*a = audience
	return nil
}

const opPolicy = "policy"

// internationalPhones checks the phones of a policy. It has no parser, as the same file serves instances in every country.
var internationalPhones phones

// A setting is one part of a policy.
type setting struct {
	key      string
	isSet    func() bool
	validate func() error // of a part that is set
	read     func(json.RawMessage) error
	apply    func(context.Context, *Client) error
}

// settings returns the parts of p in the order in which they are applied: online may refer to last seen, so it is later.
func (p *Policy) settings() []setting {
	return []setting{
		audienceSetting(BlacklistLastSeen, &p.LastSeen, visibilities, (*Client).SetLastSeen),
		audienceSetting(BlacklistPhoto, &p.Photo, visibilities, (*Client).SetPhotoVisibility),
		audienceSetting(BlacklistDescription, &p.Description, visibilities, (*Client).SetDescriptionVisibility),
		audienceSetting(BlacklistGroupAdd, &p.GroupAdd, groupAddPermissions, (*Client).SetGroupAddPermission),
		valueSetting("online", &p.Online, onlineVisibilities, (*Client).SetOnlineVisibility),
		valueSetting("readReceipts", &p.ReadReceipts, readReceipts, (*Client).SetReadReceipts),
		valueSetting("messageDuration", &p.MessageDuration, messageDurations, (*Client).SetMessageDuration),
	}
}

func valueSetting[T ~string](key string, value *T, allowed enum[T], set func(*Client, context.Context, T) error) setting {
	return setting{
		key:      key,
		isSet:    func() bool { return *value != "" },
		validate: func() error { return allowed.check(opPolicy, key, *value) },
		read:     func(raw json.RawMessage) error { return withKey(key, readValue(raw, value, allowed)) },
		apply:    func(ctx context.Context, c *Client) error { return set(c, ctx, *value) },
	}
}

func audienceSetting[T ~string](
	scope BlacklistScope, audience **Audience, allowed enum[T], set func(*Client, context.Context, T, ...BlacklistChange) error,
) setting {
	key := string(scope)
	return setting{
		key:   key,
		isSet: func() bool { return *audience != nil },
		validate: func() error {
			a := *audience
			if err := allowed.check(opPolicy, key+".visibility", T(a.Visibility)); err != nil {
				return err
			}
			if a.Except != nil && a.Visibility != VisibilityContactBlacklist {
				return &ValidationError{opPolicy, key + ".except", "is allowed only with " + string(VisibilityContactBlacklist)}
			}
			_, err := internationalPhones.normalizeContacts(opPolicy, key+".except", a.Except)
			return err
		},
		read: func(raw json.RawMessage) error {
			*audience = new(Audience)
			return withKey(key, (*audience).read(raw))
		},
		apply: func(ctx context.Context, c *Client) error {
			a := *audience
			if a.Except == nil {
				return set(c, ctx, T(a.Visibility))
			}
			wanted, err := internationalPhones.normalizeContacts(opPolicy, key+".except", a.Except)
			if err != nil {
				return err
			}
			_, err = c.replaceBlacklist(ctx, scope, wanted)
			return err
		},
	}
}

// read sets what the JSON object in data names, to allowed values. Whether the parts fit together is left to Validate.
func (p *Policy) read(data []byte) error {
	settings := p.settings()
	keys := make([]string, len(settings))
	for i, s := range settings {
		keys[i] = s.key
	}
	m, err := readObject(data, keys...)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if value, ok := m[s.key]; ok {
			if err := s.read(value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Audience) read(data []byte) error {
	m, err := readObject(data, "visibility", "except")
	if err != nil {
		return err
	}
	if value, ok := m["visibility"]; ok {
		if err := withKey("visibility", readValue(value, &a.Visibility, visibilities)); err != nil {
			return err
		}
	}
	if value, ok := m["except"]; ok {
		if err := json.Unmarshal(value, &a.Except); err != nil {
			return &ValidationError{opPolicy, "except", "must be a list of phones, each a string"}
		}
	}
	return nil
}

// readValue sets dst to the value in raw, which must be allowed.
func readValue[T ~string](raw json.RawMessage, dst *T, allowed enum[T]) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		text = "" // which no setting allows
	}
	*dst = T(text)
	return allowed.check(opPolicy, "", *dst)
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

// readObject returns the members of a JSON object without those that are null. Keys are matched exactly; an unknown or
// repeated one is an error.
func readObject(data []byte, keys ...string) (members, error) {
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
