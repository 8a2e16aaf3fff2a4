package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Tracing makes calls to a fake server"},
		{Name: "nothing", Want: "welcome a customer: ok in "},
		{Name: "connections", Args: []string{"-connections"}, Want: "http.getconn: ok in "},
		{Name: "superfluous argument", Args: []string{"connections"}, Code: 2, Want: "tracing takes flags only; see -h"},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, connections := range map[string]bool{"requests": false, "connections": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.NoError(t, run(t.Context(), &out, connections))
			for _, want := range []string{
				`(?m)^welcome a customer: ok in `,
				`(?m)^    privacy/last-seen: ok in .*\n        - zapi.instance: I[A-Z2-7]+\n        - zapi.attempts: 2\n        - zapi.outcome: ok$`,
				`(?m)^        POST privacy/last-seen: failed in `,
				`(?m)^            - http.response.status_code: 503$`,
				`(?m)^        POST privacy/last-seen: ok in `,
				`(?m)^            - url.full: http://127.0.0.1:[0-9]+/instances/I[A-Z2-7]+/token/-/privacy/photo$`,
				`(?m)^    privacy/disallowed-contacts: ok in `,
				`(?m)^    privacy/read-receipts: failed in .*\n.*\n        - zapi.attempts: 1\n        - zapi.outcome: rejected\n        POST privacy/read-receipts: ok in `,
				`(?m)^        - zapi.outcome: unauthorized$`,
				`(?m)^            - http.response.status_code: 403$`,
				`(?m)^privacy/last-seen +ok +1 +[0-9]`,
				`(?m)^privacy/read-receipts +rejected +1 +[0-9]`,
				`(?m)^privacy/online +unauthorized +1 +[0-9]`,
			} {
				assert.Regexp(t, want, out.String())
			}
			assert.Equal(t, connections, strings.Contains(out.String(), "\n            http.getconn: ok in "))
			assert.NotContains(t, out.String(), "FORGOTTEN")
		})
	}
}

// call is what the span of a call must tell, and attempt what that of an attempt must; status 0 is no response.
type (
	call struct {
		op       string
		attempts int64
		outcome  string
		code     codes.Code
	}
	attempt struct {
		name   string
		status int64
		code   codes.Code
	}
)

func TestSpansAndDurations(t *testing.T) {
	t.Parallel()
	setPhoto := func(ctx context.Context, client *zapi.Client) error {
		return client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	}
	replace := func(ctx context.Context, client *zapi.Client) error {
		_, err := client.ReplaceBlacklist(ctx, zapi.BlacklistGroupAdd, []string{"554491111111"})
		return err
	}
	canceled := func(ctx context.Context, client *zapi.Client) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	}
	photo := func(attempts int64, outcome string) []call {
		if outcome == "ok" {
			return []call{{"privacy/photo", attempts, outcome, codes.Unset}}
		}
		return []call{{"privacy/photo", attempts, outcome, codes.Error}}
	}
	const post = "POST privacy/photo"
	tests := []struct {
		name     string
		answer   func(zapi.Credentials) zapitest.Answer // to the first request; nil for the real one
		call     func(context.Context, *zapi.Client) error
		failed   error
		calls    []call
		attempts []attempt
	}{
		{"one request", nil, setPhoto, nil, photo(1, "ok"), []attempt{{post, 200, codes.Unset}}},
		{"two requests", nil, replace, nil, []call{
			{"privacy/disallowed-contacts", 1, "ok", codes.Unset},
			{"privacy/group-add", 1, "ok", codes.Unset},
		}, []attempt{
			{"GET privacy/disallowed-contacts", 200, codes.Unset},
			{"POST privacy/group-add", 200, codes.Unset},
		}},
		{"a retry", answer(503), setPhoto, nil, photo(2, "ok"), []attempt{{post, 503, codes.Error}, {post, 200, codes.Unset}}},
		{"a connection that is lost", drop, setPhoto, nil, photo(2, "ok"), []attempt{{post, 0, codes.Error}, {post, 200, codes.Unset}}},
		{"a rejection", reject, setPhoto, zapi.ErrRejected, photo(1, "rejected"), []attempt{{post, 200, codes.Unset}}},
		{"a refusal that quotes the secrets", answer(403), setPhoto, zapi.ErrUnauthorized, photo(1, "unauthorized"), []attempt{{post, 403, codes.Error}}},
		{"a redirect that quotes the secrets", answer(307), setPhoto, zapi.ErrUnexpectedResponse, photo(1, "unexpected response"), []attempt{{post, 307, codes.Unset}}},
		{"a caller that gave up", nil, canceled, context.Canceled, photo(0, "canceled"), nil},
	}
	for _, tt := range tests {
		for name, connections := range map[string]bool{"": false, ", connections": true} {
			t.Run(tt.name+name, func(t *testing.T) {
				t.Parallel()
				server := zapitest.NewServer()
				defer server.Close()
				recorded := tracetest.NewInMemoryExporter()
				traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(recorded))
				reader := sdkmetric.NewManualReader()
				options, err := instrument(traces, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), connections)
				require.NoError(t, err)
				client, err := server.Client(append(options,
					zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Millisecond, MaxWait: time.Millisecond}))...)
				require.NoError(t, err)
				if tt.answer != nil {
					server.FailNext(1, tt.answer(server.Credentials()))
				}

				ctx, parent := traces.Tracer("test").Start(t.Context(), "caller")
				require.ErrorIs(t, tt.call(ctx, client), tt.failed)

				spans := recorded.GetSpans()
				var calls []call
				isCall := make(map[trace.SpanID]bool)
				for _, span := range spans {
					assert.Equal(t, parent.SpanContext().TraceID(), span.SpanContext.TraceID())
					if span.Parent.SpanID() != parent.SpanContext().SpanID() {
						continue
					}
					isCall[span.SpanContext.SpanID()] = true
					attributes := attribute.NewSet(span.Attributes...)
					instance, _ := attributes.Value("zapi.instance")
					assert.Equal(t, client.InstanceID(), instance.AsString())
					attempts, _ := attributes.Value("zapi.attempts")
					outcome, _ := attributes.Value("zapi.outcome")
					calls = append(calls, call{span.Name, attempts.AsInt64(), outcome.AsString(), span.Status.Code})
				}
				assert.Equal(t, tt.calls, calls)

				var attempts []attempt
				for _, span := range spans {
					if isCall[span.Parent.SpanID()] {
						attributes := attribute.NewSet(span.Attributes...)
						status, _ := attributes.Value("http.response.status_code")
						attempts = append(attempts, attempt{span.Name, status.AsInt64(), span.Status.Code})
					}
				}
				assert.Equal(t, tt.attempts, attempts)

				durations, metrics := collect(t, reader)
				for _, want := range tt.calls {
					assert.EqualValues(t, 1, durations[want.op+" "+want.outcome])
				}
				assert.Len(t, durations, len(tt.calls))

				text := textOf(t, spans)
				assert.Contains(t, text, client.InstanceID())
				assert.Contains(t, metrics, `"privacy/`)
				assert.Equal(t, connections && len(tt.attempts) > 0, strings.Contains(text, "http.getconn"))
				for _, secret := range []string{server.Credentials().Token, server.Credentials().ClientToken} {
					assert.NotContains(t, text+metrics, secret)
				}
				assert.NotContains(t, strings.ToLower(text+metrics), "client-token")
			})
		}
	}
}

// collect returns the number of durations by op and outcome, and all metrics as an exporter would send them.
func collect(t *testing.T, reader sdkmetric.Reader) (durations map[string]uint64, all string) {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &collected))
	durations = make(map[string]uint64)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "zapi.call.duration" {
				continue
			}
			assert.Equal(t, "s", m.Unit)
			histogram, ok := m.Data.(metricdata.Histogram[float64])
			require.True(t, ok)
			for _, point := range histogram.DataPoints {
				op, _ := point.Attributes.Value("zapi.op")
				outcome, _ := point.Attributes.Value("zapi.outcome")
				durations[op.AsString()+" "+outcome.AsString()] += point.Count
				assert.Equal(t, 2, point.Attributes.Len(), "no instance, which would make a series of its own")
			}
		}
	}
	text, err := json.Marshal(collected)
	require.NoError(t, err)
	return durations, string(text)
}

func answer(status int) func(zapi.Credentials) zapitest.Answer {
	return func(creds zapi.Credentials) zapitest.Answer {
		quote := creds.Token + " " + creds.ClientToken
		return zapitest.Answer{
			StatusCode: status,
			Header:     http.Header{"Location": {"/" + creds.Token}, "Client-Token": {creds.ClientToken}, "Content-Type": {"text/plain; quote=" + quote}},
			Body:       `{"error": "` + quote + ` not allowed"}`,
		}
	}
}

func reject(zapi.Credentials) zapitest.Answer { return zapitest.Answer{Body: `{"success": false}`} }

func drop(zapi.Credentials) zapitest.Answer { return zapitest.Answer{Drop: true} }

// textOf is all that an exporter would send: names, attributes, events, links and statuses.
func textOf(t *testing.T, spans tracetest.SpanStubs) string {
	t.Helper()
	text, err := json.Marshal(spans)
	require.NoError(t, err)
	return string(text)
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard, false), context.Canceled)
}
