package store

import (
	"context"
	"errors"
	"iter"
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

// read reads a stream from its first message on, by a consumer of its own.
//
// It must know when it has read all that was there. What a consumer says is pending lags behind the stream on a cluster: it
// was seen to be 0 with orders open. The leader of the stream knows the sequence of its last message, so read asks for
// that first, and is current once it has read as far. The last message may be removed meanwhile, by a newer one of its key,
// which then has a higher sequence, or by hand: then nothing comes, and the consumer is asked after all.
func (s *JetStream) read(ctx context.Context, t Table, follow bool, yield func(Entry) bool) error {
	stream, err := s.stream(ctx, t)
	if err != nil {
		return err
	}
	consumer, err := hedged(ctx, once, func(ctx context.Context) (jetstream.Consumer, error) {
		// Without MaxResetAttempts it waits for ever for an engine that is away.
		return stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{InactiveThreshold: 30 * time.Second, MaxResetAttempts: 2})
	})
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
	state := stream.CachedInfo().State
	for isCurrent, told := state.Msgs == 0, false; ; {
		if isCurrent && !told {
			told = true
			if !follow || !yield(Entry{}) {
				return nil
			}
		}
		m, err := messages.Next(jetstream.NextMaxWait(2 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			info, err := hedged(ctx, once, consumer.Info)
			if err != nil {
				return err
			}
			isCurrent = isCurrent || info.NumPending == 0
			continue
		}
		if err != nil {
			return err
		}
		entry, err := entryOf(t, m)
		if err != nil {
			return err
		}
		isCurrent = isCurrent || entry.Seq >= state.LastSeq
		if !yield(entry) {
			return nil
		}
	}
}
