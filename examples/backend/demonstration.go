package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A step is one request to the service.
type step struct {
	caption    string
	path, body string
	fails      *zapitest.Answer // of the API, nil for none
	want       int
}

// demonstrate starts the service in front of a fake server, makes some requests and shuts down.
func demonstrate(ctx context.Context, out io.Writer) error {
	fake := zapitest.NewServer()
	defer fake.Close()
	api, err := zapi.NewAPI(zapi.WithBaseURL(fake.URL()))
	if err != nil {
		return err
	}
	stored := make(map[string]zapi.Credentials)
	for _, id := range []string{"SALES", "OFFLINE", "BROKEN"} { // easier to read than random ones
		creds := fake.Credentials()
		creds.InstanceID = id
		fake.AddInstanceWith(creds)
		if id == "BROKEN" {
			creds.Token = "${TOKEN}" // nothing has replaced the variable
		}
		stored[id] = creds
	}
	fake.SetConnected("OFFLINE", false)
	find := func(instanceID string) (zapi.Credentials, bool) {
		creds, ok := stored[instanceID]
		return creds, ok
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, shutDown := context.WithCancel(ctx)
	defer shutDown()
	served := make(chan error, 1)
	server := newServer(newHandler(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: withoutTime})), api, find))
	go func() { served <- serve(serving, listener, server) }()

	for _, s := range steps() {
		if s.fails != nil {
			fake.FailNext(1, *s.fails)
		}
		fmt.Fprintf(out, "# %s\nPUT %s %s\n", s.caption, s.path, s.body)
		status, response, err := request(ctx, "http://"+listener.Addr().String()+s.path, s.body)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d %s %s\n\n", status, http.StatusText(status), response)
		if status != s.want {
			return fmt.Errorf("status %d instead of %d", status, s.want)
		}
	}
	shutDown()
	if err := <-served; err != nil {
		return err
	}
	fmt.Fprintln(out, "The service has shut down.")
	return nil
}

func steps() []step {
	const sales, toAll = "/instances/SALES", `{"visibility":"ALL"}`
	return []step{
		{"Hidden from one contact.", sales + "/last-seen", `{"visibility":"CONTACT_BLACKLIST","changes":[{"action":"add","phone":"+55 44 91111-1111"}]}`, nil, http.StatusNoContent},
		{"Shown to contacts only.", sales + "/photo", `{"visibility":"CONTACTS"}`, nil, http.StatusNoContent},
		{"As last seen.", sales + "/online", `{"visibility":"SAME_LAST_SEEN"}`, nil, http.StatusNoContent},
		{"A mistake of the caller: no country has such a phone. The caller learns what to mend.", sales + "/photo", `{"visibility":"CONTACT_BLACKLIST","changes":[{"action":"add","phone":"911"}]}`, nil, http.StatusBadRequest},
		{"A mistake of the caller: a misspelt key.", sales + "/photo", `{"visibilty":"CONTACTS"}`, nil, http.StatusBadRequest},
		{"A mistake of the caller: we have no such instance.", "/instances/STRANGER/online", toAll, nil, http.StatusNotFound},
		{"The number is not connected. Whoever holds the phone can mend that.", "/instances/OFFLINE/online", toAll, nil, http.StatusConflict},
		{"The API asks to wait longer than zapi waits by itself. The response passes its Retry-After on.", sales + "/online", toAll, &zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}}, http.StatusServiceUnavailable},
		{"The API refuses our Client-Token. The caller cannot mend that and learns no more; the log has the reason.", sales + "/online", toAll, &zapitest.Answer{StatusCode: http.StatusForbidden, Body: `{"error":"Client-Token F12…9S not allowed"}`}, http.StatusInternalServerError},
		{"Our own token is broken: nothing has replaced its variable. Nothing is sent, and again only the log has the reason.", "/instances/BROKEN/online", toAll, nil, http.StatusInternalServerError},
	}
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func request(ctx context.Context, url, body string) (status int, response []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or its error is returned
	response, err = io.ReadAll(resp.Body)
	return resp.StatusCode, bytes.TrimSpace(response), err
}
