package main

import (
	"context"
	"io"
	"net/http"
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
	const usage = "usage: quickstart, or quickstart -live with"
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Quickstart sets the privacy of a fake number"},
		{Name: "nothing", Want: "The server now has: "},
		{Name: "superfluous argument", Args: []string{"ALL"}, Code: 2, Want: usage},
		{Name: "live without a setting", Args: []string{"-live"}, Code: 2, Want: usage},
		{Name: "live and confirmed without a setting", Args: []string{"-live", "-yes"}, Code: 2, Want: usage},
		{Name: "a setting without live", Args: []string{"-photo", "NONE"}, Code: 2, Want: usage},
		{Name: "confirmed without live", Args: []string{"-yes"}, Code: 2, Want: usage},
		{Name: "unknown value", Args: []string{"-live", "-photo", "FRIENDS"}, Code: 2, Want: "-photo: zapi: Visibility: must be one of ALL, NONE"},
		{Name: "value of another setting", Args: []string{"-live", "-online", "NONE"}, Code: 2, Want: "must be one of ALL, SAME_LAST_SEEN"},
		{Name: "live without credentials", Args: []string{"-live", "-photo", "NONE"}, Code: 1, Want: "ZAPI_INSTANCE_ID, ZAPI_TOKEN: must be set"},
	})
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
		"online: without a connection       the number is not connected: connect it again in the Z-API panel\n",
		"Connected to WhatsApp: false (You are not connected.)\n",
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
