// Package surface holds the exported API of zapi and zapitest to what was agreed: its names, documentation and types.
package surface

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/zapi-go/zapi/zapitest" // so that the tests run again when zapi or zapitest changes
)

var update = flag.Bool("update", false, "write api.txt anew")

const apiFile = "../../api.txt"

// packages are those that users import, with their folders.
var packages = []struct{ path, folder string }{
	{"github.com/zapi-go/zapi", "../.."},
	{"github.com/zapi-go/zapi/zapitest", "../../zapitest"},
}

// The exported API is the one in api.txt, so that a change of it shows in review.
func TestAPI(t *testing.T) {
	t.Parallel()
	imports := newImporter(t)
	var lines []string
	for _, p := range packages {
		pkg, err := imports.Import(p.path)
		require.NoError(t, err)
		lines = append(lines, apiOf(pkg)...)
	}
	if *update {
		require.NoError(t, os.WriteFile(apiFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
	data, err := os.ReadFile(apiFile)
	require.NoError(t, err)
	agreed := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if diff := compare(agreed, lines); len(diff) > 0 {
		t.Fatalf("the exported API is not the one in api.txt:\n%s\n"+
			"If the change is meant, run go test ./internal/surface -update, and name it in CHANGELOG.md.",
			strings.Join(diff, "\n"))
	}
	assert.True(t, slices.Equal(lines, agreed), "api.txt has another order: run go test ./internal/surface -update")
}

// compare returns the lines that only one of the APIs has.
func compare(agreed, actual []string) []string {
	var diff []string
	for _, line := range agreed {
		if !slices.Contains(actual, line) {
			diff = append(diff, "- "+line)
		}
	}
	for _, line := range actual {
		if !slices.Contains(agreed, line) {
			diff = append(diff, "+ "+line)
		}
	}
	return diff
}

func TestCompare(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                   string
		agreed, actual, expect []string
	}{
		{"same", []string{"a", "b"}, []string{"a", "b"}, nil},
		{"removed", []string{"a", "b"}, []string{"b"}, []string{"- a"}},
		{"added", []string{"a"}, []string{"a", "b"}, []string{"+ b"}},
		{"changed", []string{"a int"}, []string{"a string"}, []string{"- a int", "+ a string"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.expect, compare(tt.agreed, tt.actual))
		})
	}
}

// exportData returns the files with the compiled API of packages and of all that they import.
var exportData = sync.OnceValues(func() (map[string]string, error) {
	args := []string{"list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}\t{{.Export}}{{end}}"}
	for _, p := range packages {
		args = append(args, p.path)
	}
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if importPath, file, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t"); ok {
			files[importPath] = file
		}
	}
	return files, nil
})

// newImporter returns what imports the packages as the compiler does. It is not safe for concurrent use.
func newImporter(t *testing.T) types.Importer {
	t.Helper()
	files, err := exportData()
	require.NoError(t, err)
	return importer.ForCompiler(token.NewFileSet(), "gc", func(importPath string) (io.ReadCloser, error) {
		return os.Open(files[importPath])
	})
}

// apiOf returns the exported API of pkg, a line for each name: constants, variables, functions, and types with their
// fields and methods.
func apiOf(pkg *types.Package) []string {
	relative := func(other *types.Package) string {
		if other == pkg {
			return ""
		}
		return other.Name()
	}
	objects := make([]types.Object, 0, len(pkg.Scope().Names()))
	for _, name := range pkg.Scope().Names() {
		if ast.IsExported(name) {
			objects = append(objects, pkg.Scope().Lookup(name))
		}
	}
	slices.SortStableFunc(objects, func(a, b types.Object) int { return cmp.Compare(rank(a), rank(b)) })

	var lines []string
	for _, object := range objects {
		switch object := object.(type) {
		case *types.Const:
			lines = append(lines, types.ObjectString(object, relative)+" = "+object.Val().ExactString())
		case *types.TypeName:
			lines = append(lines, typeAPI(object, relative)...)
		default:
			lines = append(lines, types.ObjectString(object, relative))
		}
	}
	for i := range lines {
		lines[i] = "pkg " + pkg.Name() + ", " + lines[i]
	}
	return lines
}

func rank(object types.Object) int {
	switch object.(type) {
	case *types.Const:
		return 0
	case *types.Var:
		return 1
	case *types.Func:
		return 2
	}
	return 3
}

// typeAPI returns the lines of one type.
func typeAPI(name *types.TypeName, relative types.Qualifier) []string {
	methods := types.NewMethodSet(types.NewPointer(name.Type()))
	var lines []string
	switch underlying := name.Type().Underlying().(type) {
	case *types.Struct:
		head := "type " + name.Name() + " struct"
		for i := range underlying.NumFields() {
			field := underlying.Field(i)
			if !field.Exported() {
				head = "type " + name.Name() + " struct, with unexported fields"
				continue
			}
			line := "field " + name.Name() + "." + field.Name() + " " + types.TypeString(field.Type(), relative)
			if tag := underlying.Tag(i); tag != "" {
				line += " `" + tag + "`"
			}
			lines = append(lines, line)
		}
		lines = slices.Insert(lines, 0, head)
	case *types.Interface:
		lines = append(lines, "type "+name.Name()+" interface")
		methods = types.NewMethodSet(name.Type())
	default:
		lines = append(lines, "type "+name.Name()+" "+types.TypeString(underlying, relative))
	}
	for method := range methods.Methods() {
		if method.Obj().Exported() {
			lines = append(lines, types.ObjectString(method.Obj(), relative))
		}
	}
	return lines
}

// The lines of a small package, of which each kind of name is part.
func TestAPIOf(t *testing.T) {
	t.Parallel()
	const source = `package p
import "time"
const Answer, hidden = 42, 1
var Err error
func Do(d time.Duration, opts ...Option) (n int, err error) { return }
type Option func(*config) error
type config struct{}
type Waiter interface { Wait() error }
type Open struct { Name string ` + "`json:\"name\"`" + ` }
func (o Open) String() string { return o.Name }
func (o *Open) close() {}
type Closed struct { N int; n int }
func (c *Closed) Close() {}
`
	pkg, errs := check(t, "p", source)
	require.Empty(t, errs)
	assert.Equal(t, []string{
		"pkg p, const Answer untyped int = 42",
		"pkg p, var Err error",
		"pkg p, func Do(d time.Duration, opts ...Option) (n int, err error)",
		"pkg p, type Closed struct, with unexported fields",
		"pkg p, field Closed.N int",
		"pkg p, func (*Closed).Close()",
		"pkg p, type Open struct",
		"pkg p, field Open.Name string `json:\"name\"`",
		"pkg p, func (Open).String() string",
		"pkg p, type Option func(*config) error",
		"pkg p, type Waiter interface",
		"pkg p, func (Waiter).Wait() error",
	}, apiOf(pkg))
}
