package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// layout is how the tables are kept. All but the first and the last are buckets, so that the tools of NATS can read them.
// A message of a stream is an entry; its subject ends with the key.
var layout = [tables]struct{ stream, subject string }{
	Orders:   {"FLEET_ORDERS", "fleet.orders."},
	Statuses: {"KV_fleet_status", "$KV.fleet_status."},
	Policies: {"KV_fleet_policies", "$KV.fleet_policies."},
	Rollouts: {"KV_fleet_rollouts", "$KV.fleet_rollouts."},
	Accounts: {"KV_fleet_accounts", "$KV.fleet_accounts."},
	Paces:    {"KV_fleet_pace", "$KV.fleet_pace."},
	Targets:  {"KV_fleet_targets", "$KV.fleet_targets."},
	Audit:    {"FLEET_AUDIT", "fleet.audit."},
}

func (t Table) String() string { return layout[t].stream }

// openLimit bounds how long a cluster that is starting, or the embedded server, is waited for.
const openLimit = 15 * time.Second

// A Config is what [Dial] and [Serve] have in common.
type Config struct {
	Replicas int           // how many servers keep each entry of a table that is created
	Raise    bool          // to Replicas, where a table is kept by fewer
	AckWait  time.Duration // after which an order is handed out again
	Fetch    time.Duration // how long HandOut waits
	Log      *slog.Logger
	Options  []nats.Option
}

// JetStream is a [Store] in the streams of a NATS server or cluster.
type JetStream struct {
	config  Config
	nc      *nats.Conn
	js      jetstream.JetStream
	reads   nats.JetStreamManager // the older API: only there, a read chooses who answers it
	closed  chan struct{}
	address string
	stop    func() error // ends the embedded server, if there is one
	flush   func() error // writes its files to disk

	queues  sync.Map            // account to jetstream.Consumer
	looking *semaphore.Weighted // for tables that are missing, one at a time
	looked  time.Time           // when that was done last; guarded by looking
}

// Dial connects to the servers of url, and creates the tables that are missing.
//
// The connection is watched from both sides. A server that hangs keeps its connections open and silent: pings every
// five seconds, of which two may be missing, find that out in fifteen. A login that is refused may be refused only while a
// token is exchanged or a server starts, so it is tried again for ever.
func Dial(ctx context.Context, url string, c Config) (*JetStream, error) {
	nothing := func() error { return nil }
	s := &JetStream{config: c, closed: make(chan struct{}), stop: nothing, flush: nothing, looking: semaphore.NewWeighted(1)}
	options := append([]nats.Option{
		nats.Name("fleet"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // the default writes to standard error
			c.Log.Warn("connection to the engine", "error", err)
		}),
	}, c.Options...)
	options = append(options, nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }))
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	deadline, _ := ctx.Deadline()
	options = append(options, nats.Timeout(min(2*time.Second, max(time.Until(deadline), time.Millisecond))))
	var err error
	if s.nc, err = nats.Connect(url, options...); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if s.js, err = jetstream.New(s.nc); err == nil {
		s.reads, err = s.nc.JetStream()
	}
	if err == nil {
		err = s.provision(ctx)
	}
	if err != nil {
		s.nc.Close()
		return nil, err
	}
	return s, nil
}

// Conn returns the connection.
func (s *JetStream) Conn() *nats.Conn { return s.nc }

// Closed implements [Store].
func (s *JetStream) Closed() <-chan struct{} { return s.closed }

// Address is where other processes of this machine reach the server that [Serve] runs; empty for nowhere.
func (s *JetStream) Address() string { return s.address }

// Flush implements [Store].
func (s *JetStream) Flush() error { return s.flush() }

// MaxValue implements [Store].
func (s *JetStream) MaxValue() int64 {
	const headers = 1 << 10
	return s.nc.MaxPayload() - headers
}

// Close closes the connection and stops the embedded server. It may be called again.
func (s *JetStream) Close() error {
	s.nc.Close()
	return s.stop()
}

// Now implements [Store].
func (s *JetStream) Now(ctx context.Context) (time.Time, error) {
	stream, err := s.stream(ctx, Orders)
	if err != nil {
		return time.Time{}, err
	}
	return stream.CachedInfo().TimeStamp, nil
}

// LastSeq implements [Store].
func (s *JetStream) LastSeq(ctx context.Context, t Table) (uint64, error) {
	stream, err := s.stream(ctx, t)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// stream asks the leader of a table for its state.
func (s *JetStream) stream(ctx context.Context, t Table) (jetstream.Stream, error) {
	return ask(ctx, s, changes, func(ctx context.Context) (jetstream.Stream, error) { return s.js.Stream(ctx, layout[t].stream) })
}

// Get implements [Store]. Any replica may answer.
func (s *JetStream) Get(ctx context.Context, t Table, key string) (Entry, error) {
	return s.get(ctx, t, key, nats.DirectGet())
}

// Newest implements [Store]. The leader answers, which knows all that it has acknowledged. Only one that was cut off from the
// others and has not noticed yet may be behind.
func (s *JetStream) Newest(ctx context.Context, t Table, key string) (Entry, error) {
	return s.get(ctx, t, key)
}

func (s *JetStream) get(ctx context.Context, t Table, key string, opts ...nats.JSOpt) (Entry, error) {
	m, err := ask(ctx, s, entries, func(ctx context.Context) (*nats.RawStreamMsg, error) {
		return s.reads.GetLastMsg(layout[t].stream, layout[t].subject+key, append(opts, nats.Context(ctx))...)
	})
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return Entry{Key: key}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("reading %v: %w", t, err)
	}
	return Entry{key, m.Sequence, m.Time, valueOf(m.Header, m.Data)}, nil
}

// valueOf returns the value of a message. A tool that deletes an entry of a bucket writes a message that says so.
func valueOf(header nats.Header, data []byte) []byte {
	if header.Get(jetstream.MarkerReasonHeader) != "" || header.Get("KV-Operation") != "" {
		return nil
	}
	return data
}

// Put implements [Store]. A write to a leader that hangs is lost without a word until another one is elected, which takes four
// to nine seconds, so it is repeated. The first may have come through although its acknowledgement did not: then the
// repetition is refused, and the entry that is there is the very one.
func (s *JetStream) Put(ctx context.Context, t Table, key string, value []byte, seq uint64) (uint64, error) {
	written, repeated, err := s.write(ctx, t, key, value, jetstream.WithExpectLastSequencePerSubject(seq))
	if repeated && errors.Is(err, ErrConflict) {
		found, readErr := s.Newest(ctx, t, key)
		if readErr == nil && found.Seq > seq && bytes.Equal(found.Value, value) {
			return found.Seq, nil
		}
	}
	return written, err
}

// Set implements [Store].
func (s *JetStream) Set(ctx context.Context, t Table, key string, value []byte) error {
	_, _, err := s.write(ctx, t, key, value)
	return err
}

func (s *JetStream) write(
	ctx context.Context, t Table, key string, value []byte, opts ...jetstream.PublishOpt,
) (seq uint64, repeated bool, err error) {
	var sent atomic.Int32
	opts = append(opts, jetstream.WithRetryAttempts(0)) // ask tries again
	ack, err := ask(ctx, s, changes, func(ctx context.Context) (*jetstream.PubAck, error) {
		sent.Add(1)
		return s.js.Publish(ctx, layout[t].subject+key, value, opts...)
	})
	repeated = sent.Load() > 1
	var api *jetstream.APIError
	switch {
	case err == nil:
		return ack.Sequence, repeated, nil
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant): // of a cluster
		return 0, repeated, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return 0, repeated, fmt.Errorf("writing %v: %w", t, err)
}

// patience is how long an answer of the engine is waited for, and after how long a request that has none is sent again.
type patience struct{ limit, again time.Duration }

var (
	entries = patience{5 * time.Second, 100 * time.Millisecond} // of one entry that is read
	changes = patience{10 * time.Second, time.Second}           // of writes, streams and queues: an election takes as long
	once    = patience{5 * time.Second, 5 * time.Second}        // of what is not sent again
)

// ask does something until it is answered. A table that is missing is made again, and one without a leader is waited for.
func ask[T any](ctx context.Context, s *JetStream, p patience, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	for {
		answer, err := hedged(ctx, p, do)
		var api *jetstream.APIError
		switch {
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
			errors.Is(err, nats.ErrStreamNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			s.missing(ctx)
		case errors.As(err, &api) && api.Code == 503: // there is no leader
		default:
			return answer, err
		}
		if wait(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return answer, fmt.Errorf("no answer: %w", err)
		}
	}
}

// hedged sends a request again and again without giving up the first, and returns what is answered first.
//
// A server of a cluster passes a read to any server that keeps the stream. One that hangs still gets its share of them, until
// the others drop their routes to it, and that takes minutes. With three servers a third of all reads is lost so long: waiting
// for each of those, even for half a second, halved the pace of every account. The waits grow, and no answer is thrown away, so
// that servers that are only slow are not made slower.
func hedged[T any](ctx context.Context, p patience, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel() // ends those that were not needed
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 100) // room for all, so that none blocks
	for again := p.again; ; again += again / 2 {
		go func() {
			value, err := do(ctx)
			answers <- answer{value, err}
		}()
		select {
		case a := <-answers:
			return a.value, a.err
		case <-time.After(again):
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
