// Zapi-fleet rolls a privacy policy out to many instances of Z-API: see the package fleet.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/zapi-go/zapi/fleet"
)

// command is one command: define adds its flags and returns what runs once they are parsed.
type command struct {
	name, about string
	define      func(flags *flag.FlagSet) action
}

type action func(ctx context.Context, out *screen) error

// needed ends the description of a flag that must be given.
const needed = "; needed"

var commands = []command{
	{"demo", "show a rollout to 2,000 instances of a fake API", demo},
	{"serve", "run an engine that other processes on this machine can use, until interrupted", serve},
	{"start", "order a policy for the instances of a file; the same name goes on where it stopped", start},
	{"work", "apply what is ordered, until interrupted", work},
	{"watch", "show the progress of a rollout until it is done", watch},
	{"status", "count instances by account, or list them", status},
	{"retry", "order parked instances again", retry},
	{"cancel", "take back what has not begun of a rollout", cancel},
	{"version", "print the version of the program", version},
}

const notes = `
Each command describes its flags with -h. All but demo need an engine: -dir for a folder, which one
process at a time can open, or -url for a server. A token for the server is read from ZAPI_FLEET_TOKEN.

The exit code is 0 for success, 1 if the rollout has parked instances or the command was interrupted
(serve and work: 0, as they have no other end), and 2 if something is missing, wrong or unreachable.
`

func usage() string {
	var list strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&list, "  zapi-fleet %-8s  %s\n", c.name, c.about)
	}
	return "zapi-fleet rolls a privacy policy out to many instances of Z-API.\n\n" + list.String() + notes
}

// exit ends the program with a code and no message: the command has said all.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, newScreen(stdout))
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "zapi-fleet: interrupted")
		return 1
	}
	fmt.Fprintln(stderr, "zapi-fleet: "+oneLine(err))
	return 2
}

func dispatch(ctx context.Context, args []string, out *screen) error {
	if len(args) == 0 {
		return errors.New("a command is missing; zapi-fleet -h lists them")
	}
	name, args := args[0], args[1:]
	if name == "-h" || name == "-help" || name == "--help" || name == "help" {
		out.print(usage())
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("%q is not a command; zapi-fleet -h lists them", name)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	do := commands[i].define(flags)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		out.print(fmt.Sprintf("zapi-fleet %s: %s\n\n", name, commands[i].about))
		flags.SetOutput(out.w)
		flags.PrintDefaults()
		return nil
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: %q is superfluous", name, flags.Arg(0))
	}
	var missing error
	flags.VisitAll(func(f *flag.Flag) {
		if strings.HasSuffix(f.Usage, needed) && f.Value.String() == "" {
			missing = cmp.Or(missing, fmt.Errorf("-%s is needed", f.Name))
		}
	})
	if missing != nil {
		return missing
	}
	return do(ctx, out)
}

// oneLine is the error on one line, with a hint where one helps.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	switch {
	case errors.Is(err, fleet.ErrInsecureURL):
		text += ": write tls://, or accept it with -insecure"
	case errors.Is(err, fleet.ErrStoreInUse):
		text += ": reach it with -url, if that process serves"
	}
	return text
}
