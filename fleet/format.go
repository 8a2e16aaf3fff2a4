package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// format is the version of orders and statuses. There are many of them, so their keys are short. What an earlier release wrote
// lacks the later fields.
const format = 1

// stored says where an order or a status was read, if it was. With err it is there but cannot be read, and has no other value.
type stored struct {
	seq uint64
	at  time.Time
	err error
}

// order is the wanted state of an instance.
type order struct {
	stored
	Version int    `json:"v"`
	Rollout string `json:"r"`
	Number  uint64 `json:"n"` // of the rollout; the higher one was begun later
	Policy  string `json:"p"` // its key: 128 bits of the SHA-256 of its JSON
	Canary  bool   `json:"c,omitempty"`
}

// newer reports whether o is of a rollout that was begun later than p's. Rollouts that begin at the same moment may get the same
// number. They are not the same rollout, and their names decide.
func (o order) newer(p order) bool {
	return o.Number > p.Number || o.Number == p.Number && o.Rollout > p.Rollout
}

func (o order) sameRollout(p order) bool { return o.Number == p.Number && o.Rollout == p.Rollout }

// status is what has become of an order: the claim and the outcome.
type status struct {
	stored
	Version   int          `json:"v"`
	Order     uint64       `json:"q"` // its sequence
	Rollout   string       `json:"r"`
	Number    uint64       `json:"n,omitempty"` // of the rollout
	Policy    string       `json:"p"`
	State     State        `json:"s"`
	Attempts  int          `json:"a,omitempty"` // applies that failed and count
	Claims    int          `json:"c,omitempty"` // since the last outcome; more than one means that workers died
	Limited   int          `json:"l,omitempty"` // 429s in a row
	Worker    string       `json:"w,omitempty"`
	Kind      string       `json:"k,omitempty"`
	Error     string       `json:"e,omitempty"`
	At        time.Time    `json:"t,omitzero"`
	NotBefore time.Time    `json:"b,omitzero"`
	Fence     time.Time    `json:"f,omitzero"`  // until then an apply of this or another order may still be sending
	Since     time.Time    `json:"d,omitzero"`  // when it began to fail with this kind, if that is borne with
	Unknown   time.Time    `json:"u,omitzero"`  // since when workers have not known the instance
	Last      *LastApplied `json:"y,omitempty"` // what was applied before this order; see [status.last]
}

// names reports whether s is the status of that very order. Its sequence alone does not tell: after a loss of orders,
// sequences are given a second time.
func (s status) names(o order) bool {
	return s.Order == o.seq && s.Rollout == o.Rollout && s.Policy == o.Policy
}

// last returns what was last applied to the instance.
func (s status) last() *LastApplied {
	if s.State == Applied {
		return &LastApplied{s.Rollout, s.Policy, s.At}
	}
	return s.Last
}

// errLater reports an order or a status in the format of a later release. It is left as it is.
var errLater = errors.New("in the format of a later release")

// readOrder reads an order; no value is none.
func readOrder(e store.Entry) (o order) {
	if len(e.Value) > 0 {
		o.err = decode(e.Value, &o, &o.Version)
		if o.err == nil && (o.Rollout == "" || o.Number == 0 || o.Policy == "") {
			o.err = errors.New("not an order")
		}
	}
	if o.err != nil {
		o = order{stored: o.stored}
	}
	o.seq, o.at = e.Seq, e.At
	return o
}

// readStatus reads a status; no value is the status of an instance that has none.
func readStatus(e store.Entry) (s status) {
	if len(bytes.TrimSpace(e.Value)) > 0 {
		s.err = decode(e.Value, &s, &s.Version)
		if s.err == nil && !s.State.stored() {
			s.err = errors.New("not a status")
		}
	}
	if s.err != nil {
		s = status{stored: s.stored}
	}
	s.seq, s.at = e.Seq, e.At
	return s
}

func decode(data []byte, v any, version *int) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if *version > format {
		return errLater
	}
	if *version != format {
		return fmt.Errorf("not of format %d", format)
	}
	return nil
}

// encode cannot fail on what is stored.
func encode(v any) []byte {
	data, _ := json.Marshal(v)
	return data
}
