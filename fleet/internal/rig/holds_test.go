//go:build linux

package rig

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/fleet"
)

// A rollout is held while workers and the server are killed, and a newer one goes on over it. Then it is resumed by another
// process, or cancelled.
func TestHeld(t *testing.T) {
	t.Parallel()
	const canary = 40
	holds := []string{"canary", "paused"}
	ends := []string{"resumed", "cancelled"}
	for i, hold := range holds {
		for k, end := range ends {
			if i != k && !*long {
				continue
			}
			t.Run(hold+" "+end, func(t *testing.T) {
				s := newScene(t, 1, 2, 450, "acme")
				first := s.plan(s.targets)
				most := canary
				if hold == "canary" {
					s.rollouts[first].canary = canary
				}
				s.orderAgain(first)
				s.until(canary / 2)
				s.killed(s.workers[0])
				if hold == "paused" {
					s.with(func(ctx context.Context, f *fleet.Fleet) error { return f.Pause(ctx, s.rollouts[first].name) })
					most = s.api.has(first) + perSecond/2 + burst + late // within the second in which the other worker may not know
				}
				s.workers[0].start()
				assert.Contains(t, s.rest(first).Held, hold)
				s.killed(s.nodes[0].process, s.workers[1])
				startAll(s.nodes[0].process, s.workers[1])
				newer := s.order(part(s.targets, 3))
				s.finish(newer)
				assert.LessOrEqual(t, s.api.has(first), most, "accepted of the rollout that is held")
				assert.Contains(t, s.rest(first).Held, hold)
				if end == "cancelled" {
					s.cancel(first)
				} else {
					operator := s.launch("operator", 0, "RIG_RESUME="+s.rollouts[first].name)
					require.NoError(t, operator.wait())
					assert.Empty(t, s.progress(first).Held)
				}
				s.finish(first)
				s.check()
			})
		}
	}
}

// 10,000 orders are held in an account, and another rollout of that account goes on behind them.
func TestManyHeld(t *testing.T) {
	s := newScene(t, 1, 2, 10_300, "acme")
	first := s.plan(s.targets[:10_000])
	s.rollouts[first].canary = 1
	s.orderAgain(first)
	s.finish(s.order(s.targets[10_000:]))
	assert.NotEmpty(t, s.rest(first).Held)
	assert.Equal(t, 1, s.api.has(first), "accepted of the rollout that is held")
	if !*long {
		s.cancel(first)
	}
	s.finish(first)
	s.check()
}

// All instances are refused, as with a wrong token: each worker halts the rollout by itself. Once that is mended, it goes on.
func TestHalted(t *testing.T) {
	const fewestParked = 10
	s := newScene(t, 1, 3, 400, "acme")
	s.api.set(func(string, string) answer { return answer{status: http.StatusUnauthorized, after: time.Second} })
	first := s.order(s.targets)
	rounds := 1
	if *long {
		rounds = 3 // resumed, and not mended
	}
	for round := range rounds {
		if round > 0 {
			s.resume(first)
		}
		held := s.rest(first)
		refused := s.api.asked("acme", "")
		t.Logf("%d refused: %s", refused, held.Held)
		assert.True(t, strings.HasPrefix(held.Held, "halted: "), held.Held)
		assert.LessOrEqual(t, refused, (round+1)*len(s.workers)*(fewestParked+calls), "refusals, of all workers")
	}
	s.api.set(nil)
	s.retry()
	assert.Zero(t, s.api.has(first), "accepted before it is resumed")
	s.resume(first)
	assert.Zero(t, s.finish(first).Parked)
	s.check()
}
