package zapi_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A countedTransport counts requests, retries included, by status.
type countedTransport struct {
	next   http.RoundTripper
	counts map[int]int // concurrent requests would need a lock
}

func (t countedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		t.counts[resp.StatusCode]++
	}
	return resp, err
}

// Tracing and metrics such as otelhttp.NewTransport are added in the same way. They see no secret.
func ExampleWithMiddleware() {
	counts := make(map[int]int)
	count := func(next http.RoundTripper) http.RoundTripper {
		return countedTransport{next, counts}
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithMiddleware(count))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusBadRequest})
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	fmt.Println(counts)
	// Output:
	// <nil>
	// zapi: privacy/online: 400 Bad Request
	// map[200:1 400:1]
}
