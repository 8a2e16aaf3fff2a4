package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A number that is not connected is no error.
func ExampleClient_Status() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{
		Body: `{"connected": false, "error": "You need to restore the session."}`,
	})

	status, err := client.Status(context.Background())
	switch {
	case err != nil:
		log.Fatal(err) // it is not known whether the number is connected
	case !status.Connected:
		fmt.Println("not connected:", status.Reason)
	}
	// Output: not connected: You need to restore the session.
}

// Do calls any other route. A text that is not the program's own is escaped.
func ExampleClient_Do() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{Body: `{"phone": "5544911111111", "isBusiness": true}`})
	ctx := context.Background()

	var device struct {
		Phone      string `json:"phone"`
		IsBusiness bool   `json:"isBusiness"`
	}
	err = client.Do(ctx, http.MethodGet, "device", nil, &device)
	fmt.Println(device, err)

	route := "group-metadata/" + url.PathEscape("a/b")
	err = client.Do(ctx, http.MethodGet, route, nil, nil)
	fmt.Println(errors.Is(err, zapi.ErrNotFound))
	// Output:
	// {5544911111111 true} <nil>
	// true
}

// What is given as in is sent as JSON. The call is never repeated: the message could be sent twice.
func ExampleClient_Do_post() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(2, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})

	message := map[string]string{"phone": "5544911111111", "message": "We are open again."}
	err = client.Do(context.Background(), http.MethodPost, "send-text", message, nil)
	fmt.Println(err)
	fmt.Println(len(server.Requests()), "request:", string(server.Requests()[0].Body))
	// Output:
	// zapi: send-text: 503 Service Unavailable
	// 1 request: {"message":"We are open again.","phone":"5544911111111"}
}

// A phone in the route is in no error and in no log.
func ExampleClient_Do_phone() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	err = client.Do(context.Background(), http.MethodGet, "phone-exists/5544911111111", nil, nil)
	var apiErr *zapi.APIError
	if errors.As(err, &apiErr) {
		fmt.Println(apiErr.Op)
	}
	// Output: phone-exists/…
}
