// Package store keeps what fleet must not forget. A [Store] has seven tables, each of which holds the newest entry of every
// key, a queue of orders for every account, and a record of who did what.
//
// [Dial] and [Serve] keep it in NATS JetStream. The package memory keeps it in memory, for the simulator, and behaves
// as badly as JetStream may. One test of conformance runs against both.
package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A Table is a set of keys with the newest entry of each.
type Table int

// The tables. The documentation of the module lists what they hold.
const (
	Orders   Table = iota // by <account>.<instance>; also what the queues hand out
	Statuses              // by <account>.<instance>
	Policies              // by the hash of the policy
	Rollouts              // by name
	Accounts              // by account
	Paces                 // by account
	Targets               // of rollouts, by their hash
	Audit                 // keeps all entries, not only the newest of a key; see [Store.Set]
	tables
)

// An Entry is what a table holds of a key. Seq is above that of every entry that was written to the table before, and 0
// if the key was never written. The value of an entry that was deleted by hand is nil.
type Entry struct {
	Key   string
	Seq   uint64
	At    time.Time // when it was written, by the clock of the store
	Value []byte
}

// A Delivery is an order that a queue has handed out. It is handed out again after a while unless it is acknowledged or
// kept. It may come late: behind orders that have replaced it, and after its store was lost.
type Delivery interface {
	Entry() Entry
	Ack()                         // nothing is left to do; if that is lost, the order is handed out again
	GiveBack(after time.Duration) // hand it out again, perhaps to another worker
	Keep()                        // it is still in hand
}

// Errors of a [Store], for [errors.Is]. Any other means that the store could not be asked: a write may have come through.
var (
	// ErrConflict reports that an entry has changed since it was read.
	ErrConflict = errors.New("the entry has changed")
	// ErrInUse reports that another process has opened the folder of [Serve].
	ErrInUse = errors.New("the store is in use by another process")
)

// A Store is safe for concurrent use. A table that has been lost while others are there is made again, empty, as soon as it
// is missed, if this user may do that.
type Store interface {
	// Get returns the entry of a key. It may be a moment behind, as any replica answers.
	Get(ctx context.Context, t Table, key string) (Entry, error)
	// Newest is like Get, but returns everything that was acknowledged before.
	Newest(ctx context.Context, t Table, key string) (Entry, error)
	// Put writes an entry if the one in the table still has the sequence seq, and returns the new one.
	Put(ctx context.Context, t Table, key string, value []byte, seq uint64) (uint64, error)
	// Set writes an entry, whatever is there. In [Audit] it adds one; the key is the action, as rights may be given by action.
	Set(ctx context.Context, t Table, key string, value []byte) error
	// Read returns all entries of a table, oldest first. With follow it then returns one without a key, and goes on with
	// what is written from then on. An error ends it.
	Read(ctx context.Context, t Table, follow bool) iter.Seq2[Entry, error]
	// LastSeq returns the sequence of the entry that was written to the table last.
	LastSeq(ctx context.Context, t Table) (uint64, error)

	// Queue makes sure that the orders of an account are handed out.
	Queue(ctx context.Context, account string) error
	// HandOut hands out up to n orders of an account. It waits for them for a few seconds.
	HandOut(ctx context.Context, account string, n int) iter.Seq2[Delivery, error]
	// Queued returns how many orders of an account are in hand or wait to be handed out.
	Queued(ctx context.Context, account string) (int, error)

	// Now returns the time by the clock of the store.
	Now(ctx context.Context) (time.Time, error)
	// MaxValue is the size of the largest value.
	MaxValue() int64
	// Flush writes to disk what is stored on this machine.
	Flush() error
	// Closed is closed when the store can no longer be reached and will not be again.
	Closed() <-chan struct{}
	Close() error
}
