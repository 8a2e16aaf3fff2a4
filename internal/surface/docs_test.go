package surface

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const maxColumns = 100 // of a line of code on the package page, which would otherwise scroll sideways

// A page is the documentation of a package, as the package page shows it.
type page struct {
	*doc.Package

	files    *token.FileSet
	examples []*doc.Example // also those that the page does not show
}

// readPage reads the package in folder.
func readPage(t *testing.T, folder string) page {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	sources := make(map[string]string)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		sources[name] = string(data)
	}
	return newPage(t, sources)
}

func newPage(t *testing.T, sources map[string]string) page {
	t.Helper()
	p := page{files: token.NewFileSet()}
	var parsed, tests []*ast.File
	for name, source := range sources {
		file, err := parser.ParseFile(p.files, name, source, parser.ParseComments)
		require.NoError(t, err)
		parsed = append(parsed, file)
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, file)
		}
	}
	p.examples = doc.Examples(tests...)
	var err error
	p.Package, err = doc.NewFromFiles(p.files, parsed, "github.com/zapi-go/zapi")
	require.NoError(t, err)
	return p
}

// undocumented returns the exported names without a comment. Values may share the comment of their group.
func (p page) undocumented() []string {
	var names []string
	check := func(name, comment string) {
		if strings.TrimSpace(comment) == "" {
			names = append(names, name)
		}
	}
	values := func(groups []*doc.Value) {
		for _, group := range groups {
			for _, spec := range group.Decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					if name.IsExported() {
						check(name.Name, group.Doc+spec.Doc.Text()+spec.Comment.Text())
					}
				}
			}
		}
	}
	funcs := func(receiver string, list []*doc.Func) {
		for _, f := range list {
			check(receiver+f.Name, f.Doc)
		}
	}
	check("package "+p.Name, p.Doc)
	values(p.Consts)
	values(p.Vars)
	funcs("", p.Funcs)
	for _, typ := range p.Types {
		check(typ.Name, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
		for _, spec := range typ.Decl.Specs {
			if waiter, ok := spec.(*ast.TypeSpec).Type.(*ast.InterfaceType); ok {
				for _, method := range waiter.Methods.List {
					for _, name := range method.Names {
						check(typ.Name+"."+name.Name, method.Doc.Text()+method.Comment.Text())
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// shown returns the examples of the page by what they belong to.
func (p page) shown() map[string][]*doc.Example {
	shown := map[string][]*doc.Example{"": p.Examples}
	for _, f := range p.Funcs {
		shown[f.Name] = f.Examples
	}
	for _, typ := range p.Types {
		shown[typ.Name] = typ.Examples
		for _, f := range typ.Funcs {
			shown[f.Name] = f.Examples
		}
		for _, method := range typ.Methods {
			shown[typ.Name+"."+method.Name] = method.Examples
		}
	}
	return shown
}

// withoutExample returns the functions and the methods of API and Client that have no example.
func (p page) withoutExample() []string {
	var names []string
	for name, examples := range p.shown() {
		typ, _, isMethod := strings.Cut(name, ".")
		isType := slices.ContainsFunc(p.Types, func(t *doc.Type) bool { return t.Name == name })
		if name == "" || isType || isMethod && typ != "API" && typ != "Client" {
			continue
		}
		if len(examples) == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// uselessExamples returns the examples without an output, which do not run, and those that the page does not show.
func (p page) uselessExamples() []string {
	count := 0
	for _, examples := range p.shown() {
		count += len(examples)
	}
	var names []string
	if count != len(p.examples) {
		names = append(names, fmt.Sprintf("%d examples are not shown: do their names exist?", len(p.examples)-count))
	}
	for _, example := range p.examples {
		if example.Output == "" && !example.EmptyOutput {
			names = append(names, example.Name+" has no output")
		}
	}
	return names
}

// wideCode returns the lines of code in comments and examples that are too wide. A tab has four columns.
func (p page) wideCode() []string {
	var wide []string
	check := func(code string) {
		for line := range strings.Lines(code) {
			line = strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\n")
			if utf8.RuneCountInString(line) > maxColumns {
				wide = append(wide, line)
			}
		}
	}
	for _, text := range p.comments() {
		for _, block := range p.Parser().Parse(text).Content {
			if code, ok := block.(*comment.Code); ok {
				check(code.Text)
			}
		}
	}
	for _, example := range p.examples {
		check(example.Output)
		var code strings.Builder
		node := example.Code
		if example.Play != nil {
			node = example.Play
		}
		if err := format.Node(&code, p.files, node); err != nil {
			wide = append(wide, example.Name+": "+err.Error())
		}
		check(code.String())
	}
	return wide
}

// comments returns the comments of the page.
func (p page) comments() []string {
	comments := []string{p.Doc}
	values := func(groups []*doc.Value) {
		for _, group := range groups {
			comments = append(comments, group.Doc)
		}
	}
	funcs := func(list []*doc.Func) {
		for _, f := range list {
			comments = append(comments, f.Doc)
		}
	}
	values(p.Consts)
	values(p.Vars)
	funcs(p.Funcs)
	for _, typ := range p.Types {
		comments = append(comments, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		funcs(typ.Methods)
	}
	return comments
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, p := range packages {
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			page := readPage(t, p.folder)
			require.NotEmpty(t, page.Types)
			require.NotEmpty(t, page.comments())
			assert.Empty(t, page.undocumented(), "exported names without a comment")
			assert.Empty(t, page.uselessExamples(), "examples")
			assert.Empty(t, page.wideCode(), "lines of code over %d columns", maxColumns)
		})
	}
}

func TestEveryCallHasAnExample(t *testing.T) {
	t.Parallel()
	page := readPage(t, packages[0].folder)
	require.Contains(t, page.shown(), "Client.SetLastSeen")
	assert.Empty(t, page.withoutExample(), "functions and methods without an example")
}

// The package documentation begins with the list of calls, which are the methods of Client with a context.
func TestPackageListsTheCalls(t *testing.T) {
	t.Parallel()
	page := readPage(t, packages[0].folder)
	var calls []string
	for _, typ := range page.Types {
		for _, method := range typ.Methods {
			params := method.Decl.Type.Params.List
			if typ.Name == "Client" && len(params) > 0 && params[0].Names[0].Name == "ctx" {
				calls = append(calls, "[Client."+method.Name+"]")
			}
		}
	}
	require.NotEmpty(t, calls)
	content := page.Parser().Parse(page.Doc).Content
	require.IsType(t, (*comment.List)(nil), content[1], "what follows the first paragraph")
	var listed []string
	for _, item := range content[1].(*comment.List).Items {
		text := (&comment.Printer{}).Comment(&comment.Doc{Content: item.Content})
		call, _, _ := strings.Cut(string(text), ":")
		listed = append(listed, call)
	}
	assert.ElementsMatch(t, calls, listed)
}

// What the checks find in a package that has every fault.
func TestPageFaults(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxColumns+1)
	page := newPage(t, map[string]string{
		"p.go": `package p

type Client struct{}

// Documented does nothing.
//
//	` + long + `
func (c *Client) Documented() {}

func (c *Client) Undocumented() {}

const Alone = 1

// The values of a group.
const (
	Grouped = 2
)

var (
	Commented = 3 // as this one
	Bare      = 4
)

// A Waiter waits.
type Waiter interface{ Wait() }
`,
		"p_test.go": `package p_test

import "fmt"

func ExampleClient_Documented() {
	fmt.Println("` + strings.Repeat("y", maxColumns) + `")
}

func ExampleClient_Missing() {
	// Output: ` + strings.Repeat("z", maxColumns+1) + `
}
`,
	})
	assert.Equal(t, []string{"Alone", "Bare", "Client", "Client.Undocumented", "Waiter.Wait", "package p"}, page.undocumented())
	assert.Equal(t, []string{"Client.Undocumented"}, page.withoutExample())
	assert.Equal(t, []string{
		"1 examples are not shown: do their names exist?", "Client_Documented has no output",
	}, page.uselessExamples())
	wide := strings.Join(page.wideCode(), "\n")
	assert.Contains(t, wide, "xxx")
	assert.Contains(t, wide, "yyy")
	assert.Contains(t, wide, "zzz")
}
