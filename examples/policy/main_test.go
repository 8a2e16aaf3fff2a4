package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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
		{Name: "nothing", Want: "unauthorized"},
		{Name: "file", Args: []string{"-file", "policy.json"}, Want: "unauthorized"},
		{Name: "plan", Args: []string{"-plan", "-file", "policy.json"}, Want: "Nothing was changed."},
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
		{"sample", "", `INSTANCE   RESULT        APPLY AGAIN  DETAILS
sales      applied       -            -
support    applied       -            -
billing    unauthorized  when mended  lastSeen: zapi: privacy/disallowed-contacts: 403 Forbidden: Client-Token [REDACTED] not allowed
                                      applied: 0, not tried: 6
delivery   applied       -            -
warehouse  unavailable   later        photo: zapi: privacy/photo: 503 Service Unavailable (2 attempts)
                                      applied: 6, not tried: 0
returns    applied       -            -
`},
		{"another policy", photoOnly, `INSTANCE   RESULT        APPLY AGAIN  DETAILS
sales      applied       -            -
support    applied       -            -
billing    unauthorized  when mended  photo: zapi: privacy/photo: 403 Forbidden: Client-Token [REDACTED] not allowed
                                      applied: 0, not tried: 0
delivery   applied       -            -
warehouse  unavailable   later        photo: zapi: privacy/photo: 503 Service Unavailable (2 attempts)
                                      applied: 0, not tried: 0
returns    applied       -            -
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.NoError(t, run(t.Context(), &out, tt.file, false))
			assert.Equal(t, tt.want, out.String())
		})
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, "", true))
	assert.Equal(t, `sales, delivery, warehouse, returns:
SETTING          VALUE              BLACKLIST
lastSeen         CONTACT_BLACKLIST  2 added, 0 removed
photo            CONTACTS
description      CONTACTS
groupAdd         CONTACTS
online           SAME_LAST_SEEN
readReceipts     disable
messageDuration  days90

support:
SETTING          VALUE              BLACKLIST
lastSeen         CONTACT_BLACKLIST  1 added, 1 removed
photo            CONTACTS
description      CONTACTS
groupAdd         CONTACTS
online           SAME_LAST_SEEN
readReceipts     disable
messageDuration  days90

billing:
lastSeen: zapi: privacy/disallowed-contacts: 403 Forbidden: Client-Token [REDACTED] not allowed

Nothing was changed.
`, regexp.MustCompile(`(?m) +$`).ReplaceAllString(out.String(), ""))
}

func TestPlansChangeNothing(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	api, instances, err := connect(server)
	require.NoError(t, err)
	policy, err := readPolicy("")
	require.NoError(t, err)
	for _, in := range instances {
		before := server.Settings(in.creds.InstanceID)
		planned := plan(t.Context(), api, in.creds, policy)
		assert.Equal(t, in.name == "billing", planned.err != nil)
		assert.Equal(t, before, server.Settings(in.creds.InstanceID), in.name)
	}
	requests := server.Requests()
	assert.Len(t, requests, len(instances))
	for _, request := range requests {
		assert.Equal(t, http.MethodGet, request.Method)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	api, instances, err := connect(server)
	require.NoError(t, err)
	policy, err := readPolicy("")
	require.NoError(t, err)

	untouched := server.Settings(instances[0].creds.InstanceID)
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

	results := forEach(instances, func(in instance) result { return apply(t.Context(), api, in.creds, policy) })
	for i, want := range []struct {
		name     string
		settings zapitest.Settings
		failure  error
	}{
		{"sales", applied, nil},
		{"support", applied, nil},
		{"billing", untouched, zapi.ErrUnauthorized},
		{"delivery", applied, nil},
		{"warehouse", photoLeft, zapi.ErrUnavailable},
		{"returns", applied, nil},
	} {
		assert.Equal(t, want.name, instances[i].name)
		assert.ErrorIs(t, results[i].err, want.failure, want.name)
		assert.Equal(t, want.settings, server.Settings(instances[i].creds.InstanceID), want.name)
	}
}

func TestOnlyAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var underWay atomic.Int32
		release := make(chan struct{})
		hold := func(in instance) result {
			underWay.Add(1)
			<-release
			return result{err: in.provoked}
		}
		instances := slices.Repeat([]instance{{provoked: zapi.ErrRejected}, {}}, parallel)
		var results []result
		go func() { results = forEach(instances, hold) }()
		synctest.Wait()
		assert.EqualValues(t, parallel, underWay.Load())
		close(release)
		synctest.Wait()
		assert.EqualValues(t, 2*parallel, underWay.Load())
		assert.Equal(t, slices.Repeat([]result{{err: zapi.ErrRejected}, {}}, parallel), results, "in the order of the instances")
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
		{"no setting", "{}", "FILE: zapi: policy: must name at least one setting"},
		{"null", "null", "FILE: zapi: policy: must name at least one setting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "policy.json")
			require.NoError(t, os.WriteFile(file, []byte(tt.data), 0o600))
			var out strings.Builder
			err := run(t.Context(), &out, file, false)
			assert.ErrorContains(t, err, strings.Replace(tt.want, "FILE", file, 1))
			assert.Empty(t, out.String(), "nothing was sent")
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, planOnly := range map[string]bool{"apply": false, "plan": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended, end := context.WithCancel(t.Context())
			end()
			assert.ErrorIs(t, run(ended, io.Discard, "", planOnly), context.Canceled)
		})
	}
}
