// Testing shows how to test code that uses zapi with the fake server of package zapitest: the code under test is here,
// its tests are in main_test.go.
//
//	go test -v ./examples/testing
//	go run ./examples/testing
//
// The program runs the same code against a fake server inside it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// Offboarding hides a number of the company from those who are customers no more.
type Offboarding struct {
	Client *zapi.Client
}

// PostponedError says that the API limits the rate: run the job again after a while, it does what is missing.
type PostponedError struct {
	After time.Duration
	Err   error
}

func (e *PostponedError) Error() string { return fmt.Sprintf("postponed by %v: %v", e.After, e.Err) }

// Unwrap returns the cause.
func (e *PostponedError) Unwrap() error { return e.Err }

const defaultPause = time.Minute // where the API limits the rate and does not say for how long

// Hide keeps last seen, photo and description of the number from the contact. All other contacts see them afterwards,
// also where no one did before.
func (o Offboarding) Hide(ctx context.Context, phone string) error {
	setters := []func(context.Context, zapi.Visibility, ...zapi.BlacklistChange) error{
		o.Client.SetLastSeen, o.Client.SetPhotoVisibility, o.Client.SetDescriptionVisibility,
	}
	var failures []error
	for _, set := range setters {
		err := set(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(phone))
		var apiErr *zapi.APIError
		if errors.Is(err, zapi.ErrRateLimited) && errors.As(err, &apiErr) {
			return &PostponedError{After: cmp.Or(apiErr.RetryAfter, defaultPause), Err: err} // more calls would be limited too
		}
		failures = append(failures, err) // one setting hidden is better than none
	}
	return errors.Join(failures...)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
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
