package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

// engine holds the flags that choose an engine.
type engine struct {
	dir, url, creds, ca string
	replicas            int
	insecure            bool
}

const tokenVariable = "ZAPI_FLEET_TOKEN"

func (e *engine) define(flags *flag.FlagSet) {
	flags.StringVar(&e.dir, "dir", "", "`folder` of an embedded engine")
	flags.StringVar(&e.url, "url", "", "`URLs` of a NATS server or cluster, separated by commas")
	flags.StringVar(&e.creds, "creds", "", "`file` with the user's JWT and NKEY, for -url")
	flags.StringVar(&e.ca, "ca", "", "`file` with the certificates to trust, for -url")
	flags.IntVar(&e.replicas, "replicas", 0, "servers that keep each entry, when the streams are created: 1, 3 or 5 (default 3 with -url)")
	flags.BoolVar(&e.insecure, "insecure", false, "accept a -url without TLS beyond loopback")
}

func (e *engine) open(ctx context.Context, opts ...fleet.Option) (*fleet.Fleet, error) {
	if (e.dir == "") == (e.url == "") {
		return nil, errors.New("one of -dir and -url is needed")
	}
	if e.replicas != 0 {
		opts = append(opts, fleet.WithReplicas(e.replicas))
	}
	if e.insecure {
		opts = append(opts, fleet.WithInsecure())
	}
	if e.dir != "" {
		if e.creds != "" || e.ca != "" {
			return nil, errors.New("-creds and -ca are for -url")
		}
		if err := exists("dir", e.dir); err != nil {
			return nil, err
		}
		return fleet.Open(ctx, fleet.Embedded(e.dir), opts...)
	}
	if err := cmp.Or(exists("creds", e.creds), exists("ca", e.ca)); err != nil {
		return nil, err
	}
	var options []nats.Option
	if e.creds != "" {
		options = append(options, nats.UserCredentials(e.creds))
	}
	if e.ca != "" {
		options = append(options, nats.RootCAs(e.ca))
	}
	if token := os.Getenv(tokenVariable); token != "" {
		options = append(options, nats.Token(token))
	}
	return fleet.Open(ctx, fleet.URL(e.url, options...), opts...)
}

// with opens the engine for one action.
func (e *engine) with(ctx context.Context, do func(f *fleet.Fleet) error, opts ...fleet.Option) error {
	f, err := e.open(ctx, opts...)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// withEngine is an action that needs no more than its flags and an engine.
func withEngine(flags *flag.FlagSet, do func(ctx context.Context, f *fleet.Fleet, out *screen) error) action {
	var e engine
	e.define(flags)
	return func(ctx context.Context, out *screen) error {
		return e.with(ctx, func(f *fleet.Fleet) error { return do(ctx, f, out) })
	}
}

// exists returns an error if the file of a flag is given and missing.
func exists(name, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("-%s: %w", name, err)
	}
	return nil
}

func serve(flags *flag.FlagSet) action {
	dir := flags.String("dir", "", "`folder` of the engine, which is created"+needed)
	listen := flags.String("listen", "127.0.0.1:4222", "loopback `address`")
	return func(ctx context.Context, out *screen) error {
		token := os.Getenv(tokenVariable)
		if token == "" {
			return fmt.Errorf("%s is needed: a secret that the other processes present", tokenVariable)
		}
		f, err := fleet.Open(ctx, fleet.Embedded(*dir, fleet.WithListen(*listen, token)))
		if err != nil {
			return err
		}
		out.print(fmt.Sprintf("serving %s on nats://%s; interrupt to end\n", *dir, *listen))
		<-ctx.Done()
		return f.Close()
	}
}

const defaultBurst = 5

func start(flags *flag.FlagSet) action {
	var e engine
	e.define(flags)
	name := flags.String("name", "", "`name` of the rollout"+needed)
	policyFile := flags.String("policy", "", "`file` with the policy, YAML or JSON"+needed)
	targetsFile := flags.String("targets", "", "`file` with the columns account and instance, CSV"+needed)
	rate := flags.Float64("pace", 0, "requests per second for each account of the file (default 20, or as it is)")
	burst := flags.Int("burst", defaultBurst, "requests that may go at once, with -pace")
	return func(ctx context.Context, out *screen) error {
		if *rate == 0 && *burst != defaultBurst {
			return errors.New("-burst is for -pace")
		}
		policy, err := readPolicy(*policyFile)
		if err != nil {
			return err
		}
		targets, err := readTargets(*targetsFile)
		if err != nil {
			return err
		}
		return e.with(ctx, func(f *fleet.Fleet) error {
			if *rate != 0 {
				accounts := make(map[string]bool)
				for _, target := range targets {
					accounts[target.Account] = true
				}
				for account := range accounts {
					if err := f.SetPace(ctx, account, fleet.Pace{PerSecond: *rate, Burst: *burst}); err != nil {
						return err
					}
				}
			}
			receipt, err := f.Start(ctx, fleet.Rollout{Name: *name, Policy: policy, Targets: slices.Values(targets)})
			if err != nil {
				return err
			}
			out.print(fmt.Sprintf("%s: %s ordered, %s resumed, %s left to newer rollouts\n", *name, number(receipt.Ordered), number(receipt.Resumed), number(receipt.Newer)))
			return nil
		})
	}
}

func work(flags *flag.FlagSet) action {
	var e engine
	e.define(flags)
	file := flags.String("credentials", "", "`file` with the columns instance, token and clientToken, CSV"+needed)
	baseURL := flags.String("base-url", "", "`URL` of the API, if it is not Z-API's")
	perAccount := flags.Int("calls-per-account", 16, "calls in flight for each account")
	calls := flags.Int("calls", 64, "calls in flight in all")
	verbose := flags.Bool("v", false, "log every failure to standard error")
	return func(ctx context.Context, out *screen) error {
		resolver, err := readCredentials(*file)
		if err != nil {
			return err
		}
		client := []zapi.Option{zapi.WithoutClientToken()}
		if *baseURL != "" {
			client = append(client, zapi.WithBaseURL(*baseURL))
		}
		var opts []fleet.Option
		if *verbose {
			opts = append(opts, fleet.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
		}
		return e.with(ctx, func(f *fleet.Fleet) error {
			out.print("working; interrupt to end\n")
			return f.Work(ctx, resolver, fleet.WithClient(client...), fleet.WithCalls(*perAccount, *calls))
		}, opts...)
	}
}

func watch(flags *flag.FlagSet) action {
	name := flags.String("name", "", "`name` of the rollout"+needed)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		last, err := out.follow(ctx, f, *name)
		if err != nil {
			return err
		}
		if err := out.table(ctx, f, fleet.Filter{Rollout: *name}); err != nil {
			return err
		}
		if last.Parked > 0 {
			return exit(1)
		}
		return nil
	})
}

// defineFilter adds the flags of a filter.
func defineFilter(flags *flag.FlagSet) *fleet.Filter {
	var q fleet.Filter
	flags.StringVar(&q.Rollout, "name", "", "only of the rollout of this `name`")
	flags.StringVar(&q.Account, "account", "", "only of this `account`")
	flags.StringVar(&q.Kind, "kind", "", "only with this `kind` of failure, such as unauthorized")
	flags.DurationVar(&q.OlderThan, "older", 0, "only unchanged for so `long`")
	return &q
}

func status(flags *flag.FlagSet) action {
	q := defineFilter(flags)
	flags.StringVar((*string)(&q.State), "state", "", "only in this `state`: pending, applying, applied, waiting, parked or superseded")
	list := flags.Bool("list", false, "list the instances instead of counting them")
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		if *list {
			return out.list(ctx, f, *q)
		}
		return out.table(ctx, f, *q)
	})
}

func retry(flags *flag.FlagSet) action {
	q := defineFilter(flags)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		n, err := f.Retry(ctx, *q)
		if err == nil {
			out.print(number(n) + " ordered again\n")
		}
		return err
	})
}

func cancel(flags *flag.FlagSet) action {
	name := flags.String("name", "", "`name` of the rollout"+needed)
	return withEngine(flags, func(ctx context.Context, f *fleet.Fleet, out *screen) error {
		n, err := f.Cancel(ctx, *name)
		if err == nil {
			out.print(number(n) + " taken back\n")
		}
		return err
	})
}
