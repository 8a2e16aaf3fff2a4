package zapi_test

import (
	"context"
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
		Body: `{"success": false, "message": "the number is not connected"}`,
	})
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	var apiErr *zapi.APIError
	if errors.Is(err, zapi.ErrRejected) && errors.As(err, &apiErr) {
		fmt.Println(apiErr.StatusCode, apiErr.Message)
	}
	// Output: 200 the number is not connected
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
