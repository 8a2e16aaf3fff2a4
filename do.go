package zapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// Do calls a route of the API that has no method of its own, such as GET device. It makes one attempt and never repeats it,
// as some routes act each time: POST send-text sends again, and GET restart restarts again. The rate limiter, interceptors,
// the logger, secrets, redirects and limits are those of every call.
//
// method is letters, such as "GET". route is what follows the token in the documented URL, without a leading slash, with its
// query if it has one; a text in it that is not the program's own needs [url.PathEscape] or [url.QueryEscape]. in is sent
// as JSON; with nil there is no body. out is a pointer that the response is decoded into as JSON, after both secrets are
// redacted in it; with nil the response is dropped.
//
// The error is a [*ValidationError], an [*APIError] or a [*TransportError]. Failures are a status other than 2xx; a body
// that is not JSON, or none although out is not nil; an object with success false, or with a text under "error"; and JSON
// that out cannot hold. After a [*TransportError] with Attempts 1, the route may have acted.
//
// The operation in errors, logs and interceptors is route without its query. A segment with seven digits or more is shown
// as "…", as it may be a phone. Middleware sees the whole URL.
//
// The routes are listed at https://developer.z-api.io/en
func (c *Client) Do(ctx context.Context, method, route string, in, out any) error {
	path, query, _ := strings.Cut(route, "?")
	if query != "" {
		query = "?" + query
	}
	if err := c.ready(ctx, "Do"); err != nil {
		return err
	}
	if field, reason := checkRoute(method, path, route); reason != "" {
		return &ValidationError{"Do", field, reason}
	}
	if pointer := reflect.ValueOf(out); out != nil && (pointer.Kind() != reflect.Pointer || pointer.IsNil()) {
		return &ValidationError{"Do", "out", "must be nil or a pointer that is not nil"}
	}
	body, err := bodyOf(method, in)
	if err != nil {
		return &ValidationError{"Do", "in", "must be nil or what JSON can hold, and nil for HEAD and OPTIONS"}
	}
	return c.do(ctx, request{
		op: c.secrets().redactor.redact(shownRoute(path)), route: escapeMarks.Replace(path), phones: phonesIn(route),
		method: method, query: query, body: body, once: true, reads: out != nil,
		accept: func(a answer) (kind, reason error) { return acceptAny(a, out) },
	})
}

// checkRoute returns which argument is wrong, and what is allowed; the reason is empty if none is.
func checkRoute(method, path, route string) (field, reason string) {
	isLetter := func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }
	switch {
	case method == "" || strings.ContainsFunc(method, func(r rune) bool { return !isLetter(r) }):
		return "method", `must be letters, such as "GET"`
	case strings.ContainsFunc(route, isUnprintable), strings.ContainsAny(route, `#\`):
		return "route", `must be printable ASCII without spaces, # or \: escape what is not`
	}
	if _, err := url.PathUnescape(path); err != nil {
		return "route", "must have only valid escapes"
	}
	for plain := path; ; {
		if hasSegment(plain, "", ".", "..") || strings.Contains(plain, `\`) {
			return "route", `must be relative, such as "device", without empty, . or .. segments, escaped or not`
		}
		escaped := plain // perhaps more than once
		if plain = percentEscape.ReplaceAllStringFunc(escaped, unescape); plain == escaped {
			return "", ""
		}
	}
}

// unescape returns the byte that a percent escape stands for.
func unescape(escape string) string {
	plain, _ := url.PathUnescape(escape) // cannot fail
	return plain
}

// escapeMarks escapes the marks that net/url does not allow in a path. It would otherwise escape all of the path anew, and
// so change what the caller had escaped.
var escapeMarks = strings.NewReplacer(
	`"`, "%22", "<", "%3C", ">", "%3E", "^", "%5E", "`", "%60", "{", "%7B", "|", "%7C", "}", "%7D",
)

// shownRoute returns path with a mark in place of each segment that may be a phone.
func shownRoute(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if mayBePhone(segment) {
			segments[i] = "…"
		}
	}
	return strings.Join(segments, "/")
}

// phonesIn returns the parts of route that may be phones, as they are and unescaped.
func phonesIn(route string) (phones []string) {
	for _, part := range strings.FieldsFunc(route, func(r rune) bool { return strings.ContainsRune("/?&=", r) }) {
		if mayBePhone(part) {
			phones = append(phones, part, percentEscape.ReplaceAllStringFunc(part, unescape))
		}
	}
	return phones
}

func mayBePhone(text string) bool { return len(strings.Map(onlyDigit, text)) >= minPhoneDigits }

var errNoBody = errors.New("the method has no body")

// bodyOf returns the body of a request: nil for none, and empty for a POST without one, which needs its content type.
func bodyOf(method string, in any) ([]byte, error) {
	switch method {
	case http.MethodHead, http.MethodOptions: // resty would drop it
		if in != nil {
			return nil, errNoBody
		}
		return nil, nil
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if in == nil {
			return []byte{}, nil
		}
	}
	if in == nil {
		return nil, nil
	}
	return json.Marshal(in)
}

var (
	errNotJSON = errors.New("the body is not JSON")
	errOut     = errors.New("the body does not fit what out points to")
)

// acceptAny accepts any 2xx whose body is JSON and reports no failure, and decodes it into out.
func acceptAny(a answer, out any) (kind, reason error) {
	body := bytes.TrimPrefix(a.body, byteOrderMark)
	success := a.members["success"]
	kind = kindOfText(a.code, a.message)
	switch {
	case a.response.err != nil:
		return ErrUnexpectedResponse, a.response.err
	case len(bytes.TrimSpace(body)) == 0 && out == nil:
		return nil, nil
	case !json.Valid(body):
		return ErrUnexpectedResponse, errNotJSON
	case a.members != nil && a.err != nil:
		return ErrUnexpectedResponse, a.err
	case a.code != "" && kind != nil, string(success) == "false" && kind != nil:
		return kind, nil
	case string(success) == "false" && a.code == "" && a.message == "":
		return ErrRejected, errNotSuccessful
	case string(success) == "false", a.code != "":
		return ErrRejected, nil
	case out != nil && json.Unmarshal(body, out) != nil:
		return ErrUnexpectedResponse, errOut
	}
	return nil, nil
}
