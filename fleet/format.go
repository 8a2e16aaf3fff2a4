package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

const format = 1 // of orders and statuses

// order is the wanted state of an instance. There are many orders and statuses, so what is stored of them is short.
type order struct {
	Version int    `json:"v"`
	Rollout string `json:"r"`
	Number  uint64 `json:"n"` // of the rollout; the higher one was begun later
	Policy  string `json:"p"` // its key: 128 bits of the SHA-256 of its JSON
}

// record is the status of an instance as it is stored: the claim and the outcome.
type record struct {
	Version   int       `json:"v"`
	Seq       uint64    `json:"q"` // of the order
	Rollout   string    `json:"r"`
	Policy    string    `json:"p"`
	State     State     `json:"s"`
	Attempts  int       `json:"a,omitempty"` // applies that failed and count
	Claims    int       `json:"c,omitempty"` // since the last outcome; more than one means that workers died
	Worker    string    `json:"w,omitempty"`
	Kind      string    `json:"k,omitempty"`
	Error     string    `json:"e,omitempty"`
	At        time.Time `json:"t,omitzero"`
	NotBefore time.Time `json:"b,omitzero"`
	Fence     time.Time `json:"f,omitzero"` // until then an apply of this or an older order may still be sending
}

// decodeOrder also returns an error for the format of a later version.
func decodeOrder(data []byte) (order, error) {
	var o order
	if err := json.Unmarshal(data, &o); err != nil {
		return order{}, fmt.Errorf("not an order: %w", err)
	}
	if o.Version != format || o.Rollout == "" || o.Number == 0 || o.Policy == "" {
		return order{}, fmt.Errorf("not an order of format %d", format)
	}
	return o, nil
}

// decodeRecord reads a status; no data is the status of an instance that has none.
func decodeRecord(data []byte) (record, error) {
	var r record
	if len(bytes.TrimSpace(data)) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("not a status: %w", err)
	}
	if r.Version != format || !r.State.stored() {
		return record{}, fmt.Errorf("not a status of format %d", format)
	}
	return r, nil
}

// encode cannot fail on what is stored.
func encode(v any) []byte {
	data, _ := json.Marshal(v)
	return data
}
