package fleet

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi"
)

// chaosTiming is short, so that the claims of dead workers end soon.
var chaosTiming = timing{
	ackWait: 2 * time.Second, grace: 300 * time.Millisecond, settle: 300 * time.Millisecond, fetch: 500 * time.Millisecond, patience: time.Minute, held: time.Second, wall: time.Now, random: rand.Int64N,
	sweepEvery: 3 * time.Second, sweepAge: 4 * time.Second,
}

const chaosToken = "chaos"

// playRole is the main function of a process of a chaos test. It ends with its standard input, so none outlives the test.
func playRole(role string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var err error
	switch role {
	case "node":
		err = playNode(ctx)
	case "worker":
		err = playWorker(ctx, URL(os.Getenv("FLEET_TEST_URL"), nats.Token(chaosToken)), true)
	case "engine":
		err = playWorker(ctx, Embedded(os.Getenv("FLEET_TEST_DIR"), WithListen(os.Getenv("FLEET_TEST_LISTEN"), chaosToken)), false)
	case "embedded":
		err = playWorker(ctx, Embedded(os.Getenv("FLEET_TEST_DIR"), WithListen(os.Getenv("FLEET_TEST_LISTEN"), chaosToken)), true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role, err)
		return 1
	}
	return 0
}

func playNode(ctx context.Context) error {
	options, err := server.ProcessConfigFile(os.Getenv("FLEET_TEST_CONFIG"))
	if err != nil {
		return err
	}
	options.NoSigs, options.NoLog = true, true
	node, err := server.NewServer(options)
	if err != nil {
		return err
	}
	node.Start()
	<-ctx.Done()
	node.Shutdown()
	return nil
}

func playWorker(ctx context.Context, e Engine, works bool) error {
	var f *Fleet
	for {
		var err error
		if f, err = Open(ctx, e, withTiming(chaosTiming)); err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		pause(ctx, 100*time.Millisecond) // the engine may be away
	}
	defer f.Close() //nolint:errcheck // the process ends
	if !works {
		<-ctx.Done()
		return nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	for ctx.Err() == nil {
		err := f.Work(ctx, chaosResolver{}, WithCalls(chaosCalls, chaosCalls), WithApplyTimeout(time.Second),
			WithAttempts(20, 200*time.Millisecond, time.Second), WithClient(zapi.WithBaseURL(os.Getenv("FLEET_TEST_API")), zapi.WithTransport(transport)))
		if err != nil {
			pause(ctx, 100*time.Millisecond)
		}
	}
	return nil
}

const chaosCalls = 16 // in flight for each worker; with those whose outcome is being written, inHand of it

// chaosResolver makes the credentials of an instance up, and does what its name says.
type chaosResolver struct{}

func (chaosResolver) Credentials(_ context.Context, t Target) (zapi.Credentials, error) {
	creds := zapi.Credentials{InstanceID: t.Instance, Token: "T" + t.Instance, ClientToken: "F" + t.Account}
	switch kind, _, _ := strings.Cut(t.Instance, "-"); kind {
	case "panics":
		panic("of the resolver")
	case "unknown":
		return creds, ErrNoInstance
	case "flaky":
		if rand.IntN(2) > 0 {
			return creds, fmt.Errorf("the vault is away")
		}
	case "deadly":
		os.Exit(3)
	}
	return creds, nil
}
