package main

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/zapi-go/zapi"
)

// instrument returns the options of a client that reports a span and a duration for each call, and below it a span for
// each attempt. With connections, each attempt also has spans of what it does on its connection.
func instrument(traces trace.TracerProvider, meters metric.MeterProvider, connections bool) ([]zapi.Option, error) {
	duration, err := meters.Meter("zapi").Float64Histogram("zapi.call.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of calls, retries included."),
		metric.WithExplicitBucketBoundaries(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120))
	if err != nil {
		return nil, err
	}
	options := []otelhttp.Option{otelhttp.WithTracerProvider(traces), otelhttp.WithMeterProvider(meters), otelhttp.WithSpanNameFormatter(spanName)}
	if connections {
		options = append(options, otelhttp.WithClientTrace(func(ctx context.Context) *httptrace.ClientTrace {
			return otelhttptrace.NewClientTrace(ctx)
		}))
	}
	attempts := func(next http.RoundTripper) http.RoundTripper { return otelhttp.NewTransport(next, options...) }
	return []zapi.Option{
		zapi.WithInterceptor(calls(traces.Tracer("zapi"), duration)),
		zapi.WithMiddleware(countAttempts, attempts),
	}, nil
}

// calls reports a span and a duration for each call, retries included.
func calls(tracer trace.Tracer, duration metric.Float64Histogram) zapi.Interceptor {
	return func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
		start, attempts := time.Now(), 0
		ctx, span := tracer.Start(context.WithValue(ctx, attemptsKey{}, &attempts), call.Op,
			trace.WithAttributes(attribute.String("zapi.instance", call.InstanceID)))
		defer span.End()

		err := next(ctx)
		outcome := cmp.Or(zapi.Kind(err), "ok") // one of a few words, so that it can be an attribute of a metric
		span.SetAttributes(attribute.Int("zapi.attempts", attempts), attribute.String("zapi.outcome", outcome))
		if err != nil {
			span.SetStatus(codes.Error, outcome) // not the text of err: the API may quote a phone
		}
		duration.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes( // the instance would make too many series
			attribute.String("zapi.op", call.Op), attribute.String("zapi.outcome", outcome)))
		return err
	}
}

type attemptsKey struct{}

// countAttempts counts the attempts of a call, as only an error holds their number, not a success.
func countAttempts(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if attempts, ok := req.Context().Value(attemptsKey{}).(*int); ok {
			*attempts++ // one after another, so no lock is needed
		}
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// spanName returns the method and the op, without the instance, so that the spans of all instances have the same names.
func spanName(_ string, req *http.Request) string {
	_, op, _ := strings.Cut(req.URL.Path, "/token/-/") // middleware sees "-" for the token
	return req.Method + " " + op
}
