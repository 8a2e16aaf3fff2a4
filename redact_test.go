package zapi_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// awkward secrets look different in a URL, in JSON and in HTML.
var awkward = zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "t0k&en+(x)*y:z=@^~!", ClientToken: `F/cl1ent\t&k+n?%41#~`}

// encodings returns text as it is and as encoders write it, as SECURITY.md promises.
func encodings(text string) []string {
	return []string{
		text,
		percentEncode(text, "-_.~", "%%%02X"),
		percentEncode(text, "-_.~", "%%%02x"),
		percentEncode(text, "-_.~$&+=:@", "%%%02X"),                    // a segment of a path
		percentEncode(text, "-_.~$&+=:@,;/", "%%%02X"),                 // a path
		percentEncode(text, "-_.~!*'()", "%%%02X"),                     // encodeURIComponent of JavaScript
		strings.ReplaceAll(text, "&", "&amp;"),                         // as no credential has quotes or < and >
		strings.NewReplacer("&", "&amp;", "/", "&#x2F;").Replace(text), // as OWASP recommends
		strings.ReplaceAll(text, `\`, `\\`),                            // JSON
		strings.NewReplacer(`\`, `\\`, "/", `\/`).Replace(text),        // JSON of PHP
		strings.NewReplacer(`\`, `\\`, "&", `\u0026`).Replace(text),    // JSON of Go
	}
}

// percentEncode writes all but letters, digits and safe in format.
func percentEncode(text, safe, format string) string {
	var encoded strings.Builder
	for _, c := range []byte(text) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte(safe, c) >= 0 {
			encoded.WriteByte(c)
		} else {
			fmt.Fprintf(&encoded, format, c)
		}
	}
	return encoded.String()
}

// quotes are the ways in which a response may quote a secret: two encodings inside each other.
func quotes(secret string) []string {
	var all []string
	for _, once := range encodings(secret) {
		all = append(all, encodings(once)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func assertNoQuote(t *testing.T, c zapi.Credentials, text, what string) {
	t.Helper()
	assert.NotEmpty(t, text, what)
	for _, secret := range []string{c.Token, c.ClientToken} {
		for _, quote := range append(quotes(secret), hex.EncodeToString([]byte(secret))) { // %x writes the last
			assert.NotContains(t, text, quote, what)
		}
	}
}

// failures are the ways in which a call can fail; each returns the options that make it fail.
var failures = []struct {
	name string
	opts func(*testing.T) []zapi.Option
	ctx  func(context.Context) (context.Context, context.CancelFunc)
}{
	{"refused", func(*testing.T) []zapi.Option {
		server := httptest.NewServer(nil)
		server.Close()
		return []zapi.Option{zapi.WithBaseURL(server.URL)}
	}, nil},
	{"DNS", func(*testing.T) []zapi.Option {
		return []zapi.Option{zapi.WithBaseURL("https://no-such-host.invalid")}
	}, nil},
	{"timeout", func(t *testing.T) []zapi.Option {
		return append(handled(t, hang), zapi.WithTimeout(20*time.Millisecond))
	}, nil},
	{"deadline", func(t *testing.T) []zapi.Option { return handled(t, hang) }, func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 20*time.Millisecond)
	}},
	{"cancel", func(t *testing.T) []zapi.Option { return handled(t, hang) }, func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		return ctx, cancel
	}},
	{"TLS", func(t *testing.T) []zapi.Option {
		server := httptest.NewUnstartedServer(nil)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return []zapi.Option{zapi.WithBaseURL(server.URL)}
	}, nil},
	{"redirect that quotes the URL", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.invalid"+r.URL.Path+"?"+r.Header.Get("Client-Token"), http.StatusTemporaryRedirect)
		})
	}, nil},
	{"HTML that quotes the URL", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprintf(w, "<p>cannot reach %s</p><p>%s</p><p>%s</p>", html.EscapeString(r.URL.Path), r.URL, r.RequestURI)
		})
	}, nil},
	{"403 that echoes the Client-Token", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "Client-Token " + r.Header.Get("Client-Token") + " not allowed", "message": r.URL.Path})
		})
	}, nil},
	{"400 that echoes in every form and in its headers", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			all := append(quotes(r.Header.Get("Client-Token")), quotes(tokenOf(r.URL.Path))...)
			w.Header().Set("X-Path", r.URL.Path)
			w.Header().Set("X-Client-Token", r.Header.Get("Client-Token"))
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, strings.Join(all, "\n"))
		})
	}, nil},
	{"200 that echoes", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "message": r.URL.Path})
		})
	}, nil},
	{"a large page that echoes at its limit", func(t *testing.T) []zapi.Option {
		return handled(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(r.RequestURI, 1<<20/len(r.RequestURI)+1))
		})
	}, nil},
	{"a status line that echoes", func(t *testing.T) []zapi.Option {
		return rawResponse(t, func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Client-Token " + c.Token + "\r\nContent-Length: 0\r\n\r\n"
		})
	}, nil},
	{"a malformed response that echoes", func(t *testing.T) []zapi.Option {
		return rawResponse(t, func(c zapi.Credentials) string { return "HTTP/1.1 " + c.Token + "\r\n\r\n" })
	}, nil},
	{"a mock that knows another URL", func(*testing.T) []zapi.Option {
		mock := httpmock.NewMockTransport()
		for _, c := range []zapi.Credentials{creds, awkward} {
			mock.RegisterResponder("GET", "https://api.z-api.io/instances/"+c.InstanceID+"/token/"+c.Token+"/privacy/last-seen", succeeding)
		}
		return []zapi.Option{zapi.WithTransport(mock)}
	}, nil},
	{"a transport with nested URL errors", func(*testing.T) []zapi.Option {
		return network(func(req *http.Request) error {
			return fmt.Errorf("egress: %w", &url.Error{Op: "Post", URL: req.URL.String(), Err: &url.Error{Op: "Post", URL: req.URL.String(), Err: io.ErrUnexpectedEOF}})
		})
	}, nil},
	{"a transport with a URL in its own text", func(*testing.T) []zapi.Option {
		return network(func(req *http.Request) error {
			return fmt.Errorf("egress to %s: %w", req.URL, context.DeadlineExceeded)
		})
	}, nil},
	{"a transport that hides a URL deep down", func(*testing.T) []zapi.Option {
		return network(func(req *http.Request) error {
			return &hiding{errors.Join(io.EOF, &hiding{errors.New(req.Header.Get("Client-Token"))})}
		})
	}, nil},
	{"a transport whose error has the URL as a field", func(*testing.T) []zapi.Option {
		return network(func(req *http.Request) error { return &telling{req.URL.String()} })
	}, nil},
}

// tokenOf returns the token in the path of a request.
func tokenOf(path string) string { return strings.Split(path, "/")[4] }

// telling is an error that shows more to %#v than to Error.
type telling struct{ URL string }

func (e *telling) Error() string { return "told" }

// hiding is an error that shows its cause only when it is unwrapped.
type hiding struct{ cause error }

func (e *hiding) Error() string { return "hidden" }

func (e *hiding) Unwrap() error { return e.cause }

func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the server notices a client that leaves only then
	<-r.Context().Done()
}

func handled(t *testing.T, handler http.HandlerFunc) []zapi.Option {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return []zapi.Option{zapi.WithBaseURL(server.URL)}
}

func network(fail func(*http.Request) error) []zapi.Option {
	return []zapi.Option{zapi.WithTransport(transportFunc(func(req *http.Request) (*http.Response, error) { return nil, fail(req) }))}
}

// rawResponse sends bytes that no HTTP server would send, with the credentials that the request holds.
func rawResponse(t *testing.T, response func(zapi.Credentials) string) []zapi.Option {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 4096)
			n, _ := conn.Read(request)
			known := creds
			if !bytes.Contains(request[:n], []byte(creds.Token)) {
				known = awkward
			}
			_, _ = io.WriteString(conn, response(known))
			_ = conn.Close()
		}
	}()
	return []zapi.Option{zapi.WithBaseURL("http://" + listener.Addr().String())}
}

func failingCall(t *testing.T, i int, c zapi.Credentials, opts ...zapi.Option) error {
	t.Helper()
	client, err := zapi.NewClient(c, append(append(failures[i].opts(t), once), opts...)...)
	require.NoError(t, err)
	ctx, cancel := t.Context(), context.CancelFunc(func() {})
	if failures[i].ctx != nil {
		ctx, cancel = failures[i].ctx(ctx)
	}
	defer cancel()
	return client.SetLastSeen(ctx, zapi.VisibilityContacts)
}

func TestFailuresHoldNoSecret(t *testing.T) {
	t.Parallel()
	for i, failure := range failures {
		for _, c := range []zapi.Credentials{creds, awkward} {
			t.Run(failure.name+" with "+c.Token[:5], func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				logged := zapi.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
				err := failingCall(t, i, c, logged, zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: 1, MaxWait: 1}))
				require.Error(t, err)
				assertNoQuote(t, c, log.String(), "log")
				assert.NotContains(t, log.String(), "/token/")
				for what, text := range printed(t, err) {
					assertNoQuote(t, c, text, what)
				}
				var apiErr *zapi.APIError
				if errors.As(err, &apiErr) {
					assertNoQuote(t, c, string(apiErr.Body)+"-", "Body")
					assertNoQuote(t, c, apiErr.Code+"-", "Code")
					assertNoQuote(t, c, apiErr.Message+"-", "Message")
				}
				for _, cause := range causes(err) {
					for what, text := range printed(t, cause) {
						assertNoQuote(t, c, text, "cause "+what)
					}
				}
			})
		}
	}
}

// printed is v through every printer of the standard library, and the one of a failing assertion.
func printed(t *testing.T, v any) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, verb := range "vsqxXdbogeftUpTcw" {
		for _, flag := range []string{"", "+", "#", " ", "-", "0", "9.9"} {
			format := "%" + flag + string(verb)
			texts[format] = fmt.Sprintf(format, v)
		}
	}
	encoded, err := json.Marshal(v)
	texts["JSON"] = fmt.Sprint(string(encoded), err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", v, slog.Group("group", "value", v))
	texts["slog text"] = log.String()
	log.Reset()
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", v, slog.Group("group", "value", v))
	texts["slog JSON"] = log.String()
	failed := &failedTest{}
	assert.Equal(failed, []any{v}, v)
	texts["assertion"] = failed.text
	return texts
}

// failedTest keeps what testify prints, which looks into unexported fields too.
type failedTest struct{ text string }

func (f *failedTest) Errorf(format string, args ...any) { f.text += fmt.Sprintf(format, args...) }

// causes lists all that err unwraps to, at every level.
func causes(err error) []error {
	var direct []error
	switch wrapper := err.(type) { //nolint:errorlint // each level of the tree is looked at in turn
	case interface{ Unwrap() error }:
		if cause := wrapper.Unwrap(); cause != nil {
			direct = []error{cause}
		}
	case interface{ Unwrap() []error }:
		direct = wrapper.Unwrap()
	}
	all := slices.Clone(direct) // the error may own it
	for _, cause := range direct {
		all = append(all, causes(cause)...)
	}
	return all
}

func TestRedactedErrorsStillMatch(t *testing.T) {
	t.Parallel()
	byName := func(name string) int {
		for i, failure := range failures {
			if failure.name == name {
				return i
			}
		}
		t.Fatal(name)
		return 0
	}
	err := failingCall(t, byName("a transport with nested URL errors"), creds)
	require.EqualError(t, err, "zapi: privacy/last-seen: no response: unexpected EOF")

	err = failingCall(t, byName("a transport with a URL in its own text"), creds)
	require.EqualError(t, err, "zapi: privacy/last-seen: no response: egress to https://api.z-api.io/instances/"+creds.InstanceID+"/token/[REDACTED]/privacy/last-seen: context deadline exceeded")
	assert.NotErrorIs(t, err, context.DeadlineExceeded, "that is the caller's, which has not passed")
	assert.True(t, isTimeout(err))

	err = failingCall(t, byName("a transport that hides a URL deep down"), creds)
	require.EqualError(t, err, "zapi: privacy/last-seen: no response: hidden")
	require.ErrorIs(t, err, io.EOF)
	assert.False(t, isTimeout(err))
}

func TestSecretThatBeginsWithTheOther(t *testing.T) {
	t.Parallel()
	c := zapi.Credentials{InstanceID: "instance", Token: "70C4D2E7", ClientToken: "70C4D2E7-and-more"}
	client, err := zapi.NewClient(c, zapi.WithTransport(newMockAPI(responding(403, c.ClientToken+" "+c.Token))))
	require.NoError(t, err)
	var apiErr *zapi.APIError
	require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
	assert.Equal(t, "[REDACTED] [REDACTED]", string(apiErr.Body))
}

const quietVariable = "ZAPI_TEST_QUIET"

// Whatever fails, nothing is written to stdout or stderr: another process runs all failures and is listened to.
func TestNothingIsWritten(t *testing.T) {
	t.Parallel()
	if os.Getenv(quietVariable) != "" {
		fmt.Println("listening")
		for i := range failures {
			require.Error(t, failingCall(t, i, creds))
		}
		fmt.Println("heard")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingIsWritten$", "-test.count=1")
	cmd.Env = append(os.Environ(), quietVariable+"=1")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	_, rest, ok := strings.Cut(string(output), "listening\n")
	require.True(t, ok, string(output))
	between, _, ok := strings.Cut(rest, "heard\n")
	require.True(t, ok, string(output))
	assert.Empty(t, between)
}

func TestURLErrorWithoutCause(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"no cause": &url.Error{Op: "Post", URL: creds.Token}, "nil pointer": (*url.Error)(nil)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := zapi.NewClient(creds, append(network(func(*http.Request) error { return failure }), once)...)
			require.NoError(t, err)
			require.EqualError(t, setOnline(t.Context(), client), "zapi: privacy/online: no response: the transport returned an error without a cause")
		})
	}
}

// requestError is an error of a transport that keeps the real request.
type requestError struct{ request *http.Request }

func (*requestError) Error() string { return "egress is closed" }

// A limit that SECURITY.md states: what a transport puts into a type of its own is handed to whoever asks for that type.
func TestErrorTypesOfTheTransportAreKept(t *testing.T) {
	t.Parallel()
	client, err := zapi.NewClient(creds, append(network(func(req *http.Request) error { return &requestError{req} }), once)...)
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	var own *requestError
	require.ErrorAs(t, err, &own)
	assert.Contains(t, own.request.URL.Path, creds.Token)
	for what, text := range printed(t, err) {
		if what != "assertion" {
			assertNoSecret(t, text, what)
		}
	}
}

func TestSecretWithinTheOther(t *testing.T) {
	t.Parallel()
	c := zapi.Credentials{InstanceID: "1", Token: "TOKENTOKEN", ClientToken: "x/TOKENTOKEN/y1234567"}
	client, err := zapi.NewClient(c, zapi.WithTransport(newMockAPI(responding(400, `{"error":"x\/TOKENTOKEN\/y1234567 TOKENTOKEN"}`))))
	require.NoError(t, err)
	var apiErr *zapi.APIError
	require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
	assert.JSONEq(t, `{"error":"[REDACTED] [REDACTED]"}`, string(apiErr.Body))
}

// The forms are written out, so that they do not depend on the encoders of Go.
func TestEncodedSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	c := zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "70C4D2E7-t0ken", ClientToken: `F/c&k+n%4=1!\t`}
	forms := []struct{ name, quote string }{
		{"as it is", `F/c&k+n%4=1!\t`},
		{"URL, query", `F%2Fc%26k%2Bn%254%3D1%21%5Ct`},
		{"URL, query with lower-case escapes", `F%2fc%26k%2bn%254%3d1%21%5ct`},
		{"URL, segment of a path", `F%2Fc&k+n%254=1%21%5Ct`},
		{"URL, path", `F/c&k+n%254=1%21%5Ct`},
		{"URL, encodeURIComponent of JavaScript", `F%2Fc%26k%2Bn%254%3D1!%5Ct`},
		{"HTML", `F/c&amp;k+n%4=1!\t`},
		{"HTML, with escaped slashes", `F&#x2F;c&amp;k+n%4=1!\t`},
		{"JSON", `F/c&k+n%4=1!\\t`},
		{"JSON of Go", `F/c\u0026k+n%4=1!\\t`},
		{"JSON of PHP", `F\/c&k+n%4=1!\\t`},
		{"URL in a URL", `F%252Fc%2526k%252Bn%25254%253D1%2521%255Ct`},
		{"URL in HTML", `F%2Fc&amp;k+n%254=1%21%5Ct`},
		{"URL in JSON of PHP", `F\/c&k+n%254=1%21%5Ct`},
		{"HTML in JSON", `F/c&amp;k+n%4=1!\\t`},
		{"HTML in JSON of Go", `F/c\u0026amp;k+n%4=1!\\t`},
		{"HTML in HTML", `F/c&amp;amp;k+n%4=1!\t`},
		{"JSON of Go in a URL", `F%2Fc%5Cu0026k%2Bn%254%3D1%21%5C%5Ct`},
		{"JSON of PHP in HTML", `F\/c&amp;k+n%4=1!\\t`},
		{"JSON in JSON", `F/c&k+n%4=1!\\\\t`},
		{"JSON of PHP in JSON of PHP", `F\\\/c&k+n%4=1!\\\\t`},
	}
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			const before, after = "page of 3C01D5A4B6 with ", " and more"
			shown := before + "[REDACTED]" + after
			api := newMockAPI(func(req *http.Request) (*http.Response, error) {
				resp := httpmock.NewStringResponse(http.StatusBadRequest, before+form.quote+after)
				resp.Status = before + form.quote + after
				resp.Header = http.Header{"X-Echo": {"1", before + form.quote + after}, "X-Other": {"2"}}
				resp.Request = req
				return resp, nil
			})
			var seen *http.Response
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (resp *http.Response, err error) {
					seen, err = next.RoundTrip(req)
					return seen, err
				})
			})
			client, err := zapi.NewClient(c, zapi.WithTransport(api), once, looking)
			require.NoError(t, err)
			var apiErr *zapi.APIError
			require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
			assert.Equal(t, shown, string(apiErr.Body))
			assert.Equal(t, shown, seen.Status)
			assert.Equal(t, http.Header{"X-Echo": {"1", shown}, "X-Other": {"2"}}, seen.Header)

			for name, text := range map[string]error{
				"text":        errors.New(before + form.quote + after),
				"wrapped":     fmt.Errorf("%w", errors.New(before+form.quote+after)),
				"joined":      errors.Join(errors.New(before + form.quote + after)),
				"URL error":   &url.Error{Op: "Post", URL: form.quote, Err: errors.New(before + form.quote + after)},
				"field of it": &net.OpError{Op: before + form.quote + after, Err: io.EOF},
			} {
				client, err := zapi.NewClient(c, append(network(func(*http.Request) error { return text }), once)...)
				require.NoError(t, err)
				err = setOnline(t.Context(), client)
				require.ErrorContains(t, err, "no response: "+shown, name)
				for _, cause := range append(causes(err), err) {
					assert.NotContains(t, fmt.Sprintf("%v %+v %#v", cause, cause, cause), form.quote, name)
				}
			}
		})
	}
}

// JSON may escape letters and digits, too. The texts that a program reads are redacted once more, after they were decoded.
func TestEscapedTextsAreRedacted(t *testing.T) {
	t.Parallel()
	var escaped strings.Builder
	for _, c := range []byte(creds.Token) {
		fmt.Fprintf(&escaped, `\u%04x`, c)
	}
	const want = "Token [REDACTED] not allowed"
	text := `"Token ` + escaped.String() + ` not allowed"`
	apiErr := func(t *testing.T, body string) *zapi.APIError {
		t.Helper()
		var apiErr *zapi.APIError
		require.ErrorAs(t, setOnline(t.Context(), newClient(t, responding(400, body))), &apiErr)
		return apiErr
	}
	tests := []struct {
		name string
		read func(*testing.T) string
	}{
		{"code", func(t *testing.T) string { return apiErr(t, `{"error":`+text+`}`).Code }},
		{"message", func(t *testing.T) string { return apiErr(t, `{"message":`+text+`}`).Message }},
		{"reason of a status", func(t *testing.T) string {
			status, err := newClient(t, responding(200, `{"connected":false,"error":`+text+`}`)).Status(t.Context())
			require.NoError(t, err)
			return status.Reason
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, want, tt.read(t))
		})
	}
}

// Redaction runs outside every timeout, so a server must not be able to make it slow or large.
func TestRedactionAllocatesLittle(t *testing.T) {
	skipUnderRace(t)
	const limit = uint64(12 << 20)
	units := []struct{ name, text string }{
		{"words", "page "},
		{"percent escapes", "%41%2B"},
		{"nested escapes", "%25252525"},
		{"percent signs", "%"},
		{"backslashes", `\`},
		{"JSON escapes", `\u0041`},
		{"HTML escapes", "&amp;&#x2F;"},
		{"a secret", awkward.ClientToken},
		{"an escaped secret", url.QueryEscape(awkward.ClientToken)},
		{"half a secret", awkward.ClientToken[:10]},
		{"secrets in every form", strings.Join(append(quotes(awkward.Token), quotes(awkward.ClientToken)...), "\n")},
		{"JSON with a secret", `{"error":"` + awkward.Token + `"}`},
		{"masks", "[REDACTED]"},
	}
	for _, unit := range units {
		body := strings.Repeat(unit.text, 1<<20/len(unit.text))
		for _, c := range []zapi.Credentials{creds, awkward} {
			for name, opts := range map[string][]zapi.Option{"alone": nil, "below a middleware": {wrapping}} {
				client, err := zapi.NewClient(c, append(opts, zapi.WithTransport(newMockAPI(responding(400, body))), once)...)
				require.NoError(t, err)
				allocated := bytesAllocated(func() { err = setOnline(t.Context(), client) })
				require.ErrorContains(t, err, "400 Bad Request")
				assert.Greater(t, allocated, uint64(len(body)), "%s: the body was read", unit.name)
				assert.Less(t, allocated, limit, "%s with %s, %s", unit.name, c.Token, name)
			}
		}
	}
	many := http.Header{"A": slices.Repeat([]string{"%"}, 9000), "Location": {"%"}, "B": slices.Repeat([]string{awkward.Token}, 1000)}
	client, err := zapi.NewClient(awkward, zapi.WithTransport(newMockAPI(responding(200, `{"success":true}`).HeaderSet(many))), once)
	require.NoError(t, err)
	allocated := bytesAllocated(func() { require.NoError(t, setOnline(t.Context(), client)) })
	assert.Less(t, allocated, limit, "header")
}
