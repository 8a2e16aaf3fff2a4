// Package consumer is a small service that uses zapi as any other program does: it has a module of its own and sees
// only what zapi exports.
package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/zapi-go/zapi"
)

// Privacy is what [Hours] needs of a number. A *zapi.Client is one.
type Privacy interface {
	Apply(ctx context.Context, p zapi.Policy) error
	ReplaceBlacklist(ctx context.Context, scope zapi.BlacklistScope, want []string) (zapi.BlacklistDiff, error)
}

var _ Privacy = (*zapi.Client)(nil)

// Hours shows a number of a shop as online in its opening hours only, and never to some contacts.
type Hours struct {
	Number   Privacy
	NotShown []string // phones of contacts that never see when the number was last online
	Pause    time.Duration
}

// A RetryLaterError reports when a change may be tried again.
type RetryLaterError struct {
	After time.Duration
	Err   error
}

func (e *RetryLaterError) Error() string {
	return fmt.Sprintf("try again after %v: %v", e.After, e.Err)
}

// Unwrap returns the cause.
func (e *RetryLaterError) Unwrap() error { return e.Err }

// Open shows the number, except to the contacts of NotShown, and returns how many of them were hidden anew.
func (h Hours) Open(ctx context.Context) (hidden int, err error) {
	diff, err := h.Number.ReplaceBlacklist(ctx, zapi.BlacklistLastSeen, h.NotShown)
	if err != nil {
		return 0, h.explain(err)
	}
	online := zapi.Policy{Online: zapi.OnlineSameAsLastSeen, ReadReceipts: zapi.ReadReceiptsEnable}
	return len(diff.Added), h.explain(h.Number.Apply(ctx, online))
}

// Close hides the number from everyone.
func (h Hours) Close(ctx context.Context) error {
	return h.explain(h.Number.Apply(ctx, zapi.Policy{
		LastSeen:     &zapi.Audience{Visibility: zapi.VisibilityNone},
		Online:       zapi.OnlineSameAsLastSeen,
		ReadReceipts: zapi.ReadReceiptsDisable,
	}))
}

// explain turns what may pass into a RetryLaterError.
func (h Hours) explain(err error) error {
	if after, ok := zapi.Retryable(err); ok {
		return &RetryLaterError{max(after, h.Pause), err}
	}
	return err
}
