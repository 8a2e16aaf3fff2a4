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
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi/fleet"
)

// command is one command, with the names of its flags. Those that end with an exclamation mark must be given.
type command struct {
	name, flags, about string
	run                action
}

type action func(ctx context.Context, s *session) error

var commands []command

func init() { // not where it is declared, as demo runs the others
	commands = []command{
		{"plan", engineFlags + "name! policy! targets! credentials",
			"show what start would do, and how long it would take; orders nothing", withEngine(plan)},
		{"start", engineFlags + "name! policy! targets! canary halt pace burst",
			"order a policy for the instances of a file; the same name goes on where it stopped", start},
		{"watch", engineFlags + "name! timeout", "show the progress of a rollout until it is done or held", watch},
		{"pause", engineFlags + "name!", "hold a rollout: no more of it is begun", withEngine(pause)},
		{"resume", engineFlags + "name!", "let a rollout go on that a canary, a pause or a halt holds", withEngine(resume)},
		{"cancel", engineFlags + "name!", "take back what has not begun of a rollout", withEngine(cancel)},
		{"retry", engineFlags + "name account kind older waiting", "order parked instances again, or hurry those that wait", withEngine(retry)},
		{"rollouts", engineFlags, "list the rollouts, newest first", withEngine(rollouts)},
		{"describe", engineFlags + "name!", "show a rollout: its policy, who began it, its counts, why it is held", withEngine(describe)},
		{"status", engineFlags + "name account kind older state list", "count instances by account, or list them", withEngine(status)},
		{"show", engineFlags + "instance! account", "show one instance: state, reason, next try, last applied policy", withEngine(show)},
		{"audit", engineFlags, "list who did what, and when", withEngine(audit)},
		{"pace", engineFlags + "account! rate! burst", "set the requests per second of an account", withEngine(pace)},
		{"work", engineFlags + "credentials! base-url calls calls-per-account metrics v", "apply what is ordered, until interrupted", work},
		{"serve", "json dir! listen", "run an engine that other processes on this machine can use, until interrupted", serve},
		{"demo", "json workers", "show a canary, a resume and a halt with 2,000 instances of a fake API", demo},
		{"version", "json", "print the version of the program", version},
	}
}

// exit ends the program with a code and no message: the command has said all. Those from 3 on are verdicts about a rollout.
type exit int

const (
	exitDone = iota
	exitInterrupted
	exitWrong
	exitIncomplete
	exitHeld
)

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, &session{screen: newScreen(stdout)}, args)
	code := exit(exitDone)
	switch {
	case err == nil || errors.As(err, &code):
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "zapi-fleet: interrupted")
		code = exitInterrupted
	default:
		fmt.Fprintln(stderr, "zapi-fleet: "+oneLine(err))
		code = exitWrong
	}
	return int(code)
}

// dispatch runs the command that args name.
func dispatch(ctx context.Context, s *session, args []string) error {
	if len(args) == 0 {
		return errors.New("a command is missing; zapi-fleet -h lists them")
	}
	name, args := args[0], args[1:]
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, name) {
		s.print(usage())
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("%q is not a command; zapi-fleet -h lists them", name)
	}
	c := commands[i]
	flags, needed := c.flagSet(s)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		s.print(fmt.Sprintf("zapi-fleet %s: %s\n\n", name, c.about))
		flags.SetOutput(s.w)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case flags.NArg() > 0:
		return fmt.Errorf("%s: %q is superfluous", name, flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) {
		needed = slices.DeleteFunc(needed, func(name string) bool { return name == f.Name })
	})
	if len(needed) > 0 {
		return fmt.Errorf("-%s is needed", needed[0])
	}
	return c.run(ctx, s)
}

// flagSet returns the flags of c, which are fields of s, and the names of those that are needed.
func (c command) flagSet(s *session) (flags *flag.FlagSet, needed []string) {
	flags = flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	all := s.flags()
	for name := range strings.FieldsSeq(c.flags) {
		name, isNeeded := strings.CutSuffix(name, "!")
		f := all.Lookup(name)
		if isNeeded {
			f.Usage += "; needed"
			needed = append(needed, name)
		}
		flags.Var(f.Value, name, f.Usage)
	}
	return flags, needed
}

// oneLine is the error on one line, with a hint where one helps.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	switch {
	case errors.Is(err, fleet.ErrInsecureURL):
		text += ": write tls://, or accept it with -insecure"
	case errors.Is(err, fleet.ErrStoreInUse):
		text += ": reach it with -url, if that process serves"
	case errors.Is(err, nats.ErrNoServers):
		text += ": does an engine run there?"
	case errors.Is(err, nats.ErrAuthorization) && os.Getenv(tokenVariable) == "":
		text += ": " + tokenVariable + " is not set; or is -creds wrong?"
	case errors.Is(err, nats.ErrAuthorization):
		text += ": is " + tokenVariable + " that of the server?"
	}
	return escape(text)
}

func version(_ context.Context, s *session) error {
	s.object(fields{"version": programVersion()})
	s.textf("%s", programVersion())
	return nil
}

// programVersion is the version of the module that the program was built from.
func programVersion() string {
	info, _ := debug.ReadBuildInfo() // which the go command always adds
	return cmp.Or(info.Main.Version, "(devel)")
}
