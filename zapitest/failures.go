package zapitest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// An Answer is the response that [Server.FailNext] and [Server.FailWhen] send in place of the real one.
type Answer struct {
	StatusCode int           // 200 to 599; 0 means 200
	Header     http.Header   // may be nil; Content-Type is application/json unless set here
	Body       string        // sent unchanged
	Delay      time.Duration // wait before the response; ends early when the client gives up or the server closes
	Drop       bool          // close the connection without a response
}

type failure struct {
	left   int // how many requests get the answer; at least 1
	answer Answer
}

type rule struct {
	match  func(Request) bool
	answer Answer
}

// FailNext answers the next n requests with a and leaves the settings unchanged. The answers of several calls are sent
// in the order of the calls. If n is below 1, FailNext does nothing.
//
// A request that FailNext answers is not offered to [Server.FailWhen].
// FailNext panics if a.StatusCode is neither 0 nor 200 to 599.
func (s *Server) FailNext(n int, a Answer) {
	answer := checked("FailNext", a)
	if n < 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{n, answer})
}

// FailWhen answers every request for which match returns true with a, and leaves the settings unchanged. If several
// calls of FailWhen match a request, the last of them applies. The route need not be one that the server has.
//
// match gets a copy of the request, before it is answered. Requests in parallel call match in parallel, so it must be
// safe for that. It may call every method of the server except [Server.Close], which waits for the request, and may send
// requests itself.
// FailWhen panics if match is nil, or if a.StatusCode is neither 0 nor 200 to 599.
func (s *Server) FailWhen(match func(Request) bool, a Answer) {
	answer := checked("FailWhen", a)
	if match == nil {
		panic("zapitest: FailWhen: match must not be nil")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, rule{match, answer})
}

// checked returns a copy of an answer. It panics in the test that is wrong, where net/http would panic in the server.
func checked(method string, answer Answer) Answer {
	if answer.StatusCode != 0 && (answer.StatusCode < 200 || answer.StatusCode > 599) {
		panic(fmt.Sprintf("zapitest: %s: StatusCode must be 0 or 200 to 599, not %d", method, answer.StatusCode))
	}
	answer.Header = answer.Header.Clone()
	return answer
}

// scripted returns the answer of FailNext or FailWhen to a request, if it has one.
func (s *Server) scripted(request Request) (answer Answer, ok bool) {
	s.mu.Lock()
	rules := s.rules
	if len(s.failures) > 0 {
		answer, ok = s.failures[0].answer, true
		s.failures[0].left--
		if s.failures[0].left == 0 {
			s.failures = s.failures[1:]
		}
	}
	s.mu.Unlock() // match may call methods of the server
	if ok {
		return answer, true
	}
	for _, rule := range slices.Backward(rules) {
		if rule.match(request.clone()) {
			return rule.answer, true
		}
	}
	return Answer{}, false
}
