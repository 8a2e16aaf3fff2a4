package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/zapitest"
)

// The accounts of the demo. Their rates make each rollout last some 15 seconds.
var demoAccounts = []struct {
	name      string
	instances int
	pace      fleet.Pace
}{
	{"acme", 1500, fleet.Pace{PerSecond: 120, Burst: 20}},
	{"globex", 400, fleet.Pace{PerSecond: 40, Burst: 10}},
	{"initech", 100, fleet.Pace{PerSecond: 10, Burst: 5}},
}

// demoFleet is the fake API of the demo and what its workers know of it.
type demoFleet struct {
	api       *zapitest.Server
	transport *http.Transport
	targets   []fleet.Target
	creds     map[string]zapi.Credentials
	trouble   map[string]string // by instance
	parked    int               // how many cannot be applied
	throttled atomic.Int64
	failed    sync.Map    // instances that have failed once
	rotated   atomic.Bool // acme has another Client-Token than the workers know
	fleet     *fleet.Fleet
	out       *screen
}

func demo(flags *flag.FlagSet) action {
	workers := flags.Int("workers", 3, "`number` of workers")
	return func(ctx context.Context, out *screen) (err error) {
		if *workers < 1 || *workers > 100 {
			return errors.New("-workers must be 1 to 100")
		}
		dir, err := os.MkdirTemp("", "zapi-fleet")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		d := newDemoFleet()
		defer d.close()
		d.out = out
		if d.fleet, err = fleet.Open(ctx, fleet.Embedded(dir), fleet.WithActor("ana@demo")); err != nil {
			return err
		}
		err = d.run(ctx, *workers)
		return errors.Join(err, d.fleet.Close())
	}
}

func newDemoFleet() *demoFleet {
	d := &demoFleet{
		api: zapitest.NewServer(), transport: &http.Transport{MaxIdleConnsPerHost: 256},
		creds: make(map[string]zapi.Credentials), trouble: make(map[string]string),
	}
	for _, account := range demoAccounts {
		for i := range account.instances {
			creds := d.api.AddInstance()
			id := creds.InstanceID
			switch {
			case account.name == "acme" && i%250 == 7:
				creds.ClientToken = "wrong"
				d.parked++
			case account.name == "acme" && i%500 == 9:
				creds.InstanceID = "gone-" + id
				id = creds.InstanceID
				d.parked++
			case account.name == "globex" && i%40 == 3:
				d.trouble[id] = "fails once"
			case account.name == "initech":
				d.trouble[id] = "throttled"
			case i%25 == 5:
				d.trouble[id] = "slow"
			}
			if account.name == "acme" && d.trouble[id] == "" {
				d.trouble[id] = "acme"
			}
			d.creds[id] = creds
			d.targets = append(d.targets, fleet.Target{Account: account.name, Instance: id})
		}
	}
	return d
}

func (d *demoFleet) close() {
	d.transport.CloseIdleConnections()
	d.api.Close()
}

// run lets workers apply what the demo orders.
func (d *demoFleet) run(ctx context.Context, workers int) error {
	for _, account := range demoAccounts {
		if err := d.fleet.SetPace(ctx, account.name, account.pace); err != nil {
			return err
		}
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, workers)
	for range workers {
		go func() {
			ended <- d.fleet.Work(working, credentials(d.creds), fleet.WithAttempts(8, time.Second, 5*time.Second),
				fleet.WithClient(zapi.WithBaseURL(d.api.URL()), zapi.WithTransport(d)))
		}()
	}
	err := d.play(ctx)
	stop()
	for range workers {
		err = errors.Join(err, <-ended)
	}
	return err
}

// play is the night of an operator: a canary, its resume, and a rollout that halts.
func (d *demoFleet) play(ctx context.Context) error {
	first := fleet.Rollout{
		Name: "2026-11", Policy: zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContacts}}, Targets: slices.Values(d.targets), Canary: 50,
	}
	second := fleet.Rollout{Name: "2026-12", Policy: zapi.Policy{Online: zapi.OnlineSameAsLastSeen}, Targets: first.Targets}

	d.title("plan -name 2026-11")
	p, err := d.fleet.Plan(ctx, first)
	if err != nil {
		return err
	}
	d.out.plan(first.Name, p)
	d.title("start -name 2026-11 -canary 50")
	if err := d.start(ctx, first); err != nil {
		return err
	}
	if _, err := d.watch(ctx, first.Name, exitHeld); err != nil {
		return err
	}
	d.title("resume -name 2026-11")
	if err := d.fleet.Resume(ctx, first.Name); err != nil {
		return err
	}
	last, err := d.watch(ctx, first.Name, exitIncomplete)
	if err != nil {
		return err
	}
	if err := d.out.counts(ctx, d.fleet, fleet.Filter{Rollout: first.Name}); err != nil {
		return err
	}
	if err := d.check(last); err != nil {
		return err
	}

	d.rotated.Store(true)
	d.title("start -name 2026-12   (meanwhile, somebody has changed acme's Client-Token)")
	if err := d.start(ctx, second); err != nil {
		return err
	}
	if _, err := d.watch(ctx, second.Name, exitHeld); err != nil {
		return err
	}
	d.rotated.Store(false)
	d.title("retry -name 2026-12; resume -name 2026-12   (with the right token)")
	if _, err := d.fleet.Retry(ctx, fleet.Filter{Rollout: second.Name}); err != nil {
		return err
	}
	if err := d.fleet.Resume(ctx, second.Name); err != nil {
		return err
	}
	if _, err := d.watch(ctx, second.Name, exitIncomplete); err != nil {
		return err
	}
	d.title("audit")
	for e, err := range d.fleet.Audit(ctx) {
		if err != nil {
			return err
		}
		if e.Rollout != "" {
			d.out.sayf("%s  %s  %s  %s", e.By, e.Action, e.Rollout, e.Detail)
		}
	}
	return nil
}

func (d *demoFleet) title(text string) {
	d.out.sayf("$ zapi-fleet %s", text)
}

func (d *demoFleet) start(ctx context.Context, r fleet.Rollout) error {
	receipt, err := d.fleet.Start(ctx, r)
	if err == nil {
		d.out.ordered(r, receipt)
	}
	return err
}

// watch shows a rollout until it rests, which it must do in the way that the demo has prepared.
func (d *demoFleet) watch(ctx context.Context, name string, want exit) (fleet.Progress, error) {
	w := watcher{fleet: d.fleet, name: name, out: d.out, engine: new(engine)}
	last, err := w.watch(ctx, 0)
	if err != nil {
		return last, err
	}
	if err := w.conclude(last); !errors.Is(err, want) {
		return last, fmt.Errorf("the demo went wrong: %w instead of %w", err, want)
	}
	return last, nil
}

// check compares what fleet says with what the API has.
func (d *demoFleet) check(last fleet.Progress) error {
	inPlace := 0
	for id := range d.creds {
		if d.api.Settings(id).Photo.Visibility == zapi.VisibilityContacts {
			inPlace++
		}
	}
	if last.Applied != inPlace || last.Parked != d.parked || last.Applied+last.Parked != last.Total {
		return fmt.Errorf("%s applied, but %s in place at the API; %d parked, but %d cannot be applied",
			number(last.Applied), number(inPlace), last.Parked, d.parked)
	}
	d.out.sayf("all that can be applied is in place at the API: %s of %s", number(inPlace), number(last.Total))
	return nil
}

// RoundTrip is the network of the demo: some instances are slow, throttled or fail once.
func (d *demoFleet) RoundTrip(r *http.Request) (*http.Response, error) {
	id := strings.Split(r.URL.Path, "/")[2]
	latency := 50 * time.Millisecond
	switch d.trouble[id] {
	case "acme":
		if d.rotated.Load() {
			return refusal(r, http.StatusForbidden, http.Header{}), nil
		}
	case "slow":
		latency = 1500 * time.Millisecond
	case "throttled":
		if n := d.throttled.Add(1); n == 30 || n == 31 {
			return refusal(r, http.StatusTooManyRequests, http.Header{"Retry-After": {"2"}}), nil
		}
	case "fails once":
		if _, failed := d.failed.LoadOrStore(id, true); !failed {
			return refusal(r, http.StatusServiceUnavailable, http.Header{}), nil
		}
	}
	select {
	case <-time.After(latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return d.transport.RoundTrip(r)
}

func refusal(r *http.Request, status int, header http.Header) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1}
}
