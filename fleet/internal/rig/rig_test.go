//go:build linux

// Package rig plays faults on real nats-server processes and real workers: what a model of the engine cannot know, such as hung
// nodes, disks, lost files and connections that are made again. After each scene it compares what the fleet reports with what the
// API got. It uses the public API of fleet only.
//
//	go test ./internal/rig                                        # three minutes
//	go test ./internal/rig -rig.long                              # the long scenes, too
//	go test ./internal/rig -run Random -rig.duration 1h -rig.seed 7
package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

var (
	long     = flag.Bool("rig.long", false, "play the scenes that take minutes, too")
	duration = flag.Duration("rig.duration", 40*time.Second, "how long faults follow each other at random")
	seed     = flag.Uint64("rig.seed", 0, "of the random faults; 0 takes one from the clock")
)

const (
	applyTimeout = 5 * time.Second
	calls        = 16              // in flight, of each worker and account
	perSecond    = 200             // requests, of each account; a policy takes two
	burst        = 10              //
	patience     = 4 * time.Minute // of one step: claims of killed workers last for up to a minute, on a machine that is calm
)

var natsServer string // the program

func TestMain(m *testing.M) {
	if os.Getenv("RIG_URL") != "" {
		os.Exit(work())
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		panic(err)
	}
	natsServer = filepath.Join(dir, "nats-server")
	build := exec.Command("go", "build", "-o", natsServer, "github.com/nats-io/nats-server/v2") //nolint:noctx // nothing ends it early
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building nats-server: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			fmt.Fprintln(os.Stderr, "a process was left behind:", child, err)
			code = 1
		}
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// work is the process of a worker, or of an operator who resumes a rollout. It ends with its standard input.
func work() int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it has no more to say
		cancel()
	}()
	for ; ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
		url := os.Getenv("RIG_URL")
		f, err := fleet.Open(ctx, fleet.URL(url, nats.Token(token), nats.DontRandomize()), fleet.WithReplicas(strings.Count(url, ",")+1),
			fleet.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
		if err != nil {
			slog.Warn("open again", "error", err)
			continue
		}
		if name := os.Getenv("RIG_RESUME"); name != "" {
			if err = errors.Join(f.Resume(ctx, name), f.Close()); err != nil {
				slog.Error("resume", "error", err)
				return 1
			}
			return 0
		}
		err = f.Work(ctx, resolver{}, fleet.WithCalls(calls, 4*calls), fleet.WithApplyTimeout(applyTimeout), fleet.WithClient(zapi.WithBaseURL(os.Getenv("RIG_API"))))
		slog.Warn("work ended", "error", errors.Join(err, f.Close())) // a supervisor would begin again, too
	}
	return 0
}

type resolver struct{}

func (resolver) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	return zapi.Credentials{InstanceID: t.Account + "-" + t.Instance, Token: "4F1C09B2A7", ClientToken: "F83d61e09c"}, nil
}
