package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Plan is what [Fleet.Start] would do. Its counts are of instances, each once.
type Plan struct {
	ToOrder  int           `json:"toOrder"`
	Resumed  int           `json:"resumed"`  // have an order of this rollout already
	Same     int           `json:"same"`     // of those to order: the last that was applied there was this policy
	Newer    int           `json:"newer"`    // are left alone, as they have an order of a rollout that was begun later
	Accounts []AccountPlan `json:"accounts"` // by name
}

// An AccountPlan is the part of a [Plan] in one account.
type AccountPlan struct {
	Account  string
	ToOrder  int
	Requests int           // to the API, if none is repeated
	Duration time.Duration // of these at the pace of the account
}

// MarshalJSON writes the duration as durationSeconds.
func (p AccountPlan) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"account": p.Account, "toOrder": p.ToOrder, "requests": p.Requests, "durationSeconds": p.Duration.Seconds(),
	})
}

// Plan returns what [Fleet.Start] would do now, and changes nothing. Its errors are those of Start.
func (f *Fleet) Plan(ctx context.Context, r Rollout) (Plan, error) {
	const op = "Plan"
	ctx, end, err := f.begin(ctx, op, r.check(op))
	if err != nil {
		return Plan{}, err
	}
	defer end()
	policy, _, err := f.encodePolicy(r.Policy)
	if err != nil {
		return Plan{}, err
	}
	s := &starting{fleet: f, rollout: r, order: order{Rollout: r.Name, Policy: policy}}
	entry, _, err := f.findRollout(ctx, r.Name)
	if err != nil && !errors.Is(err, ErrNoRollout) {
		return Plan{}, err
	}
	if err := s.enter(&entry); err != nil {
		return Plan{}, err
	}
	if s.orders, err = readAll(ctx, f, store.Orders, readOrder); err != nil {
		return Plan{}, err
	}
	s.order.Number = cmp.Or(entry.Number, s.ownNumber(), math.MaxUint64) // that of a new rollout is above all others
	statuses, err := readAll(ctx, f, store.Statuses, readStatus)
	if err != nil {
		return Plan{}, err
	}
	var all Receipt
	same := 0
	toOrder := make(map[string]int) // by account
	if err := r.eachTarget(ctx, op, func(t Target) error {
		one := s.receiptOf(s.orders[t.key()])
		all.add(one)
		toOrder[t.Account] += one.Ordered
		if last := statuses[t.key()].last(); one.Ordered > 0 && last != nil && last.Policy == policy {
			same++
		}
		return nil
	}); err != nil {
		return Plan{}, err
	}
	p := Plan{ToOrder: all.Ordered, Resumed: all.Resumed, Newer: all.Newer, Same: same}
	for _, account := range slices.Sorted(maps.Keys(toOrder)) {
		e, err := f.store.Newest(ctx, store.Accounts, account)
		if err != nil {
			return Plan{}, engineError(ctx, "reading the account", err)
		}
		requests := toOrder[account] * cost(r.Policy)
		p.Accounts = append(p.Accounts, AccountPlan{account, toOrder[account], requests, decodePace(e.Value).duration(requests)})
	}
	return p, nil
}
