package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
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
	Audit:    {"FLEET_AUDIT", "fleet.audit."},
}

func (t Table) String() string { return layout[t].stream }

// How long a part of the engine that is away is waited for.
const (
	patience   = 5 * time.Second        // with a request
	readAgain  = 100 * time.Millisecond // after which a read that has no answer is sent a second time, and twice as long a third time
	writeAgain = time.Second            // the same of a write, and half a second longer each time
	writeLimit = 10 * time.Second       // longer than an election takes
)

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
	closed  chan struct{}
	address string
	stop    func() error // ends the embedded server, if there is one
	flush   func() error // writes its files to disk

	looking *semaphore.Weighted // for tables that are missing, one at a time

	mu     sync.Mutex
	queues map[string]jetstream.Consumer
	missed time.Time // when a table was looked for last
}

// Dial connects to the servers of url, and creates the tables that are missing.
func Dial(ctx context.Context, url string, c Config) (*JetStream, error) {
	s, err := connect(ctx, url, c)
	if err != nil {
		return nil, err
	}
	if err := s.provision(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect watches the connection from both sides. A server that hangs keeps its connections open and silent: pings every
// five seconds, of which two may be missing, find that out in fifteen. A login that is refused may be refused only while a
// token is exchanged or a server starts, so it is tried again for ever.
func connect(ctx context.Context, url string, c Config) (*JetStream, error) {
	nothing := func() error { return nil }
	s := &JetStream{config: c, closed: make(chan struct{}), stop: nothing, flush: nothing, looking: semaphore.NewWeighted(1), queues: make(map[string]jetstream.Consumer)}
	options := append([]nats.Option{
		nats.Name("fleet"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // the default writes to standard error
			c.Log.Warn("connection to the engine", "error", err)
		}),
	}, c.Options...)
	options = append(options, nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }))
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(min(2*time.Second, max(time.Until(deadline), time.Millisecond))))
	}
	var err error
	if s.nc, err = nats.Connect(url, options...); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if s.js, err = jetstream.New(s.nc, jetstream.WithDefaultTimeout(patience)); err != nil {
		s.nc.Close()
		return nil, err
	}
	return s, nil
}

// Conn returns the connection.
func (s *JetStream) Conn() *nats.Conn { return s.nc }

// Closed implements [Store].
func (s *JetStream) Closed() <-chan struct{} { return s.closed }

// Address implements [Store].
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
func (s *JetStream) stream(ctx context.Context, t Table) (stream jetstream.Stream, err error) {
	err = s.again(ctx, func(ctx context.Context) error {
		stream, err = s.js.Stream(ctx, layout[t].stream)
		return err
	})
	return stream, err
}

// again does something, and once more if a table was missing.
func (s *JetStream) again(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.missing(ctx)
		err = do(ctx)
	}
	return err
}

// Get implements [Store]. Any replica may answer.
func (s *JetStream) Get(ctx context.Context, t Table, key string) (Entry, error) {
	return s.ask(ctx, "$JS.API.DIRECT.GET."+layout[t].stream+"."+layout[t].subject+key, nil, func(reply *nats.Msg) (Entry, error) {
		switch reply.Header.Get("Status") {
		case "404":
			return Entry{Key: key}, nil
		case "":
		default:
			return Entry{}, fmt.Errorf("reading %v: %s", t, reply.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(reply.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return Entry{}, err
		}
		at, err := time.Parse(time.RFC3339Nano, reply.Header.Get(jetstream.TimeStampHeaer))
		return Entry{key, seq, at, valueOf(reply.Header, reply.Data)}, err
	})
}

// Newest implements [Store]. The leader answers, which knows all that it has acknowledged. Only one that was cut off from the
// others and has not noticed yet may be behind.
func (s *JetStream) Newest(ctx context.Context, t Table, key string) (Entry, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": layout[t].subject + key})
	if err != nil {
		return Entry{}, err
	}
	return s.ask(ctx, "$JS.API.STREAM.MSG.GET."+layout[t].stream, request, func(reply *nats.Msg) (Entry, error) {
		var answer struct {
			Message struct {
				Seq    uint64    `json:"seq"`
				Time   time.Time `json:"time"`
				Data   []byte    `json:"data"`
				Header []byte    `json:"hdrs"`
			} `json:"message"`
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &answer); err != nil {
			return Entry{}, err
		}
		if answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Entry{Key: key}, nil
		}
		if answer.Error != nil {
			return Entry{}, answer.Error
		}
		m := answer.Message
		var header nats.Header
		if len(m.Header) > 0 {
			if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
				return Entry{}, err
			}
		}
		return Entry{key, m.Seq, m.Time, valueOf(header, m.Data)}, nil
	})
}

// valueOf returns the value of a message. A tool that deletes an entry of a bucket writes a message that says so.
func valueOf(header nats.Header, data []byte) []byte {
	if header.Get(jetstream.MarkerReasonHeader) != "" || header.Get("KV-Operation") != "" {
		return nil
	}
	return data
}

// ask sends a request until it is answered.
func (s *JetStream) ask(ctx context.Context, subject string, request []byte, read func(*nats.Msg) (Entry, error)) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		reply, err := s.hedged(ctx, subject, request)
		var entry Entry
		if err == nil {
			entry, err = read(reply)
		}
		if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return entry, err
		}
		s.missing(ctx)
		if wait(ctx, 250*time.Millisecond); ctx.Err() != nil {
			return Entry{}, fmt.Errorf("no answer from %s: %w", subject, err)
		}
	}
}

// hedged sends a request again and again without giving up the first, and returns what is answered first.
//
// A server of a cluster passes a read to any server that keeps the stream. One that hangs still gets its share of them, until
// the others drop their routes to it, and that takes minutes. With three servers a third of all reads is lost so long: waiting
// for each of those, even for half a second, halved the pace of every account.
func (s *JetStream) hedged(ctx context.Context, subject string, request []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends those that were not needed
	type answer struct {
		reply *nats.Msg
		err   error
	}
	answers := make(chan answer, patience/readAgain+1) // room for all, so that none blocks
	// The waits grow: what is only slow must not get slower by that.
	for again := readAgain; ; again *= 2 {
		go func() {
			reply, err := s.nc.RequestWithContext(ctx, subject, request)
			answers <- answer{reply, err}
		}()
		select {
		case a := <-answers:
			return a.reply, a.err
		case <-time.After(again):
		}
	}
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

// Append implements [Store].
func (s *JetStream) Append(ctx context.Context, action string, value []byte) error {
	_, _, err := s.write(ctx, Audit, action, value)
	return err
}

func (s *JetStream) write(ctx context.Context, t Table, key string, value []byte, opts ...jetstream.PublishOpt) (seq uint64, repeated bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	for again := writeAgain; ; again += writeAgain / 2 {
		attempt, cancel := context.WithTimeout(ctx, again)
		ack, err := s.js.PublishMsg(attempt, &nats.Msg{Subject: layout[t].subject + key, Data: value}, opts...)
		cancel()
		var api *jetstream.APIError
		switch {
		case err == nil:
			return ack.Sequence, repeated, nil
		case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
			s.missing(ctx)
			wait(ctx, 250*time.Millisecond)
		case errors.As(err, &api) && api.Code != 503, !errors.As(err, &api) && !errors.Is(err, context.DeadlineExceeded):
			return 0, repeated, conflict(err)
		}
		if ctx.Err() != nil {
			return 0, repeated, err
		}
		repeated = true
	}
}

// conflict marks the refusal of an entry that has changed. A cluster has a code of its own for that.
func conflict(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
