package zapitest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func Example() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client() // give it to the code under test
	if err != nil {
		log.Fatal(err)
	}

	err = client.SetLastSeen(context.Background(), zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 91111-1111"))
	fmt.Println(err)

	settings := server.Settings(client.InstanceID())
	fmt.Println(settings.LastSeen.Visibility, settings.LastSeen.Blacklist)
	fmt.Println(settings.Photo.Visibility)
	// Output:
	// <nil>
	// CONTACT_BLACKLIST [5544911111111]
	// ALL
}

func ExampleServer_FailNext() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	server.FailNext(2, zapitest.Answer{StatusCode: http.StatusServiceUnavailable})
	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone)) // the third attempt succeeds
	fmt.Println(len(server.Requests()), "requests")

	server.FailNext(1, zapitest.Answer{Body: `{"success": false, "message": "disconnected"}`})
	err = client.SetPhotoVisibility(ctx, zapi.VisibilityAll)
	fmt.Println(errors.Is(err, zapi.ErrRejected))
	fmt.Println(server.Settings(client.InstanceID()).Photo.Visibility)
	// Output:
	// <nil>
	// 3 requests
	// true
	// NONE
}

// Drop closes the connection without a response.
func ExampleServer_FailNext_drop() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 1}))
	if err != nil {
		log.Fatal(err)
	}

	server.FailNext(1, zapitest.Answer{Drop: true})
	err = client.SetReadReceipts(context.Background(), zapi.ReadReceiptsDisable)
	var transportErr *zapi.TransportError
	fmt.Println(errors.As(err, &transportErr))
	// Output: true
}

func ExampleServer_FailWhen() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	isPhoto := func(r zapitest.Request) bool { return r.Op == "privacy/photo" }
	server.FailWhen(isPhoto, zapitest.Answer{
		StatusCode: http.StatusBadRequest,
		Body:       `{"error": "Invalid phone"}`,
	})
	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone))
	fmt.Println(client.SetLastSeen(ctx, zapi.VisibilityNone))
	// Output:
	// zapi: privacy/photo: 400 Bad Request: Invalid phone
	// <nil>
}

func ExampleServer_AddInstanceWith() {
	server := zapitest.NewServer()
	defer server.Close()
	creds := zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "70C4D2E79B1F"} // no security token
	server.AddInstanceWith(creds)

	client, err := zapi.NewClient(creds,
		zapi.WithBaseURL(server.URL()), zapi.WithoutClientToken())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineSameAsLastSeen))
	fmt.Println(server.Settings("3C01D5A4B6").Online)
	// Output:
	// <nil>
	// SAME_LAST_SEEN
}

func ExampleServer_SetSettings() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}

	settings := server.Settings(client.InstanceID())
	settings.Photo = zapitest.Audience{
		Visibility: zapi.VisibilityContactBlacklist,
		Blacklist:  []string{"554411111111", "999999999999999@lid"},
	}
	server.SetSettings(client.InstanceID(), settings)

	fmt.Println(client.DisallowedContacts(context.Background(), zapi.BlacklistPhoto))
	// Output: [554411111111 999999999999999@lid] <nil>
}

func ExampleServer_SetConnected() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}

	server.SetConnected(client.InstanceID(), false)
	err = client.SetPhotoVisibility(context.Background(), zapi.VisibilityNone)
	var apiErr *zapi.APIError
	if errors.As(err, &apiErr) {
		fmt.Println(apiErr.StatusCode, apiErr.Code)
	}
	// Output: 400 You are not connected.
}

func ExampleServer_Requests() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := client.SetPhotoVisibility(ctx, zapi.VisibilityNone); err != nil {
		log.Fatal(err)
	}
	server.ForgetRequests() // what follows is under test

	fmt.Println(client.SetReadReceipts(ctx, zapi.ReadReceiptsDisable))
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen))
	for _, r := range server.Requests() {
		fmt.Println(r.Method, r.Op, r.Query.Encode(), string(r.Body), r.StatusCode)
	}
	// Output:
	// <nil>
	// <nil>
	// POST privacy/read-receipts value=disable  200
	// POST privacy/online  {"visualizationType":"SAME_LAST_SEEN"} 200
}
