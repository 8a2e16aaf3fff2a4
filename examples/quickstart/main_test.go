package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// TestMain lets TestCommandLine start this program.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	const usage = "usage: quickstart, or quickstart -live with"
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"help", []string{"-h"}, 0, "Quickstart sets the privacy of a fake number"},
		{"nothing", nil, 0, "The server now has: "},
		{"superfluous argument", []string{"ALL"}, 2, usage},
		{"live without a setting", []string{"-live"}, 2, usage},
		{"live and confirmed without a setting", []string{"-live", "-yes"}, 2, usage},
		{"a setting without live", []string{"-photo", "NONE"}, 2, usage},
		{"confirmed without live", []string{"-yes"}, 2, usage},
		{"unknown value", []string{"-live", "-photo", "FRIENDS"}, 2, "-photo: zapi: Visibility: must be one of ALL, NONE"},
		{"value of another setting", []string{"-live", "-online", "NONE"}, 2, "must be one of ALL, SAME_LAST_SEEN"},
		{"live without credentials", []string{"-live", "-photo", "NONE"}, 1, "ZAPI_INSTANCE_ID, ZAPI_TOKEN: must be set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], tt.args...)
			cmd.Env = []string{"RUN_EXAMPLE=1"} // and no credentials
			out, _ := cmd.CombinedOutput()      // its error is the exit code
			assert.Equal(t, tt.code, cmd.ProcessState.ExitCode())
			assert.Contains(t, string(out), tt.want)
		})
	}
}

func TestFake(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, runFake(t.Context(), &out))
	for _, want := range []string{
		"last seen: my contacts except two  done\n",
		"photo: my contacts                 done\n",
		"online: same as last seen          done\n",
		"photo: a malformed phone           refused before anything was sent\n",
		"online: a rejection by the API     rejected by the API: nothing was changed\n",
		"last seen CONTACT_BLACKLIST except [554422222222 5544911111111], photo CONTACTS, online SAME_LAST_SEEN\n",
	} {
		assert.Contains(t, out.String(), want)
	}
}

func TestLive(t *testing.T) {
	t.Setenv("ZAPI_INSTANCE_ID", "MY-ID")
	t.Setenv("ZAPI_TOKEN", "MY-TOKEN")
	t.Setenv("ZAPI_CLIENT_TOKEN", "MY-CLIENT-TOKEN")
	const (
		url = "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/"
		all = "About to set on instance MY-ID of the real API:\n    last seen: CONTACTS\n    photo: NONE\n    online: ALL\n"
	)
	three := settings{zapi.VisibilityContacts, zapi.VisibilityNone, zapi.OnlineAll}
	tests := []struct {
		name      string
		settings  settings
		confirmed bool
		want      []string // routes
		out       string
		err       string
	}{
		{"not confirmed", three, false, nil, all, "nothing was changed: run the same command with -yes"},
		{"all three", three, true, []string{"last-seen", "photo", "online"}, all + "\n", ""},
		{"one", settings{photo: zapi.VisibilityNone}, true, []string{"photo"}, "    photo: NONE\n\nphoto: NONE                        done\n", ""},
		{"one that fails", settings{lastSeen: zapi.VisibilityAll}, true, []string{"last-seen"}, "refused by the API: check the credentials\n", "403 Forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent []string
			mock := httpmock.NewMockTransport()
			for route, body := range map[string]string{
				"last-seen": `{"visualizationType":"CONTACTS"}`,
				"photo":     `{"visualizationType":"NONE"}`,
				"online":    `{"visualizationType":"ALL"}`,
			} {
				mock.RegisterMatcherResponder(http.MethodPost, url+route, httpmock.BodyContainsString(body),
					func(*http.Request) (*http.Response, error) {
						sent = append(sent, route)
						return httpmock.NewStringResponse(http.StatusOK, `{"success": true}`), nil
					})
			}
			mock.RegisterMatcherResponder(http.MethodPost, url+"last-seen", httpmock.BodyContainsString(`{"visualizationType":"ALL"}`),
				func(*http.Request) (*http.Response, error) {
					sent = append(sent, "last-seen")
					return httpmock.NewStringResponse(http.StatusForbidden, `{"error": "Client-Token MY-CLIENT-TOKEN not allowed"}`), nil
				})
			var out strings.Builder
			err := runLive(t.Context(), &out, tt.settings, tt.confirmed, zapi.WithTransport(mock))
			if tt.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.err)
			}
			assert.Equal(t, tt.want, sent)
			assert.Contains(t, out.String(), tt.out)
			assert.NotContains(t, out.String(), "TOKEN")
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, runFake(ended, io.Discard), context.Canceled)
}
