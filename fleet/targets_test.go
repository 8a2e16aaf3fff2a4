package fleet

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/fleet/internal/store"
	"github.com/zapi-go/zapi/fleet/internal/store/memory"
)

// The targets of a rollout are stored in parts, and what is lost or damaged of them is left out.
func TestTargets(t *testing.T) {
	t.Parallel()
	f := newFleet(memory.New().Handle(nil), settings{log: slog.New(slog.DiscardHandler), timing: defaultTiming})
	defer f.Close() //nolint:errcheck // nothing is open
	var all targets
	for _, target := range someTargets(300_000) { // more than one entry holds
		all = append(all, hashOf(target.key()))
	}
	all = all.with(all[:10]) // these count once
	require.Len(t, all, 300_000)
	keys, err := f.writeTargets(t.Context(), all)
	require.NoError(t, err)
	read := func() targets {
		found, err := f.readTargets(t.Context(), "r", keys)
		require.NoError(t, err)
		return found
	}
	assert.Equal(t, all, read())
	assert.True(t, all.has(someTargets(1)[0].key()))
	assert.False(t, all.has("acme.other"))

	again, err := f.writeTargets(t.Context(), all.with(all[:5]))
	require.NoError(t, err)
	assert.Equal(t, keys, again, "rollouts of the same instances share them")

	first, _, isSplit := strings.Cut(keys, " ")
	require.True(t, isSplit)
	require.NoError(t, f.store.Set(t.Context(), store.Targets, first, []byte("damaged!")))
	rest := read()
	assert.NotEmpty(t, rest)
	assert.Less(t, len(rest), len(all))
	none, err := f.readTargets(t.Context(), "r", "")
	require.NoError(t, err)
	assert.Empty(t, none, "an earlier release did not store them")
}
