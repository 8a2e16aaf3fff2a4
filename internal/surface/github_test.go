package surface

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Dependabot looks only into the folders that it is given.
func TestDependabotKnowsEveryModule(t *testing.T) {
	t.Parallel()
	root := os.DirFS("../..")
	var modules []string
	require.NoError(t, fs.WalkDir(root, ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Base(name) == "go.mod" {
			modules = append(modules, path.Join("/", path.Dir(name)))
		}
		return err
	}))
	require.Contains(t, modules, "/")

	config, err := fs.ReadFile(root, ".github/dependabot.yml")
	require.NoError(t, err)
	var listed []string
	for _, item := range regexp.MustCompile(`(?m)^      - (/\S*)$`).FindAllStringSubmatch(string(config), -1) {
		listed = append(listed, item[1])
	}
	assert.ElementsMatch(t, modules, listed)
}
