// Tracing sends a span of OpenTelemetry for every request, below the span of the caller: a retry shows as a second one,
// and no span holds a secret.
//
//	cd examples/tracing
//	go run .
//	go run . -connections
//
// It talks to a fake server inside the program, which is unavailable once and refuses one Client-Token, and prints the
// spans instead of exporting them. It is a module of its own, because OpenTelemetry is not in the standard library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func main() {
	connections := flag.Bool("connections", false, "show what each request does on its connection, too")
	flag.Parse()
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
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&printer{out: out})) // in production: WithBatcher and an OTLP exporter
	client, err := server.Client(
		zapi.WithMiddleware(tracing(provider, connections)),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: 10 * time.Millisecond}))
	if err != nil {
		return err
	}

	ctx, span := provider.Tracer("example").Start(ctx, "welcome a customer")
	err = welcome(ctx, server, client)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
	return errors.Join(err, provider.Shutdown(ctx))
}

// tracing makes a span for each attempt.
func tracing(provider trace.TracerProvider, connections bool) func(http.RoundTripper) http.RoundTripper {
	options := []otelhttp.Option{otelhttp.WithTracerProvider(provider), otelhttp.WithSpanNameFormatter(spanName)}
	if connections {
		options = append(options, otelhttp.WithClientTrace(func(ctx context.Context) *httptrace.ClientTrace {
			return otelhttptrace.NewClientTrace(ctx)
		}))
	}
	return func(next http.RoundTripper) http.RoundTripper { return otelhttp.NewTransport(next, options...) }
}

// spanName is the route without the instance, so that the spans of all instances fall together.
func spanName(_ string, req *http.Request) string {
	_, route, _ := strings.Cut(req.URL.Path, "/token/-/") // middleware sees "-" for the token
	return req.Method + " " + route
}

// welcome returns what failed, but for the refusal that it provokes.
func welcome(ctx context.Context, server *zapitest.Server, client *zapi.Client) error {
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	lastSeen := client.SetLastSeen(ctx, zapi.VisibilityContacts)
	_, photo := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{"+55 44 91111-1111"})

	creds := server.AddInstance()
	creds.ClientToken = "FORGOTTEN" // the server's refusal quotes it
	stranger, err := client.ForInstance(creds)
	if err == nil {
		if err = stranger.SetOnlineVisibility(ctx, zapi.OnlineAll); errors.Is(err, zapi.ErrUnauthorized) {
			err = nil
		}
	}
	return errors.Join(lastSeen, photo, err)
}

// printer shows the spans of a trace as a tree, once its root has ended.
type printer struct {
	out   io.Writer
	spans []sdktrace.ReadOnlySpan
}

// ExportSpans takes the spans that have ended: those below before those above.
func (p *printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		p.spans = append(p.spans, span)
		if !span.Parent().IsValid() {
			p.print(span, "")
			p.spans = nil
		}
	}
	return nil
}

// Shutdown has nothing to do.
func (p *printer) Shutdown(context.Context) error { return nil }

func (p *printer) print(span sdktrace.ReadOnlySpan, indent string) {
	duration := span.EndTime().Sub(span.StartTime()).Round(10 * time.Microsecond)
	outcome := "ok"
	if span.Status().Code == codes.Error {
		outcome = "failed"
	}
	fmt.Fprintf(p.out, "%s%s: %s in %v\n", indent, span.Name(), outcome, duration)
	indent += "    "
	for _, attribute := range span.Attributes() {
		fmt.Fprintf(p.out, "%s- %s: %s\n", indent, attribute.Key, attribute.Value)
	}
	for _, below := range p.spans {
		if below.Parent().SpanID() == span.SpanContext().SpanID() {
			p.print(below, indent)
		}
	}
}
