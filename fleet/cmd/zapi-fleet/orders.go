package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/fleet/internal/counts"
)

func plan(ctx context.Context, s *session) error {
	s.rollout.Name = s.filter.Rollout
	p, err := s.fleet.Plan(ctx, s.rollout)
	if err != nil {
		return err
	}
	line, lacking := fields{"rollout": s.rollout.Name}, 0
	if s.credentials != "" {
		creds, err := readCredentials(s.credentials)
		if err != nil {
			return err
		}
		seen := make(map[fleet.Target]bool)
		for target := range s.rollout.Targets {
			if _, ok := creds[target.Instance]; !ok && !seen[target] {
				lacking++
			}
			seen[target] = true
		}
		line["withoutCredentials"] = lacking
	}
	s.object(line, p)
	s.textf("%s: %s to order, %s resumed, %s left to newer rollouts; %s of those to order have this policy already",
		s.rollout.Name, counts.Number(p.ToOrder), counts.Number(p.Resumed), counts.Number(p.Newer), counts.Number(p.Same))
	rows := []row{{"ACCOUNT", "TO ORDER", "REQUESTS", "TIME", ""}}
	for _, a := range p.Accounts {
		rows = append(rows, row{a.Account, a.ToOrder, a.Requests, a.Duration.Round(time.Second), ""})
	}
	s.table(alignRight, rows...)
	if s.credentials != "" {
		s.textf("%s of the targets have no credentials", counts.Number(lacking))
	}
	return nil
}

const defaultBurst = 5

func start(ctx context.Context, s *session) error {
	if s.rate == 0 && s.burst != defaultBurst {
		return errors.New("-burst is for -pace")
	}
	s.creates = true
	return withEngine(order)(ctx, s)
}

func order(ctx context.Context, s *session) error {
	paced := make(map[string]bool)
	for target := range s.rollout.Targets {
		if s.rate == 0 || paced[target.Account] {
			continue
		}
		paced[target.Account] = true
		if err := s.fleet.SetPace(ctx, target.Account, fleet.Pace{PerSecond: s.rate, Burst: s.burst}); err != nil {
			return err
		}
	}
	s.rollout.Name = s.filter.Rollout
	receipt, err := s.fleet.Start(ctx, s.rollout)
	if err != nil {
		return err
	}
	s.object(fields{"rollout": s.rollout.Name}, receipt)
	s.textf("%s: %s ordered, %s resumed, %s left to newer rollouts",
		s.rollout.Name, counts.Number(receipt.Ordered), counts.Number(receipt.Resumed), counts.Number(receipt.Newer))
	r, err := s.info(ctx)
	begun, isCanary := behindCanary(r)
	switch {
	case err != nil:
		return err
	case !r.Cancelled.IsZero():
		return fmt.Errorf("%s was cancelled meanwhile: what had not begun is taken back", r.Name)
	case isCanary:
		s.textf("the first %s are begun; look at them with watch, then go on: zapi-fleet resume -name %s", begun, r.Name)
	case r.Held != "":
		s.textf("held: %s; to go on: zapi-fleet resume -name %s", r.Held, r.Name)
	}
	return nil
}

// info describes the rollout that was named.
func (s *session) info(ctx context.Context) (fleet.RolloutInfo, error) {
	for r, err := range s.fleet.Rollouts(ctx) {
		if err != nil || r.Name == s.filter.Rollout {
			return r, err
		}
	}
	return fleet.RolloutInfo{}, fleet.ErrNoRollout
}

// behindCanary returns how many of a rollout are begun, if it is its canary that holds the rest.
func behindCanary(r fleet.RolloutInfo) (begun string, ok bool) {
	reason, ok := strings.CutPrefix(r.Held, "canary: ")
	begun, _, _ = strings.Cut(reason, " of ")
	return begun, ok
}

// parseShare parses 5%, 0.05 or off.
func parseShare(text string) (float64, error) {
	if text == "off" {
		return 1, nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(number, 64)
	if isPercent {
		value /= 100
	}
	if err != nil || !(value > 0 && value <= 1) {
		return 0, errors.New("must be a share such as 5% or 0.05, or off")
	}
	return value, nil
}

func pause(ctx context.Context, s *session) error {
	return s.hold(s.fleet.Pause(ctx, s.filter.Rollout), "held; what is in flight ends; to go on: zapi-fleet resume -name ")
}

func resume(ctx context.Context, s *session) error {
	text := "goes on within a minute; to see it: zapi-fleet watch -name "
	err := s.fleet.Resume(ctx, s.filter.Rollout)
	if err == nil {
		if r, err := s.info(ctx); err == nil && r.Ordering {
			text = "goes on when it is ordered; if no start runs, start it again with -name "
		}
	}
	return s.hold(err, text)
}

// hold says what pause or resume has done.
func (s *session) hold(err error, text string) error {
	if err == nil {
		name := s.filter.Rollout
		s.object(fields{"rollout": name, "message": text + name})
		s.textf("%s: %s%s", name, text, name)
	}
	return err
}

func cancel(ctx context.Context, s *session) error {
	name := s.filter.Rollout
	n, err := s.fleet.Cancel(ctx, name)
	if err != nil {
		return err
	}
	p, err := s.fleet.Progress(ctx, name)
	if err != nil {
		return err
	}
	back := counted("; %s already have it; to go back, start the earlier policy under a new name", p.Applied)
	s.object(fields{"rollout": name, "cancelled": n, "applied": p.Applied})
	s.textf("%s: %s taken back%s", name, counts.Number(n), back)
	return nil
}

func retry(ctx context.Context, s *session) error {
	if err := s.checkRollout(ctx); err != nil {
		return err
	}
	cancelled, isHeld := make(map[string]bool), make(map[string]bool)
	for r, err := range s.fleet.Rollouts(ctx) {
		if err != nil {
			return err
		}
		cancelled[r.Name] = !r.Cancelled.IsZero()
		_, isCanary := behindCanary(r) // what is parked of that goes on
		isHeld[r.Name] = r.Held != "" && !isCanary
	}
	state, waiting, leftOut, held := fleet.Parked, 0, 0, 0
	if s.waiting {
		state = fleet.Waiting
	}
	for i, err := range s.fleet.Statuses(ctx, s.filter) {
		if err != nil {
			return err
		}
		if i.State == fleet.Waiting {
			waiting++
		}
		switch {
		case i.State != state:
		case cancelled[i.Rollout]:
			leftOut++
		case isHeld[i.Rollout]:
			held++
		}
	}
	s.filter.State = state
	n, err := s.fleet.Retry(ctx, s.filter)
	if err != nil {
		return err
	}
	hint := ""
	if !s.waiting {
		hint = counted(" (parked only; %s are waiting: -waiting hurries them)", waiting)
	}
	s.object(fields{"rollout": s.filter.Rollout, "account": s.filter.Account, "retried": n, "waiting": waiting, "leftOut": leftOut, "held": held})
	s.textf("%s ordered again%s%s%s", counts.Number(n), hint, counted("; %s left out, as their rollout is cancelled", leftOut),
		counted("; %s are held until their rollout is resumed", held))
	return nil
}

func pace(ctx context.Context, s *session) error {
	p := fleet.Pace{PerSecond: s.rate, Burst: s.burst}
	if err := s.fleet.SetPace(ctx, s.filter.Account, p); err != nil {
		return err
	}
	s.object(fields{"account": s.filter.Account}, p)
	s.textf("%s: %g requests per second, %d at once", s.filter.Account, s.rate, s.burst)
	return nil
}
