// Package readme compares README.md with the code.
package readme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

// The code of README.md, word for word: TestCode compares them.

func firstScreen(ctx context.Context) error {
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

func replace(ctx context.Context, client *zapi.Client) error {
	diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{"+55 44 91111-1111", "554422222222"})
	if err != nil {
		return err
	}
	fmt.Println("added", len(diff.Added), "removed", len(diff.Removed))
	return nil
}

func apply(ctx context.Context, client *zapi.Client, data []byte) error {
	var policy zapi.Policy
	if err := json.Unmarshal(data, &policy); err != nil { // unknown keys and values are refused by name
		return err
	}
	return client.Apply(ctx, policy)
}

func handle(ctx context.Context, client *zapi.Client) {
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

func fakeServer(ctx context.Context) error {
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client()
	if err != nil {
		return err
	}
	server.FailNext(1, zapitest.Answer{Body: `{"success": false}`})

	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone)) // zapi: privacy/photo: rejected: success is false
	fmt.Println(client.SetPhotoVisibility(ctx, zapi.VisibilityNone)) // <nil>
	fmt.Println(server.Settings(client.InstanceID()).Photo.Visibility)
	return nil
}

func mockNetwork(creds zapi.Credentials) (*zapi.Client, error) {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST", "https://api.z-api.io/instances/instance/token/token/privacy/photo",
		httpmock.NewStringResponder(http.StatusOK, `{"success": true}`))
	client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
	return client, err
}

func Example() {
	ctx := context.Background()
	fmt.Println(firstScreen(ctx) != nil) // a test has no credentials in its environment
	if err := fakeServer(ctx); err != nil {
		fmt.Println(err)
	}
	client, err := mockNetwork(zapi.Credentials{InstanceID: "instance", Token: "token", ClientToken: "client-token"})
	if err != nil {
		fmt.Println(err)
	}
	handle(ctx, client)
	// Output:
	// true
	// zapi: privacy/photo: rejected: success is false
	// <nil>
	// NONE
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

func TestBlacklistAndPolicy(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	require.NoError(t, replace(t.Context(), client))
	policy := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(readFile(t, "../../README.md"))
	require.NotNil(t, policy)
	require.NoError(t, apply(t.Context(), client, []byte(policy[1])))
	settings := server.Settings(client.InstanceID())
	assert.Equal(t, []string{"5544911111111"}, settings.LastSeen.Blacklist)
	assert.Equal(t, []string{"554422222222", "5544911111111"}, settings.Photo.Blacklist)
	assert.Equal(t, zapi.MessageDuration90Days, settings.MessageDuration)
}

func TestCode(t *testing.T) {
	t.Parallel()
	compiled := strings.ReplaceAll(readFile(t, "readme_test.go"), "\n\t", "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, "../../README.md"), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		assert.Contains(t, compiled, "\n"+block[1])
	}
	assert.LessOrEqual(t, strings.Count(blocks[0][1], "\n"), 20, "the first example fits the first screen")
}

// root is the package zapi, parsed.
func root(t *testing.T) *doc.Package {
	t.Helper()
	files := token.NewFileSet()
	var parsed []*ast.File
	names, err := filepath.Glob("../../*.go")
	require.NoError(t, err)
	for _, name := range names {
		file, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		require.NoError(t, err)
		if !strings.HasSuffix(name, "_test.go") {
			parsed = append(parsed, file)
		}
	}
	pkg, err := doc.NewFromFiles(files, parsed, "github.com/zapi-go/zapi")
	require.NoError(t, err)
	return pkg
}

// rows returns the first cell of each row of the table whose header begins with title, without its quotation marks.
func rows(t *testing.T, page, title string) []string {
	t.Helper()
	_, table, ok := strings.Cut(page, "\n| "+title+" |")
	require.True(t, ok, title)
	table, _, _ = strings.Cut(table, "\n\n")
	var cells []string
	for _, row := range strings.Split(table, "\n")[2:] {
		cells = append(cells, strings.Trim(strings.Split(row, "|")[1], " `"))
	}
	return cells
}

// The tables name each call with its route, each option and each kind of error.
func TestTables(t *testing.T) {
	t.Parallel()
	readme := readFile(t, "../../README.md")
	pkg := root(t)
	var calls, options, kinds []string
	for _, typ := range pkg.Types {
		for _, method := range typ.Methods {
			if params := method.Decl.Type.Params.List; typ.Name == "Client" && len(params) > 0 && params[0].Names[0].Name == "ctx" {
				calls = append(calls, method.Name)
				if route := regexp.MustCompile(`(?m)^((?:POST|GET) /\S+), `).FindStringSubmatch(method.Doc); route != nil && !strings.Contains(method.Doc, "then POST") {
					assert.Regexp(t, "(?m)^\\| `"+method.Name+"` \\|.*\\| `"+route[1]+"` \\|$", readme)
				}
			}
		}
		for _, function := range typ.Funcs {
			if typ.Name == "Option" {
				options = append(options, function.Name)
			}
		}
	}
	for _, group := range pkg.Vars {
		kinds = append(kinds, group.Names...)
	}
	require.NotEmpty(t, calls)
	require.NotEmpty(t, options)
	require.NotEmpty(t, kinds)
	assert.ElementsMatch(t, calls, rows(t, readme, "Method"))
	assert.ElementsMatch(t, options, rows(t, readme, "Option"))
	assert.ElementsMatch(t, kinds, rows(t, readme, "Kind"))
}

func TestVersionIsInTheChangelog(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	require.NoError(t, client.SetOnlineVisibility(t.Context(), zapi.OnlineAll))
	_, version, _ := strings.Cut(server.Requests()[0].Header.Get("User-Agent"), "/")
	released := regexp.MustCompile(`(?m)^## \[(\d\S+)\]`).FindStringSubmatch(readFile(t, "../../CHANGELOG.md"))
	require.NotNil(t, released)
	assert.Equal(t, released[1], version)
}

// SECURITY.md names tests that exist.
func TestSecurityNamesItsTests(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	files, err := filepath.Glob("../../*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		sources.WriteString(readFile(t, file))
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(readFile(t, "../../SECURITY.md"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Contains(t, sources.String(), "func "+name[1]+"(")
	}
}
