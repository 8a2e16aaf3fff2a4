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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// awkward secrets look different in a URL, in JSON, in HTML and in Go.
var awkward = zapi.Credentials{InstanceID: "3C01D5A4B6", Token: `t0k"en<&>{x};y,z`, ClientToken: `F/cl1ent\"t&k+n'<%41>`}

// quotes are the ways in which a response may quote a secret.
func quotes(secret string) []string {
	inJSON, _ := json.Marshal(secret)
	inGo := strconv.Quote(secret)
	path := url.URL{Path: secret}
	var percent, numbered, unicode strings.Builder
	for _, c := range []byte(secret) {
		fmt.Fprintf(&percent, "%%%02x", c)
		fmt.Fprintf(&numbered, "&#x%X;", c)
		fmt.Fprintf(&unicode, `\u%04X`, c)
	}
	return []string{
		secret, string(inJSON[1 : len(inJSON)-1]), inGo[1 : len(inGo)-1], html.EscapeString(secret), path.EscapedPath(),
		url.PathEscape(secret), url.QueryEscape(secret), percent.String(), numbered.String(), unicode.String(),
		strings.ReplaceAll(secret, "/", `\/`), strings.NewReplacer("/", "&#x2F;", "&", "&amp;", "'", "&#39;").Replace(secret),
		html.EscapeString(string(inJSON[1 : len(inJSON)-1])), url.PathEscape(url.PathEscape(secret)),
		strings.NewReplacer("&", `\u0026amp;`, "<", `\u0026lt;`, `"`, `\u0026#34;`, "/", `\u00252F`, "'", `%26%2339%3B`).Replace(secret),
		hex.EncodeToString([]byte(secret)),
	}
}

func assertNoQuote(t *testing.T, c zapi.Credentials, text, what string) {
	t.Helper()
	assert.NotEmpty(t, text, what)
	for _, secret := range []string{c.Token, c.ClientToken} {
		for _, quote := range quotes(secret) {
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
			all := append(quotes(r.Header.Get("Client-Token")), quotes(strings.Split(r.URL.Path, "/")[4])...)
			w.Header().Set("X-Path", r.URL.Path)
			w.Header().Set("X-Client-Token", r.Header.Get("Client-Token"))
			w.WriteHeader(http.StatusBadRequest)
			for _, quote := range all {
				if _, err := hex.DecodeString(quote); err != nil { // hexadecimal is beyond what is promised
					_, _ = io.WriteString(w, quote+"\n")
				}
			}
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

// What net/http quotes of a response that it cannot read may be a phone, or half a secret.
func TestUnreadableResponsesAreNotQuoted(t *testing.T) {
	t.Parallel()
	const half, phone = "cl1ent-7A", "5544911111111"
	for name, response := range map[string]string{
		"no HTTP":       half + phone + "\r\n\r\n",
		"no status":     "HTTP/1.1 " + half + " " + phone + "\r\n\r\n",
		"no header":     "HTTP/1.1 200 OK\r\n" + half + phone + "\r\n\r\n",
		"space before":  "HTTP/1.1 200 OK\r\n " + half + phone + ": 1\r\n\r\n",
		"no length":     "HTTP/1.1 200 OK\r\nContent-Length: " + half + phone + "\r\n\r\n",
		"quotes within": "HTTP/1.1 \"" + half + "\" \"" + phone + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := append(rawResponse(t, func(zapi.Credentials) string { return response }), once)
			client, err := zapi.NewClient(creds, opts...)
			require.NoError(t, err)
			err = setOnline(t.Context(), client)
			isTransport(nil)(t, err)
			assert.Contains(t, err.Error(), "…")
			for what, text := range printed(t, errors.Unwrap(err)) {
				assert.NotContains(t, text, half, what)
				assert.NotContains(t, text, phone, what)
			}
		})
	}
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
	require.ErrorIs(t, err, context.DeadlineExceeded)
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

// An HTTP/2 server can put half a secret where net/http quotes it.
func TestHTTP2ErrorsAreNotQuoted(t *testing.T) {
	t.Parallel()
	const half = "cl1ent-7A"
	for _, text := range []string{
		`stream error: stream ID 1; PROTOCOL_ERROR; invalid header field name "` + half + `"`,
		`stream error: stream ID 1; PROTOCOL_ERROR; invalid pseudo-header ":` + half + `"`,
		`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug="` + half + `"`,
		`net/http: HTTP/1.x transport connection broken: bad Content-Length "` + half + `"`,
		`net/http: HTTP/1.x transport connection broken: malformed MIME header line: "` + half + `: x`, // as in Go 1.25
		`net/http: HTTP/1.x transport connection broken: malformed MIME header initial line:  ` + half,
	} {
		client, err := zapi.NewClient(creds, append(network(func(*http.Request) error { return errors.New(text) }), once)...)
		require.NoError(t, err)
		err = setOnline(t.Context(), client)
		isTransport(nil)(t, err)
		assert.Contains(t, err.Error(), `"…"`)
		for what, printed := range printed(t, errors.Unwrap(err)) {
			assert.NotContains(t, printed, half, what)
		}
	}
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

func TestNestedEscapes(t *testing.T) {
	t.Parallel()
	c := creds
	c.ClientToken = "F5e2<cl1ent>7A0S"
	nested := c.ClientToken
	for range 4 { // as SECURITY.md promises
		nested = url.QueryEscape(nested)
	}
	client, err := zapi.NewClient(c, zapi.WithTransport(newMockAPI(responding(400, nested))))
	require.NoError(t, err)
	var apiErr *zapi.APIError
	require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
	assert.Equal(t, "[REDACTED]", string(apiErr.Body))
}

// Redaction runs outside every timeout, so a server must not be able to make it slow.
func TestRedactionIsCheap(t *testing.T) {
	t.Parallel()
	many := http.Header{"A": slices.Repeat([]string{"%"}, 9000), "Location": {"%"}}
	for name, response := range map[string]httpmock.Responder{
		"headers": responding(200, `{"success":true}`).HeaderSet(many),
		"percent": responding(503, strings.Repeat("%25", 1<<18)),
		"slashes": responding(503, strings.Repeat(`\`, 1<<20)),
		"HTML":    responding(503, strings.Repeat("&amp;", 1<<17)),
	} {
		client := newClient(t, response)
		start := time.Now()
		_ = setOnline(t.Context(), client)
		assert.Less(t, time.Since(start), 3*time.Second, name)
	}
}
