package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// An AuditEvent records that somebody changed what is wanted. It is kept for 400 days, and holds no phone and no credential.
type AuditEvent struct {
	At        time.Time `json:"at"`
	By        string    `json:"by"`      // see [WithActor]
	Action    string    `json:"action"`  // start, cancel, retry, pause, resume, halt or pace
	Rollout   string    `json:"rollout"` // its name, if the action was about one
	Detail    string    `json:"detail"`
	Instances int       `json:"instances"` // that were ordered or taken back
}

// The values of AuditEvent.Action, which are also the subjects of the stream: rights may be given by action.
const (
	actionStart  = "start"
	actionCancel = "cancel"
	actionRetry  = "retry"
	actionPause  = "pause"
	actionResume = "resume"
	actionHalt   = "halt"
	actionPace   = "pace"
)

// WithActor names who acts, for [Fleet.Audit]: a person, or a program. It has 1 to 128 bytes. Fleet does not check who it is.
func WithActor(name string) Option {
	return func(s *settings) error {
		if name == "" || len(name) > 128 {
			return invalid("Open", "WithActor", "must have 1 to 128 bytes")
		}
		s.actor = name
		return nil
	}
}

// Audit returns who did what, oldest first. Nothing can be taken out of it but by those who own the engine. An error ends the
// sequence.
func (f *Fleet) Audit(ctx context.Context) iter.Seq2[AuditEvent, error] {
	return listed(ctx, f, "Audit", nil, func(ctx context.Context) (all []AuditEvent, err error) {
		for e, err := range f.store.Read(ctx, store.Audit, false) {
			if err != nil {
				return all, engineError(ctx, "reading the audit", err)
			}
			var event AuditEvent
			if err := json.Unmarshal(e.Value, &event); err != nil {
				event = AuditEvent{Detail: "damaged: " + err.Error()}
			}
			event.At, event.Action = e.At, e.Key
			all = append(all, event)
		}
		return all, nil
	})
}

// record adds an event. What a person does fails if it cannot be recorded.
func (f *Fleet) record(ctx context.Context, action, rollout string, instances int, detail string, args ...any) error {
	event := AuditEvent{At: f.clock.now(), By: f.actor, Action: action, Rollout: rollout, Detail: fmt.Sprintf(detail, args...), Instances: instances}
	return engineError(ctx, "recording the "+action, f.store.Set(ctx, store.Audit, action, encode(event)))
}
