package fleet

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// said is what fleet says at the end of a run.
type said struct {
	statuses map[Target]Status
	rollouts map[string]RolloutInfo
	progress map[string]Progress
	events   map[string]int // of the audit, by action and rollout
}

func (s *sim) hear(f *Fleet) {
	s.said = said{make(map[Target]Status), make(map[string]RolloutInfo), make(map[string]Progress), make(map[string]int)}
	for status, err := range f.Statuses(s.ctx, Filter{}) {
		if err != nil {
			s.fail("statuses: %v", err)
		}
		s.said.statuses[status.Target] = status
	}
	for info, err := range f.Rollouts(s.ctx) {
		if err != nil {
			s.fail("rollouts: %v", err)
		}
		s.said.rollouts[info.Name] = info
	}
	for event, err := range f.Audit(s.ctx) {
		if err != nil {
			s.fail("audit: %v", err)
		}
		s.said.events[event.Action+" "+event.Rollout]++
	}
	for _, r := range s.rollouts {
		p, err := f.Progress(s.ctx, r.name)
		switch {
		case err == nil:
			s.said.progress[r.name] = p
		case !errors.Is(err, ErrNoRollout):
			s.fail("progress of %s: %v", r.name, err)
		}
		r.number = s.said.rollouts[r.name].Number
	}
}

// check looks at a run that has ended:
//
//   - nothing is lost: the newest order of every instance is settled
//   - nothing is old: the API never got an older policy behind a newer one
//   - nothing is begun that is held or cancelled
//   - repeats are bounded by what was disturbed
//   - the pace is kept
//   - the report equals what the API got
//
// What was damaged is not held against fleet, as far as it cannot be known any more.
func (s *sim) check() {
	for _, target := range s.targets {
		s.checkTarget(target)
	}
	for _, r := range s.rollouts {
		s.checkReport(r)
		s.checkHolds(r)
	}
	s.checkAudit()
	s.checkRepeats()
	if !s.damaged[store.Paces] && !s.damaged[store.Accounts] {
		s.checkPace()
	}
}

// applied returns what the API has applied to an instance, in its order.
func (s *sim) applied(instance string) (all []simRequest) {
	for _, r := range s.requests {
		if r.instance == instance && !r.arrived.IsZero() {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b simRequest) int { return a.arrived.Compare(b.arrived) })
	return all
}

// isNewer reports whether a was begun after b, whatever numbers they have got.
func isNewer(a, b *simRollout) bool { return !a.called.IsZero() && a.called.After(b.returned) }

func (s *sim) checkTarget(target Target) {
	got := s.applied(target.Instance)
	for i := 1; i < len(got); i++ {
		before, after := s.rollouts[got[i-1].policy], s.rollouts[got[i].policy]
		isOld := isNewer(before, after) || after.number < before.number && !s.damaged[store.Rollouts]
		if isOld && !s.damaged[store.Orders] && !s.damaged[store.Statuses] {
			s.fail("old: %v: %+v", target, got)
		}
	}
	status, ok := s.said.statuses[target]
	if !ok {
		for _, r := range s.rollouts {
			isForgotten := r.inParts && s.damaged[store.Orders] // lost between two calls, and another one was added
			if r.ordered[target] && !r.cancels && !isForgotten {
				s.fail("lost: %v has no order, but %s was started", target, r.name)
			}
		}
		return
	}
	r := s.rollouts[status.Rollout[1]-'0']
	for _, other := range s.rollouts {
		isOld := isNewer(other, r) || other.number > r.number && !s.damaged[store.Rollouts]
		if isOld && other.ordered[target] && !s.damaged[store.Orders] {
			s.fail("old: %v has the order of %s, but %s was started", target, r.name, other.name)
		}
	}
	mayPark := status.Kind == "unauthorized" && s.locked[target.Instance] || status.Kind == kindExhausted && target.Instance == s.sick
	switch {
	case status.State == Applied && (len(got) == 0 || got[len(got)-1].policy != r.policy):
		s.fail("report: %v is said to have %s, the API has %+v", target, r.name, got)
	case status.State == Applied && (status.Last.Rollout != r.name || status.Last.Policy != status.Policy || !status.Last.At.Equal(status.At)):
		s.fail("report: applied, but not the last: %+v", status)
	case status.Last.Rollout != "" && !slices.ContainsFunc(got, func(q simRequest) bool { return s.rollouts[q.policy].name == status.Last.Rollout }):
		s.fail("report: never applied: %+v", status)
	case status.State == Parked && !mayPark:
		s.fail("parked: %+v", status)
	case status.Kind == kindCancelled && !r.cancels:
		s.fail("cancelled: %+v", status)
	}
}

// checkReport compares what is said of a rollout as a whole with what is said of each instance.
func (s *sim) checkReport(r *simRollout) {
	info, found := s.said.rollouts[r.name]
	p, started := s.said.progress[r.name], len(r.started())
	switch {
	case s.damaged[store.Rollouts]:
		return
	case !found && started > 0:
		s.fail("report: there is no rollout %s", r.name)
		return
	case !found:
		return
	}
	counts, own := make(map[State]int), 0
	for _, status := range s.said.statuses {
		if status.Rollout == r.name {
			own++
			state := status.State
			if status.Kind == kindCancelled {
				state = cancelled
			}
			counts[state]++
		}
	}
	if p.Applied != counts[Applied] || p.Parked != counts[Parked] || p.Cancelled != counts[cancelled] {
		s.fail("report: %s: %+v, but the instances are %v", r.name, p, counts)
	}
	if p.Total != own+p.Superseded+p.Missing {
		s.fail("report: %s has %d instances of its own: %+v", r.name, own, p)
	}
	isTotal := (info.Total >= started || s.damaged[store.Targets]) && info.Total <= len(r.tried)
	policy := -1
	if info.Policy.LastSeen != nil {
		policy = indexOf(string(info.Policy.LastSeen.Visibility))
	}
	switch {
	case started == 0:
	case !p.Done(), info.Ordering, info.Held != "":
		s.fail("report: %s is not done: %+v, %+v", r.name, p, info)
	case !s.damaged[store.Orders] && (p.Missing > 0 || !isTotal || p.Total < info.Total || p.Total > len(r.tried)):
		s.fail("report: %s was started for %d to %d instances: %+v, %+v", r.name, started, len(r.tried), p, info)
	case info.Cancelled.IsZero() && !r.cancelled.IsZero(), !info.Cancelled.IsZero() && !r.cancels:
		s.fail("report: %s was cancelled at %v: %+v", r.name, r.cancelled, info)
	case policy != r.policy && !s.damaged[store.Policies]:
		s.fail("report: %s has another policy: %+v", r.name, info)
	}
}

// checkHolds looks for calls that should not have been made. A rollout that is missing is not held.
func (s *sim) checkHolds(r *simRollout) {
	if s.damaged[store.Rollouts] {
		return
	}
	const late = 1100 * time.Millisecond // what a worker knows of a rollout may be a second old
	isAfter := func(sent, when time.Time) bool { return !when.IsZero() && !s.stopped && sent.After(when.Add(late)) }
	isPaused := r.resumed.IsZero() || r.resumed.After(r.paused) // or nobody knows which was first
	for _, q := range s.requests {
		isHeld := r.resumed.IsZero() || q.sent.Before(r.resumed)
		wrong := ""
		switch {
		case q.policy != r.policy:
		case r.bad:
			wrong = "half applied, as it has a bad target"
		case isAfter(q.sent, r.cancelled):
			wrong = "cancelled"
		case isPaused && isHeld && isAfter(q.sent, r.paused):
			wrong = "paused"
		case r.canary > 0 && isHeld && !slices.ContainsFunc(r.targets[:r.canary], func(t Target) bool { return t.Instance == q.instance }):
			wrong = "held by its canary"
		}
		if wrong != "" {
			s.fail("%s is %s, but the API got %+v", r.name, wrong, q)
			return
		}
	}
}

// checkAudit looks for what somebody did and the audit does not show, and for what it shows and nobody did.
func (s *sim) checkAudit() {
	for what, n := range s.said.events {
		if n > s.tried[what] && !strings.HasPrefix(what, actionHalt) {
			s.fail("audit: %d times %s, of %d", n, what, s.tried[what])
		}
	}
	for what, n := range s.did {
		if s.said.events[what] < n {
			s.fail("audit: %d times %s, of %d", s.said.events[what], what, n)
		}
	}
}

func (s *sim) checkRepeats() {
	late, repeated := 0, 0 // late are those that were applied without the worker knowing
	for _, r := range s.requests {
		if !r.arrived.IsZero() && !r.answered {
			late++
		}
	}
	for _, target := range s.targets {
		got := s.applied(target.Instance)
		for i := 1; i < len(got); i++ {
			if got[i].policy == got[i-1].policy {
				repeated++
			}
		}
	}
	if most := s.disturbed + late; repeated > most && s.damaged == [store.Audit + 1]bool{} {
		s.fail("%d calls were repeated, at most %d may be", repeated, most)
	}
}

func (s *sim) checkPace() {
	byAccount := make(map[string][]time.Time)
	for _, r := range s.requests {
		byAccount[r.account] = append(byAccount[r.account], r.sent)
	}
	for account, times := range byAccount {
		pace, held := defaultPace, simSlice+inHand(simCalls) // what a worker has taken from the pace, and what then waits for a free call
		if slow, ok := s.paces[account]; ok {
			pace, held = slow, 1+inHand(simCalls)
		}
		held *= len(s.workers)
		for i := range times {
			for j := i + 1; j < len(times); j++ {
				n, d := j-i+1, times[j].Sub(times[i])
				if float64(n) > float64(pace.Burst+held+1)+pace.PerSecond*d.Seconds() {
					s.fail("pace: %d requests of %s in %v", n, account, d)
					return
				}
			}
		}
	}
}
