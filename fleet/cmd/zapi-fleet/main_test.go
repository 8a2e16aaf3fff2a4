package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(buildDir)
		os.Exit(code)
	}))
}

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
		{"watch -name r -dir " + dir, `no such rollout: "r"; there are none`},
		{"watch -name r -dir " + used, "in use by another process"},
		{"watch -name r -url " + nobody, "no servers available for connection: does an engine run there?"},
		{"watch -name r -url nats://192.0.2.1:4222", "needs TLS: write tls://"},
		{"watch -name r -url " + nobody + " -creds " + dir + "/missing", "-creds: stat"},
		{"watch -name r -url " + nobody + " -ca " + dir + "/missing", "-ca: stat"},
		{"watch -name r -dir " + dir + " -creds x", "-creds and -ca are for -url"},
		{"watch -name r -replicas 2 -dir " + dir, "must be 1, 3 or 5"},
		{"cancel -name r -dir " + dir, "no such rollout"},
		{"pause -name r -dir " + dir, "no such rollout"},
		{"resume -name r -dir " + dir, "no such rollout"},
		{"describe -name r -dir " + dir, "no such rollout"},
		{"status -name r -dir " + dir, "no such rollout"},
		{"retry -account a -dir " + dir, `no account "a"; there are none`},
		{"pace -account a -rate 3 -dir " + dir, `no account "a"; there are none`},
		{"pace -account a -dir " + dir, "-rate is needed"},
		{"show -instance i -dir " + dir, `no instance "i"; there are none`},
		{"status -kind lost -dir " + dir, `no kind "lost"; there are none`},
		{"start -halt 500% -dir " + dir, "must be a share such as 5% or 0.05, or off"},
		{"start -halt 0 -dir " + dir, "must be a share such as 5% or 0.05, or off"},
		{"start -name r -canary -1 -policy " + policy + " -targets " + targets + " -dir " + dir, "Canary: must not be negative"},
		{"plan -name r -policy " + policy + " -targets " + targets + " -credentials missing -dir " + dir, "-credentials: open missing"},
		{"plan -name r -policy " + policy + " -targets " + targets + " -dir " + dir + "/missing", "no such file or directory"},
		{"status -state lost -dir " + dir, "-state: must be pending, applying, applied, waiting, parked or superseded"},
		{"serve", "-dir is needed"},
		{"serve -dir " + dir, tokenVariable + " is needed"},
		{"work -dir " + dir, "-credentials is needed"},
		{"work -credentials missing -dir " + dir, "-credentials: stat missing: no such file or directory"},
		{"work -credentials " + targets + " -dir " + dir, "the first line must name the columns instance, token, clientToken"},
		{"start -policy " + policy + " -targets " + targets + " -dir " + dir, "-name is needed"},
		{"start -name r -policy missing -targets " + targets + " -dir " + dir, "-policy: open missing"},
		{"start -name r -policy " + targets + " -targets " + targets + " -dir " + dir, "must be a"},
		{"start -name r -policy " + policy + " -targets " + policy + " -dir " + dir, "the first line must name the columns account, instance"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account;instance\na;b\n") + " -dir " + dir, "in UTF-8 and separated by commas"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\n") + " -dir " + dir, "has no rows"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\na,b,c\n") + " -dir " + dir, "wrong number of fields"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\na,*\n") + " -dir " + dir, "record on line 2: account and instance must be"},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account,instance\r\n\r\na,b\r\n\r\na b,c\r\n") + " -dir " + dir, "record on line 5: account and instance must be"},
		{"start -name r -burst 7 -policy " + policy + " -targets " + targets + " -dir " + dir, "-burst is for -pace"},
		{"work -credentials " + write(t, "c.csv", "instance,token,clientToken\nI1,a,b\nI1,a,c\n") + " -dir " + dir, "record on line 3: the instance has other credentials"},
		{"start -name r -pace -1 -policy " + policy + " -targets " + targets + " -dir " + dir, "Pace.PerSecond: must be"},
		{"work -credentials " + write(t, "c.csv", "instance,token,clientToken\nI1,a,\nI2,,b\n") + " -dir " + dir, "record on line 3: zapi: "},
		{"start -name r -policy " + policy + " -targets " + write(t, "a.csv", "account , instance \na,I1\nb,I1\n") + " -dir " + dir, "record on line 3: the instance has another account on an earlier line"},
		{"start -name r -policy " + write(t, "p.yaml", "photo: {visibility: ALL}\n---\nphoto: {visibility: NONE}\n") + " -targets " + targets + " -dir " + dir, "must be one document"},
		{"start -name r -policy " + write(t, "p.json", `{"photo": {"visibility": "ALL"}} {`) + " -targets " + targets + " -dir " + dir, "must be one document"},
		{"start -name r -policy " + write(t, "p.yaml", "'5544911111111': 1\n'5544911111111': 2\n") + " -targets " + targets + " -dir " + dir, `mapping key "…" already defined`},
		{"start -name r -policy " + write(t, "p.yaml", "'+55 44 91111-1111': 1\n'+55 44 91111-1111': 2\n") + " -targets " + targets + " -dir " + dir, `mapping key "…" already defined`},
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
			assert.NotContains(t, stderr.String(), "1111")
		})
	}
}

// prints runs the program, which has to end with code, and returns what it prints.
func prints(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	assert.Equal(t, code, run(t.Context(), args, &out, &errs), "%s", &errs)
	return out.String()
}

// No more can be begun than there are.
func TestCanaryOfAll(t *testing.T) {
	t.Parallel()
	policy, targets := write(t, "policy.yaml", "photo: {visibility: CONTACTS}\n"), write(t, "targets.csv", "account,instance\nacme,I1\nacme,I2\n")
	out := prints(t, 0, "start", "-name", "r", "-canary", "5", "-policy", policy, "-targets", targets, "-dir", t.TempDir())
	assert.Contains(t, out, "the first 2 are begun;")
}

// What start, resume and plan say is so, whatever else was done to the rollout.
func TestWhatIsSaidOfAHold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy, targets := write(t, "policy.yaml", "photo: {visibility: CONTACTS}\n"), write(t, "targets.csv", "account,instance\nacme,I1\nacme,I2\nacme,I1\n")
	do := func(args ...string) string {
		t.Helper()
		return prints(t, 0, append(args, "-name", "r", "-dir", dir)...)
	}
	files := []string{"-policy", policy, "-targets", targets}
	started := append([]string{"start", "-canary", "1"}, files...)
	assert.Contains(t, do(started...), "the first 1 are begun;")
	credentials := write(t, "credentials.csv", "instance,token,clientToken\nI3,TOKEN123,CT123456\n")
	assert.Contains(t, do(append([]string{"plan", "-credentials", credentials}, files...)...), "2 of the targets have no credentials")
	do("resume")
	assert.NotContains(t, do(started...), "are begun")
	do("pause")
	out := do(started...)
	assert.NotContains(t, out, "are begun")
	assert.Contains(t, out, "held: paused; to go on: zapi-fleet resume -name r")
}

// What has not been ordered to the end does not go on before it is.
func TestResumeWhileOrdering(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := fleet.Open(t.Context(), fleet.Embedded(dir))
	require.NoError(t, err)
	_, err = f.Start(t.Context(), fleet.Rollout{Name: "r", Policy: zapi.Policy{Online: zapi.OnlineSameAsLastSeen}, Targets: func(yield func(fleet.Target) bool) {
		_ = yield(fleet.Target{Account: "acme", Instance: "I1"}) && yield(fleet.Target{})
	}})
	require.Error(t, err)
	require.NoError(t, f.Close())
	assert.Contains(t, prints(t, 0, "resume", "-name", "r", "-dir", dir), "start it again")
}

// What is lost is neither said to be done, nor to be ordered again where that cannot be.
func TestWhatIsSaidOfALoss(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy, targets := write(t, "policy.yaml", "photo: {visibility: CONTACTS}\n"), write(t, "targets.csv", "account,instance\nacme,I1\nacme,I2\n")
	do := func(code int, args ...string) string {
		t.Helper()
		return prints(t, code, append(args, "-dir", dir)...)
	}
	for _, name := range []string{"a", "b"} {
		do(0, "start", "-name", name, "-policy", policy, "-targets", targets)
	}
	assert.Contains(t, do(1, "watch", "-name", "b", "-timeout", "1ns"), "not counted in time")
	do(0, "cancel", "-name", "b")
	for _, stream := range []string{"FLEET_ORDERS", "KV_fleet_policies"} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "jetstream", "$G", "streams", stream)))
	}
	assert.Contains(t, do(1, "watch", "-name", "a", "-timeout", "1s"), "a: not done in time: 2 left")
	assert.Contains(t, do(3, "watch", "-name", "a"), "a: 2 missing: start it again")
	out := do(3, "watch", "-name", "b")
	assert.Contains(t, out, "b: 2 missing, 0 applied")
	assert.NotContains(t, out, "start it again")
	out = do(0, "describe", "-name", "b")
	assert.NotContains(t, out, "{}")
	assert.Contains(t, out, "policy:   not known")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	assert.Zero(t, run(t.Context(), []string{"version"}, &stdout, &stderr))
	assert.Equal(t, programVersion()+"\n", stdout.String())
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
		assert.Contains(t, stdout.String(), "\n  -json")
		assert.Empty(t, stderr.String())
	}
}

func TestProgressLine(t *testing.T) {
	t.Parallel()
	p := fleet.Progress{Total: 2000, Pending: 370, Applying: 61, Waiting: 9, Applied: 1556, Parked: 4, PerSecond: 196, Left: 2 * time.Second}
	all := []string{"3 workers", "rate limited 9, tried again by 03:12:00"}
	for _, row := range []struct {
		name    string
		p       fleet.Progress
		remarks []string
		columns int
		want    string
	}{
		{"wide", p, all, 1000, "███████████████░░░░░  r  77 %   1,560 of 2,000   parked 4   waiting 9   applying 61   196/s   2s left   3 workers   rate limited 9, tried again by 03:12:00"},
		{"80 columns", p, all, 80, "r  77 %   1,560 of 2,000   parked 4   waiting 9   applying 61   196/s   2s left"},
		{"40 columns", p, all, 40, "r  77 %   1,560 of 2,000   parked 4"},
		{"a long name", fleet.Progress{Total: 2000, Applied: 1000}, nil, 14, "r  50 %"},
		{"nothing", fleet.Progress{}, nil, 1000, "░░░░░░░░░░░░░░░░░░░░  r  0 %   0 of 0"},
		{"held", fleet.Progress{Total: 10, Applied: 5, Pending: 5, Held: "paused"}, nil, 40, "r  50 %   5 of 10   paused"},
		{"cancelled", fleet.Progress{Total: 600, Cancelled: 600}, nil, 60, "░░░░░░░░░░░░░░░░░░░░  r  0 %   600 of 600   cancelled 600"},
		{"ordering", fleet.Progress{Total: 71, Pending: 71, Ordering: true}, nil, 60, "r  ordering: 71 so far"},
		{"written by anybody", fleet.Progress{Total: 1, Pending: 1, Held: "\x1b[2J\u202e"}, nil, 1000, `░░░░░░░░░░░░░░░░░░░░  r  0 %   0 of 1   \x1b[2J\u202e`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, progressLine("r", row.p, row.remarks, row.columns))
		})
	}
}

// What keeps a rollout from going on is true at the time when it is said.
func TestRemarks(t *testing.T) {
	t.Parallel()
	pending, waiting := fleet.Progress{Total: 9, Pending: 9}, fleet.Progress{Total: 9, Waiting: 9, Workers: 2}
	for _, row := range []struct {
		name string
		p    fleet.Progress
		away bool
		want []string // after one second, and after a minute and a half
	}{
		{"workers may yet come", pending, false, []string{"", "no worker yet"}},
		{"some wait, and then are late", waiting, false, []string{"2 workers, rate limited 9, tried again by 03:00:30", "2 workers, rate limited 9"}},
		{"away", waiting, true, []string{"the engine is away for 1s", "the engine is away for 1m30s"}},
		{"all wait, and nobody is seen", fleet.Progress{Total: 9, Applied: 5, Waiting: 4}, false, []string{"rate limited 9, tried again by 03:00:30", "no worker has been seen for 2 min, rate limited 9"}},
		{"some are applied, and nobody is seen", fleet.Progress{Total: 9, Applied: 5, Pending: 4}, false, []string{"", "no worker has been seen for 2 min"}},
		{"done", fleet.Progress{Total: 9, Applied: 9}, false, []string{"", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				time.Sleep(time.Until(time.Date(began.Year(), 11, 25, 3, 0, 0, 0, time.Local)))
				began = time.Now()
				w := &watcher{session: &session{screen: newScreen(io.Discard)}, began: began, waits: "rate limited 9", until: began.Add(30 * time.Second)}
				if row.away {
					w.away.Store(&began)
				}
				time.Sleep(time.Second)
				assert.Equal(t, row.want[0], strings.Join(w.remarks(row.p), ", "))
				time.Sleep(89 * time.Second)
				assert.Equal(t, row.want[1], strings.Join(w.remarks(row.p), ", "))
			})
		})
	}
}

// The verdict on a rollout, in the words of -json and as an exit code.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		p       fleet.Progress
		outcome string
		code    exit
	}{
		{"all applied", fleet.Progress{Total: 2, Applied: 2}, "applied", 0},
		{"some superseded", fleet.Progress{Total: 2, Applied: 1, Superseded: 1}, "applied", 0},
		{"all superseded", fleet.Progress{Total: 2, Superseded: 2}, "incomplete", 3},
		{"parked", fleet.Progress{Total: 2, Applied: 1, Parked: 1}, "incomplete", 3},
		{"cancelled", fleet.Progress{Total: 2, Applied: 1, Cancelled: 1}, "incomplete", 3},
		{"missing", fleet.Progress{Total: 2, Applied: 1, Missing: 1}, "incomplete", 3},
		{"held", fleet.Progress{Total: 2, Applied: 1, Pending: 1, Held: "paused"}, "held", 4},
		{"running", fleet.Progress{Total: 2, Applied: 1, Waiting: 1}, "running", 1},
		{"ordering", fleet.Progress{Total: 2, Pending: 2, Ordering: true, Held: "canary"}, "ordering", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.code, verdict(row.p))
			assert.Equal(t, row.outcome, row.code.outcome())
		})
	}
}

// What anybody wrote into the store cannot control a terminal, in text or in JSON.
func TestEscape(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[31m\nb\u009b\u202e\t\x7fé"
	assert.Equal(t, `a\x1b[31m\nb\u009b\u202e\t\x7fé`, escape(evil))
	var text bytes.Buffer
	out := newScreen(&text)
	out.sayf("%s", evil)
	out.table(0, row{evil, "x"})
	out.json = true
	out.object(fields{"kind": evil})
	assert.NotContains(t, strings.ReplaceAll(text.String(), "\n", ""), "\x1b")
	assert.Equal(t, 3, strings.Count(text.String(), "\n"))
	for _, r := range strings.ReplaceAll(text.String(), "\n", "") {
		assert.True(t, unicode.IsPrint(r), "%q", r)
	}
	var object map[string]string
	_, line, _ := strings.Cut(text.String(), "{")
	require.NoError(t, json.Unmarshal([]byte("{"+line), &object))
	assert.Equal(t, evil, object["kind"])
}

// What happens to an account is said in a line; what happens to an instance is not; what fails again is said once a minute.
func TestReporter(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.Local)
	account := slog.String("account", "acme")
	for _, row := range []struct {
		name    string
		records []slog.Record
		want    string
	}{
		{"away", []slog.Record{logged(at, "account away", account, slog.String("worker", "w"))}, "account acme is away; waiting for it\n"},
		{"back", []slog.Record{logged(at, "account back", account)}, "account acme is back\n"},
		{"held", []slog.Record{logged(at, "account held", account, slog.Time("until", at.Add(12*time.Minute)))}, "account acme is held by 429s until 03:12:00\n"},
		{"held until a text", []slog.Record{logged(at, "account held", account, slog.String("until", "later"))}, "account acme is held by 429s until later\n"},
		{"two accounts", []slog.Record{logged(at, "account back", account), logged(at, "account back", slog.String("account", "b"))}, "account acme is back\naccount b is back\n"},
		{"instance", []slog.Record{logged(at, "apply failed", slog.String("key", "acme.I1"), slog.String("kind", "not found"))}, ""},
		{"written by anybody", []slog.Record{logged(at, "account back", slog.String("account", "\x1b[2J"))}, `account \x1b[2J is back` + "\n"},
		{"other", []slog.Record{logged(at, "halted: unauthorized 12 of 40", slog.String("rollout", "a"), slog.Any("error", nil))}, "halted: unauthorized 12 of 40 rollout=a\n"},
		{"again", []slog.Record{logged(at, "cannot read"), logged(at.Add(59*time.Second), "cannot read"), logged(at.Add(time.Minute), "cannot read")}, "cannot read\ncannot read\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var text, all bytes.Buffer
			r := newReporter(newScreen(&text), &all)
			for _, record := range row.records {
				require.True(t, r.Enabled(t.Context(), record.Level))
				require.NoError(t, r.Handle(t.Context(), record))
			}
			assert.Equal(t, row.want, text.String())
			assert.Equal(t, len(row.records), strings.Count(all.String(), "\n"), "-v logs all")
		})
	}
}

func logged(at time.Time, message string, attrs ...slog.Attr) slog.Record {
	record := slog.NewRecord(at, slog.LevelInfo, message, 0)
	record.AddAttrs(attrs...)
	return record
}

// Serve says at once that it cannot write, and gives up after a minute.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		fails func(since time.Duration) bool
		want  string
		err   bool
	}{
		{"never", func(time.Duration) bool { return false }, "", false},
		{"for a while", func(d time.Duration) bool { return d > time.Minute && d < 90*time.Second }, "the engine cannot work: disk full\nthe engine can work again\n", false},
		{"for ever", func(d time.Duration) bool { return d > time.Minute }, "the engine cannot work: disk full\n", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var text bytes.Buffer
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				err := guard(ctx, newScreen(&text), func(context.Context) error {
					if row.fails(time.Since(began)) {
						return errors.New("disk full")
					}
					return nil
				})
				assert.Equal(t, row.want, text.String())
				assert.Equal(t, row.err, err != nil)
				if row.err {
					assert.ErrorContains(t, err, "disk full")
					assert.Equal(t, 2*time.Minute+probeEvery, time.Since(began))
				}
			})
		})
	}
	assert.NoError(t, writes(t.TempDir()))
	dir := filepath.Join(t.TempDir(), "missing")
	probe := writer(dir)
	require.Error(t, probe())
	require.NoError(t, os.Mkdir(dir, 0o700))
	assert.NoError(t, writes(dir))
	assert.Error(t, probe(), "the engine has failed to write, and does not try again")
}
