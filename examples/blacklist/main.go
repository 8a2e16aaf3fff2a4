// Blacklist makes the blacklist of a setting match a list that the company keeps: contacts missing from the list come off
// the blacklist, new ones go on it, and only the difference is sent.
//
//	go run ./examples/blacklist
//	go run ./examples/blacklist -scope photo -file examples/blacklist/contacts.txt
//
// It talks to a fake server inside the program.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Blacklist makes the blacklist of a setting, on a fake server inside the program, match a list of phones.
The list has one phone or private id per line; what follows a # is a comment.

`

//go:embed contacts.txt
var sample []byte

func main() {
	scope := zapi.BlacklistLastSeen
	flag.TextVar(&scope, "scope", scope, "`setting` of the blacklist: lastSeen, photo, description or groupAdd")
	file := flag.String("file", "", "`file` with the list; without it a sample is used")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "blacklist takes flags only; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, scope, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, scope zapi.BlacklistScope, file string) error {
	name, list := "the sample", sample
	if file != "" {
		var err error
		if list, err = os.ReadFile(file); err != nil {
			return err
		}
		name = file
	}
	contacts, err := readContacts(name, list)
	if err != nil {
		return err
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	return demonstrate(ctx, out, client, scope, contacts)
}

func demonstrate(ctx context.Context, out io.Writer, client *zapi.Client, scope zapi.BlacklistScope, contacts []string) error {
	fmt.Fprintf(out, "The company's list has %d entries.\n", len(contacts))
	if err := replace(ctx, out, "The blacklist follows the list", client, scope, contacts); err != nil {
		return err
	}
	if err := replace(ctx, out, "The same list once more", client, scope, contacts); err != nil {
		return err
	}

	listed, err := client.DisallowedContacts(ctx, scope)
	if err != nil {
		return err
	}
	changed := []string{"+55 11 98888-7777"}
	if len(listed) > 0 {
		changed = append(changed, listed[1:]...)
	}
	if err := replace(ctx, out, "One contact left the list and one joined it", client, scope, changed); err != nil {
		return err
	}

	if listed, err = client.DisallowedContacts(ctx, scope); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOn the blacklist of %s now: %s\n", scope, strings.Join(listed, ", "))
	return nil
}

// replace makes contacts the whole blacklist and shows what that changed.
func replace(ctx context.Context, out io.Writer, title string, client *zapi.Client, scope zapi.BlacklistScope, contacts []string) error {
	diff, err := client.ReplaceBlacklist(ctx, scope, contacts)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s: %d added, %d removed\n", title, len(diff.Added), len(diff.Removed))
	for _, contact := range diff.Removed {
		fmt.Fprintf(out, "  - %s\n", contact)
	}
	for _, contact := range diff.Added {
		fmt.Fprintf(out, "  + %s\n", contact)
	}
	return nil
}

// readContacts returns the contacts of a list as they are written. The error names all lines that hold none.
func readContacts(name string, list []byte) ([]string, error) {
	var contacts []string
	var failures []error
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(list, []byte("\ufeff"))) { // editors write a byte order mark
		number++
		contact, _, _ := strings.Cut(string(line), "#")
		if contact = strings.TrimSpace(contact); contact == "" {
			continue
		}
		contacts = append(contacts, contact)
		// A policy can be checked without a client.
		checked := zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{contact}}
		var invalid *zapi.ValidationError
		if errors.As(zapi.Policy{LastSeen: &checked}.Validate(), &invalid) {
			failures = append(failures, &zapi.ValidationError{Field: fmt.Sprintf("%s:%d", name, number), Reason: invalid.Reason})
		}
	}
	return contacts, errors.Join(failures...)
}
