package zapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// responsesInTheWild are documented and observed responses, as seeds.
var responsesInTheWild = []string{
	`{"success": true}`, `{"success": false}`, `{}`, `null`, `[]`, `{"success":true}{"success":true}`,
	`{"error":"your client-token is not configured"}`, `{"error":"null not allowed"}`, `{"error":"Client-Token null not allowed"}`,
	`{"error":"NOT_FOUND","message":"Unable to find matching target resource method"}`, `{"error":"Instance not found"}`,
	`{"error":"Invalid phone"}`, `{"disallowedContacts": ["554411111111", "999@lid"]}`, `{"disallowedContacts": [null]}`,
	"<html><body>502 Bad Gateway</body></html>", "\xff\xfe", "\x1f\x8b\x08", `{"success":true,"error":{"a":[]}}`,
}

// Any bytes, any status: never a panic, never a secret, one of three errors, all within their caps.
func FuzzResponse(f *testing.F) {
	for _, body := range responsesInTheWild {
		for _, status := range []int{200, 201, 302, 400, 403, 404, 429, 503} {
			f.Add(status, body, "text/html", "")
		}
	}
	f.Add(403, `{"error":"Client-Token `+creds.ClientToken+` not allowed"}`, "application/json", "17")
	f.Add(502, "<p>"+realURL("privacy/online")+"</p>", "gzip", creds.ClientToken)
	f.Add(200, strings.Repeat(creds.Token, 200), creds.Token, "Mon, 02 Jan 2026 15:04:05 GMT")
	f.Add(403, `{"error":"\u0046/cl1ent\\t\u0026k+n?%41#~","message":"F%2Fcl1ent%5Ct%26k%2Bn%3F%2541%23~"}`, awkward.Token, "")
	decoders := map[zapi.Credentials]zapi.Decoder{creds: zapi.NewDecoder(creds), awkward: zapi.NewDecoder(awkward)}
	forms := map[zapi.Credentials][]string{}
	for c := range decoders {
		forms[c] = append(encodings(c.Token), encodings(c.ClientToken)...) // not two deep, for speed
	}
	f.Fuzz(func(t *testing.T, status int, body, header, retryAfter string) {
		for c, decoder := range decoders {
			quotesNothing := func(text string) {
				for _, form := range forms[c] {
					if strings.Contains(text, form) {
						t.Fatalf("%q quotes %q", text, form)
					}
				}
			}
			shown := decoder.Conceal(&http.Response{
				StatusCode: status, Status: header, Body: io.NopCloser(strings.NewReader(body)),
				Header: http.Header{"Content-Type": {header}, "Content-Encoding": {header}, "Location": {header}, "Retry-After": {retryAfter}},
			})
			quotesNothing(shown.Status + "\n" + shown.Header.Get("Content-Type") + "\n" + shown.Header.Get("Retry-After"))
			if redacted := decoder.Redact(body); redacted != body {
				quotesNothing(redacted)
				if again := decoder.Redact(redacted); again != redacted {
					t.Fatalf("%q was redacted to %q and then to %q", body, redacted, again)
				}
			}
			err := decoder.Decode(shown, zapi.AcceptSuccess)
			_ = shown.Body.Close()
			if err == nil {
				if status != http.StatusOK || !json.Valid([]byte(strings.TrimPrefix(body, "\ufeff"))) {
					t.Fatalf("accepts %d %q", status, body)
				}
				continue
			}
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			text := apiErr.Error()
			quotesNothing(text)
			quotesNothing(apiErr.Code)
			quotesNothing(apiErr.Message)
			quotesNothing(string(apiErr.Body))
			switch {
			case utf8.RuneCountInString(text) >= 300, !utf8.ValidString(text), strings.ContainsFunc(text, unicode.IsControl):
				t.Fatalf("error %q", text)
			case len(apiErr.Code) > 512, len(apiErr.Message) > 512, len(apiErr.Body) > 4<<10, apiErr.RetryAfter < 0:
				t.Fatalf("beyond its caps: %+v", apiErr)
			}
			stored, err := json.Marshal(apiErr)
			require.NoError(t, err)
			var read zapi.APIError
			require.NoError(t, json.Unmarshal(stored, &read))
			for _, kind := range kinds {
				if errors.Is(apiErr, kind) != errors.Is(&read, kind) {
					t.Fatalf("%v is another kind once it was stored: %s", apiErr, stored)
				}
			}
		}
	})
}

var wirePhone = regexp.MustCompile(`^([1-9][0-9]{6,14}|[0-9]{1,20}@lid)$`)

// An accepted phone has an allowed form on the wire, consists of exactly the digits that were given, and is accepted unchanged.
func FuzzPhone(f *testing.F) {
	for _, phone := range []string{
		"554411111111", "+55 (44) 9.1111-1111", "+55 (0)44 1111-1111", "\u202a+55\u00a044\u20111111\u20111111\u202c", "005544", "999999999999999@lid", "", "@lid", "123456", "1234567890123456", "٥٥٤٤١١١١١١", "5544\n11111111",
		"5544911111111.0", "5544911111111 (2)", "5.5449E+12", "+55 (044) 91111-1111", "+39 (06) 6982 1234", "+352 24 41 23 4", "1234567 7654321", "+44 020 7946 0958",
	} {
		f.Add(phone)
	}
	notDigit := regexp.MustCompile(`[^0-9]`)
	f.Fuzz(func(t *testing.T, phone string) {
		normal, err := zapi.NormalizePhone(phone)
		if err != nil {
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			require.Empty(t, normal)
			if strings.Trim(phone, "0123456789") == "" && len(phone) > 2 {
				require.NotContains(t, err.Error(), phone)
			}
			return
		}
		require.Regexp(t, wirePhone, normal)
		if strings.HasSuffix(phone, "@lid") {
			require.Equal(t, phone, normal)
		} else {
			require.Equal(t, notDigit.ReplaceAllString(phone, ""), normal)
		}
		again, err := zapi.NormalizePhone(normal)
		require.NoError(t, err)
		require.Equal(t, normal, again)
	})
}

// A policy that was read is the same after being written and read again.
func FuzzPolicyJSON(f *testing.F) {
	f.Add([]byte(fullPolicyJSON))
	for _, wrong := range wrongPolicies {
		f.Add([]byte(wrong.json))
	}
	for _, text := range []string{`{}`, `null`, `[]`, `{"photo":null}`, `{"photo":{"visibility":"ALL","except":null}}`, `{"online":"ALL","online":"ALL"}`, `{"x":`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var policy zapi.Policy
		if err := json.Unmarshal(data, &policy); err != nil {
			require.Zero(t, policy)
			if !json.Valid(data) {
				return
			}
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			require.Less(t, utf8.RuneCountInString(strings.Split(err.Error(), "\n")[0]), 300)
			return
		}
		if policy.IsZero() {
			require.ErrorIs(t, policy.Validate(), zapi.ErrInvalidArgument)
		} else {
			require.NoError(t, policy.Validate())
		}
		encoded, err := json.Marshal(policy)
		require.NoError(t, err)
		var again zapi.Policy
		require.NoError(t, json.Unmarshal(encoded, &again))
		require.Equal(t, policy, again)
	})
}

// What is accepted goes to exactly that host and path, with exactly that Client-Token.
func FuzzDestination(f *testing.F) {
	f.Add("https://api.z-api.io", creds.InstanceID, creds.Token, creds.ClientToken)
	f.Add("http://127.0.0.1:8080/prefix/", awkward.InstanceID, awkward.Token, awkward.ClientToken)
	f.Add("https://[::1]:8443/a%2Fb/", `!"$&'()*+,-.:;<=>@[]^_{x}|~`, "..", " F")
	f.Add("https://user:secret@example.com?x#y", "a/b", "a%2fb", "a\nb")
	f.Add("https://example.com/a//b/%2e%2e/", "é", ".", "")
	f.Add("https://example.com::", "a", "b", "c")
	f.Fuzz(func(t *testing.T, base, instanceID, token, clientToken string) {
		c := zapi.Credentials{InstanceID: instanceID, Token: token, ClientToken: clientToken}
		var went *http.Request
		network := transportFunc(func(req *http.Request) (*http.Response, error) {
			went = req
			return succeeding(req)
		})
		client, err := zapi.NewClient(c, zapi.WithBaseURL(base), zapi.WithTransport(network), once)
		if err != nil {
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			return
		}
		require.NoError(t, setOnline(t.Context(), client))
		want, err := url.Parse(base)
		require.NoError(t, err)
		require.Equal(t, want.Scheme, went.URL.Scheme)
		require.Equal(t, strings.ToLower(strings.TrimSuffix(want.Host, ":")), went.URL.Host)
		require.Empty(t, went.Host)
		require.Nil(t, went.URL.User)
		require.Empty(t, went.URL.RawQuery)
		require.Empty(t, went.URL.Fragment)
		prefix, err := url.PathUnescape(strings.TrimRight(want.EscapedPath(), "/"))
		require.NoError(t, err)
		path := fmt.Sprintf("%s/instances/%s/token/%s/privacy/online", prefix, instanceID, token)
		require.Equal(t, path, went.URL.Path)
		onTheWire, err := url.ParseRequestURI(went.URL.RequestURI())
		require.NoError(t, err)
		require.Equal(t, path, onTheWire.Path, "what a server makes of it")
		assert.Equal(t, []string{clientToken}, went.Header["Client-Token"])
	})
}
