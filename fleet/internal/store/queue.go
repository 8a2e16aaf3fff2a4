package store

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A queue is a durable consumer of the orders of one account, which all workers share. It has no limit of orders that wait
// to be handed out again: those of a rollout that is held wait there, and must not keep the others from being handed out.
func (s *JetStream) makeQueue(ctx context.Context, account string) (jetstream.Consumer, error) {
	return s.js.CreateOrUpdateConsumer(ctx, layout[Orders].stream, jetstream.ConsumerConfig{
		Durable: queueOf(account), FilterSubject: layout[Orders].subject + account + ".*",
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.config.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 2048,
	})
}

func queueOf(account string) string { return "apply-" + account }

// Queue implements [Store].
func (s *JetStream) Queue(ctx context.Context, account string) error {
	return s.again(ctx, func(ctx context.Context) error {
		queue, err := s.makeQueue(ctx, account)
		if err == nil {
			_, err = s.mended(ctx, account, queue)
		}
		return err
	})
}

// mended returns the queue as it must be. If the end of the stream was lost, such as by a power failure, the queue has delivered orders that
// no longer are there, and goes on behind them: orders that get those sequences anew would never be handed out. So it is made
// anew, and hands out all again. What is settled is dropped by the workers.
func (s *JetStream) mended(ctx context.Context, account string, queue jetstream.Consumer) (jetstream.Consumer, error) {
	last, err := s.LastSeq(ctx, Orders) // asked after the queue, so it is not behind
	if err != nil || queue.CachedInfo().Delivered.Stream <= last {
		return queue, err
	}
	err = s.js.DeleteConsumer(ctx, layout[Orders].stream, queueOf(account))
	s.config.Log.WarnContext(ctx, "a queue is ahead of its orders, whose end was lost", "account", account, "made again", err == nil, "error", err)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return queue, nil // somebody else may
	}
	return s.makeQueue(ctx, account)
}

// queue returns the queue of an account as it was found before.
func (s *JetStream) queue(ctx context.Context, account string) (jetstream.Consumer, error) {
	s.mu.Lock()
	queue, ok := s.queues[account]
	s.mu.Unlock()
	if ok {
		return queue, nil
	}
	queue, err := s.js.Consumer(ctx, layout[Orders].stream, queueOf(account))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // deleted by hand, or lost
		queue, err = s.makeQueue(ctx, account)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.missing(ctx)
	case err == nil:
		queue, err = s.mended(ctx, account, queue)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[account] = queue
	return queue, nil
}

// HandOut implements [Store].
func (s *JetStream) HandOut(ctx context.Context, account string, n int) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		err := s.handOut(ctx, account, n, func(d delivery) bool { return yield(d, nil) })
		if err != nil {
			s.mu.Lock()
			delete(s.queues, account)
			s.mu.Unlock()
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
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(m.Subject(), layout[Orders].subject)
		if !yield(delivery{m, Entry{key, meta.Sequence.Stream, meta.Timestamp, m.Data()}}) {
			return nil
		}
	}
	if fetch.Err() != nil {
		return nil
	}
	return batch.Error()
}

// Queued implements [Store].
func (s *JetStream) Queued(ctx context.Context, account string) (int, error) {
	queue, err := s.js.Consumer(ctx, layout[Orders].stream, queueOf(account))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err == nil {
		queue, err = s.mended(ctx, account, queue)
	}
	if err != nil {
		return 0, err
	}
	info := queue.CachedInfo() // just read
	return int(info.NumPending) + info.NumAckPending, nil
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
