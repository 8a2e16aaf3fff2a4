package readme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jarcoal/httpmock"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// The code of the English pages, word for word: TestCode compares them.

func firstCall(ctx context.Context) error {
	creds, err := zapi.CredentialsFromEnv() // ZAPI_INSTANCE_ID, ZAPI_TOKEN, ZAPI_CLIENT_TOKEN
	if err != nil {
		return err
	}
	client, err := zapi.NewClient(creds)
	if err != nil {
		return err
	}
	if err := client.SetPhotoVisibility(ctx, zapi.VisibilityContacts); err != nil {
		return err
	}
	return client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 91111-1111"), // no longer sees it
		zapi.Allow("554422222222"))         // sees it again
}

func fakeServer(ctx context.Context) error {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	server.FailNext(1, zapitest.Answer{Body: `{"success": false}`})

	err = client.SetPhotoVisibility(ctx, zapi.VisibilityNone)
	fmt.Println(err) // zapi: privacy/photo: rejected: success is false
	err = client.SetPhotoVisibility(ctx, zapi.VisibilityNone)
	fmt.Println(err, server.Settings(client.InstanceID()).Photo.Visibility) // <nil> NONE
	return nil
}

func mockNetwork(creds zapi.Credentials) (*zapi.Client, error) {
	httpmock.RegisterResponder("POST",
		"https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	client, err := zapi.NewClient(creds, zapi.WithTransport(httpmock.DefaultTransport),
		zapi.WithRetry(zapi.RetryPolicy{}))
	return client, err
}

type photoSetter interface {
	SetPhotoVisibility(context.Context, zapi.Visibility, ...zapi.BlacklistChange) error
}

var _ photoSetter = (*zapi.Client)(nil) // what the README says of interfaces

// queued is the job of a queue.
type queued interface {
	Done()
	RepeatAfter(wait time.Duration)
	Park(reason string)
}

func settle(job queued, err error) {
	switch wait, again := zapi.Retryable(err); {
	case err == nil:
		job.Done()
	case again:
		job.RepeatAfter(max(wait, time.Minute))
	default:
		job.Park(zapi.Kind(err)) // for a person
	}
}

//nolint:errcheck,noctx,usestdlibvars // what people write by hand, and the page compares with
func hideLastSeen(instanceID, token, clientToken, phone string) error {
	url := "https://api.z-api.io/instances/" + instanceID + "/token/" + token + "/privacy/last-seen"
	body := `{"visualizationType": "CONTACT_BLACKLIST",
		"contactsBlacklist": [{"action": "add", "phone": "` + phone + `"}]}`
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Client-Token", clientToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err // its text holds the token
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil // even if the body is {"success": false}
}

func hidePhoto(ctx context.Context, api *zapi.API, instanceID, token, clientToken string) error {
	client, err := api.Instance(zapi.Credentials{
		InstanceID: instanceID, Token: token, ClientToken: clientToken,
	})
	if err != nil {
		return err // matches ErrInvalidCredentials
	}
	return client.SetPhotoVisibility(ctx, zapi.VisibilityNone)
}

func hideLastSeenWithZapi(ctx context.Context, client *zapi.Client, phone string) error {
	err := client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(phone))
	switch {
	case errors.Is(err, zapi.ErrUnauthorized):
		return fmt.Errorf("check the credentials of instance %s: %w", client.InstanceID(), err)
	case errors.Is(err, zapi.ErrInvalidArgument):
		return fmt.Errorf("check the phone: %w", err)
	}
	return err // nil only if the API reports success
}

type printedJob struct{}

func (printedJob) Done()                       { fmt.Println("done") }
func (printedJob) RepeatAfter(d time.Duration) { fmt.Println("again after", d) }
func (printedJob) Park(reason string)          { fmt.Println("parked:", reason) }

func Example_queue() {
	settle(printedJob{}, nil)
	settle(printedJob{}, &zapi.APIError{StatusCode: 429, RetryAfter: 5 * time.Minute})
	settle(printedJob{}, &zapi.APIError{StatusCode: 503})
	settle(printedJob{}, &zapi.APIError{StatusCode: 403})
	// Output:
	// done
	// again after 5m0s
	// again after 1m0s
	// parked: unauthorized
}

func Example() {
	ctx := context.Background()
	fmt.Println(firstCall(ctx))
	if err := fakeServer(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// zapi: CredentialsFromEnv: ZAPI_INSTANCE_ID, ZAPI_TOKEN: must be set in the environment
	// zapi: privacy/photo: rejected: success is false
	// <nil> NONE
}
