//go:build linux

package rig

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// Faults follow each other at random, while rollouts are started, held, cancelled and retried. Each round has its own servers, and a seed
// that repeats what is done, though not when the processes do their part.
func TestRandom(t *testing.T) {
	t.Parallel()
	first := *seed
	if first == 0 {
		first = uint64(time.Now().Unix())
	}
	for round, begun := first, time.Now(); round == first || time.Since(begun) < *duration; round++ {
		t.Run(fmt.Sprint("seed ", round), func(t *testing.T) {
			s := newScene(t, t.TempDir(), 3, 3, 150, "acme globex")
			s.round(rand.New(rand.NewPCG(round, 0)))
		})
	}
}

func (s *scene) round(random *rand.Rand) {
	upTo := func(seconds int) time.Duration { return time.Duration(random.IntN(seconds*1000)) * time.Millisecond }
	faults := 3
	if *long {
		faults = 10
	}
	for range faults {
		s.act(random)
		fault := s.faults()[random.IntN(len(s.faults()))]
		length := upTo(fault.seconds)
		s.t.Logf("%s for %s", fault.name, length)
		ended := time.Now().Add(length)
		victim := random.IntN(3)
		fault.begin(victim)
		if !fault.noQuorum {
			s.act(random)
		}
		time.Sleep(time.Until(ended))
		fault.end(victim)
		time.Sleep(upTo(3))
	}
	s.order(part(s.targets, 3))
	s.meanwhile = func(int) { s.retry() }
	for number, r := range s.rollouts {
		for s.finish(number).Parked > 0 && !r.cancelled { // an answer of the last storm has come late
			time.Sleep(time.Second)
		}
	}
	s.check()
}

// act orders, holds, cancels or retries.
func (s *scene) act(random *rand.Rand) {
	last := len(s.rollouts) - 1
	switch n := random.IntN(10); {
	case n == 0 && last >= 0:
		s.t.Logf("cancel r%d", last)
		s.cancel(last)
	case n == 1 && last >= 0:
		s.t.Log("retry")
		s.retry()
	case n == 2 && last >= 0 && !s.rollouts[last].cancelled:
		s.t.Logf("pause r%d", last)
		s.pause(last)
	case n == 3 && last >= 0 && !s.rollouts[last].cancelled:
		s.t.Logf("resume r%d", last)
		s.resume(last)
	case n < 9:
		some, canary := part(s.targets[random.IntN(20):], 1+random.IntN(3)), 20*random.IntN(2)
		s.t.Logf("start r%d for %d, canary %d", last+1, len(some), canary)
		s.start(s.plan(some, canary))
	}
}

type fault struct {
	name       string
	seconds    int // at most
	noQuorum   bool
	begin, end func(victim int)
}

func (s *scene) faults() []fault {
	storm := func(name string, reply answer) fault {
		return fault{name, 6, false, func(victim int) {
			s.api.set(func(_, instance string) answer {
				if len(instance) > 0 && int(instance[len(instance)-1]-'0')%3 == victim {
					return reply
				}
				return answer{}
			})
		}, func(int) { s.api.set(nil) }}
	}
	return []fault{
		{"kill a worker", 3, false, func(v int) { s.killed(s.workers[v]) }, func(v int) { s.workers[v].start() }},
		{"hang a worker", 30, false, func(v int) { s.hang(s.workers[v]) }, func(v int) { s.workers[v].signal(syscall.SIGCONT) }},
		{"kill a node", 8, false, func(v int) { s.killed(s.nodes[v].process) }, func(v int) { s.nodes[v].start() }},
		{"kill two nodes", 4, true, func(v int) {
			s.killed(s.nodes[v].process, s.nodes[(v+1)%3].process)
		}, func(v int) {
			s.nodes[v].start()
			s.nodes[(v+1)%3].start()
		}},
		{"hang a node", 30, false, func(v int) { s.hang(s.nodes[v].process) }, func(v int) { s.nodes[v].signal(syscall.SIGCONT) }},
		{"rotate the token", 6, true, func(int) { s.accept("another") }, func(int) { s.accept(token) }},
		storm("answer 503", answer{status: http.StatusServiceUnavailable}),
		storm("answer 429", answer{status: http.StatusTooManyRequests, retryAfter: 2}),
		storm("answer 403", answer{status: http.StatusForbidden}),
		storm("answer nothing", answer{hang: true}),
	}
}
