package zapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"
)

// A callLog writes the lines of one call. It logs only what is listed here: no URL, no header, no body, and nothing that a
// server or a caller wrote. Without a logger it is nil and does nothing.
type callLog struct {
	ctx            context.Context
	logger         *slog.Logger
	op, instanceID string
	start          time.Time
}

func newCallLog(ctx context.Context, logger *slog.Logger, op, instanceID string) *callLog {
	if logger == nil {
		return nil
	}
	return &callLog{ctx, logger, op, instanceID, time.Now()}
}

// attempt logs one attempt and the wait that follows it.
func (l *callLog) attempt(n, status int, duration, wait time.Duration) {
	if l == nil {
		return
	}
	l.logger.LogAttrs(l.ctx, slog.LevelDebug, "zapi: attempt",
		slog.String("operation", l.op),
		slog.String("instance", l.instanceID),
		slog.Int("attempt", n),
		slog.Int("status", status),
		slog.Duration("duration", duration),
		slog.Duration("wait", wait),
	)
}

// end logs a call that failed.
func (l *callLog) end(err error) {
	if l == nil || err == nil {
		return
	}
	attempts, status := 0, 0
	var apiErr *APIError
	var transportErr *TransportError
	if errors.As(err, &apiErr) {
		attempts, status = apiErr.Attempts, apiErr.StatusCode
	} else if errors.As(err, &transportErr) {
		attempts = transportErr.Attempts
	}
	l.logger.LogAttrs(l.ctx, slog.LevelWarn, "zapi: call failed",
		slog.String("operation", l.op),
		slog.String("instance", l.instanceID),
		slog.Int("attempts", attempts),
		slog.Int("status", status),
		slog.String("failure", failureName(err)),
		slog.Duration("duration", time.Since(l.start)),
	)
}

// failureName returns the kind of failure that err is, in words of this package.
func failureName(err error) string {
	var apiErr *APIError
	switch {
	case errors.As(err, &apiErr):
		if kind := apiErr.failureKind(); kind != nil {
			return strings.TrimPrefix(kind.Error(), "zapi: ")
		}
		return "refused"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, new(*net.DNSError)):
		return "DNS"
	case isTimeout(err):
		return "timeout"
	case isTLS(err):
		return "TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "no response"
}

func isTLS(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError))
}
