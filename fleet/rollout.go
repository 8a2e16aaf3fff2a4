package fleet

import (
	"context"
	"encoding/json"
	"iter"
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

// rollout is the entry of a rollout. It says whether its orders may be begun: see holds.go.
type rollout struct {
	Number    uint64    `json:"number,omitempty"` // the higher one was begun later; 0 until it is known
	Policy    string    `json:"policy"`
	Total     int       `json:"total,omitempty"` // instances; 0 until all is ordered
	Newer     int       `json:"newer,omitempty"` // of them, those that had an order of a later rollout and were never ordered
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

// isRollout tells the entry of a rollout from that of the sweep. No rollout has a dot in its name.
func isRollout(e store.Entry) bool {
	return e.Key != "" && len(e.Value) > 0 && !strings.Contains(e.Key, ".")
}

func readRollout(e store.Entry) (r rollout, err error) {
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return rollout{}, err
	}
	if r.Number == 0 && r.Ordering == "" {
		r.Number = e.Seq // as an earlier release left it
	}
	return r, nil
}

// findRollout reads the entry of a rollout, or returns [ErrNoRollout]; a damaged one is none. The sequence is that of the entry.
func (f *Fleet) findRollout(ctx context.Context, name string) (rollout, uint64, error) {
	e, err := f.store.Newest(ctx, store.Rollouts, name)
	if err != nil {
		return rollout{}, 0, engineError(ctx, "reading the rollout", err)
	}
	if len(e.Value) == 0 {
		return rollout{}, e.Seq, ErrNoRollout
	}
	r, err := readRollout(e)
	if err != nil {
		f.log.WarnContext(ctx, "a rollout is damaged: start it again", "rollout", name, "error", err)
		return rollout{}, e.Seq, ErrNoRollout
	}
	return r, e.Seq, nil
}

// changeRollout writes what change makes of the entry of a rollout, unless it returns an error.
func (f *Fleet) changeRollout(ctx context.Context, name string, change func(*rollout) error) (rollout, error) {
	for {
		r, seq, err := f.findRollout(ctx, name)
		if err != nil {
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

// allRollouts reads the entries of all rollouts, the one that was written first first. One that cannot be read is left out.
func (f *Fleet) allRollouts(ctx context.Context) (map[string]rollout, error) {
	all := make(map[string]rollout)
	for e, err := range f.store.Read(ctx, store.Rollouts, false) {
		if err != nil {
			return nil, engineError(ctx, "reading the rollouts", err)
		}
		if r, err := readRollout(e); isRollout(e) && err == nil {
			all[e.Key] = r
		}
	}
	return all, nil
}
