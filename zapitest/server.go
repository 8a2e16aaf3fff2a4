// Package zapitest is a fake Z-API server for tests and examples of code that uses zapi.
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
// see [Server.AddInstance] and [Server.Settings]. A new instance shows everything to everyone.
//
// # Strictness
//
// It refuses what the API's documentation does not allow, in the API's own words where they are known: an unknown
// route or instance, a wrong method (405), a missing or wrong Client-Token (the answer quotes it, as the API does),
// a POST that is not application/json (415), unknown keys and values, a body where none belongs, a missing or misplaced
// blacklist, a malformed phone.
//
// # Failures
//
// [Server.FailNext] scripts what the next requests get instead. [Server.Requests] lists all that arrived.
package zapitest

import (
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zapi-go/zapi"
)

// Server is a fake Z-API on loopback, safe for concurrent use. Make one with [NewServer], end it with [Server.Close].
type Server struct {
	http   *httptest.Server
	first  zapi.Credentials
	closed chan struct{}

	mu        sync.Mutex
	instances map[string]*instance // by instance ID
	failures  []Answer
	requests  []Request
}

type instance struct {
	creds    zapi.Credentials
	settings Settings
}

// Answer is what [Server.FailNext] gives in place of the real answer.
type Answer struct {
	StatusCode int           // 0 is 200
	Header     http.Header   // may be nil; a JSON content type is the default
	Body       string        // sent as it stands
	Delay      time.Duration // before the answer, or until the client gives up
	Drop       bool          // close the connection without an answer
}

// Request is one request that arrived.
type Request struct {
	InstanceID string // from the path; empty on a path that names none
	Op         string // the route, "privacy/last-seen", or the whole path where it names no instance
	Method     string
	Query      url.Values
	Header     http.Header
	Body       []byte
	StatusCode int // of the answer; 0 when it was dropped
}

// NewServer starts a server with one instance.
func NewServer() *Server {
	s := &Server{instances: make(map[string]*instance), closed: make(chan struct{})}
	s.first = s.AddInstance()
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close ends all delays and stops the server once the requests under way are answered. It is called once.
func (s *Server) Close() {
	close(s.closed)
	s.http.Close()
}

// URL returns the base URL, for [zapi.WithBaseURL].
func (s *Server) URL() string { return s.http.URL }

// Credentials returns those of the first instance.
func (s *Server) Credentials() zapi.Credentials { return s.first }

// AddInstance makes another instance and returns its credentials, for [zapi.Client.ForInstance].
func (s *Server) AddInstance() zapi.Credentials {
	creds := zapi.Credentials{InstanceID: "I" + rand.Text(), Token: "T" + rand.Text(), ClientToken: "F" + rand.Text()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[creds.InstanceID] = &instance{creds: creds, settings: newSettings()}
	return creds
}

// Client makes a client of the first instance; opts come on top of the server's address.
func (s *Server) Client(opts ...zapi.Option) (*zapi.Client, error) {
	return zapi.NewClient(s.Credentials(), append([]zapi.Option{zapi.WithBaseURL(s.URL())}, opts...)...)
}

// FailNext gives a to the next n requests, whatever they ask; further calls queue behind. Nothing is changed by them.
func (s *Server) FailNext(n int, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, slices.Repeat([]Answer{a}, n)...)
}

// Requests returns all requests that arrived, in the order in which they were answered.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Settings returns what the privacy of an instance is now; of an unknown one, the zero value.
func (s *Server) Settings(instanceID string) Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.instances[instanceID]; ok {
		return known.settings.clone()
	}
	return Settings{}
}

// maxRequestBody is far above the largest blacklist that a test sends.
const maxRequestBody = 64 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	instanceID, token, op := splitPath(r.URL.Path)
	answer := s.answer(r, instanceID, token, op, body)
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
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = io.WriteString(w, answer.Body) // a client that went away is its own business
}

// answer takes the decision on one request, and records it.
func (s *Server) answer(r *http.Request, instanceID, token, op string, body []byte) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a Answer
	if len(s.failures) > 0 {
		a, s.failures = s.failures[0], s.failures[1:]
	} else {
		a = s.decide(r, instanceID, token, op, body)
	}
	if a.StatusCode == 0 && !a.Drop {
		a.StatusCode = http.StatusOK
	}
	s.requests = append(s.requests, Request{
		InstanceID: instanceID, Op: op, Method: r.Method, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body, StatusCode: a.StatusCode,
	})
	return a
}

// decide checks a request in the order path, method, credentials, content type, content.
func (s *Server) decide(r *http.Request, instanceID, token, op string, body []byte) Answer {
	route, ok := routes[op]
	if !ok || instanceID == "" {
		return refuse(http.StatusOK, "NOT_FOUND", "Unable to find matching target resource method")
	}
	if r.Method != route.method {
		return refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "")
	}
	known, ok := s.instances[instanceID]
	if !ok || token != known.creds.Token {
		return refuse(http.StatusNotFound, "Instance not found", "")
	}
	switch clientToken := r.Header.Get("Client-Token"); clientToken {
	case known.creds.ClientToken:
	case "":
		return refuse(http.StatusBadRequest, "your client-token is not configured", "")
	default:
		return refuse(http.StatusForbidden, "Client-Token "+clientToken+" not allowed", "")
	}
	if r.Method == http.MethodPost && !isJSON(r.Header.Get("Content-Type")) {
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "")
	}
	return route.serve(&known.settings, r.URL.Query(), body)
}

// splitPath takes /instances/{instanceId}/token/{token}/{op} apart; what has another form is all op.
func splitPath(path string) (instanceID, token, op string) {
	parts := strings.SplitN(path, "/", 6)
	if len(parts) < 6 || parts[0] != "" || parts[1] != "instances" || parts[3] != "token" {
		return "", "", path
	}
	return parts[2], parts[4], parts[5]
}
