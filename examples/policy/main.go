// Policy gives several instances the same privacy, a few at a time, and shows what happened to each. The failure of one
// does not stop the others.
//
//	go run ./examples/policy
//	go run ./examples/policy -file examples/policy/policy.json
//
// It talks to a fake server inside the program, on which one instance has a wrong Client-Token and the photo of
// another one is rejected.
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
	"os"
	"os/signal"
	"strings"
	"sync"
	"text/tabwriter"

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

	if err := run(ctx, os.Stdout, *file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, file string) error {
	policy, err := readPolicy(file)
	if err != nil {
		return err
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, instances, err := connect(server)
	if err != nil {
		return err
	}
	results := applyAll(ctx, client, policy, instances)
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
	return policy, nil
}

// connect makes the instances, and the client whose connections they share.
func connect(server *zapitest.Server) (*zapi.Client, []instance, error) {
	billing, warehouse := server.AddInstance(), server.AddInstance()
	billing.ClientToken = "FORGOTTEN"
	server.FailWhen(func(r zapitest.Request) bool {
		return r.InstanceID == warehouse.InstanceID && r.Op == "privacy/photo"
	}, zapitest.Answer{Body: `{"success": false, "message": "the number is not connected"}`})
	instances := []instance{
		{"sales", server.Credentials(), nil},
		{"support", server.AddInstance(), nil},
		{"billing", billing, zapi.ErrUnauthorized},
		{"delivery", server.AddInstance(), nil},
		{"warehouse", warehouse, zapi.ErrRejected},
		{"returns", server.AddInstance(), nil},
	}
	client, err := server.Client()
	return client, instances, err
}

// applyAll returns what happened to each instance, in their order.
func applyAll(ctx context.Context, client *zapi.Client, policy zapi.Policy, instances []instance) []error {
	results := make([]error, len(instances))
	slots := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i, in := range instances {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			results[i] = apply(ctx, client, policy, in.creds)
		})
	}
	group.Wait()
	return results
}

func apply(ctx context.Context, client *zapi.Client, policy zapi.Policy, creds zapi.Credentials) error {
	own, err := client.ForInstance(creds)
	if err != nil {
		return err
	}
	return own.Apply(ctx, policy)
}

// report writes a table with a line for each instance, and more where several settings failed.
func report(out io.Writer, instances []instance, results []error) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INSTANCE\tRESULT\tDETAILS")
	for i, err := range results {
		name, result, details := instances[i].name, "applied", "-"
		if err != nil {
			result, details = "incomplete", err.Error()
		}
		if errors.Is(err, zapi.ErrUnauthorized) {
			result = "credentials refused"
		}
		for detail := range strings.SplitSeq(details, "\n") { // Apply joins its failures, a line for each
			fmt.Fprintf(table, "%s\t%s\t%s\n", name, result, detail)
			name, result = "", ""
		}
	}
	return table.Flush()
}

// unprovoked returns the failures that the program did not provoke itself.
func unprovoked(instances []instance, results []error) error {
	var failures []error
	for i, err := range results {
		if in := instances[i]; err != nil && !errors.Is(err, in.provoked) {
			failures = append(failures, fmt.Errorf("%s: %w", in.name, err))
		}
	}
	return errors.Join(failures...)
}
