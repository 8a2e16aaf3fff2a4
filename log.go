package zapi

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
)

// What is logged is an allowlist: no URL, no header, no body, nothing that a server or a caller wrote.

func (c *Client) logAttempt(ctx context.Context, op string, attempt int, last outcome, duration, wait time.Duration) {
	if c.connection.logger == nil {
		return
	}
	c.connection.logger.LogAttrs(ctx, slog.LevelDebug, "zapi: attempt",
		slog.String("operation", op),
		slog.String("instance", c.instanceID),
		slog.Int("attempt", attempt),
		slog.Int("status", last.status),
		slog.Duration("duration", duration),
		slog.Duration("wait", wait),
	)
}

func (c *Client) logFailure(ctx context.Context, op string, err error, duration time.Duration) {
	if c.connection.logger == nil {
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
	c.connection.logger.LogAttrs(ctx, slog.LevelWarn, "zapi: call failed",
		slog.String("operation", op),
		slog.String("instance", c.instanceID),
		slog.Int("attempts", attempts),
		slog.Int("status", status),
		slog.String("failure", failureName(err)),
		slog.Duration("duration", duration),
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
