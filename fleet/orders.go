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
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi"
)

// A Target names an instance. Account is a label of your own, such as a customer; instances of one account share a [Pace].
// Each part is 1 to 64 of A-Z, a-z, 0-9, _ and -. An instance must keep its account.
type Target struct{ Account, Instance string }

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
}

// A Receipt counts the instances that [Fleet.Start] was given.
type Receipt struct {
	Ordered    int // by this call
	Resumed    int // by an earlier call of the same name
	Superseded int // left alone, as they have an order of a rollout that was begun later
}

// rollout is the entry of a rollout.
type rollout struct {
	Number    uint64    `json:"number,omitempty"` // the first revision of the entry; 0 in that one, which cannot hold it
	Policy    string    `json:"policy"`
	Total     int       `json:"total,omitempty"` // 0 until all is ordered
	Created   time.Time `json:"created"`
	Cancelled time.Time `json:"cancelled,omitzero"`
}

func (r rollout) isOrdering() bool { return r.Total == 0 && r.Cancelled.IsZero() }

// rollout reads the entry of a rollout, or returns [ErrNoRollout].
func (f *Fleet) rollout(ctx context.Context, name string) (rollout, uint64, error) {
	for attempt := range 3 {
		value, revision, err := f.get(ctx, rolloutBucket, name)
		if err != nil {
			return rollout{}, 0, err
		}
		if revision == 0 { // or a replica that has not heard of it yet
			pause(ctx, time.Duration(attempt)*100*time.Millisecond)
			continue
		}
		var r rollout
		if err := json.Unmarshal(value, &r); err != nil {
			return rollout{}, 0, engineError(ctx, "reading the rollout", err)
		}
		if r.Number == 0 {
			r.Number = revision
		}
		return r, revision, nil
	}
	return rollout{}, 0, ErrNoRollout
}

// changeRollout writes what change makes of the entry of a rollout.
func (f *Fleet) changeRollout(ctx context.Context, name string, change func(*rollout)) (rollout, error) {
	for {
		r, revision, err := f.rollout(ctx, name)
		if err != nil {
			return r, err
		}
		change(&r)
		if _, err = f.put(ctx, rolloutBucket, name, encode(r), revision); !isConflict(err) {
			return r, err
		}
		pause(ctx, 10*time.Millisecond) // a replica may be behind
	}
}

// Start orders the policy for all targets, and returns when the orders are stored. Workers begin at once.
//
// Called again with the same name and policy, it goes on where it stopped, after a crash too, and adds targets that are new.
// With another policy it returns [ErrRolloutExists]. Where a target has an order of a rollout that was begun later,
// it is left alone.
//
// Its error is a [*zapi.ValidationError], also for a target in the middle of the sequence, [ErrRolloutExists],
// [ErrPolicyTooLarge], [ErrEngine], or that of ctx. The receipt counts what was done until then.
func (f *Fleet) Start(ctx context.Context, r Rollout) (Receipt, error) {
	const op = "Start"
	if err := r.check(op); err != nil {
		return Receipt{}, err
	}
	ctx, end, err := f.begin(ctx, op)
	if err != nil {
		return Receipt{}, err
	}
	defer end()
	hash, err := f.storePolicy(ctx, r.Policy)
	if err != nil {
		return Receipt{}, err
	}
	entry, err := f.createRollout(ctx, r.Name, hash)
	if err != nil {
		return Receipt{}, err
	}
	before := entry.Total
	receipt, err := f.orderAll(ctx, r, order{format, r.Name, entry.Number, hash})
	if err != nil {
		return receipt, err
	}
	entry, err = f.changeRollout(ctx, r.Name, func(e *rollout) {
		// What another call orders at the same time is counted by both: as resumed here.
		e.Total = max(e.Total, before+receipt.Ordered, receipt.Ordered+receipt.Resumed+receipt.Superseded)
	})
	if err == nil {
		err = engineError(ctx, "writing to disk", f.sync())
	}
	if err == nil && !entry.Cancelled.IsZero() { // in the meantime
		_, err = f.takeBack(ctx, r.Name)
	}
	return receipt, err
}

func (r Rollout) check(op string) error {
	if err := checkName(op, "Name", r.Name); err != nil {
		return err
	}
	if err := r.Policy.Validate(); err != nil {
		return err
	}
	if cost(r.Policy) == 0 {
		return invalid(op, "Policy", "must set something")
	}
	if r.Targets == nil {
		return invalid(op, "Targets", "must not be nil")
	}
	return nil
}

// storePolicy returns the key under which the policy is stored.
func (f *Fleet) storePolicy(ctx context.Context, p zapi.Policy) (string, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	const headers = 1 << 10
	if int64(len(data)) > f.nc.MaxPayload()-headers {
		return "", ErrPolicyTooLarge
	}
	sum := sha256.Sum256(data)
	hash := base64.RawURLEncoding.EncodeToString(sum[:16]) // it is in every order and status, so it is short
	return hash, f.set(ctx, policyBucket, hash, data)
}

func (f *Fleet) createRollout(ctx context.Context, name, policy string) (rollout, error) {
	entry := rollout{Policy: policy, Created: time.Now()}
	revision, err := f.put(ctx, rolloutBucket, name, encode(entry), 0)
	if err == nil {
		entry.Number = revision
		return entry, nil
	}
	if !isConflict(err) {
		return rollout{}, err
	}
	entry, _, err = f.rollout(ctx, name)
	switch {
	case err != nil:
		return rollout{}, err
	case entry.Policy != policy:
		return rollout{}, ErrRolloutExists
	case !entry.Cancelled.IsZero():
		return rollout{}, invalid("Start", "Name", "must be a new one, as that rollout was cancelled")
	}
	return entry, nil
}

// orderAll orders o for all targets that have no such order, or an older one.
func (f *Fleet) orderAll(ctx context.Context, r Rollout, o order) (receipt Receipt, err error) {
	orders, err := f.allOrders(ctx)
	if err != nil {
		return Receipt{}, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesInFlight)
	var mu sync.Mutex // guards receipt
	err = f.eachTarget(ctx, r.Targets, func(key string) {
		group.Go(func() error {
			one, err := f.orderOne(ctx, key, o, orders[key])
			mu.Lock()
			defer mu.Unlock()
			receipt.add(one)
			return err
		})
	})
	err = cmp.Or(err, group.Wait())
	return receipt, err
}

// eachTarget checks the targets and calls do for each once, after its account is known to the workers.
func (f *Fleet) eachTarget(ctx context.Context, targets iter.Seq[Target], do func(key string)) error {
	accounts := make(map[string]bool)
	seen := make(map[string]bool)
	position := 0
	for target := range targets {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := target.check("Start", fmt.Sprintf("Targets[%d]", position)); err != nil {
			return err
		}
		position++
		key := target.key()
		if seen[key] {
			continue
		}
		seen[key] = true
		if !accounts[target.Account] {
			if err := f.addAccount(ctx, target.Account); err != nil {
				return err
			}
			accounts[target.Account] = true
		}
		do(key)
	}
	if position == 0 {
		return invalid("Start", "Targets", "must not be empty")
	}
	return nil
}

func (r *Receipt) add(other Receipt) {
	r.Ordered += other.Ordered
	r.Resumed += other.Resumed
	r.Superseded += other.Superseded
}

// orderOne orders o for an instance unless it has that order or a newer one. The order found may have been replaced since it
// was read.
func (f *Fleet) orderOne(ctx context.Context, key string, o order, found wanted) (Receipt, error) {
	for start := time.Now(); ; pause(ctx, 100*time.Millisecond) {
		if found.Number > o.Number {
			return Receipt{Superseded: 1}, nil
		}
		if found.Number == o.Number {
			return Receipt{Resumed: 1}, nil
		}
		err := f.publish(ctx, ordersSubject+key, encode(o), found.seq)
		if err == nil {
			return Receipt{Ordered: 1}, nil
		}
		if ctx.Err() != nil || time.Since(start) > 30*time.Second {
			return Receipt{}, err
		}
		newer, readErr := f.lastOrder(ctx, key)
		if readErr == nil && newer.Number == o.Number && !isConflict(err) {
			return Receipt{Ordered: 1}, nil // only the acknowledgement was lost
		}
		if readErr == nil || errors.Is(readErr, ErrNoInstance) {
			found = newer
		}
	}
}
