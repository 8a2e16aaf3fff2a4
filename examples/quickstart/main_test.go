package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQuickstart(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, runFake(t.Context(), &out))
	for _, want := range []string{
		"last seen: my contacts except two        done\n",
		"photo: my contacts                       done\n",
		"online: same as last seen                done\n",
		"photo: a phone that is none              refused before anything was sent\n",
		"online: an instance that does not exist  refused by the API: check the credentials\n",
		"last seen CONTACT_BLACKLIST except [554422222222 5544911111111], photo CONTACTS, online SAME_LAST_SEEN\n",
	} {
		assert.Contains(t, out.String(), want)
	}
}

func TestLiveNeedsCredentials(t *testing.T) {
	for _, name := range []string{"ZAPI_INSTANCE_ID", "ZAPI_TOKEN", "ZAPI_CLIENT_TOKEN"} {
		t.Setenv(name, "")
	}
	var out strings.Builder
	require.ErrorContains(t, runLive(t.Context(), &out), "ZAPI_INSTANCE_ID, ZAPI_TOKEN")
	assert.Empty(t, out.String())
}
