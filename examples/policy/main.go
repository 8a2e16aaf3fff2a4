// Policy gives several instances the same privacy, a few at a time, and shows what happened to each. The failure of one
// does not stop the others. With -plan it shows what would be sent, and changes nothing.
//
//	go run ./examples/policy
//	go run ./examples/policy -plan -file examples/policy/policy.json
//
// It talks to a fake server inside the program, on which one instance has a wrong Client-Token and the photo of
// another one cannot be set for the time being.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Policy applies a privacy policy to several instances of a fake server inside the program, two of which fail.

`

const parallel = 3 // kind to the API, and enough to finish soon

//go:embed policy.json
var sample []byte

// instance is one number of the company.
type instance struct {
	name     string
	creds    zapi.Credentials
	provoked error // the failure that this program causes; nil for none
}

func main() {
	file := flag.String("file", "", "`file` with the policy, as JSON; without it a sample is used")
	plan := flag.Bool("plan", false, "show what would be sent, and change nothing")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "policy takes flags only; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, *file, *plan); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, file string, planOnly bool) error {
	policy, err := readPolicy(file)
	if err != nil {
		return err
	}
	server := zapitest.NewServer()
	defer server.Close()
	api, instances, err := connect(server)
	if err != nil {
		return err
	}
	act, report := apply, reportApplied
	if planOnly {
		act, report = plan, reportPlans
	}
	results := forEach(instances, func(in instance) result { return act(ctx, api, in.creds, policy) })
	return errors.Join(report(out, instances, results), unprovoked(instances, results))
}

// readPolicy returns the policy of a file. The error names the file, and the position of broken JSON in it.
func readPolicy(file string) (zapi.Policy, error) {
	name, data := "the sample", sample
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return zapi.Policy{}, err
		}
		name = file
	}
	var policy zapi.Policy
	err := json.Unmarshal(data, &policy) // strict: a misspelt key is an error, not a setting left as it is
	var broken *json.SyntaxError
	if errors.As(err, &broken) {
		before := data[:max(broken.Offset-1, 0)] // Offset counts the byte at fault, too
		line := bytes.Count(before, []byte("\n")) + 1
		column := len(before) - bytes.LastIndexByte(before, '\n')
		name = fmt.Sprintf("%s:%d:%d", name, line, column)
	}
	if err != nil {
		return zapi.Policy{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := policy.Validate(); err != nil { // such as an empty one, which Unmarshal accepts
		return zapi.Policy{}, fmt.Errorf("%s: %w", name, err)
	}
	return policy, nil
}

// connect makes the instances, and the API whose connections they share.
func connect(server *zapitest.Server) (*zapi.API, []instance, error) {
	support, billing, warehouse := server.AddInstance(), server.AddInstance(), server.AddInstance()
	settings := server.Settings(support.InstanceID)
	settings.LastSeen.Blacklist = []string{"5511988887777", "5544922222222"}
	server.SetSettings(support.InstanceID, settings)
	billing.ClientToken = "FORGOTTEN"
	server.FailWhen(func(r zapitest.Request) bool {
		return r.InstanceID == warehouse.InstanceID && r.Op == "privacy/photo"
	}, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	instances := []instance{
		{"sales", server.Credentials(), nil},
		{"support", support, nil},
		{"billing", billing, zapi.ErrUnauthorized},
		{"delivery", server.AddInstance(), nil},
		{"warehouse", warehouse, zapi.ErrUnavailable},
		{"returns", server.AddInstance(), nil},
	}
	api, err := zapi.NewAPI(zapi.WithBaseURL(server.URL()),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond})) // a fake server needs no pause
	return api, instances, err
}

// A result is what happened to one instance.
type result struct {
	plan zapi.Plan // with -plan
	err  error
}

// forEach returns the result of act for each instance, in their order.
func forEach(instances []instance, act func(instance) result) []result {
	results := make([]result, len(instances))
	slots := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i, in := range instances {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			results[i] = act(in)
		})
	}
	group.Wait()
	return results
}

func apply(ctx context.Context, api *zapi.API, creds zapi.Credentials, policy zapi.Policy) result {
	client, err := api.Instance(creds)
	if err != nil {
		return result{err: err}
	}
	return result{err: client.Apply(ctx, policy)}
}

func plan(ctx context.Context, api *zapi.API, creds zapi.Credentials, policy zapi.Policy) result {
	client, err := api.Instance(creds)
	if err != nil {
		return result{err: err}
	}
	planned, err := client.Plan(ctx, policy)
	return result{planned, err}
}
