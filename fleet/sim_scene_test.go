package fleet

import (
	"fmt"
	"slices"
	"time"
)

// A scene is a run in which one thing is wrong and all else is well, so that it can be said how fast the healthy ones must be.
type scene int

const (
	anything        scene = iota // is wrong: the usual run
	limitedInstance              // one instance always gets a 429
	hangingAccounts              // all accounts but one get no answer
	wrongToken                   // the Client-Token of all instances is refused
	outage                       // the API fails now and then, and is away for longer than the attempts of an order last
	disconnected                 // some numbers are not connected for as long
	wrongClock                   // the clock of a worker is far off
	scenes
)

// healthyAccount is the one that answers while the others hang.
const healthyAccount = "well"

func (s *sim) setScene(kind scene) {
	s.scene = kind
	add := func(account string, n int) {
		for range n {
			s.targets = append(s.targets, Target{account, fmt.Sprint("I", len(s.targets))})
		}
	}
	switch kind {
	case limitedInstance:
		add("acc0", 4+s.rng.IntN(9))
		s.sick = s.targets[s.rng.IntN(len(s.targets))].Instance
		s.paces["acc0"] = Pace{PerSecond: 1, Burst: 1}
	case hangingAccounts:
		for i := range 2 + s.rng.IntN(2) {
			add(fmt.Sprint("hangs", i), 10)
		}
		add(healthyAccount, 80)
	case wrongToken:
		add("acc0", 40)
	case outage:
		add("acc0", 1+s.rng.IntN(3))
		s.profile.fail, s.profile.hang = 0.5, 0.2
	case disconnected:
		add("acc0", 6)
		s.profile.disconnects = true
	case wrongClock:
		add("acc0", 20)
		s.skew[0] = []time.Duration{-time.Hour, time.Hour}[s.rng.IntN(2)]
	}
	s.addRollout(s.targets)
}

// playScene starts one rollout, and looks at what one thing that is wrong does to the rest.
func (s *sim) playScene() {
	s.startWorkers(1 + s.rng.IntN(2))
	time.Sleep(time.Second)
	s.setPaces()
	s.start(s.rollouts[0], s.targets)
	switch s.scene {
	case limitedInstance:
		healthy := slices.DeleteFunc(slices.Clone(s.targets), func(t Target) bool { return t.Instance == s.sick })
		s.areServed(healthy, 10*time.Second+time.Duration(len(s.targets))*time.Second) // at its pace
	case hangingAccounts:
		healthy := slices.DeleteFunc(slices.Clone(s.targets), func(t Target) bool { return t.Account != healthyAccount })
		s.areServed(healthy, 10*time.Second+3*simApply) // the others may take all calls first, and go on with what is in hand
		time.Sleep(90 * time.Second)
		before := s.calls("hangs0")
		time.Sleep(time.Minute)
		if n := s.calls("hangs0") - before; n > 3*len(s.workers) { // a probe takes as long as a call, and 5 seconds and more pass before another
			s.fail("pace: %d calls within a minute for an account that hangs", n)
		}
	case wrongToken:
		time.Sleep(time.Minute)
		if n := s.calls("acc0"); n > len(s.workers)*(fewestParked+simCalls) {
			s.fail("halt: %d calls were refused", n)
		}
	case disconnected:
		time.Sleep(2 * time.Hour)
	case wrongClock:
		s.areServed(s.targets, 10*time.Second)
	case outage:
		time.Sleep(upTo(s.rng, time.Minute))
		s.setAway(80*time.Minute + upTo(s.rng, 40*time.Minute))
		time.Sleep(2 * time.Hour)
	}
}

// areServed fails unless the API has served all targets within that time.
func (s *sim) areServed(targets []Target, within time.Duration) {
	time.Sleep(within)
	s.mu.Lock()
	n := 0
	for _, target := range targets {
		n += min(1, len(s.applied(target.Instance)))
	}
	s.mu.Unlock()
	if n < len(targets) {
		s.fail("pace: %d of %d healthy instances were served within %v", n, len(targets), within)
	}
}

// calls returns how many calls were made for an account.
func (s *sim) calls(account string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.requests {
		if q.account == account {
			n++
		}
	}
	return n
}
