package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/zapi-go/zapi"
)

// handle does what decide says about one order.
func (w *worker) handle(ctx context.Context, a *account, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		w.warn(ctx, "cannot read an order", err)
		return
	}
	job := &job{worker: w, account: a, seq: meta.Sequence.Stream, key: strings.TrimPrefix(m.Subject(), ordersSubject)}
	if job.order, err = decodeOrder(m.Data()); err != nil {
		w.warn(ctx, "cannot read an order", err, "key", job.key)
		giveBack(m, time.Minute) // a worker of a later version may
		return
	}
	if job.found, err = w.lastRecord(ctx, job.key); err != nil {
		w.warn(ctx, "cannot read a status", err, "key", job.key)
		giveBack(m, time.Second)
		return
	}
	v := decide(job.found.record, job.seq, time.Now())
	switch v.action {
	case drop:
		_ = m.Ack() // what is lost is delivered again, and dropped again
	case delay:
		giveBack(m, v.wait)
	case park:
		w.warn(ctx, "parked: workers ended while applying it", nil, "key", job.key)
		if _, err := job.put(ctx, statusBucket, job.key, encode(poisoned(job.found.record, clock(), w.timing.grace)), job.found.revision); err != nil {
			giveBack(m, soon())
			return
		}
		_ = m.Ack()
	case claim:
		job.run(ctx, m)
	}
}

// job is an order in hand.
type job struct {
	*worker
	account *account
	key     string // <account>.<instance>
	seq     uint64
	order   order
	found   stored // the status when the order was taken
}

// run takes an order from the claim to the outcome.
func (j *job) run(ctx context.Context, m jetstream.Msg) {
	policy, err := j.policy(ctx, j.order.Policy)
	if err != nil {
		j.warn(ctx, "cannot read a policy", err, "key", j.key)
		giveBack(m, 5*time.Second)
		return
	}
	leave, err := j.admit(ctx, policy)
	if err != nil {
		if ctx.Err() == nil {
			j.warn(ctx, "cannot take from the pace", err, "account", j.account.name)
			giveBack(m, time.Second)
			return
		}
		giveBack(m, 0) // another worker takes it
		return
	}
	now := clock()
	deadline := now.Add(j.applyTimeout)
	mine := claimed(j.found.record, j.order, j.seq, j.name, now, deadline, j.timing.grace)
	// From here on it is carried to its end, also when ctx ends.
	unbroken := context.WithoutCancel(ctx)
	revision, err := j.put(unbroken, statusBucket, j.key, encode(mine), j.found.revision)
	if err != nil {
		leave()
		giveBack(m, soon())
		return
	}
	err = j.apply(unbroken, deadline, policy, leave)
	outcome, hold := settled(mine, err, j.found.Fence, clock(), j.backoff, j.timing.settle, rand.Int64N)
	if err != nil {
		j.log.WarnContext(ctx, "apply failed", "key", j.key, "rollout", j.order.Rollout, "state", outcome.State, "kind", outcome.Kind, "worker", j.name, "error", err)
	}
	if hold > 0 {
		if err := j.account.pacer.hold(unbroken, hold); err != nil {
			j.warn(ctx, "cannot hold the pace", err, "account", j.account.name)
		}
	}
	if !j.write(ctx, mine, outcome, revision) {
		return
	}
	if outcome.State == Waiting {
		giveBack(m, time.Until(outcome.NotBefore))
		return
	}
	_ = m.Ack()
}

// admit waits for the pace and for a free call. The caller calls leave when the call has ended.
func (j *job) admit(ctx context.Context, policy zapi.Policy) (leave func(), err error) {
	if err := j.account.pacer.wait(ctx, cost(policy)); err != nil {
		return nil, err
	}
	slots := []chan struct{}{j.account.slots, j.slots}
	if j.found.Seq == j.seq && j.found.Claims >= 2 {
		slots = append([]chan struct{}{j.suspects}, slots...)
	}
	for i, slot := range slots {
		select {
		case slot <- struct{}{}:
		case <-ctx.Done():
			release(slots[:i])
			return nil, ctx.Err()
		}
	}
	return func() { release(slots) }, nil
}

func release(slots []chan struct{}) {
	for _, slot := range slots {
		<-slot
	}
}

// apply makes the calls, and calls leave at the end. A panic in it, or in the resolver, is an error.
func (j *job) apply(ctx context.Context, deadline time.Time, policy zapi.Policy, leave func()) (err error) {
	defer leave() // also when the resolver ends the goroutine
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			err = panicked{value}
		}
	}()
	creds, err := j.resolver.Credentials(ctx, targetOf(j.key))
	if err != nil {
		return resolverError{err}
	}
	client, err := j.base.ForInstance(creds)
	if err != nil {
		return err
	}
	return client.Apply(ctx, policy)
}

// write writes the outcome of a claim, and reports whether it is in place. It does not give up while the claim lasts: an
// outcome that is lost is a call that is repeated.
func (j *job) write(ctx context.Context, mine, outcome record, revision uint64) bool {
	unbroken := context.WithoutCancel(ctx)
	for attempt := 1; ; attempt++ {
		_, err := j.put(unbroken, statusBucket, j.key, encode(outcome), revision)
		if err == nil {
			return true
		}
		if isConflict(err) {
			return j.overtaken(ctx, outcome, revision)
		}
		if time.Now().After(mine.Fence) || ctx.Err() != nil && attempt > 3 {
			j.warn(ctx, "cannot write an outcome", err, "key", j.key)
			return false // the claim stands, and keeps newer orders waiting
		}
		pause(unbroken, 250*time.Millisecond)
	}
}

// overtaken finds out who has changed the status since the claim. If it was this worker, whose first write came through
// although its acknowledgement did not, the outcome is in place. Otherwise this worker was stopped for longer than its claim
// lasted. It may then have sent requests behind those of a newer order, so the newest one is ordered again.
func (j *job) overtaken(ctx context.Context, outcome record, revision uint64) bool {
	unbroken, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for ; unbroken.Err() == nil; pause(unbroken, 50*time.Millisecond) {
		found, err := j.lastRecord(unbroken, j.key)
		if err != nil || found.revision <= revision {
			continue // a replica is behind
		}
		if string(encode(found.record)) == string(encode(outcome)) {
			return true
		}
		if found.Seq <= j.seq || found.State == Superseded {
			return false // the same order, or none that would be applied
		}
		newest, err := j.lastOrder(unbroken, j.key)
		if err != nil || newest.seq < found.Seq {
			continue
		}
		if err := j.publish(unbroken, ordersSubject+j.key, encode(newest.order), newest.seq); err == nil {
			j.log.InfoContext(ctx, "ordered again what a late request may have overwritten", "key", j.key, "worker", j.name)
			return false
		}
	}
	j.log.WarnContext(ctx, "cannot order again what a late request may have overwritten", "key", j.key, "worker", j.name)
	return false
}

// clock is the wall clock, as precise as it is stored.
func clock() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// policy reads a policy, once.
func (w *worker) policy(ctx context.Context, key string) (zapi.Policy, error) {
	if p, ok := w.policies.Load(key); ok {
		return p.(zapi.Policy), nil
	}
	value, revision, err := w.get(ctx, policyBucket, key)
	if err != nil {
		return zapi.Policy{}, err
	}
	var p zapi.Policy
	if revision == 0 {
		return p, fmt.Errorf("%w: the policy is missing", ErrEngine)
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return p, err
	}
	w.policies.Store(key, p)
	return p, nil
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
