package zapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	version        = "0.1.0"
	defaultBaseURL = "https://api.z-api.io"
	defaultTimeout = 30 * time.Second
)

// An Option changes a default of [NewClient].
type Option func(*config) error

// A config collects the options. What depends on several of them is checked once all are applied.
type config struct {
	baseURL             string
	transport           http.RoundTripper
	middleware          []func(http.RoundTripper) http.RoundTripper
	interceptors        []Interceptor
	timeout             time.Duration
	retry               RetryPolicy
	limiter             RateLimiter  // nil for none
	logger              *slog.Logger // nil for none
	product             string
	parsePhone          func(string) (string, error)
	clientTokenOptional bool
	insecureHTTP        bool
}

// invalidOption returns the error of [NewClient] for an option.
func invalidOption(field, reason string) error {
	return &ValidationError{"NewClient", field, reason}
}

// WithBaseURL sets the URL of the API. The default is https://api.z-api.io. A path prefix is kept.
// It must be https, or http to a loopback address; see [WithInsecureHTTP].
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL = rawURL
		return nil
	}
}

// WithTransport sets what sends the requests: a mock such as httpmock, a proxy, or a transport with other TLS settings.
// It is the last hop, and the only one that sees the real path and the Client-Token.
//
// The default is a clone of [http.DefaultTransport] with 512 idle connections per host and HTTP/2 pings. When an attempt
// times out on it, later attempts use new connections, as the existing ones may be dead. A transport given here is never
// replaced: its CloseIdleConnections method is called instead, if it has one.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *config) error {
		if isNil(rt) {
			return invalidOption("WithTransport", "must not be nil")
		}
		c.transport = rt
		return nil
	}
}

// WithMiddleware wraps the sending of each request, for tracing and metrics. The first is the outermost.
//
// Middleware sees a placeholder for the token, no Client-Token, and responses in which the secrets are redacted.
// It may add headers, refuse a request or respond to it itself. Changing method, host or path fails the call.
func WithMiddleware(mw ...func(http.RoundTripper) http.RoundTripper) Option {
	return func(c *config) error {
		for i, m := range mw {
			if m == nil {
				return invalidOption(fmt.Sprintf("WithMiddleware[%d]", i), "must not be nil")
			}
		}
		c.middleware = append(c.middleware, mw...)
		return nil
	}
}

// A Call is what an [Interceptor] sees of a call.
type Call struct {
	Op         string // the route, such as "privacy/last-seen"
	InstanceID string
}

// An Interceptor wraps a call. next makes the call and returns the error that the caller would get. An interceptor may call
// next more than once, also in parallel, or not at all.
type Interceptor func(ctx context.Context, call Call, next func(context.Context) error) error

// WithInterceptor wraps whole calls, retries included, for traces, metrics and circuit breakers. The first is the outermost.
//
// Interceptors see valid calls only. [Client.ReplaceBlacklist] and [Client.Apply] consist of several calls. An error that an
// interceptor makes itself reaches the caller inside a [*TransportError].
func WithInterceptor(i ...Interceptor) Option {
	return func(c *config) error {
		for n, interceptor := range i {
			if interceptor == nil {
				return invalidOption(fmt.Sprintf("WithInterceptor[%d]", n), "must not be nil")
			}
		}
		c.interceptors = append(c.interceptors, i...)
		return nil
	}
}

// WithTimeout bounds one attempt, including the body of its response. The default is 30 s; with 0 only the context
// bounds it.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return invalidOption("WithTimeout", "must not be negative")
		}
		c.timeout = d
		return nil
	}
}

// WithRetry sets how often a call is tried. The default is three attempts with waits of 500 ms to 8 s; RetryPolicy{}
// switches retries off. The package documentation lists what is retried.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) error {
		filled := p.withDefaults()
		switch {
		case p.MaxAttempts < 0:
			return invalidOption("WithRetry.MaxAttempts", "must not be negative")
		case p.MinWait < 0:
			return invalidOption("WithRetry.MinWait", "must not be negative")
		case p.MaxWait < 0:
			return invalidOption("WithRetry.MaxWait", "must not be negative")
		case filled.MinWait > filled.MaxWait:
			return invalidOption("WithRetry.MinWait", "must not exceed MaxWait")
		}
		c.retry = filled
		return nil
	}
}

// A RateLimiter paces requests. A *rate.Limiter of golang.org/x/time is one.
type RateLimiter interface {
	// Wait blocks until a request may be sent, or returns an error.
	Wait(ctx context.Context) error
}

// WithRateLimiter waits for l before every attempt, with the caller's context. All instances of a client share it.
// An error from Wait ends the call: before the first attempt with a [*TransportError] that wraps it, later with the error
// of the previous attempt. By default there is no limit.
func WithRateLimiter(l RateLimiter) Option {
	return func(c *config) error {
		if isNil(l) {
			return invalidOption("WithRateLimiter", "must not be nil")
		}
		c.limiter = l
		return nil
	}
}

// WithLogger logs each attempt at level debug, with operation, instance, attempt, status, duration and the wait that
// follows, and each call that fails at level warn. Status 0 means no response. URLs, headers, bodies and phones are
// never logged, and calls that are refused before sending are not logged. By default nothing is logged.
//
// The attribute failure is the kind of an [*APIError], such as "rate limited", or "refused" if it has none. Without a
// response it is "canceled", "DNS", "timeout", "TLS", "connection refused", "connection reset", "connection closed" or
// "no response".
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return invalidOption("WithLogger", "must not be nil")
		}
		c.logger = l
		return nil
	}
}

// WithUserAgent puts a product such as "acme-backend/1.4" before that of zapi in the header User-Agent.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
		if product == "" || strings.TrimSpace(product) != product || strings.ContainsFunc(product, isControl) {
			return invalidOption("WithUserAgent", "must not be empty, begin or end with a space, or hold control characters")
		}
		c.product = product
		return nil
	}
}

// WithPhoneParser sets a func that adds the country code to a phone written without it, such as libphonenumber with a
// default country. It parses the phones of changes and of [Client.ReplaceBlacklist], but neither private ids nor the phones
// of a [Policy]. Its result is checked like any phone, and its error becomes a [*ValidationError] that does not quote the
// phone. By default, phones must have their country code.
func WithPhoneParser(parse func(phone string) (string, error)) Option {
	return func(c *config) error {
		if parse == nil {
			return invalidOption("WithPhoneParser", "must not be nil")
		}
		c.parsePhone = parse
		return nil
	}
}

// WithoutClientToken accepts [Credentials] without a ClientToken, for accounts that have not activated the security
// token. Requests with such credentials carry no Client-Token.
func WithoutClientToken() Option {
	return func(c *config) error {
		c.clientTokenOptional = true
		return nil
	}
}

// WithInsecureHTTP accepts an http:// base URL beyond loopback. Everyone on the way can then read both secrets.
func WithInsecureHTTP() Option {
	return func(c *config) error {
		c.insecureHTTP = true
		return nil
	}
}

// shared is what the clients of one [NewClient] have in common.
type shared struct {
	config

	pool               *pool
	resty              *resty.Client
	header, headerJSON http.Header // of requests without and with a body
	origin             string      // the base URL
}

// newShared applies opts and checks them together.
func newShared(opts []Option) (*shared, error) {
	c := config{baseURL: defaultBaseURL, timeout: defaultTimeout, retry: defaultRetry}
	for i, opt := range opts {
		if opt == nil {
			return nil, invalidOption(fmt.Sprintf("opts[%d]", i), "must not be nil")
		}
		if err := opt(&c); err != nil {
			return nil, err
		}
	}
	base, reason := parseBaseURL(c.baseURL, c.insecureHTTP)
	if reason != "" {
		return nil, invalidOption("WithBaseURL", reason)
	}
	pool, err := c.connections()
	if err != nil {
		return nil, err
	}
	transport, err := c.roundTripper(pool, base)
	if err != nil {
		return nil, err
	}
	httpClient := &http.Client{ // resty's own has a cookie jar, which all instances would share
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {strings.TrimSpace(c.product + " zapi-go/" + version)},
	}
	headerJSON := header.Clone()
	headerJSON.Set("Content-Type", "application/json")
	return &shared{
		config:     c,
		pool:       pool,
		resty:      resty.NewWithClient(httpClient).SetLogger(silent{}).SetDoNotParseResponse(true),
		header:     header,
		headerJSON: headerJSON,
		origin:     base.String(),
	}, nil
}

// connections returns the pool that sends the requests of all clients.
func (c *config) connections() (*pool, error) {
	if c.transport != nil {
		return newCallerPool(c.transport), nil
	}
	template, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, invalidOption("WithTransport", "must be given if http.DefaultTransport was replaced, as the replacement would see the secrets; after httpmock.Activate, give httpmock.DefaultTransport")
	}
	return newPool(template), nil
}

// roundTripper returns the middleware around the last hop.
func (c *config) roundTripper(pool *pool, base *url.URL) (http.RoundTripper, error) {
	var top http.RoundTripper = lastHop{pool, base}
	for i, middleware := range slices.Backward(c.middleware) {
		if top = middleware(top); isNil(top) {
			return nil, invalidOption(fmt.Sprintf("WithMiddleware[%d]", i), "must not return nil")
		}
	}
	return top, nil
}

// hostPattern matches a host that can be dialed. The parser of net/url accepts others, also escaped ones beyond ASCII.
var hostPattern = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[!-~]+)?\])(:[0-9]*)?$`)

// parseBaseURL returns the base URL without a trailing slash, or what is wrong with it.
func parseBaseURL(rawURL string, insecureHTTP bool) (base *url.URL, reason string) {
	base, err := url.Parse(rawURL)
	switch {
	case err != nil || base.Hostname() == "" || !isPort(base.Port()):
		return nil, "must be an absolute URL with a host"
	case !hostPattern.MatchString(base.Host):
		return nil, "must have a host of letters, digits, -, _ and ., or an IPv6 address in brackets"
	case strings.ContainsFunc(rawURL, isUnprintable):
		return nil, "must be printable ASCII without spaces"
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
	base.Host = strings.ToLower(base.Host)         // net/http would send requests for LOCALHOST to a proxy
	base.RawPath = strings.TrimRight(base.EscapedPath(), "/")
	base.Path, _ = url.PathUnescape(base.RawPath) // cannot fail: EscapedPath is valid
	return base, ""
}

// isUnprintable reports whether r is a space or not printable ASCII. Pasted text may hold such characters.
func isUnprintable(r rune) bool { return r <= ' ' || r > '~' }

// isPort reports whether port is empty or a port that can be dialed.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// isNil reports whether v is nil or holds a nil pointer or func, which would fail only at the first call.
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

// A silent logger replaces that of resty, which writes to stderr.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}
