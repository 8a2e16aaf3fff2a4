// Package zapi sets the privacy of WhatsApp numbers that are connected through Z-API. The calls of a [Client]:
//
//   - [Client.SetLastSeen]: who sees when the number was last online
//   - [Client.SetPhotoVisibility]: who sees the profile photo
//   - [Client.SetOnlineVisibility]: who sees that the number is online
//   - [Client.SetDescriptionVisibility]: who sees the description of the profile
//   - [Client.SetGroupAddPermission]: who may add the number to groups
//   - [Client.SetReadReceipts]: whether read receipts are sent
//   - [Client.SetMessageDuration]: when the messages of new chats disappear
//   - [Client.DisallowedContacts]: reads the blacklist of a setting
//   - [Client.ReplaceBlacklist]: makes the blacklist of a setting match a list
//   - [Client.DiffBlacklist]: shows what that would change
//   - [Client.Apply]: applies a [Policy], the privacy of an instance as one value
//   - [Client.Plan]: shows what that would send
//   - [Client.Status]: whether the number is connected to WhatsApp
//   - [Client.Do]: any other route of the API
//
// A program makes a client with [NewClient] and calls it:
//
//	client, err := zapi.NewClient(creds)
//	if err != nil {
//		return err
//	}
//	return client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
//		zapi.Disallow("+55 44 91111-1111"))
//
// # Authentication
//
// Z-API identifies an instance by its ID and token, and the account by its security token, the Client-Token: see
// [Credentials] and [CredentialsFromEnv]. A process with many instances makes one [Client] with [NewClient] and the
// others with [Client.ForInstance], so that all of them share their connections.
//
// # Validation
//
// Unknown values, changes with a value that has no blacklist, malformed phones and contradictory changes are refused
// before anything is sent. A phone may be written with "+", spaces, "-", "." and parentheses. What is sent is 7 to 15
// digits, or a WhatsApp private id, digits@lid.
//
// # Blacklists and policies
//
// A blacklist belongs to one setting, and the API takes changes only: see [Disallow] and [Allow]. To set a list as a
// whole, use [Client.ReplaceBlacklist]. A [Policy] is the privacy of an instance as one value: see [Client.Apply].
//
// # Errors
//
// Every error of a call is one of three types:
//
//   - [*ValidationError]: nothing was sent. The program or its input is wrong.
//   - [*APIError]: the API responded, and the response is not a success.
//   - [*TransportError]: no complete response was received. Whether the call was applied is unknown.
//
// The error of [Client.Apply] joins one such error for each setting that failed.
//
// Use [errors.Is] with [ErrUnauthorized], [ErrNotFound], [ErrRateLimited] and the other kinds. A call succeeds only with a
// 200 and one JSON object that holds "success": true or, for [Client.DisallowedContacts], the list. A redirect, an HTML
// page with status 200 and {"success": false} are failures. Redirects are never followed.
//
// # Retries
//
// Every call sets a value or reads one, so repeating it leaves the same state, even if the first request was applied and
// only its response was lost. By default a call is tried three times; see [WithRetry] and [RetryPolicy].
//
// A call is tried again after:
//   - a connection that was refused, reset or closed, and a response that breaks off
//   - the timeout of one attempt
//   - the status 429, 500, 502, 503 or 504
//
// It is not tried again after:
//   - any other status, a redirect, success is false, or a 200 that is not the documented response
//   - a body over 1 MiB
//   - a certificate that does not verify
//   - an error of a middleware or of the rate limiter
//   - the caller's cancellation or deadline
//
// The wait is random and grows exponentially, so that clients that failed together do not return together. After a
// Retry-After above 0 and of at most MaxWait, the wait is exactly that long. If it is longer, or if the wait would exceed
// the caller's deadline, the call fails at once, and [APIError].RetryAfter holds what the API asked for.
//
// The timeout of one attempt, [WithTimeout], does not match [context.DeadlineExceeded], which means the caller's
// deadline. A request that timed out may still arrive after a later one: where that matters, repeat the call some seconds
// after a [*TransportError].
//
// # Logs and traces
//
// [WithLogger] logs no text that a server or a caller wrote, except the instance ID. [WithInterceptor] wraps whole
// calls, and [WithMiddleware] their requests, for tracing and metrics such as otelhttp; both see the route without the
// secrets. [WithRateLimiter] paces all instances together.
//
// # Secrets
//
// The instance token is part of the URL, and the Client-Token is a header. Both are added to a request just before the
// transport, below all middleware, and redacted where the server echoes them. They are in no error, no log, no
// middleware and no printed value of this package. Only the transport sees them: see [WithTransport].
//
// # Testing
//
// Package [github.com/zapi-go/zapi/zapitest] is a fake server with state. To mock the network instead, pass a transport
// such as that of httpmock to [WithTransport].
package zapi
