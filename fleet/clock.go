package fleet

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// A clock follows that of the engine, which all workers share, so the times that they write agree even where the clocks of
// their machines do not. It asks the engine for the time every now and then, and counts on from there by the monotonic clock
// of this machine: whoever sets that machine's wall clock moves nothing. Where a machine sleeps, the monotonic clock stands
// still and the wall clock does not, so the engine is asked again before a claim when the two no longer agree.
type clock struct {
	store store.Store
	log   *slog.Logger
	grace time.Duration
	wall  func() time.Time

	mu     sync.Mutex
	engine time.Time // of the last answer
	local  time.Time // by the clocks of this machine, then
}

func newClock(s store.Store, log *slog.Logger, t timing) *clock {
	return &clock{store: s, log: log, grace: t.grace, wall: t.wall, engine: t.wall(), local: time.Now()}
}

// now returns the time by the clock of the engine, as precise as it is stored.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine.Add(time.Since(c.local)).UTC().Truncate(time.Millisecond)
}

func (c *clock) until(t time.Time) time.Duration { return t.Sub(c.now()) }

// measure asks the engine for the time. It says so when the clock of this machine differs: its logs do, too.
func (c *clock) measure(ctx context.Context) {
	asked := time.Now()
	engine, err := c.store.Now(ctx)
	local := time.Now()
	took := local.Sub(asked)
	if err != nil || took > c.grace/3 { // too long to be exact: the last answer is better
		return
	}
	engine = engine.Add(took / 2)
	if off := c.wall().Round(0).Sub(engine).Round(time.Second); off.Abs() >= c.grace {
		c.log.WarnContext(ctx, "the clock of this machine differs from that of the engine", "by", off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine, c.local = engine, local
}

// follow measures the clock until ctx is done.
func (c *clock) follow(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, 30*time.Second) {
		c.measure(ctx)
	}
}

// check measures the clock if the wall clock of this machine has been set, or the machine has slept, since the engine was asked.
func (c *clock) check(ctx context.Context) {
	c.mu.Lock()
	elapsed := c.wall().Round(0).Sub(c.local.Round(0))
	jumped := (elapsed - time.Since(c.local)).Abs() > time.Second
	c.mu.Unlock()
	if jumped {
		c.measure(ctx)
	}
}
