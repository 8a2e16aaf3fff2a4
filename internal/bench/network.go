package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	success   = `{"success":true}`
	memoryURL = "https://api.z-api.io" // never dialled
)

// memory is a transport without a network. It answers a GET with list and everything else with success.
type memory struct{ list string }

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	body := success
	if req.Method == http.MethodGet {
		body = m.list
	}
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}, nil
}

// recorder is a memory that keeps the last request.
type recorder struct {
	request *http.Request
	body    []byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.request, r.body = req.Clone(context.Background()), body
	req.Body = io.NopCloser(bytes.NewReader(body))
	return memory{}.RoundTrip(req)
}

// server answers every request with success, on loopback.
type server struct {
	url    string
	opened atomic.Int64 // connections
	http   http.Server
	gate   *gate // nil lets each request through at once
}

// startServer listens on loopback. With a gateSize, so many requests are answered together.
func startServer(gateSize int) (*server, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String()}
	if gateSize > 0 {
		s.gate = &gate{size: gateSize, opened: make(chan struct{})}
	}
	s.http.Handler = http.HandlerFunc(s.serve)
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.opened.Add(1)
		}
	}
	go func() { _ = s.http.Serve(listener) }() // ends with close
	return s, nil
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a client that went away gets no answer either
	if s.gate != nil {
		s.gate.wait()
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, success)
}

// close also closes the connections, and with them the clients' pools.
func (s *server) close() { _ = s.http.Close() }

// gate opens when size requests wait at it, so that a burst needs all its connections at once on any machine.
type gate struct {
	size int

	mu      sync.Mutex
	waiting int
	opened  chan struct{}
}

func (g *gate) wait() {
	g.mu.Lock()
	opened := g.opened
	if g.waiting++; g.waiting == g.size {
		close(opened)
		g.waiting, g.opened = 0, make(chan struct{})
	}
	g.mu.Unlock()
	select {
	case <-opened:
	case <-time.After(timeout): // a call of the burst failed
	}
}
