package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/fleet/internal/counts"
)

// list prints what a sequence yields: each as a row of a table, or with -json as an object.
func list[T any](s *session, all iter.Seq2[T, error], header row, describe func(T) (row, []any)) error {
	rows := []row{header}
	for item, err := range all {
		if err != nil {
			return err
		}
		row, object := describe(item)
		s.object(object...)
		rows = append(rows, row)
	}
	s.table(0, rows...)
	return nil
}

func rollouts(ctx context.Context, s *session) error {
	return list(s, s.fleet.Rollouts(ctx), row{"ROLLOUT", "INSTANCES", "STARTED", "BY", "STATE"}, func(r fleet.RolloutInfo) (row, []any) {
		return row{r.Name, r.Total, r.Created, r.By, state(r)}, []any{fields{"rollout": r.Name}, r}
	})
}

func audit(ctx context.Context, s *session) error {
	return list(s, s.fleet.Audit(ctx), row{"AT", "BY", "ACTION", "ROLLOUT", "INSTANCES", "DETAIL"}, func(e fleet.AuditEvent) (row, []any) {
		return row{e.At, e.By, e.Action, e.Rollout, e.Instances, e.Detail}, []any{e}
	})
}

func status(ctx context.Context, s *session) error {
	if err := s.checkRollout(ctx); err != nil {
		return err
	}
	if !s.list {
		return s.counts(ctx)
	}
	header := row{"ACCOUNT", "INSTANCE", "ROLLOUT", "STATE", "ATTEMPTS", "AT", "NEXT TRY", "REASON"}
	return list(s, s.fleet.Statuses(ctx, s.filter), header, func(i fleet.Status) (row, []any) {
		return row{i.Account, i.Instance, i.Rollout, i.State, i.Attempts, i.At, i.NotBefore, reason(i)}, []any{i}
	})
}

const stateNames = "pending, applying, applied, waiting, parked or superseded"

func parseState(text string) (fleet.State, error) {
	switch state := fleet.State(text); state {
	case fleet.Pending, fleet.Applying, fleet.Applied, fleet.Waiting, fleet.Parked, fleet.Superseded:
		return state, nil
	}
	return "", errors.New("must be " + stateNames)
}

// state is what has become of a rollout, as far as its entry knows.
func state(r fleet.RolloutInfo) string {
	switch {
	case !r.Cancelled.IsZero():
		return "cancelled " + when(r.Cancelled)
	case r.Ordering:
		return "ordering; if no start runs, start it again to go on"
	case r.Held != "":
		return "held, " + r.Held
	}
	return "begun"
}

func describe(ctx context.Context, s *session) error {
	p, err := s.fleet.Progress(ctx, s.filter.Rollout)
	if err != nil {
		return err
	}
	outcome := verdict(p).outcome()
	r, err := s.info(ctx)
	if err != nil {
		return err
	}
	s.object(fields{"rollout": r.Name, "outcome": outcome}, p, r)
	s.table(0,
		row{"rollout:", r.Name},
		row{"begun:", when(r.Created) + " by " + r.By},
		row{"outcome:", outcome},
		row{"state:", state(r)},
		row{"counts:", fmt.Sprintf("%s in all, %s pending, %s applying, %s waiting, %s",
			counts.Number(p.Total), counts.Number(p.Pending), counts.Number(p.Applying), counts.Number(p.Waiting), ended(p))})
	if r.Policy == (zapi.Policy{}) {
		s.textf("policy:   not known: the engine has lost it, or you may not read it")
		return nil
	}
	policy, err := yaml.Marshal(map[string]any{"policy": r.Policy})
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(policy)), "\n") {
		s.textf("%s", line)
	}
	return nil
}

func show(ctx context.Context, s *session) error {
	found := false
	for i, err := range s.fleet.Statuses(ctx, s.filter) {
		if err != nil {
			return err
		}
		if i.Instance != s.instance {
			continue
		}
		found = true
		last := "nothing by fleet"
		if i.Last.Rollout != "" {
			last = fmt.Sprintf("rollout %s, policy %s, %s", i.Last.Rollout, i.Last.Policy, when(i.Last.At))
		}
		s.object(i)
		s.table(0, slices.DeleteFunc([]row{
			{"instance:", i.Account + " " + i.Instance},
			{"state:", string(i.State) + " since " + when(i.At)},
			{"rollout:", i.Rollout},
			{"policy:", i.Policy},
			{"reason:", reason(i)},
			{"next try:", when(i.NotBefore)},
			{"attempts:", i.Attempts},
			{"worker:", i.Worker},
			{"last applied:", last},
		}, func(r row) bool { return r[1] == "" })...)
	}
	if !found {
		return fmt.Errorf("no instance %q in account %q", s.instance, s.filter.Account)
	}
	return nil
}

// cancelled is the kind of those that were taken back, which are counted apart.
const cancelled fleet.State = "cancelled"

// counts counts instances by account.
func (s *session) counts(ctx context.Context) error {
	states, kinds := make(map[string]map[fleet.State]int), make(map[string]map[string]int)
	for i, err := range s.fleet.Statuses(ctx, s.filter) {
		if err != nil {
			return err
		}
		if states[i.Account] == nil {
			states[i.Account], kinds[i.Account] = make(map[fleet.State]int), make(map[string]int)
		}
		if i.Kind == string(cancelled) {
			i.State, i.Kind = cancelled, ""
		}
		states[i.Account][i.State]++
		if i.Kind != "" {
			kinds[i.Account][i.Kind]++
		}
	}
	rows := []row{{"ACCOUNT", "PENDING", "APPLYING", "APPLIED", "WAITING", "PARKED", "SUPERSEDED", "CANCELLED", "REASONS"}}
	for _, account := range slices.Sorted(maps.Keys(states)) {
		cells, line := row{account}, fields{"account": account, "rollout": s.filter.Rollout, "kinds": kinds[account]}
		for _, state := range []fleet.State{fleet.Pending, fleet.Applying, fleet.Applied, fleet.Waiting, fleet.Parked, fleet.Superseded, cancelled} {
			cells = append(cells, states[account][state])
			line[string(state)] = states[account][state]
		}
		s.object(line)
		rows = append(rows, append(cells, counts.Kinds(kinds[account])))
	}
	s.table(alignRight, rows...)
	return nil
}

// reason is why an instance failed.
func reason(i fleet.Status) string {
	if i.Error == "" {
		return i.Kind
	}
	return i.Kind + ": " + i.Error
}
