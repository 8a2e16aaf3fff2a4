package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A RolloutInfo describes a rollout.
type RolloutInfo struct {
	Name      string      `json:"name"`
	Number    uint64      `json:"number"` // the higher one was begun later
	Policy    zapi.Policy `json:"policy"` // zero if the engine has lost it, or this user may not read it
	Total     int         `json:"total"`  // instances; 0 until all are ordered
	Created   time.Time   `json:"created"`
	Cancelled time.Time   `json:"cancelled,omitzero"`
	Ordering  bool        `json:"ordering"` // [Fleet.Start] has not returned; if it was killed, start the rollout again to go on
	Held      string      `json:"held"`     // why it is held; empty if it is not
	By        string      `json:"by"`       // who began it; see [WithActor]
}

// Rollouts returns all rollouts, newest first. An error ends the sequence.
func (f *Fleet) Rollouts(ctx context.Context) iter.Seq2[RolloutInfo, error] {
	return func(yield func(RolloutInfo, error) bool) {
		all, err := f.rolloutInfos(ctx)
		if err != nil {
			yield(RolloutInfo{}, err)
			return
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (f *Fleet) rolloutInfos(ctx context.Context) ([]RolloutInfo, error) {
	ctx, end, err := f.begin(ctx, "Rollouts")
	if err != nil {
		return nil, err
	}
	defer end()
	entries, err := f.allRollouts(ctx)
	if err != nil {
		return nil, err
	}
	policies := make(map[string]zapi.Policy)
	all := make([]RolloutInfo, 0, len(entries))
	for name, r := range entries {
		if _, known := policies[r.Policy]; !known && !denied(err) {
			if policies[r.Policy], err = f.readPolicy(ctx, r.Policy); err != nil {
				f.log.WarnContext(ctx, "cannot read a policy", "rollout", name, "error", err)
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		all = append(all, r.public(name, policies[r.Policy]))
	}
	slices.SortFunc(all, func(a, b RolloutInfo) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Number, a.Number), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// denied reports whether reading a policy got no answer, as without the right to. Then the others get none either.
func denied(err error) bool { return err != nil && !errors.Is(err, errNoPolicy) }

func (r rollout) public(name string, policy zapi.Policy) RolloutInfo {
	info := RolloutInfo{
		Name: name, Number: r.Number, Policy: policy, Total: r.Total, Created: r.Created, Cancelled: r.Cancelled,
		Ordering: r.isOrdering(), By: r.By,
	}
	if r.Cancelled.IsZero() {
		info.Held = r.reason()
	}
	return info
}

// Policy returns the policy of a key, as [Status] and [LastApplied] have it. A key that the engine does not know is an [ErrEngine].
func (f *Fleet) Policy(ctx context.Context, key string) (zapi.Policy, error) {
	const op = "Policy"
	if err := checkName(op, "key", key); err != nil {
		return zapi.Policy{}, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return zapi.Policy{}, err
	}
	defer end()
	p, err := f.readPolicy(ctx, key)
	return p, engineError(ctx, "reading the policy", err)
}

// errNoPolicy reports that a policy is not in the store.
var errNoPolicy = errors.New("the policy is missing")

func (f *Fleet) readPolicy(ctx context.Context, key string) (zapi.Policy, error) {
	e, err := f.store.Get(ctx, store.Policies, key)
	if err == nil && len(e.Value) == 0 { // or a replica that has not heard of it
		e, err = f.store.Newest(ctx, store.Policies, key)
	}
	if err != nil {
		return zapi.Policy{}, err
	}
	var p zapi.Policy
	if len(e.Value) == 0 || json.Unmarshal(e.Value, &p) != nil {
		return zapi.Policy{}, errNoPolicy
	}
	return p, nil
}
