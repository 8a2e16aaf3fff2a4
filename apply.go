package zapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Apply sets the privacy of the instance to p.
//
// It validates all of p first, and sends nothing if any part is wrong or p names no setting. It then applies each setting,
// in the order lastSeen, photo, description, groupAdd, online, readReceipts, messageDuration. A failure does not keep the
// others from being applied, unless the context is done or the credentials are refused: then the rest is skipped.
//
// The error is that of [Policy.Validate], or an [*ApplyError], which has what was applied, what failed and what was skipped.
// Each failure names its JSON key and wraps a [*ValidationError], an [*APIError] or a [*TransportError]. Applying p again is
// safe and completes what is missing.
//
// Each setting uses its own route. One with Except is applied by [Client.ReplaceBlacklist].
func (c *Client) Apply(ctx context.Context, p Policy) error {
	if err := c.ready(ctx, opPolicy); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return err
	}
	var outcome ApplyError
	settings := p.settings()
	for i, s := range settings {
		err := s.apply(ctx, c)
		if err == nil {
			outcome.Applied = append(outcome.Applied, s.key)
			continue
		}
		outcome.Failed = append(outcome.Failed, SettingError{s.key, err})
		if contextErr(ctx) != nil || errors.Is(err, ErrUnauthorized) {
			for _, skipped := range settings[i+1:] {
				outcome.Skipped = append(outcome.Skipped, skipped.key)
			}
			break
		}
	}
	if len(outcome.Failed) == 0 {
		return nil
	}
	return &outcome
}

// Plan returns what [Client.Apply] would send, and changes nothing. It validates p and reads the blacklists that Apply would
// replace.
//
// The error is that of [Policy.Validate], or a [*SettingError] that names the setting whose blacklist could not be read and
// wraps a [*ValidationError], an [*APIError] or a [*TransportError].
//
// GET /privacy/disallowed-contacts, https://developer.z-api.io/en/privacy/get-disallowed-contacts
func (c *Client) Plan(ctx context.Context, p Policy) (Plan, error) {
	if err := c.ready(ctx, opPolicy); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var plan Plan
	for _, s := range p.settings() {
		diff, err := s.diff(ctx, c)
		if err != nil {
			return nil, &SettingError{s.key, err}
		}
		plan = append(plan, PlannedSetting{s.key, s.value, diff})
	}
	return plan, nil
}

// A Plan is what [Client.Apply] would send, in its order.
type Plan []PlannedSetting

// A PlannedSetting is what [Client.Apply] would send for one setting.
type PlannedSetting struct {
	Setting   string         // JSON key of the policy, such as "lastSeen"
	Value     string         // what would be sent, such as "CONTACT_BLACKLIST"; the present value cannot be read from the API
	Blacklist *BlacklistDiff // nil unless Apply replaces the blacklist
}

// String returns a table with a line for each setting. Of blacklists it shows how many contacts change, and no phone.
func (p Plan) String() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tBLACKLIST")
	for _, s := range p {
		change := "-"
		if s.Blacklist != nil {
			change = fmt.Sprintf("%d added, %d removed", len(s.Blacklist.Added), len(s.Blacklist.Removed))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Setting, s.Value, change)
	}
	_ = table.Flush() // a Builder does not fail
	return text.String()
}

// internationalPhones checks the phones of a policy. It has no parser, as the same file serves instances in every country.
var internationalPhones phones

// A setting is one part of a policy.
type setting struct {
	key      string
	value    string
	validate func() error
	diff     func(context.Context, *Client) (*BlacklistDiff, error) // what apply would change in the blacklist
	apply    func(context.Context, *Client) error
}

// settings returns the parts that p names, in the order in which they are applied: online may refer to last seen, so it is
// later.
func (p Policy) settings() []setting {
	all := []setting{
		audienceSetting(BlacklistLastSeen, p.LastSeen, visibilities, (*Client).SetLastSeen),
		audienceSetting(BlacklistPhoto, p.Photo, visibilities, (*Client).SetPhotoVisibility),
		audienceSetting(BlacklistDescription, p.Description, visibilities, (*Client).SetDescriptionVisibility),
		audienceSetting(BlacklistGroupAdd, p.GroupAdd, groupAddPermissions, (*Client).SetGroupAddPermission),
		valueSetting("online", p.Online, onlineVisibilities, (*Client).SetOnlineVisibility),
		valueSetting("readReceipts", p.ReadReceipts, readReceipts, (*Client).SetReadReceipts),
		valueSetting("messageDuration", p.MessageDuration, messageDurations, (*Client).SetMessageDuration),
	}
	return slices.DeleteFunc(all, func(s setting) bool { return s.validate == nil })
}

// valueSetting returns the setting of value, or the zero setting if value is empty.
func valueSetting[T ~string](key string, value T, allowed enum[T], set func(*Client, context.Context, T) error) setting {
	if value == "" {
		return setting{}
	}
	return setting{
		key: key, value: string(value),
		validate: func() error { return allowed.check(opPolicy, key, value) },
		diff:     func(context.Context, *Client) (*BlacklistDiff, error) { return nil, nil },
		apply:    func(ctx context.Context, c *Client) error { return set(c, ctx, value) },
	}
}

// audienceSetting returns the setting of a, or the zero setting if a is nil.
func audienceSetting[T ~string](
	scope BlacklistScope, a *Audience, allowed enum[T], set func(*Client, context.Context, T, ...BlacklistChange) error,
) setting {
	if a == nil {
		return setting{}
	}
	key := string(scope)
	except := func() ([]string, error) {
		return internationalPhones.normalizeContacts(opPolicy, key+".except", a.Except)
	}
	return setting{
		key: key, value: string(a.Visibility),
		validate: func() error {
			if err := allowed.check(opPolicy, key+".visibility", T(a.Visibility)); err != nil {
				return err
			}
			if a.Except != nil && a.Visibility != VisibilityContactBlacklist {
				return &ValidationError{opPolicy, key + ".except", "is allowed only with " + string(VisibilityContactBlacklist)}
			}
			_, err := except()
			return err
		},
		diff: func(ctx context.Context, c *Client) (*BlacklistDiff, error) {
			wanted, err := except()
			if a.Except == nil || err != nil {
				return nil, err
			}
			diff, err := c.diffBlacklist(ctx, scope, wanted)
			return &diff, err
		},
		apply: func(ctx context.Context, c *Client) error {
			wanted, err := except()
			switch {
			case err != nil:
				return err
			case a.Except == nil:
				return set(c, ctx, T(a.Visibility))
			}
			_, err = c.replaceBlacklist(ctx, scope, wanted)
			return err
		},
	}
}
