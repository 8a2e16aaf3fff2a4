// Package fleet rolls a [zapi.Policy] out to any number of instances with any number of worker processes. It survives
// crashes of workers and of its engine, forgets no instance, and never lets an older policy overwrite a newer one.
//
//	f, err := fleet.Open(ctx, fleet.Embedded("/var/lib/fleet"))
//	…
//	receipt, err := f.Start(ctx, fleet.Rollout{Name: "2026-11", Policy: policy, Targets: targets})
//	…
//	err = f.Work(ctx, resolver) // in this process and in any number of others
//
// # Engine
//
// The engine is NATS JetStream. [Embedded] runs it in this process and keeps its files in a folder; [URL] connects to a
// server or a cluster. Everything else is the same for both.
//
// # Model
//
// An order says which policy an instance should have. There is one order per instance, the newest: [Fleet.Start]
// replaces the order that was there, unless that belongs to a rollout that was begun later. A status says what has become
// of an order. A [Status] is in one of six states:
//
//	pending → applying → applied
//	             ↓  ↑
//	          waiting  → parked
//
// A worker takes an order, claims its instance by writing applying, calls [zapi.Client.Apply], and writes the outcome. After a
// failure that may pass, the order is waiting and is tried again. After one that needs a person, such as a wrong token, it is
// parked with its reason until [Fleet.Retry].
//
// A rollout is held until all of its orders are there, by a canary, by [Fleet.Pause], and by itself when too many of its orders are
// parked. Workers begin none of its orders meanwhile, and go on within a minute of [Fleet.Resume].
//
// Every write of a status expects the revision that the worker has read, so of two workers only one goes on. A claim
// also holds a time, the fence, up to which its requests may still be sent. A newer order waits for that time, so no late
// request of an older policy follows a newer one.
//
// # Promises
//
//   - The orders are the only truth about what is wanted. A status counts for the very order that it names. That an order was
//     superseded needs a newer order as its proof.
//   - No order is lost: each is applied at least once, parked, superseded or cancelled. Orders that the engine itself has lost, with its
//     files, are reported as missing, and the rollout is not done; to start it again orders them again.
//   - The newest order of an instance wins. A call may be repeated after a crash; it sets the same values again.
//
// The README has all promises, and what is not promised.
//
// # Pace
//
// The workers of an account share one rate, see [Fleet.SetPace]. An instance that the API answers with 429 waits as long as the
// API asks. When at least three instances of an account, and a fifth of its last calls, get one within a minute, the whole account waits.
//
// # Secrets
//
// Credentials are never stored: workers ask a [Resolver]. Policies hold phones, and are stored in one place, the bucket
// fleet_policies; see [WithEncryptionKey]. Of an error, only setting, route, status and kind are stored. The whole error
// goes to the logger of the worker.
package fleet

// How an order flows through the files:
//
//	rollout.go   targets, rollouts and their entries
//	targets.go   for which instances a rollout was started
//	orders.go    Start writes orders, each with the sequence that it expects to replace
//	holds.go     Pause, Resume, canary, halt: what keeps a rollout from being begun
//	cancel.go    Cancel takes orders back, Retry writes them again
//	work.go      a worker takes the orders of its accounts and keeps them by heartbeats
//	format.go    orders and statuses as they are stored
//	decide.go    pure functions: what to do with an order, and what an outcome means for it
//	kinds.go     what an error means
//	apply.go     claim, apply, outcome; repair when the claim was lost
//	health.go    whether the API of an account is away, or limits it
//	pace.go      the rate that the workers of an account share
//	clock.go     the time, as the engine has it
//	sweep.go     orders again what the engine has forgotten
//	status.go    states and statuses, and how they are read
//	progress.go  counts orders and statuses of a rollout
//	watch.go     follows them while they change
//	engine.go    URL and Embedded; the only file that knows of NATS
//	fleet.go     Open, Close, options
//
// The folder internal/store keeps orders and statuses in NATS JetStream. It knows none of the rules above, and the files above
// do not know how it does that, so the rules can be simulated: see sim_test.go.
