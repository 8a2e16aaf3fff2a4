//go:build !race

// The race detector allocates too, so nothing here can be counted under it.

package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// Limits that hold on any machine.
const (
	maxAllocations   = 55  // of a call in memory, those of the transport included
	maxInstanceBytes = 300 // of heap, after a call
)

func TestAllocationsOfACall(t *testing.T) {
	send := newZapi(memoryURL, memory{})
	var err error
	average := testing.AllocsPerRun(500, func() {
		if failure := send(context.Background()); failure != nil {
			err = failure
		}
	})
	require.NoError(t, err)
	t.Logf("%.0f allocations", average)
	assert.LessOrEqual(t, average, float64(maxAllocations))
}

func TestInstancesAreSmall(t *testing.T) {
	const instances = 5_000
	tenants := make([]zapi.Credentials, instances) // made first, as their memory is the caller's
	for i := range tenants {
		tenants[i] = creds
		tenants[i].InstanceID = fmt.Sprintf("%032X", i)
	}
	parent := newClient(startServer(t, 1).URL, nil)
	require.NoError(t, setLastSeen(t.Context(), parent)) // opens the connection that all share
	clients := make([]*zapi.Client, instances)

	heap, goroutines := heapInUse(), runtime.NumGoroutine()
	for i, tenant := range tenants {
		var err error
		clients[i], err = parent.ForInstance(tenant)
		require.NoError(t, err)
		require.NoError(t, setLastSeen(t.Context(), clients[i]))
	}
	assert.Less(t, runtime.NumGoroutine()-goroutines, instances/100)
	grown := float64(int64(heapInUse()-heap)) / instances
	t.Logf("%.0f B for each instance", grown)
	assert.Positive(t, grown, "something was measured")
	assert.LessOrEqual(t, grown, float64(maxInstanceBytes))
	runtime.KeepAlive(clients)
	runtime.KeepAlive(tenants)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // the second one empties the pools
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
