//go:build linux

package rig

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// phoneOf is the contact by which the API tells the policy of a rollout from others.
func phoneOf(number int) string { return fmt.Sprintf("5511%09d", number) }

// An api is slow, and remembers which rollouts each instance has accepted, in their order.
type api struct {
	*httptest.Server
	closing chan struct{}

	mu       sync.Mutex
	accepted map[string][]int     // by account-instance
	requests map[string][]request // by account
	total    map[string]int       // calls accepted, by account
	behave   func(account, instance string) answer
}

type request struct {
	instance string
	at       time.Time
}

// An answer is a status, or nothing at all. The zero value accepts.
type answer struct {
	status     int
	retryAfter int
	after      time.Duration
	hang       bool
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{
		closing: make(chan struct{}), accepted: make(map[string][]int), requests: make(map[string][]request), total: make(map[string]int),
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() {
		close(a.closing)
		a.Close()
	})
	return a
}

// set changes what the API answers; nil accepts all.
func (a *api) set(behave func(account, instance string) answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behave = behave
}

// count is how many calls an account, or all of them, has accepted.
func (a *api) count(account string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, total := range a.total {
		if account == "" || name == account {
			n += total
		}
	}
	return n
}

// has is how many instances have accepted a rollout.
func (a *api) has(rollout int) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, accepted := range a.accepted {
		if slices.Contains(accepted, rollout) {
			n++
		}
	}
	return n
}

// asked is how many requests came for an instance, or for all of an account.
func (a *api) asked(account, instance string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests[account] {
		if instance == "" || r.instance == instance {
			n++
		}
	}
	return n
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return // the worker died amid the request
	}
	instance := strings.Split(r.URL.Path, "/")[2]
	account, number, _ := strings.Cut(instance, "-")
	a.mu.Lock()
	a.requests[account] = append(a.requests[account], request{number, time.Now()})
	behave := a.behave
	a.mu.Unlock()
	time.Sleep(10*time.Millisecond + rand.N(40*time.Millisecond)) // also when the worker is dead: the request has arrived
	var reply answer
	if behave != nil {
		reply = behave(account, number)
	}
	time.Sleep(reply.after)
	switch {
	case reply.hang:
		select {
		case <-r.Context().Done():
		case <-a.closing:
		}
		return
	case reply.status != 0:
		if reply.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(reply.retryAfter))
		}
		w.WriteHeader(reply.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"disallowedContacts":[]}`)
		return
	}
	var body struct {
		Blacklist []struct{ Phone string } `json:"contactsBlacklist"`
	}
	if json.Unmarshal(data, &body) != nil || len(body.Blacklist) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	rollout, err := strconv.Atoi(strings.TrimPrefix(body.Blacklist[0].Phone, "5511"))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted[instance] = append(a.accepted[instance], rollout)
	a.total[account]++
	_, _ = io.WriteString(w, `{"success":true}`)
}

// late is how many requests a process may send later than they are due, when it was stopped, or waits for the engine or for a core: those
// of the orders in hand, half as many again as calls and of two requests each, and the quarter of a second of the pace that it has taken.
const late = 3*calls + perSecond/4

// checkPace fails if more requests came within five seconds than the pace allows to all processes of workers together.
func (a *api) checkPace(t *testing.T, processes int) {
	t.Helper()
	const window = 5 * time.Second
	allowed := perSecond*int(window/time.Second) + burst + processes*late
	a.mu.Lock()
	defer a.mu.Unlock()
	for account, times := range a.requests {
		first, most := 0, 0
		for last := range times {
			for times[last].at.Sub(times[first].at) > window {
				first++
			}
			most = max(most, last-first+1)
		}
		assert.LessOrEqual(t, most, allowed, "requests of %s in %s", account, window)
	}
}
