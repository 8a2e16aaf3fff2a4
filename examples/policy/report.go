package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/zapi-go/zapi"
)

// reportApplied writes a table with a line for each instance, and more where the policy was not applied as a whole.
func reportApplied(out io.Writer, instances []instance, results []result) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INSTANCE\tRESULT\tAPPLY AGAIN\tDETAILS")
	for i, r := range results {
		name, word, again, details := instances[i].name, "applied", "-", []string{"-"}
		if r.err != nil {
			word, again, details = zapi.Kind(r.err), "when mended", detailsOf(r.err)
		}
		if _, ok := zapi.Retryable(r.err); ok {
			again = "later"
		}
		for _, detail := range details {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, word, again, detail)
			name, word, again = "", "", ""
		}
	}
	return table.Flush()
}

// detailsOf returns a line for each setting that failed, and one with those that were applied or not tried.
func detailsOf(err error) []string {
	var incomplete *zapi.ApplyError
	if !errors.As(err, &incomplete) {
		return []string{err.Error()}
	}
	var details []string
	for _, failed := range incomplete.Failed {
		details = append(details, failed.Error())
	}
	return append(details, fmt.Sprintf("applied: %d, not tried: %d", len(incomplete.Applied), len(incomplete.Skipped)))
}

// reportPlans writes each plan once, below the instances that it is for.
func reportPlans(out io.Writer, instances []instance, results []result) error {
	names := make(map[string][]string)
	var texts []string
	for i, r := range results {
		text := r.plan.String()
		if r.err != nil {
			text = r.err.Error() + "\n"
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		names[text] = append(names[text], instances[i].name)
	}
	for _, text := range texts {
		fmt.Fprintf(out, "%s:\n%s\n", strings.Join(names[text], ", "), text)
	}
	_, err := fmt.Fprintln(out, "Nothing was changed.")
	return err
}

// unprovoked returns the failures that the program did not provoke itself.
func unprovoked(instances []instance, results []result) error {
	var failures []error
	for i, r := range results {
		if in := instances[i]; r.err != nil && !errors.Is(r.err, in.provoked) {
			failures = append(failures, fmt.Errorf("%s: %w", in.name, r.err))
		}
	}
	return errors.Join(failures...)
}
