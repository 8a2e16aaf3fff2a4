package zapi_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"

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

	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 91111-1111"))
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

	_, err = zapi.NewClient(zapi.Credentials{InstanceID: "3C01D5A4B6"})
	fmt.Println(err)
	// Output:
	// zapi.Client("3C01D5A4B6")
	// zapi: NewClient: Token: must not be empty
}

func ExampleCredentialsFromEnv() {
	for name, value := range map[string]string{ // a program finds them set
		"ZAPI_INSTANCE_ID":  "3C01D5A4B6",
		"ZAPI_TOKEN":        "70C4D2E79B1F",
		"ZAPI_CLIENT_TOKEN": "F5e2c1d87A0S",
	} {
		if err := os.Setenv(name, value); err != nil {
			log.Fatal(err)
		}
	}
	creds, err := zapi.CredentialsFromEnv()
	fmt.Println(creds, err)

	if err := os.Unsetenv("ZAPI_TOKEN"); err != nil {
		log.Fatal(err)
	}
	_, err = zapi.CredentialsFromEnv()
	fmt.Println(err)
	// Output:
	// zapi.Credentials("3C01D5A4B6") <nil>
	// zapi: CredentialsFromEnv: ZAPI_TOKEN: must be set in the environment
}

// Printing credentials in any way shows only the instance ID.
func ExampleCredentials() {
	creds := zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	}
	fmt.Printf("%+v\n", creds)
	asJSON, err := json.Marshal(map[string]any{"creds": creds})
	fmt.Println(string(asJSON), err)
	// Output:
	// zapi.Credentials("3C01D5A4B6")
	// {"creds":"3C01D5A4B6"} <nil>
}

// Clients of the same process share their options and connections.
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

	fmt.Println("first:", server.Settings(client.InstanceID()).Photo.Visibility)
	fmt.Println("second:", server.Settings(second.InstanceID()).Photo.Visibility)
	// Output:
	// <nil>
	// first: ALL
	// second: NONE
}

func ExampleClient_InstanceID() {
	client, err := zapi.NewClient(zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	})
	if err != nil {
		log.Fatal(err)
	}
	clients := map[string]*zapi.Client{client.InstanceID(): client}
	fmt.Println(clients["3C01D5A4B6"] == client)
	// Output: true
}

// A program that is done with all its clients closes their connections at once.
func ExampleClient_CloseIdleConnections() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdleConnections()

	fmt.Println(client.SetOnlineVisibility(context.Background(), zapi.OnlineAll))
	// Output: <nil>
}

// A client can be logged: every verb shows the instance ID, and no verb shows a secret.
func ExampleClient_Format() {
	client, err := zapi.NewClient(zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v, %+v, %#v\n", client, client, client)
	// Output: zapi.Client("3C01D5A4B6"), zapi.Client("3C01D5A4B6"), zapi.Client("3C01D5A4B6")
}

func ExampleClient_LogValue() {
	client, err := zapi.NewClient(zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	})
	if err != nil {
		log.Fatal(err)
	}
	options := &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // leaves out the time
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, options))
	logger.Info("ready", "number", client)
	// Output: level=INFO msg=ready number=3C01D5A4B6
}

func ExampleClient_MarshalText() {
	client, err := zapi.NewClient(zapi.Credentials{
		InstanceID:  "3C01D5A4B6",
		Token:       "70C4D2E79B1F",
		ClientToken: "F5e2c1d87A0S",
	})
	if err != nil {
		log.Fatal(err)
	}
	status, err := json.Marshal(map[string]any{"number": client, "ready": true})
	fmt.Println(string(status), err)
	// Output: {"number":"3C01D5A4B6","ready":true} <nil>
}

// Changes are allowed only with the blacklist that they alter.
func ExampleClient_SetLastSeen() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	err = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("554411111111"), // no longer sees it
		zapi.Allow("554422222222"))    // sees it again
	fmt.Println(err)

	err = client.SetLastSeen(ctx, zapi.VisibilityAll, zapi.Disallow("554411111111"))
	fmt.Println(err)
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
	fmt.Println(server.Settings(client.InstanceID()).Photo.Visibility)
	// Output:
	// <nil>
	// CONTACTS
}

// A string constant compiles as any of the types, so its value is checked before anything is sent.
func ExampleClient_SetOnlineVisibility() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(client.SetOnlineVisibility(ctx, zapi.OnlineSameAsLastSeen))
	fmt.Println(client.SetOnlineVisibility(ctx, "NONE"))
	// Output:
	// <nil>
	// zapi: privacy/online: visibility: must be one of ALL, SAME_LAST_SEEN, not "NONE"
}

// The blacklist of a setting outlives other values, and is used again without naming its contacts.
func ExampleClient_SetDescriptionVisibility() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	steps := []error{
		client.SetDescriptionVisibility(ctx, zapi.VisibilityContactBlacklist,
			zapi.Disallow("554411111111")),
		client.SetDescriptionVisibility(ctx, zapi.VisibilityNone),
		client.SetDescriptionVisibility(ctx, zapi.VisibilityContactBlacklist),
	}
	fmt.Println(steps)
	fmt.Println(server.Settings(client.InstanceID()).Description)
	// Output:
	// [<nil> <nil> <nil>]
	// {CONTACT_BLACKLIST [554411111111]}
}

func ExampleClient_SetGroupAddPermission() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	err = client.SetGroupAddPermission(context.Background(), zapi.GroupAddContactBlacklist,
		zapi.Disallow("554411111111"), zapi.Disallow("554422222222"))
	fmt.Println(err)
	fmt.Println(server.Settings(client.InstanceID()).GroupAdd)
	// Output:
	// <nil>
	// {CONTACT_BLACKLIST [554411111111 554422222222]}
}

func ExampleClient_SetReadReceipts() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetReadReceipts(context.Background(), zapi.ReadReceiptsDisable))
	fmt.Println(server.Settings(client.InstanceID()).ReadReceipts)
	// Output:
	// <nil>
	// disable
}

func ExampleClient_SetMessageDuration() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.SetMessageDuration(context.Background(), zapi.MessageDuration7Days))
	fmt.Println(server.Settings(client.InstanceID()).MessageDuration)
	// Output:
	// <nil>
	// days7
}

func ExampleClient_DisallowedContacts() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 1111-1111"))
	fmt.Println(err)

	fmt.Println(client.DisallowedContacts(ctx, zapi.BlacklistPhoto))
	fmt.Println(client.DisallowedContacts(ctx, zapi.BlacklistLastSeen)) // has a list of its own
	// Output:
	// <nil>
	// [554411111111] <nil>
	// [] <nil>
}

// Only the difference is sent, so the whole list can be passed again and again.
func ExampleClient_ReplaceBlacklist() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	yesterday := []string{"554411111111", "554422222222"}
	diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, yesterday)
	fmt.Println("added", diff.Added, "removed", diff.Removed, err)

	today := []string{"+55 44 2222-2222", "554433333333"}
	diff, err = client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, today)
	fmt.Println("added", diff.Added, "removed", diff.Removed, err)
	// Output:
	// added [554411111111 554422222222] removed [] <nil>
	// added [554433333333] removed [554411111111] <nil>
}

// Settings that the policy does not name are left as they are.
func ExampleClient_Apply() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	policy := zapi.Policy{
		LastSeen: &zapi.Audience{
			Visibility: zapi.VisibilityContactBlacklist,
			Except:     []string{"+55 44 1111-1111"},
		},
		Online:       zapi.OnlineSameAsLastSeen,
		ReadReceipts: zapi.ReadReceiptsDisable,
	}
	fmt.Println(client.Apply(context.Background(), policy))

	settings := server.Settings(client.InstanceID())
	fmt.Println(settings.LastSeen, settings.Online, settings.ReadReceipts)
	fmt.Println(settings.Photo.Visibility)
	// Output:
	// <nil>
	// {CONTACT_BLACKLIST [554411111111]} SAME_LAST_SEEN disable
	// ALL
}

// A policy can be kept as JSON, in a file or a database column. It is read strictly.
func ExamplePolicy() {
	var policy zapi.Policy
	err := json.Unmarshal([]byte(`{
		"photo": {"visibility": "CONTACT_BLACKLIST", "except": ["554411111111"]},
		"messageDuration": "days90"
	}`), &policy)
	fmt.Println(policy.Photo.Except, policy.MessageDuration, err)

	policy.Photo = nil
	text, err := json.Marshal(policy)
	fmt.Println(string(text), err)

	err = json.Unmarshal([]byte(`{"photo": {"visibility": "FRIENDS"}}`), &policy)
	fmt.Println(err)
	// Output:
	// [554411111111] days90 <nil>
	// {"messageDuration":"days90"} <nil>
	// zapi: policy: photo.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST, not "FRIENDS"
}

// Validate returns everything that is wrong, one line each.
func ExamplePolicy_Validate() {
	policy := zapi.Policy{
		Photo: &zapi.Audience{
			Visibility: zapi.VisibilityAll,
			Except:     []string{"554411111111"},
		},
		GroupAdd: &zapi.Audience{Visibility: zapi.VisibilityNone},
	}
	fmt.Println(policy.Validate())
	// Output:
	// zapi: policy: photo.except: is allowed only with CONTACT_BLACKLIST
	// zapi: policy: groupAdd.visibility: must be one of ALL, CONTACTS, CONTACT_BLACKLIST, not "NONE"
}

// The value types are flags as well, and refuse an unknown value with a list of the allowed ones.
func ExampleVisibility() {
	flags := flag.NewFlagSet("privacy", flag.ContinueOnError)
	var photo zapi.Visibility
	flags.TextVar(&photo, "photo", zapi.VisibilityContacts, "who sees the photo")

	err := flags.Parse([]string{"-photo", "NONE"})
	fmt.Println(photo, err)
	err = photo.UnmarshalText([]byte("nobody"))
	fmt.Println(photo, err)
	// Output:
	// NONE <nil>
	// NONE zapi: Visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST, not "nobody"
}

// Phones may be written in several ways. The same contact is sent once, as digits.
func ExampleDisallow() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 (44) 91111-1111"),
		zapi.Disallow("5544911111111"),
		zapi.Disallow("999999999999999@lid")) // a private id
	fmt.Println(err)
	fmt.Println(server.Settings(client.InstanceID()).Photo.Blacklist)
	// Output:
	// <nil>
	// [5544911111111 999999999999999@lid]
}

// Allow ends what Disallow began.
func ExampleAllow() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, change := range []zapi.BlacklistChange{
		zapi.Disallow("554411111111"), zapi.Allow("554411111111"),
	} {
		err := client.SetPhotoVisibility(ctx, zapi.VisibilityContactBlacklist, change)
		fmt.Println(server.Settings(client.InstanceID()).Photo.Blacklist, err)
	}
	// Output:
	// [554411111111] <nil>
	// [] <nil>
}
