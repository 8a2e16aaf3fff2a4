package fleet

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet/internal/store"
)

// The errors of this package, for [errors.Is]. Refused arguments are a [*zapi.ValidationError].
var (
	// ErrStoreInUse reports that another process has opened the folder of [Embedded].
	ErrStoreInUse = errors.New("fleet: the store is in use by another process")
	// ErrNoRollout reports that there is no rollout of that name.
	ErrNoRollout = errors.New("fleet: no such rollout")
	// ErrRolloutExists reports that the name belongs to a rollout of another policy.
	ErrRolloutExists = errors.New("fleet: the rollout exists with another policy")
	// ErrPolicyTooLarge reports that the JSON of the policy exceeds what the engine takes, by default 1 MiB; that is
	// some 60,000 contacts.
	ErrPolicyTooLarge = errors.New("fleet: the policy is too large")
	// ErrNoInstance reports that an instance has no order. A [Resolver] returns it for an instance that it does not know,
	// which parks the order.
	ErrNoInstance = errors.New("fleet: no such instance")
	// ErrElsewhere is returned by a [Resolver] that knows only a part of the instances, for one that another worker may know.
	// The order is left to the others, and parked when nobody has known the instance for an hour.
	ErrElsewhere = errors.New("fleet: another worker may know the instance")
	// ErrInsecureURL reports a URL without TLS to a host beyond loopback; see [WithInsecure].
	ErrInsecureURL = errors.New("fleet: the URL needs TLS")
	// ErrEngine reports that the engine cannot be reached or refused an operation. It wraps the cause.
	ErrEngine = errors.New("fleet: engine")
	// ErrClosed reports that the Fleet is closed.
	ErrClosed = errors.New("fleet: closed")
)

// engineError reports that the engine failed at doing something, or that the context of the caller ended first.
func engineError(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrEngine):
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrEngine, doing, err)
}

// isConflict reports whether a write was refused because the entry has changed since it was read.
func isConflict(err error) bool { return errors.Is(err, store.ErrConflict) }

func invalid(op, field, reason string) error {
	return &zapi.ValidationError{Op: op, Field: field, Reason: reason}
}

// validName is what may be a token of a subject and a key of a bucket.
var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func checkName(op, field, name string) error {
	if !validName.MatchString(name) {
		return invalid(op, field, "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	return nil
}
