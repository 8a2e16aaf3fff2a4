// Quickstart sets who sees last seen, the profile photo and the online state of a WhatsApp number, and shows what a
// caller gets for refused input and for a failure of the API.
//
//	go run ./examples/quickstart
//
// It talks to a fake server inside the program. To change a real number, name what to set:
//
//	ZAPI_INSTANCE_ID=… ZAPI_TOKEN=… ZAPI_CLIENT_TOKEN=… go run ./examples/quickstart -live -photo CONTACTS -yes
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

const description = `Quickstart sets the privacy of a fake number inside the program and shows what happens.
With -live it sets what flags name on the real number of ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN.

`

func main() {
	var s settings
	live := flag.Bool("live", false, "call the real API")
	yes := flag.Bool("yes", false, "with -live: change the number, instead of only showing what would change")
	flag.TextVar(&s.lastSeen, "last-seen", s.lastSeen, "with -live: `who` sees last seen: ALL, NONE, CONTACTS or CONTACT_BLACKLIST")
	flag.TextVar(&s.photo, "photo", s.photo, "with -live: `who` sees the photo: ALL, NONE, CONTACTS or CONTACT_BLACKLIST")
	flag.TextVar(&s.online, "online", s.online, "with -live: `who` sees the online state: ALL or SAME_LAST_SEEN")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 || !*live && (*yes || s != settings{}) || *live && s == (settings{}) {
		fmt.Fprintln(os.Stderr, "usage: quickstart, or quickstart -live with -last-seen, -photo or -online; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	var err error
	if *live {
		err = runLive(ctx, os.Stdout, s, *yes)
	} else {
		err = runFake(ctx, os.Stdout)
	}
	if err != nil {
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
	fmt.Fprint(out, "Talking to the fake server in this program; see -h for a real number.\n\n")
	lastSeen := client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 (44) 91111-1111"), zapi.Disallow("554422222222"))
	report(out, "last seen: my contacts except two", lastSeen)
	photo := client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	report(out, "photo: my contacts", photo)
	online := client.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen)
	report(out, "online: same as last seen", online)

	// Three failures, to show what they look like.
	report(out, "photo: a malformed phone", client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("911")))
	server.FailNext(1, zapitest.Answer{Body: `{"success": false, "message": "not now"}`})
	report(out, "online: a rejection by the API", client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	server.SetConnected(client.InstanceID(), false)
	report(out, "online: without a connection", client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nConnected to WhatsApp: %t (%s)\n", status.Connected, status.Reason)

	now := server.Settings(client.InstanceID())
	fmt.Fprintf(out, "The server now has: last seen %s except %v, photo %s, online %s\n",
		now.LastSeen.Visibility, now.LastSeen.Blacklist, now.Photo.Visibility, now.Online)
	return errors.Join(lastSeen, photo, online)
}

// report shows what a caller can learn from an error.
func report(out io.Writer, what string, err error) {
	verdict := "done"
	switch {
	case errors.Is(err, zapi.ErrInvalidArgument):
		verdict = "refused before anything was sent"
	case errors.Is(err, zapi.ErrNotFound), errors.Is(err, zapi.ErrUnauthorized):
		verdict = "refused by the API: check the credentials"
	case errors.Is(err, zapi.ErrNotConnected):
		verdict = "the number is not connected: connect it again in the Z-API panel"
	case errors.Is(err, zapi.ErrRejected):
		verdict = "rejected by the API: nothing was changed"
	case err != nil:
		verdict = "failed"
	}
	fmt.Fprintf(out, "%-33s  %s\n", what, verdict)
	if err != nil {
		fmt.Fprintf(out, "    %v\n", err)
	}
}
