package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/jarcoal/httpmock"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func Example() {
	server := zapitest.NewServer() // stands in for https://api.z-api.io
	defer server.Close()
	client, err := server.Client() // for the real API: zapi.NewClient(creds)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow("+55 44 91111-1111"))
	fmt.Println(err)

	lastSeen := server.Settings(client.InstanceID()).LastSeen
	fmt.Println(lastSeen.Visibility, lastSeen.Blacklist)
	// Output:
	// <nil>
	// CONTACT_BLACKLIST [5544911111111]
}

func ExampleNewClient() {
	client, err := zapi.NewClient(zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client)
	// Output: zapi.Client("3C01D5A4B6")
}

func ExampleClient_ForInstance() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	second, err := client.ForInstance(server.AddInstance())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second.SetPhotoVisibility(context.Background(), zapi.VisibilityNone))
	fmt.Println(server.Settings(client.InstanceID()).Photo.Visibility, server.Settings(second.InstanceID()).Photo.Visibility)
	// Output:
	// <nil>
	// ALL NONE
}

func ExampleClient_SetLastSeen() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("554411111111"), zapi.Allow("554422222222")))
	fmt.Println(client.SetLastSeen(ctx, zapi.VisibilityAll, zapi.Disallow("554411111111")))
	// Output:
	// <nil>
	// zapi: privacy/last-seen: changes: are allowed only with CONTACT_BLACKLIST
}

func ExampleClient_SetPhotoVisibility() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetPhotoVisibility(context.Background(), zapi.VisibilityContacts))
	// Output: <nil>
}

func ExampleClient_SetOnlineVisibility() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetOnlineVisibility(context.Background(), "NONE"))
	// Output: zapi: privacy/online: visibility: must be one of ALL, SAME_LAST_SEEN
}

func ExampleClient_ReplaceBlacklist() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, want := range [][]string{{"554411111111", "554422222222"}, {"+55 44 2222-2222", "554433333333"}} {
		diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, want)
		fmt.Println("added", diff.Added, "removed", diff.Removed, err)
	}
	fmt.Println(client.DisallowedContacts(ctx, zapi.BlacklistPhoto))
	// Output:
	// added [554411111111 554422222222] removed [] <nil>
	// added [554433333333] removed [554411111111] <nil>
	// [554422222222 554433333333] <nil>
}

func ExampleClient_Apply() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	var policy zapi.Policy
	err = json.Unmarshal([]byte(`{
		"lastSeen": {"visibility": "CONTACT_BLACKLIST", "except": ["554411111111"]},
		"readReceipts": "disable"
	}`), &policy)
	fmt.Println(err)
	fmt.Println(client.Apply(context.Background(), policy))

	settings := server.Settings(client.InstanceID())
	fmt.Println(settings.LastSeen, settings.ReadReceipts, settings.Photo.Visibility)
	// Output:
	// <nil>
	// <nil>
	// {CONTACT_BLACKLIST [554411111111]} disable ALL
}

func ExamplePolicy() {
	fmt.Println(json.Unmarshal([]byte(`{"lastSeen": {"visibility": "FRIENDS"}}`), new(zapi.Policy)))
	fmt.Println(json.Unmarshal([]byte(`{"status": "ALL"}`), new(zapi.Policy)))
	// Output:
	// zapi: policy: lastSeen.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST
	// zapi: policy: status: is unknown; the keys are lastSeen, photo, description, groupAdd, online, readReceipts, messageDuration
}

func ExampleAPIError() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	server.FailNext(1, zapitest.Answer{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}})

	err = client.SetOnlineVisibility(context.Background(), zapi.OnlineAll)
	var apiErr *zapi.APIError
	if errors.As(err, &apiErr) && errors.Is(err, zapi.ErrRateLimited) {
		fmt.Println("again in", apiErr.RetryAfter)
	}
	fmt.Println(err)
	// Output:
	// again in 30s
	// zapi: privacy/online: 429 Too Many Requests
}

func ExampleWithTransport() {
	creds := zapi.Credentials{InstanceID: "instance", Token: "token", ClientToken: "client-token"}
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST", "https://api.z-api.io/instances/instance/token/token/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetPhotoVisibility(context.Background(), zapi.VisibilityContacts), mock.GetTotalCallCount())
	// Output: <nil> 1
}
