// Package zapi sets the privacy of WhatsApp numbers that are connected through Z-API. The calls of a [Client]:
//
//   - [Client.SetLastSeen]: who sees when the number was last online
//   - [Client.SetPhotoVisibility]: who sees the profile photo
//   - [Client.SetOnlineVisibility]: who sees that the number is online
//   - [Client.SetDescriptionVisibility]: who sees the description of the profile
//   - [Client.SetGroupAddPermission]: who may add the number to groups
//   - [Client.SetReadReceipts]: whether read receipts are sent
//   - [Client.SetMessageDuration]: how long the messages of new chats stay
//   - [Client.DisallowedContacts]: reads the blacklist of a setting
//   - [Client.DiffBlacklist]: shows what ReplaceBlacklist would change
//   - [Client.ReplaceBlacklist]: makes the blacklist of a setting match a list
//   - [Client.Plan]: shows what Apply would send
//   - [Client.Apply]: applies a [Policy], the privacy of an instance as one value
//   - [Client.Status]: reports whether the number is connected
//   - [Client.Do]: calls another route of the API
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
// [Credentials] and [CredentialsFromEnv]. A service with many instances makes one [API] with [NewAPI], which needs no
// credentials, and a [Client] for each instance with [API.Instance], so that all of them share their connections.
//
// # Validation
//
// Unknown values, changes with a value that has no blacklist, malformed phones and contradictory changes are refused
// before anything is sent. A phone may be written with "+", spaces, "-", "." and parentheses; see [NormalizePhone]. What is
// sent is 7 to 15 digits, or a WhatsApp private id, digits@lid. What is not part of the number is refused: the ".0" of a
// spreadsheet, an extension, a trunk 0 behind the country code.
//
// # Blacklists and policies
//
// A blacklist belongs to one setting, and the API takes changes only: see [Disallow] and [Allow]. To set a list as a
// whole, use [Client.ReplaceBlacklist]. A [Policy] is the privacy of an instance as one value: see [Client.Apply].
//
// WhatsApp lists many Brazilian mobiles without the ninth digit: 5544991111111 as 554491111111. Wherever contacts are
// compared, both forms are one contact. What is sent is never changed.
//
// # Errors
//
// Every error of a call is one of three types:
//
//   - [*ValidationError]: nothing was sent. The program or its input is wrong.
//   - [*APIError]: the API responded, and the response is not a success.
//   - [*TransportError]: no complete response was received. Whether the call was applied is unknown, unless nothing was sent.
//
// The error of [Client.Apply] is an [*ApplyError], which has one such error for each setting that failed.
//
// Use [errors.Is] with [ErrUnauthorized], [ErrNotFound], [ErrRateLimited] and the other kinds. [Kind] returns a word for
// metrics and logs, and [Retryable] reports whether the same call may succeed later.
//
// A setting was applied only with a 200 and one JSON object that holds "success": true. A redirect, an HTML page with status
// 200 and {"success": false} are failures. Redirects are never followed. Between a program and the API stand proxies and
// firewalls: a 401, 403 or 404 that comes with a page is theirs, and matches [ErrUnexpectedResponse], as it says nothing
// about the credentials.
//
// # Retries
//
// Every call but [Client.Do] sets a value or reads one, so repeating it leaves the same state, even if the first request was
// applied and only its response was lost. By default a call is tried three times; see [WithRetry] and [RetryPolicy].
//
// A call is tried again after:
//   - a connection that was refused, reset or closed, and a response that breaks off
//   - the timeout of one attempt
//   - the status 408, 425, 429, 500, 502, 503 or 504, whatever page came with it
//
// It is not tried again after:
//   - any other status, 520 to 530 of a CDN included; a redirect; success is false; a 200 that is not the documented response
//   - a certificate that does not verify
//   - a proxy that refuses to connect with a 4xx other than 408 and 429
//   - an error of a middleware or of the rate limiter
//   - the caller's cancellation or deadline
//
// The wait is random and grows exponentially, so that clients that failed together do not return together. After a
// Retry-After above 0 and of at most MaxWait, the wait is exactly that long. If it is longer, or if the wait would exceed
// the caller's deadline, the call fails at once, and [APIError].RetryAfter holds what the API asked for.
//
// The timeout of one attempt, [WithTimeout], does not match [context.DeadlineExceeded], which means the caller's
// deadline, and neither does a timeout of the transport itself. A request that timed out may still arrive after a later one:
// where that matters, repeat the call some seconds after a [*TransportError].
//
// # Logs and traces
//
// [WithLogger] logs no text that a server or a caller wrote, except the instance ID. [WithInterceptor] wraps whole
// calls, and [WithMiddleware] their requests, for tracing and metrics such as otelhttp; neither sees a secret.
// [WithRateLimiter] paces all instances together.
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
// such as that of httpmock to [WithTransport], and switch retries off with [WithRetry], so that a test of a 5xx does not
// wait for them.
package zapi
