// Blacklist keeps the blacklist of a setting in step with a list that the company owns: whoever is not in the company's
// list comes off the blacklist, whoever is new in it goes on, and only the difference is sent.
//
//	go run ./examples/blacklist
//	go run ./examples/blacklist -scope photo -file contacts.txt
//
// It talks to a fake server inside the program.
package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

//go:embed contacts.txt
var sample []byte

func main() {
	scope := zapi.BlacklistLastSeen
	flag.Func("scope", "setting of the blacklist: lastSeen, photo, description or groupAdd (default lastSeen)", func(text string) error {
		return scope.UnmarshalText([]byte(text))
	})
	file := flag.String("file", "", "the company's list, one phone per line; without it a sample is used")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, scope, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, scope zapi.BlacklistScope, file string) error {
	list := sample
	if file != "" {
		var err error
		if list, err = os.ReadFile(file); err != nil {
			return err
		}
	}
	contacts, err := readContacts(bytes.NewReader(list))
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

// readContacts leaves masks and duplicates as they are: ReplaceBlacklist reads through both.
func readContacts(list io.Reader) ([]string, error) {
	var contacts []string
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		contact, _, _ := strings.Cut(lines.Text(), "#")
		if contact = strings.TrimSpace(contact); contact != "" {
			contacts = append(contacts, contact)
		}
	}
	return contacts, lines.Err()
}
