// Package zapitest provides a fake Z-API server for tests and examples of code that uses zapi.
//
//	server := zapitest.NewServer()
//	defer server.Close()
//	client, err := server.Client()
//	…
//	err = client.SetLastSeen(ctx, zapi.VisibilityContacts)
//	server.Settings(client.InstanceID()).LastSeen.Visibility // "CONTACTS"
//
// # State
//
// The server listens on loopback and keeps the privacy settings of each instance, blacklists included:
// see [Server.AddInstance], [Server.Settings] and [Server.SetSettings]. A new instance shows everything to everyone.
//
// # Strictness
//
// The server accepts only what the API's documentation allows. It refuses, in the API's own words where they are known:
//   - an unknown route or instance
//   - a wrong method, with status 405
//   - a missing or wrong Client-Token; the response quotes it, as the API does
//   - a POST that is not application/json, with status 415
//   - a JSON body with an unknown or repeated member; names match by exact case
//   - a value that the setting does not have
//   - CONTACT_BLACKLIST without contactsBlacklist, and contactsBlacklist, even null, with any other value
//   - a phone that is not 7 to 15 digits beginning with 1 to 9, or 1 to 20 digits and @lid
//   - a query or a body that the route does not take, and any query parameter beyond the one that it takes
//
// A contact of another form that [Server.SetSettings] put on a blacklist can be removed, but not added.
//
// # Failures
//
// [Server.FailNext] and [Server.FailWhen] replace the responses to some requests. Unless the response has a Retry-After,
// a client of [Server.Client] tries again within milliseconds. [Server.Requests] returns the requests that arrived.
package zapitest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zapi-go/zapi"
)

// A Server is a fake Z-API server on loopback. It is safe for concurrent use. [NewServer] starts one, and
// [Server.Close] stops it.
type Server struct {
	http    *httptest.Server
	firstID string
	closed  chan struct{}
	close   sync.Once

	mu        sync.Mutex
	instances map[string]*instance // by instance ID
	failures  []failure            // of FailNext, oldest first
	rules     []rule               // of FailWhen, oldest first; only ever appended to
	requests  []Request
}

type instance struct {
	creds    zapi.Credentials
	settings Settings
}

type failure struct {
	left   int // how many requests answer is still sent to; at least 1
	answer Answer
}

type rule struct {
	match  func(Request) bool
	answer Answer
}

// An Answer is the response that [Server.FailNext] and [Server.FailWhen] send in place of the real one.
type Answer struct {
	StatusCode int           // 200 to 599; 0 means 200
	Header     http.Header   // may be nil; Content-Type is application/json unless set here
	Body       string        // sent unchanged
	Delay      time.Duration // wait before the response; ends early when the client gives up or the server closes
	Drop       bool          // close the connection without a response
}

// A Request is one request that arrived.
type Request struct {
	InstanceID string // from the path; empty if the path names no instance
	Op         string // the route, such as "privacy/last-seen"; the whole path if that names no instance
	Method     string
	Query      url.Values
	Header     http.Header
	Body       []byte
	StatusCode int // of the response; 0 if the connection was dropped, and for the match of FailWhen
}

func (r Request) clone() Request {
	r.Query = url.Values(http.Header(r.Query).Clone()) // both are maps of lists, but only Header has Clone
	r.Header = r.Header.Clone()
	r.Body = bytes.Clone(r.Body)
	return r
}

// NewServer starts a server with one instance.
func NewServer() *Server {
	s := &Server{instances: make(map[string]*instance), closed: make(chan struct{})}
	s.firstID = s.AddInstance().InstanceID
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close ends all delays, waits for the requests under way and stops the server. Further calls do nothing.
func (s *Server) Close() {
	s.close.Do(func() { close(s.closed) })
	s.http.Close()
}

// URL returns the base URL, for [zapi.WithBaseURL].
func (s *Server) URL() string { return s.http.URL }

// Credentials returns the credentials of the first instance.
func (s *Server) Credentials() zapi.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[s.firstID].creds
}

// AddInstance adds an instance with random credentials and returns them, for [zapi.Client.ForInstance].
func (s *Server) AddInstance() zapi.Credentials {
	creds := zapi.Credentials{InstanceID: "I" + rand.Text(), Token: "T" + rand.Text(), ClientToken: "F" + rand.Text()}
	s.AddInstanceWith(creds)
	return creds
}

// AddInstanceWith adds an instance with the given credentials. It replaces an instance with the same ID, whose settings
// are then those of a new one.
//
// An empty ClientToken stands for an account that has not activated the security token: a Client-Token in a request is
// ignored, as the API ignores it until then. The client needs [zapi.WithoutClientToken].
//
// AddInstanceWith panics if InstanceID or Token is empty or contains a slash, as no path could name it.
func (s *Server) AddInstanceWith(creds zapi.Credentials) {
	if !isSegment(creds.InstanceID) || !isSegment(creds.Token) {
		panic("zapitest: AddInstanceWith: InstanceID and Token must not be empty or contain a slash")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[creds.InstanceID] = &instance{creds, newSettings()}
}

// isSegment reports whether s can be one segment of a path.
func isSegment(s string) bool { return s != "" && !strings.Contains(s, "/") }

// Client returns a client of the first instance. It makes as many attempts as one with the default policy of
// [zapi.WithRetry] and obeys the same Retry-After, but waits only milliseconds where the response has none.
// opts are applied after these defaults and may override them.
func (s *Server) Client(opts ...zapi.Option) (*zapi.Client, error) {
	defaults := []zapi.Option{
		zapi.WithBaseURL(s.URL()),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Millisecond}), // MaxWait bounds Retry-After, so it stays
	}
	return zapi.NewClient(s.Credentials(), append(defaults, opts...)...)
}

// FailNext answers the next n requests with a and leaves the settings unchanged. The answers of several calls are sent
// in the order of the calls. If n is below 1, FailNext does nothing.
//
// A request that FailNext answers is not offered to [Server.FailWhen].
// FailNext panics if a.StatusCode is neither 0 nor 200 to 599.
func (s *Server) FailNext(n int, a Answer) {
	a = checkAnswer("FailNext", a)
	if n < 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{n, a})
}

// FailWhen sends a in response to every request for which match returns true, and leaves the settings unchanged. If
// several calls of FailWhen match a request, the last of them applies.
//
// match gets a copy of the request, before it is answered. Requests in parallel call match in parallel, so it must be
// safe for that. It may call every method of the server except [Server.Close], which waits for the request, and may send
// requests itself.
// FailWhen panics if match is nil, or if a.StatusCode is neither 0 nor 200 to 599.
func (s *Server) FailWhen(match func(Request) bool, a Answer) {
	a = checkAnswer("FailWhen", a)
	if match == nil {
		panic("zapitest: FailWhen: match must not be nil")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, rule{match, a})
}

// checkAnswer returns a copy of a. It panics in the test that is wrong, where net/http would panic in the server.
func checkAnswer(method string, a Answer) Answer {
	if a.StatusCode != 0 && (a.StatusCode < 200 || a.StatusCode > 599) {
		panic(fmt.Sprintf("zapitest: %s: StatusCode must be 0 or 200 to 599, not %d", method, a.StatusCode))
	}
	a.Header = a.Header.Clone()
	return a
}

// Requests returns copies of the requests that arrived since the start or [Server.ForgetRequests], in the order in which
// they were answered.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, request := range s.requests {
		requests[i] = request.clone()
	}
	return requests
}

// ForgetRequests empties the list that [Server.Requests] returns. Settings and failures stay.
func (s *Server) ForgetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Settings returns a copy of the current settings of an instance, or the zero value if there is no such instance.
func (s *Server) Settings(instanceID string) Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.instances[instanceID]; ok {
		return known.settings.clone()
	}
	return Settings{}
}

// SetSettings replaces all settings of an instance with a copy of settings, whose blacklists are sorted and contain no
// contact twice. To change a few settings, modify what [Server.Settings] returns and pass it on. Neither values nor contacts
// are checked, so that a blacklist may contain anything that the API might list.
//
// SetSettings panics if there is no such instance.
func (s *Server) SetSettings(instanceID string, settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.instances[instanceID]
	if !ok {
		panic(fmt.Sprintf("zapitest: SetSettings: there is no instance %q", instanceID))
	}
	known.settings = settings.clone()
}

// maxRequestBody is far above the largest blacklist that a test sends.
const maxRequestBody = 64 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	answer := s.answer(r, body)
	if answer.Delay > 0 {
		select {
		case <-time.After(answer.Delay):
		case <-r.Context().Done():
		case <-s.closed:
		}
	}
	if answer.Drop {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	for name, values := range answer.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.WriteString(w, answer.Body) // fails only if the client went away
}

// answer chooses the response to one request and records the request.
func (s *Server) answer(r *http.Request, body []byte) Answer {
	instanceID, token, op := splitPath(r.URL.Path)
	request := Request{
		InstanceID: instanceID, Op: op, Method: r.Method, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body,
	}
	a, scripted := s.nextFailure()
	if !scripted {
		a, scripted = s.matchingFailure(request)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if !scripted {
		a = s.decide(request, token, r.URL.RawQuery)
	}
	switch {
	case a.Drop:
		a.StatusCode = 0
	case a.StatusCode == 0:
		a.StatusCode = http.StatusOK
	}
	request.StatusCode = a.StatusCode
	s.requests = append(s.requests, request)
	return a
}

// nextFailure takes one answer of FailNext, if any is left.
func (s *Server) nextFailure() (a Answer, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) == 0 {
		return Answer{}, false
	}
	a = s.failures[0].answer
	s.failures[0].left--
	if s.failures[0].left == 0 {
		s.failures = s.failures[1:]
	}
	return a, true
}

// matchingFailure returns the answer of FailWhen to a request, if it has one. It holds no lock while it calls match.
func (s *Server) matchingFailure(request Request) (a Answer, ok bool) {
	s.mu.Lock()
	rules := s.rules
	s.mu.Unlock()
	for _, rule := range slices.Backward(rules) {
		if rule.match(request.clone()) {
			return rule.answer, true
		}
	}
	return Answer{}, false
}

// decide checks a request in the order path, method, credentials, content type, content, and carries it out.
func (s *Server) decide(request Request, token, rawQuery string) Answer {
	route, ok := routes[request.Op]
	if !ok || request.InstanceID == "" {
		return refuse(http.StatusOK, "NOT_FOUND", "Unable to find matching target resource method")
	}
	if request.Method != route.method {
		return refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "")
	}
	known, ok := s.instances[request.InstanceID]
	if !ok || token != known.creds.Token {
		return refuse(http.StatusNotFound, "Instance not found", "")
	}
	if want, got := known.creds.ClientToken, request.Header.Get("Client-Token"); want != "" && got != want {
		if got == "" {
			return refuse(http.StatusBadRequest, "your client-token is not configured", "")
		}
		return refuse(http.StatusForbidden, "Client-Token "+got+" not allowed", "")
	}
	if request.Method == http.MethodPost && !isJSON(request.Header.Get("Content-Type")) {
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "")
	}
	in, refusal := route.read(rawQuery, request.Body)
	if refusal != "" {
		return refuse(http.StatusBadRequest, refusal, "")
	}
	return route.serve(&known.settings, in)
}

// splitPath splits /instances/{instanceId}/token/{token}/{op}. A path of another form is all op.
func splitPath(path string) (instanceID, token, op string) {
	parts := strings.SplitN(path, "/", 6)
	if len(parts) < 6 || parts[0] != "" || parts[1] != "instances" || parts[3] != "token" {
		return "", "", path
	}
	return parts[2], parts[4], parts[5]
}
