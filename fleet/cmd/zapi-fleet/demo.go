package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/fleet/internal/counts"
	"github.com/zapi-go/zapi/zapitest"
)

// demoNight is what an operator of the demo works with: a fleet, files, and a fake API.
type demoNight struct {
	*screen
	fleet   *fleet.Fleet
	dir     string
	api     *zapitest.Server
	creds   credentials // that the workers know
	broken  int         // instances that cannot be applied
	rotated atomic.Bool // acme has another Client-Token than the workers know
	err     error       // the first that a command returned
}

func demo(ctx context.Context, s *session) (err error) {
	if s.workers < 1 || s.workers > 100 {
		return errors.New("-workers must be 1 to 100")
	}
	dir, err := os.MkdirTemp("", "zapi-fleet")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n := &demoNight{screen: s.screen, dir: dir, api: zapitest.NewServer(), creds: make(credentials)}
	defer n.api.Close()
	if err := n.prepare(); err != nil {
		return err
	}
	if n.fleet, err = fleet.Open(ctx, fleet.Embedded(filepath.Join(dir, "store")), fleet.WithActor("ana@demo")); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	group, working := errgroup.WithContext(ctx)
	for range s.workers {
		group.Go(func() error {
			return n.fleet.Work(working, n, fleet.WithAttempts(8, time.Second, 5*time.Second), fleet.WithClient(zapi.WithBaseURL(n.api.URL())))
		})
	}
	n.play(working)
	stop()
	return errors.Join(n.err, group.Wait(), n.fleet.Close())
}

// prepare writes the files, and fills the API with instances. Some of them cannot be applied.
func (n *demoNight) prepare() error {
	var targets strings.Builder
	targets.WriteString("account,instance\n")
	instances := map[string]int{"acme": 1500, "globex": 400, "initech": 100}
	for _, account := range slices.Sorted(maps.Keys(instances)) {
		for i := range instances[account] {
			creds := n.api.AddInstance()
			switch {
			case account == "acme" && i%250 == 7:
				creds.ClientToken = "wrong"
				n.broken++
			case account == "acme" && i%500 == 9:
				creds.InstanceID = "gone-" + creds.InstanceID
				n.broken++
			}
			n.creds[creds.InstanceID] = creds
			fmt.Fprintf(&targets, "%s,%s\n", account, creds.InstanceID)
		}
	}
	for name, text := range map[string]string{
		"photo.yaml": "photo: {visibility: CONTACTS}\n", "online.yaml": "online: SAME_LAST_SEEN\n", "targets.csv": targets.String(),
	} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Credentials implements [fleet.Resolver]. It takes the time that a real API would.
func (n *demoNight) Credentials(ctx context.Context, t fleet.Target) (zapi.Credentials, error) {
	sleep(ctx, 50*time.Millisecond)
	creds := n.creds[t.Instance]
	if t.Account == "acme" && n.rotated.Load() {
		creds.ClientToken = "wrong"
	}
	return creds, nil
}

// play is what the operator does: a canary, its resume, and a rollout that halts.
func (n *demoNight) play(ctx context.Context) {
	n.do(ctx, exitDone, "plan -name 2026-11 -policy photo.yaml -targets targets.csv")
	n.do(ctx, exitDone, "start -name 2026-11 -policy photo.yaml -targets targets.csv -canary 50 -pace 100")
	n.do(ctx, exitHeld, "watch -name 2026-11")
	n.api.FailNext(5, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	n.api.FailNext(2, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	n.do(ctx, exitDone, "resume -name 2026-11")
	n.do(ctx, exitIncomplete, "watch -name 2026-11")
	n.check()
	n.rotated.Store(true)
	n.do(ctx, exitDone, "start -name 2026-12 -policy online.yaml -targets targets.csv   # meanwhile, somebody has changed acme's Client-Token")
	n.do(ctx, exitHeld, "watch -name 2026-12")
	n.rotated.Store(false)
	n.do(ctx, exitDone, "retry -name 2026-12   # with the right token")
	n.do(ctx, exitDone, "resume -name 2026-12")
	n.do(ctx, exitIncomplete, "watch -name 2026-12")
	n.do(ctx, exitDone, "audit")
}

// do runs a command, which must end as the demo has prepared it. After an error, it does nothing more.
func (n *demoNight) do(ctx context.Context, want exit, command string) {
	if n.err != nil {
		return
	}
	n.sayf("$ zapi-fleet %s", command)
	command, _, _ = strings.Cut(command, "#")
	args := strings.Fields(command)
	for i, arg := range args {
		if filepath.Ext(arg) != "" {
			args[i] = filepath.Join(n.dir, arg)
		}
	}
	err := cmp.Or(dispatch(ctx, &session{screen: n.screen, fleet: n.fleet}, args), error(exit(exitDone)))
	if !errors.Is(err, want) {
		n.err = fmt.Errorf("the demo went wrong: %s: %w instead of %w", args[0], err, want)
	}
}

// check compares what fleet says with what the API has.
func (n *demoNight) check() {
	inPlace := 0
	for id := range n.creds {
		if n.api.Settings(id).Photo.Visibility == zapi.VisibilityContacts {
			inPlace++
		}
	}
	if want := len(n.creds) - n.broken; n.err == nil && inPlace != want {
		n.err = fmt.Errorf("%s in place at the API instead of %s", counts.Number(inPlace), counts.Number(want))
	}
	n.sayf("all that can be applied is in place at the API: %s of %s", counts.Number(inPlace), counts.Number(len(n.creds)))
}
