package zapitest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// A pipeListener accepts connections in memory. The clock of a testing/synctest bubble moves on when all its goroutines
// wait for each other. Those at the ends of a pipe do; one that reads from a socket waits for the world outside.
type pipeListener struct {
	accepted chan net.Conn // unbuffered, so that none is left behind when the listener closes
	closed   chan struct{}
	once     sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

// DialContext returns the client's end of a new pipe. Any address but that of the listener comes from a base URL that the
// user of a client has set, and is dialed.
func (l *pipeListener) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != l.Addr().String() {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	client, server := net.Pipe()
	select {
	case l.accepted <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, errors.New("zapitest: the server is closed")
	}
}

// Accept returns the server's end of the next pipe.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept and DialContext fail. Pipes that are open stay so.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a loopback address, as zapi needs no TLS for it, with a port on which no program listens, should a client
// with another transport dial it.
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
