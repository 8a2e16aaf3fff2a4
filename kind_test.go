package zapi_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zapi-go/zapi"
)

// assertOnlyKind is assertKind with the kinds that came with Status and the credentials.
func assertOnlyKind(t *testing.T, want, err error) {
	t.Helper()
	assertKind(t, want, err)
	assert.Equal(t, errors.Is(want, zapi.ErrNotConnected), errors.Is(err, zapi.ErrNotConnected), "%v: %v", zapi.ErrNotConnected, err)
	assert.NotErrorIs(t, err, zapi.ErrInvalidCredentials)
}
