package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A Target names an instance. Account is a label of your own, such as a customer; instances of one account share a [Pace].
// Each part is 1 to 64 of A-Z, a-z, 0-9, _ and -. An instance must keep its account.
type Target struct {
	Account  string `json:"account"`
	Instance string `json:"instance"`
}

func (t Target) key() string { return t.Account + "." + t.Instance }

func targetOf(key string) Target {
	account, instance, _ := strings.Cut(key, ".")
	return Target{account, instance}
}

func (t Target) check(op, field string) error {
	if err := checkName(op, field+".Account", t.Account); err != nil {
		return err
	}
	return checkName(op, field+".Instance", t.Instance)
}

// A Rollout is a policy for a set of instances.
type Rollout struct {
	Name    string           // 1 to 64 of A-Z, a-z, 0-9, _ and -
	Policy  zapi.Policy      // must set something
	Targets iter.Seq[Target] // at least one; repeated ones count once
	Canary  int              // begin with so many of the targets, and hold the rest until [Fleet.Resume]; 0 for all
	HaltAt  float64          // halt when a larger share of what is settled was parked: 0.05 by default, 1 for never
}

func (r Rollout) check(op string) error {
	if err := checkName(op, "Name", r.Name); err != nil {
		return err
	}
	if err := r.Policy.Validate(); err != nil {
		return err
	}
	switch {
	case r.Targets == nil:
		return invalid(op, "Targets", "must not be nil")
	case r.Canary < 0:
		return invalid(op, "Canary", "must not be negative")
	case !(r.HaltAt >= 0 && r.HaltAt <= 1): // nor NaN
		return invalid(op, "HaltAt", "must be 0 to 1")
	}
	return nil
}

// eachTarget calls do for each target once.
func (r Rollout) eachTarget(ctx context.Context, op string, do func(Target) error) error {
	seen := make(map[Target]bool)
	position := 0
	for target := range r.Targets {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := target.check(op, fmt.Sprintf("Targets[%d]", position)); err != nil {
			return err
		}
		position++
		if seen[target] {
			continue
		}
		seen[target] = true
		if err := do(target); err != nil {
			return err
		}
	}
	if position == 0 {
		return invalid(op, "Targets", "must not be empty")
	}
	return nil
}

// rollout is the entry of a rollout. It says whether its orders may be begun: see holds.go.
type rollout struct {
	Number    uint64    `json:"number,omitempty"` // the higher one was begun later; 0 until it is known
	Policy    string    `json:"policy"`
	Total     int       `json:"total,omitempty"`   // instances; 0 until all is ordered
	Targets   string    `json:"targets,omitempty"` // the parts in which they are stored; see targets.go
	Created   time.Time `json:"created"`
	By        string    `json:"by,omitempty"`
	Cancelled time.Time `json:"cancelled,omitzero"`
	Ordering  string    `json:"ordering,omitempty"` // the call of Start that has not returned
	Held      string    `json:"held,omitempty"`     // the reason
	Canary    int       `json:"canary,omitempty"`
	HaltAt    float64   `json:"haltAt,omitempty"`
	Resumed   int       `json:"resumed,omitempty"` // how often
}

// isOrdering reports whether some of its orders may not be there yet. An earlier release left only the total out.
func (r rollout) isOrdering() bool {
	return r.Cancelled.IsZero() && (r.Ordering != "" || r.Total == 0)
}

// readRollout reads the entry of a rollout. One that is damaged, or is that of the sweep, has no policy.
func readRollout(e store.Entry) (r rollout) {
	if json.Unmarshal(e.Value, &r) != nil {
		return rollout{}
	}
	if r.Number == 0 && r.Ordering == "" {
		r.Number = e.Seq // as an earlier release left it
	}
	return r
}

// findRollout reads the entry of a rollout, or returns [ErrNoRollout]; a damaged one is none. The sequence is that of the entry.
func (f *Fleet) findRollout(ctx context.Context, name string) (rollout, uint64, error) {
	e, err := f.store.Newest(ctx, store.Rollouts, name)
	if err != nil {
		return rollout{}, 0, engineError(ctx, "reading the rollout", err)
	}
	r := readRollout(e)
	if r.Policy == "" {
		if len(e.Value) > 0 {
			f.log.WarnContext(ctx, "a rollout is damaged: start it again", "rollout", name)
		}
		return rollout{}, e.Seq, ErrNoRollout
	}
	return r, e.Seq, nil
}

// changeRollout writes what change makes of the entry of a rollout, unless it returns an error.
func (f *Fleet) changeRollout(ctx context.Context, name string, change func(*rollout) error) (rollout, error) {
	return f.putRollout(ctx, name, func(r *rollout) error {
		if r.Policy == "" {
			return ErrNoRollout
		}
		return change(r)
	})
}

// putRollout is like changeRollout, but calls change also when there is no rollout of that name, with the zero entry.
func (f *Fleet) putRollout(ctx context.Context, name string, change func(*rollout) error) (rollout, error) {
	for {
		r, seq, err := f.findRollout(ctx, name)
		if err != nil && !errors.Is(err, ErrNoRollout) {
			return r, err
		}
		before := r
		if err := change(&r); err != nil || r == before {
			return r, err
		}
		if _, err = f.store.Put(ctx, store.Rollouts, name, encode(r), seq); !isConflict(err) {
			return r, engineError(ctx, "writing the rollout", err)
		}
	}
}

// allRollouts reads the entries of all rollouts by name. One that cannot be read is left out.
func (f *Fleet) allRollouts(ctx context.Context) (map[string]rollout, error) {
	all, err := readAll(ctx, f, store.Rollouts, readRollout)
	maps.DeleteFunc(all, func(_ string, r rollout) bool { return r.Policy == "" })
	return all, err
}

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
	return listed(ctx, f, "Rollouts", nil, func(ctx context.Context) ([]RolloutInfo, error) {
		entries, err := f.allRollouts(ctx)
		if err != nil {
			return nil, err
		}
		var all []RolloutInfo
		policies := make(map[string]zapi.Policy)
		for name, r := range entries {
			// A read that gets no answer, as without the right to, takes seconds, and the others get none either.
			if _, known := policies[r.Policy]; !known && (err == nil || errors.Is(err, errNoPolicy)) {
				if policies[r.Policy], err = f.readPolicy(ctx, r.Policy); err != nil {
					f.log.WarnContext(ctx, "cannot read a policy", "rollout", name, "error", err)
				}
			}
			all = append(all, r.public(name, policies[r.Policy]))
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		slices.SortFunc(all, func(a, b RolloutInfo) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Number, a.Number), cmp.Compare(a.Name, b.Name))
		})
		return all, nil
	})
}

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
	ctx, end, err := f.begin(ctx, op, checkName(op, "key", key))
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

// encodePolicy returns the JSON of a policy and its key.
func (f *Fleet) encodePolicy(p zapi.Policy) (key string, data []byte, err error) {
	if data, err = json.Marshal(p); err != nil {
		return "", nil, err
	}
	if int64(len(data)) > f.store.MaxValue() {
		return "", nil, ErrPolicyTooLarge
	}
	return contentKey(data), data, nil
}

// contentKey returns the key under which data is stored that never changes. That of the policy is in every order and status, so it is short.
func contentKey(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
