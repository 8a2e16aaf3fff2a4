package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The streams and buckets. The documentation of the module lists what they hold.
const (
	ordersStream  = "FLEET_ORDERS"
	ordersSubject = "fleet.orders." // followed by <account>.<instance>
	statusBucket  = "fleet_status"
	policyBucket  = "fleet_policies"
	rolloutBucket = "fleet_rollouts"
	accountBucket = "fleet_accounts"
	paceBucket    = "fleet_pace"

	requestTimeout = 5 * time.Second // of one request to the engine
	writesInFlight = 1000            // where many entries are written
)

// An Engine is where orders and statuses are kept: [Embedded] or [URL].
type Engine interface {
	connect(ctx context.Context, s settings) (*connection, error)
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

func (r remote) connect(ctx context.Context, s settings) (*connection, error) {
	servers, err := r.servers()
	if err != nil {
		return nil, err
	}
	secure, err := r.isSecure(servers)
	if err != nil {
		return nil, err
	}
	if !secure && !s.insecure {
		// A server on loopback may announce others that are not.
		s.nats = append(s.nats, nats.IgnoreDiscoveredServers())
		if slices.ContainsFunc(servers, func(server *url.URL) bool { return !isLoopback(server.Hostname()) }) {
			return nil, ErrInsecureURL
		}
	}
	if s.replicas == 0 {
		s.replicas = 3
	}
	s.nats = append(s.nats, r.opts...)
	return dial(ctx, r.url, s)
}

// servers parses the URLs. Its error does not quote them, as they may hold a password.
func (r remote) servers() (servers []*url.URL, err error) {
	for text := range strings.SplitSeq(r.url, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		server, err := url.Parse(text)
		if err != nil || server.Hostname() == "" {
			return nil, invalid("URL", "url", "must be one or more URLs such as tls://nats.example.com:4222, separated by commas")
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// isSecure reports whether every connection will use TLS.
func (r remote) isSecure(servers []*url.URL) (bool, error) {
	options := nats.GetDefaultOptions()
	for _, opt := range r.opts {
		if opt == nil {
			return false, invalid("URL", "opts", "must not hold nil")
		}
		if err := opt(&options); err != nil {
			return false, fmt.Errorf("%w: %w", ErrEngine, err)
		}
	}
	isPlain := func(server *url.URL) bool { return server.Scheme != "tls" && server.Scheme != "wss" }
	return options.Secure || options.TLSHandshakeFirst || !slices.ContainsFunc(servers, isPlain), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// connection is what the two engines have in common.
type connection struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	orders   jetstream.Stream
	replicas int
	address  string       // that the embedded server listens on; empty for none
	stop     func() error // ends the embedded server, if there is one
	sync     func() error // flushes its files

	mu      sync.Mutex
	buckets map[string]jetstream.KeyValue
}

func dial(ctx context.Context, url string, s settings) (*connection, error) {
	options := append([]nats.Option{
		nats.Name("fleet"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // the default writes to standard error
			s.log.Warn("connection to the engine", "error", err)
		}),
	}, s.nats...)
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(min(5*time.Second, max(time.Until(deadline), time.Millisecond))))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil, engineError(ctx, "connecting", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		nc.Close()
		return nil, engineError(ctx, "connecting", err)
	}
	nothing := func() error { return nil }
	return &connection{nc: nc, js: js, replicas: s.replicas, stop: nothing, sync: nothing, buckets: make(map[string]jetstream.KeyValue)}, nil
}

// close closes the connection and stops the embedded server. It may be called again.
func (c *connection) close() error {
	c.nc.Close()
	return c.stop()
}

// provision creates what is missing. The stream of orders comes last, so where it is, everything is; a user who may not
// create anything, or not read everything, gets by.
func (c *connection) provision(ctx context.Context) error {
	for {
		err := c.tryProvision(ctx)
		if err == nil {
			return nil
		}
		var api *jetstream.APIError
		starting := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.As(err, &api) && api.Code == 503
		if !starting || ctx.Err() != nil {
			return fmt.Errorf("%w: opening the streams (is JetStream on, may this user use it, are there %d servers?): %w", ErrEngine, c.replicas, err)
		}
		pause(ctx, 250*time.Millisecond)
	}
}

func (c *connection) tryProvision(ctx context.Context) (err error) {
	attempt, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if c.orders, err = c.js.Stream(attempt, ordersStream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	for _, bucket := range []string{statusBucket, policyBucket, rolloutBucket, accountBucket, paceBucket} {
		if _, err := c.js.CreateOrUpdateKeyValue(attempt, jetstream.KeyValueConfig{
			Bucket: bucket, History: 1, Storage: jetstream.FileStorage, Replicas: c.replicas,
		}); err != nil {
			return err
		}
	}
	c.orders, err = c.js.CreateOrUpdateStream(attempt, jetstream.StreamConfig{
		Name: ordersStream, Subjects: []string{ordersSubject + "*.*"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxMsgsPerSubject: 1,
		Storage: jetstream.FileStorage, AllowDirect: true, Duplicates: 10 * time.Second, Replicas: c.replicas,
	})
	return err
}

// bucket binds a bucket when it is first used, so that a user needs no rights to the others.
func (c *connection) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kv, ok := c.buckets[name]; ok {
		return kv, nil
	}
	kv, err := c.js.KeyValue(ctx, name)
	if err != nil {
		return nil, engineError(ctx, "opening "+name, err)
	}
	c.buckets[name] = kv
	return kv, nil
}

// get reads an entry; the revision of one that is missing is 0.
func (c *connection) get(ctx context.Context, bucket, key string) (value []byte, revision uint64, err error) {
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return nil, 0, err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, engineError(ctx, "reading "+bucket, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// put writes an entry if it still has the revision; see [isConflict]. Revision 0 is an entry that is missing or was deleted.
func (c *connection) put(ctx context.Context, bucket, key string, value []byte, revision uint64) (uint64, error) {
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		revision, err = kv.Create(ctx, key, value)
	} else {
		revision, err = kv.Update(ctx, key, value, revision)
	}
	return revision, engineError(ctx, "writing "+bucket, err)
}

// set writes an entry, whatever its revision.
func (c *connection) set(ctx context.Context, bucket, key string, value []byte) error {
	kv, err := c.bucket(ctx, bucket)
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, key, value)
	return engineError(ctx, "writing "+bucket, err)
}

// publish writes a message if the last one of its subject still has the sequence last; see [isConflict].
func (c *connection) publish(ctx context.Context, subject string, data []byte, last uint64) error {
	_, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectLastSequencePerSubject(last))
	return engineError(ctx, "writing "+ordersStream, err)
}

// createConsumer creates the queue of an account, which all workers share.
func (c *connection) createConsumer(ctx context.Context, account string, ackWait time.Duration) (jetstream.Consumer, error) {
	consumer, err := c.orders.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: consumerOf(account), FilterSubject: ordersSubject + account + ".*",
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		MaxDeliver: -1, MaxAckPending: 10_000, MaxWaiting: 2048,
	})
	return consumer, engineError(ctx, "creating the consumer of "+account, err)
}

func consumerOf(account string) string { return "apply-" + account }

// message is one entry of a stream.
type message struct {
	key  string // <account>.<instance>, or the key of a bucket; see read
	seq  uint64
	at   time.Time
	data []byte
}

// read returns what a stream or bucket holds, oldest first. With follow it then returns one message without a key, and goes
// on with what is written from then on.
func (c *connection) read(ctx context.Context, name string, follow bool) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		if err := c.readInto(ctx, name, follow, func(m message) bool { return yield(m, nil) }); err != nil {
			yield(message{}, engineError(ctx, "reading "+name, err))
		}
	}
}

func (c *connection) readInto(ctx context.Context, name string, follow bool, yield func(message) bool) error {
	prefix, streamName := ordersSubject, name
	if name != ordersStream {
		prefix, streamName = "$KV."+name+".", "KV_"+name
	}
	// The leader knows the last sequence, where what a consumer says is pending may lag behind.
	attempt, cancel := context.WithTimeout(ctx, requestTimeout)
	stream, err := c.js.Stream(attempt, streamName)
	cancel()
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	current := false
	goOn := func() bool { // once all that was there has been read
		current = true
		return follow && yield(message{})
	}
	if state.Msgs == 0 && !goOn() {
		return nil
	}
	// Without MaxResetAttempts it waits for ever for an engine that is away.
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{InactiveThreshold: 30 * time.Second, MaxResetAttempts: 2})
	if err != nil {
		return err
	}
	// A pull request may be lost while a consumer is new or changes its leader: heartbeats tell.
	messages, err := consumer.Messages(jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(2 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			attempt, cancel := context.WithTimeout(ctx, requestTimeout) // Info has none of its own
			info, err := consumer.Info(attempt)
			cancel()
			if err != nil {
				return err
			}
			if !current && info.NumPending == 0 && !goOn() { // the last message was deleted by hand, and will never come
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if !yield(message{strings.TrimPrefix(m.Subject(), prefix), meta.Sequence.Stream, meta.Timestamp, m.Data()}) {
			return nil
		}
		if !current && meta.Sequence.Stream >= state.LastSeq && !goOn() {
			return nil
		}
	}
}
