package zapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// assertOnlyKind is assertKind with the kinds that came with Status and the credentials.
func assertOnlyKind(t *testing.T, want, err error) {
	t.Helper()
	assertKind(t, want, err)
	assert.Equal(t, errors.Is(want, zapi.ErrNotConnected), errors.Is(err, zapi.ErrNotConnected), "%v: %v", zapi.ErrNotConnected, err)
	assert.NotErrorIs(t, err, zapi.ErrInvalidCredentials)
}

// A kindVerdict is what Kind and Retryable return of an error.
type kindVerdict struct {
	kind      string
	retryable bool
	after     time.Duration
}

// assertVerdict looks at err itself, and at what a program may have wrapped around it.
func assertVerdict(t *testing.T, want kindVerdict, err error) {
	t.Helper()
	wrappings := map[string]error{
		"itself":        err,
		"wrapped":       fmt.Errorf("job 7: %w", err),
		"wrapped twice": fmt.Errorf("queue: %w", fmt.Errorf("job 7: %w", err)),
		"joined":        errors.Join(errors.New("job 7"), err),
		"of a setting":  &zapi.SettingError{Setting: "photo", Err: err},
		"of a value":    zapi.SettingError{Setting: "photo", Err: err},
		"of Apply":      &zapi.ApplyError{Failed: []zapi.SettingError{{Setting: "photo", Err: err}}},
	}
	for name, err := range wrappings {
		assert.Equal(t, want.kind, zapi.Kind(err), "kind, %s", name)
		after, retryable := zapi.Retryable(err)
		assert.Equal(t, want.retryable, retryable, "retryable, %s", name)
		assert.Equal(t, want.after, after, "after, %s", name)
	}
}

// apiErrors are responses of every kind, with what is made of them.
var apiErrors = []struct {
	name      string
	status    int
	body      string
	kind      error // nil for a 4xx without a kind
	word      string
	retryable bool
}{
	{"success false", 200, `{"success":false}`, zapi.ErrRejected, "rejected", true},
	{"success false with a text", 200, `{"success":false,"message":"the number is away"}`, zapi.ErrRejected, "rejected", true},
	{"a page with 200", 200, `<html>`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"an empty 200", 200, ``, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"success missing", 200, `{}`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"success a text", 200, `{"success":"true"}`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"two values", 200, `{"success":true}{}`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"unknown text", 200, `{"error":"busy"}`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"unknown route with 200", 200, `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, zapi.ErrNotFound, "not found", false},
	{"unknown instance with 200", 200, `{"error":"Instance not found"}`, zapi.ErrNotFound, "not found", false},
	{"no Client-Token with 200", 200, `{"error":"null not allowed"}`, zapi.ErrUnauthorized, "unauthorized", false},
	{"not connected", 200, `{"error":"You are not connected."}`, zapi.ErrNotConnected, "not connected", true},
	{"not connected with 400", 400, `{"error":"You need to restore the session."}`, zapi.ErrNotConnected, "not connected", true},
	{"not connected with 500", 500, `{"message":"You are not connected"}`, zapi.ErrNotConnected, "not connected", true},
	{"201", 201, `{"success":true}`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"302", 302, ``, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"400", 400, `{"error":"Invalid phone"}`, nil, "refused", false},
	{"400 about the Client-Token", 400, `{"error":"your client-token is not configured"}`, zapi.ErrUnauthorized, "unauthorized", false},
	{"401", 401, ``, zapi.ErrUnauthorized, "unauthorized", false},
	{"401 of a proxy", 401, `<html>login</html>`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"402", 402, ``, nil, "refused", false},
	{"403", 403, `{"error":"Client-Token F12…9S not allowed"}`, zapi.ErrUnauthorized, "unauthorized", false},
	{"403 of a firewall", 403, `error code: 1020`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"404", 404, `{"error":"Instance not found"}`, zapi.ErrNotFound, "not found", false},
	{"404 of a proxy", 404, `<html>`, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"405", 405, `Method Not Allowed`, zapi.ErrMethodNotAllowed, "method not allowed", false},
	{"408", 408, ``, nil, "refused", true},
	{"409", 409, ``, nil, "refused", false},
	{"415", 415, `Unsupported Media Type`, zapi.ErrUnsupportedMediaType, "unsupported media type", false},
	{"418", 418, ``, nil, "refused", false},
	{"425", 425, ``, nil, "refused", true},
	{"429", 429, ``, zapi.ErrRateLimited, "rate limited", true},
	{"499", 499, ``, nil, "refused", false},
	{"500", 500, ``, zapi.ErrUnavailable, "unavailable", true},
	{"501", 501, ``, zapi.ErrUnavailable, "unavailable", true},
	{"503 with a page", 503, `<html>`, zapi.ErrUnavailable, "unavailable", true},
	{"504", 504, ``, zapi.ErrUnavailable, "unavailable", true},
	{"522", 522, ``, zapi.ErrUnavailable, "unavailable", true},
	{"599", 599, ``, zapi.ErrUnavailable, "unavailable", true},
	{"600", 600, ``, zapi.ErrUnexpectedResponse, "unexpected response", true},
	{"999", 999, ``, zapi.ErrUnexpectedResponse, "unexpected response", true},
}

// loggedKind is the word that the logger wrote for the one call that failed.
func loggedKind(t *testing.T, log *bytes.Buffer) string {
	t.Helper()
	var line struct{ Failure string }
	require.NoError(t, json.Unmarshal(log.Bytes(), &line), "one line")
	return line.Failure
}

func TestKindOfResponses(t *testing.T) {
	t.Parallel()
	waits := []struct {
		retryAfter string
		after      time.Duration
	}{{"", 0}, {"0", 0}, {"7", 7 * time.Second}, {"86400", 24 * time.Hour}, {"soon", 0}, {"99999999999999999999", math.MaxInt64}}
	for _, tt := range apiErrors {
		for _, wait := range waits {
			t.Run(tt.name+" with Retry-After "+wait.retryAfter, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				header := http.Header{}
				if wait.retryAfter != "" {
					header.Set("Retry-After", wait.retryAfter)
				}
				client := newClient(t, responding(tt.status, tt.body).HeaderSet(header), zapi.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
				err := setOnline(t.Context(), client)
				assertOnlyKind(t, tt.kind, err)
				want := kindVerdict{kind: tt.word, retryable: tt.retryable}
				if tt.retryable {
					want.after = wait.after
				}
				assertVerdict(t, want, err)
				assert.Equal(t, tt.word, loggedKind(t, &log))
			})
		}
	}
}

// A job queue keeps an error as JSON, and has to decide about it later.
func TestAPIErrorAsJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range apiErrors {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, responding(tt.status, tt.body).HeaderSet(http.Header{"Retry-After": {"7"}}))
			var was *zapi.APIError
			require.ErrorAs(t, setOnline(t.Context(), client), &was)

			kept, err := json.Marshal(was)
			require.NoError(t, err)
			var is *zapi.APIError
			require.NoError(t, json.Unmarshal(kept, &is))
			assertOnlyKind(t, tt.kind, is)
			assertVerdict(t, kindVerdict{tt.word, tt.retryable, map[bool]time.Duration{true: 7 * time.Second}[tt.retryable]}, is)
			assert.Equal(t, was.Error(), is.Error())
			assert.Equal(t, "privacy/online", is.Op)
			assert.Equal(t, tt.status, is.StatusCode)
			assert.Equal(t, was.Code, is.Code)
			assert.Equal(t, was.Message, is.Message)
			assert.Equal(t, 7*time.Second, is.RetryAfter)
			assert.Equal(t, 1, is.Attempts)
			assert.Equal(t, tt.body, string(is.Body))

			again, err := json.Marshal(is)
			require.NoError(t, err)
			assert.JSONEq(t, string(kept), string(again))
		})
	}
	t.Run("within a job", func(t *testing.T) {
		t.Parallel()
		type job struct {
			ID  int
			Err *zapi.APIError
		}
		var was *zapi.APIError
		require.ErrorAs(t, setOnline(t.Context(), newClient(t, responding(200, `<html>`))), &was)
		kept, err := json.Marshal(job{7, was})
		require.NoError(t, err)
		var is job
		require.NoError(t, json.Unmarshal(kept, &is))
		assertOnlyKind(t, zapi.ErrUnexpectedResponse, is.Err)
	})
	t.Run("made by a test", func(t *testing.T) {
		t.Parallel()
		kept, err := json.Marshal(&zapi.APIError{Op: "privacy/photo", StatusCode: 200, Code: "NOT_FOUND"})
		require.NoError(t, err)
		is := new(zapi.APIError)
		require.NoError(t, json.Unmarshal(kept, is))
		assertOnlyKind(t, zapi.ErrNotFound, is)
		assert.EqualError(t, is, "zapi: privacy/photo: not found: NOT_FOUND")
	})
	t.Run("kept by an earlier version, without its kind", func(t *testing.T) {
		t.Parallel()
		is := new(zapi.APIError)
		require.NoError(t, json.Unmarshal([]byte(`{"Op":"privacy/photo","StatusCode":429,"RetryAfter":7000000000,"Attempts":3}`), is))
		assertOnlyKind(t, zapi.ErrRateLimited, is)
		assertVerdict(t, kindVerdict{"rate limited", true, 7 * time.Second}, is)
	})
	t.Run("replaced as a whole", func(t *testing.T) {
		t.Parallel()
		is := &zapi.APIError{Op: "privacy/photo", StatusCode: 200, Message: "before"}
		require.NoError(t, json.Unmarshal([]byte(`{"StatusCode":503}`), is))
		assert.Equal(t, &zapi.APIError{StatusCode: 503}, is)
	})
	t.Run("no JSON of an error", func(t *testing.T) {
		t.Parallel()
		is := &zapi.APIError{StatusCode: 503}
		require.Error(t, json.Unmarshal([]byte(`{"StatusCode":"503"}`), is))
		assert.Equal(t, &zapi.APIError{StatusCode: 503}, is)
	})
	t.Run("holds no secret", func(t *testing.T) {
		t.Parallel()
		var was *zapi.APIError
		body := `{"error":"Client-Token ` + creds.ClientToken + ` not allowed","message":"` + creds.Token + `"}`
		require.ErrorAs(t, setOnline(t.Context(), newClient(t, responding(403, body))), &was)
		kept, err := json.Marshal(was)
		require.NoError(t, err)
		assertNoSecret(t, string(kept), "JSON")
		is := new(zapi.APIError)
		require.NoError(t, json.Unmarshal(kept, is))
		assertNoSecret(t, string(is.Body), "body")
	})
}

func TestKindWithoutAResponse(t *testing.T) {
	t.Parallel()
	system := func(op, call string, number syscall.Errno) step {
		return failing(&net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(call, number)})
	}
	bare := func(number syscall.Errno) step { return failing(&net.OpError{Op: "read", Net: "tcp", Err: number}) }
	untrusted := func(err error) step { return failing(&tls.CertificateVerificationError{Err: err}) }
	tests := []struct {
		name      string
		step      step
		word      string
		retryable bool
	}{
		{"DNS", failing(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}), "DNS", true},
		{"a DNS timeout", failing(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), "DNS", true},
		{"a timeout of the network", failing(os.ErrDeadlineExceeded), "timeout", true},
		{"a timeout of a dial", failing(&net.OpError{Op: "dial", Err: context.DeadlineExceeded}), "timeout", true},
		{"connection refused", failing(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), "connection refused", true},
		{"connection reset", failing(&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}), "connection reset", true},
		{"broken pipe", failing(&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}), "connection reset", true},
		{"Windows: refused", system("dial", "connectex", 10061), "connection refused", true},
		{"Windows: reset", system("read", "wsarecv", 10054), "connection reset", true},
		{"Windows: aborted", system("write", "wsasend", 10053), "connection reset", true},
		{"Windows: refused, bare", bare(10061), "connection refused", true},
		{"Windows: reset, bare", bare(10054), "connection reset", true},
		{"Windows: another number", system("dial", "connectex", 10051), "no response", true},
		{"closed before a response", failing(io.EOF), "connection closed", true},
		{"closed within a response", cut, "connection closed", true},
		{"alert", failing(tls.AlertError(40)), "TLS", true},
		{"no TLS", failing(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "TLS", true},
		{"certificate of an unknown authority", untrusted(x509.UnknownAuthorityError{}), "TLS", false},
		{"certificate of another host", untrusted(x509.HostnameError{Certificate: new(x509.Certificate), Host: "api.z-api.io"}), "TLS", false},
		{"certificate that quotes a secret", untrusted(errors.New("unknown name " + creds.Token)), "TLS", false},
		{"certificate, as another TLS stack reports it", failing(fmt.Errorf("handshake: %w", x509.UnknownAuthorityError{})), "TLS", false},
		{"certificate of another host, likewise", failing(x509.HostnameError{Certificate: new(x509.Certificate), Host: "api.z-api.io"}), "TLS", false},
		{"expired certificate, likewise", failing(x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}), "TLS", false},
		{"another error", failing(errors.New("egress is closed")), "no response", true},
		{"no response and no error", func(*http.Request) (*http.Response, error) { return nil, nil }, "no response", true}, //nolint:nilnil // that is what is tested
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			network := &script{steps: []step{tt.step}}
			err := setOnline(t.Context(), network.client(t, once, zapi.WithLogger(slog.New(slog.NewJSONHandler(&log, nil)))))
			var transportErr *zapi.TransportError
			require.ErrorAs(t, err, &transportErr)
			assert.Equal(t, 1, transportErr.Attempts)
			assertOnlyKind(t, nil, err)
			assertVerdict(t, kindVerdict{kind: tt.word, retryable: tt.retryable}, err)
			assert.Equal(t, tt.word, loggedKind(t, &log))
			assertNoSecret(t, fmt.Sprintf("%+v", transportErr), "error")
		})
	}
}

// What ended a call that the network had no part in.
func TestKindOfCallsThatEnd(t *testing.T) {
	t.Parallel()
	refusing := func(err error) zapi.Option {
		return zapi.WithRateLimiter(limiterFunc(func(context.Context) error { return err }))
	}
	breaker := zapi.WithInterceptor(func(context.Context, zapi.Call, func(context.Context) error) error {
		return errors.New("breaker is open")
	})
	ended := func(cause error) func(*testing.T) context.Context {
		return func(t *testing.T) context.Context {
			t.Helper()
			if cause == context.DeadlineExceeded { //nolint:errorlint // one of two values
				ctx, cancel := context.WithDeadline(t.Context(), time.Now())
				t.Cleanup(cancel)
				return ctx
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}
	}
	tests := []struct {
		name     string
		ctx      func(*testing.T) context.Context
		opts     []zapi.Option
		step     step
		attempts int
		word     string
		text     string
	}{
		{"canceled before it", ended(context.Canceled), nil, status(200), 0, "canceled", "not sent: context canceled"},
		{"canceled while it is sent", nil, nil, failing(context.Canceled), 1, "canceled", "no response: context canceled"},
		{"deadline before it", ended(context.DeadlineExceeded), nil, status(200), 0, "not sent", "not sent: context deadline exceeded"},
		{"timeout", nil, []zapi.Option{zapi.WithTimeout(time.Millisecond)}, hanging, 1, "timeout", "no complete response within 1ms"},
		{"limiter", nil, []zapi.Option{refusing(errors.New("burst exceeded"))}, status(200), 0, "not sent", "not sent: burst exceeded"},
		{"breaker", nil, []zapi.Option{breaker}, status(200), 0, "not sent", "not sent: breaker is open"},
		{"middleware", nil, []zapi.Option{before(func(*http.Request) error { return errors.New("not allowed here") })}, status(200), 1, "no response", "no response: not allowed here"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx(t)
			}
			err := setOnline(ctx, (&script{steps: []step{tt.step}}).client(t, append(tt.opts, once)...))
			var transportErr *zapi.TransportError
			require.ErrorAs(t, err, &transportErr)
			assert.Equal(t, tt.attempts, transportErr.Attempts)
			require.EqualError(t, err, "zapi: privacy/online: "+tt.text)
			assertVerdict(t, kindVerdict{kind: tt.word, retryable: true}, err)
		})
	}
}

// Errors that a program or its tests make.
func TestKindOfOtherErrors(t *testing.T) {
	t.Parallel()
	_, badCredentials := zapi.NewClient(zapi.Credentials{})
	_, badOption := zapi.NewAPI(zapi.WithTimeout(-1))
	_, badPhone := zapi.NormalizePhone("nobody")
	tests := []struct {
		name string
		err  error
		want kindVerdict
	}{
		{"option", badOption, kindVerdict{kind: "invalid argument"}},
		{"phone", badPhone, kindVerdict{kind: "invalid argument"}},
		{"credentials", badCredentials, kindVerdict{kind: "invalid credentials"}},
		{"empty policy", zapi.Policy{}.Validate(), kindVerdict{kind: "invalid argument"}},
		{"policy", zapi.Policy{Online: "NONE", ReadReceipts: "on"}.Validate(), kindVerdict{kind: "invalid argument"}},
		{"a ValidationError of a test", &zapi.ValidationError{}, kindVerdict{kind: "invalid argument"}},
		{"an APIError of a test", &zapi.APIError{}, kindVerdict{kind: "refused"}},
		{"a 429 of a test", &zapi.APIError{StatusCode: 429, RetryAfter: time.Minute}, kindVerdict{"rate limited", true, time.Minute}},
		{"a 200 of a test", &zapi.APIError{StatusCode: 200}, kindVerdict{"rejected", true, 0}},
		{"a 409 of a test that is not connected", &zapi.APIError{StatusCode: 409, Message: "You are not connected"}, kindVerdict{"not connected", true, 0}},
		{"a TransportError of a test", &zapi.TransportError{}, kindVerdict{"not sent", true, 0}},
		{"a TransportError of a test that was sent", &zapi.TransportError{Attempts: 1}, kindVerdict{"no response", true, 0}},
		{"a canceled context", context.Canceled, kindVerdict{kind: "canceled"}},
		{"another error", errors.New("disk is full"), kindVerdict{kind: "failed"}},
		{"an error of io", io.EOF, kindVerdict{kind: "failed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Error(t, tt.err)
			assertVerdict(t, tt.want, tt.err)
		})
	}
	t.Run("nil", func(t *testing.T) {
		t.Parallel()
		assert.Empty(t, zapi.Kind(nil))
		after, ok := zapi.Retryable(nil)
		assert.Zero(t, after)
		assert.False(t, ok)
	})
}

func TestKindOfApplyErrors(t *testing.T) {
	t.Parallel()
	var (
		invalid     = &zapi.ValidationError{Op: "policy", Field: "photo"}
		forbidden   = &zapi.APIError{StatusCode: 403}
		refused     = &zapi.APIError{StatusCode: 400, RetryAfter: time.Hour}
		soon        = &zapi.APIError{StatusCode: 429, RetryAfter: 7 * time.Second}
		later       = &zapi.APIError{StatusCode: 503, RetryAfter: time.Minute}
		away        = &zapi.APIError{StatusCode: 400, Code: "You are not connected."}
		broken      = &zapi.TransportError{Attempts: 1, Err: io.EOF}
		untrusted   = &zapi.TransportError{Attempts: 1, Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}
		canceled    = &zapi.TransportError{Err: context.Canceled}
		otherFailed = errors.New("disk is full")
	)
	tests := []struct {
		name   string
		failed []error
		want   kindVerdict
	}{
		{"one that passes", []error{soon}, kindVerdict{"rate limited", true, 7 * time.Second}},
		{"the longest wait", []error{soon, later, broken}, kindVerdict{"rate limited", true, time.Minute}},
		{"the longest wait first", []error{later, soon}, kindVerdict{"unavailable", true, time.Minute}},
		{"no wait", []error{broken, away}, kindVerdict{"connection closed", true, 0}},
		{"not connected", []error{away, away}, kindVerdict{"not connected", true, 0}},
		{"one that does not pass, last", []error{soon, later, refused}, kindVerdict{kind: "refused"}},
		{"one that does not pass, first", []error{invalid, soon}, kindVerdict{kind: "invalid argument"}},
		{"unauthorized", []error{later, forbidden}, kindVerdict{kind: "unauthorized"}},
		{"certificate", []error{soon, untrusted}, kindVerdict{kind: "TLS"}},
		{"canceled", []error{canceled}, kindVerdict{"canceled", true, 0}},
		{"an error of another package", []error{soon, otherFailed}, kindVerdict{kind: "failed"}},
		{"nothing failed", nil, kindVerdict{kind: "failed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := &zapi.ApplyError{Applied: []string{"online"}, Skipped: []string{"readReceipts"}}
			for _, cause := range tt.failed {
				err.Failed = append(err.Failed, zapi.SettingError{Setting: "photo", Err: fmt.Errorf("wrapped: %w", cause)})
			}
			assertVerdict(t, tt.want, err)
		})
	}
}

// Words are for metrics: few, short and without anything that a server or a caller wrote.
func TestKindsAreWords(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, tt := range apiErrors {
		seen[tt.word] = true
	}
	require.Len(t, seen, 10, "every kind of an APIError")
	for word := range seen {
		assert.Equal(t, strings.ToLower(word), word)
		assert.NotContains(t, word, "zapi")
	}
}
