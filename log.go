package zapi

import (
	"context"
	"errors"
	"log/slog"
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

// tried logs one attempt and the wait that follows it.
func (l *callLog) tried(n, status int, duration, wait time.Duration) {
	if l == nil {
		return
	}
	l.logger.LogAttrs(l.ctx, slog.LevelDebug, "zapi: attempt",
		slog.String("op", l.op),
		slog.String("instance", l.instanceID),
		slog.Int("attempt", n),
		slog.Int("status", status),
		slog.Duration("duration", duration),
		slog.Duration("wait", wait),
	)
}

// ended logs a call that failed.
func (l *callLog) ended(err error) {
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
		slog.String("op", l.op),
		slog.String("instance", l.instanceID),
		slog.Int("attempts", attempts),
		slog.Int("status", status),
		slog.String("failure", Kind(err)),
		slog.Duration("duration", time.Since(l.start)),
	)
}
