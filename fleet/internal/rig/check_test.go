//go:build linux

package rig

import (
	"fmt"

	"github.com/stretchr/testify/assert"

	"github.com/zapi-go/zapi/fleet"
)

// findings counts what is wrong with instances, and keeps some as examples.
type findings struct {
	count    int
	examples []string
}

func (f *findings) add(format string, args ...any) {
	if f.count++; len(f.examples) < 3 {
		f.examples = append(f.examples, fmt.Sprintf(format, args...))
	}
}

// check compares what was ordered, what the API got, and what the fleet reports.
func (s *scene) check() {
	s.t.Helper()
	statuses := s.statuses()
	progress := make([]fleet.Progress, len(s.rollouts))
	for number := range s.rollouts {
		if !s.rollouts[number].forgotten {
			progress[number] = s.progress(number)
		}
	}
	s.api.mu.Lock()
	var lost, old, repeated, untrue, unknown findings
	// What progress must say of each rollout.
	applied, superseded, cancelled := make([]int, len(s.rollouts)), make([]int, len(s.rollouts)), make([]int, len(s.rollouts))
	for _, target := range s.targets {
		newest := s.newest(target)
		for number, r := range s.rollouts[:max(newest, 0)] {
			if r.targets[target] {
				superseded[number]++
			}
		}
		got, last := s.api.accepted[target.Account+"-"+target.Instance], -1
		for _, number := range got {
			switch {
			case number < last:
				old.add("%v: %v", target, got)
			case number == last:
				repeated.add("%v: %v", target, got)
			}
			last = number
		}
		if newest < 0 {
			continue
		}
		status, found := statuses[target]
		isApplied := found && status.State == fleet.Applied
		switch r := s.rollouts[newest]; {
		case !found || status.Rollout != r.name:
			untrue.add("%v: status %+v, but the newest order is %s", target, status, r.name)
		case !isApplied && last == newest && r.cancelled:
			unknown.add("%v: status %+v, but the API got %v", target, status, got) // its worker was killed before it could tell
		case isApplied != (last == newest):
			untrue.add("%v: status %+v, but the API got %v", target, status, got)
		}
		switch {
		case last == newest && (isApplied || !s.rollouts[newest].cancelled):
			applied[newest]++
		case status.State == fleet.Parked && s.rollouts[newest].cancelled: // it stays so
		case s.rollouts[newest].cancelled:
			cancelled[newest]++
		default:
			lost.add("%v: r%d was ordered, and the API got %v; status %+v", target, newest, got, status)
		}
	}
	s.api.mu.Unlock()
	assert.Zero(s.t, untrue.count, "instances whose status is not true, such as %q", untrue.examples)
	for number, p := range progress {
		if s.rollouts[number].forgotten {
			continue
		}
		name := s.rollouts[number].name
		assert.Equal(s.t, len(s.rollouts[number].targets), p.Total, "%s: total of %+v", name, p)
		assert.Equal(s.t, applied[number], p.Applied, "%s: applied of %+v", name, p)
		assert.Equal(s.t, superseded[number], p.Superseded, "%s: superseded of %+v", name, p)
		assert.Equal(s.t, cancelled[number], p.Cancelled, "%s: cancelled of %+v", name, p)
		assert.Zero(s.t, p.Missing, "%s: missing of %+v", name, p)
	}
	assert.Zero(s.t, lost.count, "instances without the newest policy, such as %q", lost.examples)
	assert.Zero(s.t, old.count, "instances on which an older policy followed a newer one, such as %q", old.examples)
	assert.LessOrEqual(s.t, unknown.count, s.inFlight, "calls of cancelled rollouts whose end is not known, such as %q", unknown.examples)
	assert.LessOrEqual(s.t, repeated.count, s.inFlight, "calls repeated, such as %q", repeated.examples)
	processes := 0
	for _, w := range s.workers {
		processes += w.begun
	}
	s.api.checkPace(s.t, processes)
	s.t.Logf("%d rollouts, %d instances, %d calls repeated of at most %d", len(s.rollouts), len(s.targets), repeated.count, s.inFlight)
}
