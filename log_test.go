package zapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestLog(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"success", []step{status(200)}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=200 duration=0s wait=0s`,
		}},
		{"success in the end", []step{asking(429, "2"), failing(io.EOF), status(200)}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=429 duration=0s wait=2s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=0 duration=0s wait=1s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=200 duration=0s wait=0s`,
		}},
		{"refused", []step{step(responding(400, `{"error":"Invalid phone 554411111111"}`))}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=400 duration=0s wait=0s`,
			`WARN zapi: call failed op=privacy/last-seen instance=3C01D5A4B6 attempts=1 status=400 failure=refused duration=0s`,
		}},
		{"unauthorized", []step{status(403)}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=403 duration=0s wait=0s`,
			`WARN zapi: call failed op=privacy/last-seen instance=3C01D5A4B6 attempts=1 status=403 failure=unauthorized duration=0s`,
		}},
		{"timeout", []step{asking(503, "1"), hanging, failing(io.EOF)}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=0 duration=30s wait=1s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=0 duration=0s wait=0s`,
			`WARN zapi: call failed op=privacy/last-seen instance=3C01D5A4B6 attempts=3 status=0 failure="connection closed" duration=32s`,
		}},
		{"timeout at last", []step{asking(503, "1"), asking(503, "1"), hanging}, []string{
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=1 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=2 status=503 duration=0s wait=1s`,
			`DEBUG zapi: attempt op=privacy/last-seen instance=3C01D5A4B6 attempt=3 status=0 duration=30s wait=0s`,
			`WARN zapi: call failed op=privacy/last-seen instance=3C01D5A4B6 attempts=3 status=0 failure=timeout duration=32s`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: plain}))
				fixed := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 3, MinWait: time.Second, MaxWait: 2 * time.Second})
				client := (&script{steps: tt.steps}).client(t, fixed, zapi.WithLogger(logger))
				_ = client.SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow("554411111111"))
				got := strings.Split(strings.TrimSpace(strings.NewReplacer("level=", "", "msg=", "", `"zapi: attempt"`, "zapi: attempt", `"zapi: call failed"`, "zapi: call failed").Replace(log.String())), "\n")
				require.Len(t, got, len(tt.want))
				for i, want := range tt.want {
					assert.Equal(t, want, got[i])
				}
				assertNoSecret(t, log.String(), "log")
				assert.NotContains(t, log.String(), "554411111111")
			})
		})
	}
}

// plain drops the time, and rounds the waits, which are random, to seconds.
func plain(_ []string, attr slog.Attr) slog.Attr {
	switch {
	case attr.Key == slog.TimeKey:
		return slog.Attr{}
	case attr.Value.Kind() == slog.KindDuration:
		return slog.Duration(attr.Key, attr.Value.Duration().Truncate(time.Second))
	}
	return attr
}

func TestLogLevelsAndCancel(t *testing.T) {
	t.Parallel()
	lines := func(level slog.Level, call func(*zapi.Client) error) []map[string]any {
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))
		require.Error(t, call(newClient(t, responding(403, ""), zapi.WithLogger(logger))))
		var parsed []map[string]any
		for decoder := json.NewDecoder(&log); decoder.More(); {
			var line map[string]any
			require.NoError(t, decoder.Decode(&line))
			parsed = append(parsed, line)
		}
		return parsed
	}
	set := func(c *zapi.Client) error { return setOnline(t.Context(), c) }
	assert.Len(t, lines(slog.LevelDebug, set), 2)
	assert.Len(t, lines(slog.LevelInfo, set), 1)
	assert.Empty(t, lines(slog.LevelError, set))
	assert.Empty(t, lines(slog.LevelDebug, func(c *zapi.Client) error {
		return c.SetOnlineVisibility(t.Context(), "NONE")
	}), "nothing was sent")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	canceled := lines(slog.LevelDebug, func(c *zapi.Client) error { return setOnline(ctx, c) })
	require.Len(t, canceled, 1)
	assert.Equal(t, "canceled", canceled[0]["failure"])
	assert.EqualValues(t, 0, canceled[0]["attempts"])
}

// A windowsError is like the numbers of Windows, which words their texts in the language of the user.
type windowsError uintptr

func (windowsError) Error() string { return "Es konnte keine Verbindung hergestellt werden" }

// system returns an error of the operating system as Unix and plan9 word it.
func system(text string) error { return &net.OpError{Op: "dial", Err: errors.New(text)} }

func TestFailureNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		step step
		want string
	}{
		{"DNS", failing(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "api.z-api.io", IsNotFound: true}}), "DNS"},
		{"refused", failing(system("connect: connection refused")), "connection refused"},
		{"reset", failing(system("read: connection reset by peer")), "connection reset"},
		{"reset while writing", failing(system("write: broken pipe")), "connection reset"},
		{"refused on Windows", failing(&net.OpError{Op: "dial", Err: windowsError(10061)}), "connection refused"},
		{"reset on Windows", failing(&net.OpError{Op: "read", Err: windowsError(10054)}), "connection reset"},
		{"aborted on Windows", failing(&net.OpError{Op: "read", Err: windowsError(10053)}), "connection reset"},
		{"another error on Windows", failing(&net.OpError{Op: "read", Err: windowsError(10055)}), "no response"},
		{"closed before a response", failing(io.EOF), "connection closed"},
		{"closed within a body", cut, "connection closed"},
		{"certificate", failing(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "TLS"},
		{"alert", failing(tls.AlertError(40)), "TLS"},
		{"no TLS", failing(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "TLS"},
		{"timeout of the network", failing(os.ErrDeadlineExceeded), "timeout"},
		{"another error", failing(errors.New("554411111111")), "no response"},
		{"rejected", step(responding(200, `{"success":false}`)), "rejected"},
		{"no kind", status(400), "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			logger := zapi.WithLogger(slog.New(slog.NewJSONHandler(&log, nil)))
			require.Error(t, setOnline(t.Context(), (&script{steps: []step{tt.step}}).client(t, logger, once)))
			var line struct{ Failure string }
			require.NoError(t, json.Unmarshal(log.Bytes(), &line))
			assert.Equal(t, tt.want, line.Failure)
			assert.NotContains(t, log.String(), "554411111111")
		})
	}
}
