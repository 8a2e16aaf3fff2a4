package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zapi-go/zapi"
)

var (
	errNotConfirmed = errors.New("nothing was changed: answer y, or run the same command with -yes")
	errTooMany      = errors.New("nothing was changed: more than half of the blacklist would be removed; if that is meant, use -force")
)

// A replacement makes the blacklist of one setting match a list.
type replacement struct {
	client  *zapi.Client
	scope   zapi.BlacklistScope
	force   bool                       // remove as many contacts as it takes
	confirm func(question string) bool // reports whether the difference, which has been shown, may be sent
}

// run shows the difference between the blacklist and contacts, and sends it if it is confirmed. A list that was cut off on
// its way here would take most contacts off the blacklist, so more than half are removed only by force.
func (r replacement) run(ctx context.Context, out io.Writer, contacts []string) error {
	listed, err := r.client.DisallowedContacts(ctx, r.scope)
	if err != nil {
		return err
	}
	diff, err := r.client.DiffBlacklist(ctx, r.scope, contacts)
	if err != nil {
		return err
	}
	for _, contact := range diff.Removed {
		fmt.Fprintf(out, "  - %s\n", contact)
	}
	for _, contact := range diff.Added {
		fmt.Fprintf(out, "  + %s\n", contact)
	}
	if !r.force && 2*len(diff.Removed) > len(listed) {
		return errTooMany
	}
	// Sent even without a difference, as the setting may have another value.
	if !r.confirm(fmt.Sprintf("Set %s to CONTACT_BLACKLIST, with %d contacts added and %d removed?", r.scope, len(diff.Added), len(diff.Removed))) {
		return errNotConfirmed
	}
	if diff, err = r.client.ReplaceBlacklist(ctx, r.scope, contacts); err != nil {
		return err
	}
	fmt.Fprintf(out, "Done: %d added, %d removed.\n", len(diff.Added), len(diff.Removed))
	return nil
}

// ask asks whoever sits at in. No answer, as in a nightly job, is a no.
func ask(in io.Reader, out io.Writer) func(question string) bool {
	answers := bufio.NewScanner(in)
	return func(question string) bool {
		fmt.Fprint(out, question+" [y/N] ")
		if !answers.Scan() {
			fmt.Fprintln(out)
			return false
		}
		answer := strings.ToLower(strings.TrimSpace(answers.Text()))
		return answer == "y" || answer == "yes"
	}
}

// agree answers every question with yes.
func agree(out io.Writer) func(question string) bool {
	return func(question string) bool {
		fmt.Fprintln(out, question+" [y/N] y")
		return true
	}
}
