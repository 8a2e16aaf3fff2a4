package zapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestErrorsStayShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é\n\x1b[31m\u202e", 200)
	tests := []struct {
		name string
		body string
		kept int // bytes of Code and of Message, at least
	}{
		{"long error", string(must(json.Marshal(map[string]string{"error": long, "message": long}))), 500},
		{"long page", "<html>" + strings.Repeat("é", 100_000), 0},
		{"secrets until the cap", strings.Repeat(creds.ClientToken, 1000), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := setOnline(t.Context(), newClient(t, responding(400, tt.body)))
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.Less(t, len(err.Error()), 300)
			assert.True(t, utf8.ValidString(err.Error()))
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\x1b")
			assert.NotContains(t, err.Error(), "\u202e", "text that turns the line around")
			assert.LessOrEqual(t, len(apiErr.Code), 512)
			assert.LessOrEqual(t, len(apiErr.Message), 512)
			assert.LessOrEqual(t, len(apiErr.Body), 4<<10)
			assert.NotEmpty(t, apiErr.Body)
			assert.GreaterOrEqual(t, len(apiErr.Code), tt.kept)
			assert.GreaterOrEqual(t, len(apiErr.Message), tt.kept)
			assertNoSecret(t, fmt.Sprintf("%+v %s", apiErr, apiErr.Body), "error")
		})
	}
}

func TestErrorsOfATest(t *testing.T) {
	t.Parallel()
	assertKind(t, zapi.ErrUnauthorized, &zapi.APIError{StatusCode: 403})
	assertKind(t, zapi.ErrRateLimited, &zapi.APIError{StatusCode: 429})
	assertKind(t, zapi.ErrRejected, &zapi.APIError{StatusCode: 200})
	assertKind(t, zapi.ErrNotFound, &zapi.APIError{StatusCode: 200, Code: "NOT_FOUND"})
	assertKind(t, zapi.ErrRejected, &zapi.APIError{StatusCode: 200, Code: "busy"})
	assertKind(t, zapi.ErrUnexpectedResponse, &zapi.APIError{StatusCode: 302})
	assertKind(t, zapi.ErrInvalidArgument, &zapi.ValidationError{})
	assertKind(t, nil, &zapi.APIError{})
	assert.EqualError(t, &zapi.TransportError{Op: "privacy/online"}, "zapi: privacy/online: not sent: <nil>")
	assert.EqualError(t, &zapi.TransportError{Op: "privacy/online", Attempts: 1}, "zapi: privacy/online: no response: <nil>")
	assert.False(t, (&zapi.TransportError{}).Timeout())
}
