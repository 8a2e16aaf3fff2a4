package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{Name: "help", Args: []string{"-h"}, Want: "Blacklist makes the blacklist of a setting"},
		{Name: "nothing", Want: "On the blacklist of lastSeen now: "},
		{Name: "scope and file", Args: []string{"-scope", "photo", "-file", "contacts.txt"}, Want: "On the blacklist of photo now: "},
		{Name: "superfluous argument", Args: []string{"contacts.txt"}, Code: 2, Want: "blacklist takes flags only; see -h"},
		{Name: "unknown scope", Args: []string{"-scope", "online"}, Code: 2, Want: "must be one of lastSeen, photo, description, groupAdd"},
		{Name: "no such file", Args: []string{"-file", "none.txt"}, Code: 1, Want: "none.txt"},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, list, want string
	}{
		{"sample", "", `The company's list has 6 entries.

The blacklist follows the list: 5 added, 0 removed
  + 5544911111111
  + 5544922222222
  + 5544933333333
  + 12125550142
  + 999999999999999@lid

The same list once more: 0 added, 0 removed

One contact left the list and one joined it: 1 added, 1 removed
  - 12125550142
  + 5511988887777

On the blacklist of lastSeen now: 5511988887777, 5544911111111, 5544922222222, 5544933333333, 999999999999999@lid
`},
		{"nobody on the list", "# nobody yet\n", `The company's list has 0 entries.

The blacklist follows the list: 0 added, 0 removed

The same list once more: 0 added, 0 removed

One contact left the list and one joined it: 1 added, 0 removed
  + 5511988887777

On the blacklist of lastSeen now: 5511988887777
`},
		{"byte order mark and Windows line ends", "\ufeff# nobody yet\r\n", `The company's list has 0 entries.

The blacklist follows the list: 0 added, 0 removed

The same list once more: 0 added, 0 removed

One contact left the list and one joined it: 1 added, 0 removed
  + 5511988887777

On the blacklist of lastSeen now: 5511988887777
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var file string
			if tt.list != "" {
				file = filepath.Join(t.TempDir(), "contacts.txt")
				require.NoError(t, os.WriteFile(file, []byte(tt.list), 0o600))
			}
			var out strings.Builder
			require.NoError(t, run(t.Context(), &out, zapi.BlacklistLastSeen, file))
			assert.Equal(t, tt.want, out.String())
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
				Blacklist:  []string{"5511988887777", "5544922222222"},
			}

			var out strings.Builder
			require.NoError(t, demonstrate(t.Context(), &out, client, scope, []string{"+55 44 91111-1111", "+55 44 92222-2222"}))
			assert.Equal(t, want, server.Settings(client.InstanceID()))
		})
	}
}

func TestBadLinesAreNamedByNumber(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "contacts.txt")
	require.NoError(t, os.WriteFile(file, []byte("# the list\n5544911111111\n\n0800-CALL-US # a hotline\r\n911"), 0o600))
	var out strings.Builder
	err := run(t.Context(), &out, zapi.BlacklistLastSeen, file)
	require.ErrorIs(t, err, zapi.ErrInvalidArgument)
	const rule = ": must be 7 to 15 digits, country code first, or digits@lid"
	assert.EqualError(t, err, "zapi: "+file+":4"+rule+"\nzapi: "+file+":5"+rule)
	assert.Empty(t, out.String(), "nothing was sent")
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard, zapi.BlacklistPhoto, ""), context.Canceled)
}
