// Package readme compares the pages with the code, and the pages in Portuguese with those in English.
package readme

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/scanner"
	"go/token"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"ZAPI_INSTANCE_ID", "ZAPI_TOKEN", "ZAPI_CLIENT_TOKEN"} {
		if err := os.Unsetenv(name); err != nil { // the first call of the README would change a real number
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// english are the pages that have a counterpart in Portuguese.
var english = []string{"README.md", "docs/migrating.md", "docs/troubleshooting.md"}

// others are pages that are not translated.
var others = []string{"BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}

const provider = "https://developer.z-api.io/"

func portuguese(name string) string { return strings.TrimSuffix(name, ".md") + ".pt-BR.md" }

func TestCode(t *testing.T) {
	t.Parallel()
	source := readFile(t, "internal/readme/code_test.go")
	inFunctions := strings.ReplaceAll(source, "\n\t", "\n")
	for _, name := range english {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, b := range readPage(t, name).blocks {
				if b.language != "go" {
					continue
				}
				if !strings.Contains(source, "\n"+b.text) {
					assert.Contains(t, inFunctions, "\n"+b.text)
				}
				for _, output := range regexp.MustCompile(`(?m)fmt\.Println\(.*\) // (.*)$`).FindAllStringSubmatch(b.text, -1) {
					_, outputs, _ := strings.Cut(source, "// Output:\n")
					assert.Contains(t, outputs, "\t// "+output[1]+"\n")
				}
			}
		})
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Concat(english, []string{portuguese("README.md")}) {
		p := readPage(t, name)
		if strings.HasPrefix(name, "README") {
			assert.LessOrEqual(t, strings.Count(p.text, "\n"), 230, name)
			first := slices.IndexFunc(p.blocks, func(b block) bool { return b.language == "go" })
			assert.LessOrEqual(t, strings.Count(p.blocks[first].text, "\n"), 20, name)
		}
		for _, b := range p.blocks {
			for line := range strings.Lines(b.text) {
				columns := len([]rune(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
				assert.LessOrEqual(t, columns, 100, "%s: %s", name, line)
			}
		}
	}
}

func TestBothLanguages(t *testing.T) {
	t.Parallel()
	for _, name := range english {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			en, pt := readPage(t, name), readPage(t, portuguese(name))
			require.Len(t, pt.headings, len(en.headings))
			for i := range en.headings {
				assert.Equal(t, en.headings[i].level, pt.headings[i].level, pt.headings[i].anchor)
			}
			require.Len(t, pt.blocks, len(en.blocks))
			for i, b := range en.blocks {
				assert.Equal(t, b.language, pt.blocks[i].language)
				assert.Equal(t, withoutComments(b), withoutComments(pt.blocks[i]))
			}
			require.Len(t, pt.tables, len(en.tables))
			for i, table := range en.tables {
				require.Len(t, pt.tables[i], len(table), table[0].code())
				for j, row := range table {
					want, have := strings.Join(row, " | "), strings.Join(pt.tables[i][j], " | ")
					want = strings.Replace(want, "user:password@host:port", "usuario:senha@host:porta", 1)
					if strings.ContainsAny(row[0], "`[") { // other words are translated
						assert.Equal(t, row.code(), pt.tables[i][j].code())
					}
					assert.ElementsMatch(t, codeSpans(want), codeSpans(have), have)
				}
			}
			assert.Equal(t, destinations(t, en), destinations(t, pt))
			for _, link := range en.links {
				if strings.HasPrefix(link, provider) {
					assert.Contains(t, link, provider+"en/")
				}
			}
			for _, link := range pt.links {
				assert.NotContains(t, link, provider+"en/")
			}
		})
	}
}

// withoutComments returns the tokens of Go, whose comments may be translated, or the text of another language.
func withoutComments(b block) string {
	if b.language != "go" {
		return b.text
	}
	var s scanner.Scanner
	var tokens strings.Builder
	source := []byte(b.text)
	s.Init(token.NewFileSet().AddFile("", -1, len(source)), source, nil, 0)
	for {
		_, tok, literal := s.Scan()
		if tok == token.EOF {
			return tokens.String()
		}
		fmt.Fprintln(&tokens, tok, literal)
	}
}

// destinations returns where the links of a page lead, in a form that does not depend on its language.
func destinations(t *testing.T, p page) []string {
	t.Helper()
	var all []string
	for _, link := range p.links {
		if strings.Contains(link, "://") {
			all = append(all, strings.Replace(link, provider+"en/", provider, 1))
			continue
		}
		file, place := p.resolve(t, link)
		all = append(all, fmt.Sprint(strings.Replace(file, ".pt-BR.md", ".md", 1), place))
	}
	return all
}

// resolve returns the file that a relative link names, and which of its headings; -1 for none.
func (p page) resolve(t *testing.T, link string) (file string, place int) {
	t.Helper()
	file, anchor, hasAnchor := strings.Cut(link, "#")
	target := p
	if file == "" {
		file = p.name
	} else if file = path.Join(path.Dir(p.name), file); hasAnchor {
		target = readPage(t, file)
	}
	if !hasAnchor {
		return file, -1
	}
	return file, slices.IndexFunc(target.headings, func(h heading) bool { return h.anchor == anchor })
}

func TestLinks(t *testing.T) {
	t.Parallel()
	names := slices.Clone(others)
	for _, name := range english {
		names = append(names, name, portuguese(name))
	}
	for _, name := range names {
		p := page{name: name, text: readFile(t, name)}
		if slices.Contains(others, name) {
			for _, link := range linkPattern.FindAllStringSubmatch(p.text, -1) {
				p.links = append(p.links, link[1])
			}
		} else {
			p = readPage(t, name)
		}
		for _, link := range p.links {
			if strings.Contains(link, "://") {
				continue
			}
			file, place := p.resolve(t, link)
			_, err := os.Stat(filepath.Join(root, file))
			assert.NoError(t, err, "%s: %s", name, link)
			if strings.Contains(link, "#") {
				assert.GreaterOrEqual(t, place, 0, "%s: %s names no heading", name, link)
			}
		}
	}
}

// parsePackage returns the package zapi, and all names that it exports, those of fields and methods included.
func parsePackage(t *testing.T) (pkg *doc.Package, names map[string]bool) {
	t.Helper()
	files := token.NewFileSet()
	var parsed []*ast.File
	names = make(map[string]bool)
	sources, err := filepath.Glob(filepath.Join(root, "*.go"))
	require.NoError(t, err)
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, source, nil, parser.ParseComments)
		require.NoError(t, err)
		parsed = append(parsed, file)
		ast.Inspect(file, func(node ast.Node) bool {
			if name, ok := node.(*ast.Ident); ok && name.IsExported() {
				names[name.Name] = true
			}
			return true
		})
	}
	pkg, err = doc.NewFromFiles(files, parsed, "github.com/zapi-go/zapi")
	require.NoError(t, err)
	return pkg, names
}

// The tables name each call with its page and its values, each option, and each error.
func TestTables(t *testing.T) {
	t.Parallel()
	pkg, _ := parsePackage(t)
	values := make(map[string]string) // of each type, as a cell shows them
	var options, errorTypes, kinds []string
	calls := make(map[string]*doc.Func)
	for _, typ := range pkg.Types {
		for _, group := range typ.Consts {
			values[typ.Name] = "`" + strings.Join(group.Names, "` `") + "`"
		}
		for _, method := range typ.Methods {
			if method.Name == "Error" && typ.Name != "ApplyError" && typ.Name != "SettingError" { // which hold one of the others
				errorTypes = append(errorTypes, "*"+typ.Name)
			}
			params := method.Decl.Type.Params.List
			if typ.Name == "Client" && len(params) > 0 && params[0].Names[0].Name == "ctx" {
				calls[method.Name] = method
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
	route := regexp.MustCompile(`(?m)^((?:POST|GET) /\S+), (https://\S+)$`)
	for _, name := range []string{"README.md", portuguese("README.md")} {
		p := readPage(t, name)
		assert.ElementsMatch(t, options, p.table(t, "WithBaseURL").codes())
		assert.ElementsMatch(t, errorTypes, p.table(t, "*ValidationError").codes())
		assert.ElementsMatch(t, kinds, p.table(t, "ErrInvalidArgument").codes())
		settings, others := p.table(t, "SetLastSeen"), p.table(t, "DisallowedContacts")
		assert.Len(t, slices.Concat(settings, others), len(calls))
		linked := 0
		for _, row := range slices.Concat(settings, others) {
			method := calls[row.code()]
			require.NotNil(t, method, row.code())
			documented := route.FindStringSubmatch(method.Doc)
			if documented == nil || !strings.HasPrefix(row[0], "[") {
				continue // it consists of several calls, or of any
			}
			linked++
			if name != "README.md" {
				documented[2] = strings.Replace(documented[2], "/en/", "/", 1)
			}
			assert.Equal(t, fmt.Sprintf("[`%s`](%s)", row.code(), documented[2]), row[0])
		}
		assert.Equal(t, 9, linked, "nine calls have a route of their own")
		for _, row := range settings {
			parameter, ok := calls[row.code()].Decl.Type.Params.List[1].Type.(*ast.Ident)
			require.True(t, ok, row.code())
			assert.Equal(t, values[parameter.Name], row[2], row.code())
		}
		assert.Len(t, settings, 7)
	}
}

// The names of this package in the tables of docs/migrating.md exist.
func TestMigratingNames(t *testing.T) {
	t.Parallel()
	_, exported := parsePackage(t)
	name := regexp.MustCompile(`(?:^|[^.\w])([A-Z][a-z]\w*)`)
	found := 0
	p := readPage(t, "docs/migrating.md")
	for _, row := range slices.Concat(p.table(t, "new ZAPI()"), p.table(t, "SetBaseURL")) {
		for _, span := range codeSpans(row[1]) {
			for _, match := range name.FindAllStringSubmatch(span, -1) {
				found++
				assert.True(t, exported[match[1]], "%s is not exported", match[1])
			}
		}
	}
	assert.Positive(t, found)
}

func TestExamples(t *testing.T) {
	t.Parallel()
	programs, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	require.NoError(t, err)
	require.NotEmpty(t, programs)
	table := readPage(t, "README.md").table(t, "quickstart")
	for _, program := range programs {
		assert.Contains(t, table.codes(), filepath.Base(filepath.Dir(program)))
	}
	for _, row := range table {
		name := row.code()
		command := "go run ./examples/" + name
		if _, err := os.Stat(filepath.Join(root, "examples", name, "go.mod")); err == nil {
			command = "cd examples/" + name + " && go run ."
		}
		assert.Equal(t, "`"+command+"`", row[2])
	}
}

func TestPolicyOfTheReadme(t *testing.T) {
	t.Parallel()
	blocks := readPage(t, "README.md").blocks
	i := slices.IndexFunc(blocks, func(b block) bool { return b.language == "json" })
	require.GreaterOrEqual(t, i, 0)
	var policy zapi.Policy
	require.NoError(t, json.Unmarshal([]byte(blocks[i].text), &policy))
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	require.NoError(t, client.Apply(t.Context(), policy))
	settings := server.Settings(client.InstanceID())
	assert.Equal(t, []string{"5544911111111"}, settings.LastSeen.Blacklist)
	assert.Equal(t, zapi.VisibilityContacts, settings.Photo.Visibility)
	assert.Equal(t, zapi.VisibilityContactBlacklist, settings.GroupAdd.Visibility)
	assert.Equal(t, zapi.MessageDuration90Days, settings.MessageDuration)
}

// What is tried again is what the README lists.
func TestRetriedStatuses(t *testing.T) {
	t.Parallel()
	sentence := regexp.MustCompile(`the status ([\d, ]+ and \d+)`).FindStringSubmatch(readFile(t, "README.md"))
	require.NotNil(t, sentence)
	listed := regexp.MustCompile(`\d+`).FindAllString(sentence[1], -1)
	var retried []string
	for status := 400; status < 600; status++ {
		mock := httpmock.NewMockTransport()
		mock.RegisterNoResponder(httpmock.NewStringResponder(status, ""))
		client, err := zapi.NewClient(creds, zapi.WithTransport(mock),
			zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MaxWait: time.Nanosecond}))
		require.NoError(t, err)
		require.Error(t, client.SetOnlineVisibility(t.Context(), zapi.OnlineAll))
		if mock.GetTotalCallCount() > 1 {
			retried = append(retried, fmt.Sprint(status))
		}
	}
	assert.Equal(t, listed, retried)
}

// The code before and after sends the same request. It is not parallel, as it replaces the transport of http.DefaultClient.
func TestMigration(t *testing.T) {
	type sent struct{ path, token, contentType, body string }
	var requests []sent
	url := "https://api.z-api.io/instances/MY-ID/token/MY-TOKEN/privacy/last-seen"
	respond := func(req *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(req.Body)
		requests = append(requests, sent{req.URL.Path, req.Header.Get("Client-Token"), req.Header.Get("Content-Type"), string(body)})
		return httpmock.NewStringResponse(http.StatusOK, `{"success": false}`), err
	}
	httpmock.ActivateNonDefault(http.DefaultClient)
	t.Cleanup(httpmock.DeactivateAndReset)
	httpmock.RegisterResponder("POST", url, respond)

	require.NoError(t, hideLastSeen(creds.InstanceID, creds.Token, creds.ClientToken, "554411111111"))
	client, err := mockNetwork(creds)
	require.NoError(t, err)
	require.ErrorIs(t, hideLastSeenWithZapi(t.Context(), client, "554411111111"), zapi.ErrRejected)
	require.ErrorIs(t, hideLastSeenWithZapi(t.Context(), client, "554411111111x"), zapi.ErrInvalidArgument)
	require.NoError(t, client.SetPhotoVisibility(t.Context(), zapi.VisibilityAll)) // the responder of the README
	api, err := zapi.NewAPI(zapi.WithTransport(httpmock.DefaultTransport))
	require.NoError(t, err)
	require.NoError(t, hidePhoto(t.Context(), api, creds.InstanceID, creds.Token, creds.ClientToken))
	require.ErrorIs(t, hidePhoto(t.Context(), api, "", creds.Token, creds.ClientToken), zapi.ErrInvalidCredentials)

	require.Len(t, requests, 2)
	assert.JSONEq(t, requests[0].body, requests[1].body)
	requests[0].body = requests[1].body
	assert.Equal(t, requests[0], requests[1])
}

func TestVersionIsInTheChangelog(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	require.NoError(t, client.SetOnlineVisibility(t.Context(), zapi.OnlineAll))
	_, version, _ := strings.Cut(server.Requests()[0].Header.Get("User-Agent"), "/")
	released := regexp.MustCompile(`(?m)^## \[(\d\S+)\]`).FindStringSubmatch(readFile(t, "CHANGELOG.md"))
	require.NotNil(t, released)
	assert.Equal(t, released[1], version)
	for _, name := range []string{"README.md", portuguese("README.md")} {
		assert.Contains(t, readFile(t, name), "| `zapi-go/"+version+"` |")
	}
}

// SECURITY.md names tests that exist.
func TestSecurityNamesItsTests(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	files, err := filepath.Glob(filepath.Join(root, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		sources.WriteString(readFile(t, filepath.Base(file)))
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(readFile(t, "SECURITY.md"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Contains(t, sources.String(), "func "+name[1]+"(")
	}
}
