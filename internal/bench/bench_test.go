package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// BenchmarkMemory measures a call without a network: what is left is the cost of the client.
func BenchmarkMemory(b *testing.B) {
	for _, v := range variants {
		b.Run("variant="+v.name, func(b *testing.B) {
			benchmark(b, v.build(memoryURL, memory{}))
		})
	}
}

// BenchmarkLoopback measures calls over HTTP/1.1, where each call in flight has a connection.
func BenchmarkLoopback(b *testing.B) { benchmarkNetwork(b, 1) }

// BenchmarkTLS measures calls over TLS and HTTP/2, where calls in flight share a connection.
func BenchmarkTLS(b *testing.B) { benchmarkNetwork(b, 2) }

func benchmarkNetwork(b *testing.B, protoMajor int) {
	for _, parallel := range []int{1, 64, 256} {
		for _, v := range variants {
			b.Run(fmt.Sprintf("parallel=%d/variant=%s", parallel, v.name), func(b *testing.B) {
				send := v.build(serverURL(b, protoMajor), nil)
				require.NoError(b, send(b.Context()))     // opens the connection that HTTP/2 shares
				inParallel(b, 4*parallel, parallel, send) // opens those of HTTP/1.1
				b.ResetTimer()
				latencies := inParallel(b, b.N, parallel, send)
				b.StopTimer()
				slices.Sort(latencies)
				b.ReportMetric(float64(latencies[len(latencies)*99/100].Nanoseconds()), "p99-ns")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}

// BenchmarkRatios divides the time of zapi by that of each other variant. In each round all variants make the same calls, in
// turn, so that a change in the load of the machine meets all of them. What is reported is the median of the rounds.
func BenchmarkRatios(b *testing.B) {
	for _, s := range []struct {
		name                        string
		protoMajor, calls, parallel int
	}{
		{"memory", 0, 1_000, 1},
		{"loopback/parallel=1", 1, 200, 1},
		{"loopback/parallel=64", 1, 2_000, 64},
		{"loopback/parallel=256", 1, 2_000, 256},
		{"TLS/parallel=1", 2, 200, 1},
		{"TLS/parallel=64", 2, 2_000, 64},
	} {
		b.Run(s.name, func(b *testing.B) {
			sends := make([]call, len(variants))
			for i, v := range variants {
				if s.protoMajor == 0 {
					sends[i] = v.build(memoryURL, memory{})
				} else {
					sends[i] = v.build(serverURL(b, s.protoMajor), nil)
				}
				inParallel(b, 4*s.parallel, s.parallel, sends[i]) // opens the connections
			}
			rounds := make([][]float64, len(variants)) // seconds
			for round := 0; b.Loop(); round++ {
				for i := range variants {
					i = (i + round) % len(variants) // nobody is always the first
					begin := time.Now()
					inParallel(b, s.calls, s.parallel, sends[i])
					rounds[i] = append(rounds[i], time.Since(begin).Seconds())
				}
			}
			zapi := rounds[len(variants)-1]
			for i, v := range variants[:len(variants)-1] {
				ratios := make([]float64, len(zapi))
				for round := range ratios {
					ratios[round] = zapi[round] / rounds[i][round]
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[len(ratios)/2], "zapi/"+v.name)
			}
		})
	}
}

func benchmark(b *testing.B, send call) {
	require.NoError(b, send(b.Context()))
	b.ReportAllocs()
	for b.Loop() {
		if err := send(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstance measures one more instance, ready for its first call: what a program pays per tenant.
func BenchmarkInstance(b *testing.B) {
	parent := newClient(memoryURL, memory{})
	b.Run("variant=zapi", func(b *testing.B) {
		benchmark(b, func(context.Context) error {
			_, err := parent.ForInstance(creds)
			return err
		})
	})
	b.Run("variant=resty", func(b *testing.B) {
		benchmark(b, func(context.Context) error {
			newRestyClient(memoryURL, memory{})
			return nil
		})
	})
}

// BenchmarkReplaceBlacklist measures lists of which half changes; the time per contact must not grow with the list.
func BenchmarkReplaceBlacklist(b *testing.B) {
	for _, contacts := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("contacts=%d/variant=zapi", contacts), func(b *testing.B) {
			benchmark(b, newReplacement(contacts))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(contacts), "ns/contact")
		})
	}
}

// newReplacement returns a call that replaces half of a list.
func newReplacement(contacts int) call {
	phones := make([]string, contacts+contacts/2)
	for i := range phones {
		phones[i] = fmt.Sprintf("5544%09d", i)
	}
	listed, want := phones[:contacts], phones[contacts/2:]
	client := newClient(memoryURL, memory{`{"disallowedContacts":["` + strings.Join(listed, `","`) + `"]}`})
	return func(ctx context.Context) error {
		diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistLastSeen, want)
		if err == nil && (len(diff.Added) != contacts/2 || len(diff.Removed) != contacts/2) {
			return errors.New("not half of the list was replaced")
		}
		return err
	}
}
