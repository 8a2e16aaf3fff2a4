package zapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/go-resty/resty/v2"
)

const version = "0.1.0"

// Credentials identify and authenticate an instance. Printing them shows only the instance ID.
type Credentials struct {
	InstanceID  string `json:"instanceId" yaml:"instanceId"`   // ID of the instance, from the Z-API panel
	Token       string `json:"token" yaml:"token"`             // token of the instance; secret
	ClientToken string `json:"clientToken" yaml:"clientToken"` // account security token, sent as the header Client-Token; secret
}

// CredentialsFromEnv returns the credentials in the environment variables ZAPI_INSTANCE_ID, ZAPI_TOKEN and
// ZAPI_CLIENT_TOKEN. The first two must be set: otherwise the error is a [*ValidationError] that names each one that is
// missing or empty, and matches [ErrInvalidCredentials]. [NewClient] checks the third; see [WithoutClientToken].
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
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// String returns the instance ID, for printers that do not call Format.
func (c Credentials) String() string { return fmt.Sprintf("zapi.Credentials(%q)", c.InstanceID) }

// LogValue returns the instance ID.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.InstanceID) }

// MarshalText returns the instance ID, so that JSON and YAML show nothing else.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.InstanceID), nil }

// notInCredentials are characters that no real credential has. They come with what people paste: the quotes of an env file,
// "${VAR}" that nothing has replaced, "<token>" of a manual, a trailing comma.
const notInCredentials = "\"'<>{}[]$,;|`"

// protocolWords are texts of the API's responses. Redacting a secret that is part of one would change what they say.
var protocolWords = []string{
	"success", "message", "disallowedContacts", "smartphoneConnected", "you are not connected.", "you need to restore the session.",
	"your client-token is not configured", "client-token null not allowed", "instance not found", "not_found",
}

// validate returns a *ValidationError for credentials that cannot be right, without quoting them.
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
	for _, part := range []struct{ field, value string }{{"InstanceID", c.InstanceID}, {"Token", c.Token}, {"ClientToken", c.ClientToken}} {
		if strings.ContainsAny(part.value, notInCredentials) {
			return &ValidationError{op, part.field, "must be the value alone, without quotes, brackets, variables or trailing punctuation"}
		}
	}
	for _, secret := range []struct{ field, value string }{{"Token", c.Token}, {"ClientToken", c.ClientToken}} {
		isPart := func(text string) bool {
			return len(secret.value) >= minSecret && strings.Contains(strings.ToLower(text), strings.ToLower(secret.value))
		}
		switch {
		case isPart(c.InstanceID):
			return &ValidationError{op, "InstanceID", "must not hold the " + secret.field + ", as the ID is shown in logs and errors"}
		case slices.ContainsFunc(protocolWords, isPart):
			return &ValidationError{op, secret.field, "must not be a word of the API's responses"}
		}
	}
	return nil
}

// secrets are those of one instance, in the form that its requests need.
type secrets struct {
	token       string
	clientToken []string // the values of the header; empty without a Client-Token
	redactor    redactor
}

// sealSecrets hides the secrets of creds in a func. It is opened in three places: secretTransport adds them to a request
// and redacts them in its response, and attempt and send redact them in what they return.
func sealSecrets(creds Credentials) sealed[*secrets] {
	s := &secrets{token: creds.Token, redactor: newRedactor(creds.Token, creds.ClientToken)}
	if creds.ClientToken != "" {
		s.clientToken = []string{creds.ClientToken}
	}
	return seal(s)
}

// An API holds what the clients of many instances share: connections and options. It is for a service whose instances come
// from a database, so that it has no credentials at its start. An API is immutable and safe for concurrent use; [NewAPI]
// returns one.
type API struct {
	config

	keeper       *connectionKeeper
	resty        *resty.Client
	restyGetBody *resty.Client // for a GET with a body, which resty drops otherwise
	header       http.Header   // of a request without a body
	headerJSON   http.Header   // of a request with one
}

// NewAPI returns an API with the given options. It sends nothing.
//
// All options are checked together, so the order of different ones never matters.
// The error is a [*ValidationError] that names the option at fault.
func NewAPI(opts ...Option) (*API, error) { return newAPI("NewAPI", opts) }

// newAPI puts the chain of a request together, from the bottom up.
func newAPI(op string, opts []Option) (*API, error) {
	c, err := applyOptions(op, opts)
	if err != nil {
		return nil, err
	}
	base, reason := parseBaseURL(c.baseURL, c.insecureHTTP)
	if reason != "" {
		return nil, &ValidationError{op, "WithBaseURL", reason}
	}
	c.baseURL = base.String() // without a trailing slash
	transport := c.transport
	if transport == nil {
		template, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			return nil, &ValidationError{op, "WithTransport", "must be given if http.DefaultTransport was replaced, as the replacement would see the secrets; after httpmock.Activate, give httpmock.DefaultTransport"}
		}
		transport = newTransport(template, c.timeout)
	}
	keeper := &connectionKeeper{RoundTripper: transport}
	var link http.RoundTripper = secretTransport{keeper, base}
	for i, middleware := range slices.Backward(c.middleware) {
		if link = middleware(link); isNil(link) {
			return nil, &ValidationError{op, fmt.Sprintf("WithMiddleware[%d]", i), "must not return nil"}
		}
	}
	httpClient := &http.Client{ // resty's own has a cookie jar, which all instances would share
		Transport:     link,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	newResty := func() *resty.Client {
		return resty.NewWithClient(httpClient).SetLogger(silent{}).SetDoNotParseResponse(true)
	}
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {strings.TrimSpace(c.product + " zapi-go/" + version)},
	}
	headerJSON := header.Clone()
	headerJSON.Set("Content-Type", "application/json")
	return &API{
		config: c, keeper: keeper, header: header, headerJSON: headerJSON,
		resty: newResty(), restyGetBody: newResty().SetAllowGetMethodPayload(true),
	}, nil
}

// A silent logger replaces that of resty, which writes to stderr.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

// Instance returns a client for the instance of creds. It sends nothing and takes about 200 bytes, so a service can call it
// for every request that it serves. The error is a [*ValidationError] that names the credential at fault and matches
// [ErrInvalidCredentials].
func (a *API) Instance(creds Credentials) (*Client, error) { return a.instance("Instance", creds) }

func (a *API) instance(op string, creds Credentials) (*Client, error) {
	if a == nil || a.resty == nil {
		return nil, &ValidationError{op, "api", "must come from NewAPI"}
	}
	if err := creds.validate(op, a.clientTokenOptional); err != nil {
		return nil, err
	}
	client := &Client{a, creds.InstanceID, sealSecrets(creds)}
	if client.secrets().redactor.in(a.baseURL) {
		return nil, &ValidationError{op, "Token", "must not be part of the base URL, which logs and traces show"}
	}
	return client, nil
}

// CloseIdleConnections closes the idle connections of all clients of a. Without it, they stay open for 90 seconds. A program
// that discards its API should call it; one that calls [NewAPI] or [NewClient] once never needs it.
// With [WithTransport] it calls the CloseIdleConnections method of that transport, if it has one.
func (a *API) CloseIdleConnections() {
	if a != nil && a.keeper != nil {
		a.keeper.closeIdleConnections()
	}
}

// A Client sets the privacy of one instance. It is immutable and safe for concurrent use. [NewClient], [API.Instance] and
// [Client.ForInstance] return one. Printing it shows only the instance ID.
type Client struct {
	api        *API
	instanceID string
	secrets    sealed[*secrets]
}

// NewClient returns a client for the instance of creds: it is [NewAPI], then [API.Instance]. It sends nothing.
//
// All options are checked together, so the order of different ones never matters.
// The error is a [*ValidationError] that names the credential or option at fault. One about credentials also matches
// [ErrInvalidCredentials].
func NewClient(creds Credentials, opts ...Option) (*Client, error) {
	const op = "NewClient"
	api, err := newAPI(op, opts)
	if err != nil {
		return nil, err
	}
	return api.instance(op, creds)
}

// ForInstance returns a client for another instance with the same options, as [API.Instance] does. Both share their
// connections. The error is a [*ValidationError] that names the credential at fault and matches [ErrInvalidCredentials].
func (c *Client) ForInstance(creds Credentials) (*Client, error) {
	const op = "ForInstance"
	if err := c.validate(op); err != nil {
		return nil, err
	}
	return c.api.instance(op, creds)
}

// CloseIdleConnections is [API.CloseIdleConnections] of the API that c shares with other clients.
func (c *Client) CloseIdleConnections() {
	if c.validate("CloseIdleConnections") == nil {
		c.api.CloseIdleConnections()
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

// validate returns an error for a client that no func of this package returned.
func (c *Client) validate(op string) error {
	if c == nil || c.api == nil {
		return &ValidationError{op, "client", "must come from NewClient, Instance or ForInstance"}
	}
	return nil
}
