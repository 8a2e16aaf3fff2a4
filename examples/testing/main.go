// Testing shows four ways to test code that uses zapi. The code under test is here; its tests are in
//
//	main_test.go       with zapitest, a fake server that keeps the settings: what the numbers end up with
//	synctest_test.go   the same in a bubble of testing/synctest, where waiting for an hour takes no time
//	httpmock_test.go   with httpmock in place of the network: what goes over the wire
//	synctest_test.go   with zapitest and a clock that does not wait: retries and their pauses
//	interface_test.go  with a fake of our own behind an interface: what our code does, without zapi
//
// Run them, or the program, which runs the same code against a fake server inside it:
//
//	go test -v ./examples/testing
//	go run ./examples/testing
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Testing runs the code that its tests cover, against a fake server inside the program that limits the rate once.
It has no flags.
`

// PrivacySetter is what Offboarding needs of a *zapi.Client. An interface belongs to the code that uses it: it has the
// methods called here and no others, so that a fake of it is short.
type PrivacySetter interface {
	SetLastSeen(ctx context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error
	SetPhotoVisibility(ctx context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error
	SetDescriptionVisibility(ctx context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error
}

// Offboarding hides a number of the company from former customers.
type Offboarding struct {
	Client PrivacySetter // a *zapi.Client
}

// A PostponedError reports that the API limits the rate. Running the job again later completes what is missing.
type PostponedError struct {
	After time.Duration
	Err   error
}

func (e *PostponedError) Error() string { return fmt.Sprintf("postponed by %v: %v", e.After, e.Err) }

// Unwrap returns the cause.
func (e *PostponedError) Unwrap() error { return e.Err }

const defaultPause = time.Minute // if the response has no Retry-After

// Hide hides last seen, photo and description of the number from the contact. All other contacts see them afterwards,
// even if no one did before.
func (o Offboarding) Hide(ctx context.Context, phone string) error {
	setters := []func(context.Context, zapi.Visibility, ...zapi.BlacklistChange) error{
		o.Client.SetLastSeen, o.Client.SetPhotoVisibility, o.Client.SetDescriptionVisibility,
	}
	var failures []error
	for _, set := range setters {
		err := set(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(phone))
		if errors.Is(err, zapi.ErrRateLimited) {
			after, _ := zapi.Retryable(err)
			return &PostponedError{After: cmp.Or(after, defaultPause), Err: err} // more calls would be limited too
		}
		failures = append(failures, err) // one setting hidden is better than none
	}
	return errors.Join(failures...)
}

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), description) }
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "testing takes no arguments; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	offboarding := Offboarding{Client: client}
	const phone = "+55 44 91111-1111"

	longer := http.Header{"Retry-After": {"30"}} // than zapi waits by itself
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: longer})
	var postponed *PostponedError
	if err := offboarding.Hide(ctx, phone); !errors.As(err, &postponed) {
		return errors.Join(errors.New("the run that met the rate limit was not postponed"), err)
	}
	fmt.Fprintf(out, "First run:  to be run again in %v\n", postponed.After)

	if err := offboarding.Hide(ctx, phone); err != nil {
		return err
	}
	settings := server.Settings(client.InstanceID())
	fmt.Fprintf(out, "Second run: last seen hidden from %v, photo from %v, description from %v\n",
		settings.LastSeen.Blacklist, settings.Photo.Blacklist, settings.Description.Blacklist)
	return nil
}
