package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// start starts a server for one test, so that tests run in parallel and none sees another's state. It returns the
// instance ID of the client, too.
func start(t *testing.T) (*zapitest.Server, Offboarding, string) {
	t.Helper()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{})) // a scripted failure shows at once
	require.NoError(t, err)
	return server, Offboarding{Client: client}, client.InstanceID()
}

func TestHide(t *testing.T) {
	t.Parallel()
	server, offboarding, instanceID := start(t)
	want := server.Settings(instanceID)
	hidden := zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{"5544911111111"}}
	want.LastSeen, want.Photo, want.Description = hidden, hidden, hidden

	require.NoError(t, offboarding.Hide(t.Context(), "+55 44 91111-1111"))
	require.NoError(t, offboarding.Hide(t.Context(), "5544911111111"), "a second run does no harm")
	assert.Equal(t, want, server.Settings(instanceID), "all else stays")
}

func TestHideIsPostponedByRateLimits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header http.Header
		after  time.Duration
	}{
		{"the API says for how long", http.Header{"Retry-After": {"30"}}, 30 * time.Second},
		{"the API does not say for how long", nil, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, offboarding, _ := start(t)
			server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: tt.header})

			err := offboarding.Hide(t.Context(), "5544911111111")
			var postponed *PostponedError
			require.ErrorAs(t, err, &postponed)
			assert.Equal(t, tt.after, postponed.After)
			assert.ErrorIs(t, err, zapi.ErrRateLimited)
			assert.Len(t, server.Requests(), 1, "the others are not tried")
		})
	}
}

func TestHideGoesOnAfterOtherFailures(t *testing.T) {
	t.Parallel()
	server, offboarding, instanceID := start(t)
	server.FailNext(1, zapitest.Answer{Body: `{"success":false,"message":"not now"}`})

	require.ErrorIs(t, offboarding.Hide(t.Context(), "5544911111111"), zapi.ErrRejected)
	settings := server.Settings(instanceID)
	assert.Equal(t, zapi.VisibilityAll, settings.LastSeen.Visibility, "a scripted failure changes nothing")
	assert.Equal(t, []string{"5544911111111"}, settings.Photo.Blacklist)
	assert.Equal(t, []string{"5544911111111"}, settings.Description.Blacklist)
}

func TestHideRefusesMalformedPhones(t *testing.T) {
	t.Parallel()
	server, offboarding, _ := start(t)
	require.ErrorIs(t, offboarding.Hide(t.Context(), "911"), zapi.ErrInvalidArgument)
	assert.Empty(t, server.Requests(), "nothing was sent")
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out))
	assert.Equal(t, `First run:  to be run again in 30s
Second run: last seen hidden from [5544911111111], photo from [5544911111111], description from [5544911111111]
`, out.String())
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard), context.Canceled)
}
