package zapi

import "net/http"

// What the tests in package zapi_test reach directly.
var (
	NewTransport  = newTransport
	AcceptSuccess = acceptSuccess
)

// A Decoder does to a response what a call does to it between the transport and its result.
type Decoder struct{ redactor redactor }

// NewDecoder returns a Decoder for the secrets of creds.
func NewDecoder(creds Credentials) Decoder { return Decoder{sealSecrets(creds)().redactor} }

// Redact returns text without secrets.
func (d Decoder) Redact(text string) string { return d.redactor.redact(text) }

// Conceal returns resp as middleware may see it.
func (d Decoder) Conceal(resp *http.Response) *http.Response {
	return secretTransport{closer: new(idleCloser)}.conceal(resp, new(http.Request), d.redactor)
}

// Decode returns the error of a call whose response is shown, which comes from Conceal.
func (d Decoder) Decode(shown *http.Response, accept acceptor) error {
	body := shown.Body.(*shownBody)
	if body.err != nil && !isBadContent(body.err) {
		return &TransportError{Op: opOnline, Attempts: 1, Err: body.err}
	}
	resp := response{shown.StatusCode, shown.Header, body.text, body.err}
	if apiErr := decodeResponse(opOnline, resp, accept, d.redactor); apiErr != nil {
		return apiErr
	}
	return nil
}
