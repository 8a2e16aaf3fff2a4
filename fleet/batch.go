package fleet

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publish writes one message if the last one of its subject still has the sequence last; see [isConflict].
func (c *connection) publish(ctx context.Context, subject string, data []byte, last uint64) error {
	_, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectLastSequencePerSubject(last))
	return engineError(ctx, "writing", err)
}

// batch publishes many messages without waiting for each.
type batch struct {
	ctx     context.Context
	js      jetstream.JetStream
	pending []pendingMessage
}

type pendingMessage struct {
	ack  jetstream.PubAckFuture
	done func(error) error
}

// window is how many messages are in flight; it bounds the memory.
const window = 10_000

func (c *connection) newBatch(ctx context.Context) *batch {
	return &batch{ctx: ctx, js: c.js}
}

// publish writes a message as [connection.publish] does, and later calls done with the outcome. It returns an error of a done
// that was called in between. All calls of done come from the goroutine of the caller.
func (b *batch) publish(subject string, data []byte, last uint64, done func(error) error) error {
	ack, err := b.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data},
		jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithStallWait(2*requestTimeout))
	if err != nil {
		return done(err)
	}
	b.pending = append(b.pending, pendingMessage{ack, done})
	if len(b.pending) < window {
		return nil
	}
	return b.flush()
}

// flush waits for the outcome of all that is in flight.
func (b *batch) flush() error {
	pending := b.pending
	b.pending = nil
	timeout := time.After(4 * requestTimeout) // the acknowledgements have a timeout of their own
	for _, p := range pending {
		var err error
		select {
		case <-p.ack.Ok():
		case err = <-p.ack.Err():
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		case <-timeout:
			err = nats.ErrTimeout
		}
		if err := p.done(err); err != nil {
			return err
		}
	}
	return nil
}
