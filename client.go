package zapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	version        = "0.1.0"
	defaultBaseURL = "https://api.z-api.io"
	defaultTimeout = 30 * time.Second
	idlePerHost    = 512 // bursts of a few hundred calls find their connections again
)

// Credentials identify an instance and open it. Every way of printing them shows the instance ID only.
type Credentials struct {
	InstanceID  string // ID of the instance, from the Z-API panel
	Token       string // token of the instance; secret
	ClientToken string // account security token, sent as the header Client-Token; secret
}

// CredentialsFromEnv reads ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN.
// Its error is a [*ValidationError] that names each variable that is missing or empty.
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

// MarshalText shows the instance ID, so that JSON and YAML do too.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.InstanceID), nil }

func (c Credentials) validate(op string, clientTokenOptional bool) error {
	for _, part := range []struct{ field, value string }{{"InstanceID", c.InstanceID}, {"Token", c.Token}} {
		switch {
		case part.value == "":
			return &ValidationError{op, part.field, "must not be empty"}
		case part.value == ".", part.value == "..", strings.ContainsFunc(part.value, unfitForPath):
			return &ValidationError{op, part.field, `must be printable ASCII without blanks and / \ ? # %, and not a dot segment`}
		}
	}
	switch {
	case c.ClientToken == "" && !clientTokenOptional:
		return &ValidationError{op, "ClientToken", "must not be empty; WithoutClientToken is for accounts without one"}
	case strings.ContainsFunc(c.ClientToken, unfitForHeader), strings.TrimSpace(c.ClientToken) != c.ClientToken:
		return &ValidationError{op, "ClientToken", "must be a legal header value, without blanks around it"}
	}
	return nil
}

func unfitForPath(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/\?#%`, r) }

func unfitForHeader(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// Client sets the privacy of one instance. It is immutable, safe for concurrent use, and made by [NewClient] or
// [Client.ForInstance]. Every way of printing it shows the instance ID only.
type Client struct {
	connection *connection
	instanceID string
	secrets    secrets
}

// connection is what the instances of one [NewClient] share.
type connection struct {
	requests            sync.Pool   // of *resty.Request: one is seven allocations, and nothing keeps it behind its answer
	header              http.Header // of each request; resty copies it
	headerJSON          http.Header // of those that are JSON
	origin              string      // the base URL
	timeout             time.Duration
	retry               RetryPolicy
	limiter             RateLimiter  // nil for none
	logger              *slog.Logger // nil for none
	clientTokenOptional bool
}

// NewClient makes a client for the instance of creds. It sends nothing.
//
// All options are checked together, so their order never matters.
// Its error is a [*ValidationError] that names the credential or option at fault.
func NewClient(creds Credentials, opts ...Option) (*Client, error) {
	const op = "NewClient"
	cfg := config{baseURL: defaultBaseURL, timeout: defaultTimeout, retry: defaultRetry}
	for i, opt := range opts {
		if opt == nil {
			return nil, &ValidationError{op, fmt.Sprintf("opts[%d]", i), "must not be nil"}
		}
		if err := opt(&cfg); err != nil {
			return nil, err
		}
	}
	if err := creds.validate(op, cfg.clientTokenOptional); err != nil {
		return nil, err
	}
	conn, err := cfg.connect()
	if err != nil {
		return nil, err
	}
	return &Client{conn, creds.InstanceID, newSecrets(creds)}, nil
}

// ForInstance makes a client for another instance with the same options. Both share their connections; the new one
// costs some hundred bytes. Its error is a [*ValidationError] that names the credential at fault.
func (c *Client) ForInstance(creds Credentials) (*Client, error) {
	const op = "ForInstance"
	if err := c.validate(op); err != nil {
		return nil, err
	}
	if err := creds.validate(op, c.connection.clientTokenOptional); err != nil {
		return nil, err
	}
	return &Client{c.connection, creds.InstanceID, newSecrets(creds)}, nil
}

// InstanceID returns the ID of the instance.
func (c *Client) InstanceID() string { return c.instanceID }

// Format shows the instance ID for every verb.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "zapi.Client(%q)", c.instanceID) }

// LogValue shows the instance ID.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.instanceID) }

// MarshalText shows the instance ID, so that JSON and YAML do too.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.instanceID), nil }

// validate refuses a client that [NewClient] did not make.
func (c *Client) validate(op string) error {
	if c == nil || c.connection == nil {
		return &ValidationError{op, "client", "must be made by NewClient or ForInstance"}
	}
	return nil
}

// Option changes a default of [NewClient].
type Option func(*config) error

// config collects the options; nothing is checked across them before all are in.
type config struct {
	baseURL             string
	transport           http.RoundTripper
	middleware          []func(http.RoundTripper) http.RoundTripper
	timeout             time.Duration
	retry               RetryPolicy
	limiter             RateLimiter
	logger              *slog.Logger
	product             string
	clientTokenOptional bool
	insecureHTTP        bool
}

// WithBaseURL sends to another host than https://api.z-api.io. A path prefix is kept.
// It must be https, or http to a loopback address; see [WithInsecureHTTP].
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL = rawURL
		return nil
	}
}

// WithTransport replaces the network: a mock such as httpmock, a proxy, other TLS settings.
// It is the last hop and the only thing that sees the real path and the Client-Token.
// The default is a clone of [http.DefaultTransport] with 512 idle connections per host.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *config) error {
		if isNil(rt) {
			return &ValidationError{"NewClient", "WithTransport", "must not be nil"}
		}
		c.transport = rt
		return nil
	}
}

// WithMiddleware wraps the sending of each request, for tracing and metrics; the first is the outermost.
//
// Middleware sees a placeholder for the token, no Client-Token, and answers in which the secrets are redacted.
// It may add headers, refuse a request or answer it; one that changes method, host or path fails the call.
func WithMiddleware(mw ...func(http.RoundTripper) http.RoundTripper) Option {
	return func(c *config) error {
		for i, m := range mw {
			if m == nil {
				return &ValidationError{"NewClient", fmt.Sprintf("WithMiddleware[%d]", i), "must not be nil"}
			}
		}
		c.middleware = append(c.middleware, mw...)
		return nil
	}
}

// WithTimeout bounds one request, the body of its answer included. The default is 30 s; 0 leaves it to the context.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return &ValidationError{"NewClient", "WithTimeout", "must not be negative"}
		}
		c.timeout = d
		return nil
	}
}

// WithRetry changes how often a call is tried; the default is three attempts with waits of 500 ms to 8 s.
// The package documentation lists what is tried again. RetryPolicy{} switches it off.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) error {
		filled := p.withDefaults()
		switch {
		case p.MaxAttempts < 0:
			return &ValidationError{"NewClient", "WithRetry.MaxAttempts", "must not be negative"}
		case p.MinWait < 0:
			return &ValidationError{"NewClient", "WithRetry.MinWait", "must not be negative"}
		case p.MaxWait < 0:
			return &ValidationError{"NewClient", "WithRetry.MaxWait", "must not be negative"}
		case filled.MinWait > filled.MaxWait:
			return &ValidationError{"NewClient", "WithRetry.MinWait", "must not be above MaxWait"}
		}
		c.retry = filled
		return nil
	}
}

// RateLimiter lets a request pass, or returns why not; *rate.Limiter of golang.org/x/time is one.
type RateLimiter interface {
	Wait(ctx context.Context) error
}

// WithRateLimiter waits for l before every attempt, with the caller's context; all instances of a client share it.
// What l refuses is a [*TransportError] with its error. The default is no limit.
func WithRateLimiter(l RateLimiter) Option {
	return func(c *config) error {
		if isNil(l) {
			return &ValidationError{"NewClient", "WithRateLimiter", "must not be nil"}
		}
		c.limiter = l
		return nil
	}
}

// WithLogger writes a line for each attempt at debug (operation, instance, attempt, status, duration and the wait that
// follows) and one for each call that fails at warn. Status 0 is no answer. No URL, header, body or phone is ever logged;
// refused input is not either, as nothing was sent. The default is silent.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return &ValidationError{"NewClient", "WithLogger", "must not be nil"}
		}
		c.logger = l
		return nil
	}
}

// WithUserAgent puts a product such as "acme-backend/1.4" before zapi's own in the header User-Agent.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		if product == "" || strings.TrimSpace(product) != product || strings.ContainsFunc(product, unfitForHeader) {
			return &ValidationError{"NewClient", "WithUserAgent", "must be a legal header value"}
		}
		c.product = product
		return nil
	}
}

// WithoutClientToken accepts [Credentials] without a ClientToken, for accounts that have not activated the security
// token; requests with such credentials carry no Client-Token.
func WithoutClientToken() Option {
	return func(c *config) error {
		c.clientTokenOptional = true
		return nil
	}
}

// WithInsecureHTTP accepts an http:// base URL beyond loopback: anyone on the way can read both secrets.
func WithInsecureHTTP() Option {
	return func(c *config) error {
		c.insecureHTTP = true
		return nil
	}
}

// connect checks the options together and builds what the clients share.
func (c *config) connect() (*connection, error) {
	base, reason := parseBaseURL(c.baseURL, c.insecureHTTP)
	if reason != "" {
		return nil, &ValidationError{"NewClient", "WithBaseURL", reason}
	}
	transport := c.transport
	if transport == nil {
		original, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			return nil, &ValidationError{"NewClient", "WithTransport", "must be given where http.DefaultTransport was replaced, as the replacement would see the secrets"}
		}
		pooled := original.Clone()
		pooled.MaxIdleConns = 0 // bounded per host
		pooled.MaxIdleConnsPerHost = idlePerHost
		pooled.MaxResponseHeaderBytes = maxAnswerHeader
		transport = pooled
	}

	var top http.RoundTripper = lastHop{transport, base}
	for i, middleware := range slices.Backward(c.middleware) {
		if top = middleware(top); isNil(top) {
			return nil, &ValidationError{"NewClient", fmt.Sprintf("WithMiddleware[%d]", i), "must not return nil"}
		}
	}
	httpClient := &http.Client{
		Transport:     top,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {strings.TrimSpace(c.product + " zapi-go/" + version)},
	}
	headerJSON := header.Clone()
	headerJSON.Set("Content-Type", "application/json")
	client := resty.NewWithClient(httpClient).SetLogger(silent{}).SetDoNotParseResponse(true)
	return &connection{
		requests:            sync.Pool{New: func() any { return client.R() }},
		header:              header,
		headerJSON:          headerJSON,
		origin:              base.String(),
		timeout:             c.timeout,
		retry:               c.retry,
		limiter:             c.limiter,
		logger:              c.logger,
		clientTokenOptional: c.clientTokenOptional,
	}, nil
}

// parseBaseURL returns the base URL without a closing slash, or what is wrong with it.
func parseBaseURL(rawURL string, insecureHTTP bool) (base *url.URL, reason string) {
	base, err := url.Parse(rawURL)
	switch {
	case err != nil || base.Hostname() == "":
		return nil, "must be an absolute URL with a host"
	case base.User != nil, strings.ContainsAny(rawURL, "?#"):
		return nil, "must not have user info, query or fragment"
	case base.Scheme == "http" && !insecureHTTP && !isLoopback(base.Hostname()):
		return nil, "must be https; WithInsecureHTTP allows http beyond loopback"
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, "must be http or https"
	case slices.ContainsFunc(strings.Split(base.Path, "/"), func(segment string) bool { return segment == "." || segment == ".." }):
		return nil, "must not have dot segments"
	}
	base.Host = strings.TrimSuffix(base.Host, ":") // as net/http does with an empty port
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	return base, ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// isNil also finds a nil pointer or func in an interface, which would only fail at the first call.
func isNil(v any) bool {
	value := reflect.ValueOf(v)
	switch value.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func:
		return value.IsNil()
	}
	return false
}

// silent is resty's logger: its own writes to stderr.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}
