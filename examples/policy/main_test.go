package main

import (
	"context"
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
	"github.com/zapi-go/zapi/examples/internal/commandline"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Policy applies a privacy policy"},
		{Name: "nothing", Want: "credentials refused"},
		{Name: "file", Args: []string{"-file", "policy.json"}, Want: "credentials refused"},
		{Name: "superfluous argument", Args: []string{"policy.json"}, Code: 2, Want: "policy takes flags only; see -h"},
		{Name: "no such file", Args: []string{"-file", "none.json"}, Code: 1, Want: "none.json"},
	})
}

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
		hold := func(context.Context, zapi.Call, func(context.Context) error) error {
			underWay.Add(1)
			<-release
			return nil
		}
		creds := zapi.Credentials{InstanceID: "instance", Token: "token", ClientToken: "client-token"}
		client, err := zapi.NewClient(creds, zapi.WithInterceptor(hold))
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

func TestFilesAreReadStrictly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, data, want string // FILE in want is the file's name
	}{
		{"misspelt key", `{"lastseen": {"visibility": "NONE"}}`, "FILE: zapi: policy: lastseen: is unknown; the keys are lastSeen, "},
		{"unknown value", `{"photo": {"visibility": "FRIENDS"}}`, "FILE: zapi: policy: photo.visibility: must be one of "},
		{"missing comma", "{\n  \"online\": \"ALL\"\n  \"readReceipts\": \"enable\"\n}", "FILE:3:3: invalid character '\"' after object key:value pair"},
		{"no JSON", "online: ALL", "FILE:1:1: invalid character 'o' looking for beginning of value"},
		{"one line", `{"online": ALL}`, "FILE:1:12: invalid character 'A'"},
		{"cut off", "{\n", "FILE:1:2: unexpected end of JSON input"},
		{"empty", "", "FILE:1:1: unexpected end of JSON input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "policy.json")
			require.NoError(t, os.WriteFile(file, []byte(tt.data), 0o600))
			var out strings.Builder
			err := run(t.Context(), &out, file)
			assert.ErrorContains(t, err, strings.Replace(tt.want, "FILE", file, 1))
			assert.Empty(t, out.String(), "nothing was sent")
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	var out strings.Builder
	assert.ErrorIs(t, run(ended, &out, ""), context.Canceled)
}
