package zapitest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everywhere runs a test outside and inside a bubble, which panics if all its goroutines wait for each other, or if one
// does not end with the test.
func Everywhere(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("outside a bubble", func(t *testing.T) {
		t.Parallel()
		test(t)
	})
	t.Run("in a bubble", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	})
}

// TestPipesNeverBlock sends bodies that no pipe can hold to servers that do not read them to the end.
func TestPipesNeverBlock(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("x"), 8<<20)
	sendLarge := func() io.Reader { return bytes.NewReader(large) }
	tests := []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request, giveUp func()) // giveUp ends the client's context
		body  func() io.Reader
		want  string // body of the response; empty if there is none
	}{
		{"reads all", func(w http.ResponseWriter, r *http.Request, _ func()) {
			n, err := io.Copy(io.Discard, r.Body)
			assert.NoError(t, err)
			assert.Len(t, large, int(n))
			_, _ = io.WriteString(w, "all")
		}, sendLarge, "all"},
		{"answers without reading", func(w http.ResponseWriter, _ *http.Request, _ func()) {
			_, _ = io.WriteString(w, "nothing")
		}, sendLarge, "nothing"},
		{"answers after half of the body", func(w http.ResponseWriter, r *http.Request, _ func()) {
			_, err := io.CopyN(io.Discard, r.Body, 4<<20)
			assert.NoError(t, err)
			_, _ = io.WriteString(w, "half")
		}, sendLarge, "half"},
		{"answers at length while the client still sends", func(w http.ResponseWriter, r *http.Request, _ func()) {
			assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			_, _ = io.Copy(w, r.Body)
		}, sendLarge, string(large)},
		{"drops the connection without reading", func(http.ResponseWriter, *http.Request, func()) {
			panic(http.ErrAbortHandler)
		}, sendLarge, ""},
		{"drops the connection after half of the body", func(_ http.ResponseWriter, r *http.Request, _ func()) {
			_, err := io.CopyN(io.Discard, r.Body, 4<<20)
			assert.NoError(t, err)
			panic(http.ErrAbortHandler)
		}, sendLarge, ""},
		{"drops the connection in its answer", func(w http.ResponseWriter, _ *http.Request, _ func()) {
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "x")
			panic(http.ErrAbortHandler)
		}, func() io.Reader { return http.NoBody }, ""},
		{"waits until the client gives up", func(_ http.ResponseWriter, r *http.Request, giveUp func()) {
			_, err := io.Copy(io.Discard, r.Body)
			assert.NoError(t, err)
			giveUp()
			<-r.Context().Done()
		}, sendLarge, ""},
		{"is left while it does not read", func(_ http.ResponseWriter, r *http.Request, giveUp func()) {
			_, err := io.CopyN(io.Discard, r.Body, 1)
			assert.NoError(t, err)
			giveUp()
			_, err = io.Copy(io.Discard, r.Body)
			assert.Error(t, err)
		}, sendLarge, ""},
		{"is left in the middle of the body", func(_ http.ResponseWriter, r *http.Request, _ func()) {
			_, err := io.Copy(io.Discard, r.Body)
			assert.Error(t, err)
		}, func() io.Reader { return io.MultiReader(sendLarge(), breakOff{}) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			Everywhere(t, func(t *testing.T) {
				ctx, giveUp := context.WithCancel(t.Context())
				defer giveUp()
				pipes := newPipeListener()
				handler := func(w http.ResponseWriter, r *http.Request) { tt.serve(w, r, giveUp) }
				server := &httptest.Server{Listener: pipes, Config: &http.Server{Handler: http.HandlerFunc(handler)}}
				server.Start()
				defer server.Close()
				client := &http.Client{Transport: &http.Transport{DialContext: pipes.DialContext}}
				defer client.CloseIdleConnections()

				body, err := post(ctx, t, client, server.URL, tt.body())
				assert.Equal(t, tt.want == "", err != nil, err)
				if err == nil {
					assert.Equal(t, tt.want, body)
				}
			})
		})
	}
}

type breakOff struct{}

func (breakOff) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func post(ctx context.Context, t *testing.T, client *http.Client, url string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	require.NoError(t, err)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { assert.NoError(t, resp.Body.Close()) }()
	read, err := io.ReadAll(resp.Body)
	return string(read), err
}

func TestDialContext(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()

	t.Run("nobody accepts until the context ends", func(t *testing.T) {
		t.Parallel()
		pipes := newPipeListener()
		_, err := pipes.DialContext(ended, "tcp", pipes.Addr().String())
		require.ErrorIs(t, err, context.Canceled)
	})

	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		pipes := newPipeListener()
		require.NoError(t, pipes.Close())
		require.NoError(t, pipes.Close())
		_, err := pipes.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = pipes.DialContext(t.Context(), "tcp", pipes.Addr().String())
		require.EqualError(t, err, "zapitest: the server is closed")
	})

	t.Run("another address", func(t *testing.T) {
		t.Parallel()
		other := httptest.NewServer(http.NotFoundHandler())
		defer other.Close()
		conn, err := newPipeListener().DialContext(t.Context(), "tcp", other.Listener.Addr().String())
		require.NoError(t, err)
		assert.Equal(t, other.Listener.Addr().String(), conn.RemoteAddr().String())
		require.NoError(t, conn.Close())
	})
}

// TestDelayEndsWithTheRequest serves a request whose client has given up.
func TestDelayEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := NewServer()
		defer server.Close()
		server.FailNext(1, Answer{Delay: time.Hour})
		ctx, giveUp := context.WithCancel(t.Context())
		giveUp()
		began := time.Now()
		server.serve(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
		assert.Zero(t, time.Since(began))
		assert.Len(t, server.Requests(), 1)
	})
}
