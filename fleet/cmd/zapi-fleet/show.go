package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi/fleet"
)

const alignRight = tabwriter.AlignRight

// when writes a time as people and programs read it.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// names are what a command was given. Those that are empty were not.
type names struct{ rollout, account, instance, kind string }

// check returns an error that lists what there is if a name does not exist.
func (n names) check(ctx context.Context, f *fleet.Fleet) error {
	if n.rollout != "" {
		if err := missingRollout(ctx, f, n.rollout, fleet.ErrNoRollout); err != nil {
			return err
		}
	}
	if n.account == "" && n.instance == "" && n.kind == "" {
		return nil
	}
	accounts, instances, kinds := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for s, err := range f.Statuses(ctx, fleet.Filter{}) {
		if err != nil {
			return err
		}
		accounts[s.Account], instances[s.Instance] = true, true
		if s.Kind != "" {
			kinds[s.Kind] = true
		}
	}
	return cmp.Or(unknown("account", n.account, accounts), unknown("instance", n.instance, instances), unknown("kind", n.kind, kinds))
}

func unknown(what, name string, all map[string]bool) error {
	if name == "" || all[name] {
		return nil
	}
	return fmt.Errorf("no %s %q; %s", what, name, few(slices.Sorted(maps.Keys(all))))
}

// missingRollout makes of [fleet.ErrNoRollout] an error that lists the rollouts there are, unless the name is among them.
func missingRollout(ctx context.Context, f *fleet.Fleet, name string, err error) error {
	if !errors.Is(err, fleet.ErrNoRollout) {
		return err
	}
	var all []string
	for r, err := range f.Rollouts(ctx) {
		if err != nil {
			return err
		}
		if r.Name == name {
			return nil
		}
		all = append(all, r.Name)
	}
	return fmt.Errorf("no such rollout: %q; %s", name, few(all))
}

func rollouts(flags *flag.FlagSet) action {
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		rows := [][]string{{"ROLLOUT", "INSTANCES", "STARTED", "BY", "STATE"}}
		for r, err := range f.Rollouts(ctx) {
			if err != nil {
				return err
			}
			if out.json {
				out.object(fields{"rollout": r.Name}, r)
			}
			rows = append(rows, []string{r.Name, number(r.Total), when(r.Created), r.By, state(r)})
		}
		if !out.json {
			out.table(0, rows)
		}
		return nil
	})
}

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

func describe(flags *flag.FlagSet) action {
	name := rolloutFlag(flags)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		p, err := f.Progress(ctx, *name)
		if err != nil {
			return missingRollout(ctx, f, *name, err)
		}
		for r, err := range f.Rollouts(ctx) {
			if err != nil {
				return err
			}
			if r.Name != *name {
				continue
			}
			outcome, _ := verdict(p)
			if out.json {
				out.object(fields{"rollout": r.Name, "outcome": outcome}, p, r)
				return nil
			}
			policy, err := yaml.Marshal(r.Policy)
			if err != nil {
				return err
			}
			out.table(0, [][]string{
				{"rollout:", r.Name}, {"begun:", when(r.Created) + " by " + r.By}, {"outcome:", outcome}, {"state:", state(r)},
				{"counts:", fmt.Sprintf("%s in all, %s pending, %s applying, %s waiting, %s", number(p.Total), number(p.Pending), number(p.Applying), number(p.Waiting), ended(p))},
			})
			out.sayf("policy:")
			for line := range strings.Lines(string(policy)) {
				out.sayf("  %s", strings.TrimRight(line, "\n"))
			}
		}
		return nil
	})
}

func show(flags *flag.FlagSet) action {
	instance := flags.String("instance", "", "`instance`"+needed)
	account := flags.String("account", "", "its `account`, which is found if it is not given")
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if err := (names{account: *account, instance: *instance}).check(ctx, f); err != nil {
			return err
		}
		found := false
		for s, err := range f.Statuses(ctx, fleet.Filter{Account: *account}) {
			if err != nil {
				return err
			}
			if s.Instance != *instance {
				continue
			}
			found = true
			if out.json {
				out.object(s)
			} else {
				out.instance(s)
			}
		}
		if !found {
			return fmt.Errorf("no instance %q in account %q", *instance, *account)
		}
		return nil
	})
}

func (s *screen) instance(i fleet.Status) {
	rows := [][]string{
		{"instance:", i.Account + " " + i.Instance},
		{"state:", string(i.State) + " since " + when(i.At)},
		{"rollout:", i.Rollout},
		{"policy:", i.Policy},
		{"reason:", reason(i)},
		{"next try:", when(i.NotBefore)},
		{"attempts:", number(i.Attempts)},
		{"worker:", i.Worker},
	}
	last := "nothing by fleet"
	if i.Last.Rollout != "" {
		last = fmt.Sprintf("rollout %s, policy %s, %s", i.Last.Rollout, i.Last.Policy, when(i.Last.At))
	}
	rows = append(rows, []string{"last applied:", last})
	s.table(0, slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" }))
}

func reason(s fleet.Status) string {
	if s.Error == "" {
		return s.Kind
	}
	return s.Kind + ": " + s.Error
}

func audit(flags *flag.FlagSet) action {
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		rows := [][]string{{"AT", "BY", "ACTION", "ROLLOUT", "INSTANCES", "DETAIL"}}
		for e, err := range f.Audit(ctx) {
			if err != nil {
				return err
			}
			if out.json {
				out.object(e)
			}
			rows = append(rows, []string{when(e.At), e.By, e.Action, e.Rollout, number(e.Instances), e.Detail})
		}
		if !out.json {
			out.table(0, rows)
		}
		return nil
	})
}

// defineFilter adds the flags of a filter.
func defineFilter(flags *flag.FlagSet) *fleet.Filter {
	var q fleet.Filter
	flags.StringVar(&q.Rollout, "name", "", "only of the rollout of this `name`")
	flags.StringVar(&q.Account, "account", "", "only of this `account`")
	flags.StringVar(&q.Kind, "kind", "", "only with this `kind` of failure, such as unauthorized")
	flags.DurationVar(&q.OlderThan, "older", 0, "only unchanged for so `long`")
	return &q
}

func status(flags *flag.FlagSet) action {
	q := defineFilter(flags)
	flags.StringVar((*string)(&q.State), "state", "", "only in this `state`: pending, applying, applied, waiting, parked or superseded")
	list := flags.Bool("list", false, "list the instances instead of counting them")
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if err := (names{rollout: q.Rollout, account: q.Account, kind: q.Kind}).check(ctx, f); err != nil {
			return err
		}
		if *list {
			return out.list(ctx, f, *q)
		}
		return out.counts(ctx, f, *q)
	})
}

// list shows one instance per line.
func (s *screen) list(ctx context.Context, f *fleet.Fleet, q fleet.Filter) error {
	rows := [][]string{{"ACCOUNT", "INSTANCE", "ROLLOUT", "STATE", "ATTEMPTS", "AT", "NEXT TRY", "REASON"}}
	for i, err := range f.Statuses(ctx, q) {
		if err != nil {
			return err
		}
		if s.json {
			s.object(i)
			continue
		}
		rows = append(rows, []string{i.Account, i.Instance, i.Rollout, string(i.State), number(i.Attempts), when(i.At), when(i.NotBefore), reason(i)})
	}
	if !s.json {
		s.table(0, rows)
	}
	return nil
}

var states = []fleet.State{fleet.Pending, fleet.Applying, fleet.Applied, fleet.Waiting, fleet.Parked, fleet.Superseded, cancelled}

// cancelled is the kind of those that were taken back, which are counted apart.
const cancelled fleet.State = "cancelled"

// counts counts instances by account.
func (s *screen) counts(ctx context.Context, f *fleet.Fleet, q fleet.Filter) error {
	type count struct {
		states map[fleet.State]int
		kinds  map[string]int
	}
	accounts := make(map[string]count)
	for i, err := range f.Statuses(ctx, q) {
		if err != nil {
			return err
		}
		c, ok := accounts[i.Account]
		if !ok {
			c = count{make(map[fleet.State]int), make(map[string]int)}
			accounts[i.Account] = c
		}
		if i.Kind == string(cancelled) {
			c.states[cancelled]++
			continue
		}
		c.states[i.State]++
		if i.Kind != "" {
			c.kinds[i.Kind]++
		}
	}
	rows := [][]string{{"ACCOUNT", "PENDING", "APPLYING", "APPLIED", "WAITING", "PARKED", "SUPERSEDED", "CANCELLED", "REASONS"}}
	for _, account := range slices.Sorted(maps.Keys(accounts)) {
		c := accounts[account]
		row, line := []string{account}, fields{"account": account, "rollout": q.Rollout, "kinds": c.kinds}
		for _, state := range states {
			row = append(row, number(c.states[state]))
			line[string(state)] = c.states[state]
		}
		rows = append(rows, append(row, reasons(c.kinds)))
		if s.json {
			s.object(line)
		}
	}
	if !s.json {
		s.table(alignRight, rows)
	}
	return nil
}

// reasons writes kinds of failures, the most frequent first.
func reasons(kinds map[string]int) string {
	sorted := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b))
	})
	for i, kind := range sorted {
		sorted[i] = kind + " " + number(kinds[kind])
	}
	return strings.Join(sorted, ", ")
}
