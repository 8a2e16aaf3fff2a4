// Package zapitest provides a fake Z-API server for tests and examples of code that uses zapi.
//
//	server := zapitest.NewServer()
//	defer server.Close()
//	client, err := server.Client()
//	…
//	err = client.SetLastSeen(ctx, zapi.VisibilityContacts)
//	server.Settings(client.InstanceID()).LastSeen.Visibility // "CONTACTS"
//
// # State
//
// The server keeps the privacy settings of each instance, blacklists included: see [Server.AddInstance],
// [Server.Settings] and [Server.SetSettings]. A new instance shows everything to everyone, and is connected to WhatsApp:
// see [Server.SetConnected].
//
// # Strictness
//
// The server accepts only what the API's documentation allows. It refuses, in the API's own words where they are known:
//   - an unknown route or instance
//   - a wrong method, with status 405
//   - a missing or wrong Client-Token; the response quotes it, as the API does
//   - a POST that is not application/json, with status 415
//   - a JSON body with an unknown or repeated member; names match by exact case
//   - a value that the setting does not have
//   - CONTACT_BLACKLIST without contactsBlacklist, and contactsBlacklist, even null, with any other value
//   - a phone that is not 7 to 15 digits beginning with 1 to 9, or 1 to 20 digits and @lid
//   - a query or a body that the route does not take, and any query parameter beyond the one that it takes
//
// A contact of another form that [Server.SetSettings] put on a blacklist can be removed, but not added.
//
// The routes are status and those of the privacy settings. Any other, such as device, is NOT_FOUND unless
// [Server.FailWhen] answers it.
//
// # The ninth digit
//
// WhatsApp lists many Brazilian mobile numbers without the ninth digit that everyone dials: 5544991111111 as
// 554491111111. Both forms are one contact here. Adding one to a blacklist that contains the other changes nothing, and
// removing either removes the contact. [Server.SetSettings] can list a contact in the form that WhatsApp would.
//
// # Failures
//
// [Server.FailNext] and [Server.FailWhen] replace the responses to some requests. Unless the response has a Retry-After,
// a client of [Server.Client] tries again within milliseconds. [Server.Requests] returns the requests that arrived.
//
// # Time
//
// In a bubble of [testing/synctest], where waiting takes no time, retries, timeouts and [Answer.Delay] use the clock of
// the bubble. Create and close the server within it:
//
//	synctest.Test(t, func(t *testing.T) {
//		server := zapitest.NewServer()
//		defer server.Close()
//		…
//	})
//
// A Retry-After above the MaxWait of [zapi.WithRetry] is not waited for there either. Do not call [Server.URL] in a
// bubble: its clock stands still while a goroutine waits for a socket.
package zapitest
