package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/zapi-go/zapi/fleet"
)

func watch(flags *flag.FlagSet) action {
	var e engine
	e.define(flags)
	name := rolloutFlag(flags)
	timeout := flags.Duration("timeout", 0, "how `long` to watch (default until it is done or held)")
	return func(ctx context.Context, out *screen) error {
		return e.with(ctx, func(f *fleet.Fleet) error {
			w := watcher{fleet: f, name: *name, out: out, engine: &e}
			last, err := w.watch(ctx, *timeout)
			if err != nil {
				return missingRollout(ctx, f, *name, err)
			}
			if !out.json && last.Total > 0 {
				if err := out.counts(ctx, f, fleet.Filter{Rollout: *name}); err != nil {
					return err
				}
			}
			return w.conclude(last)
		})
	}
}

// The outcomes of a rollout, as -json names them.
const (
	ordering   = "ordering"
	running    = "running"
	held       = "held"
	applied    = "applied"
	incomplete = "incomplete"
)

// verdict says what has become of a rollout, and the exit code for it.
func verdict(p fleet.Progress) (outcome string, code exit) {
	switch {
	case p.Ordering:
		return ordering, exitWrong
	case p.Held != "":
		return held, exitHeld
	case p.Pending+p.Applying+p.Waiting > 0:
		return running, exitInterrupted
	case p.Parked+p.Cancelled+p.Missing > 0 || p.Superseded == p.Total:
		return incomplete, exitIncomplete
	}
	return applied, exitDone
}

// watcher shows the progress of a rollout.
type watcher struct {
	fleet    *fleet.Fleet
	name     string
	out      *screen
	engine   *engine
	rests    bool      // nothing of it is in flight any more
	shown    time.Time // when a line was printed
	worked   time.Time // when a worker was seen last
	waits    string    // why and until when some wait
	waitedAt time.Time // when that was asked
}

const (
	plainEvery = 5 * time.Second  // the time between two lines where the output is no terminal
	waitsEvery = 10 * time.Second // after which is asked again why some wait
	stillAfter = 10 * time.Second // without a change, what orders has been killed
	lostAfter  = 3 * time.Second  // without a change, what is missing does not come back
)

var errTimeout = errors.New("timeout")

// watch shows the progress until the rollout rests. An ordering that stands still, and one with nothing left but what is missing, end it too.
func (w *watcher) watch(ctx context.Context, timeout time.Duration) (last fleet.Progress, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if timeout > 0 {
		timer := time.AfterFunc(timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	changes, ended := make(chan fleet.Progress), make(chan error, 1)
	go func() {
		defer close(changes)
		for p, err := range w.fleet.Watch(ctx, w.name) {
			if err != nil {
				ended <- err
				return
			}
			changes <- p
		}
	}()
	changed := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for known := false; ; {
		select {
		case p, ok := <-changes:
			if !ok {
				if outcome, _ := verdict(last); known && (!w.out.json || outcome == held && ctx.Err() == nil) {
					w.rests = true
					w.show(ctx, last, true)
				}
				select {
				case err = <-ended:
				default:
				}
				switch cause := context.Cause(ctx); {
				case errors.Is(cause, errStill):
					return last, nil
				case errors.Is(cause, errTimeout):
					return last, w.late(last)
				}
				return last, err
			}
			known, last, changed = true, p, time.Now()
			w.show(ctx, last, w.out.json)
		case <-ticker.C:
			if known && !w.out.json {
				w.show(ctx, last, false)
			}
			still := time.Since(changed)
			outcome, _ := verdict(last)
			if known && (outcome == ordering && still > stillAfter || outcome == incomplete && still > lostAfter) {
				cancel(errStill)
			}
		}
	}
}

// late is the end by -timeout.
func (w *watcher) late(p fleet.Progress) error {
	if p.Ordering {
		return w.conclude(p)
	}
	if !w.out.json {
		w.out.sayf("%s: not done in time: %s left", w.name, number(p.Pending+p.Applying+p.Waiting))
	}
	return exit(exitInterrupted)
}

var errStill = errors.New("nothing changes any more")

// show prints the progress: on a terminal in one line that changes, elsewhere in a line every few seconds.
func (w *watcher) show(ctx context.Context, p fleet.Progress, now bool) {
	if p.Workers > 0 {
		w.worked = time.Now()
	}
	if w.out.json {
		if now {
			outcome, _ := verdict(p)
			if outcome == held && !w.rests {
				outcome = running // what has begun goes on
			}
			w.out.object(fields{"rollout": w.name, "outcome": outcome}, p)
		}
		return
	}
	if !w.out.terminal && !now && time.Since(w.shown) < plainEvery {
		return
	}
	w.shown = time.Now()
	w.explain(ctx, p)
	line := progressLine(w.name, p, w.remarks(p), w.out.width()-1)
	if w.out.terminal {
		w.out.print("\r" + line + "\x1b[K")
		if now {
			w.out.print("\n")
		}
		return
	}
	w.out.print(line + "\n")
}

// explain asks why and until when some wait.
func (w *watcher) explain(ctx context.Context, p fleet.Progress) {
	if p.Waiting == 0 {
		w.waits = ""
		return
	}
	if ctx.Err() != nil || time.Since(w.waitedAt) < waitsEvery {
		return
	}
	w.waitedAt = time.Now()
	kinds, until := make(map[string]int), time.Time{}
	for s, err := range w.fleet.Statuses(ctx, fleet.Filter{Rollout: w.name, State: fleet.Waiting}) {
		if err != nil {
			return
		}
		kinds[s.Kind]++
		if s.NotBefore.After(until) {
			until = s.NotBefore
		}
	}
	if len(kinds) > 0 {
		w.waits = fmt.Sprintf("%s, tried again until %s", reasons(kinds), until.Local().Format("15:04:05"))
	}
}

// remarks say what keeps the rollout from going on.
func (w *watcher) remarks(p fleet.Progress) (all []string) {
	if away := w.engine.awaySince(); !away.IsZero() {
		all = append(all, fmt.Sprintf("the engine is away for %v", time.Since(away).Round(time.Second)))
	}
	if p.Pending+p.Applying+p.Waiting > 0 && !p.Ordering {
		since := time.Since(w.worked)
		switch {
		case p.Workers == 1:
			all = append(all, "1 worker")
		case p.Workers > 0:
			all = append(all, number(p.Workers)+" workers")
		case w.worked.IsZero():
			all = append(all, "no worker yet")
		case p.Held == "" && since > time.Minute:
			all = append(all, fmt.Sprintf("no worker has been seen for %.0f min", since.Minutes()))
		}
	}
	if w.waits != "" {
		all = append(all, w.waits)
	}
	return all
}

// conclude says how it ended, and with which code.
func (w *watcher) conclude(p fleet.Progress) error {
	outcome, code := verdict(p)
	var text string
	switch outcome {
	case ordering:
		text = fmt.Sprintf("still ordering: %s so far; start it again to go on", number(p.Total))
	case held:
		text = fmt.Sprintf("held: %s; to go on: zapi-fleet resume -name %s", strings.TrimPrefix(p.Held, "held: "), w.name)
	case incomplete:
		text = ended(p)
	default:
		text = number(p.Applied) + " applied"
		if p.Superseded > 0 {
			text += fmt.Sprintf(", %s taken over by newer rollouts", number(p.Superseded))
		}
	}
	if !w.out.json {
		w.out.sayf("%s: %s", w.name, text)
	}
	if code == exitDone {
		return nil
	}
	return code
}

// ended says what is not as it was ordered.
func ended(p fleet.Progress) string {
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{{p.Cancelled, "taken back"}, {p.Parked, "parked"}, {p.Missing, "missing: start it again"}, {p.Superseded, "superseded"}} {
		if part.n > 0 {
			parts = append(parts, number(part.n)+" "+part.text)
		}
	}
	return strings.Join(append(parts, number(p.Applied)+" applied"), ", ")
}

// progressLine is the progress as a bar and numbers, in a number of columns. What is least needed is left out first.
func progressLine(name string, p fleet.Progress, remarks []string, columns int) string {
	settled := p.Applied + p.Parked + p.Superseded + p.Cancelled
	share := 0.0
	if p.Total > 0 {
		share = float64(p.Applied+p.Superseded) / float64(p.Total)
	}
	parts := []string{fmt.Sprintf("%s  %d %%", escape(name), int(share*100)), number(settled) + " of " + number(p.Total)}
	if p.Ordering {
		parts = []string{escape(name) + "  ordering: " + number(p.Total) + " so far"}
	}
	if p.Held != "" && !p.Ordering {
		parts = append(parts, escape(p.Held))
	}
	for _, count := range []struct {
		name string
		n    int
	}{{"parked", p.Parked}, {"cancelled", p.Cancelled}, {"missing", p.Missing}, {"waiting", p.Waiting}, {"applying", p.Applying}, {"superseded", p.Superseded}} {
		if count.n > 0 {
			parts = append(parts, count.name+" "+number(count.n))
		}
	}
	if p.PerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.0f/s", p.PerSecond))
	}
	if p.Left > 0 {
		parts = append(parts, p.Left.String()+" left")
	}
	for _, remark := range remarks {
		parts = append(parts, escape(remark))
	}
	line := parts[0]
	for _, part := range parts[1:] {
		if len([]rune(line+part))+3 > columns {
			break
		}
		line += "   " + part
	}
	const bar = 20
	if len([]rune(line))+bar+2 <= columns && !p.Ordering {
		full := int(share * bar)
		line = strings.Repeat("█", full) + strings.Repeat("░", bar-full) + "  " + line
	}
	if runes := []rune(line); len(runes) > columns {
		line = string(runes[:columns])
	}
	return line
}
