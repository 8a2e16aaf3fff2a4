// Config sets the privacy of a number from a YAML file, the environment and flags. A flag wins over the environment, and the
// environment over the file.
//
//	cd examples/config && go run .
//	cd examples/config && ZAPI_PHOTO=ALL go run . -file config.yaml -online ALL
//
// It talks to a fake server inside the program. To change a real number:
//
//	cd examples/config && ZAPI_INSTANCE_ID=… ZAPI_TOKEN=… ZAPI_CLIENT_TOKEN=… go run . -file config.yaml -live -yes
//
// It is a module of its own, because of go.yaml.in/yaml/v3.
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

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Config sets the privacy of a fake number inside the program, or with -live of a real one. A flag wins over the
environment, and the environment over the file. The variables are ZAPI_LAST_SEEN, ZAPI_PHOTO, ZAPI_ONLINE,
and for the credentials ZAPI_INSTANCE_ID, ZAPI_TOKEN, ZAPI_CLIENT_TOKEN.

`

//go:embed config.yaml
var sample []byte

type options struct {
	file      string
	flags     settings
	live, yes bool
}

func main() {
	var o options
	flag.StringVar(&o.file, "file", "", "YAML `file`; without it a sample is used")
	flag.TextVar(&o.flags.lastSeen, "last-seen", o.flags.lastSeen, "`who` sees last seen: ALL, NONE, CONTACTS or CONTACT_BLACKLIST")
	flag.TextVar(&o.flags.photo, "photo", o.flags.photo, "`who` sees the photo: ALL, NONE, CONTACTS or CONTACT_BLACKLIST")
	flag.TextVar(&o.flags.online, "online", o.flags.online, "`who` sees the online state: ALL or SAME_LAST_SEEN")
	flag.BoolVar(&o.live, "live", false, "call the real API; needs -file")
	flag.BoolVar(&o.yes, "yes", false, "with -live: change the number, instead of only showing what would change")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 || o.yes && !o.live || o.live && o.file == "" {
		fmt.Fprintln(os.Stderr, "config takes flags only, -yes with -live, and -live with -file; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run applies the configuration. Only tests pass opts.
func run(ctx context.Context, out io.Writer, o options, opts ...zapi.Option) error {
	c, err := load(o.file, os.Getenv, o.flags)
	if err != nil {
		return err
	}
	if c.Policy.IsZero() {
		return errors.New("nothing to set: the policy is empty")
	}
	policy, err := yaml.Marshal(c.Policy)
	if err != nil {
		return err
	}
	if !o.live {
		server := zapitest.NewServer()
		defer server.Close()
		fmt.Fprintf(out, "Talking to the fake server in this program instead of instance %q; see -h for a real number.\n\n", c.Credentials.InstanceID)
		c.Credentials = server.Credentials()
		opts = append(opts, zapi.WithBaseURL(server.URL()))
	}
	client, err := zapi.NewClient(c.Credentials, opts...)
	if err != nil {
		return fmt.Errorf("credentials in the file, or in ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN: %w", err)
	}
	fmt.Fprintf(out, "About to set on instance %s:\n\n%s\n", client.InstanceID(), policy)
	if o.live && !o.yes {
		return errors.New("nothing was changed: run the same command with -yes to change it")
	}
	if err := client.Apply(ctx, c.Policy); err != nil {
		return err
	}
	fmt.Fprintln(out, "All of it is set.")
	return nil
}
