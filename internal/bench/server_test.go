package bench

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	success   = `{"success":true}`
	memoryURL = "https://api.z-api.io" // never dialed
)

// TestMain makes http.DefaultTransport trust the servers of httptest, because the pool of each variant is a clone of it.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(nil)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	server.Close()
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	if protoMajor, err := strconv.Atoi(os.Getenv(serveEnv)); err == nil {
		serve(protoMajor)
		return
	}
	os.Exit(m.Run())
}

var ownProcess = flag.Bool("bench.server", false, "benchmark against a server in a process of its own")

const serveEnv = "ZAPI_BENCH_SERVE" // the version of HTTP that this process is to serve

// serve runs a server until standard input ends.
func serve(protoMajor int) {
	s := newServer(protoMajor)
	defer s.Close()
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// serverURL starts a server for a benchmark, and returns its URL.
func serverURL(b *testing.B, protoMajor int) string {
	if !*ownProcess {
		return startServer(b, protoMajor).URL
	}
	process := exec.Command(os.Args[0]) //nolint:noctx // closing its standard input ends it
	process.Env = append(os.Environ(), fmt.Sprintf("%s=%d", serveEnv, protoMajor))
	input, err := process.StdinPipe()
	require.NoError(b, err)
	output, err := process.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, process.Start())
	b.Cleanup(func() {
		_ = input.Close()
		_ = process.Wait()
	})
	url, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(b, err)
	return strings.TrimSpace(url)
}

// memory is a transport without a network. It answers a GET with list and everything else with success.
type memory struct{ list string }

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	body := m.list
	if req.Method != http.MethodGet {
		body = success
		_, _ = io.Copy(io.Discard, req.Body) // from memory too
		_ = req.Body.Close()
	}
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}, nil
}

// A server answers every request with success, on loopback.
type server struct {
	*httptest.Server
	connections atomic.Int64                   // opened so far
	burst       atomic.Pointer[sync.WaitGroup] // if set, no request is answered before all of the burst have arrived
}

func startServer(tb testing.TB, protoMajor int) *server {
	s := newServer(protoMajor)
	tb.Cleanup(s.Close)
	return s
}

// newServer starts a server that refuses any other major version of HTTP. Version 2 is spoken over TLS.
func newServer(protoMajor int) *server {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != protoMajor {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // the variants check the response
		if burst := s.burst.Load(); burst != nil {
			burst.Done()
			burst.Wait()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, success)
	}))
	s.EnableHTTP2 = protoMajor == 2
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	if s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	return s
}

// inParallel makes that many calls, at most parallel at a time, and returns how long each took.
func inParallel(tb testing.TB, calls, parallel int, send call) []time.Duration {
	latencies := make([]time.Duration, calls)
	var next atomic.Int64
	var group sync.WaitGroup
	for range parallel {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(calls); i = next.Add(1) - 1 {
				begin := time.Now()
				if err := send(tb.Context()); err != nil {
					tb.Error(err)
					return
				}
				latencies[i] = time.Since(begin)
			}
		})
	}
	group.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	return latencies
}
