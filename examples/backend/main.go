// Backend is a small HTTP service through which a company's own programs set the privacy of its numbers. Its status codes
// distinguish what the caller can mend (4xx) from failures of the service, such as broken credentials, or of the API (5xx).
//
//	go run ./examples/backend
//
// It starts the service in front of a fake server, makes some requests and shuts down. To serve a real number:
//
//	ZAPI_INSTANCE_ID=… ZAPI_TOKEN=… ZAPI_CLIENT_TOKEN=… go run ./examples/backend -listen 127.0.0.1:8080
//	curl -i -X PUT 127.0.0.1:8080/instances/$ZAPI_INSTANCE_ID/last-seen \
//		-d '{"visibility": "CONTACT_BLACKLIST", "changes": [{"action": "add", "phone": "+55 44 91111-1111"}]}'
//
// It does not authenticate its callers: keep it inside a network that you trust, or put authentication in front.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/zapi-go/zapi"
)

const description = `Backend is an HTTP service that sets the privacy of WhatsApp numbers.
Without flags it runs in front of a fake server, makes some requests to itself and shuts down.

`

const (
	callTimeout     = 20 * time.Second // of one request, including everything that zapi sends for it
	shutdownTimeout = callTimeout + 5*time.Second
)

func main() {
	listen := flag.String("listen", "", "`address` to serve the number of ZAPI_INSTANCE_ID, ZAPI_TOKEN and ZAPI_CLIENT_TOKEN on")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "backend takes flags only; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	var err error
	if *listen == "" {
		err = demonstrate(ctx, os.Stdout)
	} else {
		err = listenAndServe(ctx, *listen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func listenAndServe(ctx context.Context, address string) error {
	creds, err := zapi.CredentialsFromEnv()
	if err != nil {
		return err
	}
	api, err := zapi.NewAPI(zapi.WithUserAgent("backend-example/1.0"))
	if err != nil {
		return err
	}
	client, err := api.Instance(creds) // refuses broken credentials now, not at the first request
	if err != nil {
		return err
	}
	find := func(instanceID string) (zapi.Credentials, bool) { return creds, instanceID == creds.InstanceID }
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	slog.Info("serving", "address", listener.Addr().String(), "instance", client)
	return serve(ctx, listener, newServer(newHandler(slog.Default(), api, find)))
}

// newServer bounds how long a slow or silent caller can hold a connection.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      callTimeout + 15*time.Second, // counts from the header, so reading the body is in it
		IdleTimeout:       2 * time.Minute,
	}
}

// serve serves until ctx is done, and then finishes the requests under way.
func serve(ctx context.Context, listener net.Listener, server *http.Server) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
