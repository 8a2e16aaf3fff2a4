package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const testToken = "a token of the test"

// buildDir is where build puts the program.
var buildDir string

// build builds the program once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "zapi-fleet-test")
	if err != nil {
		return "", err
	}
	buildDir = dir
	path := filepath.Join(dir, "zapi-fleet")
	out, err := exec.Command("go", "build", "-race", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

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

// night is an engine, an API and the files of an operator. The program runs as processes.
type night struct {
	t           *testing.T
	path, url   string
	api         *zapitest.Server
	ids         []string
	creds       []zapi.Credentials
	policy      string
	targets     string
	credentials string
}

func newNight(t *testing.T, instances int) *night {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	n := &night{t: t, path: path, api: zapitest.NewServer()}
	t.Cleanup(n.api.Close)
	targets := "\ufeffaccount,instance\r\n\r\n"
	for i := range instances {
		c := n.api.AddInstance()
		n.ids, n.creds = append(n.ids, c.InstanceID), append(n.creds, c)
		targets += fmt.Sprintf("acme%d,%s\n", i%2, c.InstanceID)
	}
	n.targets, n.policy = write(t, "targets.csv", targets), write(t, "policy.yaml", "photo: {visibility: CONTACTS}\nonline: SAME_LAST_SEEN\n")
	n.credentials = write(t, "credentials.csv", "")
	n.writeCredentials(func(int, *zapi.Credentials) {})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	served := n.background("serve", "-dir", filepath.Join(t.TempDir(), "store"), "-listen", address)
	require.Eventually(t, func() bool { return strings.Contains(served.String(), "serving") }, 20*time.Second, 10*time.Millisecond)
	n.url = "nats://" + address
	return n
}

func (n *night) writeCredentials(change func(i int, c *zapi.Credentials)) {
	text := "token,clientToken,instance\n"
	for i, c := range n.creds {
		change(i, &c)
		text += fmt.Sprintf("%s,%s,%s\n", c.Token, c.ClientToken, c.InstanceID)
	}
	require.NoError(n.t, os.WriteFile(n.credentials, []byte(text), 0o600))
}

func (n *night) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), n.path, args...) // background ends it
	cmd.Env = append(os.Environ(), tokenVariable+"="+testToken, "USER=ana")
	return cmd
}

// background runs a command until the test ends; it must then exit with 0.
func (n *night) background(args ...string) *buffer {
	n.t.Helper()
	cmd := n.command(args...)
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(n.t, cmd.Start())
	n.t.Cleanup(func() {
		assert.NoError(n.t, cmd.Process.Signal(syscall.SIGTERM))
		assert.NoError(n.t, cmd.Wait(), out.String())
	})
	return &out
}

// do runs a command with the URL of the engine, which must exit with code.
func (n *night) do(code int, args ...string) string {
	n.t.Helper()
	cmd := n.command(append(args, "-url", n.url)...)
	out, err := cmd.CombinedOutput()
	require.Equal(n.t, code, cmd.ProcessState.ExitCode(), "%v: %v: %s", args, err, out)
	return string(out)
}

func (n *night) start(name string, args ...string) string {
	n.t.Helper()
	return n.do(0, append([]string{"start", "-name", name, "-policy", n.policy, "-targets", n.targets, "-pace", "1000"}, args...)...)
}

func (n *night) work(args ...string) *buffer {
	n.t.Helper()
	return n.background(append([]string{"work", "-url", n.url, "-credentials", n.credentials, "-base-url", n.api.URL()}, args...)...)
}

// object returns the last object that a command printed.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines {
		require.NoError(t, json.Unmarshal([]byte(line), new(map[string]any)), text)
	}
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &all), text)
	return all
}

// The codes with which watch ends, and what the other commands then print, as processes.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	n := newNight(t, 40)
	assert.Contains(t, n.do(0, "plan", "-name", "a", "-policy", n.policy, "-targets", n.targets, "-credentials", n.credentials), "0 of the targets have no credentials")
	assert.Contains(t, n.start("a", "-canary", "10"), "a: 40 ordered, 0 resumed, 0 left to newer rollouts\nthe first 10 are begun; look at them with watch, then go on: zapi-fleet resume -name a\n")
	out := n.do(1, "watch", "-name", "a", "-timeout", "4s")
	assert.Contains(t, out, "no worker yet")
	assert.Contains(t, n.do(2, "watch", "-name", "b"), `no such rollout: "b"; there are a`)

	n.work()
	out = n.do(4, "watch", "-name", "a")
	assert.Contains(t, out, "a: held: canary: 10 of 40 begun; to go on: zapi-fleet resume -name a")
	n.do(0, "resume", "-name", "a")
	out = n.do(0, "watch", "-name", "a")
	assert.Contains(t, out, "100 %")
	assert.Contains(t, out, "a: 40 applied")
	for _, id := range n.ids {
		assert.Equal(t, zapi.VisibilityContacts, n.api.Settings(id).Photo.Visibility)
	}

	n.do(0, "pace", "-account", "acme0", "-rate", "0.01", "-burst", "1")
	n.do(0, "pace", "-account", "acme1", "-rate", "0.01", "-burst", "1")
	n.do(0, "start", "-name", "b", "-policy", n.policy, "-targets", n.targets)
	n.do(0, "pause", "-name", "b")
	n.do(4, "watch", "-name", "b")
	assert.Regexp(t, `^b: (38|39|40) taken back`, n.do(0, "cancel", "-name", "b"))
	assert.Regexp(t, `b: (38|39|40) taken back, [012] applied`, n.do(3, "watch", "-name", "b"))
	n.start("c")
	n.start("d", "-pace", "1000")
	assert.Contains(t, n.do(0, "watch", "-name", "d"), "d: 40 applied")
	n.do(3, "watch", "-name", "c") // all were superseded
	assert.Contains(t, n.do(0, "rollouts"), "cancelled ")
	assert.Contains(t, n.do(0, "describe", "-name", "a"), "  photo:")
	audit := n.do(0, "audit")
	for _, action := range []string{"start", "resume", "pause", "cancel", "pace"} {
		assert.Regexp(t, `(?m)Z  \S+@\S+ +`+action+" ", audit)
	}
	assert.Contains(t, n.do(0, "audit", "-as", "bob"), "@")

	cmd := n.command("watch", "-name", "a", "-url", n.url)
	cmd.Env = append(cmd.Env, tokenVariable+"=wrong")
	wrong, _ := cmd.CombinedOutput()
	assert.Equal(t, 2, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(wrong), "is "+tokenVariable+" that of the server?")
	cmd = n.command("watch", "-name", "a", "-url", n.url)
	cmd.Env = append(cmd.Env, tokenVariable+"=")
	missing, _ := cmd.CombinedOutput()
	assert.Equal(t, 2, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(missing), tokenVariable+" is not set")
	version, err := n.command("version").Output()
	assert.NoError(t, err)
	assert.NotEmpty(t, string(version))
}

// The fields of -json.
func TestJSON(t *testing.T) {
	t.Parallel()
	n := newNight(t, 20)
	n.writeCredentials(func(i int, c *zapi.Credentials) {
		if i == 0 {
			c.Token = "wrong"
		}
	})
	files := []string{"-policy", n.policy, "-targets", n.targets}
	metrics := "127.0.0.1:0"
	if listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", metrics); assert.NoError(t, err) {
		metrics = listener.Addr().String()
		require.NoError(t, listener.Close())
	}
	bad := n.ids[0]
	progress := "applied applying cancelled held leftSeconds missing ordering outcome parked pending perSecond rollout superseded total waiting workers"
	for _, row := range []struct {
		name   string
		args   []string
		code   int
		fields string
		values map[string]any
	}{
		{"plan", slices.Concat([]string{"plan", "-name", "a", "-credentials", n.credentials}, files), 0, "accounts newer resumed rollout same toOrder withoutCredentials", map[string]any{"toOrder": 20., "rollout": "a"}},
		{"start", slices.Concat([]string{"start", "-name", "a", "-pace", "1000"}, files), 0, "newer ordered resumed rollout", map[string]any{"ordered": 20.}},
		{"watch", []string{"watch", "-name", "a"}, 3, progress, map[string]any{"outcome": "incomplete", "parked": 1., "applied": 19., "total": 20.}},
		{"rollouts", []string{"rollouts"}, 0, "by created held name number ordering policy rollout total", map[string]any{"rollout": "a", "total": 20.}},
		{"describe", []string{"describe", "-name", "a"}, 0, progress + " by created name number policy", map[string]any{"outcome": "incomplete"}},
		{"show", []string{"show", "-instance", bad}, 0, "account at attempts error instance kind policy rollout state worker", map[string]any{"state": "parked", "kind": "not found", "instance": bad}},
		{"status", []string{"status", "-account", "acme0"}, 0, "account applied applying cancelled kinds parked pending rollout superseded waiting", map[string]any{"account": "acme0", "applied": 9.}},
		{"status -list", []string{"status", "-list", "-state", "applied"}, 0, "account at attempts instance last policy rollout state worker", map[string]any{"state": "applied"}},
		{"retry", []string{"retry", "-kind", "not found"}, 0, "account held leftOut retried rollout waiting", map[string]any{"retried": 1.}},
		{"pace", []string{"pace", "-account", "acme1", "-rate", "500"}, 0, "account burst rate", map[string]any{"rate": 500.}},
		{"pause", []string{"pause", "-name", "a"}, 0, "message rollout", map[string]any{"rollout": "a"}},
		{"resume", []string{"resume", "-name", "a"}, 0, "message rollout", nil},
		{"cancel", []string{"cancel", "-name", "a"}, 0, "applied cancelled rollout", nil},
		{"audit", []string{"audit"}, 0, "action at by detail instances rollout", map[string]any{"action": "cancel", "by": "bob"}},
		{"version", []string{"version"}, 0, "version", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "watch" {
				n.work("-metrics", metrics)
			}
			args := slices.Clone(row.args)
			args = append(args, "-json")
			var out string
			if row.name == "version" {
				data, err := n.command(args...).Output()
				require.NoError(t, err)
				out = string(data)
			} else {
				out = n.do(row.code, append(args, "-as", "bob")...)
			}
			all := object(t, out)
			assert.ElementsMatch(t, strings.Fields(row.fields), slices.Collect(maps.Keys(all)))
			for name, value := range row.values {
				assert.Equal(t, value, all[name], name)
			}
		})
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/metrics", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	text := string(data)
	assert.Contains(t, text, `zapi_fleet_settled_total{account="acme0",kind="not found",state="parked"}`)
	assert.Contains(t, text, `zapi_fleet_settled_total{account="acme1",kind="",state="applied"} 10`)
	assert.Regexp(t, `zapi_fleet_in_flight\{account="acme0"\} 0`, text)
	assert.Contains(t, text, "zapi_fleet_apply_seconds_count 2")
	assert.Contains(t, text, "zapi_fleet_engine_up 1")
	assert.NotContains(t, text, bad, "no label per instance")
}

// A wrong Client-Token halts the rollout; when the file is mended, it is read again, and retry and resume go on.
func TestHaltAndMend(t *testing.T) {
	t.Parallel()
	n := newNight(t, 200)
	n.writeCredentials(func(_ int, c *zapi.Credentials) { c.ClientToken = "wrong" })
	n.start("a")
	worker := n.work()
	assert.Contains(t, n.do(4, "watch", "-name", "a"), "a: held: halted: unauthorized ")
	assert.LessOrEqual(t, len(n.api.Requests()), 10+2*16+2*16, "10 refusals and the calls in flight, of two settings each at most")
	n.writeCredentials(func(int, *zapi.Credentials) {})
	time.Sleep(lookEvery)
	assert.Regexp(t, `(\d+) ordered again.*; (\d+) are held until their rollout is resumed`, n.do(0, "retry", "-name", "a"))
	n.do(0, "resume", "-name", "a")
	assert.Contains(t, n.do(0, "watch", "-name", "a"), "a: 200 applied")
	assert.Contains(t, worker.String(), "working for 200 instances")
	assert.Contains(t, worker.String(), "halted: unauthorized")
	assert.Contains(t, worker.String(), "credentials read again: 200 instances")
	assert.Regexp(t, `halt +a +0 +halted: unauthorized`, n.do(0, "audit"))
}

func TestDemo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 40 seconds")
	}
	path, err := build()
	require.NoError(t, err)
	data, err := exec.CommandContext(t.Context(), path, "demo").CombinedOutput()
	require.NoError(t, err, string(data))
	for _, want := range []string{
		"2026-11: held: canary: 50 of 2,000 begun", "unauthorized 6, not found 3", "2026-12: held: halted: unauthorized ",
		"all that can be applied is in place at the API: 1,991 of 2,000", "2026-12: 9 parked, 1,991 applied", "ana@demo  halt",
	} {
		assert.Contains(t, string(data), want)
	}
}
