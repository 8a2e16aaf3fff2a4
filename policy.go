package zapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy is the privacy of an instance as one value, to be kept in a file or a database column and applied with
// [Client.Apply]. Settings that are nil or empty are left as they are.
//
// Its JSON is strict both ways: unknown and repeated keys, and values that [Policy.Validate] refuses, are errors that
// name the key. A null is the same as no key.
type Policy struct {
	LastSeen        *Audience        `json:"lastSeen,omitempty"`
	Photo           *Audience        `json:"photo,omitempty"`
	Description     *Audience        `json:"description,omitempty"`
	GroupAdd        *Audience        `json:"groupAdd,omitempty"` // who may add to groups; never NONE
	Online          OnlineVisibility `json:"online,omitempty"`
	ReadReceipts    ReadReceipts     `json:"readReceipts,omitempty"`
	MessageDuration MessageDuration  `json:"messageDuration,omitempty"`
}

// Audience is who sees one setting or, for GroupAdd, who may do it.
type Audience struct {
	Visibility Visibility `json:"visibility"`
	// Except is the whole blacklist wanted, with CONTACT_BLACKLIST only: nil keeps the list as it stands, empty clears it.
	Except []string `json:"except,omitzero"`
}

const (
	opPolicy   = "policy"
	maxKeyText = 64 // bytes of an unknown key that an error shows
)

// setting is one part of a policy.
type setting struct {
	key      string
	isSet    func() bool
	validate func() error // of what is set
	read     func(json.RawMessage) error
	apply    func(context.Context, *Client) error
}

// settings lists the parts of p in the order in which they are applied: online may refer to last seen, so it comes later.
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

func valueSetting[T ~string](key string, value *T, legal []T, set func(*Client, context.Context, T) error) setting {
	return setting{
		key:      key,
		isSet:    func() bool { return *value != "" },
		validate: func() error { return oneOf(opPolicy, key, *value, legal) },
		read:     func(raw json.RawMessage) error { return readOneOf(raw, key, value, legal) },
		apply:    func(ctx context.Context, c *Client) error { return set(c, ctx, *value) },
	}
}

func audienceSetting[T ~string](
	scope BlacklistScope, audience **Audience, legal []T, set func(*Client, context.Context, T, ...BlacklistChange) error,
) setting {
	key := string(scope)
	return setting{
		key:   key,
		isSet: func() bool { return *audience != nil },
		validate: func() error {
			a := *audience
			if err := oneOf(opPolicy, key+".visibility", T(a.Visibility), legal); err != nil {
				return err
			}
			if a.Except != nil && a.Visibility != VisibilityContactBlacklist {
				return &ValidationError{opPolicy, key + ".except", "goes with " + string(VisibilityContactBlacklist) + " only"}
			}
			_, err := normalizeContacts(opPolicy, key+".except", a.Except)
			return err
		},
		read: func(raw json.RawMessage) error {
			*audience = new(Audience)
			return (*audience).readJSON(raw, key, key+".")
		},
		apply: func(ctx context.Context, c *Client) error {
			a := *audience
			if a.Except == nil {
				return set(c, ctx, T(a.Visibility))
			}
			_, err := c.ReplaceBlacklist(ctx, scope, a.Except)
			return err
		},
	}
}

// Validate reports all that is wrong with p, each as a [*ValidationError] that names the JSON key.
//
// The values are those of the setters; an Audience for GroupAdd is not NONE, and Except goes with CONTACT_BLACKLIST only.
func (p Policy) Validate() error {
	var errs []error
	for _, s := range p.settings() {
		if s.isSet() {
			errs = append(errs, s.validate())
		}
	}
	return errors.Join(errs...)
}

// Apply makes the privacy of the instance what p says.
//
// All of p is validated first, and nothing is sent if any part is wrong. Then each setting is applied, in the order
// last seen, photo, description, groupAdd, online, readReceipts, messageDuration. A failure does not keep the others
// from being applied, unless the context is done or the credentials are refused: then the rest is not tried.
//
// The error joins all failures, each under its JSON key and one of [*ValidationError], [*APIError] and
// [*TransportError]. Applying p again is safe and does what is missing.
//
// Each setting uses its own route; one with Except is applied by [Client.ReplaceBlacklist].
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

// MarshalJSON refuses a policy that [Policy.Validate] refuses.
func (p Policy) MarshalJSON() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	type plain Policy // without this method
	return json.Marshal(plain(p))
}

// UnmarshalJSON replaces p, or leaves it alone when it returns a [*ValidationError] or several.
func (p *Policy) UnmarshalJSON(data []byte) error {
	var policy Policy
	settings := policy.settings()
	err := readObject(data, "", "", func(key string, value json.RawMessage) error {
		for _, s := range settings {
			if s.key == key {
				return s.read(value)
			}
		}
		return unknownKey("", key, keysOf(settings))
	})
	if err == nil {
		err = policy.Validate()
	}
	if err == nil {
		*p = policy
	}
	return err
}

// UnmarshalJSON replaces a, or leaves it alone when it returns a [*ValidationError].
func (a *Audience) UnmarshalJSON(data []byte) error {
	var audience Audience
	if err := audience.readJSON(data, "", ""); err != nil {
		return err
	}
	*a = audience
	return nil
}

// readJSON reads an audience; errors name its own key, or one of its members behind the prefix.
func (a *Audience) readJSON(data []byte, key, prefix string) error {
	return readObject(data, key, prefix, func(member string, value json.RawMessage) error {
		switch member {
		case "visibility":
			return readOneOf(value, prefix+member, &a.Visibility, visibilities)
		case "except":
			if err := json.Unmarshal(value, &a.Except); err != nil {
				return &ValidationError{opPolicy, prefix + member, "must be a list of phones"}
			}
			return nil
		}
		return unknownKey(prefix, member, "visibility, except")
	})
}

func readOneOf[T ~string](raw json.RawMessage, field string, dst *T, legal []T) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		text = "" // what is no string is no legal value either
	}
	*dst = T(text)
	return oneOf(opPolicy, field, *dst, legal)
}

// readObject hands out the members of a JSON object but those that are null, by their exact keys and each only once.
func readObject(data []byte, key, prefix string, member func(key string, value json.RawMessage) error) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, _ := decoder.Token(); start != json.Delim('{') || !json.Valid(data) {
		return &ValidationError{opPolicy, key, "must be a JSON object"}
	}
	var seen []string
	for decoder.More() {
		token, _ := decoder.Token() // cannot fail: data is valid
		name, _ := token.(string)
		var value json.RawMessage
		_ = decoder.Decode(&value) // likewise
		if slices.Contains(seen, name) {
			return &ValidationError{opPolicy, prefix + shorten(name, maxKeyText), "must not stand there twice"}
		}
		seen = append(seen, name)
		if string(value) == "null" {
			continue
		}
		if err := member(name, value); err != nil {
			return err
		}
	}
	return nil
}

func unknownKey(prefix, key, legal string) error {
	return &ValidationError{opPolicy, prefix + shorten(key, maxKeyText), "is unknown; the keys are " + legal}
}

func keysOf(settings []setting) string {
	keys := make([]string, len(settings))
	for i, s := range settings {
		keys[i] = s.key
	}
	return strings.Join(keys, ", ")
}
