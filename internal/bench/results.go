package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// What the plot looks for.
const (
	sectionSequential = "loopback, one at a time"
	section64         = "loopback, 64 in flight"
	sectionMemory     = "in memory"
	figureMedian      = "latency p50"
	figureThroughput  = "throughput"
	figureTime        = "time"
	figureAllocations = "allocations"
)

// results are the measured values; all that is shown is computed from them.
type results struct {
	Machine  machine   `json:"machine"`
	Command  string    `json:"command"`
	Sections []section `json:"sections"`
}

type machine struct {
	Platform string `json:"platform"`
	CPU      string `json:"cpu,omitempty"`
	CPUs     int    `json:"cpus"`
	Go       string `json:"go"`
}

// section is one measurement; its series are compared with each of the bases.
type section struct {
	Title   string   `json:"title"`
	Bases   []string `json:"bases"`
	Figures []figure `json:"figures"`
}

type figure struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit"`
	Series []series `json:"series"`
}

// series has one value for each round, taken in turn with the other series of its figure.
type series struct {
	Name   string    `json:"name"`
	Rounds []float64 `json:"rounds"`
}

func thisMachine() machine {
	m := machine{Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	text, _ := os.ReadFile("/proc/cpuinfo") // Linux only
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func (m machine) String() string {
	parts := []string{m.Platform, fmt.Sprintf("%d CPUs", m.CPUs), m.CPU, m.Go}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ", ")
}

// spread is a median and where 80 % of the values lie.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	return spread{quantile(sorted, 0.1), quantile(sorted, 0.5), quantile(sorted, 0.9)}
}

// quantile interpolates between sorted values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	below, part := math.Modf(q * float64(len(sorted)-1))
	i := int(below)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + part*(sorted[i+1]-sorted[i])
}

func (f figure) find(name string) series {
	i := slices.IndexFunc(f.Series, func(s series) bool { return s.Name == name })
	if i < 0 {
		return series{}
	}
	return f.Series[i]
}

// ratio is that of s to base, round by round. Rounds in which base is 0 are left out.
func (s series) ratio(base series) spread {
	var ratios []float64
	for i, value := range base.Rounds {
		if value != 0 && i < len(s.Rounds) {
			ratios = append(ratios, s.Rounds[i]/value)
		}
	}
	return spreadOf(ratios)
}

func (s spread) String() string {
	if math.IsNaN(s.median) {
		return "-"
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.low), number(s.high))
}

func number(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", math.Round(v*100)/100+0) // the 0 turns "-0.00" into "0.00"
	}
}

func (r results) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n\nMedian over the rounds (p10–p90); ratios are medians of the ratios within a round.\n", r.Machine, r.Command)
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n%s, %d rounds\n", s.Title, len(s.Figures[0].Series[0].Rounds))
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "figure\t\tvalue")
		for _, base := range s.Bases {
			fmt.Fprintf(table, "\t÷ %s", base)
		}
		fmt.Fprintln(table)
		for _, f := range s.Figures {
			label := f.Name + ", " + f.Unit
			for _, line := range f.Series {
				fmt.Fprintf(table, "%s\t%s\t%v", label, line.Name, spreadOf(line.Rounds))
				for _, base := range s.Bases {
					fmt.Fprintf(table, "\t%v", line.ratio(f.find(base)))
				}
				fmt.Fprintln(table)
				label = ""
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
