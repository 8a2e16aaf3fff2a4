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

// order is the wanted state of an instance.
type order struct {
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
	Version   int          `json:"v"`
	Seq       uint64       `json:"q"` // of the order
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
func (s status) names(o order, seq uint64) bool {
	return s.Seq == seq && s.Rollout == o.Rollout && s.Policy == o.Policy
}

// last returns what was last applied to the instance.
func (s status) last() *LastApplied {
	if s.State == Applied {
		return &LastApplied{s.Rollout, s.Policy, s.At}
	}
	return s.Last
}

// storedOrder is an order as it lies in the store, and storedStatus a status. With err it is there but cannot be read.
type (
	storedOrder struct {
		order
		seq uint64
		at  time.Time
		err error
	}
	storedStatus struct {
		status
		seq uint64
		at  time.Time
		err error
	}
)

// errLater reports an order or a status in the format of a later release. It is left as it is.
var errLater = errors.New("in the format of a later release")

func readOrder(e store.Entry) storedOrder {
	found := storedOrder{seq: e.Seq, at: e.At}
	if len(e.Value) == 0 {
		return found
	}
	var o order
	if found.err = decode(e.Value, &o, &o.Version); found.err == nil && (o.Rollout == "" || o.Number == 0 || o.Policy == "") {
		found.err = errors.New("not an order")
	}
	if found.err == nil {
		found.order = o
	}
	return found
}

// readStatus reads a status; no value is the status of an instance that has none.
func readStatus(e store.Entry) storedStatus {
	found := storedStatus{seq: e.Seq, at: e.At}
	if len(bytes.TrimSpace(e.Value)) == 0 {
		return found
	}
	var s status
	if found.err = decode(e.Value, &s, &s.Version); found.err == nil && !s.State.stored() {
		found.err = errors.New("not a status")
	}
	if found.err == nil {
		found.status = s
	}
	return found
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
