package zapi_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func getStatus(ctx context.Context, c *zapi.Client) error {
	_, err := c.Status(ctx)
	return err
}

func TestStatus(t *testing.T) {
	t.Parallel()
	const already, restore, not = "You are already connected.", "You need to restore the session.", "You are not connected."
	tests := []struct {
		name, body string
		want       zapi.Status
	}{
		{"healthy, with a text under error", `{"connected": true, "smartphoneConnected": true, "error": "` + already + `"}`, zapi.Status{Connected: true, PhoneConnected: true}},
		{"healthy, without a text", `{"connected":true,"smartphoneConnected":true}`, zapi.Status{Connected: true, PhoneConnected: true}},
		{"healthy, with another text", `{"connected":true,"error":"` + not + `"}`, zapi.Status{Connected: true}},
		{"phone without internet", `{"connected":true,"smartphoneConnected":false}`, zapi.Status{Connected: true}},
		{"phone missing", `{"connected":true}`, zapi.Status{Connected: true}},
		{"phone null", `{"connected":true,"smartphoneConnected":null}`, zapi.Status{Connected: true}},
		{"session to restore", `{"connected":false,"smartphoneConnected":false,"error":"` + restore + `"}`, zapi.Status{Reason: restore}},
		{"not connected", `{"connected":false,"error":"` + not + `"}`, zapi.Status{Reason: not}},
		{"not connected, but the phone has internet", `{"connected":false,"smartphoneConnected":true,"error":"` + not + `"}`, zapi.Status{PhoneConnected: true, Reason: not}},
		{"not connected, with the text under message", `{"connected":false,"message":"` + restore + `"}`, zapi.Status{Reason: restore}},
		{"not connected, without a text", `{"connected":false}`, zapi.Status{}},
		{"not connected, with an unknown text", `{"connected":false,"error":"Scan the QR code"}`, zapi.Status{Reason: "Scan the QR code"}},
		{"unknown members", `{"created": 1, "connected":true,"session":{"connected":"no"}}`, zapi.Status{Connected: true}},
		{"byte order mark", "\ufeff" + `{"connected":true}`, zapi.Status{Connected: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(responding(200, tt.body))
			got, err := api.client(t).Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)

			require.Len(t, api.requests(), 1)
			request := api.requests()[0]
			assert.Equal(t, http.MethodGet, request.Method)
			assert.Equal(t, realURL("status"), request.URL)
			assert.Empty(t, request.Body)
			assert.Equal(t, []string{creds.ClientToken}, request.Header.Values("Client-Token"))
			assert.Empty(t, request.Header.Get("Content-Type"))
		})
	}
}

func TestStatusFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
		want   error
	}{
		{"connected is missing", 200, `{"smartphoneConnected":true,"error":"You are already connected."}`, zapi.ErrUnexpectedResponse},
		{"connected is missing, and the text says so", 200, `{"error":"You are not connected."}`, zapi.ErrUnexpectedResponse},
		{"connected is a string", 200, `{"connected":"true"}`, zapi.ErrUnexpectedResponse},
		{"connected is null", 200, `{"connected":null,"error":"You are not connected."}`, zapi.ErrUnexpectedResponse},
		{"connected is 1", 200, `{"connected":1}`, zapi.ErrUnexpectedResponse},
		{"connected in other letters", 200, `{"Connected":true}`, zapi.ErrUnexpectedResponse},
		{"connected twice", 200, `{"connected":false,"connected":true}`, zapi.ErrUnexpectedResponse},
		{"phone is a string", 200, `{"connected":true,"smartphoneConnected":"true"}`, zapi.ErrUnexpectedResponse},
		{"phone is 0", 200, `{"connected":false,"smartphoneConnected":0}`, zapi.ErrUnexpectedResponse},
		{"success", 200, `{"success":true}`, zapi.ErrUnexpectedResponse},
		{"empty object", 200, `{}`, zapi.ErrUnexpectedResponse},
		{"empty", 200, ``, zapi.ErrUnexpectedResponse},
		{"null", 200, `null`, zapi.ErrUnexpectedResponse},
		{"list", 200, `[{"connected":true}]`, zapi.ErrUnexpectedResponse},
		{"two values", 200, `{"connected":true}{"connected":true}`, zapi.ErrUnexpectedResponse},
		{"page", 200, `<html>connected</html>`, zapi.ErrUnexpectedResponse},
		{"unknown route with 200", 200, `{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, zapi.ErrNotFound},
		{"unknown instance with 200", 200, `{"error":"Instance not found"}`, zapi.ErrNotFound},
		{"no Client-Token with 200", 200, `{"error":"null not allowed"}`, zapi.ErrUnauthorized},
		{"201", 201, `{"connected":true}`, zapi.ErrUnexpectedResponse},
		{"204", 204, ``, zapi.ErrUnexpectedResponse},
		{"302", 302, `{"connected":true}`, zapi.ErrUnexpectedResponse},
		{"400", 400, `{"connected":true}`, nil},
		{"400 that is disconnected", 400, `{"connected":false,"error":"You are not connected."}`, zapi.ErrNotConnected},
		{"401", 401, `{"connected":true}`, zapi.ErrUnauthorized},
		{"403", 403, `{"connected":false,"error":"You are not connected."}`, zapi.ErrUnauthorized},
		{"404", 404, `{"connected":true}`, zapi.ErrNotFound},
		{"405", 405, `{"connected":true}`, zapi.ErrMethodNotAllowed},
		{"415", 415, `{"connected":true}`, zapi.ErrUnsupportedMediaType},
		{"429", 429, `{"connected":true}`, zapi.ErrRateLimited},
		{"500", 500, `{"connected":true,"smartphoneConnected":true}`, zapi.ErrUnavailable},
		{"503 that is disconnected", 503, `{"connected":false,"error":"You need to restore the session."}`, zapi.ErrNotConnected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := newClient(t, responding(tt.status, tt.body)).Status(t.Context())
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.Equal(t, "status", apiErr.Op)
			assert.Equal(t, tt.status, apiErr.StatusCode)
			assertOnlyKind(t, tt.want, err)
			assert.Zero(t, got)
		})
	}
}

func TestStatusReason(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"quotes the token", "no session of " + creds.Token, "no session of [REDACTED]"},
		{"quotes the Client-Token", creds.ClientToken + " has no session", "[REDACTED] has no session"},
		{"is long", strings.Repeat("é", 2000), strings.Repeat("é", 254) + "…"},
		{"quotes a secret until it is long", strings.Repeat(creds.Token+" ", 600), ""},
		{"cannot be printed", `scan\nthe\u001b[31m\u202ecode`, "scan the [31m code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, responding(200, `{"connected":false,"error":"`+tt.text+`"}`))
			got, err := client.Status(t.Context())
			require.NoError(t, err)
			assert.False(t, got.Connected)
			assertNoSecret(t, got.Reason, "reason")
			assert.LessOrEqual(t, len(got.Reason), 512)
			assert.True(t, utf8.ValidString(got.Reason))
			if tt.want != "" {
				assert.Equal(t, tt.want, got.Reason)
			}
		})
	}
}

// An interceptor that hides what happened must not make a healthy number look disconnected.
func TestStatusIsNotMadeUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		intercept zapi.Interceptor
		attempts  int
		text      string
	}{
		{"without the call", func(context.Context, zapi.Call, func(context.Context) error) error { return nil }, 0, "not sent: "},
		{"after a failed call", func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
			_ = next(ctx)
			return nil
		}, 1, "no response: "},
	}
	for _, tt := range tests {
		for _, read := range []call{{"status", getStatus}, {"privacy/disallowed-contacts", getContacts(zapi.BlacklistPhoto)}, {"device", getDevice}} {
			t.Run(tt.name+" of "+read.op, func(t *testing.T) {
				t.Parallel()
				err := read.call(t.Context(), newClient(t, responding(503, ""), zapi.WithInterceptor(tt.intercept)))
				var transportErr *zapi.TransportError
				require.ErrorAs(t, err, &transportErr)
				assert.Equal(t, read.op, transportErr.Op)
				assert.Equal(t, tt.attempts, transportErr.Attempts)
				assert.ErrorContains(t, err, "zapi: "+read.op+": "+tt.text)
			})
		}
	}
}

func TestStatusIsACallLikeEveryOther(t *testing.T) {
	t.Parallel()
	t.Run("repeated", func(t *testing.T) {
		t.Parallel()
		network := &script{steps: []step{status(503), failing(http.ErrServerClosed), step(responding(200, `{"connected":true}`))}}
		got, err := network.client(t, zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: 1, MaxWait: 1})).Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, zapi.Status{Connected: true}, got)
		assert.Len(t, network.at, 3)
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		api := newMockAPI(responding(200, `{"connected":true}`))
		got, err := api.client(t).Status(ctx)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, got)
		assert.Empty(t, api.requests())
	})
	t.Run("observed", func(t *testing.T) {
		t.Parallel()
		var seen []zapi.Call
		var log bytes.Buffer
		client := newClient(t, responding(403, ""),
			zapi.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			zapi.WithInterceptor(func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
				seen = append(seen, call)
				return next(ctx)
			}))
		require.Error(t, getStatus(t.Context(), client))
		assert.Equal(t, []zapi.Call{{Op: "status", InstanceID: creds.InstanceID}}, seen)
		assert.Contains(t, log.String(), " op=status ")
		assert.Contains(t, log.String(), " failure=unauthorized ")
	})
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		for _, client := range []*zapi.Client{nil, new(zapi.Client)} {
			assertRefused(t, getStatus(t.Context(), client), "status", "client")
		}
	})
	t.Run("no context", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(succeeding)
		assertRefused(t, getStatus(nil, api.client(t)), "status", "ctx") //nolint:staticcheck // that is what is tested
		assert.Empty(t, api.requests())
	})
}

// The two documented texts, and nothing else, report that a number is not connected.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	const not, restore = "You are not connected.", "You need to restore the session."
	object := func(format string) func(string) string {
		return func(text string) string { return fmt.Sprintf(format, text) }
	}
	asError, asMessage := object(`{"error":%q}`), object(`{"message":%q}`)
	tests := []struct {
		name     string
		statuses []int
		body     string
		want     error // nil for a 4xx without a kind
	}{
		{"not connected", []int{200, 400, 402, 408, 409, 422, 425, 499, 500, 502, 503, 520, 599}, asError(not), zapi.ErrNotConnected},
		{"session", []int{200, 400, 409, 500}, asError(restore), zapi.ErrNotConnected},
		{"in message", []int{200, 400, 409, 500}, asMessage(not), zapi.ErrNotConnected},
		{"session in message", []int{200, 400, 409, 500}, asMessage(restore), zapi.ErrNotConnected},
		{"in message, behind a code", []int{200, 400, 500}, `{"error":"DISCONNECTED","message":"` + not + `"}`, zapi.ErrNotConnected},
		{"in error, before a message", []int{200, 400, 500}, `{"error":"` + not + `","message":"Scan the QR code"}`, zapi.ErrNotConnected},
		{"with success false", []int{200, 400}, `{"success":false,"error":"` + not + `"}`, zapi.ErrNotConnected},
		{"with success false, in message", []int{200, 400}, `{"success":false,"message":"` + restore + `"}`, zapi.ErrNotConnected},
		{"without the full stop", []int{200, 400, 500}, asError("You are not connected"), zapi.ErrNotConnected},
		{"session without the full stop", []int{200, 400, 500}, asError("You need to restore the session"), zapi.ErrNotConnected},
		{"in capital letters", []int{200, 400, 500}, asError(strings.ToUpper(not)), zapi.ErrNotConnected},
		{"in small letters", []int{200, 400, 500}, asMessage(strings.ToLower(restore)), zapi.ErrNotConnected},

		{"401", []int{401, 403}, asError(not), zapi.ErrUnauthorized},
		{"404", []int{404}, asError(not), zapi.ErrNotFound},
		{"405", []int{405}, asError(not), zapi.ErrMethodNotAllowed},
		{"415", []int{415}, asError(not), zapi.ErrUnsupportedMediaType},
		{"429", []int{429}, asError(not), zapi.ErrRateLimited},
		{"other 2xx and redirects", []int{201, 202, 302, 307}, asError(not), zapi.ErrUnexpectedResponse},
		{"the healthy text", []int{200}, asError("You are already connected."), zapi.ErrUnexpectedResponse},
		{"the healthy text with 400", []int{400}, asError("You are already connected."), nil},
		{"success false", []int{200}, `{"success":false}`, zapi.ErrRejected},
		{"success false with a text like it", []int{200}, `{"success":false,"message":"the number is not connected"}`, zapi.ErrRejected},
		{"a longer text", []int{400}, asError("You are not connected. Scan the QR code."), nil},
		{"a text in front", []int{400}, asError("Error: You are not connected."), nil},
		{"the beginning", []int{400}, asError("You are not"), nil},
		{"disconnected", []int{400}, asError("Disconnected"), nil},
		{"another full stop", []int{400}, asError("You are not connected!"), nil},
		{"two full stops", []int{400}, asError("You are not connected.."), nil},
		{"a code", []int{500}, asError("NOT_CONNECTED"), zapi.ErrUnavailable},
		{"in another member", []int{400}, object(`{"reason":%q}`)(not), nil},
		{"in a list", []int{400}, object(`{"error":[%q]}`)(not), nil},
		{"in an object", []int{400}, object(`{"error":{"message":%q}}`)(not), nil},
		{"as a page", []int{400}, not, nil},
		{"as a page with 503", []int{503}, "<html>" + not + "</html>", zapi.ErrUnavailable},
	}
	for _, tt := range tests {
		for _, status := range tt.statuses {
			t.Run(fmt.Sprintf("%s with %d", tt.name, status), func(t *testing.T) {
				t.Parallel()
				for _, setting := range []call{{"privacy/online", setOnline}, {"privacy/disallowed-contacts", getContacts(zapi.BlacklistPhoto)}} {
					err := setting.call(t.Context(), newClient(t, responding(status, tt.body)))
					var apiErr *zapi.APIError
					require.ErrorAs(t, err, &apiErr)
					assert.Equal(t, setting.op, apiErr.Op)
					assertOnlyKind(t, tt.want, err)
				}
			})
		}
	}
}
