package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi/fleet"
)

const tokenVariable = "ZAPI_FLEET_TOKEN"

// engine holds the flags that choose an engine, and knows whether it is there.
type engine struct {
	dir, url, creds, ca, as string
	replicas                int
	insecure, creates       bool

	mu    sync.Mutex
	away  time.Time // since when
	notes func(up bool)
}

func (e *engine) define(flags *flag.FlagSet) {
	flags.StringVar(&e.dir, "dir", "", "`folder` of an embedded engine")
	flags.StringVar(&e.url, "url", "", "`URLs` of a NATS server or cluster, separated by commas")
	flags.StringVar(&e.creds, "creds", "", "`file` with the user's JWT and NKEY, for -url")
	flags.StringVar(&e.ca, "ca", "", "`file` with the certificates to trust, for -url")
	flags.StringVar(&e.as, "as", actor(), "who does it, for the audit")
	flags.IntVar(&e.replicas, "replicas", 0, "servers that keep each entry: 1, 3 or 5 (default 3 with -url)")
	flags.BoolVar(&e.insecure, "insecure", false, "accept a -url without TLS beyond loopback")
}

// actor is USER@host.
func actor() string {
	name := cmp.Or(os.Getenv("USER"), os.Getenv("USERNAME"))
	if current, err := user.Current(); err == nil {
		name = cmp.Or(current.Username, name)
	}
	host, _ := os.Hostname()
	return cmp.Or(name, "unknown") + "@" + cmp.Or(host, "unknown")
}

func (e *engine) open(ctx context.Context, opts ...fleet.Option) (*fleet.Fleet, error) {
	if (e.dir == "") == (e.url == "") {
		return nil, errors.New("one of -dir and -url is needed")
	}
	opts = append(opts, fleet.WithActor(e.as))
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
		if err := exists("dir", e.dir); err != nil && !e.creates {
			return nil, err
		}
		return fleet.Open(ctx, fleet.Embedded(e.dir), opts...)
	}
	if err := cmp.Or(exists("creds", e.creds), exists("ca", e.ca)); err != nil {
		return nil, err
	}
	options := []nats.Option{
		nats.DisconnectErrHandler(func(*nats.Conn, error) { e.note(false) }),
		nats.ReconnectHandler(func(*nats.Conn) { e.note(true) }),
	}
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

// note remembers that the engine has gone or come.
func (e *engine) note(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = time.Time{}
	if !up {
		e.away = time.Now()
	}
	if e.notes != nil {
		e.notes(up)
	}
}

// awaySince returns since when the engine is away, or zero.
func (e *engine) awaySince() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.away
}

// with opens the engine for one action.
func (e *engine) with(ctx context.Context, do func(f *fleet.Fleet) error, opts ...fleet.Option) error {
	f, err := e.open(ctx, opts...)
	if err != nil {
		return err
	}
	err = do(f)
	e.mu.Lock()
	e.notes = nil // closing is no news
	e.mu.Unlock()
	return errors.Join(err, f.Close())
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

// rolloutFlag defines -name, which must be given.
func rolloutFlag(flags *flag.FlagSet) *string {
	return flags.String("name", "", "`name` of the rollout"+needed)
}
