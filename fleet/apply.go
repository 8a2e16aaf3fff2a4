package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// job is an order in hand.
type job struct {
	instance // its status is that found when the order was taken, and then its claim
	worker   *worker
	account  *account
	release  func() // leaves the hand of the account
}

// handle takes the order as far as it goes now, and returns whether the queue is to drop or to delay it.
func (j *job) handle(ctx context.Context) verdict {
	w := j.worker
	if j.order.err != nil { // a worker of a later release may
		return j.failed(ctx, "cannot read an order", j.order.err, time.Minute)
	}
	r, err := w.holds.of(ctx, j.order)
	if err != nil {
		return j.failed(ctx, "cannot read a rollout", err, time.Second)
	}
	if r.holds(j.order) { // look again soon while it is being ordered, and within a minute later on
		return verdict{delay, min(max(w.fleet.clock.now().Sub(j.order.at), orderingFor), w.fleet.timing.held)}
	}
	e, err := w.fleet.store.Get(ctx, store.Statuses, j.key)
	if err != nil {
		return j.failed(ctx, "cannot read a status", err, time.Second)
	}
	switch j.status = readStatus(e); {
	case errors.Is(j.status.err, errLater):
		return j.failed(ctx, "cannot read a status", j.status.err, time.Minute)
	case j.status.err != nil: // it is written over, but may have been a claim
		w.warn(ctx, "cannot read a status", j.status.err, "key", j.key)
		j.status.Fence = j.status.at.Add(w.applyTimeout + w.fleet.timing.grace)
	}
	if since, ok := w.elsewhere.Load(j.key); ok && time.Since(since.(time.Time)) < elsewhereWait {
		return w.toOthers()
	}
	now := w.fleet.clock.now()
	v := decide(j.status, j.order, false, now)
	if v.action == ask {
		e, err := w.fleet.store.Newest(ctx, store.Orders, j.key)
		if err != nil {
			return j.failed(ctx, "cannot read an order", err, time.Second)
		}
		if newest := readOrder(e); newest.seq != j.order.seq || !newest.sameRollout(j.order) {
			return verdict{action: drop} // there is a newer one; if there is none at all, it was lost, and is not wanted any more
		}
		v = decide(j.status, j.order, true, now)
	}
	own := j.hasStatus()
	switch {
	case v.action == drop:
		return v
	case !r.Cancelled.IsZero() && own && j.status.State == Applying && now.Before(j.status.Fence):
		return verdict{delay, j.status.Fence.Sub(now)} // another worker is applying it
	case !r.Cancelled.IsZero():
		return j.settle(ctx, takenBack(j.status, j.order, now))
	case v.action == park:
		w.warn(ctx, "parked: workers ended while applying it", nil, "key", j.key)
		return j.settle(ctx, poisoned(j.status, now, w.fleet.timing.grace))
	case v.action == claim:
		return j.run(ctx, own && j.status.Claims >= 2)
	}
	return v
}

// failed logs what went wrong, and delays the order.
func (j *job) failed(ctx context.Context, what string, err error, wait time.Duration) verdict {
	j.worker.warn(ctx, what, err, "key", j.key)
	return verdict{delay, wait}
}

// settle writes a status without a claim.
func (j *job) settle(ctx context.Context, s status) verdict {
	if _, err := j.worker.fleet.store.Put(ctx, store.Statuses, j.key, encode(s), j.status.seq); err != nil {
		return j.worker.soon()
	}
	j.worker.holds.settled(ctx, s)
	j.worker.tell(j.key, s, 0)
	return j.written(s)
}

// written returns what the queue is told of a status.
func (j *job) written(s status) verdict {
	if s.State == Waiting {
		return verdict{delay, j.worker.fleet.clock.until(s.NotBefore)}
	}
	return verdict{action: drop}
}

// run takes an order from the claim to the outcome.
func (j *job) run(ctx context.Context, isSuspect bool) verdict {
	policy, err := j.worker.policy(ctx, j.order.Policy)
	if errors.Is(err, errNoPolicy) { // starting the rollout again stores it
		j.worker.warn(ctx, "the policy of an order is missing: start its rollout again", nil, "key", j.key, "rollout", j.order.Rollout)
		now := j.worker.fleet.clock.now()
		s := j.status.above(j.order, Waiting, now)
		s.Kind, s.NotBefore = kindNoPolicy, now.Add(time.Minute)
		return j.settle(ctx, s)
	}
	if err != nil {
		return j.failed(ctx, "cannot read a policy", err, 5*time.Second)
	}
	outcome, v := j.attempt(ctx, policy, isSuspect)
	if v.action == claim {
		return j.write(ctx, outcome)
	}
	return v
}

// attempt waits for the pace and for a free call, claims the order and makes its calls. It returns the outcome, or a delay without a
// claim. An order during which workers have died has calls of its own, and holds none of the others' while it waits for one.
//
// While the order waits, the rollout may be held or cancelled, and the API may go away.
func (j *job) attempt(ctx context.Context, policy zapi.Policy, isSuspect bool) (outcome status, v verdict) {
	w, health := j.worker, &j.account.health
	wait, probe := health.admit(w.fleet.clock.now())
	if wait > 0 {
		return status{}, verdict{delay, wait}
	}
	if probe {
		defer health.probe.Unlock()
	}
	calls := []*semaphore.Weighted{j.account.calls, w.calls}
	if isSuspect {
		if !w.suspects.TryAcquire(1) {
			return status{}, w.toOthers()
		}
		defer w.suspects.Release(1) // also when the resolver ends the goroutine
		j.release()
		calls = nil
	}
	if err := j.account.pacer.wait(ctx, cost(policy)); err != nil && ctx.Err() == nil {
		return status{}, j.failed(ctx, "cannot take from the pace", err, time.Second)
	}
	for _, slot := range calls {
		if err := slot.Acquire(ctx, 1); err == nil {
			defer slot.Release(1)
		}
	}
	if ctx.Err() != nil {
		return status{}, verdict{action: delay} // another worker takes it
	}
	w.fleet.clock.check(ctx) // before the hold, as it may take seconds; without it the fence might be too early
	r, err := w.holds.of(ctx, j.order)
	if err != nil || !r.Cancelled.IsZero() || r.holds(j.order) || !probe && health.isAway() {
		return status{}, w.soon()
	}
	now, began := w.fleet.clock.now(), time.Now()
	fence := j.status.Fence
	next := claimed(j.status, j.order, w.name, now, now.Add(w.applyTimeout+w.fleet.timing.grace), w.fleet.timing.ackWait/2)
	// From here on it is carried to its end, also when ctx ends.
	unbroken := context.WithoutCancel(ctx)
	seq, err := w.fleet.store.Put(unbroken, store.Statuses, j.key, encode(next), j.status.seq)
	if err != nil {
		return status{}, w.soon()
	}
	next.seq = seq
	j.status = next
	sent := time.Now()
	err = j.apply(unbroken, began.Add(w.applyTimeout), policy)
	outcome = j.outcome(unbroken, fence, err, probe)
	w.tell(j.key, outcome, time.Since(sent))
	return outcome, verdict{action: claim}
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

// outcome returns the status after an apply that ended with err, and tells everyone whom it concerns. fence is the one found before the
// claim.
func (j *job) outcome(ctx context.Context, fence time.Time, err error, probe bool) status {
	w, f, now := j.worker, failureOf(err), j.worker.fleet.clock.now()
	away := j.account.health.report(ctx, now, probe, f, j.status.Since)
	outcome := settled(j.status, f, fence, now, w.limits, away)
	if outcome.State == Waiting {
		if r, err := w.holds.of(ctx, j.order); err == nil && !r.Cancelled.IsZero() {
			outcome = takenBack(outcome, j.order, now)
		}
	}
	if err != nil {
		w.fleet.log.WarnContext(ctx, "apply failed", "key", j.key, "rollout", j.order.Rollout, "state", outcome.State, "kind", outcome.Kind,
			"worker", w.name, "error", err)
	}
	if f.kind == kindElsewhere {
		w.elsewhere.Store(j.key, time.Now())
	}
	w.holds.settled(ctx, outcome)
	var limited time.Time
	if f.kind == kindRateLimit {
		limited = outcome.NotBefore
	}
	if j.account.health.limits(ctx, now, j.key, limited) {
		if err := j.account.pacer.hold(ctx, limited); err != nil {
			w.warn(ctx, "cannot hold the pace", err, "account", j.account.name)
		}
	}
	return outcome
}

// write writes the outcome of a claim. It does not give up while the claim lasts: an outcome that is lost is a call that is repeated.
func (j *job) write(ctx context.Context, outcome status) verdict {
	unbroken := context.WithoutCancel(ctx)
	for attempt := 1; ; attempt++ {
		_, err := j.worker.fleet.store.Put(unbroken, store.Statuses, j.key, encode(outcome), j.status.seq)
		switch {
		case err == nil, isConflict(err) && !j.isOvertaken(ctx, outcome):
			return j.written(outcome)
		case isConflict(err): // another worker has it in hand; given back soon, it would be handed out twice
			return verdict{delay, j.worker.fleet.timing.ackWait}
		case j.worker.fleet.clock.now().After(j.status.Fence) || ctx.Err() != nil && attempt > 3: // the claim keeps newer orders waiting
			return j.failed(ctx, "cannot write an outcome", err, j.worker.fleet.timing.ackWait)
		}
		pause(unbroken, 250*time.Millisecond)
	}
}

// isOvertaken finds out who has changed the status since the claim. If it was this worker, whose first write came through
// although its acknowledgement did not, the outcome is in place.
//
// Otherwise this worker was stopped for longer than its claim lasted, and a newer order has been applied meanwhile. Of its own
// requests, one may have been on the way all that time, and have arrived behind those of the newer order: the API then has the older
// policy, and every status says that it has the newer one. So the newest order is written again. It is applied once more, by
// whoever takes it, and nothing that was sent before can follow that.
func (j *job) isOvertaken(ctx context.Context, outcome status) bool {
	unbroken, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	entries := j.worker.fleet.store
	for ; unbroken.Err() == nil; pause(unbroken, 50*time.Millisecond) {
		e, err := entries.Newest(unbroken, store.Statuses, j.key)
		if err != nil {
			continue
		}
		found := readStatus(e)
		if bytes.Equal(e.Value, encode(outcome)) {
			return false
		}
		if found.seq == 0 || found.names(j.order) || found.State == Superseded {
			return true // lost, or the same order, or none that would be applied
		}
		newest, err := entries.Newest(unbroken, store.Orders, j.key)
		if err != nil {
			continue
		}
		if len(newest.Value) == 0 {
			return true
		}
		if _, err := entries.Put(unbroken, store.Orders, j.key, newest.Value, newest.Seq); err == nil {
			j.worker.fleet.log.InfoContext(ctx, "ordered again what a late request may have overwritten", "key", j.key, "worker", j.worker.name)
			return true
		}
	}
	j.worker.fleet.log.WarnContext(ctx, "cannot order again what a late request may have overwritten", "key", j.key, "worker", j.worker.name)
	return true
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
		deadline, _ := r.Context().Deadline() // each apply has one
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
