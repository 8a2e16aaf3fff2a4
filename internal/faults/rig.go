package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const (
	attemptTimeout    = 300 * time.Millisecond
	grace             = time.Second // by which a call may miss its deadline on a busy machine
	requestsPerSecond = 1500        // bounds what the fake server, which keeps all requests, takes in memory
	contacts          = 300         // as many phones and as many private ids are in use
)

var (
	retry  = zapi.RetryPolicy{MaxAttempts: 4, MinWait: 5 * time.Millisecond, MaxWait: 50 * time.Millisecond}
	scopes = []zapi.BlacklistScope{zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd}
	phones = regexp.MustCompile(`5544900[0-9]{6}`) // what contact makes
)

// contact is one of them.
func contact(random *rand.Rand) string {
	phone := fmt.Sprintf("5544900%06d", random.IntN(contacts))
	if random.IntN(8) == 0 {
		return phone + "@lid"
	}
	return phone
}

// rig is one run.
type rig struct {
	duration              time.Duration
	seed                  uint64
	goroutines, instances int
}

// result is what came of it.
type result struct {
	rig
	tally
	faults     map[string]int
	mismatches int // lists that are not as wanted in the end
	violations int
	examples   []string // of the violations
}

// tally counts calls.
type tally struct {
	calls, succeeded  int
	failed            map[string]int
	requests, retries int
	overtaken         int
}

func (t *tally) add(other tally) {
	t.calls += other.calls
	t.succeeded += other.succeeded
	t.requests += other.requests
	t.retries += other.retries
	t.overtaken += other.overtaken
	for kind, count := range other.failed {
		t.failed[kind] += count
	}
}

// run returns an error only when the rig itself does not work.
func (r rig) run() (result, error) {
	debug.SetTraceback("all")
	hung := time.AfterFunc(r.duration+time.Minute, func() { panic("a call, or the rig, hangs") })
	defer hung.Stop()
	before := goleak.IgnoreCurrent()
	net, err := newNetwork()
	if err != nil {
		return result{}, err
	}
	watch := &inspector{}
	log.SetOutput(watch) // net/http writes there what it did not expect
	defer log.SetOutput(os.Stderr)
	dial := &dialer{}
	transport := pooled()
	transport.DialContext = dial.DialContext
	callers, err := r.callers(net, watch, transport)
	if err != nil {
		net.close()
		return result{}, err
	}

	res := result{rig: r, tally: tally{failed: make(map[string]int)}}
	ctx, cancel := context.WithTimeout(context.Background(), r.duration)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() { c.run(ctx) })
	}
	res.faults, err = net.run(ctx, schedule(rand.New(rand.NewPCG(r.seed, 0))))
	cancel()
	wg.Wait()
	if err == nil {
		err = net.drain()
	}
	if err != nil {
		net.close()
		return result{}, err
	}

	for _, c := range callers {
		wg.Go(c.settle)
	}
	wg.Wait()
	for _, c := range callers {
		res.add(c.tally)
		res.mismatches += c.mismatches()
	}
	closed := waitFor(func() bool {
		transport.CloseIdleConnections()
		return dial.open.Load() == 0
	})
	if !closed {
		watch.report("%d connections left in use", dial.open.Load())
	}
	net.close()
	if err := goleak.Find(append(toxiproxyLeftovers, before)...); err != nil {
		watch.report("%v", err)
	}
	res.violations, res.examples = watch.violations, watch.examples
	return res, nil
}

// toxiproxyLeftovers are the pipes that Toxiproxy leaves behind when a connection ends with data under way.
var toxiproxyLeftovers = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
}

// callers shares the lists out: none is written by two goroutines at once.
func (r rig) callers(net *network, watch *inspector, transport *http.Transport) ([]*caller, error) {
	creds := []zapi.Credentials{net.api.Credentials()}
	for range r.instances - 1 {
		creds = append(creds, net.api.AddInstance())
	}
	for _, c := range creds {
		watch.secrets = append(watch.secrets, c.Token, c.ClientToken)
	}
	first, err := zapi.NewClient(creds[0],
		zapi.WithBaseURL("http://"+net.address),
		zapi.WithTransport(transport),
		zapi.WithTimeout(attemptTimeout),
		zapi.WithRetry(retry),
		zapi.WithRateLimiter(rate.NewLimiter(requestsPerSecond, r.goroutines)),
		zapi.WithMiddleware(watch.middleware),
		zapi.WithLogger(slog.New(slog.NewTextHandler(watch, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	if err != nil {
		return nil, err
	}
	callers := make([]*caller, r.goroutines)
	for i := range callers {
		callers[i] = &caller{
			api:    net.api,
			watch:  watch,
			random: rand.New(rand.NewPCG(r.seed, uint64(i+1))),
			tally:  tally{failed: make(map[string]int)},
		}
	}
	for i, c := range creds {
		client, err := first.ForInstance(c)
		if err != nil {
			return nil, err
		}
		for _, scope := range scopes {
			owner := callers[i%len(callers)]
			owner.lists = append(owner.lists, &list{client: client, scope: scope})
		}
	}
	return callers, nil
}

// list is one blacklist of one instance.
type list struct {
	client *zapi.Client
	scope  zapi.BlacklistScope
	wanted []string // nil before the first call
	lost   bool     // the answer to a change did not come, so that the change may still arrive, behind later ones
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

// caller is one goroutine with lists of its own.
type caller struct {
	api    *zapitest.Server
	watch  *inspector
	random *rand.Rand
	lists  []*list
	tally  tally
}

func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		l := c.lists[c.random.IntN(len(c.lists))]
		l.wanted = make([]string, 3+c.random.IntN(98))
		for i := range l.wanted {
			l.wanted[i] = contact(c.random)
		}
		_ = c.replace(l, milliseconds(c.random, 200, 3000)) // failures are judged and counted there
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
			c.watch.report("after the faults: %v", err)
		}
	}
}

func (c *caller) mismatches() int {
	count := 0
	for _, l := range c.lists {
		if l.wanted != nil && !l.holds(c.api) {
			count++
		}
	}
	return count
}

// replace makes one call and judges it.
func (c *caller) replace(l *list, timeout time.Duration) error {
	var made requests
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), requestsKey{}, &made), timeout)
	defer cancel()
	start := time.Now()
	err := c.guarded(func() error {
		_, err := l.client.ReplaceBlacklist(ctx, l.scope, l.wanted)
		return err
	})
	c.watch.judge(err, made, time.Since(start), timeout)

	c.tally.calls++
	c.tally.requests += made.reads + made.changes
	c.tally.retries += max(0, made.reads-1) + max(0, made.changes-1)
	switch {
	case err != nil:
		c.tally.failed[failure(err)]++
	case l.holds(c.api):
		c.tally.succeeded++
	case l.lost:
		c.tally.succeeded++
		c.tally.overtaken++
	default:
		c.tally.succeeded++
		c.watch.report("success, but the list %s of %s is not as wanted", l.scope, l.client.InstanceID())
	}
	l.lost = l.lost || made.changes > 1 || made.changes == 1 && err != nil
	return err
}

func (c *caller) guarded(call func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return call()
}

// failure is the kind of an error, for the table.
func failure(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline of the caller"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout of an attempt"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "cut off"
	default:
		return "other"
	}
}

// requests counts those of one call.
type requests struct{ reads, changes int }

type requestsKey struct{}

// inspector keeps what no call may show, and what went wrong.
type inspector struct {
	secrets []string

	mu         sync.Mutex
	violations int
	examples   []string
}

const maxExamples = 20

func (w *inspector) report(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations++
	if len(w.examples) < maxExamples {
		w.examples = append(w.examples, fmt.Sprintf(format, args...))
	}
}

// inspect looks for secrets and phones.
func (w *inspector) inspect(where, text string) {
	if phones.MatchString(text) || slices.ContainsFunc(w.secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
		w.report("%s shows a secret or a phone: %s", where, text)
	}
}

// Write takes log lines.
func (w *inspector) Write(line []byte) (int, error) {
	w.inspect("a log line", string(line))
	return len(line), nil
}

// middleware counts the requests of each call.
func (w *inspector) middleware(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if count, ok := req.Context().Value(requestsKey{}).(*requests); !ok {
			w.report("the context of the call is not that of its request")
		} else if req.Method == http.MethodGet {
			count.reads++
		} else {
			count.changes++
		}
		resp, err := next.RoundTrip(req)
		if err != nil {
			w.inspect("an error seen by middleware", fmt.Sprintf("%v %+v %#v", err, err, err))
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// judge checks how one call ended. The server refuses nothing, so the only error there may be is a [zapi.TransportError].
func (w *inspector) judge(err error, made requests, took, timeout time.Duration) {
	if took > timeout+grace {
		w.report("a call with a deadline of %v took %v: %v", timeout, took, err)
	}
	if made.reads > retry.MaxAttempts || made.changes > retry.MaxAttempts {
		w.report("%d reads and %d changes by one call", made.reads, made.changes)
	}
	if err == nil {
		if made.reads == 0 || made.changes == 0 {
			w.report("success after %d reads and %d changes", made.reads, made.changes)
		}
		return
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		w.inspect("an error", fmt.Sprintf("%v %+v %#v", cause, cause, cause))
	}
	var (
		invalid   *zapi.ValidationError
		refused   *zapi.APIError
		transport *zapi.TransportError
	)
	if !errors.As(err, &transport) || errors.As(err, &invalid) || errors.As(err, &refused) {
		w.report("%T: %v", err, err)
		return
	}
	attempts := made.changes
	if transport.Op == "privacy/disallowed-contacts" {
		attempts = made.reads
	}
	if transport.Attempts != attempts {
		w.report("%d requests, but %d attempts by %v", attempts, transport.Attempts, err)
	}
}
