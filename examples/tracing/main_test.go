package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for name, connections := range map[string]bool{"requests": false, "connections": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.NoError(t, run(t.Context(), &out, connections))
			for _, want := range []string{
				`(?m)^welcome a customer: ok in `,
				`(?m)^    POST privacy/last-seen: failed in `,
				`(?m)^        - http.response.status_code: 503$`,
				`(?m)^    POST privacy/last-seen: ok in `,
				`(?m)^        - url.full: http://127.0.0.1:[0-9]+/instances/I[A-Z2-7]+/token/-/privacy/photo$`,
				`(?m)^    GET privacy/disallowed-contacts: ok in `,
				`(?m)^        - http.response.status_code: 403$`,
			} {
				assert.Regexp(t, want, out.String())
			}
			assert.Equal(t, connections, strings.Contains(out.String(), "\n        http.getconn: ok in "))
			assert.NotContains(t, out.String(), "FORGOTTEN")
		})
	}
}

// attempt is what the span of a request must tell; status 0 is no answer.
type attempt struct {
	name   string
	status int64
	code   codes.Code
}

func TestSpans(t *testing.T) {
	t.Parallel()
	setPhoto := func(ctx context.Context, client *zapi.Client) error {
		return client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	}
	replace := func(ctx context.Context, client *zapi.Client) error {
		_, err := client.ReplaceBlacklist(ctx, zapi.BlacklistGroupAdd, []string{"554491111111"})
		return err
	}
	const photo = "POST privacy/photo"
	tests := []struct {
		name   string
		answer func(zapi.Credentials) zapitest.Answer // to the first request; nil for the real one
		call   func(context.Context, *zapi.Client) error
		failed error
		want   []attempt
	}{
		{"one request", nil, setPhoto, nil, []attempt{{photo, 200, codes.Unset}}},
		{"two requests", nil, replace, nil, []attempt{
			{"GET privacy/disallowed-contacts", 200, codes.Unset},
			{"POST privacy/group-add", 200, codes.Unset},
		}},
		{"a retry", answer(503), setPhoto, nil, []attempt{{photo, 503, codes.Error}, {photo, 200, codes.Unset}}},
		{"a connection that is lost", drop, setPhoto, nil, []attempt{{photo, 0, codes.Error}, {photo, 200, codes.Unset}}},
		{"a refusal that quotes the secrets", answer(403), setPhoto, zapi.ErrUnauthorized, []attempt{{photo, 403, codes.Error}}},
		{"a redirect that quotes the secrets", answer(307), setPhoto, zapi.ErrUnexpectedResponse, []attempt{{photo, 307, codes.Unset}}},
	}
	for _, tt := range tests {
		for name, connections := range map[string]bool{"": false, ", connections": true} {
			t.Run(tt.name+name, func(t *testing.T) {
				t.Parallel()
				server := zapitest.NewServer()
				defer server.Close()
				recorded := tracetest.NewInMemoryExporter()
				provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(recorded))
				client, err := server.Client(
					zapi.WithMiddleware(tracing(provider, connections)),
					zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Millisecond, MaxWait: time.Millisecond}))
				require.NoError(t, err)
				if tt.answer != nil {
					server.FailNext(1, tt.answer(server.Credentials()))
				}

				ctx, parent := provider.Tracer("test").Start(t.Context(), "caller")
				require.ErrorIs(t, tt.call(ctx, client), tt.failed)

				var got []attempt
				spans := recorded.GetSpans()
				for _, span := range spans {
					assert.Equal(t, parent.SpanContext().TraceID(), span.SpanContext.TraceID())
					if span.Parent.SpanID() != parent.SpanContext().SpanID() {
						continue // of the connection
					}
					attributes := attribute.NewSet(span.Attributes...)
					status, _ := attributes.Value("http.response.status_code")
					got = append(got, attempt{span.Name, status.AsInt64(), span.Status.Code})
				}
				assert.Equal(t, tt.want, got)

				text := textOf(t, spans)
				assert.Contains(t, text, "/instances/"+client.InstanceID()+"/token/-/privacy/")
				assert.Equal(t, connections, strings.Contains(text, "http.getconn"))
				assert.NotContains(t, text, server.Credentials().Token)
				assert.NotContains(t, text, server.Credentials().ClientToken)
				assert.NotContains(t, strings.ToLower(text), "client-token")
			})
		}
	}
}

func answer(status int) func(zapi.Credentials) zapitest.Answer {
	return func(creds zapi.Credentials) zapitest.Answer {
		quote := creds.Token + " " + creds.ClientToken
		return zapitest.Answer{
			StatusCode: status,
			Header:     http.Header{"Location": {"/" + creds.Token}, "Client-Token": {creds.ClientToken}, "Content-Type": {"text/plain; quote=" + quote}},
			Body:       quote,
		}
	}
}

func drop(zapi.Credentials) zapitest.Answer { return zapitest.Answer{Drop: true} }

// textOf is all that an exporter would send: names, attributes, events, links and statuses.
func textOf(t *testing.T, spans tracetest.SpanStubs) string {
	t.Helper()
	text, err := json.Marshal(spans)
	require.NoError(t, err)
	return string(text)
}
