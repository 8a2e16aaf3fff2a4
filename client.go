package zapi

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// Credentials identify and authenticate an instance. Printing them shows only the instance ID.
type Credentials struct {
	InstanceID  string `json:"instanceId" yaml:"instanceId"`   // ID of the instance, from the Z-API panel
	Token       string `json:"token" yaml:"token"`             // token of the instance; secret
	ClientToken string `json:"clientToken" yaml:"clientToken"` // account security token, sent as the header Client-Token; secret
}

// CredentialsFromEnv returns the credentials in the environment variables ZAPI_INSTANCE_ID, ZAPI_TOKEN and
// ZAPI_CLIENT_TOKEN. The first two must be set: otherwise the error is a [*ValidationError] that names each one that is
// missing or empty. [NewClient] checks the third; see [WithoutClientToken].
func CredentialsFromEnv() (Credentials, error) {
	creds := Credentials{
		InstanceID:  os.Getenv("ZAPI_INSTANCE_ID"),
		Token:       os.Getenv("ZAPI_TOKEN"),
		ClientToken: os.Getenv("ZAPI_CLIENT_TOKEN"),
	}
	var missing []string
	if creds.InstanceID == "" {
		missing = append(missing, "ZAPI_INSTANCE_ID")
	}
	if creds.Token == "" {
		missing = append(missing, "ZAPI_TOKEN")
	}
	if len(missing) > 0 {
		return Credentials{}, &ValidationError{"CredentialsFromEnv", strings.Join(missing, ", "), "must be set in the environment"}
	}
	return creds, nil
}

// Format writes the instance ID, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "zapi.Credentials(%q)", c.InstanceID)
}

// LogValue returns the instance ID.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.InstanceID) }

// MarshalText returns the instance ID, so that JSON and YAML show nothing else.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.InstanceID), nil }

func (c Credentials) validate(op string, clientTokenOptional bool) error {
	for _, part := range []struct{ field, value string }{{"InstanceID", c.InstanceID}, {"Token", c.Token}} {
		switch {
		case part.value == "":
			return &ValidationError{op, part.field, "must not be empty"}
		case part.value == ".", part.value == "..", strings.ContainsFunc(part.value, isUnprintable), strings.ContainsAny(part.value, `/\?#%`):
			return &ValidationError{op, part.field, `must be printable ASCII without spaces or any of / \ ? # %, and must not be . or ..`}
		}
	}
	switch {
	case c.ClientToken == "" && !clientTokenOptional:
		return &ValidationError{op, "ClientToken", "must not be empty: set ZAPI_CLIENT_TOKEN, or use WithoutClientToken if the account has none"}
	case strings.ContainsFunc(c.ClientToken, isUnprintable):
		return &ValidationError{op, "ClientToken", "must be printable ASCII without spaces"}
	}
	return nil
}

// A Client sets the privacy of one instance. It is immutable and safe for concurrent use. [NewClient] and
// [Client.ForInstance] return one. Printing it shows only the instance ID.
type Client struct {
	shared     *shared
	instanceID string
	secrets    sealed[*secrets]
}

// NewClient returns a client for the instance of creds. It sends nothing.
//
// All options are checked together, so the order of different ones never matters.
// The error is a [*ValidationError] that names the credential or option at fault.
func NewClient(creds Credentials, opts ...Option) (*Client, error) {
	const op = "NewClient"
	shared, err := newShared(opts)
	if err != nil {
		return nil, err
	}
	if err := creds.validate(op, shared.clientTokenOptional); err != nil {
		return nil, err
	}
	return &Client{shared, creds.InstanceID, sealSecrets(creds)}, nil
}

// ForInstance returns a client for another instance with the same options. Both share their connections; the new one
// takes about 200 bytes. The error is a [*ValidationError] that names the credential at fault.
func (c *Client) ForInstance(creds Credentials) (*Client, error) {
	const op = "ForInstance"
	if err := c.validate(op); err != nil {
		return nil, err
	}
	if err := creds.validate(op, c.shared.clientTokenOptional); err != nil {
		return nil, err
	}
	return &Client{c.shared, creds.InstanceID, sealSecrets(creds)}, nil
}

// CloseIdleConnections closes the idle connections of all clients that share them. Without it, they stay open for
// 90 seconds. A program that discards its clients should call it; one that calls [NewClient] once never needs it.
// With [WithTransport] it calls the CloseIdleConnections method of that transport, if it has one.
func (c *Client) CloseIdleConnections() {
	if c.validate("CloseIdleConnections") == nil {
		c.shared.pool.closeIdleConnections()
	}
}

// InstanceID returns the ID of the instance.
func (c *Client) InstanceID() string { return c.instanceID }

// Format writes the instance ID, whatever the verb.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "zapi.Client(%q)", c.instanceID) }

// LogValue returns the instance ID.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.instanceID) }

// MarshalText returns the instance ID, so that JSON and YAML show nothing else.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.instanceID), nil }

// validate returns an error for a client that NewClient or ForInstance did not return.
func (c *Client) validate(op string) error {
	if c == nil || c.shared == nil {
		return &ValidationError{op, "client", "must come from NewClient or ForInstance"}
	}
	return nil
}
