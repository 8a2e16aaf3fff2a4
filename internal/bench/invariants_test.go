package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Bounds that hold on any machine. Time is never one of them.
const (
	maxAllocations      = 40   // of a call in memory, the transport's own included
	maxAllocationRatio  = 0.80 // of a call in memory, to bare resty
	maxInstanceBytes    = 300
	maxInstanceRoutines = 0.001 // one connection for all is two or three goroutines
	maxListGrowth       = 1.5   // of allocations per contact, from 1,000 contacts to 10,000
)

// allocations counts those of one call. The race detector adds its own, so there is nothing to count under it.
func allocations(t *testing.T, calls int, do call) float64 {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector allocates too")
	}
	var err error
	average := testing.AllocsPerRun(calls, func() {
		if failed := do(context.Background()); failed != nil {
			err = failed
		}
	})
	require.NoError(t, err)
	return average
}

func TestAllocationsOfACall(t *testing.T) {
	count := func(build func(string, http.RoundTripper) (call, error)) float64 {
		send, err := build(memoryURL, memory{})
		require.NoError(t, err)
		return allocations(t, 500, send)
	}
	sdk, bare := count(newZapi), count(newResty)
	t.Logf("zapi %.0f, bare resty %.0f, ratio %.2f", sdk, bare, sdk/bare)
	assert.LessOrEqual(t, sdk, float64(maxAllocations))
	assert.LessOrEqual(t, sdk/bare, maxAllocationRatio)
}

func TestInstancesAreSmall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector keeps more memory")
	}
	idle, used, err := zapiFootprint()
	require.NoError(t, err)
	t.Logf("idle %.0f B, after a call %.0f B", idle.heap, used.heap)
	assert.Greater(t, idle.heap, 0.0, "something was measured")
	for _, f := range []footprint{idle, used} {
		assert.LessOrEqual(t, f.heap, float64(maxInstanceBytes))
		assert.LessOrEqual(t, f.goroutines, maxInstanceRoutines)
	}
}

func TestBurstsKeepTheirConnections(t *testing.T) {
	const size = 256
	s, err := startServer(size)
	require.NoError(t, err)
	t.Cleanup(s.close)
	send, err := newZapi(s.url, nil)
	require.NoError(t, err)
	bursts := target{call: send, server: s}
	for burst := range 5 {
		f, err := bursts.fly(size, 1)
		require.NoError(t, err)
		if burst == 0 {
			assert.EqualValues(t, size, f.opened, "the first burst needs them all at once")
		} else {
			assert.Zero(t, f.opened, "burst %d", burst)
		}
	}
}

func TestReplaceBlacklistGrowsLinearly(t *testing.T) {
	perContact := func(size int) float64 {
		replace, err := newReplacement(size)
		require.NoError(t, err)
		return allocations(t, 20, replace) / float64(size)
	}
	small, large := perContact(1_000), perContact(10_000)
	t.Logf("%.2f per contact of 1,000, %.2f of 10,000", small, large)
	assert.LessOrEqual(t, large, maxListGrowth*small)
}
