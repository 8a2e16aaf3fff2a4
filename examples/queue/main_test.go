package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Queue runs jobs"},
		{Name: "superfluous argument", Args: []string{"jobs"}, Code: 2, Want: "queue takes no arguments; see -h"},
	})
}

func TestDemonstration(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, demonstrate(t.Context(), &out))
	for _, want := range []string{
		"sales      run 1: rate limited, again in 1s\n",
		"sales      run 2: done\n",
		"billing    run 1: unauthorized, left to a person: photo: zapi: privacy/photo: 403 Forbidden: Client-Token [REDACTED] not allowed\n",
		"warehouse  run 1: not connected, again in 100ms\n",
		"warehouse  run 2: not connected, again in 200ms\n",
		"warehouse  run 3: not connected, left to a person: photo: zapi: privacy/photo: 400 Bad Request: You are not connected.\n",
	} {
		assert.Contains(t, out.String(), want)
	}
	assert.Equal(t, 6, strings.Count(out.String(), "\n"))
}

// An answer is the response to one request; status 0 is a lost connection.
type answer struct {
	status     int
	retryAfter string
}

// scripted is a transport that answers each instance with its answers, one after another, and with success from then on.
type scripted map[string][]answer

func (s scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	id := strings.Split(req.URL.Path, "/")[2]
	a := answer{status: http.StatusOK}
	if len(s[id]) > 0 {
		a, s[id] = s[id][0], s[id][1:]
	}
	if a.status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	header, body := http.Header{}, ""
	if a.retryAfter != "" {
		header.Set("Retry-After", a.retryAfter)
	}
	if a.status == http.StatusOK {
		body = `{"success": true}`
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

var policy = zapi.Policy{Online: zapi.OnlineAll}

func newJob(name string) job {
	return job{name: name, creds: zapi.Credentials{InstanceID: name, Token: "MY-TOKEN", ClientToken: "MY-SECRET"}}
}

func TestWork(t *testing.T) {
	t.Parallel()
	broken := newJob("a")
	broken.creds.Token = ""
	tests := []struct {
		name      string
		transport scripted
		jobs      []job
		want      string
	}{
		{"success", nil, []job{newJob("a")}, "a          run 1: done\n"},
		{
			"lost connection", scripted{"a": {{}}},
			[]job{newJob("a")},
			"a          run 1: connection closed, again in 100ms\na          run 2: done\n",
		},
		{
			"no sooner than the API asked", scripted{"a": {{429, "60"}}, "b": {{429, "30"}}, "c": {{429, ""}}},
			[]job{newJob("a"), newJob("b"), newJob("c")},
			"a          run 1: rate limited, again in 1m0s\nb          run 1: rate limited, again in 30s\nc          run 1: rate limited, again in 100ms\n" +
				"c          run 2: done\nb          run 2: done\na          run 2: done\n",
		},
		{
			"never again", scripted{"a": {{403, ""}}, "b": {{404, ""}}, "c": {{409, ""}}},
			[]job{newJob("a"), newJob("b"), newJob("c")},
			"a          run 1: unauthorized, left to a person: online: zapi: privacy/online: 403 Forbidden\n" +
				"b          run 1: not found, left to a person: online: zapi: privacy/online: 404 Not Found\n" +
				"c          run 1: refused, left to a person: online: zapi: privacy/online: 409 Conflict\n",
		},
		{
			"broken credentials", nil,
			[]job{broken, newJob("b")},
			"a          run 1: invalid credentials, left to a person: zapi: Instance: Token: must not be empty\n" +
				"b          run 1: done\n",
		},
		{
			"only so often", scripted{"a": {{}, {}, {}}},
			[]job{newJob("a")},
			"a          run 1: connection closed, again in 100ms\na          run 2: connection closed, again in 200ms\n" +
				"a          run 3: connection closed, left to a person: online: zapi: privacy/online: no response: unexpected EOF\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api, err := zapi.NewAPI(zapi.WithTransport(tt.transport), zapi.WithRetry(zapi.RetryPolicy{}))
				require.NoError(t, err)
				var out strings.Builder
				require.NoError(t, work(t.Context(), &out, api, policy, tt.jobs))
				assert.Equal(t, tt.want, out.String())
			})
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	var out strings.Builder
	assert.ErrorIs(t, demonstrate(ended, &out), context.Canceled)
	assert.Empty(t, out.String(), "no job is left to a person, nor done")
}
