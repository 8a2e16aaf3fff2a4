// Command faults calls zapi over a network that keeps failing, and checks what callers rely on.
//
//	cd internal/faults
//	go run .
//	go run . -duration 5m -seed 7
//
// Toxiproxy stands between the client and a fake server. While a seeded schedule switches its faults on and off, many
// goroutines replace blacklists. Whatever the network does, an error must be of the documented types, without secrets
// and without phones, within the deadline; success must be true; and once the faults are over, one more call must bring
// each list to what is wanted, with nothing left behind. The exit code is 1 when any of this does not hold.
//
// The seed fixes the faults and what is called, not how both meet.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var r rig
	flags.DurationVar(&r.duration, "duration", 30*time.Second, "how long the network fails")
	flags.Uint64Var(&r.seed, "seed", 1, "of the schedule and of what is called")
	flags.IntVar(&r.goroutines, "goroutines", 64, "how many call at once")
	flags.IntVar(&r.instances, "instances", 200, "how many instances they share out; each has four blacklists")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case r.goroutines < 1 || r.instances < r.goroutines:
		return errors.New("there must be a goroutine, and an instance for each")
	}

	res, err := r.run()
	if err != nil {
		return err
	}
	if err := res.print(stdout); err != nil {
		return err
	}
	return res.verdict()
}

func (r result) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(table, "%s\t%v\n", name, value) }
	section := func(name string, counts map[string]int) {
		row(name, sum(counts))
		for _, key := range slices.Sorted(maps.Keys(counts)) {
			row("  "+key, counts[key])
		}
	}
	row("seed", r.seed)
	row("duration", r.duration)
	row("goroutines", r.goroutines)
	row("instances", r.instances)
	section("faults", r.faults)
	row("calls", r.calls)
	row("succeeded", r.succeeded)
	section("failed", r.failed)
	row("requests", r.requests)
	row("retries among them", r.retries)
	row("overtaken by a request given up before", r.overtaken)
	row("violations", r.violations)
	row("final mismatches", r.mismatches)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, example := range r.examples {
		fmt.Fprintln(out, "violation:", example)
	}
	return nil
}

func sum(counts map[string]int) int {
	total := 0
	for _, count := range counts {
		total += count
	}
	return total
}

// verdict is nil when all held.
func (r result) verdict() error {
	if r.violations > 0 || r.mismatches > 0 {
		return fmt.Errorf("%d violations, %d final mismatches", r.violations, r.mismatches)
	}
	return nil
}
