package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
)

// panels are the small multiples: a figure as bars, as ratio to base or, without one, in its own unit.
var panels = []struct{ title, section, figure, base, axis string }{
	{"Loopback latency, one at a time", sectionSequential, figureMedian, "resty", "÷ bare resty, lower is better"},
	{"Loopback throughput, 64 in flight", section64, figureThroughput, "resty", "÷ bare resty, higher is better"},
	{"Time in memory", sectionMemory, figureTime, "resty", "÷ bare resty, lower is better"},
	{"Allocations in memory", sectionMemory, figureAllocations, "", "per call, lower is better"},
}

// labels are what the plot calls the variants, where that is not their name.
var labels = map[string]string{"resty": "bare resty", "resty+timeout": "resty, timeout"}

// Sizes in the units of the drawing.
const (
	width, height           = 2 * panelWidth, 548
	panelWidth, panelHeight = 400, 234
	headHeight              = 44
	barsLeft, barsWidth     = 108, 228
	barsTop, barsBottom     = 42, 188
	barPitch, barHeight     = 28, 18
)

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-label="zapi beside bare resty, handwritten net/http and the floor">
<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
.head { font-size: 15px; font-weight: 600; } .title { font-size: 13px; font-weight: 600; } .small { font-size: 10.5px; fill: #57606a; }
.right { text-anchor: end; } .center { text-anchor: middle; } .value { font-weight: 600; stroke: #ffffff; stroke-width: 3; paint-order: stroke; }
.grid { stroke: #d8dee4; } .unity { stroke: #57606a; stroke-dasharray: 4 3; } .whisker { stroke: #24292f; fill: none; }
.bar { fill: #a9b4c0; } .zapi { fill: #1f7a8c; }
</style>
<rect width="%[1]d" height="%[2]d" rx="6" fill="#ffffff"/>
<text class="head" x="16" y="28">One POST with two blacklist entries, written five ways</text>
`

// plot draws an SVG with a background of its own, so that it reads on light and dark pages alike.
func (r results) plot() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, svgHead, width, height)
	for i, p := range panels {
		f, err := r.find(p.section, p.figure)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "<g transform=\"translate(%d %d)\">\n", i%2*panelWidth, headHeight+i/2*panelHeight)
		fmt.Fprintf(&out, `<text class="title" x="16" y="26">%s</text>`+"\n", p.title)
		if err := drawBars(&out, f, p.base); err != nil {
			return nil, fmt.Errorf("%s: %w", p.title, err)
		}
		fmt.Fprintf(&out, `<text class="small center" x="%d" y="%d">%s</text>`+"\n</g>\n", barsLeft+barsWidth/2, barsBottom+30, p.axis)
	}
	fmt.Fprintf(&out, `<text class="small" x="16" y="%d">%s</text>`+"\n</svg>\n", height-12,
		html.EscapeString(r.Machine.String()+". Bars are medians, whiskers p10 to p90 of the rounds."))
	return out.Bytes(), nil
}

func drawBars(out *bytes.Buffer, f figure, base string) error {
	spreads := make([]spread, len(f.Series))
	longest := 0.0
	for i, s := range f.Series {
		if spreads[i] = spreadOf(s.Rounds); base != "" {
			spreads[i] = s.ratio(f.find(base))
		}
		longest = max(longest, spreads[i].high)
	}
	if !(longest > 0) || math.IsInf(longest, 0) {
		return fmt.Errorf("nothing to draw for %q", f.Name)
	}
	step := tickStep(longest)
	ticks := math.Ceil(longest / step)
	x := func(value float64) float64 { return barsLeft + value/(step*ticks)*barsWidth }
	for i := range int(ticks) + 1 {
		value, class := float64(i)*step, "grid"
		if base != "" && math.Abs(value-1) < step/2 {
			class = "unity"
		}
		fmt.Fprintf(out, `<path class="%s" d="M%.1f %dV%d"/>`, class, x(value), barsTop, barsBottom)
		fmt.Fprintf(out, `<text class="small center" x="%.1f" y="%d">%.4g</text>`+"\n", x(value), barsBottom+14, value)
	}
	for i, s := range f.Series {
		top := barsTop + 6 + i*barPitch
		middle := top + barHeight/2
		low, median, high := x(spreads[i].low), x(spreads[i].median), x(spreads[i].high)
		fmt.Fprintf(out, `<text class="right" x="%d" y="%d">%s</text>`, barsLeft-8, middle+4, html.EscapeString(cmp.Or(labels[s.Name], s.Name)))
		fmt.Fprintf(out, `<rect class="bar %s" x="%d" y="%d" width="%.1f" height="%d"/>`, html.EscapeString(s.Name), barsLeft, top, median-barsLeft, barHeight)
		if high-low >= 1 {
			fmt.Fprintf(out, `<path class="whisker" d="M%.1f %dv8m0 -4H%.1fm0 -4v8"/>`, low, middle-4, high)
		}
		value := number(spreads[i].median)
		if base == "" {
			value = fmt.Sprintf("%.0f", spreads[i].median) // a count
		}
		fmt.Fprintf(out, `<text class="value" x="%.1f" y="%d">%s</text>`+"\n", high+6, middle+4, value)
	}
	return nil
}

func (r results) find(title, name string) (figure, error) {
	for _, s := range r.Sections {
		i := slices.IndexFunc(s.Figures, func(f figure) bool { return f.Name == name })
		if s.Title == title && i >= 0 {
			return s.Figures[i], nil
		}
	}
	return figure{}, fmt.Errorf("the data has no %q of %q", name, title)
}

// tickStep is 1, 2 or 5 times a power of ten, for three to seven ticks up to longest.
func tickStep(longest float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(longest/3)))
	for _, factor := range []float64{5, 2} {
		if factor*power <= longest/3 {
			return factor * power
		}
	}
	return power
}
