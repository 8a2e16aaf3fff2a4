package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zapi-go/zapi/fleet"
)

func serve(ctx context.Context, s *session) error {
	token := os.Getenv(tokenVariable)
	if token == "" {
		return fmt.Errorf("%s is needed: a secret that the other processes present", tokenVariable)
	}
	f, err := fleet.Open(ctx, fleet.Embedded(s.dir, fleet.WithListen(s.listen, token)))
	if err != nil {
		return err
	}
	s.sayf("serving %s on nats://%s; interrupt to end", s.dir, s.listen)
	disk := writer(s.dir)
	err = guard(ctx, s.screen, func(ctx context.Context) error { return errors.Join(disk(), reads(ctx, f)) })
	return errors.Join(err, f.Close())
}

const (
	probeEvery = 5 * time.Second
	probeLimit = time.Minute // of failures, after which a supervisor may do better
)

// guard asks again and again whether the engine can do its work. It says when it cannot, and returns an error after a minute of that.
func guard(ctx context.Context, out *screen, probe func(context.Context) error) error {
	var failing time.Time // since when
	for sleep(ctx, probeEvery) {
		attempt, cancel := context.WithTimeout(ctx, probeEvery)
		err := probe(attempt)
		cancel()
		switch {
		case ctx.Err() != nil: // which is why it failed, if it did
		case err == nil && !failing.IsZero():
			failing = time.Time{}
			out.sayf("the engine can work again")
		case err == nil:
		case failing.IsZero():
			failing = time.Now()
			out.sayf("the engine cannot work: %s", oneLine(err))
		case time.Since(failing) >= probeLimit:
			return fmt.Errorf("the engine could not work for a minute: %w", err)
		}
	}
	return nil
}

// sleep waits for d. It reports false when ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// writer returns a probe that calls writes. Its first error stays: an engine that has once failed to write accepts nothing more until
// it is started again, even when there is room.
func writer(dir string) func() error {
	var failed error
	return func() error {
		failed = cmp.Or(failed, writes(dir))
		return failed
	}
}

// writes reports whether the folder of the engine can be written to: a disk may be full, or have become read-only.
func writes(dir string) error {
	file, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 64<<10))
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()))
}

// reads reports whether the engine answers.
func reads(ctx context.Context, f *fleet.Fleet) error {
	for _, err := range f.Rollouts(ctx) {
		return err
	}
	return nil
}
