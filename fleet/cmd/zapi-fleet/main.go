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

	"github.com/nats-io/nats.go"

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
	{"plan", "show what start would do, and how long it would take; orders nothing", plan},
	{"start", "order a policy for the instances of a file; the same name goes on where it stopped", start},
	{"watch", "show the progress of a rollout until it is done or held", watch},
	{"pause", "hold a rollout: no more of it is begun", pause},
	{"resume", "let a rollout go on that a canary, a pause or a halt holds", resume},
	{"cancel", "take back what has not begun of a rollout", cancel},
	{"retry", "order parked instances again, or hurry those that wait", retry},
	{"rollouts", "list the rollouts, newest first", rollouts},
	{"describe", "show a rollout: its policy, who began it, its counts, why it is held", describe},
	{"status", "count instances by account, or list them", status},
	{"show", "show one instance: state, reason, next try, last applied policy", show},
	{"audit", "list who did what, and when", audit},
	{"pace", "set the requests per second of an account", pace},
	{"work", "apply what is ordered, until interrupted", work},
	{"serve", "run an engine that other processes on this machine can use, until interrupted", serve},
	{"demo", "show a canary, a resume and a halt with 2,000 instances of a fake API", demo},
	{"version", "print the version of the program", version},
}

// Exit codes. Those from 3 on are verdicts about a rollout; see verdict.
const (
	exitDone        = 0
	exitInterrupted = 1
	exitWrong       = 2
	exitIncomplete  = 3
	exitHeld        = 4
)

const notes = `
Each command describes its flags with -h; with -json it prints one JSON object a line. All but demo and
version need an engine: -dir for a folder, which one process at a time can open, or -url for a server.
A token for the server is read from ZAPI_FLEET_TOKEN.

The exit codes of watch:
  0  everything that the rollout still owns is applied; nothing was cancelled or is missing
  1  interrupted, or -timeout has passed
  2  something is missing, wrong or unreachable, or start has not ended
  3  finished, but some are parked, cancelled or missing, or all were superseded
  4  held by a canary, a pause or a halt
The other commands exit with 0, 1 or 2.
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
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "zapi-fleet: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "zapi-fleet: "+oneLine(err))
	return exitWrong
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
	flags.BoolVar(&out.json, "json", false, "print one JSON object a line")
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
		if strings.HasSuffix(f.Usage, needed) && (f.Value.String() == "" || f.Value.String() == "0") {
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
	case errors.Is(err, nats.ErrAuthorization) && os.Getenv(tokenVariable) == "":
		text += ": " + tokenVariable + " is not set; or is -creds wrong?"
	case errors.Is(err, nats.ErrAuthorization):
		text += ": is " + tokenVariable + " that of the server?"
	}
	return escape(text)
}
