package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A quota limits how many requests a program sends. To limit how many it sends in a second, pass
// a *rate.Limiter of golang.org/x/time to WithRateLimiter.
type quota struct{ left atomic.Int64 }

var errQuotaUsedUp = errors.New("quota is used up")

func (q *quota) Wait(context.Context) error {
	if q.left.Add(-1) < 0 {
		return errQuotaUsedUp
	}
	return nil
}

func ExampleWithRateLimiter() {
	limiter := new(quota)
	limiter.left.Store(1)
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRateLimiter(limiter))
	if err != nil {
		log.Fatal(err)
	}
	second, err := client.ForInstance(server.AddInstance()) // shares the limiter
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineAll))

	err = second.SetOnlineVisibility(ctx, zapi.OnlineAll)
	fmt.Println(err)
	fmt.Println(errors.Is(err, errQuotaUsedUp))
	// Output:
	// <nil>
	// zapi: privacy/online: not sent: quota is used up
	// true
}
