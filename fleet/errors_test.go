package fleet

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
)

func TestIsConflict(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"the answer of one server", &jetstream.APIError{Code: 400, ErrorCode: 10071}, true},
		{"that of a cluster", &jetstream.APIError{Code: 400, ErrorCode: 10164}, true},
		{"that of a bucket", jetstream.ErrKeyExists, true},
		{"that of a bucket on a cluster", fmt.Errorf("%w: %w", &jetstream.APIError{ErrorCode: 10164}, jetstream.ErrKeyExists), true},
		{"wrapped", fmt.Errorf("%w: writing: %w", ErrEngine, jetstream.ErrKeyExists), true},
		{"another refusal", &jetstream.APIError{Code: 503, ErrorCode: 10008}, false},
		{"no answer", errors.New("timeout"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, isConflict(row.err))
		})
	}
}
