package fleet

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A State is what has become of the order of an instance.
type State string

// The values of [State].
const (
	Pending    State = "pending"    // no worker has taken it yet
	Applying   State = "applying"   // a worker has claimed it
	Applied    State = "applied"    // the API has confirmed every setting
	Waiting    State = "waiting"    // it failed and is tried again
	Parked     State = "parked"     // it failed and needs a person, then [Fleet.Retry]
	Superseded State = "superseded" // a newer order replaced it, or [Fleet.Cancel] took it back
)

// final reports whether the state stays for its order.
func (s State) final() bool { return s == Applied || s == Parked || s == Superseded }

// stored reports whether the state can be in the bucket.
func (s State) stored() bool { return s == Applying || s == Waiting || s.final() }

// A Status is what has become of the newest order of an instance.
type Status struct {
	Target
	Rollout   string
	Kind      string // of the failure, such as "unauthorized" or "unavailable"; empty for none
	Error     string // setting, route and status of the failure; never what the server wrote
	Worker    string // the last one that worked on it
	State     State
	Attempts  int       // failures that count towards the limit
	At        time.Time // of the last change; while pending, of the order
	NotBefore time.Time // of the next attempt, while waiting
}

// A Filter selects instances. Zero fields match all.
type Filter struct {
	Account, Rollout, Kind string
	State                  State
	OlderThan              time.Duration // since Status.At
}

func (q Filter) matches(s Status, now time.Time) bool {
	return (q.Account == "" || q.Account == s.Account) && (q.Rollout == "" || q.Rollout == s.Rollout) &&
		(q.Kind == "" || q.Kind == s.Kind) && (q.State == "" || q.State == s.State) &&
		(q.OlderThan == 0 || now.Sub(s.At) > q.OlderThan)
}

func (q Filter) check(op string) error {
	if q.State != "" && q.State != Pending && !q.State.stored() {
		return invalid(op, "Filter.State", "must be one of the constants of State, or empty")
	}
	if q.OlderThan < 0 {
		return invalid(op, "Filter.OlderThan", "must not be negative")
	}
	return nil
}

// wanted is an order as it lies in the stream.
type wanted struct {
	order
	seq uint64
	at  time.Time
}

// stored is a record as it lies in the bucket.
type stored struct {
	record
	revision uint64
}

// instance is what is stored of an instance.
type instance struct {
	key string
	wanted
	found stored // perhaps of an older order
}

func (i instance) status() Status {
	if i.found.Seq < i.seq {
		return Status{Target: targetOf(i.key), Rollout: i.Rollout, State: Pending, At: i.at}
	}
	r := i.found
	return Status{
		Target: targetOf(i.key), Rollout: r.Rollout, Kind: r.Kind, Error: r.Error, Worker: r.Worker, State: r.State,
		Attempts: r.Attempts, At: r.At, NotBefore: r.NotBefore,
	}
}

// allOrders reads the newest order of each instance.
func (c *connection) allOrders(ctx context.Context) (map[string]wanted, error) {
	orders := make(map[string]wanted)
	for m, err := range c.read(ctx, ordersStream, false) {
		if err != nil {
			return nil, err
		}
		if o, err := decodeOrder(m.data); err == nil {
			orders[m.key] = wanted{o, m.seq, m.at}
		}
	}
	return orders, nil
}

// allInstances reads the newest order and the status of each instance.
func (c *connection) allInstances(ctx context.Context) ([]instance, error) {
	orders, err := c.allOrders(ctx)
	if err != nil {
		return nil, err
	}
	records := make(map[string]stored)
	for m, err := range c.read(ctx, statusBucket, false) {
		if err != nil {
			return nil, err
		}
		if r, err := decodeRecord(m.data); err == nil {
			records[m.key] = stored{r, m.seq}
		}
	}
	all := make([]instance, 0, len(orders))
	for key, w := range orders {
		all = append(all, instance{key, w, records[key]})
	}
	return all, nil
}

// Status returns the status of one instance, or [ErrNoInstance] if nothing was ordered for it. On a cluster it may be a moment
// behind.
func (f *Fleet) Status(ctx context.Context, t Target) (Status, error) {
	if err := t.check("Status", "Target"); err != nil {
		return Status{}, err
	}
	ctx, end, err := f.begin(ctx, "Status")
	if err != nil {
		return Status{}, err
	}
	defer end()
	w, err := f.lastOrder(ctx, t.key())
	if err != nil {
		return Status{}, err
	}
	found, err := f.lastRecord(ctx, t.key())
	if err != nil {
		return Status{}, err
	}
	return instance{t.key(), w, found}.status(), nil
}

// lastRecord reads the status of an instance, which may have none.
func (c *connection) lastRecord(ctx context.Context, key string) (stored, error) {
	value, revision, err := c.get(ctx, statusBucket, key)
	if err != nil {
		return stored{}, err
	}
	r, err := decodeRecord(value)
	return stored{r, revision}, engineError(ctx, "reading the status", err)
}

// lastOrder reads the newest order of an instance, or [ErrNoInstance].
func (c *connection) lastOrder(ctx context.Context, key string) (wanted, error) {
	m, err := c.orders.GetLastMsgForSubject(ctx, ordersSubject+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return wanted{}, ErrNoInstance
	}
	if err != nil {
		return wanted{}, engineError(ctx, "reading the order", err)
	}
	o, err := decodeOrder(m.Data)
	if err != nil {
		return wanted{}, engineError(ctx, "reading the order", err)
	}
	return wanted{o, m.Sequence, m.Time}, nil
}

// Statuses returns the statuses that match q, sorted by account and instance. It reads all of them, which takes a second or
// two for 100,000. An error ends the sequence.
func (f *Fleet) Statuses(ctx context.Context, q Filter) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		all, err := f.statuses(ctx, q)
		if err != nil {
			yield(Status{}, err)
			return
		}
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (f *Fleet) statuses(ctx context.Context, q Filter) ([]Status, error) {
	if err := q.check("Statuses"); err != nil {
		return nil, err
	}
	ctx, end, err := f.begin(ctx, "Statuses")
	if err != nil {
		return nil, err
	}
	defer end()
	instances, err := f.allInstances(ctx)
	if err != nil {
		return nil, err
	}
	var all []Status
	now := time.Now()
	for _, i := range instances {
		if s := i.status(); q.matches(s, now) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Instance, b.Instance))
	})
	return all, nil
}
