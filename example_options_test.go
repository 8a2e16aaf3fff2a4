package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jarcoal/httpmock"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A mock of the network sees the real request. The route holds instance ID and token.
func ExampleWithTransport() {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST",
		"https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	creds := zapi.Credentials{
		InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN",
	}
	client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetPhotoVisibility(context.Background(), zapi.VisibilityContacts))
	fmt.Println(mock.GetTotalCallCount(), "request")
	// Output:
	// <nil>
	// 1 request
}

// An interceptor sees each call once, however many attempts it takes. Here it counts outcomes.
func ExampleWithInterceptor() {
	outcomes := make(map[string]int) // concurrent calls would need a lock
	count := func(ctx context.Context, call zapi.Call, next func(context.Context) error) error {
		err := next(ctx)
		outcomes[fmt.Sprintf("%s ok=%t", call.Op, err == nil)]++
		return err
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithInterceptor(count))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	server.FailNext(1, zapitest.Answer{Body: `{"success": false}`})
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineAll))
	fmt.Println(outcomes)
	// Output:
	// zapi: privacy/online: rejected: success is false
	// <nil>
	// map[privacy/online ok=false:1 privacy/online ok=true:1]
}

// The timeout bounds one attempt. With retries, a slow response costs only the first.
func ExampleWithTimeout() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(
		zapi.WithTimeout(200*time.Millisecond),
		zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: time.Millisecond}),
	)
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{Delay: time.Hour})
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	fmt.Println(len(server.Requests()), "requests")
	// Output:
	// <nil>
	// 2 requests
}

func ExampleWithRetry() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{
		MaxAttempts: 5,
		MinWait:     time.Millisecond, // the default is 500 ms
		MaxWait:     10 * time.Millisecond,
	}))
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(4, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	fmt.Println(len(server.Requests()), "requests")
	// Output:
	// <nil>
	// 5 requests
}

// The zero RetryPolicy switches retries off, for callers that repeat calls themselves.
func ExampleRetryPolicy_off() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{}))
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	fmt.Println(len(server.Requests()), "request")
	// Output:
	// zapi: privacy/online: 503 Service Unavailable
	// 1 request
}

// At level warn a failed call is one line, without URL, secret or phone.
func ExampleWithLogger() {
	options := &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // keeps the line short
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, "duration", "attempts":
				return slog.Attr{}
			}
			return a
		},
	}
	mock := httpmock.NewMockTransport()
	mock.RegisterNoResponder(httpmock.NewStringResponder(http.StatusTooManyRequests, ""))
	client, err := zapi.NewClient(
		zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN"},
		zapi.WithTransport(mock),
		zapi.WithRetry(zapi.RetryPolicy{}),
		zapi.WithLogger(slog.New(slog.NewTextHandler(os.Stdout, options))),
	)
	if err != nil {
		log.Fatal(err)
	}
	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	fmt.Println(errors.Is(err, zapi.ErrRateLimited))
	// Output:
	// msg="zapi: call failed" op=privacy/online instance=MY-ID status=429 failure="rate limited"
	// true
}

// Users of one country may leave out its code. A real program would use libphonenumber.
func ExampleWithPhoneParser() {
	brazilian := func(phone string) (string, error) {
		if strings.HasPrefix(phone, "+") {
			return phone, nil
		}
		if len(phone) < len("4411111111") {
			return "", errors.New("area code is missing")
		}
		return "+55" + phone, nil
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithPhoneParser(brazilian))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("44911111111"))
	fmt.Println(server.Settings(client.InstanceID()).LastSeen.Blacklist, err)

	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("911111111"))
	fmt.Println(errors.Is(err, zapi.ErrInvalidArgument))
	// Output:
	// [5544911111111] <nil>
	// true
}

// A gateway of one's own may add a prefix to the path of the API.
func ExampleWithBaseURL() {
	const route = "https://gateway.example/z-api/instances/MY-ID/token/MY-TOKEN/privacy/online"
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST", route,
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	creds := zapi.Credentials{
		InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN",
	}
	client, err := zapi.NewClient(creds,
		zapi.WithBaseURL("https://gateway.example/z-api"),
		zapi.WithTransport(mock))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	// Output: <nil>
}

// Plain http is refused beyond loopback, as everyone on the way could read the secrets.
func ExampleWithInsecureHTTP() {
	creds := zapi.Credentials{
		InstanceID: "MY-ID", Token: "MY-TOKEN", ClientToken: "MY-CLIENT-TOKEN",
	}
	gateway := zapi.WithBaseURL("http://gateway.internal")
	_, err := zapi.NewClient(creds, gateway)
	fmt.Println(err)
	_, err = zapi.NewClient(creds, gateway, zapi.WithInsecureHTTP())
	fmt.Println(err)
	// Output:
	// zapi: NewClient: WithBaseURL: must be https; WithInsecureHTTP allows http beyond loopback
	// <nil>
}

func ExampleWithUserAgent() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithUserAgent("acme-backend/1.4"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	product, _, _ := strings.Cut(server.Requests()[0].Header.Get("User-Agent"), " ")
	fmt.Println(product)
	// Output:
	// <nil>
	// acme-backend/1.4
}

// An account that has not activated the security token has no Client-Token.
func ExampleWithoutClientToken() {
	creds := zapi.Credentials{InstanceID: "MY-ID", Token: "MY-TOKEN"}
	_, err := zapi.NewClient(creds)
	fmt.Println(errors.Is(err, zapi.ErrInvalidArgument))

	client, err := zapi.NewClient(creds, zapi.WithoutClientToken())
	fmt.Println(client, err)
	// Output:
	// true
	// zapi.Client("MY-ID") <nil>
}
