package fleet

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
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
	Superseded State = "superseded" // [Fleet.Cancel] took it back: then Kind is "cancelled"
)

// final reports whether the state stays for its order.
func (s State) final() bool { return s == Applied || s == Parked || s == Superseded }

// stored reports whether the state can be in the store.
func (s State) stored() bool { return s == Applying || s == Waiting || s.final() }

// A Status is what has become of the newest order of an instance.
type Status struct {
	Target
	Rollout   string      `json:"rollout"`
	Policy    string      `json:"policy"`           // its key; see [Fleet.Policy]
	Kind      string      `json:"kind,omitempty"`   // of the failure, such as "unauthorized" or "unavailable"; empty for none
	Error     string      `json:"error,omitempty"`  // setting, operation and status of the failure; never what the server wrote
	Worker    string      `json:"worker,omitempty"` // the last one that worked on it
	State     State       `json:"state"`
	Attempts  int         `json:"attempts"`           // failures that count towards the limit
	At        time.Time   `json:"at"`                 // of the last change; while pending, of the order
	NotBefore time.Time   `json:"notBefore,omitzero"` // of the next attempt, while waiting
	Last      LastApplied `json:"last,omitzero"`
}

// A LastApplied is what fleet has last applied to an instance. It is kept across later orders. It is not what the API says: the
// settings may have been changed by other means.
type LastApplied struct {
	Rollout string    `json:"rollout"`
	Policy  string    `json:"policy"` // its key; see [Fleet.Policy]
	At      time.Time `json:"at"`
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

// describe returns what q selects, without its rollout.
func (q Filter) describe() string {
	text := string(q.State)
	if q.Account != "" {
		text += ", account " + q.Account
	}
	if q.Kind != "" {
		text += ", kind " + q.Kind
	}
	if q.OlderThan > 0 {
		text += ", older than " + q.OlderThan.String()
	}
	return text
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

// instance is what is stored of an instance that has an order.
type instance struct {
	key    string // <account>.<instance>
	order  order
	status status // perhaps of another order
}

// isSettled reports whether nothing is left to do for the order.
func (i instance) isSettled() bool { return i.hasStatus() && i.status.State.final() }

// hasStatus reports whether the status is that of the order.
func (i instance) hasStatus() bool { return i.status.names(i.order) }

func (i instance) public() Status {
	s := Status{Target: targetOf(i.key), Rollout: i.order.Rollout, Policy: i.order.Policy, State: Pending, At: i.order.at}
	if last := i.status.last(); last != nil {
		s.Last = *last
	}
	if r := i.status; i.hasStatus() {
		s.Kind, s.Error, s.Worker, s.State, s.Attempts, s.At, s.NotBefore = r.Kind, r.Error, r.Worker, r.State, r.Attempts, r.At, r.NotBefore
	}
	return s
}

// instances reads the newest order that can be read, and the status, of each instance, and returns those that match.
func (f *Fleet) instances(ctx context.Context, match func(instance) bool) ([]instance, error) {
	orders, err := readAll(ctx, f, store.Orders, readOrder)
	if err != nil {
		return nil, err
	}
	statuses, err := readAll(ctx, f, store.Statuses, readStatus)
	if err != nil {
		return nil, err
	}
	var all []instance
	for key, o := range orders {
		if i := (instance{key, o, statuses[key]}); o.Number > 0 && match(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// Status returns the status of one instance, or [ErrNoInstance] if nothing was ordered for it. On a cluster it may be a moment
// behind.
func (f *Fleet) Status(ctx context.Context, t Target) (Status, error) {
	const op = "Status"
	ctx, end, err := f.begin(ctx, op, t.check(op, "Target"))
	if err != nil {
		return Status{}, err
	}
	defer end()
	e, err := f.store.Get(ctx, store.Orders, t.key())
	if err != nil {
		return Status{}, engineError(ctx, "reading the order", err)
	}
	if len(e.Value) == 0 {
		return Status{}, ErrNoInstance
	}
	o := readOrder(e)
	if o.err != nil {
		return Status{}, engineError(ctx, "reading the order", o.err)
	}
	e, err = f.store.Get(ctx, store.Statuses, t.key())
	if err != nil {
		return Status{}, engineError(ctx, "reading the status", err)
	}
	return instance{t.key(), o, readStatus(e)}.public(), nil
}

// Statuses returns the statuses that match q, sorted by account and instance. It reads all of them, which takes a second or
// two for 100,000. An error ends the sequence.
func (f *Fleet) Statuses(ctx context.Context, q Filter) iter.Seq2[Status, error] {
	const op = "Statuses"
	return listed(ctx, f, op, q.check(op), func(ctx context.Context) ([]Status, error) {
		now := f.clock.now()
		var all []Status
		found, err := f.instances(ctx, func(i instance) bool { return q.matches(i.public(), now) })
		for _, i := range found {
			all = append(all, i.public())
		}
		slices.SortFunc(all, func(a, b Status) int {
			return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Instance, b.Instance))
		})
		return all, err
	})
}
