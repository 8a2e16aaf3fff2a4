package zapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// A Status reports whether the number of an instance is connected to WhatsApp.
type Status struct {
	Connected      bool   // the number is connected to WhatsApp; without it no setting can be changed
	PhoneConnected bool   // the phone has internet ("smartphoneConnected"); says nothing about Connected
	Reason         string // the API's text if not Connected, such as "You need to restore the session."; at most 512 bytes
}

var (
	errNoConnected    = errors.New("connected is missing or not a boolean")
	errPhoneConnected = errors.New("smartphoneConnected is not a boolean")
)

// Status returns whether the number is connected to WhatsApp. A number that is not connected is no error.
//
// The error is a [*ValidationError], an [*APIError] or a [*TransportError]. It matches [ErrUnexpectedResponse] if the
// response does not say whether the number is connected.
//
// GET /status, https://developer.z-api.io/en/instance/status
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	accept := func(a answer) (kind, reason error) {
		status, kind, reason = acceptStatus(a)
		return kind, reason
	}
	if err := c.do(ctx, request{op: opStatus, method: http.MethodGet, reads: true, accept: accept}); err != nil {
		return Status{}, err // also if an interceptor returned it after a success
	}
	status.Reason = shorten(strings.Map(printable, c.secrets().redactor.redact(status.Reason)), maxErrorPart)
	return status, nil
}

// acceptStatus reads a status. Here a text under "error" is no failure: a healthy number has "You are already connected."
// there.
func acceptStatus(a answer) (status Status, kind, reason error) {
	connected, phone := a.members["connected"], a.members["smartphoneConnected"]
	switch {
	case a.status != http.StatusOK:
		return Status{}, ErrUnexpectedResponse, errNot200
	case a.err != nil:
		return Status{}, ErrUnexpectedResponse, a.err
	case !isBool(connected):
		kind := kindOfText(a.code, a.message)
		if kind == nil || errors.Is(kind, ErrNotConnected) { // only "connected" itself says so
			return Status{}, ErrUnexpectedResponse, errNoConnected
		}
		return Status{}, kind, nil
	case phone != nil && string(phone) != "null" && !isBool(phone):
		return Status{}, ErrUnexpectedResponse, errPhoneConnected
	}
	if err := checkSuccess(a.members); err != nil {
		return Status{}, ErrUnexpectedResponse, err
	}
	status = Status{Connected: string(connected) == "true", PhoneConnected: string(phone) == "true"}
	if !status.Connected {
		status.Reason = cmp.Or(a.code, a.message)
	}
	return status, nil, nil
}

func isBool(raw json.RawMessage) bool { return string(raw) == "true" || string(raw) == "false" }
