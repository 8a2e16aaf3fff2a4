package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVariantsSendTheSameBytes(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	sent := make(map[string]string)
	for _, v := range variants {
		received := make(chan string, 1)
		go func() { received <- receive(listener) }()
		send := v.build("http://"+listener.Addr().String(), nil)
		require.NoError(t, send(t.Context()), v.name)
		sent[v.name] = <-received
	}
	for _, want := range []string{
		"POST /instances/" + creds.InstanceID + "/token/" + creds.Token + "/privacy/last-seen HTTP/1.1\r\n",
		"\r\nClient-Token: " + creds.ClientToken + "\r\n",
		"\r\nContent-Length: 146\r\n",
		`{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554411111111"},{"action":"remove","phone":"554422222222"}]}`,
	} {
		assert.Contains(t, sent["zapi"], want)
	}
	for _, v := range variants {
		assert.Equal(t, sent["zapi"], sent[v.name], v.name)
	}
}

// receive answers one request with success and returns its bytes, or an error.
func receive(listener net.Listener) string {
	conn, err := listener.Accept()
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	var sent bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &sent)))
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	if err != nil {
		return err.Error()
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(success), success)
	return sent.String()
}

// The server refuses any other version.
func TestVariantsSpeakTheProtocol(t *testing.T) {
	for _, protoMajor := range []int{1, 2} {
		for _, v := range variants {
			t.Run(fmt.Sprintf("HTTP%d %s", protoMajor, v.name), func(t *testing.T) {
				send := v.build(startServer(t, protoMajor).URL, nil)
				require.NoError(t, send(t.Context()))
				inParallel(t, 160, 16, send)
			})
		}
	}
}

// All variants are tested, because a smaller pool of one would show in its times.
func TestBurstsKeepTheirConnections(t *testing.T) {
	const size = 256
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			s := startServer(t, 1)
			send := v.build(s.URL, nil)
			for burst, opened := range []int64{size, 0, 0} {
				var arrivals sync.WaitGroup
				arrivals.Add(size)
				s.burst.Store(&arrivals)
				before := s.connections.Load()
				inParallel(t, size, size, send)
				assert.Equal(t, opened, s.connections.Load()-before, "connections opened by burst %d", burst)
			}
		})
	}
}

// A list 32 times as long takes 32 times as long if the work is linear, and a thousand times if it is quadratic.
func TestReplaceBlacklistIsLinear(t *testing.T) {
	fastest := func(contacts int) time.Duration {
		replace := newReplacement(contacts)
		best := time.Hour
		for range 5 {
			begin := time.Now()
			require.NoError(t, replace(t.Context()))
			best = min(best, time.Since(begin))
		}
		return best
	}
	short, long := fastest(1_000), fastest(32_000)
	t.Logf("%v for 1,000 contacts, %v for 32,000", short, long)
	assert.Less(t, long, 5*32*short)
}
