package fleet

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEngineError(t *testing.T) {
	t.Parallel()
	assert.NoError(t, engineError(t.Context(), "reading", nil))
	cause := errors.New("timeout")
	err := engineError(t.Context(), "reading", cause)
	assert.EqualError(t, err, "fleet: engine: reading: timeout")
	assert.ErrorIs(t, err, ErrEngine)
	assert.ErrorIs(t, err, cause)
	assert.Equal(t, err, engineError(t.Context(), "reading again", err), "it is said once")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrClosed)
	assert.Equal(t, ErrClosed, engineError(ctx, "reading", cause), "the caller was first")
}
