package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	const usage = "config takes flags only, -yes with -live, and -live with -file; see -h"
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "A flag wins over the\nenvironment"},
		{Name: "nothing", Want: "All of it is set."},
		{Name: "environment", Env: []string{"ZAPI_PHOTO=NONE"}, Want: "photo:\n    visibility: NONE\n"},
		{Name: "flag over environment", Args: []string{"-photo", "ALL"}, Env: []string{"ZAPI_PHOTO=NONE"}, Want: "photo:\n    visibility: ALL\n"},
		{Name: "superfluous argument", Args: []string{"config.yaml"}, Code: 2, Want: usage},
		{Name: "live with the sample", Args: []string{"-live"}, Code: 2, Want: usage},
		{Name: "confirmed without live", Args: []string{"-yes"}, Code: 2, Want: usage},
		{Name: "unknown value of a flag", Args: []string{"-online", "NONE"}, Code: 2, Want: "must be one of ALL, SAME_LAST_SEEN"},
		{Name: "unknown value of a variable", Env: []string{"ZAPI_ONLINE=NONE"}, Code: 1, Want: "environment variable ZAPI_ONLINE: zapi: OnlineVisibility: must be one of ALL, SAME_LAST_SEEN"},
		{Name: "no such file", Args: []string{"-file", "none.yaml"}, Code: 1, Want: "none.yaml"},
		{Name: "live without credentials", Args: []string{"-live", "-file", "config.yaml"}, Code: 1, Want: "ZAPI_TOKEN and ZAPI_CLIENT_TOKEN: zapi: NewClient: Token: must not be empty"},
		{Name: "live and not confirmed", Args: []string{"-live", "-file", "config.yaml"}, Env: []string{"ZAPI_TOKEN=MY-TOKEN", "ZAPI_CLIENT_TOKEN=MY-CLIENT-TOKEN"}, Code: 1, Want: "nothing was changed: run the same command with -yes"},
	})
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = `
credentials: {instanceId: file-id, token: file-token, clientToken: file-client-token}
policy:
  lastSeen: {visibility: CONTACT_BLACKLIST, except: ["5544911111111"]}
  photo: {visibility: CONTACTS}
  online: SAME_LAST_SEEN
  readReceipts: enable
`
	audience := func(v zapi.Visibility, except ...string) *zapi.Audience {
		return &zapi.Audience{Visibility: v, Except: except}
	}
	inFile := configuration{
		zapi.Credentials{InstanceID: "file-id", Token: "file-token", ClientToken: "file-client-token"},
		zapi.Policy{
			LastSeen: audience("CONTACT_BLACKLIST", "5544911111111"), Photo: audience("CONTACTS"),
			Online: zapi.OnlineSameAsLastSeen, ReadReceipts: zapi.ReadReceiptsEnable,
		},
	}
	tests := []struct {
		name, file  string
		environment map[string]string
		flags       settings
		want        func(*configuration)
	}{
		{"file", file, nil, settings{}, func(*configuration) {}},
		{
			"environment over file", file,
			map[string]string{"ZAPI_TOKEN": "env-token", "ZAPI_LAST_SEEN": "NONE", "ZAPI_PHOTO": "ALL", "ZAPI_ONLINE": "ALL"}, settings{},
			func(c *configuration) {
				c.Credentials.Token = "env-token"
				c.Policy.LastSeen, c.Policy.Photo, c.Policy.Online = audience("NONE"), audience("ALL"), zapi.OnlineAll
			},
		},
		{
			"flags over environment", file,
			map[string]string{"ZAPI_LAST_SEEN": "NONE", "ZAPI_PHOTO": "ALL", "ZAPI_ONLINE": "ALL"},
			settings{zapi.VisibilityAll, zapi.VisibilityNone, zapi.OnlineSameAsLastSeen},
			func(c *configuration) { c.Policy.LastSeen, c.Policy.Photo = audience("ALL"), audience("NONE") },
		},
		{
			"the same visibility keeps the contacts", file, nil, settings{lastSeen: zapi.VisibilityContactBlacklist},
			func(*configuration) {},
		},
		{
			"nothing in the file", "",
			map[string]string{"ZAPI_INSTANCE_ID": "env-id", "ZAPI_TOKEN": "env-token", "ZAPI_CLIENT_TOKEN": "env-client-token"},
			settings{photo: zapi.VisibilityNone},
			func(c *configuration) {
				c.Credentials = zapi.Credentials{InstanceID: "env-id", Token: "env-token", ClientToken: "env-client-token"}
				c.Policy = zapi.Policy{Photo: audience("NONE")}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := inFile
			tt.want(&want)
			got, err := load(write(t, tt.file), func(name string) string { return tt.environment[name] }, tt.flags)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestFilesAreReadStrictly(t *testing.T) {
	t.Parallel()
	const emptyPolicy = "nothing to set: the policy is empty"
	tests := []struct {
		name, data, want string
	}{
		{"broken YAML", "policy:\n\tonline: ALL\n", "yaml: line 2: found character that cannot start any token"},
		{"unknown key", "policies: {}\n", "line 1: field policies not found"},
		{"unknown key of the credentials", "credentials:\n  id: MY-ID\n", "line 2: field id not found"},
		{"unknown key of the policy", "policy: {lastseen: {visibility: ALL}}", "zapi: policy: lastseen: is unknown; the keys are lastSeen,"},
		{"unknown value", "policy: {photo: {visibility: FRIENDS}}", "zapi: policy: photo.visibility: must be one of ALL, NONE"},
		{"phone without quotes", "policy: {photo: {visibility: CONTACT_BLACKLIST, except: [5544911111111]}}", "zapi: policy: photo.except: must be a list of phones, each a string"},
		{"two documents", "policy: {online: ALL}\n---\npolicy: {online: ALL}\n", "must hold one YAML document"},
		{"empty file", "# nothing\n", emptyPolicy},
		{"no value of policy", "policy:\n", emptyPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, tt.data)
			var out strings.Builder
			err := run(t.Context(), &out, options{file: file})
			assert.ErrorContains(t, err, tt.want)
			if tt.want != emptyPolicy {
				assert.ErrorContains(t, err, file+": ")
			}
			assert.Empty(t, out.String(), "nothing was sent")
		})
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	file := write(t, `
credentials: {instanceId: MY-ID, token: MY-TOKEN, clientToken: MY-CLIENT-TOKEN}
policy: {photo: {visibility: CONTACTS}, online: ALL}
`)
	tests := []struct {
		name string
		yes  bool
		sent int // for the photo, and as many for the online state
		err  string
	}{
		{"not confirmed", false, 0, "nothing was changed: run the same command with -yes to change it"},
		{"confirmed", true, 1, "online: zapi: privacy/online: 403 Forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock := httpmock.NewMockTransport()
			const url = "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/"
			mock.RegisterMatcherResponder(http.MethodPost, url+"photo", httpmock.BodyContainsString(`{"visualizationType":"CONTACTS"}`),
				httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
			mock.RegisterResponder(http.MethodPost, url+"online", httpmock.NewStringResponder(http.StatusForbidden, `{}`))
			var out strings.Builder
			err := run(t.Context(), &out, options{file: file, live: true, yes: tt.yes}, zapi.WithTransport(mock))
			assert.EqualError(t, err, tt.err)
			assert.Equal(t, 2*tt.sent, mock.GetTotalCallCount())
			assert.Equal(t, "About to set on instance MY-ID:\n\nonline: ALL\nphoto:\n    visibility: CONTACTS\n\n", out.String())
		})
	}
}

func write(t *testing.T, data string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(data), 0o600))
	return file
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard, options{}), context.Canceled)
}
