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
// parked with its reason until [Fleet.Retry]. An order that [Fleet.Cancel] took back, or that a newer one replaced, is superseded.
//
// Every write of a status expects the revision that the worker has read, so of two workers only one goes on. A claim
// also holds a time, the fence, up to which its requests may still be sent. A newer order waits for that time, so no late
// request of an older policy follows a newer one.
//
// # Promises
//
//   - No order is lost: each is applied at least once, parked, or superseded.
//   - A call may be repeated after a crash: at most one for each order that the worker had in hand. It sets the same values again.
//   - The newest order of an instance wins. A process that was stopped for longer than its claim lasts sends nothing more; if it
//     was stopped while it was sending, the newest policy is ordered again.
//   - A setting that is changed by other means stays changed until the next rollout.
//   - The clocks of the workers must agree within 15 seconds.
//
// # Pace
//
// The workers of an account share one rate, see [Fleet.SetPace]. When the API answers 429, all of them wait.
//
// # Secrets
//
// Credentials are never stored: workers ask a [Resolver]. Policies hold phones, and are stored in one place, the bucket
// fleet_policies; see [WithEncryptionKey]. Of an error, only setting, route, status and kind are stored. The whole error
// goes to the logger of the worker.
package fleet

// How an order flows through the files:
//
//	orders.go    Start writes orders, each with the sequence that it expects to replace
//	cancel.go    Cancel takes orders back, Retry writes them again
//	work.go      pull loops take orders from the engine and keep them by heartbeats
//	format.go    orders and statuses as they are stored
//	decide.go    pure functions: what to do with an order, and what an outcome means
//	apply.go     claim, apply, outcome; repair when the claim was lost
//	pace.go      the rate that the workers of an account share
//	sweep.go     orders again what the engine has forgotten
//	progress.go  reads orders and statuses
//	watch.go     follows them and counts them while they change
//	engine.go    streams and buckets, and how they are read and written
//	embedded.go  the server in this process
//	fleet.go     Open, Close, options
