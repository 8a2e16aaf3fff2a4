package zapi

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

const version = "0.1.0"

// Credentials identify and authenticate an instance. Printing them shows only the instance ID.
type Credentials struct {
	InstanceID  string // ID of the instance, from the Z-API panel
	Token       string // token of the instance; secret
	ClientToken string // account security token, sent as the header Client-Token; secret
}

// CredentialsFromEnv returns the credentials in ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN.
// The error is a [*ValidationError] that names each variable that is missing or empty.
func CredentialsFromEnv() (Credentials, error) {
	var missing []string
	read := func(name string) string {
		value := os.Getenv(name)
		if value == "" {
			missing = append(missing, name)
		}
		return value
	}
	creds := Credentials{
		InstanceID:  read("ZAPI_INSTANCE_ID"),
		Token:       read("ZAPI_TOKEN"),
		ClientToken: read("ZAPI_CLIENT_TOKEN"),
	}
	if len(missing) > 0 {
		return Credentials{}, &ValidationError{"CredentialsFromEnv", strings.Join(missing, ", "), "must be set in the environment"}
	}
	return creds, nil
}

// Format shows the instance ID for every verb.
func (c Credentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "zapi.Credentials(%q)", c.InstanceID)
}

// LogValue shows the instance ID.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.InstanceID) }

// MarshalText shows the instance ID, also in JSON and YAML.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.InstanceID), nil }

func (c Credentials) validate(op string, clientTokenOptional bool) error {
	for _, part := range []struct{ field, value string }{{"InstanceID", c.InstanceID}, {"Token", c.Token}} {
		switch {
		case part.value == "":
			return &ValidationError{op, part.field, "must not be empty"}
		case part.value == ".", part.value == "..", strings.ContainsFunc(part.value, unfitForPath):
			return &ValidationError{op, part.field, `must be printable ASCII without spaces or any of / \ ? # %, and must not be . or ..`}
		}
	}
	switch {
	case c.ClientToken == "" && !clientTokenOptional:
		return &ValidationError{op, "ClientToken", "must not be empty; accounts without one need WithoutClientToken"}
	case strings.ContainsFunc(c.ClientToken, unfitForHeader), strings.TrimSpace(c.ClientToken) != c.ClientToken:
		return &ValidationError{op, "ClientToken", "must be a valid header value without spaces around it"}
	}
	return nil
}

func unfitForPath(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/\?#%`, r) }

func unfitForHeader(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// A Client sets the privacy of one instance. It is immutable and safe for concurrent use. [NewClient] and
// [Client.ForInstance] return one. Printing it shows only the instance ID.
type Client struct {
	shared     *shared
	instanceID string
	secrets    sealed[*secrets]
}

// NewClient returns a client for the instance of creds. It sends nothing.
//
// All options are checked together, so their order never matters.
// The error is a [*ValidationError] that names the credential or option at fault.
func NewClient(creds Credentials, opts ...Option) (*Client, error) {
	const op = "NewClient"
	shared, err := newShared(op, opts)
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

// InstanceID returns the ID of the instance.
func (c *Client) InstanceID() string { return c.instanceID }

// Format shows the instance ID for every verb.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "zapi.Client(%q)", c.instanceID) }

// LogValue shows the instance ID.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.instanceID) }

// MarshalText shows the instance ID, also in JSON and YAML.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.instanceID), nil }

// validate returns an error for a client that NewClient or ForInstance did not return.
func (c *Client) validate(op string) error {
	if c == nil || c.shared == nil {
		return &ValidationError{op, "client", "must come from NewClient or ForInstance"}
	}
	return nil
}
