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

	"github.com/zapi-go/zapi/zapitest"
)

// demonstrate starts the service in front of a fake server, makes some requests and shuts down.
func demonstrate(ctx context.Context, out io.Writer) error {
	fake := zapitest.NewServer()
	defer fake.Close()
	client, err := fake.Client()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, shutDown := context.WithCancel(ctx)
	defer shutDown()
	served := make(chan error, 1)
	server := newServer(newHandler(slog.New(slog.DiscardHandler), client))
	go func() { served <- serve(serving, listener, server) }()

	base, own := "http://"+listener.Addr().String(), "/instances/"+client.InstanceID()
	for _, step := range []struct {
		path, body string
		fails      *zapitest.Answer // of the API, nil for none
		want       int
	}{
		{own + "/last-seen", `{"visibility":"CONTACT_BLACKLIST","changes":[{"action":"add","phone":"+55 44 91111-1111"}]}`, nil, http.StatusNoContent},
		{own + "/photo", `{"visibility":"CONTACTS"}`, nil, http.StatusNoContent},
		{own + "/online", `{"visibility":"SAME_LAST_SEEN"}`, nil, http.StatusNoContent},
		{own + "/photo", `{"visibility":"CONTACT_BLACKLIST","changes":[{"action":"add","phone":"911"}]}`, nil, http.StatusBadRequest},
		{own + "/photo", `{"visibilty":"CONTACTS"}`, nil, http.StatusBadRequest},
		{"/instances/NO-SUCH-INSTANCE/online", `{"visibility":"ALL"}`, nil, http.StatusNotFound},
		{own + "/online", `{"visibility":"ALL"}`, &zapitest.Answer{Body: `{"success":false,"message":"the number is not connected"}`}, http.StatusConflict},
		{own + "/online", `{"visibility":"ALL"}`, &zapitest.Answer{StatusCode: http.StatusForbidden}, http.StatusInternalServerError},
	} {
		if step.fails != nil {
			fake.FailNext(1, *step.fails)
		}
		status, response, err := request(ctx, base+step.path, step.body)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "PUT %s %s\n  %d %s %s\n", step.path, step.body, status, http.StatusText(status), response)
		if status != step.want {
			return fmt.Errorf("status %d instead of %d", status, step.want)
		}
	}
	shutDown()
	if err := <-served; err != nil {
		return err
	}
	fmt.Fprintln(out, "The service has shut down.")
	return nil
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
