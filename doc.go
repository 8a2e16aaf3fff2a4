// Package zapi sets the privacy of WhatsApp numbers that are connected through Z-API: who sees last seen, the profile
// photo, the online state and the description, who may add to groups, whether read receipts go out, how long messages
// stay; per contact, too.
//
//	client, err := zapi.NewClient(zapi.Credentials{InstanceID: …, Token: …, ClientToken: …})
//	…
//	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("+55 44 91111-1111"))
//
// # Authentication
//
// Z-API knows an instance by its ID and token, and the account by its security token, the Client-Token: see
// [Credentials] and [CredentialsFromEnv]. A process with many instances makes one [Client] with [NewClient] and the
// others with [Client.ForInstance]; all of them share their connections.
//
// # Validation
//
// Unknown values, changes without a blacklist, malformed phones and contradictions are refused before anything is sent.
// A phone may be written with "+", blanks, "-", "." and parentheses; what is sent is 7 to 15 digits, or a WhatsApp
// private id, digits@lid.
//
// # Blacklists and policies
//
// A blacklist belongs to one setting, and the API changes it by deltas: see [Disallow] and [Allow]. To set a list as a
// whole, use [Client.ReplaceBlacklist]. A [Policy] is the privacy of an instance as one value: see [Client.Apply].
//
// # Errors
//
// Every error of a call is one of three, so that the caller knows what happened:
//
//   - [*ValidationError]: nothing was sent; the program or its input is wrong.
//   - [*APIError]: the API answered, and the answer was no success.
//   - [*TransportError]: there was no whole answer, so whether the call was applied is unknown.
//
// Tell the kinds apart with [errors.Is] against [ErrUnauthorized], [ErrNotFound], [ErrRateLimited] and their like.
// Success is only a 200 with one JSON object whose success is true: a redirect, a page of HTML with status 200 or
// {"success": false} are failures. Redirects are never followed.
//
// # Retries
//
// Every call sets a value or reads one, and sets no more than it says: a repeat leaves the same state, so it is safe even
// where the first request was applied and only its answer was lost. (A concurrent writer may be overwritten, as by any
// later call; and a request that was given up may still be under way and arrive after a later one, so where that
// matters, repeat the call some seconds after a [*TransportError].) By default a call is tried three times; see
// [WithRetry] and [RetryPolicy].
//
// Tried again: no whole answer (refused, reset, cut off, closed by the server, the timeout of one attempt), and the
// status 429, 500, 502, 503 and 504.
//
// Never tried again: other statuses, redirects, success false, a 200 that is not the documented answer, a body over 1 MiB, a
// certificate that does not verify, what a middleware or the limiter refuses, and the caller's cancel or deadline.
//
// The wait is random, so that clients that failed together do not come back together, and grows exponentially; a
// Retry-After up to MaxWait is kept to the second. When it is longer, or when the wait would outlast the caller's
// deadline, the call fails at once and [APIError].RetryAfter says what was asked.
//
// [WithTimeout] bounds one attempt and is a timeout but no [context.DeadlineExceeded]; that is the caller's deadline.
//
// # Logs and traces
//
// [WithLogger] writes lines that hold nothing a server or a caller wrote. [WithMiddleware] takes tracing and metrics, such
// as otelhttp, which then see the route with a placeholder for the token. [WithRateLimiter] paces all instances together.
//
// # Secrets
//
// The instance token is part of the URL and the Client-Token is a header. Both are put into a request at the last hop,
// under all middleware, and taken out of what the server echoes. So they are in no error, no log, no middleware and no
// way of printing anything of this package. Only the transport sees them: see [WithTransport].
//
// # Testing
//
// Package [github.com/zapi-go/zapi/zapitest] is a fake server with state. To mock the network instead, hand
// [WithTransport] a transport such as httpmock's.
package zapi
