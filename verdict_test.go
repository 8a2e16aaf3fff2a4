package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// FuzzVerdict compares what calls make of a response with what the rules of the documentation say, read with a JSON parser
// of the test's own.
func FuzzVerdict(f *testing.F) {
	for _, body := range append(responsesInTheWild,
		`{"connected":true,"smartphoneConnected":true,"error":"You are already connected."}`, `{"connected":false,"error":"You need to restore the session."}`,
		`{"connected":1}`, `{"connected":true,"connected":true}`, `{"connected":true,"smartphoneConnected":1}`, `{"connected":true,"smartphoneConnected":null}`, `{"error":"You are not connected."}`, `{"success":true,"success":true}`,
		`{"success":"true","disallowedContacts":[]}`, `{"disallowedContacts":[""],"disallowedContacts":[]}`, "\ufeff{\"success\":true}", "\u00a0", ` {"error":-0.0e9}`,
		`{"error":1e999}`, `{"error":"\ud800\u0041"}`, `{"a":{"success":false}}`, `{"success":true,}`, `{"success":true]`, `{"success":01}`, "{\"error\":\"\t\"}", `{"message":[ ]}`,
	) {
		for _, status := range []int{0, 101, 200, 204, 302, 400, 403, 404, 405, 415, 425, 429, 503, 600} {
			f.Add(status, body)
		}
	}
	network := transportFunc(func(req *http.Request) (*http.Response, error) {
		given := req.Context().Value(givenKey{}).(given)
		return &http.Response{StatusCode: given.status, Body: io.NopCloser(strings.NewReader(given.body)), Request: req}, nil
	})
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
	require.NoError(f, err)
	calls := map[string]func(context.Context) error{
		"online":   func(ctx context.Context) error { return setOnline(ctx, client) },
		"contacts": func(ctx context.Context) error { return getContacts(zapi.BlacklistPhoto)(ctx, client) },
		"status":   func(ctx context.Context) error { _, err := client.Status(ctx); return err },
		"do": func(ctx context.Context) error {
			var out json.RawMessage
			return client.Do(ctx, http.MethodGet, "device", nil, &out)
		},
		"do without out": func(ctx context.Context) error { return client.Do(ctx, http.MethodGet, "device", nil, nil) },
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if len(body) > 1<<20 || strings.Contains(body, creds.Token) || strings.Contains(body, creds.ClientToken) {
			t.Skip("not what this is about")
		}
		ctx := context.WithValue(t.Context(), givenKey{}, given{status, body})
		seen := body
		if status == http.StatusSwitchingProtocols { // no body is read
			seen = ""
		}
		for name, call := range calls {
			err := call(ctx)
			want := verdict(name, status, seen)
			if !errors.Is(err, want) && (want != errOfNoKind || kindOf(err) != errOfNoKind) { //nolint:errorlint // one value
				t.Errorf("%s: %d %q is %v, and must be %v", name, status, body, err, want)
			}
			_, again := zapi.Retryable(err)
			if again != passes(status, want) {
				t.Errorf("%s: %d %q may pass: %t", name, status, body, again)
			}
		}
	})
}

type given struct {
	status int
	body   string
}

type givenKey struct{}

// kindOf returns the kind of a failed response.
func kindOf(err error) error {
	if !errors.As(err, new(*zapi.APIError)) {
		return err
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return errOfNoKind
}

// passes reports whether the same call may succeed later.
func passes(status int, kind error) bool {
	switch {
	case kind == nil:
		return false
	case status == 408, status == 425, status == 429:
		return true
	}
	for _, passing := range []error{zapi.ErrUnavailable, zapi.ErrNotConnected, zapi.ErrRejected, zapi.ErrUnexpectedResponse} {
		if errors.Is(kind, passing) {
			return true
		}
	}
	return false
}

// verdict returns the kind that the documentation gives to a response, nil for a success.
func verdict(call string, status int, body string) error {
	value, isJSON := parseJSON(strings.TrimPrefix(body, "\ufeff"))
	isObject := isJSON && value.kind == '{'
	code, message := said(value.last("error")), said(value.last("message"))
	told := toldKind(code, message)
	switch {
	case status >= 200 && status <= 299:
	case status == 401, status == 403, status == 404:
		switch {
		case !isObject && strings.TrimSpace(body) != "":
			return zapi.ErrUnexpectedResponse
		case status == 404:
			return zapi.ErrNotFound
		}
		return zapi.ErrUnauthorized
	case status == 405:
		return zapi.ErrMethodNotAllowed
	case status == 415:
		return zapi.ErrUnsupportedMediaType
	case status == 429:
		return zapi.ErrRateLimited
	case status < 400, status > 599:
		return zapi.ErrUnexpectedResponse
	case errors.Is(told, zapi.ErrNotConnected):
		return told
	case status >= 500:
		return zapi.ErrUnavailable
	case status == 400 && told != nil:
		return told
	default:
		return errOfNoKind
	}

	success := value.last("success")
	isDo := strings.HasPrefix(call, "do")
	unclear := isObject && value.repeats("success", "error", "message", "disallowedContacts", "connected", "smartphoneConnected")
	switch {
	case call == "do without out" && strings.TrimSpace(strings.TrimPrefix(body, "\ufeff")) == "":
		return nil
	case unclear, !isJSON, !isDo && (status != 200 || !isObject):
		return zapi.ErrUnexpectedResponse
	case isDo && told != nil && (code != "" || success.is("false")):
		return told
	case isDo && (code != "" || success.is("false")):
		return zapi.ErrRejected
	case isDo:
		return nil
	}
	notBool := success.kind != 0 && !success.is("true")
	switch call {
	case "online":
		switch {
		case told != nil:
			return told
		case success.is("false"):
			return zapi.ErrRejected
		case code != "", !success.is("true"):
			return zapi.ErrUnexpectedResponse
		}
	case "contacts":
		switch list := value.last("disallowedContacts"); {
		case told != nil:
			return told
		case success.is("false"):
			return zapi.ErrRejected
		case code != "", notBool, list.kind != '[':
			return zapi.ErrUnexpectedResponse
		default:
			for _, contact := range list.values {
				if contact.kind != '"' {
					return zapi.ErrUnexpectedResponse
				}
			}
		}
	case "status":
		connected, phone := value.last("connected"), value.last("smartphoneConnected")
		switch {
		case !connected.is("true") && !connected.is("false"):
			if told != nil && !errors.Is(told, zapi.ErrNotConnected) {
				return told
			}
			return zapi.ErrUnexpectedResponse
		case phone.kind != 0 && !phone.is("true") && !phone.is("false") && !phone.is("null"), notBool:
			return zapi.ErrUnexpectedResponse
		}
	}
	return nil
}

// toldKind returns the kind that a response itself names.
func toldKind(code, message string) error {
	plain := func(text string) string { return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".") }
	code, message = plain(code), plain(message)
	switch {
	case code == "null not allowed", code == "your client-token is not configured", strings.HasPrefix(code, "client-token"):
		return zapi.ErrUnauthorized
	case code == "not_found", code == "instance not found":
		return zapi.ErrNotFound
	}
	for _, text := range []string{code, message} {
		if text == "you are not connected" || text == "you need to restore the session" {
			return zapi.ErrNotConnected
		}
	}
	return nil
}

// said returns the text of an "error" or "message"; "" if it means that there is none.
func said(v jsonValue) string {
	switch v.kind {
	case 0:
		return ""
	case '"':
		return v.text
	case '[', '{':
		if len(v.values) == 0 {
			return ""
		}
		return "something"
	case '0':
		if n, err := strconv.ParseFloat(v.text, 64); err == nil && n == 0 {
			return ""
		}
		return v.text
	}
	if v.text == "true" {
		return v.text
	}
	return ""
}

// A jsonValue is a value as RFC 8259 has it.
type jsonValue struct {
	kind   byte        // 0 for none, or one of { [ " 0 and a, for true, false and null
	text   string      // of a string, decoded; of a number or word, as it stands
	names  []string    // of the members of an object
	values []jsonValue // of the members of an object or the elements of an array
}

func (v jsonValue) is(word string) bool { return v.kind == 'a' && v.text == word }

// last returns the last member with a name.
func (v jsonValue) last(name string) (member jsonValue) {
	for i := range v.names {
		if v.names[i] == name {
			member = v.values[i]
		}
	}
	return member
}

// repeats reports whether one of names is there twice.
func (v jsonValue) repeats(names ...string) bool {
	for _, name := range names {
		count := 0
		for i := range v.names {
			if v.names[i] == name {
				count++
			}
		}
		if count > 1 {
			return true
		}
	}
	return false
}

// parseJSON parses a text that is one value.
func parseJSON(text string) (value jsonValue, ok bool) {
	p := jsonParser{rest: text}
	value = p.value(0)
	p.space()
	if p.failed || p.rest != "" {
		return jsonValue{}, false
	}
	return value, true
}

type jsonParser struct {
	rest   string
	failed bool
}

func (p *jsonParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take consumes c behind spaces, if it is next.
func (p *jsonParser) take(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *jsonParser) fail() jsonValue {
	p.failed = true
	return jsonValue{}
}

func (p *jsonParser) value(depth int) jsonValue {
	switch p.space(); {
	case p.failed || p.rest == "" || depth > 10_000:
		return p.fail()
	case p.take('{'):
		return p.members('{', '}', depth)
	case p.take('['):
		return p.members('[', ']', depth)
	case p.rest[0] == '"':
		return jsonValue{kind: '"', text: p.string()}
	}
	for _, word := range []string{"true", "false", "null"} {
		if rest, found := strings.CutPrefix(p.rest, word); found {
			p.rest = rest
			return jsonValue{kind: 'a', text: word}
		}
	}
	return p.number()
}

func (p *jsonParser) members(begin, end byte, depth int) jsonValue {
	v := jsonValue{kind: begin}
	if p.take(end) {
		return v
	}
	for !p.failed {
		if begin == '{' {
			p.space()
			v.names = append(v.names, p.string())
			if !p.take(':') {
				return p.fail()
			}
		}
		v.values = append(v.values, p.value(depth+1))
		if p.take(end) {
			return v
		}
		if !p.take(',') {
			return p.fail()
		}
	}
	return v
}

func (p *jsonParser) number() jsonValue {
	length := 0
	digits := func() bool {
		start := length
		for length < len(p.rest) && p.rest[length] >= '0' && p.rest[length] <= '9' {
			length++
		}
		return length > start
	}
	next := func(chars string) bool {
		if length < len(p.rest) && strings.IndexByte(chars, p.rest[length]) >= 0 {
			length++
			return true
		}
		return false
	}
	next("-")
	if !next("0") && !digits() {
		return p.fail()
	}
	if next(".") && !digits() {
		return p.fail()
	}
	if next("eE") {
		next("+-")
		if !digits() {
			return p.fail()
		}
	}
	v := jsonValue{kind: '0', text: p.rest[:length]}
	p.rest = p.rest[length:]
	return v
}

func (p *jsonParser) string() string {
	if p.rest == "" || p.rest[0] != '"' {
		p.fail()
		return ""
	}
	var text strings.Builder
	for i := 1; i < len(p.rest); {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return text.String()
		case c < ' ':
			p.fail()
			return ""
		case c != '\\':
			r, size := utf8.DecodeRuneInString(p.rest[i:])
			text.WriteRune(r)
			i += size
		default:
			r, size := escapedRune(p.rest[i:])
			if size == 0 {
				p.fail()
				return ""
			}
			text.WriteRune(r)
			i += size
		}
	}
	p.fail()
	return ""
}

// escapedRune returns the rune of the escape at the begin of text, and its length; 0 for none.
func escapedRune(text string) (r rune, size int) {
	if len(text) < 2 {
		return 0, 0
	}
	if text[1] != 'u' {
		at := strings.IndexByte(`"\/bfnrt`, text[1])
		if at < 0 {
			return 0, 0
		}
		return rune("\"\\/\b\f\n\r\t"[at]), 2
	}
	unit := func(text string) (rune, bool) {
		if len(text) < 6 || text[:2] != `\u` || strings.Trim(text[2:6], "0123456789abcdefABCDEF") != "" {
			return 0, false
		}
		n, err := strconv.ParseUint(text[2:6], 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(text)
	switch {
	case !ok:
		return 0, 0
	case r >= 0xd800 && r < 0xdc00:
		if low, ok := unit(text[6:]); ok && low >= 0xdc00 && low < 0xe000 {
			return 0x10000 + (r-0xd800)<<10 + low - 0xdc00, 12
		}
	}
	return r, 6 // WriteRune replaces half a pair
}
