//go:debug x509usefallbackroots=1

// Package faults tests zapi over a network that keeps failing.
package faults

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/zapi-go/zapi"
)

var (
	duration = flag.Duration("faults.duration", 10*time.Second, "how long the network fails")
	seed     = flag.Uint64("faults.seed", 1, "seed of the faults and of the calls")
	phones   = regexp.MustCompile(`5544900[0-9]{6}`) // matches every contact
	discard  = log.New(io.Discard, "", 0)
)

func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(nil)
	server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	x509.SetFallbackRoots(roots) // so that every transport trusts the servers of httptest, whatever its TLS settings
	goleak.VerifyTestMain(m)
}

// TestFaults replaces blacklists from many goroutines while a seeded schedule of faults breaks the network. Whatever
// happens, an error must be of the documented types and show no secret and no phone, and success must be true. Once the
// faults are over, one more call must bring each list to what is wanted, and nothing may be left behind. The seed
// determines the faults and the calls, but not how they coincide.
func TestFaults(t *testing.T) {
	t.Logf("the network fails for %v with seed %d; see -faults.duration and -faults.seed", *duration, *seed)
	w := &watcher{t: t, counts: make(map[string]int)}
	log.SetOutput(w) // net/http logs what it did not expect
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	n := newNetwork(t)
	template := newDefault()
	template.DialContext = n.dial
	client := newClient(t, template, n.front.URL,
		zapi.WithTimeout(500*time.Millisecond),
		zapi.WithRateLimiter(rate.NewLimiter(1500, 32)), // limits the memory of the fake server, which keeps all requests
		zapi.WithMiddleware(w.middleware),
		zapi.WithLogger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	callers := make([]*caller, 32)
	for i := range callers {
		creds := n.api.AddInstance()
		w.secrets = append(w.secrets, creds.Token, creds.ClientToken)
		instance, err := client.ForInstance(creds)
		require.NoError(t, err)
		callers[i] = &caller{client: instance, network: n, watcher: w, random: rand.New(rand.NewPCG(*seed, uint64(i+1)))}
	}

	ctx, cancel := context.WithTimeout(t.Context(), *duration)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() { c.run(ctx) })
	}
	for random := rand.New(rand.NewPCG(*seed, 0)); ctx.Err() == nil; {
		for _, i := range random.Perm(len(faults)) {
			n.fail(ctx, faults[i], random)
			w.count("fault: "+faults[i], 1)
		}
	}
	wg.Wait()
	n.drain(t.Context())
	for _, c := range callers { // one at a time, for a busy machine
		c.lost = false
		require.NoError(t, c.replace(t.Context()), "after the faults")
	}
	for n.open.Load() > 0 { // for ever, if a connection is left in use
		client.CloseIdleConnections()
		sleep(t.Context(), time.Millisecond)
	}
	assert.Positive(t, min(w.counts["succeeded"], w.counts["retries"]))
	t.Log(w.counts)
}

// A caller is one goroutine with an instance of its own.
type caller struct {
	client  *zapi.Client
	network *network
	watcher *watcher
	random  *rand.Rand
	wanted  []string
	lost    bool // a change got no response, so it may still arrive, after later ones
}

// run replaces the list until ctx ends.
func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.wanted = nil
		for range 3 + c.random.IntN(98) {
			c.wanted = append(c.wanted, fmt.Sprintf("5544900%06d%s", c.random.IntN(300), []string{"", "@lid"}[c.random.IntN(2)]))
		}
		deadline, cancel := context.WithTimeout(context.Background(), time.Duration(200+c.random.IntN(2800))*time.Millisecond)
		_ = c.replace(deadline) // replace has checked the error
		cancel()
	}
}

// replace makes one call and checks how it ended. The server rejects nothing, so an error must be a [zapi.TransportError].
func (c *caller) replace(ctx context.Context) error {
	var made requests
	_, err := c.client.ReplaceBlacklist(context.WithValue(ctx, requestsKey{}, &made), zapi.BlacklistLastSeen, c.wanted)
	w, t := c.watcher, c.watcher.t
	reads, changes := made.reads.Load(), made.changes.Load()
	w.count("retries", max(0, reads-1)+max(0, changes-1))
	assert.LessOrEqual(t, max(reads, changes), int64(maxAttempts))
	var transportErr *zapi.TransportError
	switch got := c.network.api.Settings(c.client.InstanceID()).LastSeen.Blacklist; {
	case err == nil && slices.Equal(got, slices.Compact(slices.Sorted(slices.Values(c.wanted)))):
		w.count("succeeded", 1)
		assert.Positive(t, min(reads, changes))
	case err == nil && c.lost:
		w.count("succeeded, then overwritten by an abandoned request", 1)
	case err == nil:
		t.Errorf("success, but the list of %s is not as wanted", c.client.InstanceID())
	case assert.ErrorAs(t, err, &transportErr):
		w.count("failed: "+zapi.Kind(err), 1)
		attempts := map[string]int64{"privacy/disallowed-contacts": reads, "privacy/last-seen": changes}
		assert.EqualValues(t, attempts[transportErr.Op], transportErr.Attempts, "attempts in %v", err)
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		w.check("an error", fmt.Sprintf("%v %+v %#v", cause, cause, cause))
	}
	c.lost = c.lost || changes > 1 || changes == 1 && err != nil
	return err
}

// requests counts the requests of a call, or of several.
type requests struct{ reads, changes atomic.Int64 }

type requestsKey struct{}

// A watcher looks for what no call may show, and counts.
type watcher struct {
	t       *testing.T
	secrets []string

	mu     sync.Mutex
	counts map[string]int
}

func (w *watcher) count(name string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[name] += int(n)
}

// check reports a text that shows a secret or a phone.
func (w *watcher) check(what, text string) {
	if phones.MatchString(text) || slices.ContainsFunc(w.secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
		w.t.Errorf("%s shows a secret or a phone: %s", what, text)
	}
}

// Write checks a log line.
func (w *watcher) Write(line []byte) (int, error) {
	w.check("a log line", string(line))
	return len(line), nil
}

// middleware counts requests, and checks their errors.
func (w *watcher) middleware(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		made := req.Context().Value(requestsKey{}).(*requests)
		if req.Method == http.MethodGet {
			made.reads.Add(1)
		} else {
			made.changes.Add(1)
		}
		resp, err := next.RoundTrip(req)
		w.check("an error in middleware", fmt.Sprintf("%v %+v %#v", err, err, err))
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
