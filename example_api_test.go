package zapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A service whose instances come from a database has no credentials at its start.
func ExampleNewAPI() {
	server := zapitest.NewServer()
	defer server.Close()
	api, err := zapi.NewAPI(zapi.WithBaseURL(server.URL())) // options go here
	if err != nil {
		log.Fatal(err)
	}
	table := map[string]zapi.Credentials{ // stands in for a table of the database
		"shop": server.Credentials(), "bakery": server.AddInstance(),
	}

	for _, customer := range []string{"shop", "bakery"} {
		client, err := api.Instance(table[customer])
		if err != nil {
			log.Fatal(err)
		}
		err = client.SetOnlineVisibility(context.Background(), zapi.OnlineSameAsLastSeen)
		fmt.Println(customer, err)
	}
	// Output:
	// shop <nil>
	// bakery <nil>
}

// Credentials that cannot be right are the service's own fault, and not that of who called it.
func ExampleAPI_Instance() {
	api, err := zapi.NewAPI()
	if err != nil {
		log.Fatal(err)
	}
	client, err := api.Instance(zapi.Credentials{
		InstanceID: "3C01D5A4B6", Token: "70C4D2E79B1F", ClientToken: "F5e2c1d87A0S",
	})
	fmt.Println(client, err)

	_, err = api.Instance(zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "${TOKEN}"})
	if errors.Is(err, zapi.ErrInvalidCredentials) {
		fmt.Println("500 Internal Server Error")
	}
	// Output:
	// zapi.Client("3C01D5A4B6") <nil>
	// 500 Internal Server Error
}

// A program that is done with all its instances closes their connections at once.
func ExampleAPI_CloseIdleConnections() {
	server := zapitest.NewServer()
	defer server.Close()
	api, err := zapi.NewAPI(zapi.WithBaseURL(server.URL()))
	if err != nil {
		log.Fatal(err)
	}
	defer api.CloseIdleConnections()

	client, err := api.Instance(server.Credentials())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	// Output: <nil>
}
