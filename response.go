package zapi

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const maxResponseBody = 1 << 20 // bytes, after decompression; tens of thousands of contacts fit

var (
	errTooLarge       = errors.New("the body is larger than 1 MiB")
	errEncoded        = errors.New("the body is compressed, although no compression was asked for")
	errNotGzip        = errors.New("the body is not gzip, although its header says so")
	errNotObject      = errors.New("the body is not one JSON object")
	errRepeated       = errors.New("the body repeats a member")
	errSuccessMissing = errors.New("success is missing or not a boolean")
	errSuccessFalse   = errors.New("success is false")
	errErrorInBody    = errors.New("status 200 with an error in the body")
	errRedirect       = errors.New("redirects are not followed")
	errNot200         = errors.New("the documented status is 200")
	errForeign        = errors.New("the response is a page of a proxy or firewall, not the API's")
)

// A response is an HTTP response whose body has been read.
type response struct {
	status int
	header http.Header
	body   []byte // without secrets

	bodyErr error // why the body cannot be used: errTooLarge, errEncoded or errNotGzip
}

// An answer is a parsed response.
type answer struct {
	response

	members       members // nil unless the body is one JSON object
	code, message string  // its "error" and "message"
	objectErr     error   // why the body is not one JSON object, or not an unambiguous one
}

// An acceptor decides whether a 2xx is a success, and keeps what the call returns. For a failure it returns the kind and, in
// words of this package, what is wrong; a nil kind means success.
type acceptor func(answer) (kind, reason error)

// decodeResponse returns nil for a success, and otherwise an *APIError.
func decodeResponse(op string, resp response, accept acceptor, redactor redactor) *APIError {
	a := parseAnswer(resp)
	kind, reason := judge(a, accept)
	if kind == nil {
		return nil
	}
	e := &APIError{
		Op:         op,
		StatusCode: resp.status,
		Code:       shorten(redactor.redact(a.code), maxErrorPart),
		Message:    shorten(redactor.redact(a.message), maxErrorPart),
		RetryAfter: parseRetryAfter(resp.header.Get("Retry-After")),
		Body:       resp.body[:min(len(resp.body), maxErrorBody)],
		kind:       kind,
	}
	if reason != nil {
		e.reason = reason.Error()
	}
	return e
}

// judge returns the kind of a failure, and a reason if the text of the response does not give one. The kind of a success is
// nil.
//
// Between a program and the API stand proxies and firewalls. Their 401, 403 and 404 are pages; those of the API are JSON, or
// empty. A page reports nothing about the credentials or the instance: the next minute, the same call may succeed.
func judge(a answer, accept acceptor) (kind, reason error) {
	switch {
	case a.status >= 200 && a.status < 300:
		return accept(a)
	case a.status >= 300 && a.status < 400:
		return ErrUnexpectedResponse, errRedirect
	}
	kind = kindOf(a.status, a.code, a.message)
	if errors.Is(kind, ErrUnexpectedResponse) {
		return kind, errNot200
	}
	if (errors.Is(kind, ErrUnauthorized) || errors.Is(kind, ErrNotFound)) && a.members == nil && (a.bodyErr != nil || len(bytes.TrimSpace(a.body)) > 0) {
		return ErrUnexpectedResponse, errForeign
	}
	return kind, nil
}

// acceptSuccess accepts the documented {"success": true}.
func acceptSuccess(a answer) (kind, reason error) {
	return acceptObject(a, func(m members) error {
		if string(m["success"]) != "true" {
			return errSuccessMissing
		}
		return nil
	})
}

// checkSuccess returns an error if success is there and not true, for the calls that are not documented to return it.
func checkSuccess(m members) error {
	if success, ok := m["success"]; ok && string(success) != "true" {
		return errSuccessMissing
	}
	return nil
}

// acceptObject accepts a 200 with one JSON object that reports no failure and that read accepts.
func acceptObject(a answer, read func(members) error) (kind, reason error) {
	kind = kindOfText(a.code, a.message)
	switch {
	case a.status != http.StatusOK:
		return ErrUnexpectedResponse, errNot200
	case a.objectErr != nil:
		return ErrUnexpectedResponse, a.objectErr
	case kind != nil:
		return kind, nil
	case string(a.members["success"]) == "false" && a.code == "" && a.message == "":
		return ErrRejected, errSuccessFalse
	case string(a.members["success"]) == "false":
		return ErrRejected, nil
	case a.code != "":
		return ErrUnexpectedResponse, errErrorInBody
	}
	if reason = read(a.members); reason != nil {
		return ErrUnexpectedResponse, reason
	}
	return nil, nil
}

// documentedSuccess is the response to nearly every call, parsed once.
var documentedSuccess = members{"success": json.RawMessage("true")}

// parseAnswer parses a body, which should be one JSON object.
func parseAnswer(resp response) answer {
	a := answer{response: resp, objectErr: resp.bodyErr}
	switch {
	case resp.bodyErr != nil:
		return a
	case string(resp.body) == `{"success":true}`, string(resp.body) == `{"success": true}`:
		a.members = documentedSuccess
		return a
	}
	var repeated []string
	a.members, repeated, a.objectErr = parseObject(bytes.TrimPrefix(resp.body, byteOrderMark))
	a.code, a.message = textOf(a.members["error"]), textOf(a.members["message"])
	for _, name := range repeated {
		switch name {
		case "success", "error", "message", "disallowedContacts", "connected", "smartphoneConnected":
			a.objectErr = errRepeated
		}
	}
	return a
}

var byteOrderMark = []byte("\ufeff")

// textOf returns the text of an "error" or "message". It is the value of a string; empty for null, false, 0, and an empty
// list or object, which mean that there is none; and the JSON of anything else.
func textOf(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "" // absent, as nearly always
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return string(raw) // a number that no float64 can hold
	}
	switch value := value.(type) {
	case string:
		return value
	case []any:
		if len(value) == 0 {
			return ""
		}
	case map[string]any:
		if len(value) == 0 {
			return ""
		}
	case nil, bool, float64:
		if value == nil || value == false || value == 0.0 {
			return ""
		}
	}
	return string(raw)
}

// parseRetryAfter returns the value of the header Retry-After, which is seconds or an HTTP date; 0 for anything else.
func parseRetryAfter(value string) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 64)
	switch {
	case seconds > uint64(math.MaxInt64/time.Second): // also if ParseUint returns its maximum for a larger number
		return math.MaxInt64
	case err == nil:
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// members are those of a JSON object, by their exact names.
type members map[string]json.RawMessage

// parseObject returns the members of the JSON object in data, and the names that it repeats, of which encoding/json would
// silently keep the last.
func parseObject(data []byte) (m members, repeated []string, err error) {
	tokens := json.NewDecoder(bytes.NewReader(data))
	if start, _ := tokens.Token(); start != json.Delim('{') || !json.Valid(data) {
		return nil, nil, errNotObject
	}
	m = make(members)
	for tokens.More() {
		token, _ := tokens.Token() // cannot fail: data is valid
		name, _ := token.(string)
		var value json.RawMessage
		_ = tokens.Decode(&value) // likewise
		if _, ok := m[name]; ok {
			repeated = append(repeated, name)
		}
		m[name] = value
	}
	return m, repeated, nil
}

// readBody returns a body of at most [maxResponseBody] bytes. If the body does not end within that limit, it returns an error
// and no part of the body. size is the Content-Length, which may be wrong or -1.
func readBody(body io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		size = bytes.MinRead
	}
	text := make([]byte, 0, min(size, maxResponseBody)+1) // the last byte is for the read that meets the end
	for {
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case len(text) > maxResponseBody:
			return nil, errTooLarge
		case err == io.EOF:
			return text, nil
		case err != nil && isBadGzip(err):
			return nil, errNotGzip
		case err != nil:
			return nil, err
		case len(text) == cap(text):
			text = slices.Grow(text, len(text)) // twice as long
		}
	}
}

// isBadGzip reports whether err is that of a transport that could not decompress a body.
func isBadGzip(err error) bool {
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, new(flate.CorruptInputError))
}

// isBadContent reports whether err is about the content of a body, and not about the network.
func isBadContent(err error) bool {
	return errors.Is(err, errTooLarge) || errors.Is(err, errEncoded) || errors.Is(err, errNotGzip)
}
