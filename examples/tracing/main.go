// Tracing reports calls to OpenTelemetry: a span for each call with its outcome, below it a span for each attempt, and a
// histogram of the durations of calls. A rejection, which has status 200, is an error in the span, and no span or metric holds a secret.
//
//	cd examples/tracing && go run .
//	cd examples/tracing && go run . -connections
//
// It talks to a fake server inside the program and prints what a real program would export. The part to copy is
// instrument.go. It is a module of its own, because of OpenTelemetry.
//
// The folder breaker has a second program, a circuit breaker around the calls of a client:
//
//	cd examples/tracing && go run ./breaker
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Tracing makes calls to a fake server inside the program and prints their spans and durations.

`

func main() {
	connections := flag.Bool("connections", false, "print what each attempt does on its connection, too")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "tracing takes flags only; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, *connections); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, connections bool) error {
	server := zapitest.NewServer()
	defer server.Close()
	// A real program has WithBatcher with an OTLP exporter here, and a PeriodicReader.
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&printer{out: out}))
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	options, err := instrument(traces, meters, connections)
	if err != nil {
		return err
	}
	client, err := server.Client(append(options,
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: 10 * time.Millisecond}))...)
	if err != nil {
		return err
	}

	ctx, span := traces.Tracer("example").Start(ctx, "welcome a customer")
	err = welcome(ctx, server, client)
	if err != nil {
		span.SetStatus(codes.Error, "incomplete")
	}
	span.End()
	return errors.Join(err, printDurations(ctx, out, reader), traces.Shutdown(ctx), meters.Shutdown(ctx))
}

// welcome returns what failed, except for the rejection and the refusal that it provokes.
func welcome(ctx context.Context, server *zapitest.Server, client *zapi.Client) error {
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	lastSeen := client.SetLastSeen(ctx, zapi.VisibilityContacts)
	_, photo := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{"+55 44 91111-1111"}) // two calls

	server.FailNext(1, zapitest.Answer{Body: `{"success": false, "message": "the setting cannot be changed now"}`})
	rejected := client.SetReadReceipts(ctx, zapi.ReadReceiptsDisable)
	if errors.Is(rejected, zapi.ErrRejected) {
		rejected = nil
	}

	creds := server.AddInstance()
	creds.ClientToken = "FORGOTTEN" // the server's refusal quotes it
	stranger, refused := client.ForInstance(creds)
	if refused == nil {
		refused = stranger.SetOnlineVisibility(ctx, zapi.OnlineAll)
	}
	if errors.Is(refused, zapi.ErrUnauthorized) {
		refused = nil
	}
	return errors.Join(lastSeen, photo, rejected, refused)
}
