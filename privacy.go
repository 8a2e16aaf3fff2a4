package zapi

import "context"

// onlineRequest is the body of [Client.SetOnlineVisibility].
type onlineRequest struct {
	Visibility string `json:"visualizationType"`
}

// SetLastSeen sets who sees when the number was last online.
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]. changes are allowed
// only with the last and alter only the blacklist of this setting. Without changes, the setting uses its existing
// blacklist. The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/last-seen, https://developer.z-api.io/en/privacy/set-last-seen
func (c *Client) SetLastSeen(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opLastSeen, v, changes)
}

// SetPhotoVisibility sets who sees the profile photo.
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]. changes are allowed
// only with the last and alter only the blacklist of this setting. Without changes, the setting uses its existing
// blacklist. The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/photo, https://developer.z-api.io/en/privacy/set-photo-visualization
func (c *Client) SetPhotoVisibility(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opPhoto, v, changes)
}

// SetOnlineVisibility sets who sees that the number is online.
//
// v is [OnlineAll] or [OnlineSameAsLastSeen]; this setting has no blacklist of its own.
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/online, https://developer.z-api.io/en/privacy/set-privacy-online
func (c *Client) SetOnlineVisibility(ctx context.Context, v OnlineVisibility) error {
	if err := onlineVisibilities.check(opOnline, "visibility", v); err != nil {
		return err
	}
	return c.post(ctx, opOnline, onlineRequest{string(v)})
}

// SetDescriptionVisibility sets who sees the description of the profile, the "recado".
//
// v is [VisibilityAll], [VisibilityNone], [VisibilityContacts] or [VisibilityContactBlacklist]. changes are allowed
// only with the last and alter only the blacklist of this setting. Without changes, the setting uses its existing
// blacklist. The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/description, https://developer.z-api.io/en/privacy/set-privacy-description
func (c *Client) SetDescriptionVisibility(ctx context.Context, v Visibility, changes ...BlacklistChange) error {
	return c.setVisibility(ctx, opDescription, v, changes)
}

// SetGroupAddPermission sets who may add the number to groups.
//
// p is [GroupAddAll], [GroupAddContacts] or [GroupAddContactBlacklist]. changes are allowed only with the last and
// alter only the blacklist of this setting. Without changes, the setting uses its existing blacklist.
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/group-add, https://developer.z-api.io/en/privacy/set-group-add-permission
func (c *Client) SetGroupAddPermission(ctx context.Context, p GroupAddPermission, changes ...BlacklistChange) error {
	if err := groupAddPermissions.check(opGroupAdd, "permission", p); err != nil {
		return err
	}
	blacklist, err := c.phones().normalizeChanges(opGroupAdd, p == GroupAddContactBlacklist, changes)
	if err != nil {
		return err
	}
	return c.post(ctx, opGroupAdd, groupAddRequest{string(p), blacklist})
}

// SetReadReceipts switches read receipts on or off. While they are off, the number does not see those of others either.
// In groups, read receipts are always sent.
//
// r is [ReadReceiptsEnable] or [ReadReceiptsDisable].
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/read-receipts, https://developer.z-api.io/en/privacy/set-read-receipts
func (c *Client) SetReadReceipts(ctx context.Context, r ReadReceipts) error {
	if err := readReceipts.check(opReadReceipts, "readReceipts", r); err != nil {
		return err
	}
	return c.postValue(ctx, opReadReceipts, string(r))
}

// SetMessageDuration sets the time after which the messages of new individual chats disappear.
//
// d is [MessageDuration24Hours], [MessageDuration7Days], [MessageDuration90Days] or [MessageDurationDisable].
// The error is a [*ValidationError], an [*APIError] or a [*TransportError].
//
// POST /privacy/messages-duration, https://developer.z-api.io/en/privacy/set-messages-duration
func (c *Client) SetMessageDuration(ctx context.Context, d MessageDuration) error {
	if err := messageDurations.check(opMessageDuration, "messageDuration", d); err != nil {
		return err
	}
	return c.postValue(ctx, opMessageDuration, string(d))
}

// setVisibility validates and sends one of the settings that take a [Visibility].
func (c *Client) setVisibility(ctx context.Context, op string, v Visibility, changes []BlacklistChange) error {
	if err := visibilities.check(op, "visibility", v); err != nil {
		return err
	}
	blacklist, err := c.phones().normalizeChanges(op, v == VisibilityContactBlacklist, changes)
	if err != nil {
		return err
	}
	return c.post(ctx, op, visibilityRequest{string(v), blacklist})
}
