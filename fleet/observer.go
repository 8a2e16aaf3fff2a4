package fleet

import "time"

// An Event is the outcome of an attempt, or of an order that needed none. It holds no phone and no credential.
type Event struct {
	Target
	Rollout  string
	State    State  // [Applied], [Waiting], [Parked] or [Superseded]
	Kind     string // of the failure; empty for none
	Attempts int
	Took     time.Duration // of the resolver and the calls; 0 if nothing was sent
}

// WithObserver calls observe for every outcome of this worker, such as for metrics. It is called from many goroutines, before the
// outcome is stored, and must return soon: the next order waits for it.
func WithObserver(observe func(Event)) WorkOption {
	return func(s *workSettings) error {
		if observe == nil {
			return invalid("Work", "WithObserver", "must not be nil")
		}
		s.observe = observe
		return nil
	}
}

// tell calls the observer.
func (w *worker) tell(key string, s status, took time.Duration) {
	if w.observe != nil {
		w.observe(Event{targetOf(key), s.Rollout, s.State, s.Kind, s.Attempts, took})
	}
}
