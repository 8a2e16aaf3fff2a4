package zapitest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/zapi-go/zapi"
)

// A Server is a fake Z-API server. It is safe for concurrent use. [NewServer] starts one, and [Server.Close] stops it.
type Server struct {
	pipes     *pipeListener
	inMemory  *httptest.Server // serves the pipes
	transport *http.Transport  // the client's end of the pipes
	firstID   string

	mu        sync.Mutex
	onSocket  *httptest.Server     // nil until URL is called
	instances map[string]*instance // by instance ID
	failures  []failure            // of FailNext, oldest first
	rules     []rule               // of FailWhen, oldest first; only ever appended to
	requests  []Request
}

type instance struct {
	creds     zapi.Credentials
	connected bool // to WhatsApp
	settings  Settings
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
	s := &Server{pipes: newPipeListener(), instances: make(map[string]*instance)}
	s.firstID = s.AddInstance().InstanceID
	s.inMemory = &httptest.Server{Listener: s.pipes, Config: &http.Server{Handler: http.HandlerFunc(s.serve)}}
	s.inMemory.Start()
	s.transport = &http.Transport{DialContext: s.pipes.DialContext, MaxIdleConnsPerHost: 100} // 2 by default
	return s
}

// Close ends all delays, waits for the requests under way and stops the server. Further calls do nothing.
func (s *Server) Close() {
	s.mu.Lock()
	if s.onSocket == nil {
		s.onSocket = s.inMemory // so that URL opens no socket any more
	}
	s.mu.Unlock()
	s.inMemory.Close() // closes s.pipes first, which ends the delays
	s.onSocket.Close()
	s.transport.CloseIdleConnections()
}

// URL returns the base URL, for [zapi.WithBaseURL]. The first call opens a socket on loopback, which only a client that
// [Server.Client] did not return needs, or one with a transport of its own.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onSocket == nil {
		s.onSocket = httptest.NewServer(http.HandlerFunc(s.serve))
	}
	return s.onSocket.URL
}

// Credentials returns the credentials of the first instance.
func (s *Server) Credentials() zapi.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[s.firstID].creds
}

// AddInstance adds an instance with random credentials and returns them, for [zapi.API.Instance] and
// [zapi.Client.ForInstance].
func (s *Server) AddInstance() zapi.Credentials {
	creds := zapi.Credentials{InstanceID: "I" + rand.Text(), Token: "T" + rand.Text(), ClientToken: "F" + rand.Text()}
	s.AddInstanceWith(creds)
	return creds
}

// AddInstanceWith adds an instance with the given credentials. It replaces an instance with the same ID by a new one.
//
// An empty ClientToken stands for an account that has not activated the security token: a Client-Token in a request is
// ignored, as the API ignores it until then. The client needs [zapi.WithoutClientToken].
//
// AddInstanceWith panics if InstanceID or Token is empty or contains a slash, as no path could name it.
func (s *Server) AddInstanceWith(creds zapi.Credentials) {
	isSegment := func(s string) bool { return s != "" && !strings.Contains(s, "/") }
	if !isSegment(creds.InstanceID) || !isSegment(creds.Token) {
		panic("zapitest: AddInstanceWith: InstanceID and Token must not be empty or contain a slash")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[creds.InstanceID] = &instance{creds, true, newSettings()}
}

// Client returns a client of the first instance. It makes as many attempts as one with the default policy of
// [zapi.WithRetry] and obeys the same Retry-After, but waits only milliseconds where the response has none. It reaches
// the server through memory, and shares these connections with the other clients that Client returned.
//
// opts are applied after these defaults and may override them. [zapi.WithTransport] with a transport that uses the
// network needs [zapi.WithBaseURL] with [Server.URL], too.
func (s *Server) Client(opts ...zapi.Option) (*zapi.Client, error) {
	quick := zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Millisecond} // MaxWait bounds Retry-After, so it stays
	defaults := []zapi.Option{zapi.WithBaseURL(s.inMemory.URL), zapi.WithTransport(s.transport), zapi.WithRetry(quick)}
	return zapi.NewClient(s.Credentials(), append(defaults, opts...)...)
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
	s.mustFind("SetSettings", instanceID).settings = settings.clone()
}

// SetConnected connects an instance to WhatsApp, or disconnects it. A new instance is connected.
//
// GET /status reports it, with smartphoneConnected true and the error "You are already connected." or "You are not
// connected.". Well-formed requests for the privacy of a disconnected instance get status 400 and
// {"error":"You are not connected."}; the API's documentation does not say what they get.
// SetConnected panics if there is no such instance.
func (s *Server) SetConnected(instanceID string, connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustFind("SetConnected", instanceID).connected = connected
}

// mustFind returns an instance. s.mu must be held.
func (s *Server) mustFind(method, instanceID string) *instance {
	known, ok := s.instances[instanceID]
	if !ok {
		panic(fmt.Sprintf("zapitest: %s: there is no instance %q", method, instanceID))
	}
	return known
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	answer := s.choose(r, body)
	if answer.Delay > 0 {
		select {
		case <-time.After(answer.Delay):
		case <-r.Context().Done():
		case <-s.pipes.closed:
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

// choose returns the answer to one request and records the request.
func (s *Server) choose(r *http.Request, body []byte) Answer {
	instanceID, token, op := splitPath(r.URL.Path)
	request := Request{
		InstanceID: instanceID, Op: op, Method: r.Method, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body,
	}
	answer, scripted := s.scripted(request)

	s.mu.Lock()
	defer s.mu.Unlock()
	if !scripted {
		answer = s.carryOut(request, token, r.URL.RawQuery)
	}
	switch {
	case answer.Drop:
		answer.StatusCode = 0
	case answer.StatusCode == 0:
		answer.StatusCode = http.StatusOK
	}
	request.StatusCode = answer.StatusCode
	s.requests = append(s.requests, request)
	return answer
}

// carryOut checks a request in the order path, method, credentials, content type, content, connection, and carries
// it out.
func (s *Server) carryOut(request Request, token, rawQuery string) Answer {
	route, ok := routes[request.Op]
	if !ok || request.InstanceID == "" {
		return notFound
	}
	if request.Method != route.method {
		return refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
	}
	known, ok := s.instances[request.InstanceID]
	if !ok || token != known.creds.Token {
		return refuse(http.StatusNotFound, "Instance not found")
	}
	if want, got := known.creds.ClientToken, request.Header.Get("Client-Token"); want != "" && got != want {
		if got == "" {
			return refuse(http.StatusBadRequest, "your client-token is not configured")
		}
		return refuse(http.StatusForbidden, "Client-Token "+got+" not allowed")
	}
	if request.Method == http.MethodPost && !isJSON(request.Header.Get("Content-Type")) {
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE")
	}
	in, refusal := route.read(rawQuery, request.Body)
	if refusal != "" {
		return refuse(http.StatusBadRequest, refusal)
	}
	if !known.connected && request.Op != statusOp {
		return refuse(http.StatusBadRequest, notConnected)
	}
	return route.respond(known, in)
}

// splitPath splits /instances/{instanceId}/token/{token}/{op}. A path of another form is all op.
func splitPath(path string) (instanceID, token, op string) {
	parts := strings.SplitN(path, "/", 6)
	if len(parts) < 6 || parts[0] != "" || parts[1] != "instances" || parts[3] != "token" {
		return "", "", path
	}
	return parts[2], parts[4], parts[5]
}
