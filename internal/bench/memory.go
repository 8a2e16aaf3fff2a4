package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/zapi-go/zapi"
)

const (
	memoryCalls  = 1000 // per turn: enough for some garbage collections of its own
	instances    = 10_000
	restyTenants = 200
)

// listSizes are the contacts on the lists that are replaced.
var listSizes = []int{10, 1_000, 10_000}

// usage is the cost of one call.
type usage struct{ nanoseconds, bytes, allocations float64 }

func usageOf(calls int, do call) (usage, error) {
	var before, after runtime.MemStats
	runtime.GC() // so that no turn pays for the garbage of another
	runtime.ReadMemStats(&before)
	begin := time.Now()
	for range calls {
		if err := do(context.Background()); err != nil {
			return usage{}, err
		}
	}
	elapsed := time.Since(begin)
	runtime.ReadMemStats(&after)
	n := float64(calls)
	return usage{float64(elapsed) / n, float64(after.TotalAlloc-before.TotalAlloc) / n, float64(after.Mallocs-before.Mallocs) / n}, nil
}

func (r rig) memory() (section, error) {
	s := section{Title: sectionMemory, Bases: variantBases, Figures: []figure{
		{Name: figureTime, Unit: "ns/call"},
		{Name: "bytes", Unit: "B/call"},
		{Name: figureAllocations, Unit: "per call"},
	}}
	calls := make([]call, len(variants))
	for i, v := range variants {
		var err error
		if calls[i], err = v.build(memoryURL, memory{}); err != nil {
			return s, err
		}
	}
	return r.interleave(s, variantNames(), 0.20, func(i int) ([]float64, error) {
		u, err := usageOf(memoryCalls, calls[i])
		return []float64{u.nanoseconds, u.bytes, u.allocations}, err
	})
}

// footprint is what one of many instances occupies. Stacks are left out: the runtime hands them back when it likes.
type footprint struct{ heap, goroutines float64 }

func occupied() footprint {
	time.Sleep(burstPause) // lets goroutines of closed connections end
	runtime.GC()
	runtime.GC() // the second one empties the pools
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return footprint{float64(stats.HeapAlloc), float64(runtime.NumGoroutine())}
}

func (f footprint) since(before footprint, count int) footprint {
	return footprint{(f.heap - before.heap) / float64(count), (f.goroutines - before.goroutines) / float64(count)}
}

// footprintOf opens an instance for each tenant, then uses each once.
func footprintOf[T any](tenants []zapi.Credentials, open func(zapi.Credentials) (T, error), use func(zapi.Credentials, T) error) (idle, used footprint, err error) {
	all := make([]T, len(tenants))
	before := occupied()
	for i, tenant := range tenants {
		if all[i], err = open(tenant); err != nil {
			return idle, used, err
		}
	}
	idle = occupied().since(before, len(tenants))
	for i, tenant := range tenants {
		if err := use(tenant, all[i]); err != nil {
			return idle, used, err
		}
	}
	used = occupied().since(before, len(tenants))
	runtime.KeepAlive(all)
	runtime.KeepAlive(tenants) // counted before, so not to be freed in between
	return idle, used, nil
}

// newTenants makes the credentials beforehand: what they occupy is not the client's.
func newTenants(count int) []zapi.Credentials {
	tenants := make([]zapi.Credentials, count)
	for i := range tenants {
		tenants[i] = creds
		tenants[i].InstanceID = fmt.Sprintf("%032X", i)
	}
	return tenants
}

func zapiFootprint() (idle, used footprint, err error) {
	s, err := startServer(0)
	if err != nil {
		return idle, used, err
	}
	defer s.close()
	parent, err := newClient(s.url, nil)
	if err != nil {
		return idle, used, err
	}
	if err := setLastSeen(context.Background(), parent); err != nil { // opens the connection that all share
		return idle, used, err
	}
	return footprintOf(newTenants(instances), parent.ForInstance, func(_ zapi.Credentials, client *zapi.Client) error {
		return setLastSeen(context.Background(), client)
	})
}

// restyFootprint is that of one resty client per tenant, without the server's end of its connection.
func restyFootprint() (idle, used footprint, err error) {
	s, err := startServer(0)
	if err != nil {
		return idle, used, err
	}
	defer s.close()
	tenants := newTenants(restyTenants)
	idle, used, err = footprintOf(tenants,
		func(tenant zapi.Credentials) (*resty.Client, error) { return newRestyClient(s.url, tenant) },
		func(tenant zapi.Credentials, client *resty.Client) error {
			return callResty(context.Background(), client, tenant)
		})
	if err != nil {
		return idle, used, err
	}
	_, serverEnd, err := footprintOf(tenants,
		func(zapi.Credentials) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(context.Background(), "tcp", strings.TrimPrefix(s.url, "http://"))
		},
		func(_ zapi.Credentials, conn net.Conn) error {
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: loopback\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return err
			}
			_, err := conn.Read(make([]byte, 512))
			return err
		})
	used.heap -= serverEnd.heap
	used.goroutines -= serverEnd.goroutines
	return idle, used, err
}

func (r rig) instances() (section, error) {
	title := fmt.Sprintf("instances: zapi %d by ForInstance, resty %d clients", instances, restyTenants)
	s := section{Title: title, Bases: []string{"resty"}, Figures: []figure{
		{Name: "heap, idle", Unit: "B each"},
		{Name: "goroutines, idle", Unit: "each"},
		{Name: "heap, after a call", Unit: "B each"},
		{Name: "goroutines, after a call", Unit: "each"},
	}}
	measures := []func() (idle, used footprint, err error){zapiFootprint, restyFootprint}
	return r.interleave(s, []string{"zapi", "resty"}, 0, func(i int) ([]float64, error) {
		idle, used, err := measures[i]()
		return []float64{idle.heap, idle.goroutines, used.heap, used.goroutines}, err
	})
}

// newReplacement replaces a list of size contacts by one of which half differs.
func newReplacement(size int) (call, error) {
	contacts := make([]string, size+size/2)
	for i := range contacts {
		contacts[i] = fmt.Sprintf("5544%09d", i)
	}
	listed, want := contacts[:size], contacts[size/2:]
	list := `{"disallowedContacts":["` + strings.Join(listed, `","`) + `"]}`
	client, err := newClient(memoryURL, memory{list})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistLastSeen, want)
		if err == nil && (len(diff.Added) != size/2 || len(diff.Removed) != size/2) {
			return errors.New("not half of the list was replaced")
		}
		return err
	}, nil
}

func (r rig) replaceBlacklist() (section, error) {
	s := section{Title: "ReplaceBlacklist in memory, half of the list differs", Bases: []string{strconv.Itoa(listSizes[1])}, Figures: []figure{
		{Name: "time", Unit: "ns/contact"},
		{Name: "bytes", Unit: "B/contact"},
		{Name: "allocations", Unit: "per contact"},
	}}
	names, calls := make([]string, len(listSizes)), make([]call, len(listSizes))
	for i, size := range listSizes {
		var err error
		if calls[i], err = newReplacement(size); err != nil {
			return s, err
		}
		names[i] = strconv.Itoa(size)
	}
	return r.interleave(s, names, 0.10, func(i int) ([]float64, error) {
		size := listSizes[i]
		u, err := usageOf(1+20_000/size, calls[i])
		n := float64(size)
		return []float64{u.nanoseconds / n, u.bytes / n, u.allocations / n}, err
	})
}
