// Breaker puts a circuit breaker around the calls of a client: while the API is down, calls fail at once instead of
// waiting for their retries.
//
//	cd examples/tracing && go run ./breaker
//
// It talks to a fake server inside the program. The part to copy is withBreaker with failed and excluded.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Breaker makes calls to a fake server inside the program, which fails for a while, through a circuit breaker.
It has no flags.
`

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), description) }
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "breaker takes no arguments; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// withBreaker returns an interceptor that opens after failures calls in a row have failed, and lets a call try again after
// the pause. All instances of a client share it, as they share the API's host.
func withBreaker(failures uint32, pause time.Duration) zapi.Interceptor {
	breaker := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         "Z-API",
		Timeout:      pause,
		ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= failures },
		IsSuccessful: func(err error) bool { return !failed(err) },
		IsExcluded:   excluded,
	})
	return func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error {
		_, err := breaker.Execute(func() (struct{}, error) { return struct{}{}, next(ctx) })
		return err
	}
}

// failed reports whether err means that the API is down. An API that refuses a call is not, and invalid arguments do not
// get as far as an interceptor.
func failed(err error) bool {
	return errors.Is(err, zapi.ErrUnavailable) || errors.As(err, new(*zapi.TransportError))
}

// excluded reports whether err tells nothing about the API: the caller gave up, or nothing was sent.
func excluded(err error) bool {
	var transport *zapi.TransportError
	return errors.Is(err, context.Canceled) || errors.As(err, &transport) && transport.Attempts == 0
}

func run(ctx context.Context, out io.Writer) error {
	const failures, pause = 3, 200 * time.Millisecond // a real program pauses for some 30 seconds
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(
		zapi.WithInterceptor(withBreaker(failures, pause)),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond}))
	if err != nil {
		return err
	}
	call := func() {
		before := len(server.Requests())
		err := client.SetOnlineVisibility(ctx, zapi.OnlineAll)
		result := "ok"
		switch {
		case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
			result = "refused by the breaker"
		case err != nil:
			result = err.Error()
		}
		fmt.Fprintf(out, "requests sent: %d, %s\n", len(server.Requests())-before, result)
	}

	fmt.Fprintln(out, "The API is down:")
	server.FailNext(2*failures, zapitest.Answer{StatusCode: http.StatusServiceUnavailable}) // two attempts each
	for range failures + 2 {
		call()
	}
	select {
	case <-time.After(pause + 50*time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintf(out, "\nThe API is up again, after a pause of %v:\n", pause)
	for range 2 {
		call()
	}
	return nil
}
