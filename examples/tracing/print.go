package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// printer prints the spans of a trace as a tree, once its root has ended.
type printer struct {
	out   io.Writer
	spans []sdktrace.ReadOnlySpan
}

// ExportSpans takes the spans that have ended: those below before those above.
func (p *printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		p.spans = append(p.spans, span)
		if !span.Parent().IsValid() {
			p.print(span, "")
			p.spans = nil
		}
	}
	return nil
}

// Shutdown has nothing to do.
func (p *printer) Shutdown(context.Context) error { return nil }

func (p *printer) print(span sdktrace.ReadOnlySpan, indent string) {
	duration := span.EndTime().Sub(span.StartTime()).Round(10 * time.Microsecond)
	status := "ok"
	if span.Status().Code == codes.Error {
		status = "failed"
	}
	fmt.Fprintf(p.out, "%s%s: %s in %v\n", indent, span.Name(), status, duration)
	indent += "    "
	for _, attribute := range span.Attributes() {
		fmt.Fprintf(p.out, "%s- %s: %s\n", indent, attribute.Key, attribute.Value)
	}
	for _, below := range p.spans {
		if below.Parent().SpanID() == span.SpanContext().SpanID() {
			p.print(below, indent)
		}
	}
}

// printDurations prints a line for each op and outcome.
func printDurations(ctx context.Context, out io.Writer, reader sdkmetric.Reader) error {
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		return err
	}
	var lines []string
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			histogram, ok := m.Data.(metricdata.Histogram[float64])
			if !ok || m.Name != "zapi.call.duration" {
				continue
			}
			for _, point := range histogram.DataPoints {
				op, _ := point.Attributes.Value("zapi.op")
				outcome, _ := point.Attributes.Value("zapi.outcome")
				mean := time.Duration(point.Sum / float64(point.Count) * float64(time.Second))
				lines = append(lines, fmt.Sprintf("%s\t%s\t%d\t%v", op.AsString(), outcome.AsString(), point.Count, mean.Round(10*time.Microsecond)))
			}
		}
	}
	slices.Sort(lines)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nOP\tOUTCOME\tCALLS\tMEAN")
	fmt.Fprintln(table, strings.Join(lines, "\n"))
	return table.Flush()
}
