package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// A list that comes from a file may be empty by mistake, so look before it is replaced.
func ExampleClient_DiffBlacklist() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	list := []string{"554411111111", "554422222222", "554433333333"}
	if _, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, list); err != nil {
		log.Fatal(err)
	}

	diff, err := client.DiffBlacklist(ctx, zapi.BlacklistPhoto, list[:1])
	if err != nil {
		log.Fatal(err)
	}
	if len(diff.Removed) > len(list)/2 {
		fmt.Println("stopped: this would remove", diff.Removed)
	}
	hidden := server.Settings(client.InstanceID()).Photo.Blacklist
	fmt.Println(len(hidden), "contacts are still hidden")
	// Output:
	// stopped: this would remove [554422222222 554433333333]
	// 3 contacts are still hidden
}

// Plan shows what Apply would send. The table counts contacts and shows no phone.
func ExampleClient_Plan() {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	plan, err := client.Plan(context.Background(), zapi.Policy{
		LastSeen: &zapi.Audience{
			Visibility: zapi.VisibilityContactBlacklist,
			Except:     []string{"+55 44 1111-1111"},
		},
		Online: zapi.OnlineSameAsLastSeen,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	fmt.Println(plan[0].Blacklist.Added)
	// Output:
	// SETTING   VALUE              BLACKLIST
	// lastSeen  CONTACT_BLACKLIST  1 added, 0 removed
	// online    SAME_LAST_SEEN     -
	// [554411111111]
}

// Phones of a file can be checked, and compared, before any call.
func ExampleNormalizePhone() {
	for _, phone := range []string{
		"+55 (44) 91111-1111", "999999999999999@lid", "5544911111111.0",
	} {
		normal, err := zapi.NormalizePhone(phone)
		fmt.Printf("%q %t\n", normal, errors.Is(err, zapi.ErrInvalidArgument))
	}
	// Output:
	// "5544911111111" false
	// "999999999999999@lid" false
	// "" true
}

// A file that names no setting can be read. To apply it is a mistake, which IsZero finds early.
func ExamplePolicy_IsZero() {
	var policy zapi.Policy
	err := json.Unmarshal([]byte(`{"photo": null}`), &policy)
	fmt.Println(policy.IsZero(), err)
	fmt.Println(policy.Validate())
	// Output:
	// true <nil>
	// zapi: policy: must name at least one setting
}
