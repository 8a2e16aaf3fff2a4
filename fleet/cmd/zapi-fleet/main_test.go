package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// What is missing, wrong or unreachable is one line, and exit code 2.
func TestOneLineAndExitCode2(t *testing.T) {
	dir := t.TempDir()
	policy := write(t, "policy.yaml", "photo: {visibility: CONTACTS}\n")
	targets := write(t, "targets.csv", "account,instance\nacme,I1\n")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "nats://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	used := t.TempDir()
	f, err := fleet.Open(t.Context(), fleet.Embedded(used))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // of a test
	t.Setenv(tokenVariable, "")

	for _, row := range []struct {
		args string
		want string
	}{
		{"", "a command is missing"},
		{"fly", `"fly" is not a command`},
		{"demo now", `"now" is superfluous`},
		{"demo -workers 0", "-workers must be 1 to 100"},
		{"demo -speed 3", "flag provided but not defined: -speed"},
		{"watch -name r", "one of -dir and -url is needed"},
		{"watch -name r -dir a -url b", "one of -dir and -url is needed"},
		{"watch -dir " + dir, "-name is needed"},
		{"watch -name r -dir " + dir + "/missing", "no such file or directory"},
		{"watch -name r -dir " + dir, "no such rollout"},
		{"watch -name r -dir " + used, "in use by another process"},
		{"watch -name r -url " + nobody, "connecting"},
		{"watch -name r -url nats://192.0.2.1:4222", "needs TLS: write tls://"},
		{"watch -name r -url " + nobody + " -creds " + dir + "/missing", "-creds: stat"},
		{"watch -name r -url " + nobody + " -ca " + dir + "/missing", "-ca: stat"},
		{"watch -name r -dir " + dir + " -creds x", "-creds and -ca are for -url"},
		{"watch -name r -replicas 2 -dir " + dir, "must be 1, 3 or 5"},
		{"cancel -name r -dir " + dir, "no such rollout"},
		{"status -state lost -dir " + dir, "must be one of the constants of State"},
		{"serve", "-dir is needed"},
		{"serve -dir " + dir, tokenVariable + " is needed"},
		{"work -dir " + dir, "-credentials is needed"},
		{"work -credentials missing -dir " + dir, "-credentials: open missing: no such file or directory"},
		{"work -credentials " + targets + " -dir " + dir, "the first line must name the columns instance, token, clientToken"},
		{"start -policy " + policy + " -targets " + targets + " -dir " + dir, "-name is needed"},
		{"start -name r -policy missing -targets " + targets + " -dir " + dir, "-policy: open missing"},
		{"start -name r -policy " + targets + " -targets " + targets + " -dir " + dir, "must be a"},
		{"start -name r -policy " + policy + " -targets " + policy + " -dir " + dir, "the first line must name the columns account, instance"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\n") + " -dir " + dir, "has no rows"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\na,b,c\n") + " -dir " + dir, "wrong number of fields"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\na,*\n") + " -dir " + dir, "record on line 2: account and instance must be"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\r\n\r\na,b\r\n\r\na b,c\r\n") + " -dir " + dir, "record on line 5: account and instance must be"},
		{"start -name r -burst 7 -policy " + policy + " -targets " + targets + " -dir " + dir, "-burst is for -pace"},
		{"work -credentials " + write(t, "c.csv", "instance,token,clientToken\nI1,a,b\nI1,a,c\n") + " -dir " + dir, "record on line 3: the instance has other credentials"},
		{"start -name r -pace -1 -policy " + policy + " -targets " + targets + " -dir " + dir, "Pace.PerSecond: must be"},
		{"work -credentials " + write(t, "c.csv", "instance,token,clientToken\nI1,a,\nI2,,b\n") + " -dir " + dir, "record on line 3: zapi: ForInstance: Token"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account , instance \na,I1\nb,I1\n") + " -dir " + dir, "record on line 3: the instance has another account on an earlier line"},
		{"start -name r -policy " + write(t, "p.yaml", "photo: {visibility: ALL}\n---\nphoto: {visibility: NONE}\n") + " -targets " + targets + " -dir " + dir, "must be one document"},
		{"start -name r -policy " + write(t, "p.json", `{"photo": {"visibility": "ALL"}} {`) + " -targets " + targets + " -dir " + dir, "must be one document"},
		{"start -name r -policy " + write(t, "p.yaml", "'5544911111111': 1\n'5544911111111': 2\n") + " -targets " + targets + " -dir " + dir, `mapping key "…" already defined`},
		{"start -name r -policy " + write(t, "p.yaml", "") + " -targets " + targets + " -dir " + dir, "must name at least one setting"},
		{"start -name r -policy " + write(t, "p.yaml", "foto: {}") + " -targets " + targets + " -dir " + dir, "foto"},
	} {
		t.Run(row.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, 2, run(t.Context(), strings.Fields(row.args), &stdout, &stderr))
			assert.Contains(t, stderr.String(), row.want)
			assert.True(t, strings.HasPrefix(stderr.String(), "zapi-fleet: "))
			assert.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
			assert.Empty(t, stdout.String())
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	assert.Zero(t, run(t.Context(), []string{"-h"}, &all, &all))
	for _, command := range commands {
		assert.Contains(t, all.String(), "zapi-fleet "+command.name+" ")
		var stdout, stderr bytes.Buffer
		assert.Zero(t, run(t.Context(), []string{command.name, "-h"}, &stdout, &stderr))
		assert.Contains(t, stdout.String(), command.about)
		assert.Contains(t, stdout.String(), "\n  -")
		assert.Empty(t, stderr.String())
	}
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A node, a worker and a caller, each as the program runs it.
func TestServeStartWorkWatch(t *testing.T) {
	t.Setenv(tokenVariable, "a token of the test")
	api := zapitest.NewServer()
	defer api.Close()
	targets, creds := "\ufeffaccount,instance\r\n\r\n", "token,clientToken,instance\n"
	for i := range 20 {
		c := api.AddInstance()
		targets += fmt.Sprintf("acme%d,%s\n", i%2, c.InstanceID)
		if i == 0 {
			c.Token = "wrong"
		}
		creds += fmt.Sprintf("%s,%s,%s\n", c.Token, c.ClientToken, c.InstanceID)
	}
	targetsFile, credsFile := write(t, "targets.csv", targets), write(t, "creds.csv", creds)
	policyFile := write(t, "policy.yaml", "photo: {visibility: CONTACTS}\nonline: SAME_LAST_SEEN\n")
	dir := filepath.Join(t.TempDir(), "store")

	// background runs a command until the test ends.
	background := func(args ...string) *buffer {
		ctx, cancel := context.WithCancel(context.Background())
		var out buffer
		done := make(chan int)
		go func() { done <- run(ctx, args, &out, &out) }()
		t.Cleanup(func() {
			cancel()
			assert.Zero(t, <-done, out.String())
		})
		return &out
	}
	do := func(code int, args ...string) string {
		var out bytes.Buffer
		require.Equal(t, code, run(t.Context(), args, &out, &out), out.String())
		return out.String()
	}

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	served := background("serve", "-dir", dir, "-listen", address)
	require.Eventually(t, func() bool { return strings.Contains(served.String(), "serving") }, 10*time.Second, 10*time.Millisecond)
	url := "nats://" + address

	out := do(0, "start", "-url", url, "-name", "a", "-policy", policyFile, "-targets", targetsFile, "-pace", "1000")
	assert.Equal(t, "a: 20 ordered, 0 resumed, 0 left to newer rollouts\n", out)
	assert.Contains(t, do(0, "status", "-url", url), "acme0       10")
	background("work", "-url", url, "-credentials", credsFile, "-base-url", api.URL())
	out = do(1, "watch", "-url", url, "-name", "a")
	assert.Contains(t, out, "100 %")
	assert.Contains(t, out, "20 of 20")
	assert.Contains(t, out, "not found 1")
	assert.Contains(t, do(0, "status", "-url", url, "-list", "-state", "parked"), "not found")
	assert.Equal(t, "1 ordered again\n", do(0, "retry", "-url", url, "-kind", "not found"))
	do(1, "watch", "-url", url, "-name", "a")
	assert.Equal(t, "0 taken back\n", do(0, "cancel", "-url", url, "-name", "a"))
	for _, line := range strings.Split(strings.TrimSpace(targets), "\n")[3:] {
		_, id, _ := strings.Cut(line, ",")
		assert.Equal(t, zapi.VisibilityContacts, api.Settings(id).Photo.Visibility)
		assert.Equal(t, zapi.OnlineSameAsLastSeen, api.Settings(id).Online)
	}
	t.Setenv(tokenVariable, "wrong")
	assert.Contains(t, do(2, "watch", "-url", url, "-name", "a"), "Authorization Violation")
}

func TestDemo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	var stdout, stderr bytes.Buffer
	assert.Zero(t, run(t.Context(), []string{"demo"}, &stdout, &stderr), stderr.String())
	assert.Contains(t, stdout.String(), "unauthorized 6, not found 3")
	assert.Contains(t, stdout.String(), "all that can be applied is in place at the API: 1,991 of 2,000")
	lines := strings.Count(stdout.String(), "2026-11  ")
	assert.True(t, lines >= 2 && lines <= 10, "%d lines", lines)
}

func TestProgressLine(t *testing.T) {
	t.Parallel()
	p := fleet.Progress{Total: 2000, Pending: 370, Applying: 61, Waiting: 9, Applied: 1556, Parked: 4, PerSecond: 196, Left: 2 * time.Second}
	assert.Equal(t, "███████████████████████░░░░░░░  78 %   1,560 of 2,000   196/s   2s left   applying 61   waiting 9   parked 4", progressLine(p))
	assert.Equal(t, "░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  0 %   0 of 0   0/s", progressLine(fleet.Progress{}))
}
