package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// The code of README.md, to the letter: TestReadmeCode compares them.

func readmeFirstScreen(ctx context.Context) error {
	creds, err := zapi.CredentialsFromEnv() // ZAPI_INSTANCE_ID, ZAPI_TOKEN, ZAPI_CLIENT_TOKEN
	if err != nil {
		return err
	}
	client, err := zapi.NewClient(creds)
	if err != nil {
		return err
	}
	return client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist,
		zapi.Disallow("+55 44 91111-1111"), // no longer sees it
		zapi.Allow("554422222222"))         // sees it again
}

func readmeReplace(ctx context.Context, client *zapi.Client) error {
	diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{"+55 44 91111-1111", "554422222222"})
	if err != nil {
		return err
	}
	fmt.Println("added", len(diff.Added), "removed", len(diff.Removed))
	return nil
}

func readmePolicy(ctx context.Context, client *zapi.Client, data []byte) error {
	var policy zapi.Policy
	if err := json.Unmarshal(data, &policy); err != nil { // unknown keys and values are refused by name
		return err
	}
	return client.Apply(ctx, policy)
}

func readmeErrors(ctx context.Context, client *zapi.Client) {
	err := client.SetPhotoVisibility(ctx, zapi.VisibilityContacts)
	var apiErr *zapi.APIError
	switch {
	case errors.Is(err, zapi.ErrRateLimited) && errors.As(err, &apiErr):
		fmt.Println("again in", apiErr.RetryAfter)
	case errors.Is(err, zapi.ErrUnauthorized):
		fmt.Println("check the credentials of instance", client.InstanceID())
	case err != nil:
		fmt.Println(err)
	}
}

func readmeFakeServer(ctx context.Context) error {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	server.FailNext(1, zapitest.Answer{Body: `{"success": false}`})

	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone)) // zapi: privacy/photo: 200 OK: success is false
	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone)) // <nil>
	fmt.Println(server.Settings(client.InstanceID()).Photo.Visibility)
	return nil
}

func readmeMock(creds zapi.Credentials) (*zapi.Client, error) {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST", "https://api.z-api.io/instances/instance/token/token/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
	return client, err
}

func Example_readme() {
	ctx := context.Background()
	fmt.Println(readmeFirstScreen(ctx) != nil) // a test has no credentials in its environment
	if err := readmeFakeServer(ctx); err != nil {
		fmt.Println(err)
	}
	client, err := readmeMock(zapi.Credentials{InstanceID: "instance", Token: "token", ClientToken: "client-token"})
	if err != nil {
		fmt.Println(err)
	}
	readmeErrors(ctx, client)
	// Output:
	// true
	// zapi: privacy/photo: 200 OK: success is false
	// <nil>
	// NONE
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

func TestReadmeBlacklistAndPolicy(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	require.NoError(t, readmeReplace(t.Context(), client))
	policy := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(readFile(t, "README.md"))
	require.NotNil(t, policy)
	require.NoError(t, readmePolicy(t.Context(), client, []byte(policy[1])))
	settings := server.Settings(client.InstanceID())
	assert.Equal(t, []string{"5544911111111"}, settings.LastSeen.Blacklist)
	assert.Equal(t, []string{"554422222222", "5544911111111"}, settings.Photo.Blacklist)
	assert.Equal(t, zapi.MessageDuration90Days, settings.MessageDuration)
}

func TestReadmeCode(t *testing.T) {
	t.Parallel()
	compiled := strings.ReplaceAll(readFile(t, "readme_test.go"), "\n\t", "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, "README.md"), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		assert.Contains(t, compiled, "\n"+block[1])
	}
	assert.LessOrEqual(t, strings.Count(blocks[0][1], "\n"), 20, "the first example fits the first screen")
}

// The tables name each method with its route and each kind of error.
func TestReadmeTables(t *testing.T) {
	t.Parallel()
	readme := readFile(t, "README.md")
	ctxType := reflect.TypeFor[context.Context]()
	var methods []string
	client := reflect.TypeFor[*zapi.Client]()
	for i := range client.NumMethod() {
		if method := client.Method(i); method.Type.NumIn() > 1 && method.Type.In(1) == ctxType {
			methods = append(methods, method.Name)
		}
	}
	var rows, options []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|.*\\| (?:`(?:POST|GET) /(privacy/[a-z-]+)`|.*) \\|$").FindAllStringSubmatch(readme, -1) {
		if strings.HasPrefix(row[1], "Err") {
			continue
		}
		if strings.HasPrefix(row[1], "With") {
			options = append(options, "func "+row[1])
			continue
		}
		rows = append(rows, row[1])
		if row[2] != "" {
			assert.True(t, slices.ContainsFunc(calls, func(c call) bool { return c.op == row[2] }), row[2])
		}
	}
	slices.Sort(rows)
	assert.Equal(t, methods, rows)
	assert.ElementsMatch(t, regexp.MustCompile(`(?m)^func With\w+`).FindAllString(readFile(t, "client.go"), -1), options)
	for _, kind := range []string{
		"ErrInvalidArgument", "ErrUnauthorized", "ErrNotFound", "ErrMethodNotAllowed", "ErrUnsupportedMediaType",
		"ErrRateLimited", "ErrUnavailable", "ErrRejected", "ErrUnexpectedResponse",
	} {
		assert.Contains(t, readme, "| `"+kind+"` |")
	}
}

func TestVersionIsInTheChangelog(t *testing.T) {
	t.Parallel()
	api := newMockAPI(succeeding)
	require.NoError(t, setOnline(t.Context(), api.client(t)))
	_, version, _ := strings.Cut(api.requests()[0].Header.Get("User-Agent"), "/")
	released := regexp.MustCompile(`(?m)^## \[(\d\S+)\]`).FindStringSubmatch(readFile(t, "CHANGELOG.md"))
	require.NotNil(t, released)
	assert.Equal(t, released[1], version)
}

// SECURITY.md names tests that exist.
func TestSecurityNamesItsTests(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file.Name(), "_test.go") {
			sources.WriteString(readFile(t, file.Name()))
		}
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(readFile(t, "SECURITY.md"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Contains(t, sources.String(), "func "+name[1]+"(")
	}
}
