package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
)

// files makes a folder of them.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range contents {
		name = filepath.Join(folder, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	return folder
}

func TestWrite(t *testing.T) {
	t.Parallel()
	tree := files(t, map[string]string{
		"LICENSE": "MIT", "go.mod": "module example.com/m\n", "m.go": "package m\n", "docs/page.md": "# m\n",
		"nested/go.mod": "module example.com/m/nested\n", "nested/n.go": "package n\n", "nested/below/b.go": "package b\n",
	})
	proxy := t.TempDir()
	for _, version := range []string{"v0.1.0", "v0.2.0-rc.1", "v0.1.0"} { // the last one replaces the first
		require.NoError(t, write(tree, module.Version{Path: "example.com/m", Version: version}, proxy))
	}

	folder := filepath.Join(proxy, "example.com", "m", "@v")
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		return string(data)
	}
	assert.Equal(t, "v0.1.0\nv0.2.0-rc.1\n", read("list"))
	assert.Equal(t, "module example.com/m\n", read("v0.1.0.mod"))
	assert.Regexp(t, `^{"Version":"v0.1.0","Time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"}$`, read("v0.1.0.info"))
	archive, err := zip.OpenReader(filepath.Join(folder, "v0.1.0.zip"))
	require.NoError(t, err)
	defer archive.Close() //nolint:errcheck // it is only read
	var names []string
	for _, file := range archive.File {
		names = append(names, file.Name)
	}
	const root = "example.com/m@v0.1.0/"
	assert.ElementsMatch(t, []string{root + "LICENSE", root + "go.mod", root + "m.go", root + "docs/page.md"}, names)
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	good := map[string]string{"go.mod": "module example.com/m\n"}
	for _, test := range []struct {
		name, path, version string
		tree                map[string]string
		want                string
	}{
		{"no v", "example.com/m", "0.1.0", good, "the version must be like v1.2.3"},
		{"a branch", "example.com/m", "main", good, "the version must be like v1.2.3"},
		{"two numbers", "example.com/m", "v0.1", good, "the version must be like v1.2.3"},
		{"build metadata", "example.com/m", "v0.1.0+dirty", good, "the version must be like v1.2.3"},
		{"another major version", "example.com/m", "v2.0.0", good, "v2.0.0"},
		{"no path", "", "v0.1.0", good, "malformed module path"},
		{"no module", "example.com/m", "v0.1.0", map[string]string{"m.go": "package m\n"}, "go.mod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := write(files(t, test.tree), module.Version{Path: test.path, Version: test.version}, t.TempDir())
			require.ErrorContains(t, err, test.want)
		})
	}
}
