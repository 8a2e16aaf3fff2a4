package zapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// A response is an HTTP response whose body has been read.
type response struct {
	status int
	header http.Header
	body   []byte
	err    error // why the body cannot be used: errTooLarge or errBadGzip
}

// A decoder reads what a call returns from a successful response, or returns what is wrong with it.
type decoder func(members) error

var (
	errNotObject     = errors.New("the body is not one JSON object")
	errRepeated      = errors.New("the body repeats a member")
	errNoSuccess     = errors.New("success is missing or not a boolean")
	errNotSuccessful = errors.New("success is false")
	errErrorInBody   = errors.New("status 200 with an error in the body")
	errRedirect      = errors.New("redirects are not followed")
	errNot200        = errors.New("the documented status is 200")
)

// decodeSuccess accepts the documented {"success": true}.
func decodeSuccess(m members) error {
	if string(m["success"]) != "true" {
		return errNoSuccess
	}
	return nil
}

// decodeResponse returns nil for the documented response, and otherwise an *APIError.
func decodeResponse(op string, resp response, decode decoder, redactor redactor) *APIError {
	m, err := parseResponse(resp)
	code, message := textOf(m["error"]), textOf(m["message"])
	kind := kindOf(resp.status, code)
	switch {
	case resp.status >= 300 && resp.status < 400:
		err = errRedirect
	case resp.status >= 400:
		err = nil // the status is enough
	case resp.status != http.StatusOK:
		err = errNot200
	case err != nil:
		kind = ErrUnexpectedResponse
	case kind != nil: // kindOf knows the text of the error
	case string(m["success"]) == "false":
		kind = ErrRejected
		if code == "" && message == "" {
			err = errNotSuccessful
		}
	case code != "":
		kind, err = ErrUnexpectedResponse, errErrorInBody
	default:
		if err = decode(m); err == nil {
			return nil
		}
		kind = ErrUnexpectedResponse
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	body := redactor.redact(string(resp.body))
	return &APIError{
		Op:         op,
		StatusCode: resp.status,
		Code:       shorten(redactor.redact(code), maxErrorPart),
		Message:    shorten(redactor.redact(message), maxErrorPart),
		RetryAfter: retryAfter(resp.header.Get("Retry-After")),
		Body:       []byte(body[:min(len(body), maxErrorBody)]),
		kind:       kind,
		reason:     reason,
	}
}

// documented is the response to nearly every call, parsed once.
var documented = members{"success": json.RawMessage("true")}

// parseResponse returns the members of the one JSON object that a body must be.
func parseResponse(resp response) (members, error) {
	switch {
	case resp.err != nil:
		return nil, resp.err
	case string(resp.body) == `{"success":true}`, string(resp.body) == `{"success": true}`:
		return documented, nil
	}
	m, repeated, err := parseObject(bytes.TrimPrefix(resp.body, byteOrderMark))
	for _, name := range repeated {
		switch name {
		case "success", "error", "message", "disallowedContacts":
			return m, errRepeated
		}
	}
	return m, err
}

var byteOrderMark = []byte("\ufeff")

// textOf returns the text of an "error" or "message": the value of a string, nothing for what means that there is none
// (null, false, 0, an empty string, list or object), and JSON for anything else.
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

// retryAfter returns the value of the header Retry-After, which is seconds or an HTTP date; 0 for anything else.
func retryAfter(value string) time.Duration {
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
