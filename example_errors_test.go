package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// Field names the argument, by its index and never by its value.
func ExampleValidationError() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	err = client.SetLastSeen(context.Background(), zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 91111-1111"), zapi.Disallow("nobody"))

	var invalid *zapi.ValidationError
	if errors.As(err, &invalid) {
		fmt.Println(invalid.Field)
	}
	fmt.Println(errors.Is(err, zapi.ErrInvalidArgument), len(server.Requests()), "requests")
	// Output:
	// changes[1].phone
	// true 0 requests
}

// A caller's test makes an APIError of any kind from a status.
func ExampleAPIError() {
	for _, status := range []int{
		http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusOK,
	} {
		err := error(&zapi.APIError{Op: "privacy/photo", StatusCode: status})
		switch {
		case errors.Is(err, zapi.ErrUnauthorized):
			fmt.Println("check the credentials:", err)
		case errors.Is(err, zapi.ErrRateLimited), errors.Is(err, zapi.ErrUnavailable):
			fmt.Println("repeat later:", err)
		default:
			fmt.Println("look into it:", err)
		}
	}
	// Output:
	// check the credentials: zapi: privacy/photo: 401 Unauthorized
	// repeat later: zapi: privacy/photo: 429 Too Many Requests
	// repeat later: zapi: privacy/photo: 502 Bad Gateway
	// look into it: zapi: privacy/photo: rejected
}

// RetryAfter is how long the API asked to wait. A call itself waits for at most RetryPolicy.MaxWait.
func ExampleAPIError_rateLimited() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{
		StatusCode: http.StatusTooManyRequests,
		Header:     http.Header{"Retry-After": {"30"}},
	})

	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	var apiErr *zapi.APIError
	if errors.Is(err, zapi.ErrRateLimited) && errors.As(err, &apiErr) {
		fmt.Println("again in", apiErr.RetryAfter)
	}
	fmt.Println(err)
	// Output:
	// again in 30s
	// zapi: privacy/online: 429 Too Many Requests
}

// The API quotes a Client-Token that it refuses. The error does not.
func ExampleAPIError_unauthorized() {
	server := zapitest.NewServer()
	defer server.Close()
	creds := server.Credentials()
	creds.ClientToken = "F5e2c1d87A0S" // of another account
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL()))
	if err != nil {
		log.Fatal(err)
	}
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	fmt.Println(errors.Is(err, zapi.ErrUnauthorized))
	fmt.Println(err)
	// Output:
	// true
	// zapi: privacy/online: 403 Forbidden: Client-Token [REDACTED] not allowed
}

// The API reports a call that it did not carry out with status 200.
func ExampleAPIError_rejected() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{
		Body: `{"success": false, "message": "too many changes today"}`,
	})
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	var apiErr *zapi.APIError
	if errors.Is(err, zapi.ErrRejected) && errors.As(err, &apiErr) {
		fmt.Println(apiErr.StatusCode, apiErr.Message)
	}
	// Output: 200 too many changes today
}

// A number that is not connected to WhatsApp cannot be changed. Once it is, the same call succeeds.
func ExampleAPIError_notConnected() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{
		StatusCode: http.StatusBadRequest,
		Body:       `{"error": "You are not connected."}`,
	})
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	if errors.Is(err, zapi.ErrNotConnected) {
		fmt.Println("scan the QR code, then repeat the call")
	}
	// Output: scan the QR code, then repeat the call
}

// A job queue may keep an error as JSON. What is read is an error of the same kind.
func ExampleAPIError_MarshalJSON() {
	failure := &zapi.APIError{Op: "privacy/photo", StatusCode: http.StatusTooManyRequests}
	kept, err := json.Marshal(failure)
	if err != nil {
		log.Fatal(err)
	}

	read := new(zapi.APIError)
	fmt.Println(json.Unmarshal(kept, read))
	fmt.Println(errors.Is(read, zapi.ErrRateLimited))
	fmt.Println(read)
	// Output:
	// <nil>
	// true
	// zapi: privacy/photo: 429 Too Many Requests
}

// Unavailable means that all attempts failed.
func ExampleAPIError_unavailable() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{
		MaxAttempts: 3, MinWait: time.Millisecond, MaxWait: time.Millisecond,
	}))
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(3, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	fmt.Println(errors.Is(err, zapi.ErrUnavailable))
	fmt.Println(err)
	// Output:
	// true
	// zapi: privacy/online: 503 Service Unavailable (3 attempts)
}

// Whether the call was applied is unknown, and repeating it is safe.
func ExampleTransportError() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	server.FailNext(1, zapitest.Answer{Drop: true})

	err = client.SetOnlineVisibility(ctx, zapi.OnlineAll)
	var transportErr *zapi.TransportError
	if errors.As(err, &transportErr) {
		fmt.Println("no response to", transportErr.Op)
		err = client.SetOnlineVisibility(ctx, zapi.OnlineAll)
	}
	fmt.Println(err)
	// Output:
	// no response to privacy/online
	// <nil>
}

// WithTimeout and the caller's deadline are both timeouts. Only the deadline matches the context.
func ExampleTransportError_Timeout() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(
		zapi.WithTimeout(20*time.Millisecond), zapi.WithRetry(zapi.RetryPolicy{}))
	if err != nil {
		log.Fatal(err)
	}
	isTimeout := func(err error) bool {
		var transportErr *zapi.TransportError
		return errors.As(err, &transportErr) && transportErr.Timeout()
	}
	server.FailNext(1, zapitest.Answer{Delay: time.Hour})
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	fmt.Println(err)
	fmt.Println(isTimeout(err), errors.Is(err, context.DeadlineExceeded))

	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	err = client.SetOnlineVisibility(ctx, zapi.OnlineAll)
	fmt.Println(isTimeout(err), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// zapi: privacy/online: no complete response within 20ms
	// true false
	// true true
}

// The word for a metric is the same that the logger writes.
func ExampleKind() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	calls := make(map[string]int) // a real program would use a counter of Prometheus
	for _, answer := range []zapitest.Answer{
		{StatusCode: http.StatusForbidden}, {Body: `<html>`}, {Body: `{"success": true}`},
	} {
		server.FailNext(1, answer)
		err := client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
		calls[zapi.Kind(err)]++
	}
	fmt.Println(calls["unauthorized"], calls["unexpected response"], calls[""])
	// Output: 1 1 1
}

// A worker repeats a job later, or leaves it to a person.
func ExampleRetryable() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{}))
	if err != nil {
		log.Fatal(err)
	}
	work := func() {
		err := client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
		after, again := zapi.Retryable(err)
		switch {
		case err == nil:
			fmt.Println("done")
		case again:
			fmt.Println("again in", max(after, time.Minute))
		default:
			fmt.Println("needs a person:", err)
		}
	}
	server.FailNext(1, zapitest.Answer{
		StatusCode: http.StatusTooManyRequests,
		Header:     http.Header{"Retry-After": {"300"}},
	})
	work()
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusBadGateway})
	work()
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusForbidden})
	work()
	work()
	// Output:
	// again in 5m0s
	// again in 1m0s
	// needs a person: zapi: privacy/online: 403 Forbidden
	// done
}

// The error of Apply has the settings that failed. The others were applied.
func ExampleApplyError() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(2, zapitest.Answer{StatusCode: http.StatusBadRequest})

	err = client.Apply(context.Background(), zapi.Policy{
		LastSeen:     &zapi.Audience{Visibility: zapi.VisibilityNone},
		Photo:        &zapi.Audience{Visibility: zapi.VisibilityContacts},
		ReadReceipts: zapi.ReadReceiptsDisable,
	})
	var applyErr *zapi.ApplyError
	if errors.As(err, &applyErr) {
		for _, failure := range applyErr.Failed {
			fmt.Println(failure)
		}
		fmt.Println("applied", applyErr.Applied, "skipped", applyErr.Skipped)
	}
	// Output:
	// lastSeen: zapi: privacy/last-seen: 400 Bad Request
	// photo: zapi: privacy/photo: 400 Bad Request
	// applied [readReceipts] skipped []
}

// Refused credentials would be refused again, so the rest is skipped.
func ExampleApplyError_skipped() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusForbidden})

	err = client.Apply(context.Background(), zapi.Policy{
		Photo:        &zapi.Audience{Visibility: zapi.VisibilityContacts},
		Online:       zapi.OnlineAll,
		ReadReceipts: zapi.ReadReceiptsDisable,
	})
	var applyErr *zapi.ApplyError
	if errors.As(err, &applyErr) {
		fmt.Println("skipped", applyErr.Skipped)
	}
	fmt.Println(errors.Is(err, zapi.ErrUnauthorized))
	// Output:
	// skipped [online readReceipts]
	// true
}

// Setting is the key of the policy, for a report of one's own.
func ExampleSettingError() {
	err := error(&zapi.ApplyError{Failed: []zapi.SettingError{
		{Setting: "photo", Err: &zapi.APIError{Op: "privacy/photo", StatusCode: 503}},
	}})
	var failure *zapi.SettingError
	if errors.As(err, &failure) {
		fmt.Println(failure.Setting, "is", zapi.Kind(failure.Err))
	}
	// Output: photo is unavailable
}
