package fleet_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/zapitest"
)

// vault resolves instances; a real one asks a database or a secret store.
type vault map[string]zapi.Credentials

func (v vault) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	creds, ok := v[t.Instance]
	if !ok {
		return zapi.Credentials{}, fleet.ErrNoInstance
	}
	return creds, nil
}

// openFake opens an embedded fleet in a temporary folder, and a fake API with three instances.
func openFake(opts ...fleet.Option) (f *fleet.Fleet, api *zapitest.Server, creds vault, targets []fleet.Target, end func()) {
	api = zapitest.NewServer()
	creds = make(vault)
	for range 3 {
		c := api.AddInstance()
		creds[c.InstanceID] = c
		targets = append(targets, fleet.Target{Account: "acme", Instance: c.InstanceID})
	}
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		log.Fatal(err)
	}
	f, err = fleet.Open(context.Background(), fleet.Embedded(dir), opts...)
	if err != nil {
		log.Fatal(err)
	}
	return f, api, creds, targets, func() {
		if err := f.Close(); err != nil {
			log.Print(err)
		}
		api.Close()
		if err := os.RemoveAll(dir); err != nil {
			log.Print(err)
		}
	}
}

// A rollout from its order to its end, with one worker in the same process.
func Example() {
	f, api, creds, targets, end := openFake()
	defer end()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()

	policy := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContacts}}
	receipt, err := f.Start(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: slices.Values(targets)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ordered:", receipt.Ordered)

	working, stopWork := context.WithCancel(ctx)
	worked := make(chan error)
	go func() { worked <- f.Work(working, creds, fleet.WithClient(zapi.WithBaseURL(api.URL()))) }()

	var last fleet.Progress
	for p, err := range f.Watch(ctx, "2026-11") {
		if err != nil {
			log.Fatal(err)
		}
		last = p
	}
	stopWork()
	if err := <-worked; err != nil {
		log.Fatal(err)
	}
	fmt.Println("applied:", last.Applied, "of", last.Total)
	// Output:
	// ordered: 3
	// applied: 3 of 3
}

// What needs a person is parked with its reason, and tried again when that is mended.
func ExampleFleet_Retry() {
	f, api, creds, targets, end := openFake()
	defer end()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	locked := targets[1].Instance
	right := creds[locked]
	creds[locked] = zapi.Credentials{InstanceID: locked, Token: right.Token, ClientToken: "revoked"}

	rollOut := func() fleet.Progress {
		working, stopWork := context.WithCancel(ctx)
		worked := make(chan error)
		go func() { worked <- f.Work(working, creds, fleet.WithClient(zapi.WithBaseURL(api.URL()))) }()
		var last fleet.Progress
		for p, err := range f.Watch(ctx, "2026-11") {
			if err != nil {
				log.Fatal(err)
			}
			last = p
		}
		stopWork()
		if err := <-worked; err != nil {
			log.Fatal(err)
		}
		return last
	}

	policy := zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContacts}}
	if _, err := f.Start(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: slices.Values(targets)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("parked:", rollOut().Parked)
	for s, err := range f.Statuses(ctx, fleet.Filter{State: fleet.Parked}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", s.Kind, s.Error)
	}

	creds[locked] = right
	n, err := f.Retry(ctx, fleet.Filter{Kind: "unauthorized"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ordered again:", n)
	fmt.Println("parked:", rollOut().Parked)
	// Output:
	// parked: 1
	// unauthorized: photo: privacy/photo: 403
	// ordered again: 1
	// parked: 0
}

// A rollout can be taken back as far as it has not begun.
func ExampleFleet_Cancel() {
	f, _, _, targets, end := openFake()
	defer end()
	ctx := context.Background()
	policy := zapi.Policy{Online: zapi.OnlineSameAsLastSeen}
	if _, err := f.Start(ctx, fleet.Rollout{Name: "hasty", Policy: policy, Targets: slices.Values(targets)}); err != nil {
		log.Fatal(err)
	}
	n, err := f.Cancel(ctx, "hasty")
	if err != nil {
		log.Fatal(err)
	}
	p, err := f.Progress(ctx, "hasty")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("taken back:", n, "done:", p.Done())
	// Output: taken back: 3 done: true
}

// A plan shows what Start would do, and how long the API takes for it.
func ExampleFleet_Plan() {
	f, _, _, targets, end := openFake()
	defer end()
	ctx := context.Background()
	if err := f.SetPace(ctx, "acme", fleet.Pace{PerSecond: 1, Burst: 1}); err != nil {
		log.Fatal(err)
	}
	policy := zapi.Policy{Online: zapi.OnlineSameAsLastSeen}
	plan, err := f.Plan(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: slices.Values(targets)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("to order:", plan.ToOrder)
	for _, a := range plan.Accounts {
		fmt.Println(a.Account, a.Requests, "requests,", a.Duration)
	}
	// Output:
	// to order: 3
	// acme 3 requests, 3s
}

// A canary begins with a few; Resume lets the rest go on, and Pause holds it again.
func ExampleFleet_Resume() {
	f, _, _, targets, end := openFake()
	defer end()
	ctx := context.Background()
	held := func() string {
		p, err := f.Progress(ctx, "2026-11")
		if err != nil {
			log.Fatal(err)
		}
		return fmt.Sprintf("%q", p.Held)
	}
	policy := zapi.Policy{Online: zapi.OnlineSameAsLastSeen}
	if _, err := f.Start(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: slices.Values(targets), Canary: 1}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("started:", held())
	if err := f.Resume(ctx, "2026-11"); err != nil {
		log.Fatal(err)
	}
	fmt.Println("resumed:", held())
	if err := f.Pause(ctx, "2026-11"); err != nil {
		log.Fatal(err)
	}
	fmt.Println("paused:", held())
	// Output:
	// started: "canary: 1 of 3 begun"
	// resumed: ""
	// paused: "paused"
}

// The audit has who did what.
func ExampleFleet_Audit() {
	f, _, _, targets, end := openFake(fleet.WithActor("ana@ops"))
	defer end()
	ctx := context.Background()
	policy := zapi.Policy{Online: zapi.OnlineSameAsLastSeen}
	if _, err := f.Start(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: slices.Values(targets)}); err != nil {
		log.Fatal(err)
	}
	if err := f.Pause(ctx, "2026-11"); err != nil {
		log.Fatal(err)
	}
	for e, err := range f.Audit(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.By, e.Action, e.Rollout, e.Instances)
	}
	// Output:
	// ana@ops start 2026-11 3
	// ana@ops pause 2026-11 0
}
