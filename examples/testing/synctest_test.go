package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// TestHideWaitsForAnHour lets the client wait as long as the API asks. In a bubble of testing/synctest, the clock moves on
// as soon as everything waits, so the test takes no time. The server is created and closed within the bubble.
func TestHideWaitsForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := zapitest.NewServer()
		defer server.Close()
		patient := zapi.RetryPolicy{MaxAttempts: 2, MaxWait: time.Hour}
		client, err := server.Client(zapi.WithRetry(patient))
		require.NoError(t, err)
		anHour := http.Header{"Retry-After": {"3600"}}
		server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: anHour})

		began := time.Now()
		require.NoError(t, Offboarding{Client: client}.Hide(t.Context(), "5544911111111"))
		assert.Equal(t, time.Hour, time.Since(began))
		assert.Len(t, server.Requests(), 4, "three settings, one of them twice")
	})
}

// TestHideGoesOnAfterATimeout has the API respond to one request too late.
func TestHideGoesOnAfterATimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := zapitest.NewServer()
		defer server.Close()
		once := zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 1})
		client, err := server.Client(once, zapi.WithTimeout(10*time.Second))
		require.NoError(t, err)
		server.FailNext(1, zapitest.Answer{Delay: time.Hour})

		began := time.Now()
		err = Offboarding{Client: client}.Hide(t.Context(), "5544911111111")
		var transportErr *zapi.TransportError
		require.ErrorAs(t, err, &transportErr)
		assert.True(t, transportErr.Timeout())
		assert.Equal(t, 10*time.Second, time.Since(began))
		settings := server.Settings(client.InstanceID())
		assert.Empty(t, settings.LastSeen.Blacklist)
		assert.Equal(t, []string{"5544911111111"}, settings.Photo.Blacklist)
	})
}
