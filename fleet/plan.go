package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	return json.Marshal(struct {
		Account  string  `json:"account"`
		ToOrder  int     `json:"toOrder"`
		Requests int     `json:"requests"`
		Duration float64 `json:"durationSeconds"`
	}{p.Account, p.ToOrder, p.Requests, p.Duration.Seconds()})
}

// Plan returns what [Fleet.Start] would do now, and changes nothing. Its errors are those of Start.
func (f *Fleet) Plan(ctx context.Context, r Rollout) (Plan, error) {
	const op = "Plan"
	if err := r.check(op); err != nil {
		return Plan{}, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return Plan{}, err
	}
	defer end()
	policy, _, err := f.encodePolicy(r.Policy)
	if err != nil {
		return Plan{}, err
	}
	s := &starting{fleet: f, rollout: r, order: order{Rollout: r.Name, Policy: policy}}
	if s.orders, err = f.allOrders(ctx); err != nil {
		return Plan{}, err
	}
	entry, _, err := f.findRollout(ctx, r.Name)
	if err == nil {
		err = s.resume(&entry)
	}
	if err != nil && !errors.Is(err, ErrNoRollout) {
		return Plan{}, err
	}
	s.order.Number = cmp.Or(entry.Number, math.MaxUint64) // that of a new rollout is above all others
	last, err := f.allLast(ctx)
	if err != nil {
		return Plan{}, err
	}
	return s.plan(ctx, last)
}

// allLast reads the key of the policy that was last applied to each instance.
func (f *Fleet) allLast(ctx context.Context) (map[string]string, error) {
	policies := make(map[string]string)
	for e, err := range f.store.Read(ctx, store.Statuses, false) {
		if err != nil {
			return nil, engineError(ctx, "reading the statuses", err)
		}
		if last := readStatus(e).last(); last != nil {
			policies[e.Key] = last.Policy
		}
	}
	return policies, nil
}

func (s *starting) plan(ctx context.Context, last map[string]string) (Plan, error) {
	var p Plan
	accounts := make(map[string]*AccountPlan)
	if err := s.eachTarget(ctx, "Plan", func(t Target) error {
		a, ok := accounts[t.Account]
		if !ok {
			a = &AccountPlan{Account: t.Account}
			accounts[t.Account] = a
		}
		switch found := s.orders[t.key()]; {
		case errors.Is(found.err, errLater), found.newer(s.order):
			p.Newer++
		case found.sameRollout(s.order):
			p.Resumed++
		default:
			p.ToOrder++
			a.ToOrder++
			if last[t.key()] == s.order.Policy {
				p.Same++
			}
		}
		return nil
	}); err != nil {
		return Plan{}, err
	}
	for name, a := range accounts {
		e, err := s.fleet.store.Newest(ctx, store.Accounts, name)
		if err != nil {
			return Plan{}, engineError(ctx, "reading the account", err)
		}
		a.Requests = a.ToOrder * cost(s.rollout.Policy)
		a.Duration = decodePace(e.Value).duration(a.Requests)
		p.Accounts = append(p.Accounts, *a)
	}
	slices.SortFunc(p.Accounts, func(a, b AccountPlan) int { return cmp.Compare(a.Account, b.Account) })
	return p, nil
}
