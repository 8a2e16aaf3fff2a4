package main

import (
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi/fleet"
)

// Both manuals name every command, every metric and the same codes: what stands between backticks outside of prose is the same.
// What they quote is what the program says.
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
	var said strings.Builder
	r := newReporter(newScreen(&said), io.Discard)
	account, until := slog.String("account", "acme"), slog.Time("until", time.Date(2026, 11, 25, 3, 12, 0, 0, time.Local))
	for _, message := range []string{"account away", "account back", "account held"} {
		require.NoError(t, r.Handle(t.Context(), logged(time.Now(), message, account, until)))
	}
	quoted := append(strings.Split(strings.TrimSpace(said.String()), "\n"),
		ended(fleet.Progress{Cancelled: 600}), ended(fleet.Progress{Superseded: 2000}), strings.TrimPrefix(oneLine(nats.ErrNoServers), "nats: "))
	for _, text := range quoted {
		assert.Contains(t, string(english), "`"+text+"`")
		assert.Contains(t, string(portuguese), "`"+text+"`")
	}
	for _, c := range commands {
		assert.Contains(t, string(english), "`"+c.name+"`")
		assert.Contains(t, string(portuguese), "`"+c.name+"`")
	}
}
