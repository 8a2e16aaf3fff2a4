package consumer_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"

	"example.com/consumer"
)

const pause = time.Minute

var hideContacts = []string{"+55 44 91111-1111", "554422222222"}

// With the fake server a test sees what the number looks like afterwards.
func TestHours(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	hours := consumer.Hours{Number: client, NotShown: hideContacts, Pause: pause}

	require.NoError(t, hours.Close(t.Context()))
	closed := server.Settings(client.InstanceID())
	assert.Equal(t, zapi.VisibilityNone, closed.LastSeen.Visibility)
	assert.Equal(t, zapi.ReadReceiptsDisable, closed.ReadReceipts)

	for _, wantHidden := range []int{2, 0} {
		hidden, err := hours.Open(t.Context())
		require.NoError(t, err)
		assert.Equal(t, wantHidden, hidden)
	}
	open := server.Settings(client.InstanceID())
	assert.Equal(t, []string{"554422222222", "5544911111111"}, open.LastSeen.Blacklist)
	assert.Equal(t, zapi.OnlineSameAsLastSeen, open.Online)
	assert.Equal(t, zapi.ReadReceiptsEnable, open.ReadReceipts)
}

// With httpmock a test sees the requests.
func TestHoursOnTheWire(t *testing.T) {
	t.Parallel()
	const base = "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/"
	success := httpmock.NewStringResponder(http.StatusOK, `{"success": true}`)
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, base+"last-seen", success)
	mock.RegisterResponder(http.MethodPost, base+"online", success)
	mock.RegisterResponderWithQuery(http.MethodPost, base+"read-receipts", "value=disable", success)
	client, err := zapi.NewClient(
		zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"},
		zapi.WithTransport(mock))
	require.NoError(t, err)

	require.NoError(t, consumer.Hours{Number: client}.Close(t.Context()))
	assert.Equal(t, 3, mock.GetTotalCallCount())
}

// failing is a double with one error for all calls.
type failing struct{ err error }

func (f failing) Apply(context.Context, zapi.Policy) error { return f.err }

func (f failing) ReplaceBlacklist(context.Context, zapi.BlacklistScope, []string) (zapi.BlacklistDiff, error) {
	return zapi.BlacklistDiff{}, f.err
}

// With an interface of its own the service is tested without any network.
func TestHoursWhenCallsFail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		err   error
		after time.Duration // 0 if it is of no use to try again
	}{
		{"rate limited", &zapi.APIError{StatusCode: http.StatusTooManyRequests, RetryAfter: time.Hour}, time.Hour},
		{"rate limited without a time", &zapi.APIError{StatusCode: http.StatusTooManyRequests}, pause},
		{"unavailable", &zapi.APIError{StatusCode: http.StatusBadGateway}, pause},
		{"no response", &zapi.TransportError{Err: errors.New("refused")}, pause},
		{"joined", errors.Join(errors.New("photo"), &zapi.APIError{StatusCode: http.StatusBadGateway}), pause},
		{"rejected", &zapi.APIError{StatusCode: http.StatusOK}, pause},
		{"not connected", &zapi.APIError{StatusCode: http.StatusBadRequest, Code: "You are not connected."}, pause},
		{"settings that pass", &zapi.ApplyError{Failed: []zapi.SettingError{{Setting: "online", Err: &zapi.TransportError{}}}}, pause},
		{"a setting that does not pass", &zapi.ApplyError{Failed: []zapi.SettingError{{Setting: "online", Err: &zapi.APIError{StatusCode: http.StatusBadRequest}}}}, 0},
		{"unauthorized", &zapi.APIError{StatusCode: http.StatusForbidden}, 0},
		{"invalid", &zapi.ValidationError{Field: "want[0]"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hours := consumer.Hours{Number: failing{tt.err}, Pause: pause}
			_, openErr := hours.Open(t.Context())
			for _, err := range []error{openErr, hours.Close(t.Context())} {
				require.ErrorIs(t, err, tt.err)
				var later *consumer.RetryLaterError
				if assert.Equal(t, tt.after != 0, errors.As(err, &later)) && tt.after != 0 {
					assert.Equal(t, tt.after, later.After)
				}
			}
		})
	}
}
