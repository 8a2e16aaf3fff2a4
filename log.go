package zapi

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
)

// callLog writes the lines of one call. What is logged is an allowlist: no URL, no header, no body, nothing that a server or
// a caller wrote. It is nil without a logger, and then asks no clock either.
type callLog struct {
	ctx            context.Context
	logger         *slog.Logger
	op, instanceID string

	started, attemptStarted time.Time
}

func (c *Client) startLog(ctx context.Context, op string) *callLog {
	if c.connection.logger == nil {
		return nil
	}
	return &callLog{ctx: ctx, logger: c.connection.logger, op: op, instanceID: c.instanceID, started: time.Now()}
}

func (l *callLog) startAttempt() {
	if l != nil {
		l.attemptStarted = time.Now()
	}
}

func (l *callLog) attempt(attempt, status int, wait time.Duration) {
	if l == nil {
		return
	}
	l.logger.LogAttrs(l.ctx, slog.LevelDebug, "zapi: attempt",
		slog.String("operation", l.op),
		slog.String("instance", l.instanceID),
		slog.Int("attempt", attempt),
		slog.Int("status", status),
		slog.Duration("duration", time.Since(l.attemptStarted)),
		slog.Duration("wait", wait),
	)
}

// failure logs a call that failed.
func (l *callLog) failure(err error) {
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
		slog.Duration("duration", time.Since(l.started)),
	)
}

// failureName says in our own words what kind of failure err is.
func failureName(err error) string {
	for _, kind := range []error{
		ErrUnauthorized, ErrNotFound, ErrMethodNotAllowed, ErrUnsupportedMediaType, ErrRateLimited, ErrUnavailable, ErrRejected,
		ErrUnexpectedResponse,
	} {
		if errors.Is(err, kind) {
			return strings.TrimPrefix(kind.Error(), "zapi: ")
		}
	}
	var apiErr *APIError
	switch {
	case errors.As(err, &apiErr):
		return "refused"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case isTimeout(err):
		return "timeout"
	}
	return "no answer"
}
