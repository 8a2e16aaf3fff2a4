package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// auditAge is how long it is kept who did what.
const auditAge = 400 * 24 * time.Hour

// provision creates the tables that are missing. A cluster that is starting, or elects a leader, refuses that for a while.
func (s *JetStream) provision(ctx context.Context) error {
	for {
		err := s.look(ctx)
		if err == nil {
			return nil
		}
		var api *jetstream.APIError
		starting := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.As(err, &api) && api.Code == 503
		if !starting || ctx.Err() != nil {
			return fmt.Errorf("opening the streams (is JetStream on, may this user use it, are there %d servers?): %w", s.config.Replicas, err)
		}
		wait(ctx, 250*time.Millisecond)
	}
}

// look looks for every table, and not only for one: any of them may have been lost with its files. One that is missing where
// others are there was lost, which is logged: what it held is gone. A user who may not ask for a table or make it gets by, as
// long as there are orders.
func (s *JetStream) look(ctx context.Context) error {
	var errs [tables]error
	var found [tables]jetstream.Stream
	var group sync.WaitGroup
	for t := range tables {
		group.Go(func() {
			p := once
			if t != Orders { // without the right to ask there is no answer
				p.limit = 2 * time.Second
			}
			found[t], errs[t] = hedged(ctx, p, func(ctx context.Context) (jetstream.Stream, error) { return s.js.Stream(ctx, layout[t].stream) })
		})
	}
	group.Wait()
	if err := errs[Orders]; err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	used := errs[Orders] == nil || errs[Statuses] == nil || errs[Rollouts] == nil
	for t := tables - 1; t >= 0; t-- { // the orders last: where they are, everything is
		switch {
		case errs[t] == nil:
			if err := s.raise(ctx, t, found[t].CachedInfo().Config); err != nil {
				return err
			}
		case errors.Is(errs[t], jetstream.ErrStreamNotFound):
			err := s.create(ctx, t)
			if used && t != Audit && t != Targets { // which an earlier release did not have
				s.config.Log.WarnContext(ctx, "a stream is missing, and with it what it held", "stream", layout[t].stream, "made again", err == nil, "error", err)
			}
			if err != nil && (t == Orders || !errors.Is(err, context.DeadlineExceeded)) { // without the right to there is no answer
				return err
			}
		}
	}
	return nil
}

// raise has a table kept by more servers.
func (s *JetStream) raise(ctx context.Context, t Table, c jetstream.StreamConfig) error {
	have := c.Replicas
	if !s.config.Raise || have >= s.config.Replicas {
		return nil
	}
	c.Replicas = s.config.Replicas
	_, err := hedged(ctx, once, func(ctx context.Context) (jetstream.Stream, error) { return s.js.UpdateStream(ctx, c) })
	if err != nil {
		return fmt.Errorf("%v has %d replicas, and %d cannot be had: %w", t, have, s.config.Replicas, err)
	}
	s.config.Log.InfoContext(ctx, "replicas raised", "stream", layout[t].stream, "from", have, "to", s.config.Replicas)
	return nil
}

// create makes a table. The files of the orders are compressed, as these repeat each other: rollout, policy, headers. Statuses
// are written too often for that.
func (s *JetStream) create(ctx context.Context, t Table) error {
	c := jetstream.StreamConfig{
		Name: layout[t].stream, Subjects: []string{layout[t].subject + ">"}, Storage: jetstream.FileStorage, Replicas: s.config.Replicas,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, AllowDirect: true,
	}
	switch t {
	case Orders: // one order for each instance: a newer one removes the older
		c.Subjects, c.MaxMsgsPerSubject, c.Duplicates = []string{layout[t].subject + "*.*"}, 1, 10*time.Second
		c.Compression = jetstream.S2Compression
		c.FirstSeq = uint64(time.Now().UnixMicro()) // so that statuses of orders that were lost are not those of new ones
	case Audit:
		c.MaxAge, c.DenyDelete, c.DenyPurge = auditAge, true, true
	}
	_, err := hedged(ctx, once, func(ctx context.Context) (any, error) {
		if bucket, ok := strings.CutPrefix(c.Name, "KV_"); ok {
			return s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket: bucket, History: 1, Storage: c.Storage, Replicas: c.Replicas,
			})
		}
		return s.js.CreateStream(ctx, c)
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster
		return nil
	}
	return err
}

// missing looks for the tables again after one could not be found, one caller at a time and at most twice a second.
func (s *JetStream) missing(ctx context.Context) {
	if s.looking.Acquire(ctx, 1) != nil {
		return
	}
	defer s.looking.Release(1)
	s.queues.Clear() // they are gone with their stream
	if time.Since(s.looked) < 500*time.Millisecond {
		return
	}
	if err := s.look(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.WarnContext(ctx, "cannot look for the streams", "error", err)
	}
	s.looked = time.Now()
}
