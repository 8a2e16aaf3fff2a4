// Blacklist makes the blacklist of a setting match a list that the company keeps as a CSV file: contacts missing from the
// list come off the blacklist, and new ones go on it. It shows the difference first, and asks. If the setting was NONE,
// it is then visible to all contacts that are not on the list.
//
//	go run ./examples/blacklist
//	go run ./examples/blacklist -scope photo -file examples/blacklist/contacts.csv
//
// It talks to a fake server inside the program, and answers the question itself. To change a real number, with -yes
// for a job at night:
//
//	ZAPI_INSTANCE_ID=… ZAPI_TOKEN=… ZAPI_CLIENT_TOKEN=… go run ./examples/blacklist -live -scope photo -file contacts.csv
package main

import (
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

const description = `Blacklist makes the blacklist of a setting match a list: a CSV file whose first line names the columns.
Without -live it does so on a fake server inside the program, and answers its own questions.

`

//go:embed contacts.csv
var sample []byte

type options struct {
	scope            zapi.BlacklistScope
	file, column     string
	live, yes, force bool
}

func main() {
	o := options{scope: zapi.BlacklistLastSeen}
	flag.TextVar(&o.scope, "scope", o.scope, "`setting` of the blacklist: lastSeen, photo, description or groupAdd")
	flag.StringVar(&o.file, "file", "", "CSV `file` with the list; without it a sample is used")
	flag.StringVar(&o.column, "column", "phone", "`title` of the column with the phones")
	flag.BoolVar(&o.live, "live", false, "change the number of ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN; needs -file")
	flag.BoolVar(&o.yes, "yes", false, "with -live: do not ask")
	flag.BoolVar(&o.force, "force", false, "remove more than half of a blacklist, too")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 || o.yes && !o.live || o.live && o.file == "" {
		fmt.Fprintln(os.Stderr, "blacklist takes flags only, -yes with -live, and -live with -file; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once, as it may be waiting for an answer

	if err := run(ctx, os.Stdin, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run reads the list and makes the blacklist match it. Only tests pass opts.
func run(ctx context.Context, in io.Reader, out io.Writer, o options, opts ...zapi.Option) error {
	name, data := "the sample", sample
	if o.file != "" {
		var err error
		if data, err = os.ReadFile(o.file); err != nil {
			return err
		}
		name = o.file
	}
	contacts, err := readContacts(name, data, o.column)
	if err != nil {
		return err
	}
	if !o.live {
		server := zapitest.NewServer()
		defer server.Close()
		client, err := server.Client()
		if err != nil {
			return err
		}
		return demonstrate(ctx, out, replacement{client, o.scope, o.force, agree(out)}, contacts)
	}
	creds, err := zapi.CredentialsFromEnv()
	if err != nil {
		return err
	}
	client, err := zapi.NewClient(creds, opts...)
	if err != nil {
		return err
	}
	confirm := ask(in, out)
	if o.yes {
		confirm = agree(out)
	}
	fmt.Fprintf(out, "On the blacklist of %s of instance %s:\n", o.scope, client.InstanceID())
	return replacement{client, o.scope, o.force, confirm}.run(ctx, out, contacts)
}

func demonstrate(ctx context.Context, out io.Writer, r replacement, contacts []string) error {
	before := append([]string{"5521977776666"}, contacts[:min(1, len(contacts))]...)
	if _, err := r.client.ReplaceBlacklist(ctx, r.scope, before); err != nil {
		return err
	}
	fmt.Fprintf(out, "The list has %d phones, the blacklist %d.\n", len(contacts), len(before))
	for _, title := range []string{"The blacklist follows the list", "The same list once more"} {
		fmt.Fprintf(out, "\n%s:\n", title)
		if err := r.run(ctx, out, contacts); err != nil {
			return err
		}
	}

	fmt.Fprint(out, "\nA list without any contacts, as after an export that failed:\n")
	r.force = false
	if err := r.run(ctx, out, nil); errors.Is(err, errTooMany) {
		fmt.Fprintln(out, err)
	} else if err != nil {
		return err
	}

	listed, err := r.client.DisallowedContacts(ctx, r.scope)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOn the blacklist of %s now: %s\n", r.scope, strings.Join(listed, ", "))
	return nil
}
