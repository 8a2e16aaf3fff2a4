package surface

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// check compiles source and returns all that is wrong with it.
func check(t *testing.T, path, source string) (*types.Package, []types.Error) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path+".go", source, parser.SkipObjectResolution)
	require.NoError(t, err, source)
	var errs []types.Error
	config := types.Config{Importer: newImporter(t), Error: func(err error) {
		var typeErr types.Error
		if errors.As(err, &typeErr) {
			errs = append(errs, typeErr)
		}
	}}
	pkg, err := config.Check(path, files, []*ast.File{file}, nil)
	require.Equal(t, err != nil, len(errs) > 0, err)
	return pkg, errs
}

// program returns one that runs the statements with a context and a client.
func program(statements string) string {
	return `package program
import (
	"context"
	"time"
	"github.com/zapi-go/zapi"
)
var _ time.Duration
func run(ctx context.Context, client *zapi.Client, text string) {
	` + statements + `
}
`
}

func TestCompiles(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, statements string }{
		{"changes", `_ = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(text), zapi.Allow(text))`},
		{"list of changes", `var changes []zapi.BlacklistChange; _ = client.SetLastSeen(ctx, zapi.VisibilityAll, changes...)`},
		{"text, converted", `_ = client.SetLastSeen(ctx, zapi.Visibility(text))`},
		{"constant text, which is checked when it runs", `_ = client.SetOnlineVisibility(ctx, "NONE")`},
		{"replaced list", `diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{text}); _, _ = diff, err`},
		{"policy", `_ = client.Apply(ctx, zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityAll}, Online: zapi.OnlineAll})`},
		{"interceptor", `_ = zapi.WithInterceptor(func(ctx context.Context, _ zapi.Call, next func(context.Context) error) error { return next(ctx) })`},
		{"error of a test", `var _ error = &zapi.APIError{StatusCode: 429}`},
		{"previewed list", `diff, err := client.DiffBlacklist(ctx, zapi.BlacklistPhoto, []string{text}); _, _ = len(diff.Added), err`},
		{"previewed policy", `plan, err := client.Plan(ctx, zapi.Policy{Online: zapi.OnlineAll}); _, _ = plan[0].Blacklist.Added, err`},
		{"status", `status, err := client.Status(ctx); _, _ = status.Connected && status.PhoneConnected, err; _ = status.Reason`},
		{"another route", `var out struct{}; _ = client.Do(ctx, "GET", text, nil, &out)`},
		{"clients from a database", `api, err := zapi.NewAPI(); client, err = api.Instance(zapi.Credentials{}); api.CloseIdleConnections(); _ = err`},
		{"kind and repetition", `var word string = zapi.Kind(client.Apply(ctx, zapi.Policy{})); var after time.Duration; after, ok := zapi.Retryable(nil); _, _, _ = word, after, ok`},
		{"failed settings", `_ = (&zapi.ApplyError{Failed: []zapi.SettingError{{Setting: text, Err: zapi.ErrNotConnected}}}).Failed[0].Err`},
		{"setting as an error", `var _, _ error = zapi.SettingError{}, &zapi.SettingError{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, errs := check(t, "program", program(tt.statements))
			assert.Empty(t, errs)
		})
	}
}

func TestDoesNotCompile(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, statements, message string }{
		{"visibility for online", `_ = client.SetOnlineVisibility(ctx, zapi.VisibilityAll)`, `cannot use zapi.VisibilityAll (constant "ALL" of string type zapi.Visibility) as zapi.OnlineVisibility value`},
		{"visibility for group add", `_ = client.SetGroupAddPermission(ctx, zapi.VisibilityNone)`, "as zapi.GroupAddPermission value"},
		{"group add for last seen", `_ = client.SetLastSeen(ctx, zapi.GroupAddAll)`, "as zapi.Visibility value"},
		{"online for last seen", `_ = client.SetLastSeen(ctx, zapi.OnlineSameAsLastSeen)`, "as zapi.Visibility value"},
		{"visibility for a scope", `_, _ = client.DisallowedContacts(ctx, zapi.VisibilityContactBlacklist)`, "as zapi.BlacklistScope value"},
		{"action for a scope", `_, _ = client.ReplaceBlacklist(ctx, zapi.BlacklistAdd, nil)`, "as zapi.BlacklistScope value"},
		{"scope for a visibility", `_ = client.SetPhotoVisibility(ctx, zapi.BlacklistPhoto)`, "as zapi.Visibility value"},
		{"variable text", `_ = client.SetDescriptionVisibility(ctx, text)`, "cannot use text (variable of type string) as zapi.Visibility value"},
		{"variable text for a scope", `_, _ = client.DisallowedContacts(ctx, text)`, "as zapi.BlacklistScope value"},
		{"bool for read receipts", `_ = client.SetReadReceipts(ctx, true)`, "as zapi.ReadReceipts value"},
		{"time.Duration for a message duration", `_ = client.SetMessageDuration(ctx, 24*time.Hour)`, "as zapi.MessageDuration value"},
		{"changes for online", `_ = client.SetOnlineVisibility(ctx, zapi.OnlineAll, zapi.Disallow(text))`, "too many arguments"},
		{"changes for read receipts", `_ = client.SetReadReceipts(ctx, zapi.ReadReceiptsEnable, zapi.Disallow(text))`, "too many arguments"},
		{"phone for a change", `_ = client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, text)`, "as zapi.BlacklistChange value"},
		{"changes for a whole list", `_, _ = client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []zapi.BlacklistChange{})`, "as []string value"},
		{"no context", `_ = client.SetLastSeen(zapi.VisibilityAll)`, "not enough arguments"},
		{"result of a list as one value", `contacts := client.DisallowedContacts(ctx, zapi.BlacklistPhoto); _ = contacts`, "assignment mismatch"},
		{"visibility in the place of online in a policy", `_ = zapi.Policy{Online: zapi.VisibilityAll}`, "as zapi.OnlineVisibility value"},
		{"group add in an audience", `_ = zapi.Audience{Visibility: zapi.GroupAddAll}`, "as zapi.Visibility value"},
		{"policy by pointer", `_ = client.Apply(ctx, &zapi.Policy{})`, "as zapi.Policy value"},
		{"instance of a client", `client.instanceID = text`, "instanceID"},
		{"option of one's own", `_ = zapi.WithRateLimiter(time.Tick)`, "missing method Wait"},
		{"scope for another route", `_ = client.Do(ctx, zapi.BlacklistPhoto, "device", nil, nil)`, "as string value"},
		{"another route without out", `_ = client.Do(ctx, "GET", "device", nil)`, "not enough arguments"},
		{"credentials for an API", `_, _ = zapi.NewAPI(zapi.Credentials{})`, "as zapi.Option value"},
		{"options for an instance", `api, _ := zapi.NewAPI(); _, _ = api.Instance(zapi.Credentials{}, zapi.WithTimeout(0))`, "too many arguments"},
		{"status as a condition", `if status, _ := client.Status(ctx); status {}`, "non-boolean condition"},
		{"policy by pointer for a plan", `_, _ = client.Plan(ctx, &zapi.Policy{})`, "as zapi.Policy value"},
		{"API without NewAPI", `_ = zapi.API{}.resty`, "resty"},
		{"milliseconds for a timeout", `timeout := 500; _ = zapi.WithTimeout(timeout)`, "as time.Duration value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, errs := check(t, "program", program(tt.statements))
			require.Len(t, errs, 1)
			assert.Contains(t, errs[0].Msg, tt.message)
		})
	}
}

// Each call takes the constants of its own type and no others.
func TestCallsTakeTheirOwnValues(t *testing.T) {
	t.Parallel()
	pkg, err := newImporter(t).Import(packages[0].path)
	require.NoError(t, err)
	var values []*types.Const
	for _, name := range pkg.Scope().Names() {
		if value, ok := pkg.Scope().Lookup(name).(*types.Const); ok && value.Exported() {
			values = append(values, value)
		}
	}
	require.NotEmpty(t, values)

	var right, wrong []string // statements
	client := types.NewPointer(pkg.Scope().Lookup("Client").Type())
	for method := range types.NewMethodSet(client).Methods() {
		params := method.Type().(*types.Signature).Params()
		if !method.Obj().Exported() || params.Len() < 2 || !isValueType(params.At(1).Type()) {
			continue
		}
		for _, value := range values {
			statement := fmt.Sprintf("client.%s(ctx, zapi.%s)", method.Obj().Name(), value.Name())
			if params.Len() > 2 && !method.Type().(*types.Signature).Variadic() {
				statement = fmt.Sprintf("client.%s(ctx, zapi.%s, nil)", method.Obj().Name(), value.Name())
			}
			if types.Identical(value.Type(), params.At(1).Type()) {
				right = append(right, statement)
			} else {
				wrong = append(wrong, statement)
			}
		}
	}
	assert.Contains(t, right, "client.SetOnlineVisibility(ctx, zapi.OnlineAll)")
	assert.Contains(t, wrong, "client.SetOnlineVisibility(ctx, zapi.VisibilityAll)")

	source := program(strings.Join(append(right, wrong...), "\n"))
	lines := strings.Split(source, "\n")
	_, errs := check(t, "program", source)
	var refused []string
	for _, err := range errs {
		assert.Contains(t, err.Msg, " value in argument to client.")
		refused = append(refused, strings.TrimSpace(lines[err.Fset.Position(err.Pos).Line-1]))
	}
	assert.Equal(t, wrong, refused)
}

// isValueType reports whether t is one of the types with constants.
func isValueType(t types.Type) bool {
	_, named := t.(*types.Named)
	basic, ok := t.Underlying().(*types.Basic)
	return named && ok && basic.Kind() == types.String
}
