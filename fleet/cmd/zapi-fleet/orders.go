package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

// orderFlags are the flags of plan and start.
type orderFlags struct {
	engine
	name                *string
	policyPath, targets *string
}

func (o *orderFlags) define(flags *flag.FlagSet) {
	o.engine.define(flags)
	o.name = rolloutFlag(flags)
	o.policyPath = flags.String("policy", "", "`file` with the policy, YAML or JSON"+needed)
	o.targets = flags.String("targets", "", "`file` with the columns account and instance, CSV"+needed)
}

func (o *orderFlags) read() (r fleet.Rollout, targets []fleet.Target, err error) {
	var policy zapi.Policy
	if policy, err = readPolicy(*o.policyPath); err != nil {
		return r, nil, err
	}
	if targets, err = readTargets(*o.targets); err != nil {
		return r, nil, err
	}
	return fleet.Rollout{Name: *o.name, Policy: policy, Targets: slices.Values(targets)}, targets, nil
}

func plan(flags *flag.FlagSet) action {
	var o orderFlags
	o.define(flags)
	path := flags.String("credentials", "", "`file` with the columns instance, token and clientToken, CSV: counts the targets that it lacks")
	return func(ctx context.Context, out *screen) error {
		r, targets, err := o.read()
		if err != nil {
			return err
		}
		lacking := 0
		if *path != "" {
			creds, err := readCredentials(*path)
			if err != nil {
				return err
			}
			for _, target := range targets {
				if _, ok := creds[target.Instance]; !ok {
					lacking++
				}
			}
		}
		return o.with(ctx, func(f *fleet.Fleet) error {
			p, err := f.Plan(ctx, r)
			if err != nil {
				return err
			}
			if out.json {
				line := fields{"rollout": r.Name}
				if *path != "" {
					line["withoutCredentials"] = lacking
				}
				out.object(line, p)
				return nil
			}
			out.plan(r.Name, p)
			if *path != "" {
				out.sayf("%s of the targets have no credentials", number(lacking))
			}
			return nil
		})
	}
}

func (s *screen) plan(name string, p fleet.Plan) {
	s.sayf("%s: %s to order, %s resumed, %s left to newer rollouts; %s of those to order have this policy already",
		name, number(p.ToOrder), number(p.Resumed), number(p.Newer), number(p.Same))
	rows := [][]string{{"ACCOUNT", "TO ORDER", "REQUESTS", "TIME", ""}}
	for _, a := range p.Accounts {
		rows = append(rows, []string{a.Account, number(a.ToOrder), number(a.Requests), a.Duration.Round(time.Second).String(), ""})
	}
	s.table(alignRight, rows)
}

const defaultBurst = 5

func start(flags *flag.FlagSet) action {
	o := orderFlags{engine: engine{creates: true}}
	o.define(flags)
	rate := flags.Float64("pace", 0, "requests per second for each account of the file (default 20, or as it is)")
	burst := flags.Int("burst", defaultBurst, "requests that may go at once, with -pace")
	canary := flags.Int("canary", 0, "begin with the first `N` targets, and hold the rest until resume")
	halt := share(0)
	flags.Var(&halt, "halt", "hold it when a larger `share` of what is settled was parked, such as 5%, or off (default 5%)")
	return func(ctx context.Context, out *screen) error {
		if *rate == 0 && *burst != defaultBurst {
			return errors.New("-burst is for -pace")
		}
		r, targets, err := o.read()
		if err != nil {
			return err
		}
		r.Canary, r.HaltAt = *canary, float64(halt)
		return o.with(ctx, func(f *fleet.Fleet) error {
			if *rate != 0 {
				accounts := make(map[string]bool)
				for _, target := range targets {
					accounts[target.Account] = true
				}
				for account := range accounts {
					if err := f.SetPace(ctx, account, fleet.Pace{PerSecond: *rate, Burst: *burst}); err != nil {
						return err
					}
				}
			}
			receipt, err := f.Start(ctx, r)
			if err != nil {
				return err
			}
			out.ordered(r, receipt)
			return nil
		})
	}
}

func (s *screen) ordered(r fleet.Rollout, receipt fleet.Receipt) {
	s.say(fmt.Sprintf("%s: %s ordered, %s resumed, %s left to newer rollouts", r.Name, number(receipt.Ordered), number(receipt.Resumed), number(receipt.Newer)),
		fields{"rollout": r.Name}, receipt)
	if r.Canary > 0 && !s.json {
		s.sayf("the first %s are begun; look at them with watch, then go on: zapi-fleet resume -name %s", number(r.Canary), r.Name)
	}
}

// share is a flag: 5%, 0.05 or off.
type share float64

func (s *share) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', -1, 64) + "%" }

func (s *share) Set(text string) error {
	if text == "off" {
		*s = 1
		return nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(number, 64)
	if isPercent {
		value /= 100
	}
	if err != nil || !(value > 0 && value <= 1) {
		return errors.New("must be a share such as 5% or 0.05, or off")
	}
	*s = share(value)
	return nil
}

func pause(flags *flag.FlagSet) action {
	return hold(flags, (*fleet.Fleet).Pause, "paused; what is in flight ends; to go on: zapi-fleet resume -name %s")
}

func resume(flags *flag.FlagSet) action {
	return hold(flags, (*fleet.Fleet).Resume, "goes on within a minute; to see it: zapi-fleet watch -name %s")
}

func hold(flags *flag.FlagSet, do func(*fleet.Fleet, context.Context, string) error, text string) action {
	name := rolloutFlag(flags)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if err := do(f, ctx, *name); err != nil {
			return missingRollout(ctx, f, *name, err)
		}
		text := fmt.Sprintf(text, *name)
		out.say(*name+": "+text, fields{"rollout": *name, "message": text})
		return nil
	})
}

func pace(flags *flag.FlagSet) action {
	account := flags.String("account", "", "`account`"+needed)
	rate := flags.Float64("rate", 0, "requests per second"+needed)
	burst := flags.Int("burst", defaultBurst, "requests that may go at once after a rest")
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if err := (names{account: *account}).check(ctx, f); err != nil {
			return err
		}
		p := fleet.Pace{PerSecond: *rate, Burst: *burst}
		if err := f.SetPace(ctx, *account, p); err != nil {
			return err
		}
		out.say(fmt.Sprintf("%s: %g requests per second, %d at once", *account, *rate, *burst), fields{"account": *account}, p)
		return nil
	})
}

func retry(flags *flag.FlagSet) action {
	q := defineFilter(flags)
	waiting := flags.Bool("waiting", false, "hurry those that wait, instead of those that are parked")
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if err := (names{rollout: q.Rollout, account: q.Account, kind: q.Kind}).check(ctx, f); err != nil {
			return err
		}
		cancelled := make(map[string]bool)
		for r, err := range f.Rollouts(ctx) {
			if err != nil {
				return err
			}
			cancelled[r.Name] = !r.Cancelled.IsZero()
		}
		counts, leftOut := make(map[fleet.State]int), 0
		q.State = fleet.Parked
		if *waiting {
			q.State = fleet.Waiting
		}
		every := *q
		every.State = ""
		for s, err := range f.Statuses(ctx, every) {
			if err != nil {
				return err
			}
			if s.State == q.State && cancelled[s.Rollout] {
				leftOut++
			}
			counts[s.State]++
		}
		n, err := f.Retry(ctx, *q)
		if err != nil {
			return err
		}
		text := number(n) + " ordered again"
		if !*waiting && counts[fleet.Waiting] > 0 {
			text += fmt.Sprintf(" (parked only; %s are waiting: -waiting hurries them)", number(counts[fleet.Waiting]))
		}
		if leftOut > 0 {
			text += fmt.Sprintf("; %s left out, as their rollout is cancelled", number(leftOut))
		}
		out.say(text, fields{"rollout": q.Rollout, "account": q.Account, "retried": n, "waiting": counts[fleet.Waiting], "leftOut": leftOut})
		return nil
	})
}

func cancel(flags *flag.FlagSet) action {
	name := rolloutFlag(flags)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		n, err := f.Cancel(ctx, *name)
		if err != nil {
			return missingRollout(ctx, f, *name, err)
		}
		p, err := f.Progress(ctx, *name)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s: %s taken back", *name, number(n))
		if p.Applied > 0 {
			text += fmt.Sprintf("; %s already have it; to go back, start the earlier policy under a new name", number(p.Applied))
		}
		out.say(text, fields{"rollout": *name, "cancelled": n, "applied": p.Applied})
		return nil
	})
}
