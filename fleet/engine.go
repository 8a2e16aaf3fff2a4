package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// An Engine is where orders and statuses are kept: [Embedded] or [URL].
type Engine interface {
	open(ctx context.Context, s settings) (store.Store, error)
}

// config returns what the two engines have in common.
func (s settings) config(replicas int, opts ...nats.Option) store.Config {
	c := store.Config{Replicas: replicas, AckWait: s.timing.ackWait, Fetch: s.timing.fetch, Log: s.log, Options: opts}
	if s.replicas > 0 {
		c.Replicas, c.Raise = s.replicas, true
	}
	return c
}

// URL connects to a NATS server or cluster, version 2.11 or later with JetStream. Several URLs are separated by commas.
// TLS is required beyond loopback: write tls://, or pass an option such as [nats.RootCAs]. Credentials are options, too:
// [nats.UserCredentials], [nats.Nkey], [nats.Token].
func URL(url string, opts ...nats.Option) Engine {
	return remote{url, opts}
}

type remote struct {
	url  string
	opts []nats.Option
}

// open does not quote the URLs in an error, as they may hold a password.
func (r remote) open(ctx context.Context, s settings) (store.Store, error) {
	isPlain, isFar := false, false
	for text := range strings.SplitSeq(r.url, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		server, err := url.Parse(text)
		if err != nil || server.Hostname() == "" {
			return nil, invalid("URL", "url", "must be one or more URLs such as tls://nats.example.com:4222, separated by commas")
		}
		isPlain = isPlain || server.Scheme != "tls" && server.Scheme != "wss"
		isFar = isFar || !isLoopback(server.Hostname())
	}
	options := nats.GetDefaultOptions()
	for _, opt := range r.opts {
		if opt == nil {
			return nil, invalid("URL", "opts", "must not hold nil")
		}
		if err := opt(&options); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEngine, err)
		}
	}
	opts := r.opts
	if isPlain && !options.Secure && !options.TLSHandshakeFirst && !s.insecure {
		if isFar {
			return nil, ErrInsecureURL
		}
		// A server on loopback may announce others that are not.
		opts = append([]nats.Option{nats.IgnoreDiscoveredServers()}, opts...)
	}
	opened, err := store.Dial(ctx, r.url, s.config(3, opts...))
	if err != nil {
		return nil, engineError(ctx, "opening", err)
	}
	return opened, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Embedded runs the engine in this process. It keeps its files in dir, which it creates, and opens no port. Only one
// process at a time can open a folder: another one gets [ErrStoreInUse].
func Embedded(dir string, opts ...EmbeddedOption) Engine {
	return embedded{dir, opts}
}

// An EmbeddedOption changes a default of [Embedded].
type EmbeddedOption func(*store.Server) error

// WithListen accepts connections of other processes on this machine, which use [URL] with [nats.Token]. The address is a
// loopback address with a port, such as 127.0.0.1:4222; port 0 takes any free one. The token must not be empty.
func WithListen(hostPort, token string) EmbeddedOption {
	return func(s *store.Server) error {
		host, port, err := net.SplitHostPort(hostPort)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil || !isLoopback(host) {
			return invalid("Embedded", "WithListen", "must be a loopback address with a port, such as 127.0.0.1:4222")
		}
		if token == "" {
			return invalid("Embedded", "WithListen", "needs a token")
		}
		s.Host, s.Port, s.Token = host, int(number), token
		return nil
	}
}

// WithEncryptionKey encrypts the files of the store with ChaCha20-Poly1305. A store is opened with the key it was created
// with. The key must have at least 32 bytes.
func WithEncryptionKey(key string) EmbeddedOption {
	return func(s *store.Server) error {
		if len(key) < 32 {
			return invalid("Embedded", "WithEncryptionKey", "must have at least 32 bytes")
		}
		s.Key = key
		return nil
	}
}

type embedded struct {
	dir  string
	opts []EmbeddedOption
}

func (e embedded) open(ctx context.Context, s settings) (store.Store, error) {
	if e.dir == "" {
		return nil, invalid("Embedded", "dir", "must not be empty")
	}
	var server store.Server
	if err := configure("Embedded", &server, e.opts); err != nil {
		return nil, err
	}
	opened, err := store.Serve(ctx, e.dir, server, s.config(1))
	switch {
	case errors.Is(err, store.ErrInUse):
		return nil, ErrStoreInUse
	case err != nil:
		return nil, engineError(ctx, "opening", err)
	}
	return opened, nil
}
