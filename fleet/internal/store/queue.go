package store

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// makeQueue makes a durable consumer of the orders of one account, which all workers share. It has no limit of orders that wait
// to be handed out again: those of a rollout that is held wait there, and must not keep the others from being handed out.
func (s *JetStream) makeQueue(ctx context.Context, account string) (jetstream.Consumer, error) {
	return s.js.CreateOrUpdateConsumer(ctx, layout[Orders].stream, jetstream.ConsumerConfig{
		Durable: queueOf(account), FilterSubject: layout[Orders].subject + account + ".*",
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.config.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 2048,
	})
}

func (s *JetStream) findQueue(ctx context.Context, account string) (jetstream.Consumer, error) {
	return s.js.Consumer(ctx, layout[Orders].stream, queueOf(account))
}

func queueOf(account string) string { return "apply-" + account }

// mended returns the queue that get returns, as it must be. If the end of the stream was lost, such as by a power failure, the queue has
// delivered orders that no longer are there, and goes on behind them: orders that get those sequences anew would never be handed out. So it
// is made anew, and hands out all again. What is settled is dropped by the workers.
func (s *JetStream) mended(
	ctx context.Context, account string, get func(context.Context, string) (jetstream.Consumer, error),
) (jetstream.Consumer, error) {
	queue, err := ask(ctx, s, changes, func(ctx context.Context) (jetstream.Consumer, error) { return get(ctx, account) })
	if err != nil {
		return nil, err
	}
	last, err := s.LastSeq(ctx, Orders) // asked after the queue, so it is not behind
	if err != nil || queue.CachedInfo().Delivered.Stream <= last {
		return queue, err
	}
	_, err = hedged(ctx, once, func(ctx context.Context) (any, error) {
		return nil, s.js.DeleteConsumer(ctx, layout[Orders].stream, queueOf(account))
	})
	s.config.Log.WarnContext(ctx, "a queue is ahead of its orders, whose end was lost", "account", account, "made again", err == nil, "error", err)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return queue, nil // somebody else may
	}
	return ask(ctx, s, changes, func(ctx context.Context) (jetstream.Consumer, error) { return s.makeQueue(ctx, account) })
}

// Queue implements [Store].
func (s *JetStream) Queue(ctx context.Context, account string) error {
	_, err := s.mended(ctx, account, s.makeQueue)
	return err
}

// Queued implements [Store].
func (s *JetStream) Queued(ctx context.Context, account string) (int, error) {
	queue, err := s.mended(ctx, account, s.findQueue)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	info := queue.CachedInfo() // just read
	return int(info.NumPending) + info.NumAckPending, nil
}

// queue returns the queue of an account as it was found before.
func (s *JetStream) queue(ctx context.Context, account string) (jetstream.Consumer, error) {
	if queue, ok := s.queues.Load(account); ok {
		return queue.(jetstream.Consumer), nil
	}
	queue, err := s.mended(ctx, account, s.findQueue)
	if errors.Is(err, jetstream.ErrConsumerNotFound) { // deleted by hand, or lost
		queue, err = s.mended(ctx, account, s.makeQueue)
	}
	if err == nil {
		s.queues.Store(account, queue)
	}
	return queue, err
}

// HandOut implements [Store].
func (s *JetStream) HandOut(ctx context.Context, account string, n int) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		if err := s.handOut(ctx, account, n, func(d delivery) bool { return yield(d, nil) }); err != nil {
			s.queues.Delete(account)
			yield(nil, err)
		}
	}
}

func (s *JetStream) handOut(ctx context.Context, account string, n int, yield func(delivery) bool) error {
	queue, err := s.queue(ctx, account)
	if err != nil {
		return err
	}
	fetch, cancel := context.WithTimeout(ctx, s.config.Fetch)
	defer cancel()
	batch, err := queue.Fetch(n, jetstream.FetchContext(fetch))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		entry, err := entryOf(Orders, m)
		if err != nil {
			return err
		}
		if !yield(delivery{m, entry}) {
			return nil
		}
	}
	if fetch.Err() != nil {
		return nil
	}
	return batch.Error()
}

func entryOf(t Table, m jetstream.Msg) (Entry, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Entry{}, err
	}
	return Entry{strings.TrimPrefix(m.Subject(), layout[t].subject), meta.Sequence.Stream, meta.Timestamp, valueOf(m.Headers(), m.Data())}, nil
}

type delivery struct {
	message jetstream.Msg
	entry   Entry
}

func (d delivery) Entry() Entry { return d.entry }

// What is lost of these is made good by AckWait.
func (d delivery) Ack()  { _ = d.message.Ack() }
func (d delivery) Keep() { _ = d.message.InProgress() }
func (d delivery) GiveBack(after time.Duration) {
	_ = d.message.NakWithDelay(max(after, 20*time.Millisecond))
}
