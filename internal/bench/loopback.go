package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

const burstPause = 20 * time.Millisecond

// traffic is how calls are made on loopback. A turn is callsEach calls by each of the workers, all at once.
type traffic struct {
	title              string
	workers, callsEach int
	isBurst            bool    // all calls of a turn need their connections at once, and turns have pauses between them
	share              float64 // of the budget
}

var traffics = []traffic{
	{title: sectionSequential, workers: 1, callsEach: 500, share: 0.25},
	{title: section64, workers: 64, callsEach: 20, share: 0.20},
	{title: "loopback, 256 in flight", workers: 256, callsEach: 8, share: 0.15},
	{title: "loopback, bursts of 256", workers: 256, callsEach: 1, isBurst: true, share: 0.10},
}

// target is a variant with a server of its own, which counts its connections.
type target struct {
	call          call
	server        *server
	openedAtFirst int64 // connections, in the first turn
}

// openTargets gives each variant a server, with a gate of that size unless it is 0. The caller closes what it gets.
func openTargets(gateSize int) ([]*target, error) {
	var targets []*target
	for _, v := range variants {
		s, err := startServer(gateSize)
		if err != nil {
			return targets, err
		}
		t := &target{server: s}
		targets = append(targets, t)
		if t.call, err = v.build(s.url, nil); err != nil {
			return targets, err
		}
	}
	return targets, nil
}

func closeTargets(targets []*target) {
	for _, t := range targets {
		t.server.close()
	}
}

// flight is what happened in a turn.
type flight struct {
	elapsed   time.Duration
	latencies []float64 // µs, sorted
	opened    int64     // connections
}

func (t *target) fly(workers, callsEach int) (flight, error) {
	latencies := make([]float64, workers*callsEach)
	failures := make([]error, workers)
	openedBefore := t.server.opened.Load()
	start := make(chan struct{})
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			<-start
			for i := range callsEach {
				begin := time.Now()
				if failures[w] = t.call(context.Background()); failures[w] != nil {
					return
				}
				latencies[w*callsEach+i] = float64(time.Since(begin)) / float64(time.Microsecond)
			}
		})
	}
	begin := time.Now()
	close(start)
	group.Wait()
	f := flight{time.Since(begin), latencies, t.server.opened.Load() - openedBefore}
	slices.Sort(latencies)
	if openedBefore == 0 {
		t.openedAtFirst = f.opened
	}
	for _, err := range failures {
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

func (r rig) loopback(t traffic) (section, error) {
	s := section{Title: t.title, Bases: variantBases, Figures: []figure{
		{Name: figureMedian, Unit: "µs"},
		{Name: "latency p99", Unit: "µs"},
		{Name: figureThroughput, Unit: "calls/s"},
		{Name: "time", Unit: "ms/turn"},
		{Name: "connections opened", Unit: "first turn"},
		{Name: "connections opened", Unit: "later turn"},
	}}
	gateSize, pause := 0, time.Duration(0)
	if t.isBurst {
		gateSize, pause = t.workers, burstPause
	}
	targets, err := openTargets(gateSize)
	defer closeTargets(targets)
	if err != nil {
		return s, err
	}
	return r.interleave(s, variantNames(), t.share, func(i int) ([]float64, error) {
		time.Sleep(pause)
		f, err := targets[i].fly(t.workers, t.callsEach)
		return []float64{
			quantile(f.latencies, 0.5), quantile(f.latencies, 0.99), float64(len(f.latencies)) / f.elapsed.Seconds(),
			1000 * f.elapsed.Seconds(), float64(targets[i].openedAtFirst), float64(f.opened),
		}, err
	})
}
