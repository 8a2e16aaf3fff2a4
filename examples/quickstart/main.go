// Quickstart sets who sees last seen, the photo and the online state of a WhatsApp number, and shows a refused input
// and a failure of the API as a caller meets them.
//
//	go run ./examples/quickstart
//
// It talks to a fake server inside the program. To set the privacy of a real number:
//
//	ZAPI_INSTANCE_ID=… ZAPI_TOKEN=… ZAPI_CLIENT_TOKEN=… go run ./examples/quickstart -live
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func main() {
	live := flag.Bool("live", false, "call the real API with the credentials of ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	run := runFake
	if *live {
		run = runLive
	}
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runFake(ctx context.Context, out io.Writer) error {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	fmt.Fprint(out, "Talking to the fake server in this program; -live calls the real API.\n\n")
	err = setPrivacy(ctx, out, client)

	settings := server.Settings(client.InstanceID())
	fmt.Fprintf(out, "\nThe server now has: last seen %s except %v, photo %s, online %s\n",
		settings.LastSeen.Visibility, settings.LastSeen.Blacklist, settings.Photo.Visibility, settings.Online)
	return err
}

func runLive(ctx context.Context, out io.Writer) error {
	creds, err := zapi.CredentialsFromEnv()
	if err != nil {
		return err
	}
	client, err := zapi.NewClient(creds)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Talking to the real API as instance %s.\n\n", client.InstanceID())
	return setPrivacy(ctx, out, client)
}

// setPrivacy returns what failed of the three settings; the two failures it provokes after them are for show.
func setPrivacy(ctx context.Context, out io.Writer, client *zapi.Client) error {
	lastSeen := client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 (44) 91111-1111"), zapi.Disallow("554422222222"))
	report(out, "last seen: my contacts except two", lastSeen)

	photo := client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	report(out, "photo: my contacts", photo)

	online := client.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen)
	report(out, "online: same as last seen", online)

	err := client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("911"))
	report(out, "photo: a phone that is none", err)

	stranger, err := client.ForInstance(zapi.Credentials{InstanceID: "NO-SUCH-INSTANCE", Token: "wrong", ClientToken: "wrong"})
	if err == nil {
		err = stranger.SetOnlineVisibility(ctx, zapi.OnlineAll)
	}
	report(out, "online: an instance that does not exist", err)

	return errors.Join(lastSeen, photo, online)
}

// report shows what a caller can tell from an error.
func report(out io.Writer, what string, err error) {
	verdict := "done"
	switch {
	case errors.Is(err, zapi.ErrInvalidArgument):
		verdict = "refused before anything was sent"
	case errors.Is(err, zapi.ErrNotFound), errors.Is(err, zapi.ErrUnauthorized):
		verdict = "refused by the API: check the credentials"
	case err != nil:
		verdict = "failed"
	}
	fmt.Fprintf(out, "%-40s %s\n", what, verdict)
	if err != nil {
		fmt.Fprintf(out, "    %v\n", err)
	}
}
