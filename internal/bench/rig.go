package main

import (
	"fmt"
	"io"
	"time"
)

// variantBases are the variants that all are compared with.
var variantBases = []string{"handwritten", "resty"}

// rig takes all measurements within about its budget.
type rig struct {
	budget    time.Duration
	minRounds int
	progress  io.Writer
}

func (r rig) measure() (results, error) {
	data := results{Machine: thisMachine()}
	var measurements []func() (section, error)
	for _, t := range traffics {
		measurements = append(measurements, func() (section, error) { return r.loopback(t) })
	}
	for _, measurement := range append(measurements, r.memory, r.instances, r.replaceBlacklist) {
		measured, err := measurement()
		if err != nil {
			return results{}, fmt.Errorf("%s: %w", measured.Title, err)
		}
		data.Sections = append(data.Sections, measured)
	}
	return data, nil
}

// interleave fills s: its series take turns until their share of the budget is used up. The first round is not counted.
// A turn returns a value for each figure of s.
func (r rig) interleave(s section, names []string, share float64, turn func(i int) ([]float64, error)) (section, error) {
	for i := range s.Figures {
		s.Figures[i].Series = make([]series, len(names))
		for j, name := range names {
			s.Figures[i].Series[j].Name = name
		}
	}
	fmt.Fprintf(r.progress, "%s …\n", s.Title)
	end := time.Now().Add(time.Duration(share * float64(r.budget)))
	for round := 0; round <= r.minRounds || time.Now().Before(end); round++ {
		for k := range names {
			i := (k + round) % len(names)
			values, err := turn(i)
			if err != nil {
				return s, fmt.Errorf("%s: %w", names[i], err)
			}
			for j, value := range values {
				if rounds := &s.Figures[j].Series[i].Rounds; round > 0 {
					*rounds = append(*rounds, value)
				}
			}
		}
	}
	return s, nil
}

func variantNames() []string {
	names := make([]string, len(variants))
	for i, v := range variants {
		names[i] = v.name
	}
	return names
}
