// Queue works off jobs that set the privacy of numbers. It repeats a job that may succeed later, no sooner than the API
// asked, and leaves any other that failed to a person, with the kind of its failure.
//
//	go run ./examples/queue
//
// It talks to a fake server inside the program. A real queue keeps its jobs in a database; copy the switch in work.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const maxRuns, pause = 3, 100 * time.Millisecond // the second pause is twice as long; a real queue pauses for minutes

// A job is one number that gets the policy.
type job struct {
	name      string
	creds     zapi.Credentials
	runs      int
	notBefore time.Time
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Queue runs jobs on a fake server inside the program. It has no flags.")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "queue takes no arguments; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demonstrate(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, out io.Writer) error {
	server := zapitest.NewServer()
	defer server.Close()
	billing, warehouse := server.AddInstance(), server.AddInstance()
	billing.ClientToken = "FORGOTTEN"
	server.SetConnected(warehouse.InstanceID, false)
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
	api, err := zapi.NewAPI(zapi.WithBaseURL(server.URL()), zapi.WithRetry(zapi.RetryPolicy{})) // the queue repeats
	if err != nil {
		return err
	}
	return work(ctx, out, api, zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContacts}}, []job{
		{name: "sales", creds: server.Credentials()}, {name: "billing", creds: billing}, {name: "warehouse", creds: warehouse},
	})
}

// work runs jobs until none is left to repeat, each no sooner than it may run.
func work(ctx context.Context, out io.Writer, api *zapi.API, policy zapi.Policy, jobs []job) error {
	for len(jobs) > 0 {
		slices.SortStableFunc(jobs, func(a, b job) int { return a.notBefore.Compare(b.notBefore) })
		j := jobs[0]
		jobs = jobs[1:]
		select {
		case <-time.After(time.Until(j.notBefore)):
		case <-ctx.Done():
		}
		client, err := api.Instance(j.creds)
		if err == nil {
			err = client.Apply(ctx, policy)
		}
		j.runs++
		after, again := zapi.Retryable(err)
		switch {
		case err == nil:
			fmt.Fprintf(out, "%-9s  run %d: done\n", j.name, j.runs)
		case ctx.Err() != nil:
			return ctx.Err() // the job stays in a real queue
		case again && j.runs < maxRuns:
			wait := max(after, pause<<(j.runs-1))
			fmt.Fprintf(out, "%-9s  run %d: %s, again in %v\n", j.name, j.runs, zapi.Kind(err), wait)
			j.notBefore = time.Now().Add(wait)
			jobs = append(jobs, j)
		default:
			fmt.Fprintf(out, "%-9s  run %d: %s, left to a person: %v\n", j.name, j.runs, zapi.Kind(err), err)
		}
	}
	return nil
}
