package surface

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
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

// A tag of an action can be moved to other code, and a checkout leaves the token of the job in .git unless it is told not to.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	root := os.DirFS("../..")
	files, err := fs.Glob(root, ".github/workflows/*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	pinned := regexp.MustCompile(`^\s*(- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	checkouts := 0
	for _, file := range files {
		data, err := fs.ReadFile(root, file)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(data), "\r\n", "\n")
		for line := range strings.Lines(text) {
			if strings.Contains(line, "uses:") {
				assert.Regexp(t, pinned, strings.TrimSuffix(line, "\n"), file)
			}
		}
		for _, step := range regexp.MustCompile(`(?m)^ +- `).Split(text, -1) {
			if strings.Contains(step, "uses: actions/checkout@") {
				checkouts++
				assert.Regexp(t, `(?m)^ +persist-credentials: false$`, step, file)
			}
		}
		head, jobs, found := strings.Cut(text, "\njobs:\n")
		require.True(t, found, file)
		assert.Regexp(t, `(?m)^permissions: \{\}`, head, file)
		names := regexp.MustCompile(`(?m)^  [\w-]+:`).FindAllString(jobs, -1)
		require.NotEmpty(t, names, file)
		for i, job := range regexp.MustCompile(`(?m)^  [\w-]+:`).Split(jobs, -1)[1:] {
			assert.Regexp(t, `(?m)^    permissions:\n      contents: read\n    \w`, job, "%s: %s", file, names[i])
		}
	}
	assert.Positive(t, checkouts)
}
