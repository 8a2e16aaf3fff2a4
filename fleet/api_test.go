package fleet

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write api.txt anew")

// The exported API is the one in api.txt, so that a change of it shows in review. Every exported name has a comment.
func TestAPI(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	page, err := doc.NewFromFiles(set, files, "github.com/zapi-go/zapi/fleet")
	require.NoError(t, err)
	actual := apiOf(t, set, page)
	require.Contains(t, actual, "func (f *Fleet) Start(ctx context.Context, r Rollout) (Receipt, error)\n")
	if *update {
		require.NoError(t, os.WriteFile("api.txt", []byte(actual), 0o644))
	}
	agreed, err := os.ReadFile("api.txt")
	require.NoError(t, err)
	assert.Equal(t, string(agreed), actual, "if the change is meant, run go test -run TestAPI . -update, and name it in CHANGELOG.md")
}

// apiOf prints the declarations of a page without comments.
func apiOf(t *testing.T, set *token.FileSet, page *doc.Package) string {
	t.Helper()
	var all bytes.Buffer
	show := func(name, comment string, node ast.Node) {
		assert.NotEmpty(t, comment, "%s has no comment", name)
		ast.Inspect(node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				n.Doc, n.Comment = nil, nil
			case *ast.ValueSpec:
				n.Doc, n.Comment = nil, nil
			case *ast.TypeSpec:
				n.Doc, n.Comment = nil, nil
			case *ast.GenDecl:
				n.Doc = nil
			case *ast.FuncDecl:
				n.Doc = nil
			}
			return true
		})
		require.NoError(t, printer.Fprint(&all, set, node))
		all.WriteString("\n")
	}
	values := func(groups []*doc.Value) {
		for _, group := range groups {
			show(strings.Join(group.Names, ", "), group.Doc, group.Decl)
		}
	}
	funcs := func(list []*doc.Func) {
		for _, f := range list {
			show(f.Name, f.Doc, f.Decl)
		}
	}
	values(page.Consts)
	values(page.Vars)
	funcs(page.Funcs)
	for _, typ := range page.Types {
		show(typ.Name, typ.Doc, typ.Decl)
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		funcs(typ.Methods)
	}
	return all.String()
}
