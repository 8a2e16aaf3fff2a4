package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Both manuals name every command, every metric and the same codes: what stands between backticks outside of prose is the same.
func TestManuals(t *testing.T) {
	t.Parallel()
	english, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	portuguese, err := os.ReadFile("../../README.pt-BR.md")
	require.NoError(t, err)
	count := func(text []byte, pattern string) int { return len(regexp.MustCompile(pattern).FindAll(text, -1)) }
	for _, pattern := range []string{`(?m)^## `, "(?m)^```", `(?m)^\|`, `(?m)^- `, "(?m)^zapi-fleet ", `<details>`, `KV_fleet_`, `FLEET_`} {
		assert.Positive(t, count(english, pattern), pattern)
		assert.Equal(t, count(english, pattern), count(portuguese, pattern), pattern)
	}
	for _, c := range commands {
		assert.Contains(t, string(english), "`"+c.name+"`")
		assert.Contains(t, string(portuguese), "`"+c.name+"`")
	}
}
