package zapitest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// Benchmark compares the pipes of Client with the socket of URL.
func Benchmark(b *testing.B) {
	ways := []struct {
		name   string
		client func(server *zapitest.Server) (*zapi.Client, error)
	}{
		{"pipes", func(server *zapitest.Server) (*zapi.Client, error) { return server.Client() }},
		{"socket", func(server *zapitest.Server) (*zapi.Client, error) {
			return zapi.NewClient(server.Credentials(), zapi.WithBaseURL(server.URL()))
		}},
	}
	call := func(b *testing.B, c *zapi.Client) {
		b.Helper()
		if err := c.SetPhotoVisibility(b.Context(), zapi.VisibilityNone); err != nil {
			b.Error(err)
		}
	}
	for _, way := range ways {
		b.Run("start, one call and close/"+way.name, func(b *testing.B) {
			for b.Loop() {
				server := zapitest.NewServer()
				c, err := way.client(server)
				require.NoError(b, err)
				call(b, c)
				server.Close()
			}
		})
		b.Run("call/"+way.name, func(b *testing.B) {
			server := zapitest.NewServer()
			defer server.Close()
			c, err := way.client(server)
			require.NoError(b, err)
			for b.Loop() {
				call(b, c)
			}
		})
		b.Run("calls in parallel/"+way.name, func(b *testing.B) {
			server := zapitest.NewServer()
			defer server.Close()
			c, err := way.client(server)
			require.NoError(b, err)
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(b, c)
				}
			})
		})
	}
}
