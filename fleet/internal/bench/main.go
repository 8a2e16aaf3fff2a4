// Bench measures fleet against a plain loop over Client.Apply with as many calls in flight, in one run, and prints a table.
//
//	go run ./internal/bench
//
// The API is faked in this process and answers after a fixed time. Quote the ratios, not the times.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

var policy = zapi.Policy{Online: zapi.OnlineSameAsLastSeen}

func main() {
	log.SetFlags(0)
	latency := flag.Duration("latency", 50*time.Millisecond, "in which the API answers")
	seconds := flag.Float64("seconds", 5, "that the plain loop takes for each row")
	orders := flag.Int("orders", 100_000, "instances for the time of ordering")
	flag.Parse()
	fmt.Printf("%s/%s, %d CPUs, %s; the API answers in %v\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), *latency)
	fmt.Println("| | calls in flight | plain loop | fleet | ratio |")
	fmt.Println("|---|---|---|---|---|")
	for _, row := range []struct {
		name           string
		workers, calls int
		cluster        bool
	}{
		{"embedded, 1 worker", 1, 64, false},
		{"embedded, 2 workers", 2, 64, false},
		{"embedded, 4 workers", 4, 64, false},
		{"3 nodes, 3 replicas, 2 workers", 2, 32, true},
		{"3 nodes, 3 replicas, 2 workers", 2, 64, true},
	} {
		inFlight := row.workers * row.calls
		n := int(*seconds * float64(inFlight) / latency.Seconds())
		plain := must(plainLoop(n, inFlight, *latency))
		rolled := must(rollOut(n, row.workers, row.calls, *latency, row.cluster))
		fmt.Printf("| %s | %d | %.0f/s | %.0f/s | %.2f |\n", row.name, inFlight, plain, rolled, rolled/plain)
	}
	fmt.Println()
	must(0, store(*orders))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// network answers every request after a fixed time.
type network time.Duration

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	timer := time.NewTimer(time.Duration(n))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: 16,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"success":true}`)),
	}, nil
}

func credentials(id string) zapi.Credentials {
	return zapi.Credentials{InstanceID: id, Token: "T0123456789", ClientToken: "F0123456789"}
}

type resolver struct{}

func (resolver) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	return credentials(t.Instance), nil
}

func targets(n int) iter.Seq[fleet.Target] {
	return func(yield func(fleet.Target) bool) {
		for i := range n {
			if !yield(fleet.Target{Account: "acme", Instance: fmt.Sprintf("I%08d", i)}) {
				return
			}
		}
	}
}

// plainLoop returns the instances per second of an errgroup over Apply.
func plainLoop(n, inFlight int, latency time.Duration) (float64, error) {
	api, err := zapi.NewAPI(zapi.WithTransport(network(latency)), zapi.WithRetry(zapi.RetryPolicy{}))
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(inFlight)
	begun := time.Now()
	for target := range targets(n) {
		group.Go(func() error {
			client, err := api.Instance(credentials(target.Instance))
			if err != nil {
				return err
			}
			return client.Apply(ctx, policy)
		})
	}
	err = group.Wait()
	return float64(n) / time.Since(begun).Seconds(), err
}

// rollOut returns the instances per second of a rollout from the start of the workers to the last outcome.
func rollOut(n, workers, calls int, latency time.Duration, clustered bool) (_ float64, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "fleet-bench")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	engine := fleet.Embedded(dir)
	if clustered {
		url, end, err := cluster(dir)
		if err != nil {
			return 0, err
		}
		defer end()
		engine = fleet.URL(url)
	}
	f, err := fleet.Open(ctx, engine)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := fullSpeed(ctx, f); err != nil {
		return 0, err
	}
	if _, err := f.Start(ctx, fleet.Rollout{Name: "r", Policy: policy, Targets: targets(n)}); err != nil {
		return 0, err
	}
	begun := time.Now()
	group := work(ctx, f, workers, calls, latency)
	if err := finish(ctx, f, "r", n); err != nil {
		return 0, err
	}
	last, err := lastOutcome(ctx, f) // Watch looks twice a second: the outcomes know better
	if err != nil {
		return 0, err
	}
	stop()
	return float64(n) / last.Sub(begun).Seconds(), group.Wait()
}

func fullSpeed(ctx context.Context, f *fleet.Fleet) error {
	return f.SetPace(ctx, "acme", fleet.Pace{PerSecond: 1_000_000, Burst: 1000})
}

// work starts workers, which end with ctx.
func work(ctx context.Context, f *fleet.Fleet, workers, calls int, latency time.Duration) *errgroup.Group {
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			return f.Work(ctx, resolver{}, fleet.WithCalls(calls, calls), fleet.WithClient(zapi.WithTransport(network(latency))))
		})
	}
	return &group
}

// finish waits until all n instances of a rollout are applied.
func finish(ctx context.Context, f *fleet.Fleet, name string, n int) error {
	for p, err := range f.Watch(ctx, name) {
		if err != nil {
			return err
		}
		if p.Done() && p.Applied != n {
			return fmt.Errorf("%d of %d were applied", p.Applied, n)
		}
	}
	return nil
}

func lastOutcome(ctx context.Context, f *fleet.Fleet) (last time.Time, err error) {
	for s, err := range f.Statuses(ctx, fleet.Filter{}) {
		if err != nil {
			return last, err
		}
		if s.At.After(last) {
			last = s.At
		}
	}
	return last, nil
}

// cluster starts three nodes in this process.
func cluster(dir string) (url string, end func(), err error) {
	ports := [3]int{}
	var routes []string
	for i := range ports {
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		ports[i] = listener.Addr().(*net.TCPAddr).Port
		routes = append(routes, "nats://"+listener.Addr().String())
		if err := listener.Close(); err != nil {
			return "", nil, err
		}
	}
	var nodes []*server.Server
	var urls []string
	for i, port := range ports {
		name := fmt.Sprint("n", i)
		node, err := server.NewServer(&server.Options{
			ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(dir, name),
			Cluster: server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: port},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")), NoSigs: true, NoLog: true,
		})
		if err != nil {
			return "", nil, err
		}
		node.Start()
		nodes = append(nodes, node)
		urls = append(urls, node.ClientURL())
	}
	for !slices.ContainsFunc(nodes, func(n *server.Server) bool { return n.JetStreamIsLeader() && len(n.JetStreamClusterPeers()) == 3 }) {
		time.Sleep(10 * time.Millisecond)
	}
	return strings.Join(urls, ","), func() {
		for _, node := range nodes {
			node.Shutdown()
		}
		for _, node := range nodes {
			node.WaitForShutdown()
		}
	}, nil
}

// store measures how long n instances take at the engine, and what it keeps for each of them.
func store(n int) (err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "fleet-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := fleet.Open(ctx, fleet.Embedded(dir))
	if err != nil {
		return err
	}
	before := heap()
	fmt.Println("| | seconds |")
	fmt.Println("|---|---|")
	order := func(name string) func() error {
		return func() error {
			_, err := f.Start(ctx, fleet.Rollout{Name: name, Policy: policy, Targets: targets(n)})
			return err
		}
	}
	if err := timed("%d orders, the first", n, order("first")); err != nil {
		return err
	}
	if err := fullSpeed(ctx, f); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	workers := work(working, f, 1, 256, 0)
	err = timed("%d applied, the API answers at once", n, func() error { return finish(ctx, f, "first", n) })
	stop()
	if err := errors.Join(err, workers.Wait()); err != nil {
		return err
	}
	if err := timed("%d statuses read", n, func() error {
		_, err := lastOutcome(ctx, f)
		return err
	}); err != nil {
		return err
	}
	cached := heap() - before
	time.Sleep(20 * time.Second) // the server keeps what was read and written last in memory for ten
	memory := heap() - before
	if err := f.Close(); err != nil {
		return err
	}
	disk, err := size(dir)
	if err != nil {
		return err
	}
	if err := timed("opening the store of %d again", n, func() error {
		f, err = fleet.Open(ctx, fleet.Embedded(dir))
		return err
	}); err != nil {
		return err
	}
	if err := timed("%d orders, over those of another rollout", n, order("second")); err != nil {
		return err
	}
	if err := timed("%d orders, resumed", n, order("second")); err != nil {
		return err
	}
	each := func(bytes uint64) float64 { return float64(bytes) / float64(n) / 1000 }
	fmt.Printf("\nper instance: %.2f kB of memory (%.2f while what was read last is cached), %.2f kB on disk\n", each(memory), each(cached), each(disk))
	return f.Close()
}

// timed prints how long something takes for n instances.
func timed(what string, n int, do func() error) error {
	begun := time.Now()
	err := do()
	fmt.Printf("| "+what+" | %.1f |\n", n, time.Since(begun).Seconds())
	return err
}

func size(dir string) (bytes uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += uint64(info.Size())
		}
		return err
	})
	return bytes, err
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}
