package store

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Read implements [Store].
func (s *JetStream) Read(ctx context.Context, t Table, follow bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := s.read(ctx, t, follow, func(e Entry) bool { return yield(e, nil) }); err != nil {
			yield(Entry{}, err)
		}
	}
}

func (s *JetStream) read(ctx context.Context, t Table, follow bool, yield func(Entry) bool) error {
	r, err := s.newReader(ctx, t)
	if err != nil {
		return err
	}
	defer r.stop()
	current := false
	for {
		if !current && r.isCurrent {
			current = true
			if !follow || !yield(Entry{}) {
				return nil
			}
		}
		entry, err := r.next(ctx)
		if err != nil {
			return err
		}
		if entry.Key != "" && !yield(entry) {
			return nil
		}
	}
}

// A reader reads a stream from its first message on, by a consumer of its own.
//
// It must know when it has read all that was there. What a consumer says is pending lags behind the stream on a cluster: it
// was seen to be 0 with orders open. The leader of the stream knows the sequence of its last message, so a reader asks for
// that first, and is current once it has read as far. The last message may be removed meanwhile, by a newer one of its key,
// which then has a higher sequence, or by hand: then nothing comes, and the consumer is asked after all.
type reader struct {
	subject   string
	last      uint64 // the sequence up to which it reads before it is current
	consumer  jetstream.Consumer
	messages  jetstream.MessagesContext
	stop      func()
	isCurrent bool
}

func (s *JetStream) newReader(ctx context.Context, t Table) (*reader, error) {
	stream, err := s.stream(ctx, t)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	r := &reader{subject: layout[t].subject, last: state.LastSeq, isCurrent: state.Msgs == 0}
	attempt, cancel := context.WithTimeout(ctx, patience) // a leader that hangs does not answer, and its request is lost
	// Without MaxResetAttempts it waits for ever for an engine that is away.
	r.consumer, err = stream.OrderedConsumer(attempt, jetstream.OrderedConsumerConfig{InactiveThreshold: 30 * time.Second, MaxResetAttempts: 2})
	cancel()
	if err != nil {
		return nil, err
	}
	// A pull request may be lost while a consumer is new or changes its leader: heartbeats tell.
	r.messages, err = r.consumer.Messages(jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return nil, err
	}
	cut := context.AfterFunc(ctx, r.messages.Stop)
	r.stop = func() {
		cut()
		r.messages.Stop()
	}
	return r, nil
}

// next returns the next entry, or one without a key when there has been none for a while.
func (r *reader) next(ctx context.Context) (Entry, error) {
	m, err := r.messages.Next(jetstream.NextMaxWait(2 * time.Second))
	if errors.Is(err, nats.ErrTimeout) {
		attempt, cancel := context.WithTimeout(ctx, patience) // Info has none of its own
		defer cancel()
		info, err := r.consumer.Info(attempt)
		if err == nil && info.NumPending == 0 {
			r.isCurrent = true
		}
		return Entry{}, err
	}
	if err != nil {
		return Entry{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return Entry{}, err
	}
	if meta.Sequence.Stream >= r.last {
		r.isCurrent = true
	}
	return Entry{strings.TrimPrefix(m.Subject(), r.subject), meta.Sequence.Stream, meta.Timestamp, valueOf(m.Headers(), m.Data())}, nil
}
