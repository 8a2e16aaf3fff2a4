// Package faults tests zapi over a network that keeps failing.
package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
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
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

var (
	duration = flag.Duration("faults.duration", 10*time.Second, "how long the network fails; at most 3s with -short")
	seed     = flag.Uint64("faults.seed", 1, "seed of the faults and of the calls")
)

const (
	attemptTimeout    = 300 * time.Millisecond
	grace             = time.Second      // by which a call may miss its deadline on a busy machine
	patience          = 10 * time.Second // for what must happen without faults
	requestsPerSecond = 1500             // limits the memory of the fake server, which keeps all requests
	contacts          = 300              // number of phones, and of private IDs, in use
	maxReports        = 20               // violations that are printed
)

var (
	retry  = zapi.RetryPolicy{MaxAttempts: 4, MinWait: 5 * time.Millisecond, MaxWait: 50 * time.Millisecond}
	scopes = []zapi.BlacklistScope{zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd}
	phones = regexp.MustCompile(`5544900[0-9]{6}`) // matches every contact
)

func TestMain(m *testing.M) {
	// zapi's default transport is a clone of http.DefaultTransport, so that it trusts the servers of httptest too.
	server := httptest.NewTLSServer(nil)
	server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	goleak.VerifyTestMain(m, // Toxiproxy leaves these behind when a connection ends with data in transit
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"))
}

// TestFaults replaces blacklists from many goroutines while a seeded schedule of faults breaks the network. Whatever
// happens, an error must be of the documented types, show no secret and no phone, and come within the deadline, and
// success must be true. Once the faults are over, one more call must bring each list to what is wanted, and nothing may
// be left behind.
//
// The seed determines the faults and the calls, but not how they coincide.
func TestFaults(t *testing.T) {
	lasts, goroutines, instances := *duration, 64, 200
	if testing.Short() {
		lasts, goroutines, instances = min(lasts, 3*time.Second), 16, 40
	}
	t.Logf("the network fails for %v with seed %d; see -faults.duration and -faults.seed", lasts, *seed)
	w := &watcher{t: t, counts: make(map[string]int)}
	log.SetOutput(w) // net/http logs what it did not expect
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	n := newNetwork(t)
	callers := newCallers(t, w, n, goroutines, instances)

	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, c := range callers {
		wg.Go(func() { c.run(ctx) })
	}
	for f := range schedule(rand.New(rand.NewPCG(*seed, 0))) {
		n.fail(ctx, t, f)
		w.count("fault: "+f.kind, 1)
		sleep(ctx, f.pause)
		if ctx.Err() != nil {
			break
		}
	}
	wg.Wait()
	n.drain(t)
	for _, c := range callers {
		wg.Go(c.settle)
	}
	wg.Wait()

	for _, c := range callers {
		for _, l := range c.lists {
			if l.wanted != nil && !l.holds(n.api) {
				w.errorf("after the faults, the list %s of %s is not as wanted", l.scope, l.client.InstanceID())
			}
		}
	}
	assert.Eventually(t, func() bool {
		callers[0].lists[0].client.CloseIdleConnections() // of all, as they share them
		return n.accepted.Load() == 0
	}, patience, 5*time.Millisecond, "connections are left in use")
	for _, name := range []string{"calls", "succeeded", "retries"} {
		assert.Positive(t, w.counts[name], name)
	}
	assert.Zero(t, w.reports, "violations, of which the first %d are printed", maxReports)
	t.Log(w.counts)
}

// newCallers shares the lists among the callers: no list is changed by two goroutines at once.
func newCallers(t *testing.T, w *watcher, n *network, goroutines, instances int) []*caller {
	creds := []zapi.Credentials{n.api.Credentials()}
	for range instances - 1 {
		creds = append(creds, n.api.AddInstance())
	}
	for _, c := range creds {
		w.secrets = append(w.secrets, c.Token, c.ClientToken)
	}
	first, err := zapi.NewClient(creds[0],
		zapi.WithBaseURL("http://"+n.address),
		zapi.WithTimeout(attemptTimeout),
		zapi.WithRetry(retry),
		zapi.WithRateLimiter(rate.NewLimiter(requestsPerSecond, goroutines)),
		zapi.WithMiddleware(w.middleware),
		zapi.WithLogger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	require.NoError(t, err)
	callers := make([]*caller, goroutines)
	for i := range callers {
		callers[i] = &caller{api: n.api, watcher: w, random: rand.New(rand.NewPCG(*seed, uint64(i+1)))}
	}
	for i, c := range creds {
		client, err := first.ForInstance(c)
		require.NoError(t, err)
		owner := callers[i%len(callers)]
		for _, scope := range scopes {
			owner.lists = append(owner.lists, &list{client: client, scope: scope})
		}
	}
	return callers
}

// A list is one blacklist of one instance.
type list struct {
	client *zapi.Client
	scope  zapi.BlacklistScope
	wanted []string // nil before the first call
	lost   bool     // a change got no response, so it may still arrive, after later ones
}

// holds reports whether the server has the list as it is wanted.
func (l *list) holds(api *zapitest.Server) bool {
	settings := api.Settings(l.client.InstanceID())
	audience := map[zapi.BlacklistScope]zapitest.Audience{
		zapi.BlacklistLastSeen:    settings.LastSeen,
		zapi.BlacklistPhoto:       settings.Photo,
		zapi.BlacklistDescription: settings.Description,
		zapi.BlacklistGroupAdd:    settings.GroupAdd,
	}[l.scope]
	wanted := slices.Compact(slices.Sorted(slices.Values(l.wanted)))
	return audience.Visibility == zapi.VisibilityContactBlacklist && slices.Equal(audience.Blacklist, wanted)
}

// A caller is one goroutine with lists of its own.
type caller struct {
	api     *zapitest.Server
	watcher *watcher
	random  *rand.Rand
	lists   []*list
}

// run replaces lists until ctx ends.
func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		l := c.lists[c.random.IntN(len(c.lists))]
		l.wanted = make([]string, 3+c.random.IntN(98))
		for i := range l.wanted {
			l.wanted[i] = fmt.Sprintf("5544900%06d", c.random.IntN(contacts))
			if c.random.IntN(8) == 0 {
				l.wanted[i] += "@lid"
			}
		}
		_ = c.replace(l, milliseconds(c.random, 200, 3000)) // replace has judged the error
	}
}

// settle repeats the last call on each list, without faults.
func (c *caller) settle() {
	for _, l := range c.lists {
		if l.wanted == nil {
			continue
		}
		l.lost = false
		if err := c.replace(l, patience); err != nil {
			c.watcher.errorf("after the faults: %v", err)
		}
	}
}

// replace makes one call and judges it.
func (c *caller) replace(l *list, timeout time.Duration) error {
	var made requests
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), requestsKey{}, &made), timeout)
	defer cancel()
	start := time.Now()
	_, err := l.client.ReplaceBlacklist(ctx, l.scope, l.wanted)
	w := c.watcher
	w.judge(err, made, time.Since(start), timeout)
	w.count("calls", 1)
	w.count("requests", made.reads+made.changes)
	w.count("retries", max(0, made.reads-1)+max(0, made.changes-1))
	switch {
	case err != nil:
		cause := err
		for next := err; next != nil; next = errors.Unwrap(next) {
			cause = next
		}
		w.count("failed: "+cause.Error(), 1)
	case l.holds(c.api):
		w.count("succeeded", 1)
	case l.lost:
		w.count("succeeded, then overwritten by an abandoned request", 1)
	default:
		w.errorf("success, but the list %s of %s is not as wanted", l.scope, l.client.InstanceID())
	}
	l.lost = l.lost || made.changes > 1 || made.changes == 1 && err != nil
	return err
}

// requests counts the requests of one call.
type requests struct{ reads, changes int }

type requestsKey struct{}

// A watcher looks for what no call may show, and counts.
type watcher struct {
	t       *testing.T
	secrets []string

	mu      sync.Mutex
	counts  map[string]int
	reports int
}

func (w *watcher) count(name string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[name] += n
}

// errorf reports a violation.
func (w *watcher) errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reports++; w.reports <= maxReports {
		w.t.Errorf(format, args...)
	}
}

// exposes reports whether the text shows a secret or a phone.
func (w *watcher) exposes(text string) bool {
	return phones.MatchString(text) || slices.ContainsFunc(w.secrets, func(secret string) bool { return strings.Contains(text, secret) })
}

// Write checks a log line.
func (w *watcher) Write(line []byte) (int, error) {
	if w.exposes(string(line)) {
		w.errorf("a log line shows a secret or a phone: %s", line)
	}
	return len(line), nil
}

// middleware counts the requests of each call.
func (w *watcher) middleware(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if made, ok := req.Context().Value(requestsKey{}).(*requests); !ok {
			w.errorf("a request does not have the context of its call")
		} else if req.Method == http.MethodGet {
			made.reads++
		} else {
			made.changes++
		}
		resp, err := next.RoundTrip(req)
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); w.exposes(text) {
			w.errorf("an error in middleware shows a secret or a phone: %s", text)
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// judge checks how a call ended. The server rejects nothing, so an error must be a [zapi.TransportError].
func (w *watcher) judge(err error, made requests, took, timeout time.Duration) {
	if took > timeout+grace {
		w.errorf("a call with a deadline of %v took %v: %v", timeout, took, err)
	}
	if made.reads > retry.MaxAttempts || made.changes > retry.MaxAttempts {
		w.errorf("%d reads and %d changes by one call", made.reads, made.changes)
	}
	if err == nil {
		if made.reads == 0 || made.changes == 0 {
			w.errorf("success after %d reads and %d changes", made.reads, made.changes)
		}
		return
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if text := fmt.Sprintf("%v %+v %#v", cause, cause, cause); w.exposes(text) {
			w.errorf("an error shows a secret or a phone: %s", text)
		}
	}
	var (
		invalid   *zapi.ValidationError
		rejected  *zapi.APIError
		transport *zapi.TransportError
	)
	if !errors.As(err, &transport) || errors.As(err, &invalid) || errors.As(err, &rejected) {
		w.errorf("%T: %v", err, err)
		return
	}
	attempts := made.changes
	if transport.Op == "privacy/disallowed-contacts" {
		attempts = made.reads
	}
	if transport.Attempts != attempts {
		w.errorf("%d requests, but %d attempts in %v", attempts, transport.Attempts, err)
	}
}
