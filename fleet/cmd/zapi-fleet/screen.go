package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/zapi-go/zapi/fleet"
)

// screen is where commands show what they do.
type screen struct {
	w        io.Writer
	terminal bool
}

func newScreen(w io.Writer) *screen {
	file, ok := w.(*os.File)
	return &screen{w, ok && term.IsTerminal(int(file.Fd()))}
}

func (s *screen) print(text string) { fmt.Fprint(s.w, text) }

// plainEvery is the time between two lines where the output is no terminal.
const plainEvery = 5 * time.Second

// follow shows the progress of a rollout until it is done: on a terminal in one line that changes, elsewhere in a line every
// few seconds.
func (s *screen) follow(ctx context.Context, f *fleet.Fleet, name string) (last fleet.Progress, err error) {
	var shown time.Time
	width := 0
	for p, err := range f.Watch(ctx, name) {
		if err != nil {
			if s.terminal {
				s.print("\n")
			}
			return last, err
		}
		last = p
		line := name + "  " + progressLine(p)
		switch {
		case s.terminal:
			width = max(width, len([]rune(line)))
			fmt.Fprintf(s.w, "\r%-*s", width, line)
		case p.Done() || time.Since(shown) >= plainEvery:
			shown = time.Now()
			s.print(line + "\n")
		}
	}
	if s.terminal {
		s.print("\n")
	}
	return last, nil
}

// progressLine is the progress as a bar and numbers.
func progressLine(p fleet.Progress) string {
	const width = 30
	settled := p.Applied + p.Parked + p.Superseded
	share := 0.0
	if p.Total > 0 {
		share = float64(settled) / float64(p.Total)
	}
	full := int(share * width)
	parts := []string{
		strings.Repeat("█", full) + strings.Repeat("░", width-full) + fmt.Sprintf("  %d %%", int(share*100)),
		number(settled) + " of " + number(p.Total),
		fmt.Sprintf("%.0f/s", p.PerSecond),
	}
	if p.Left > 0 {
		parts = append(parts, p.Left.String()+" left")
	}
	for _, count := range []struct {
		name string
		n    int
	}{{"applying", p.Applying}, {"waiting", p.Waiting}, {"parked", p.Parked}, {"superseded", p.Superseded}} {
		if count.n > 0 {
			parts = append(parts, count.name+" "+number(count.n))
		}
	}
	return strings.Join(parts, "   ")
}

// table counts instances by account.
func (s *screen) table(ctx context.Context, f *fleet.Fleet, q fleet.Filter) error {
	type row struct {
		states map[fleet.State]int
		kinds  map[string]int
	}
	rows := make(map[string]row)
	for status, err := range f.Statuses(ctx, q) {
		if err != nil {
			return err
		}
		r, ok := rows[status.Account]
		if !ok {
			r = row{make(map[fleet.State]int), make(map[string]int)}
			rows[status.Account] = r
		}
		r.states[status.State]++
		if status.Kind != "" {
			r.kinds[status.Kind]++
		}
	}
	t := tabwriter.NewWriter(s.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ACCOUNT\tPENDING\tAPPLYING\tAPPLIED\tWAITING\tPARKED\tSUPERSEDED\t  REASONS")
	for _, account := range slices.Sorted(maps.Keys(rows)) {
		r := rows[account]
		fmt.Fprintf(t, "%s\t", account)
		for _, state := range []fleet.State{fleet.Pending, fleet.Applying, fleet.Applied, fleet.Waiting, fleet.Parked, fleet.Superseded} {
			fmt.Fprintf(t, "%s\t", number(r.states[state]))
		}
		kinds := slices.SortedFunc(maps.Keys(r.kinds), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.kinds[b], r.kinds[a]), cmp.Compare(a, b))
		})
		for i, kind := range kinds {
			kinds[i] = kind + " " + number(r.kinds[kind])
		}
		fmt.Fprintln(t, "  "+strings.Join(kinds, ", "))
	}
	return t.Flush()
}

// list shows one instance per line.
func (s *screen) list(ctx context.Context, f *fleet.Fleet, q fleet.Filter) error {
	t := tabwriter.NewWriter(s.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACCOUNT\tINSTANCE\tROLLOUT\tSTATE\tATTEMPTS\tAT\tREASON")
	for status, err := range f.Statuses(ctx, q) {
		if err != nil {
			return err
		}
		reason := status.Kind
		if status.Error != "" {
			reason += ": " + status.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", status.Account, status.Instance, status.Rollout, status.State,
			status.Attempts, status.At.UTC().Format(time.RFC3339), reason)
	}
	return t.Flush()
}

// number writes 12,345.
func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
