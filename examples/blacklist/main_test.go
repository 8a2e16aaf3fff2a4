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
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	const usage = "blacklist takes flags only, -yes with -live, and -live with -file; see -h"
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Blacklist makes the blacklist of a setting"},
		{Name: "nothing", Want: "On the blacklist of lastSeen now: "},
		{Name: "scope and file", Args: []string{"-scope", "photo", "-file", "contacts.csv"}, Want: "On the blacklist of photo now: "},
		{Name: "superfluous argument", Args: []string{"contacts.csv"}, Code: 2, Want: usage},
		{Name: "live with the sample", Args: []string{"-live"}, Code: 2, Want: usage},
		{Name: "confirmed without live", Args: []string{"-yes"}, Code: 2, Want: usage},
		{Name: "unknown scope", Args: []string{"-scope", "online"}, Code: 2, Want: "must be one of lastSeen, photo, description, groupAdd"},
		{Name: "no such file", Args: []string{"-file", "none.csv"}, Code: 1, Want: "none.csv"},
		{Name: "no such column", Args: []string{"-column", "telefone"}, Code: 1, Want: `the sample: the first line must name the columns, one of them "telefone"`},
		{Name: "live without credentials", Args: []string{"-live", "-file", "contacts.csv"}, Code: 1, Want: "ZAPI_INSTANCE_ID, ZAPI_TOKEN: must be set"},
	})
}

func TestDemonstration(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), nil, &out, options{scope: zapi.BlacklistLastSeen, column: "phone"}))
	assert.Equal(t, `The list has 6 phones, the blacklist 2.

The blacklist follows the list:
  - 5521977776666
  + 5544922222222
  + 5544933333333
  + 12125550142
  + 999999999999999@lid
Set lastSeen to CONTACT_BLACKLIST, with 4 contacts added and 1 removed? [y/N] y
Done: 4 added, 1 removed.

The same list once more:
Set lastSeen to CONTACT_BLACKLIST, with 0 contacts added and 0 removed? [y/N] y
Done: 0 added, 0 removed.

A list without any contacts, as after an export that failed:
  - 12125550142
  - 5544922222222
  - 5544933333333
  - 554499111111
  - 999999999999999@lid
nothing was changed: more than half of the blacklist would be removed; if that is meant, use -force

On the blacklist of lastSeen now: 12125550142, 5544922222222, 5544933333333, 554499111111, 999999999999999@lid
`, out.String())
}

// start starts a server whose first instance has four contacts on the blacklist of its photo.
func start(t *testing.T) (*zapitest.Server, *zapi.Client) {
	t.Helper()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	settings := server.Settings(client.InstanceID())
	settings.Photo.Blacklist = []string{"5544911111111", "5544922222222", "5544933333333", "5544944444444"}
	server.SetSettings(client.InstanceID(), settings)
	return server, client
}

func TestReplacement(t *testing.T) {
	t.Parallel()
	listed := []string{"5544911111111", "5544922222222", "5544933333333", "5544944444444"}
	tests := []struct {
		name     string
		contacts []string
		force    bool
		answer   string
		err      error
		want     []string
		question string
	}{
		{"confirmed", append([]string{"+55 44 95555-5555"}, listed[1:]...), false, "y\n", nil, []string{"5544922222222", "5544933333333", "5544944444444", "5544955555555"}, "1 contacts added and 1 removed? [y/N] "},
		{"confirmed at length", listed[1:], false, "Yes\r\n", nil, listed[1:], "0 contacts added and 1 removed? [y/N] "},
		{"half of them", listed[2:], false, "y\n", nil, listed[2:], "0 contacts added and 2 removed? [y/N] "},
		{"more than half", listed[3:], false, "y\n", errTooMany, listed, ""},
		{"more than half, by force", listed[3:], true, "y\n", nil, listed[3:], "0 contacts added and 3 removed? [y/N] "},
		{"more than half, by force, but not confirmed", listed[3:], true, "n\n", errNotConfirmed, listed, "0 contacts added and 3 removed? [y/N] "},
		{"nobody", nil, false, "y\n", errTooMany, listed, ""},
		{"nobody, by force", nil, true, "y\n", nil, nil, "0 contacts added and 4 removed? [y/N] "},
		{"no", listed[1:], false, "n\n", errNotConfirmed, listed, "? [y/N] "},
		{"nothing but the enter key", listed[1:], false, "\n", errNotConfirmed, listed, "? [y/N] "},
		{"nobody to ask", listed[1:], false, "", errNotConfirmed, listed, "? [y/N] \n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t)
			var out strings.Builder
			r := replacement{client, zapi.BlacklistPhoto, tt.force, ask(strings.NewReader(tt.answer), &out)}
			require.ErrorIs(t, r.run(t.Context(), &out, tt.contacts), tt.err)
			photo := server.Settings(client.InstanceID()).Photo
			assert.Equal(t, tt.want, photo.Blacklist)
			assert.Equal(t, tt.err == nil, photo.Visibility == zapi.VisibilityContactBlacklist)
			assert.Equal(t, tt.err == nil, strings.Contains(out.String(), "Done: "))
			assert.Equal(t, tt.question != "", strings.Contains(out.String(), "?"))
			assert.Contains(t, out.String(), tt.question)
		})
	}
}

func TestOnlyTheScopeChanges(t *testing.T) {
	t.Parallel()
	audiences := map[zapi.BlacklistScope]func(*zapitest.Settings) *zapitest.Audience{
		zapi.BlacklistLastSeen:    func(s *zapitest.Settings) *zapitest.Audience { return &s.LastSeen },
		zapi.BlacklistPhoto:       func(s *zapitest.Settings) *zapitest.Audience { return &s.Photo },
		zapi.BlacklistDescription: func(s *zapitest.Settings) *zapitest.Audience { return &s.Description },
		zapi.BlacklistGroupAdd:    func(s *zapitest.Settings) *zapitest.Audience { return &s.GroupAdd },
	}
	for scope, audience := range audiences {
		t.Run(string(scope), func(t *testing.T) {
			t.Parallel()
			server := zapitest.NewServer()
			t.Cleanup(server.Close)
			client, err := server.Client()
			require.NoError(t, err)
			want := server.Settings(client.InstanceID())
			*audience(&want) = zapitest.Audience{
				Visibility: zapi.VisibilityContactBlacklist,
				Blacklist:  []string{"5544911111111", "5544922222222"},
			}

			r := replacement{client, scope, false, agree(io.Discard)}
			require.NoError(t, r.run(t.Context(), io.Discard, []string{"+55 44 91111-1111", "+55 44 92222-2222"}))
			assert.Equal(t, want, server.Settings(client.InstanceID()))
		})
	}
}

func TestReadContacts(t *testing.T) {
	t.Parallel()
	const rule = ": must be 7 to 15 digits, country code first, or digits@lid"
	ana := []string{"+55 44 91111-1111"}
	tests := []struct {
		name, data string
		want       []string
		err        string
	}{
		{"commas", "name,phone\nAna,+55 44 91111-1111\n", ana, ""},
		{"semicolons", "name;phone\nSouza, Ana;+55 44 91111-1111\n", ana, ""},
		{"one column", "phone\n+55 44 91111-1111\n", ana, ""},
		{"byte order mark and Windows line ends", "\ufeffphone;name\r\n+55 44 91111-1111;Ana\r\n", ana, ""},
		{"title in capitals", "Name;PHONE \nAna;+55 44 91111-1111\n", ana, ""},
		{"separator in quotes", "name;phone\n\"Souza; Ana\";+55 44 91111-1111\n", ana, ""},
		{"empty rows", "name;phone\n;\nAna;+55 44 91111-1111\n\n; \n", ana, ""},
		{"nobody", "name;phone\n", nil, ""},
		{"empty file", "", nil, `list.csv: the first line must name the columns, one of them "phone"; see -column`},
		{"no header", "Ana;+55 44 91111-1111\n", nil, `list.csv: the first line must name the columns, one of them "phone"; see -column`},
		{"row that is cut off", "name;phone\nAna\n", nil, "list.csv: record on line 2: wrong number of fields"},
		{"quotes that do not end", "name;phone\n\"Ana;+55 44 91111-1111\n", nil, `list.csv: parse error on line 2, column 24: extraneous or missing " in quoted-field`},
		{"contact without a phone", "name;phone\nAna;\n", nil, "zapi: list.csv:2" + rule},
		{"cell of a spreadsheet", "name;phone\nAna;5544911111111.0\n", nil, "zapi: list.csv:2: must have nothing behind the number, such as .0, (2), an extension or a second phone"},
		{"several refused", "name;phone\nAna;5544911111111\n\nHotline;0800-CALL-US\nPolice;911\n", nil, "zapi: list.csv:4" + rule + "\nzapi: list.csv:5" + rule},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			contacts, err := readContacts("list.csv", []byte(tt.data), "phone")
			if tt.err != "" {
				assert.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, contacts)
		})
	}
}

func TestLive(t *testing.T) {
	t.Setenv("ZAPI_INSTANCE_ID", "MY-ID")
	t.Setenv("ZAPI_TOKEN", "MY-TOKEN")
	t.Setenv("ZAPI_CLIENT_TOKEN", "MY-CLIENT-TOKEN")
	const url = "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/"
	tests := []struct {
		name, answer string
		yes          bool
		sent         int
		err          error
	}{
		{"nobody to ask", "", false, 0, errNotConfirmed},
		{"confirmed", "y\n", false, 1, nil},
		{"confirmed by flag", "", true, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "contacts.csv")
			require.NoError(t, os.WriteFile(file, []byte("phone\n+55 44 91111-1111\n"), 0o600))
			sent := 0
			mock := httpmock.NewMockTransport()
			mock.RegisterResponderWithQuery(http.MethodGet, url+"disallowed-contacts", "type=photo",
				httpmock.NewStringResponder(http.StatusOK, `{"disallowedContacts": []}`))
			mock.RegisterMatcherResponder(http.MethodPost, url+"photo",
				httpmock.BodyContainsString(`"contactsBlacklist":[{"action":"add","phone":"5544911111111"}]`),
				func(*http.Request) (*http.Response, error) {
					sent++
					return httpmock.NewStringResponse(http.StatusOK, `{"success": true}`), nil
				})
			var out strings.Builder
			o := options{scope: zapi.BlacklistPhoto, file: file, column: "phone", live: true, yes: tt.yes}
			require.ErrorIs(t, run(t.Context(), strings.NewReader(tt.answer), &out, o, zapi.WithTransport(mock)), tt.err)
			assert.Equal(t, tt.sent, sent)
			assert.Contains(t, out.String(), "On the blacklist of photo of instance MY-ID:\n  + 5544911111111\n")
			assert.NotContains(t, out.String(), "TOKEN")
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, nil, io.Discard, options{scope: zapi.BlacklistPhoto, column: "phone"}), context.Canceled)
}
