package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/fleet/internal/counts"
)

func watch(ctx context.Context, s *session) error {
	w := &watcher{session: s, began: time.Now()}
	s.changed = func(up bool) {
		if now := time.Now(); up {
			w.away.Store(nil)
		} else {
			w.away.Store(&now)
		}
	}
	return withEngine(func(ctx context.Context, _ *session) error { return w.conclude(ctx, w.follow(ctx)) })(ctx, s)
}

// verdict is the exit code for what has become of a rollout.
func verdict(p fleet.Progress) exit {
	switch {
	case p.Ordering:
		return exitWrong
	case p.Held != "":
		return exitHeld
	case p.Pending+p.Applying+p.Waiting > 0:
		return exitInterrupted
	case p.Parked+p.Cancelled+p.Missing > 0 || p.Superseded == p.Total:
		return exitIncomplete
	}
	return exitDone
}

// outcome is the verdict e in the words of -json.
func (e exit) outcome() string {
	return [...]string{"applied", "running", "ordering", "incomplete", "held"}[e]
}

// watcher shows the progress of a rollout.
type watcher struct {
	*session
	began time.Time
	away  atomic.Pointer[time.Time] // since when the engine is; nil while it is there

	mu     sync.Mutex
	last   fleet.Progress
	shown  time.Time // when a line was printed
	worked time.Time // when a worker was seen last
	waits  string    // why some wait
	until  time.Time // when the last of them is tried again
	asked  time.Time // when that was asked
}

const (
	plainEvery = 5 * time.Second  // the time between two lines where the output is no terminal
	askEvery   = 10 * time.Second // after which is asked again why some wait
	unseenFor  = 3 * time.Second  // without a worker, there is none; they take a moment to begin
	stillAfter = 10 * time.Second // without a change, what orders has been killed
	lostAfter  = 3 * time.Second  // without a change, what is missing does not come back
)

var (
	errTimeout = errors.New("timeout")
	errStill   = errors.New("nothing changes any more")
)

// follow shows the progress until the rollout rests. It returns errStill for an ordering that stands still, and for a rollout with
// nothing left but what is missing.
func (w *watcher) follow(ctx context.Context) error {
	var redraws sync.WaitGroup
	defer redraws.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if w.timeout > 0 {
		timer := time.AfterFunc(w.timeout, func() { stop(errTimeout) })
		defer timer.Stop()
	}
	still := time.AfterFunc(stillAfter, func() { stop(errStill) })
	still.Stop()
	defer still.Stop()
	redraws.Go(func() {
		for sleep(ctx, time.Second) {
			w.draw(ctx, false)
		}
	})
	for p, err := range w.fleet.Watch(ctx, w.filter.Rollout) {
		if err != nil {
			return err
		}
		still.Stop()
		code := verdict(p)
		switch code {
		case exitWrong: // it is still ordering
			still.Reset(stillAfter)
		case exitIncomplete:
			still.Reset(lostAfter)
		case exitHeld:
			code = exitInterrupted // what has begun goes on
		}
		w.object(fields{"rollout": w.filter.Rollout, "outcome": code.outcome()}, p)
		w.mu.Lock()
		w.last = p
		w.mu.Unlock()
		w.draw(ctx, false)
	}
	return nil
}

// draw prints the last progress: on a terminal in one line that changes, elsewhere in a line every few seconds, and at the end.
func (w *watcher) draw(ctx context.Context, isEnd bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last.Workers > 0 {
		w.worked = time.Now()
	}
	if w.json || w.last == (fleet.Progress{}) || !isEnd && w.terminal == nil && time.Since(w.shown) < plainEvery {
		return
	}
	w.shown = time.Now()
	if !isEnd {
		w.explain(ctx)
	}
	p := w.last
	if w.away.Load() != nil {
		p.PerSecond, p.Left = 0, 0 // nobody knows
	}
	line := progressLine(w.filter.Rollout, p, w.remarks(p), w.width()-1)
	switch {
	case w.terminal == nil:
		w.print(line + "\n")
	case isEnd:
		w.print("\r" + line + "\x1b[K\n")
	default:
		w.print("\r" + line + "\x1b[K")
	}
}

// explain asks why and until when some wait.
func (w *watcher) explain(ctx context.Context) {
	if w.last.Waiting == 0 || time.Since(w.asked) < askEvery {
		return
	}
	w.asked = time.Now()
	kinds, until := make(map[string]int), time.Time{}
	for i, err := range w.fleet.Statuses(ctx, fleet.Filter{Rollout: w.filter.Rollout, State: fleet.Waiting}) {
		if err != nil {
			return
		}
		kinds[i.Kind]++
		if i.NotBefore.After(until) {
			until = i.NotBefore
		}
	}
	if len(kinds) > 0 {
		w.waits, w.until = counts.Kinds(kinds), until
	}
}

// remarks say what keeps the rollout from going on.
func (w *watcher) remarks(p fleet.Progress) (all []string) {
	if away := w.away.Load(); away != nil {
		return []string{fmt.Sprintf("the engine is away for %v", time.Since(*away).Round(time.Second))}
	}
	unseen := time.Since(w.worked)
	if w.worked.IsZero() { // a worker that did something within a minute before this watch would have counted
		unseen = time.Minute + time.Since(w.began)
	}
	switch {
	case p.Pending+p.Applying+p.Waiting == 0 || p.Ordering:
	case p.Workers == 1:
		all = append(all, "1 worker")
	case p.Workers > 0:
		all = append(all, counts.Number(p.Workers)+" workers")
	case p.Pending+p.Applying == 0 && time.Now().Before(w.until): // nobody has anything to do before
	case w.worked.IsZero() && time.Since(w.began) < unseenFor:
	case w.worked.IsZero() && p.Applied+p.Parked+p.Waiting == 0:
		all = append(all, "no worker yet")
	case p.Held == "" && unseen > time.Minute:
		all = append(all, fmt.Sprintf("no worker has been seen for %.0f min", unseen.Minutes()))
	}
	switch {
	case p.Waiting == 0 || w.waits == "":
	case time.Now().After(w.until): // their turn comes when the API is back, or the pace allows
		all = append(all, w.waits)
	default:
		all = append(all, fmt.Sprintf("%s, tried again by %s", w.waits, w.until.Local().Format("15:04:05")))
	}
	return all
}

// conclude says how it ended: at rest, or with the error of follow.
func (w *watcher) conclude(ctx context.Context, err error) error {
	w.draw(ctx, true)
	p, name := w.last, w.filter.Rollout
	code, text, timedOut := verdict(p), ended(p), errors.Is(err, errTimeout)
	switch {
	case err != nil && !timedOut && !errors.Is(err, errStill):
		return err
	case code == exitWrong:
		text = fmt.Sprintf("still ordering: %s so far; start it again to go on", counts.Number(p.Total))
	case timedOut:
		code, text = exitInterrupted, fmt.Sprintf("not done in time: %s left", counts.Number(p.Pending+p.Applying+p.Waiting+p.Missing))
		if p == (fleet.Progress{}) {
			text = "not counted in time"
		}
	case code == exitHeld:
		text = fmt.Sprintf("held: %s; to go on: zapi-fleet resume -name %s", strings.TrimPrefix(p.Held, "held: "), name)
		w.object(fields{"rollout": name, "outcome": code.outcome()}, p)
	}
	if !w.json && !timedOut && p.Total > 0 {
		if err := w.counts(ctx); err != nil {
			return err
		}
	}
	w.textf("%s: %s", name, text)
	return code
}

// ended says what is not as it was ordered, and what is.
func ended(p fleet.Progress) string {
	missing := "%s missing: start it again"
	if p.Done() { // it was cancelled, so that cannot be
		missing = "%s missing"
	}
	parts := []string{
		counted("%s taken back", p.Cancelled), counted("%s parked", p.Parked), counted(missing, p.Missing),
		counted("%s superseded", p.Superseded), counts.Number(p.Applied) + " applied",
	}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ", ")
}

// progressLine is the progress as a bar and numbers, in a number of columns. What is least needed is left out first.
func progressLine(name string, p fleet.Progress, remarks []string, columns int) string {
	share := 0.0
	if p.Total > 0 {
		share = float64(p.Applied+p.Superseded) / float64(p.Total)
	}
	line := fmt.Sprintf("%s  %d %%", name, int(share*100))
	parts := []string{
		counts.Number(p.Applied+p.Parked+p.Superseded+p.Cancelled) + " of " + counts.Number(p.Total),
		p.Held, counted("parked %s", p.Parked), counted("cancelled %s", p.Cancelled), counted("missing %s", p.Missing),
		counted("waiting %s", p.Waiting), counted("applying %s", p.Applying), counted("superseded %s", p.Superseded),
		counted("%s/s", int(math.Round(p.PerSecond))),
	}
	if p.Ordering {
		line = fmt.Sprintf("%s  ordering: %s so far", name, counts.Number(p.Total))
		parts[0], parts[1] = "", ""
	}
	if p.Left > 0 {
		parts = append(parts, p.Left.String()+" left")
	}
	line = escape(line)
	for _, part := range append(parts, remarks...) {
		if part == "" {
			continue
		}
		longer := line + "   " + escape(part)
		if utf8.RuneCountInString(longer) > columns {
			break
		}
		line = longer
	}
	const bar = 20
	if utf8.RuneCountInString(line)+bar+2 <= columns && !p.Ordering {
		full := int(share * bar)
		line = strings.Repeat("█", full) + strings.Repeat("░", bar-full) + "  " + line
	}
	runes := []rune(line)
	return string(runes[:min(len(runes), columns)])
}
