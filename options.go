package zapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"
)

const defaultTimeout = 30 * time.Second

// An Option changes a default of [NewClient] and [NewAPI].
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
	phones              phones
	clientTokenOptional bool
	insecureHTTP        bool
}

// applyOptions returns the defaults as opts change them. The error is a *ValidationError for op.
func applyOptions(op string, opts []Option) (config, error) {
	c := config{baseURL: defaultBaseURL, timeout: defaultTimeout, retry: defaultRetry}
	for i, opt := range opts {
		var err error
		if opt == nil {
			err = invalidOption(fmt.Sprintf("opts[%d]", i), "must not be nil")
		} else {
			err = opt(&c)
		}
		if err != nil {
			return config{}, withOp(op, err)
		}
	}
	return c, nil
}

// invalidOption returns the error for an option. It has no Op, as an option does not know which func it is given to.
func invalidOption(field, reason string) error {
	return &ValidationError{Field: field, Reason: reason}
}

// WithBaseURL sets the URL of the API. The default is https://api.z-api.io.
// It must be https, or http to a loopback address; see [WithInsecureHTTP]. A path prefix is kept, but must not have a
// segment "instances" or "token": that is the URL of the panel, with the token in it.
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL = rawURL
		return nil
	}
}

// WithTransport sets what sends the requests: a mock such as httpmock, a proxy, or a transport with other TLS settings.
// Only this transport sees the real path and the Client-Token.
//
// The default is a copy of [http.DefaultTransport] with 512 idle connections per host and HTTP/2 pings. It inherits what the
// program has set there: a Proxy func, TLS settings such as InsecureSkipVerify, a dial hook. When an attempt runs into its
// deadline, the idle connections are closed, as they may be dead; of a transport given here, by its CloseIdleConnections
// method, if it has one.
//
// [WithTimeout] and the context bound a call only as far as the transport, and the bodies that it returns, obey the context
// of the request.
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
	Op         string // the operation, such as "privacy/last-seen"
	InstanceID string
}

// An Interceptor wraps a call. next makes the call and returns the error that the caller would get, one of the three of this
// package. An interceptor may call next more than once, one call after another, or not at all.
//
// Refused input never reaches an interceptor: it sees valid calls only.
type Interceptor func(ctx context.Context, call Call, next func(context.Context) error) error

// WithInterceptor wraps whole calls, retries included, for traces, metrics and circuit breakers. The first is the outermost.
//
// [Client.ReplaceBlacklist], [Client.Apply] and [Client.Plan] consist of several calls. An error that an interceptor makes
// itself reaches the caller, and the interceptors around it, inside a [*TransportError], whose Attempts is 0 if nothing was
// sent.
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
// bounds it. A value above 0 and below 1 ms is refused: WithTimeout(30) is 30 ns.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		switch {
		case d < 0:
			return invalidOption("WithTimeout", "must not be negative")
		case d > 0 && d < time.Millisecond:
			return invalidOption("WithTimeout", fmt.Sprintf("must be 0 or at least 1 ms, not %v: give a unit, as in 30*time.Second", d))
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

// WithLogger logs each attempt at level debug, with op, instance, attempt, status, duration and the wait that follows, and
// each call that fails at level warn. Status 0 means no response. URLs, headers, bodies and phones are never logged, and
// calls that are refused before sending are not logged. By default nothing is logged.
//
// The attribute failure is what [Kind] returns.
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
		c.phones = phones{parse}
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
