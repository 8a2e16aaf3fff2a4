package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func TestTable(t *testing.T) {
	t.Parallel()
	photoOnly := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(photoOnly, []byte(`{"photo": {"visibility": "NONE"}}`), 0o600))
	tests := []struct {
		name, file, want string
	}{
		{"sample", "", `INSTANCE   RESULT               DETAILS
sales      applied              -
support    applied              -
billing    credentials refused  lastSeen: zapi: privacy/disallowed-contacts: 403 Forbidden: Client-Token [REDACTED] not allowed
delivery   applied              -
warehouse  incomplete           photo: zapi: privacy/photo: rejected: the number is not connected
returns    applied              -
`},
		{"another policy", photoOnly, `INSTANCE   RESULT               DETAILS
sales      applied              -
support    applied              -
billing    credentials refused  photo: zapi: privacy/photo: 403 Forbidden: Client-Token [REDACTED] not allowed
delivery   applied              -
warehouse  incomplete           photo: zapi: privacy/photo: rejected: the number is not connected
returns    applied              -
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.NoError(t, run(t.Context(), &out, tt.file))
			assert.Equal(t, tt.want, out.String())
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, instances, err := connect(server)
	require.NoError(t, err)
	policy, err := readPolicy("")
	require.NoError(t, err)

	untouched := server.Settings(client.InstanceID())
	contacts := zapitest.Audience{Visibility: zapi.VisibilityContacts}
	applied := zapitest.Settings{
		LastSeen: zapitest.Audience{
			Visibility: zapi.VisibilityContactBlacklist,
			Blacklist:  []string{"5544911111111", "5544922222222"},
		},
		Photo: contacts, Description: contacts, GroupAdd: contacts,
		Online: zapi.OnlineSameAsLastSeen, ReadReceipts: zapi.ReadReceiptsDisable, MessageDuration: zapi.MessageDuration90Days,
	}
	photoLeft := applied
	photoLeft.Photo = untouched.Photo

	results := applyAll(t.Context(), client, policy, instances)
	for i, want := range []struct {
		name     string
		settings zapitest.Settings
		failure  error
	}{
		{"sales", applied, nil},
		{"support", applied, nil},
		{"billing", untouched, zapi.ErrUnauthorized},
		{"delivery", applied, nil},
		{"warehouse", photoLeft, zapi.ErrRejected},
		{"returns", applied, nil},
	} {
		assert.Equal(t, want.name, instances[i].name)
		assert.ErrorIs(t, results[i], want.failure, want.name)
		assert.Equal(t, want.settings, server.Settings(instances[i].creds.InstanceID), want.name)
	}
}

func TestOnlyAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var underWay atomic.Int32
		release := make(chan struct{})
		hold := func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				underWay.Add(1)
				<-release
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"success": true}`)), Request: req}, nil
			})
		}
		creds := zapi.Credentials{InstanceID: "instance", Token: "token", ClientToken: "client-token"}
		client, err := zapi.NewClient(creds, zapi.WithMiddleware(hold))
		require.NoError(t, err)
		instances := slices.Repeat([]instance{{name: "sales", creds: creds}}, 2*parallel)

		var results []error
		go func() { results = applyAll(t.Context(), client, zapi.Policy{Online: zapi.OnlineAll}, instances) }()
		synctest.Wait()
		assert.EqualValues(t, parallel, underWay.Load())
		close(release)
		synctest.Wait()
		assert.EqualValues(t, len(instances), underWay.Load())
		assert.Equal(t, make([]error, len(instances)), results)
	})
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	misspelt := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(misspelt, []byte(`{"lastseen": {"visibility": "NONE"}}`), 0o600))
	ended, end := context.WithCancel(t.Context())
	end()
	tests := []struct {
		name string
		ctx  context.Context
		file string
		want error
	}{
		{"no such file", t.Context(), filepath.Join(t.TempDir(), "none.json"), os.ErrNotExist},
		{"misspelt key", t.Context(), misspelt, zapi.ErrInvalidArgument},
		{"interrupted", ended, "", context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			assert.ErrorIs(t, run(tt.ctx, &out, tt.file), tt.want)
		})
	}
}
