package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	t.Parallel()
	const seq = 10
	for _, row := range []struct {
		name  string
		found record
		want  verdict
	}{
		{"no status", record{}, verdict{action: claim}},
		{"a newer order was claimed", record{Seq: 11, State: Applying}, verdict{action: drop}},
		{"a newer order is waiting", record{Seq: 11, State: Waiting, NotBefore: noon.Add(time.Hour)}, verdict{action: drop}},
		{"applied, only the acknowledgement was lost", record{Seq: seq, State: Applied}, verdict{action: drop}},
		{"applied, with a fence", record{Seq: seq, State: Applied, Fence: noon.Add(time.Hour)}, verdict{action: drop}},
		{"parked", record{Seq: seq, State: Parked}, verdict{action: drop}},
		{"taken back", record{Seq: seq, State: Superseded}, verdict{action: drop}},
		{"an older apply may be sending for long", record{Seq: 9, State: Applying, Fence: noon.Add(time.Minute)}, verdict{delay, 500 * time.Millisecond}},
		{"an older apply may be sending for a moment", record{Seq: 9, State: Applied, Policy: "q", Fence: noon.Add(time.Millisecond)}, verdict{delay, time.Millisecond}},
		{"an older order was taken back while an apply may be sending", record{Seq: 9, State: Superseded, Fence: noon.Add(time.Second)}, verdict{delay, 500 * time.Millisecond}},
		{"the fence has just ended", record{Seq: 9, State: Applying, Fence: noon}, verdict{action: claim}},
		{"too early", record{Seq: seq, State: Waiting, NotBefore: noon.Add(time.Minute)}, verdict{delay, time.Minute}},
		{"time for the next attempt", record{Seq: seq, State: Waiting, NotBefore: noon}, verdict{action: claim}},
		{"the wait of an older order", record{Seq: 9, State: Waiting, NotBefore: noon.Add(time.Minute)}, verdict{action: claim}},
		{"an older order was applied a moment ago, perhaps before a late request", record{Seq: 9, State: Applied, Policy: "p", At: noon}, verdict{action: claim}},
		{"a worker died of it", record{Seq: seq, State: Applying, Claims: 1, Fence: noon.Add(time.Minute)}, verdict{action: claim}},
		{"five workers died of it", record{Seq: seq, State: Applying, Claims: 5}, verdict{action: claim}},
		{"six workers died of it", record{Seq: seq, State: Applying, Claims: 6}, verdict{action: park}},
		{"six workers died of the older order", record{Seq: 9, State: Applying, Claims: 6}, verdict{action: claim}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, decide(row.found, seq, noon))
		})
	}
}

func TestClaimed(t *testing.T) {
	t.Parallel()
	o := order{Version: format, Rollout: "r", Number: 3, Policy: "p"}
	deadline := noon.Add(time.Minute)
	fence := deadline.Add(15 * time.Second)
	want := record{
		Version: format, Seq: 10, Rollout: "r", Policy: "p", State: Applying, Claims: 1, Worker: "w", At: noon, Fence: fence,
	}
	again, later := want, want
	again.Attempts, again.Claims = 2, 4
	later.Fence = noon.Add(time.Hour)
	for _, row := range []struct {
		name  string
		found record
		want  record
	}{
		{"the first", record{}, want},
		{"of an older order: counts begin anew", record{Seq: 9, State: Parked, Attempts: 8, Claims: 5, Kind: "k", Error: "e"}, want},
		{"again: counts go on", record{Seq: 10, State: Applying, Attempts: 2, Claims: 3, NotBefore: noon}, again},
		{"a later fence stays", record{Seq: 9, Fence: noon.Add(time.Hour)}, later},
		{"an earlier fence does not", record{Seq: 9, Fence: noon}, want},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, claimed(row.found, o, 10, "w", noon, deadline, 15*time.Second))
		})
	}
}

func apiError(op string, status int, retryAfter time.Duration) error {
	return &zapi.APIError{Op: op, StatusCode: status, RetryAfter: retryAfter, Message: "5544911111111"}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	const second = time.Second
	b := backoff{attempts: 3, minWait: 8 * second, maxWait: time.Minute}
	none := func(int64) int64 { return 0 } // half of the backoff
	lost := &zapi.TransportError{Op: "privacy/photo", Err: errors.New("read 5544911111111: reset")}
	type want struct {
		state     State
		kind, err string
		attempts  int
		wait      time.Duration
		hold      time.Duration
		fence     time.Duration
	}
	for _, row := range []struct {
		name     string
		err      error
		attempts int
		fence    time.Duration
		want     want
	}{
		{"success", nil, 1, 0, want{state: Applied, attempts: 1}},
		{"success while a dead worker's claim lasts", nil, 0, second, want{state: Applied, fence: second}},
		{"success after it", nil, 0, -second, want{state: Applied}},
		{"503", fmt.Errorf("photo: %w", apiError("privacy/photo", 503, 0)), 0, 0,
			want{Waiting, "unavailable", "photo: privacy/photo: 503", 1, 4 * second, 0, 0}},
		{"503 again", apiError("privacy/photo", 503, 0), 1, 0, want{Waiting, "unavailable", "privacy/photo: 503", 2, 8 * second, 0, 0}},
		{"503 once too often", apiError("privacy/photo", 503, 0), 2, 0, want{Parked, kindExhausted, "unavailable: privacy/photo: 503", 3, 0, 0, 0}},
		{"429", apiError("privacy/photo", 429, 0), 2, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 2, 8 * second, 8 * second, 0}},
		{"429 with Retry-After", apiError("privacy/photo", 429, 7*second), 2, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 2, 7 * second, 7 * second, 0}},
		{"429 with an absurd Retry-After", apiError("privacy/photo", 429, 9999*time.Hour), 0, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 0, time.Hour, time.Hour, 0}},
		{"429 among others", errors.Join(apiError("privacy/photo", 503, 0), apiError("privacy/online", 429, 3*second), apiError("privacy/online", 429, 2*second)), 0, 0,
			want{Waiting, kindRateLimit, "privacy/photo: 503; privacy/online: 429; privacy/online: 429", 0, 3 * second, 3 * second, 0}},
		{"429 and no response", errors.Join(apiError("privacy/photo", 503, 0), lost, apiError("privacy/online", 429, 3*second)), 0, 0,
			want{Waiting, kindRateLimit, "privacy/photo: 503; privacy/photo: no response; privacy/online: 429", 0, 3 * second, 3 * second, 10 * second}},
		{"404 and no response", errors.Join(lost, apiError("privacy/online", 404, 0)), 0, 0,
			want{Parked, "not found", "privacy/photo: no response; privacy/online: 404", 1, 0, 0, 10 * second}},
		{"no response", lost, 0, 0, want{Waiting, "no response", "privacy/photo: no response", 1, 4 * second, 0, 10 * second}},
		{"no response, a later fence stays", lost, 0, time.Minute, want{Waiting, "no response", "privacy/photo: no response", 1, 4 * second, 0, time.Minute}},
		{"401", apiError("privacy/photo", 401, 0), 0, 0, want{Parked, "unauthorized", "privacy/photo: 401", 0 + 1, 0, 0, 0}},
		{"404", apiError("privacy/photo", 404, 0), 0, 0, want{Parked, "not found", "privacy/photo: 404", 1, 0, 0, 0}},
		{"405", apiError("privacy/photo", 405, 0), 0, 0, want{Parked, "method not allowed", "privacy/photo: 405", 1, 0, 0, 0}},
		{"415", apiError("privacy/photo", 415, 0), 0, 0, want{Parked, "unsupported media type", "privacy/photo: 415", 1, 0, 0, 0}},
		{"refused before sending", &zapi.ValidationError{Op: "ForInstance", Field: "Token", Reason: "must not be empty"}, 0, 0,
			want{Parked, "invalid argument", "ForInstance: Token", 1, 0, 0, 0}},
		{"a redirect", apiError("privacy/photo", 302, 0), 0, 0, want{Waiting, "unexpected response", "privacy/photo: 302", 1, 4 * second, 0, 0}},
		{"400", apiError("privacy/photo", 400, 0), 0, 0, want{Waiting, "failed", "privacy/photo: 400", 1, 4 * second, 0, 0}},
		{"an unknown instance", resolverError{ErrNoInstance}, 0, 0, want{Parked, "no instance", "", 1, 0, 0, 0}},
		{"the resolver could not log in", resolverError{fmt.Errorf("vault: %w", zapi.ErrUnauthorized)}, 0, 0, want{Waiting, "resolver", "", 1, 4 * second, 0, 0}},
		{"the resolver was throttled", resolverError{&zapi.APIError{Op: "vault/secret", StatusCode: 429, RetryAfter: time.Minute}}, 0, 0, want{Waiting, "resolver", "", 1, 4 * second, 0, 0}},
		{"the resolver", resolverError{errors.New("secret 5544911111111")}, 0, 0, want{Waiting, "resolver", "", 1, 4 * second, 0, 0}},
		{"a panic", panicked{"secret"}, 0, 0, want{Parked, "panic", "", 1, 0, 0, 0}},
		{"a setting that is none", fmt.Errorf("5544911111111: %w", apiError("privacy/photo", 500, 0)), 0, 0, want{Waiting, "unavailable", "privacy/photo: 500", 1, 4 * second, 0, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before := record{
				Version: format, Seq: 10, Rollout: "r", Policy: "p", State: Applying, Attempts: row.attempts, Claims: 3, Worker: "w",
				At: noon.Add(-time.Minute), Fence: noon.Add(time.Hour), NotBefore: noon,
			}
			var fence time.Time
			if row.fence != 0 {
				fence = noon.Add(row.fence)
			}
			got, hold := settled(before, row.err, fence, noon, b, 10*second, none)
			wanted := record{
				Version: format, Seq: 10, Rollout: "r", Policy: "p", State: row.want.state, Attempts: row.want.attempts, Worker: "w",
				Kind: row.want.kind, Error: row.want.err, At: noon,
			}
			if row.want.wait > 0 {
				wanted.NotBefore = noon.Add(row.want.wait)
			}
			if row.want.fence > 0 {
				wanted.Fence = noon.Add(row.want.fence)
			}
			assert.Equal(t, wanted, got)
			assert.Equal(t, row.want.hold, hold)
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := backoff{attempts: 8, minWait: 5 * time.Second, maxWait: 15 * time.Minute}
	half, all := func(int64) int64 { return 0 }, func(n int64) int64 { return n - 1 }
	for _, row := range []struct {
		attempt int
		longest time.Duration
	}{
		{1, 5 * time.Second},
		{2, 10 * time.Second},
		{5, 80 * time.Second},
		{8, 640 * time.Second},
		{9, 15 * time.Minute},
		{1000, 15 * time.Minute},
	} {
		assert.Equal(t, row.longest/2, b.wait(row.attempt, half), "attempt %d", row.attempt)
		assert.Equal(t, row.longest, b.wait(row.attempt, all), "attempt %d", row.attempt)
	}
}

// What the API or a resolver says may quote a phone or a secret, and is not stored.
func TestDescribeQuotesNobody(t *testing.T) {
	t.Parallel()
	api := newAPI(t, map[string]int{"a": 1})
	creds, _ := api.Credentials(t.Context(), api.targets[0])
	client, err := zapi.NewClient(creds, zapi.WithRetry(zapi.RetryPolicy{}), zapi.WithTransport(roundTripper(func(*http.Request) (*http.Response, error) {
		return respond(http.StatusBadRequest, nil, `{"error":"no such phone 5544911111111","message":"token `+creds.Token+`"}`), nil
	})))
	require.NoError(t, err)
	err = client.Apply(context.Background(), zapi.Policy{
		Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"5544911111111"}}, Online: zapi.OnlineAll,
	})
	require.ErrorContains(t, err, "5544911111111")
	assert.Equal(t, "photo: privacy/disallowed-contacts: 400; online: privacy/online: 400", describe(err))
}

func TestStatusAsItIsStored(t *testing.T) {
	t.Parallel()
	r := record{Version: format, Seq: 1, Rollout: "r", Policy: "p", State: Waiting, At: noon, NotBefore: noon.Add(time.Second), Fence: noon.Add(time.Minute)}
	again, err := decodeRecord(encode(r))
	require.NoError(t, err)
	assert.Equal(t, r, again)
	again, err = decodeRecord(encode(record{Version: format, State: Applied}))
	require.NoError(t, err)
	assert.True(t, again.At.IsZero() && again.NotBefore.IsZero() && again.Fence.IsZero())
	assert.JSONEq(t, `{"v":1,"q":1,"r":"r","p":"p","s":"applied","t":"1970-01-01T00:00:00.001Z","f":"1970-01-01T00:00:00.002Z"}`, string(encode(record{
		Version: format, Seq: 1, Rollout: "r", Policy: "p", State: Applied, At: time.UnixMilli(1).UTC(), Fence: time.UnixMilli(2).UTC(),
	})))
}

func FuzzOrder(f *testing.F) {
	f.Add(encode(order{format, "2026-11", 17, "9f86d0"}))
	f.Add([]byte(`{"v":2,"r":"r","n":1,"p":"p"}`))
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOrder(data)
		if err != nil {
			assert.Zero(t, o)
			return
		}
		again, err := decodeOrder(encode(o))
		require.NoError(t, err)
		assert.Equal(t, o, again)
		assert.Equal(t, format, o.Version)
	})
}

func FuzzStatus(f *testing.F) {
	f.Add(encode(record{Version: format, Seq: 4711, Rollout: "r", Policy: "p", State: Waiting, Attempts: 2, Worker: "w", Kind: "k", Error: "e", At: noon, NotBefore: noon, Fence: noon}), uint64(4711))
	f.Add(encode(record{Version: format, Seq: 1, State: Applied, At: noon}), uint64(2))
	f.Add([]byte(`{"v":1,"s":"lost"}`), uint64(1))
	f.Add([]byte(``), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		r, err := decodeRecord(data)
		if err != nil {
			assert.Zero(t, r)
			return
		}
		if r.Version == format {
			again, err := decodeRecord(encode(r))
			require.NoError(t, err)
			first, err := json.Marshal(r)
			require.NoError(t, err)
			second, err := json.Marshal(again)
			require.NoError(t, err)
			assert.JSONEq(t, string(first), string(second))
		}
		v := decide(r, seq, noon)
		if v.action == delay {
			assert.Positive(t, v.wait)
		}
		if r.Seq > seq {
			assert.Equal(t, drop, v.action, "a newer status is never written over")
		}
		if v.action == claim {
			next := claimed(r, order{format, "r", 1, "p"}, seq, "w", noon, noon.Add(time.Minute), time.Second)
			assert.Equal(t, seq, next.Seq)
			assert.False(t, next.Fence.Before(r.Fence), "a fence is never lowered by a claim")
		}
	})
}
