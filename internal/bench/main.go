// Command bench measures zapi beside bare resty, careful net/http and the floor under both.
//
// The variants of a measurement take turns in one process, in rounds of changing order, so that what else the machine
// does hits all of them. Read the ratios: they are those of each round. The absolute figures belong to the machine.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "take about 10 s instead of 2 to 3 minutes")
	jsonFile := flags.String("json", "", "write the measured data to `file`")
	svgFile := flags.String("svg", "", "draw the data into `file`")
	fromFile := flags.String("from", "", "take the data from `file`, written with -json, instead of measuring")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	data, err := collect(*fromFile, *quick, stderr)
	if err != nil {
		return err
	}
	if *fromFile == "" {
		data.Command = strings.Join(append([]string{"bench"}, args...), " ")
	}
	if err := data.print(stdout); err != nil {
		return err
	}
	if *jsonFile != "" {
		if err := data.save(*jsonFile); err != nil {
			return err
		}
	}
	if *svgFile != "" {
		drawing, err := data.plot()
		if err != nil {
			return err
		}
		return os.WriteFile(*svgFile, drawing, 0o644)
	}
	return nil
}

// collect measures, or reads what was measured before.
func collect(fromFile string, quick bool, progress io.Writer) (results, error) {
	switch {
	case fromFile != "":
		return load(fromFile)
	case quick:
		return rig{budget: 6 * time.Second, minRounds: 3, progress: progress}.measure()
	default:
		return rig{budget: 140 * time.Second, minRounds: 5, progress: progress}.measure()
	}
}

func load(file string) (results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return results{}, err
	}
	var data results
	if err := json.Unmarshal(text, &data); err != nil {
		return results{}, fmt.Errorf("%s: %w", file, err)
	}
	return data, nil
}

func (r results) save(file string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
