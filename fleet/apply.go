package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// job is an order in hand.
type job struct {
	worker   *worker
	account  *account
	delivery store.Delivery
	release  func() // leaves the hand of the account
	key      string // <account>.<instance>
	order    storedOrder
	status   storedStatus // when the order was taken
}

// handle does what decide says about one order.
func (w *worker) handle(ctx context.Context, a *account, d store.Delivery, release func()) {
	j := &job{worker: w, account: a, delivery: d, release: release, key: d.Entry().Key, order: readOrder(d.Entry())}
	if j.order.err != nil {
		j.later(ctx, "cannot read an order", j.order.err, time.Minute) // a worker of a later release may
		return
	}
	r, err := w.holds.of(ctx, j.order.order)
	if err != nil {
		j.later(ctx, "cannot read a rollout", err, time.Second)
		return
	}
	if r.Cancelled.IsZero() && r.hold(j.order.Canary) != "" {
		d.GiveBack(w.heldFor(j.order))
		return
	}
	e, err := w.fleet.store.Get(ctx, store.Statuses, j.key)
	if err != nil {
		j.later(ctx, "cannot read a status", err, time.Second)
		return
	}
	switch j.status = readStatus(e); {
	case errors.Is(j.status.err, errLater):
		j.later(ctx, "cannot read a status", j.status.err, time.Minute)
		return
	case j.status.err != nil: // it is written over, but may have been a claim
		j.worker.warn(ctx, "cannot read a status", j.status.err, "key", j.key)
		j.status.Fence = j.status.at.Add(w.applyTimeout + w.fleet.timing.grace)
	}
	if since, ok := w.elsewhere.Load(j.key); ok && time.Since(since.(time.Time)) < elsewhereWait {
		d.GiveBack(time.Second + 10*w.soon()) // to a worker that may know the instance
		return
	}
	v := decide(j.status.status, j.order.order, j.order.seq, w.fleet.clock.now())
	if v.action == ask {
		if v, err = j.ask(ctx); err != nil {
			j.later(ctx, "cannot read an order", err, time.Second)
			return
		}
	}
	switch {
	case v.action == drop:
		d.Ack() // what is lost is delivered again, and dropped again
	case !r.Cancelled.IsZero():
		j.takeBack(ctx)
	case v.action == delay:
		d.GiveBack(v.wait)
	case v.action == park:
		w.warn(ctx, "parked: workers ended while applying it", nil, "key", j.key)
		j.settle(ctx, poisoned(j.status.status, w.fleet.clock.now(), w.fleet.timing.grace))
	case v.action == claim:
		j.run(ctx)
	}
}

// later gives the order back after something went wrong.
func (j *job) later(ctx context.Context, what string, err error, after time.Duration) {
	j.worker.warn(ctx, what, err, "key", j.key)
	j.delivery.GiveBack(after)
}

// heldFor returns when an order that is held is looked at again: soon while its rollout is being ordered, and within a minute
// later on.
func (w *worker) heldFor(o storedOrder) time.Duration {
	return min(max(w.fleet.clock.now().Sub(o.at), orderingFor), w.fleet.timing.held)
}

// ask asks the store whether the order is the newest of its instance, as the status seems to be of a newer one. If it is not there
// at all, it was lost, and is not wanted any more.
func (j *job) ask(ctx context.Context) (verdict, error) {
	e, err := j.worker.fleet.store.Newest(ctx, store.Orders, j.key)
	if err != nil {
		return verdict{}, err
	}
	if e.Seq != j.order.seq || !bytes.Equal(e.Value, j.delivery.Entry().Value) {
		return verdict{action: drop}, nil
	}
	return aboveOther(j.status.status, j.worker.fleet.clock.now()), nil
}

// takeBack settles an order whose rollout was cancelled, unless another worker is applying it.
func (j *job) takeBack(ctx context.Context) {
	now := j.worker.fleet.clock.now()
	if j.status.names(j.order.order, j.order.seq) && j.status.State == Applying && now.Before(j.status.Fence) {
		j.delivery.GiveBack(j.status.Fence.Sub(now))
		return
	}
	j.settle(ctx, takenBack(j.status.status, j.order.order, j.order.seq, now))
}

// settle writes a status without a claim.
func (j *job) settle(ctx context.Context, s status) {
	if _, err := j.worker.fleet.store.Put(ctx, store.Statuses, j.key, encode(s), j.status.seq); err != nil {
		j.delivery.GiveBack(j.worker.soon())
		return
	}
	j.worker.holds.settled(ctx, s)
	j.worker.tell(j.key, s, 0)
	j.finish(s)
}

// finish tells the queue what was written.
func (j *job) finish(s status) {
	if s.State == Waiting {
		j.delivery.GiveBack(j.worker.fleet.clock.until(s.NotBefore))
		return
	}
	j.delivery.Ack()
}

// run takes an order from the claim to the outcome.
func (j *job) run(ctx context.Context) {
	w := j.worker
	policy, err := w.policy(ctx, j.order.Policy)
	if err != nil {
		j.withoutPolicy(ctx, err)
		return
	}
	wait, probe := j.account.health.admit(w.fleet.clock.now())
	if wait > 0 {
		j.delivery.GiveBack(wait)
		return
	}
	leave, err := j.admit(ctx, policy)
	if err != nil {
		j.account.health.abandon(probe)
		switch {
		case ctx.Err() != nil:
			j.delivery.GiveBack(0) // another worker takes it
		case errors.Is(err, errBusy):
			j.delivery.GiveBack(time.Second + 10*w.soon())
		default:
			j.later(ctx, "cannot take from the pace", err, time.Second)
		}
		return
	}
	defer leave() // also when the resolver ends the goroutine
	claim, seq, deadline := j.claim(ctx, probe)
	if seq == 0 {
		j.account.health.abandon(probe)
		j.delivery.GiveBack(w.soon())
		return
	}
	// From here on it is carried to its end, also when ctx ends.
	unbroken, began := context.WithoutCancel(ctx), time.Now()
	err = j.apply(unbroken, deadline, policy)
	took := time.Since(began)
	outcome := j.outcome(unbroken, claim, err, probe)
	leave()
	w.tell(j.key, outcome, took)
	if j.write(ctx, claim, outcome, seq) {
		j.finish(outcome)
	}
}

// withoutPolicy waits for a policy that is missing: starting the rollout again stores it.
func (j *job) withoutPolicy(ctx context.Context, err error) {
	if !errors.Is(err, errNoPolicy) {
		j.later(ctx, "cannot read a policy", err, 5*time.Second)
		return
	}
	j.worker.warn(ctx, "the policy of an order is missing: start its rollout again", nil, "key", j.key, "rollout", j.order.Rollout)
	now := j.worker.fleet.clock.now()
	s := takenBack(j.status.status, j.order.order, j.order.seq, now)
	s.State, s.Kind, s.NotBefore = Waiting, kindNoPolicy, now.Add(time.Minute)
	j.settle(ctx, s)
}

var errBusy = errors.New("other orders that workers have ended with go first")

// admit waits for the pace and for a free call. The caller calls leave when the call has ended. An order that workers have ended with
// has calls of its own, and holds none of the others' while it waits for one.
func (j *job) admit(ctx context.Context, policy zapi.Policy) (leave func(), err error) {
	slots := []*semaphore.Weighted{j.account.calls, j.worker.calls}
	if j.status.names(j.order.order, j.order.seq) && j.status.Claims >= 2 {
		if !j.worker.suspects.TryAcquire(1) {
			return nil, errBusy
		}
		j.release()
		slots = nil
		defer func() {
			if err != nil {
				j.worker.suspects.Release(1)
			}
		}()
	}
	if err := j.account.pacer.wait(ctx, cost(policy)); err != nil {
		return nil, err
	}
	for i, slot := range slots {
		if err := slot.Acquire(ctx, 1); err != nil {
			release(slots[:i])
			return nil, err
		}
	}
	if slots == nil {
		slots = []*semaphore.Weighted{j.worker.suspects}
	}
	return sync.OnceFunc(func() { release(slots) }), nil
}

func release(slots []*semaphore.Weighted) {
	for _, slot := range slots {
		slot.Release(1)
	}
}

// claim writes the claim of the order, and returns its sequence, or 0 for none. While the order waited, the rollout may have been
// held or cancelled, and the API may have gone away.
func (j *job) claim(ctx context.Context, probe bool) (claim status, seq uint64, deadline time.Time) {
	w := j.worker
	r, err := w.holds.of(ctx, j.order.order)
	if err != nil || !r.Cancelled.IsZero() || r.hold(j.order.Canary) != "" || !probe && j.account.health.isAway() {
		return status{}, 0, deadline
	}
	w.fleet.clock.check(ctx) // the fence must not be too early
	now := w.fleet.clock.now()
	claim = claimed(j.status.status, j.order.order, j.order.seq, w.name, now, now.Add(w.applyTimeout), w.fleet.timing.grace)
	deadline = time.Now().Add(w.applyTimeout)
	seq, err = w.fleet.store.Put(context.WithoutCancel(ctx), store.Statuses, j.key, encode(claim), j.status.seq)
	if err != nil {
		return status{}, 0, deadline
	}
	return claim, seq, deadline
}

// apply makes the calls. A panic in it, or in the resolver, is an error.
func (j *job) apply(ctx context.Context, deadline time.Time, policy zapi.Policy) (err error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			err = panicked{value}
		}
	}()
	creds, err := j.worker.resolver.Credentials(ctx, targetOf(j.key))
	if err != nil {
		return resolverError{err}
	}
	client, err := j.worker.api.Instance(creds)
	if err != nil {
		return err
	}
	return client.Apply(ctx, policy)
}

// outcome returns the status after an apply that ended with err, and tells everyone whom it concerns.
func (j *job) outcome(ctx context.Context, claim status, err error, probe bool) status {
	w, f, now := j.worker, failureOf(err), j.worker.fleet.clock.now()
	away := j.account.health.report(now, probe, f, j.status.Since)
	outcome := settled(claim, f, j.status.Fence, now, w.limits, away)
	if outcome.State == Waiting {
		if r, err := w.holds.of(ctx, j.order.order); err == nil && !r.Cancelled.IsZero() {
			fence := outcome.Fence
			outcome = takenBack(claim, j.order.order, j.order.seq, now)
			outcome.Fence = fence
		}
	}
	if f != nil && f.kind == kindElsewhere {
		w.elsewhere.Store(j.key, time.Now())
	}
	w.holds.settled(ctx, outcome)
	if err != nil {
		w.fleet.log.WarnContext(ctx, "apply failed", "key", j.key, "rollout", j.order.Rollout, "state", outcome.State, "kind", outcome.Kind, "worker", w.name, "error", err)
	}
	if j.account.health.limits(now, j.key, f != nil && f.kind == kindRateLimit) {
		if err := j.account.pacer.hold(ctx, outcome.NotBefore); err != nil {
			w.warn(ctx, "cannot hold the pace", err, "account", j.account.name)
		}
	}
	return outcome
}

// write writes the outcome of a claim, and reports whether it is in place. It does not give up while the claim lasts: an
// outcome that is lost is a call that is repeated.
func (j *job) write(ctx context.Context, claim, outcome status, seq uint64) bool {
	unbroken := context.WithoutCancel(ctx)
	for attempt := 1; ; attempt++ {
		_, err := j.worker.fleet.store.Put(unbroken, store.Statuses, j.key, encode(outcome), seq)
		if err == nil {
			return true
		}
		if isConflict(err) {
			return j.overtaken(ctx, outcome)
		}
		if j.worker.fleet.clock.now().After(claim.Fence) || ctx.Err() != nil && attempt > 3 {
			j.worker.warn(ctx, "cannot write an outcome", err, "key", j.key)
			return false // the claim stands, and keeps newer orders waiting
		}
		pause(unbroken, 250*time.Millisecond)
	}
}

// overtaken finds out who has changed the status since the claim. If it was this worker, whose first write came through
// although its acknowledgement did not, the outcome is in place.
//
// Otherwise this worker was stopped for longer than its claim lasted, and a newer order has been applied meanwhile. Of its own
// requests, one may have been on the way all that time, and have arrived behind those of the newer order: the API then has the older
// policy, and every status says that it has the newer one. So the newest order is written again. It is applied once more, by
// whoever takes it, and nothing that was sent before can follow that.
func (j *job) overtaken(ctx context.Context, outcome status) bool {
	unbroken, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for ; unbroken.Err() == nil; pause(unbroken, 50*time.Millisecond) {
		e, err := j.worker.fleet.store.Newest(unbroken, store.Statuses, j.key)
		if err != nil {
			continue
		}
		found := readStatus(e)
		if bytes.Equal(e.Value, encode(outcome)) {
			return true
		}
		if found.seq == 0 || found.names(j.order.order, j.order.seq) || found.State == Superseded {
			return false // lost, or the same order, or none that would be applied
		}
		newest, err := j.worker.fleet.store.Newest(unbroken, store.Orders, j.key)
		if err != nil {
			continue
		}
		if len(newest.Value) == 0 {
			return false
		}
		if _, err := j.worker.fleet.store.Put(unbroken, store.Orders, j.key, newest.Value, newest.Seq); err == nil {
			j.worker.fleet.log.InfoContext(ctx, "ordered again what a late request may have overwritten", "key", j.key, "worker", j.worker.name)
			return false
		}
	}
	j.worker.fleet.log.WarnContext(ctx, "cannot order again what a late request may have overwritten", "key", j.key, "worker", j.worker.name)
	return false
}

// policy reads a policy, once.
func (w *worker) policy(ctx context.Context, key string) (zapi.Policy, error) {
	if p, ok := w.policies.Load(key); ok {
		return p.(zapi.Policy), nil
	}
	p, err := w.fleet.readPolicy(ctx, key)
	if err == nil {
		w.policies.Store(key, p)
	}
	return p, err
}

// refuseLate refuses a request whose deadline has passed by the wall clock, so that a process that was stopped and continued
// sends nothing late. It stands right above the last hop, and looks again when the body is read, which is when it is sent.
func refuseLate(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		deadline, ok := r.Context().Deadline()
		if !ok {
			return next.RoundTrip(r)
		}
		if isLate(deadline) {
			return nil, context.DeadlineExceeded
		}
		if r.Body != nil && r.Body != http.NoBody {
			r = r.WithContext(r.Context()) // a copy
			r.Body = timedBody{r.Body, deadline}
		}
		return next.RoundTrip(r)
	})
}

// isLate compares wall clocks, as the monotonic one may stand still while the machine sleeps.
func isLate(deadline time.Time) bool { return !time.Now().Round(0).Before(deadline.Round(0)) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// timedBody cannot be read after its deadline.
type timedBody struct {
	io.ReadCloser
	deadline time.Time
}

func (b timedBody) Read(p []byte) (int, error) {
	if isLate(b.deadline) {
		return 0, context.DeadlineExceeded
	}
	return b.ReadCloser.Read(p)
}
