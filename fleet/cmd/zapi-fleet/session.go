package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/fleet/internal/counts"
)

// engineFlags are the flags of all commands that need an engine.
const engineFlags = "json dir url creds ca as replicas insecure "

const tokenVariable = "ZAPI_FLEET_TOKEN"

// session is what a command runs with: its flags, an engine if it needs one, and the screen.
type session struct {
	*screen
	fleet *fleet.Fleet

	// What a command sets before it opens the engine.
	creates bool           // the folder
	options []fleet.Option // of the fleet
	changed func(up bool)  // called when a server goes away or comes back; nil for nothing

	dir, url, creds, ca, as, listen                  string
	replicas, burst, calls, callsPerAccount, workers int
	insecure, verbose, waiting, list                 bool

	filter                                  fleet.Filter // what it is about; Rollout is -name
	instance, credentials, baseURL, metrics string
	rollout                                 fleet.Rollout
	rate                                    float64
	timeout                                 time.Duration
}

// flags are those of all commands.
func (s *session) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.BoolVar(&s.json, "json", s.json, "print one JSON object a line")

	flags.StringVar(&s.dir, "dir", "", "`folder` of an embedded engine; start and serve create it")
	flags.StringVar(&s.url, "url", "", "`URLs` of a NATS server or cluster, separated by commas")
	flags.StringVar(&s.creds, "creds", "", "`file` with the user's JWT and NKEY, for -url")
	flags.StringVar(&s.ca, "ca", "", "`file` with the certificates to trust, for -url")
	flags.StringVar(&s.as, "as", actor(), "who does it, for the audit")
	flags.IntVar(&s.replicas, "replicas", 0, "servers that keep each entry: 1, 3 or 5 (default 3 with -url)")
	flags.BoolVar(&s.insecure, "insecure", false, "accept a -url without TLS beyond loopback")

	flags.StringVar(&s.filter.Rollout, "name", "", "`name` of the rollout")
	flags.StringVar(&s.filter.Account, "account", "", "`account` of the instances")
	flags.StringVar(&s.instance, "instance", "", "`instance`")
	flags.StringVar(&s.filter.Kind, "kind", "", "only with this `kind` of failure, such as unauthorized")
	flags.DurationVar(&s.filter.OlderThan, "older", 0, "only unchanged for so `long`")
	parsedVar(flags, &s.filter.State, "state", "only in this `state`: "+stateNames, parseState)
	flags.BoolVar(&s.list, "list", false, "list the instances instead of counting them")
	flags.BoolVar(&s.waiting, "waiting", false, "hurry those that wait, instead of those that are parked")
	flags.DurationVar(&s.timeout, "timeout", 0, "how `long` to watch (default until it is done or held)")

	parsedVar(flags, &s.rollout.Policy, "policy", "`file` with the policy, YAML or JSON", readPolicy)
	parsedVar(flags, &s.rollout.Targets, "targets", "`file` with the columns account and instance, CSV", readTargets)
	flags.StringVar(&s.credentials, "credentials", "",
		"`file` with the columns instance, token and clientToken, CSV: plan counts the targets that it lacks, work reads it again when it changes")
	flags.IntVar(&s.rollout.Canary, "canary", 0, "begin with the first `N` targets, and hold the rest until resume")
	parsedVar(flags, &s.rollout.HaltAt, "halt", "hold it when a larger `share` of what is settled was parked, such as 5%, or off (default 5%)", parseShare)
	flags.Float64Var(&s.rate, "pace", 0, "requests per second for each account of the file (default 20, or as it is)")
	flags.Float64Var(&s.rate, "rate", 0, "requests per second")
	flags.IntVar(&s.burst, "burst", defaultBurst, "requests that may go at once after a rest")

	flags.StringVar(&s.baseURL, "base-url", "https://api.z-api.io", "`URL` of the API")
	flags.IntVar(&s.callsPerAccount, "calls-per-account", 16, "calls in flight for each account")
	flags.IntVar(&s.calls, "calls", 64, "calls in flight in all")
	flags.StringVar(&s.metrics, "metrics", "", "`address` that serves metrics for Prometheus, such as 127.0.0.1:9464")
	flags.BoolVar(&s.verbose, "v", false, "log every failure to standard error")
	flags.StringVar(&s.listen, "listen", "127.0.0.1:4222", "loopback `address`")
	flags.IntVar(&s.workers, "workers", 3, "`number` of workers")
	return flags
}

// parsedVar defines a flag whose value is parsed, or the file that it names read, before an engine is opened.
func parsedVar[T any](flags *flag.FlagSet, value *T, name, usage string, parse func(text string) (T, error)) {
	flags.Func(name, usage, func(text string) (err error) {
		*value, err = parse(text)
		return err
	})
}

// actor is USER@host.
func actor() string {
	name := os.Getenv("USER")
	if current, err := user.Current(); err == nil {
		name = current.Username
	}
	host, _ := os.Hostname()
	return cmp.Or(name, "unknown") + "@" + cmp.Or(host, "unknown")
}

// withEngine returns an action that opens the engine for do. If do asks for something that does not exist, the error lists what there is.
func withEngine(do action) action {
	return func(ctx context.Context, s *session) (err error) {
		if s.fleet != nil { // demo has one
			return do(ctx, s)
		}
		if s.fleet, err = s.open(ctx); err != nil {
			return err
		}
		if err = s.check(ctx); err == nil {
			err = do(ctx, s)
		}
		if errors.Is(err, fleet.ErrNoRollout) {
			err = cmp.Or(s.checkRollout(ctx), err)
		}
		return errors.Join(err, s.fleet.Close())
	}
}

// check returns an error if an account, an instance or a kind was named that does not exist.
func (s *session) check(ctx context.Context) error {
	if s.filter.Account == "" && s.instance == "" && s.filter.Kind == "" {
		return nil
	}
	var accounts, instances, kinds []string
	for i, err := range s.fleet.Statuses(ctx, fleet.Filter{}) {
		if err != nil {
			return err
		}
		accounts, instances, kinds = append(accounts, i.Account), append(instances, i.Instance), append(kinds, i.Kind)
	}
	return cmp.Or(
		exists("account", s.filter.Account, accounts),
		exists("instance", s.instance, instances),
		exists("kind", s.filter.Kind, kinds),
	)
}

func (s *session) checkRollout(ctx context.Context) error {
	if s.filter.Rollout == "" {
		return nil
	}
	var names []string
	for r, err := range s.fleet.Rollouts(ctx) {
		if err != nil {
			return err
		}
		names = append(names, r.Name)
	}
	return exists("such rollout:", s.filter.Rollout, names)
}

// exists returns an error that lists up to ten of all if a name was given and is not among them.
func exists(what, name string, all []string) error {
	if name == "" || slices.Contains(all, name) {
		return nil
	}
	var names []string
	known := map[string]bool{"": true}
	for _, found := range all {
		if !known[found] {
			known[found] = true
			names = append(names, found)
		}
	}
	if len(names) > 10 {
		names = append(names[:10], fmt.Sprintf("and %s more", counts.Number(len(names)-10)))
	}
	return fmt.Errorf("no %s %q; there are %s", what, name, cmp.Or(strings.Join(names, ", "), "none"))
}

func (s *session) open(ctx context.Context) (*fleet.Fleet, error) {
	if (s.dir == "") == (s.url == "") {
		return nil, errors.New("one of -dir and -url is needed")
	}
	if s.dir != "" && s.creds+s.ca != "" {
		return nil, errors.New("-creds and -ca are for -url")
	}
	for _, given := range []struct{ flag, path string }{{"dir", s.dir}, {"creds", s.creds}, {"ca", s.ca}} {
		if given.path == "" || given.path == s.dir && s.creates {
			continue
		}
		if _, err := os.Stat(given.path); err != nil {
			return nil, fmt.Errorf("-%s: %w", given.flag, err)
		}
	}
	options := append([]fleet.Option{fleet.WithActor(s.as)}, s.options...)
	if s.replicas != 0 {
		options = append(options, fleet.WithReplicas(s.replicas))
	}
	if s.insecure {
		options = append(options, fleet.WithInsecure())
	}
	if s.dir != "" {
		return fleet.Open(ctx, fleet.Embedded(s.dir), options...)
	}
	return fleet.Open(ctx, fleet.URL(s.url, s.connection()...), options...)
}

// connection returns how to connect to -url.
func (s *session) connection() []nats.Option {
	options := []nats.Option{nats.Token(os.Getenv(tokenVariable))}
	if s.changed != nil {
		options = append(options,
			nats.ReconnectHandler(func(*nats.Conn) { s.changed(true) }),
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if err != nil { // else the program has closed the connection, which is no news
					s.changed(false)
				}
			}))
	}
	if s.creds != "" {
		options = append(options, nats.UserCredentials(s.creds))
	}
	if s.ca != "" {
		options = append(options, nats.RootCAs(s.ca))
	}
	return options
}
