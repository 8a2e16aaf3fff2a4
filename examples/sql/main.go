// Sql serves tenants whose credentials are in a table: one zapi.API for the process, and one client for each request.
//
//	cd examples/sql && go run .
//
// It talks to a fake server inside the program and makes some requests to itself. The parts to copy are store.go and handler.go;
// examples/backend shows timeouts and shutdown of a service. It is a module of its own, because of modernc.org/sqlite.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Sql serves tenants from a table, in front of a fake server inside the program. It has no flags.")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "sql takes no arguments; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, slog.Default()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, log *slog.Logger) (err error) {
	fake := zapitest.NewServer()
	defer fake.Close()
	s, err := openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	if err := fill(ctx, fake, s); err != nil {
		return err
	}
	api, err := zapi.NewAPI(zapi.WithBaseURL(fake.URL()))
	if err != nil {
		return err
	}
	service := httptest.NewServer(newHandler(log, api, s))
	defer service.Close()

	const policy = `{"photo": {"visibility": "CONTACTS"}, "readReceipts": "disable"}`
	for _, request := range []struct{ caption, tenant, body string }{
		{"The number gets both settings.", "acme", policy},
		{"A mistake of the caller.", "acme", `{"photo": {"visibility": "FRIENDS"}}`},
		{"No row in the table.", "nobody", policy},
		{"The number is not connected to WhatsApp.", "offline", policy},
		{"The API is busy, so one setting is missing. The same request will complete it.", "busy", policy},
		{"The token in the table is broken, which the caller cannot mend: the log has the reason.", "broken", policy},
	} {
		fmt.Fprintf(out, "\n# %s\nPUT /tenants/%s/privacy %s\n", request.caption, request.tenant, request.body)
		err = errors.Join(err, put(ctx, out, service.URL+"/tenants/"+request.tenant+"/privacy", request.body))
	}
	return err
}

// fill stores a tenant for whom all goes well, and three for whom it does not.
func fill(ctx context.Context, fake *zapitest.Server, s store) error {
	offline, busy, broken := fake.AddInstance(), fake.AddInstance(), fake.AddInstance()
	fake.SetConnected(offline.InstanceID, false)
	limited := func(r zapitest.Request) bool {
		return r.InstanceID == busy.InstanceID && r.Op == "privacy/read-receipts"
	}
	fake.FailWhen(limited, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}})
	broken.Token = "${TOKEN}" // nothing has replaced the variable
	return errors.Join(s.add(ctx, "acme", fake.Credentials()), s.add(ctx, "offline", offline),
		s.add(ctx, "busy", busy), s.add(ctx, "broken", broken))
}

// put sends one request to the service and shows the response.
func put(ctx context.Context, out io.Writer, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or its error is returned
	text, err := io.ReadAll(resp.Body)
	fmt.Fprintln(out, resp.Status, strings.TrimSpace(string(text)))
	if wait := resp.Header.Get("Retry-After"); wait != "" {
		fmt.Fprintln(out, "Retry-After:", wait)
	}
	return err
}
