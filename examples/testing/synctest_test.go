package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/zapitest"
)

// TestHideWaitsForTheAPI runs in a bubble, whose clock jumps ahead whenever all its goroutines wait: the five seconds that
// zapi waits between two attempts take none. The server must be started inside.
func TestHideWaitsForTheAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := zapitest.NewServer()
		defer server.Close()
		client, err := server.Client()
		require.NoError(t, err)
		server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}})

		start := time.Now()
		require.NoError(t, Offboarding{Client: client}.Hide(t.Context(), "5544911111111"))
		assert.Equal(t, 5*time.Second, time.Since(start).Round(time.Second))
		assert.Equal(t, []string{"5544911111111"}, server.Settings(client.InstanceID()).LastSeen.Blacklist)
	})
}
