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

// The accounts of the demo. Their rates make it last some 15 seconds.
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
	failed    sync.Map // instances that have failed once
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
		f, err := fleet.Open(ctx, fleet.Embedded(dir))
		if err != nil {
			return err
		}
		err = d.run(ctx, f, *workers, out)
		return errors.Join(err, f.Close())
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

// run rolls a policy out, and checks at the API that it is in place.
func (d *demoFleet) run(ctx context.Context, f *fleet.Fleet, workers int, out *screen) error {
	const name = "2026-11"
	policy := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContacts}}
	for _, account := range demoAccounts {
		if err := f.SetPace(ctx, account.name, account.pace); err != nil {
			return err
		}
	}
	receipt, err := f.Start(ctx, fleet.Rollout{Name: name, Policy: policy, Targets: slices.Values(d.targets)})
	if err != nil {
		return err
	}
	out.print(fmt.Sprintf("%s instances ordered; %d workers begin\n", number(receipt.Ordered), workers))
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, workers)
	for range workers {
		go func() {
			ended <- f.Work(working, credentials(d.creds), fleet.WithAttempts(8, time.Second, 5*time.Second),
				fleet.WithClient(zapi.WithBaseURL(d.api.URL()), zapi.WithTransport(d)))
		}()
	}
	last, err := out.follow(ctx, f, name)
	stop()
	for range workers {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		return err
	}
	if err := out.table(ctx, f, fleet.Filter{Rollout: name}); err != nil {
		return err
	}
	inPlace := 0
	for id := range d.creds {
		if d.api.Settings(id).Photo.Visibility == zapi.VisibilityContacts {
			inPlace++
		}
	}
	if last.Applied != inPlace || last.Parked != d.parked || last.Applied+last.Parked != last.Total {
		out.print(fmt.Sprintf("%s applied, but %s in place at the API; %d parked, but %d cannot be applied\n",
			number(last.Applied), number(inPlace), last.Parked, d.parked))
		return exit(1)
	}
	out.print(fmt.Sprintf("all that can be applied is in place at the API: %s of %s\n", number(inPlace), number(last.Total)))
	return nil
}

// RoundTrip is the network of the demo: some instances are slow, throttled or fail once.
func (d *demoFleet) RoundTrip(r *http.Request) (*http.Response, error) {
	id := strings.Split(r.URL.Path, "/")[2]
	latency := 50 * time.Millisecond
	switch d.trouble[id] {
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
