package main

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func BenchmarkMemory(b *testing.B) {
	benchmarkVariants(b, memoryURL, memory{})
}

func BenchmarkLoopback(b *testing.B) {
	s, err := startServer(0)
	require.NoError(b, err)
	b.Cleanup(s.close)
	benchmarkVariants(b, s.url, nil)
}

func benchmarkVariants(b *testing.B, baseURL string, transport http.RoundTripper) {
	for _, v := range variants {
		b.Run(v.name, func(b *testing.B) {
			send, err := v.build(baseURL, transport)
			require.NoError(b, err)
			benchmark(b, send)
		})
	}
}

func benchmark(b *testing.B, send call) {
	require.NoError(b, send(b.Context())) // opens the connection
	b.ReportAllocs()
	for b.Loop() {
		if err := send(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplaceBlacklist(b *testing.B) {
	for _, size := range listSizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			replace, err := newReplacement(size)
			require.NoError(b, err)
			benchmark(b, replace)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size), "ns/contact")
		})
	}
}

func BenchmarkForInstance(b *testing.B) {
	parent, err := newClient(memoryURL, memory{})
	require.NoError(b, err)
	b.ReportAllocs()
	var client *zapi.Client
	for b.Loop() {
		if client, err = parent.ForInstance(creds); err != nil {
			b.Fatal(err)
		}
	}
	require.NotNil(b, client)
}
