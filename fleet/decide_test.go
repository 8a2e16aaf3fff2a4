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
	"github.com/zapi-go/zapi/fleet/internal/store"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	t.Parallel()
	const seq = 10
	o := order{stored: stored{seq: seq}, Version: format, Rollout: "r", Number: 3, Policy: "p"}
	own := func(s status) status {
		s.Order, s.Rollout, s.Number, s.Policy = seq, "r", 3, "p"
		return s
	}
	for _, row := range []struct {
		name  string
		found status
		want  verdict
	}{
		{"no status", status{}, verdict{action: claim}},
		{"a newer order was claimed", status{Order: 11, State: Applying}, verdict{action: ask}},
		{"a newer order is waiting", status{Order: 11, State: Waiting, NotBefore: noon.Add(time.Hour)}, verdict{action: ask}},
		{"the same sequence of another rollout, given twice", status{Order: seq, Rollout: "q", Policy: "p", State: Applied}, verdict{action: ask}},
		{"the same sequence with another policy, given twice", status{Order: seq, Rollout: "r", Policy: "q", State: Applied}, verdict{action: ask}},
		{"a later rollout, in sequences that began anew", status{Order: 1, Rollout: "s", Number: 4, Policy: "p", State: Applied}, verdict{action: ask}},
		{"applied, only the acknowledgement was lost", own(status{State: Applied}), verdict{action: drop}},
		{"applied, as an earlier release wrote it", status{Order: seq, Rollout: "r", Policy: "p", State: Applied}, verdict{action: drop}},
		{"applied, with a fence", own(status{State: Applied, Fence: noon.Add(time.Hour)}), verdict{action: drop}},
		{"parked", own(status{State: Parked}), verdict{action: drop}},
		{"taken back", own(status{State: Superseded}), verdict{action: drop}},
		{"an older apply may be sending for long", status{Order: 9, State: Applying, Fence: noon.Add(time.Minute)}, verdict{delay, 500 * time.Millisecond}},
		{"an older apply may be sending for a moment", status{Order: 9, State: Applied, Policy: "q", Fence: noon.Add(time.Millisecond)}, verdict{delay, time.Millisecond}},
		{"an older order was taken back while an apply may be sending", status{Order: 9, State: Superseded, Fence: noon.Add(time.Second)}, verdict{delay, 500 * time.Millisecond}},
		{"the fence has just ended", status{Order: 9, State: Applying, Fence: noon}, verdict{action: claim}},
		{"too early", own(status{State: Waiting, NotBefore: noon.Add(time.Minute)}), verdict{delay, time.Minute}},
		{"time for the next attempt", own(status{State: Waiting, NotBefore: noon}), verdict{action: claim}},
		{"the wait of an older order", status{Order: 9, State: Waiting, NotBefore: noon.Add(time.Minute)}, verdict{action: claim}},
		{"an older order was applied a moment ago, perhaps before a late request", status{Order: 9, State: Applied, Policy: "p", At: noon}, verdict{action: claim}},
		{"a worker died of it", own(status{State: Applying, Claims: 1, Fence: noon.Add(time.Minute)}), verdict{action: claim}},
		{"five workers died of it", own(status{State: Applying, Claims: 5}), verdict{action: claim}},
		{"six workers died of it", own(status{State: Applying, Claims: 6}), verdict{action: park}},
		{"six workers died of the older order", status{Order: 9, State: Applying, Claims: 6}, verdict{action: claim}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, decide(row.found, o, false, noon))
		})
	}
}

// Above a status of orders that were lost, only the fence counts.
func TestDecideAboveLost(t *testing.T) {
	t.Parallel()
	o := order{stored: stored{seq: 10}, Version: format, Rollout: "r", Number: 3, Policy: "p"}
	assert.Equal(t, verdict{action: claim}, decide(status{Order: 99, State: Applied, Fence: noon}, o, true, noon))
	assert.Equal(t, verdict{delay, 500 * time.Millisecond}, decide(status{Order: 99, State: Applying, Fence: noon.Add(time.Minute)}, o, true, noon))
}

func TestClaimed(t *testing.T) {
	t.Parallel()
	o := order{stored: stored{seq: 10}, Version: format, Rollout: "r", Number: 3, Policy: "p"}
	fence := noon.Add(75 * time.Second)
	want := status{
		Version: format, Order: 10, Rollout: "r", Number: 3, Policy: "p", State: Applying, Claims: 1, Worker: "w", At: noon, Fence: fence,
	}
	again, own, later, last, since := want, want, want, want, want
	again.Attempts, again.Claims, again.Limited = 2, 4, 5
	own.Claims = 3
	later.Fence = noon.Add(time.Hour)
	last.Last = &LastApplied{"q", "p0", noon.Add(-time.Hour)}
	since.Kind, since.Since = kindNotConnected, noon.Add(-time.Hour)
	for _, row := range []struct {
		name  string
		found status
		want  status
	}{
		{"the first", status{}, want},
		{"of an older order: counts begin anew", status{Order: 9, State: Parked, Attempts: 8, Claims: 5, Limited: 3, Kind: "k", Error: "e"}, want},
		{"again: counts go on", status{Order: 10, Rollout: "r", Policy: "p", State: Applying, Attempts: 2, Claims: 3, Limited: 5, Kind: "k", NotBefore: noon}, again},
		{"the claim of another one that has given it back: no death", status{Order: 10, Rollout: "r", Policy: "p", State: Applying, Claims: 3, At: noon.Add(-14 * time.Second)}, own},
		{"its own claim, whose acknowledgement was lost", status{Order: 10, Rollout: "r", Policy: "p", State: Applying, Worker: "w", Claims: 3}, own},
		{"the same sequence, given twice: counts begin anew", status{Order: 10, Rollout: "q", Policy: "p", State: Applying, Attempts: 2, Claims: 3}, want},
		{"a later fence stays", status{Order: 9, Fence: noon.Add(time.Hour)}, later},
		{"an earlier fence does not", status{Order: 9, Fence: noon}, want},
		{"what was applied before is kept", status{Order: 9, Rollout: "q", Policy: "p0", State: Applied, At: noon.Add(-time.Hour)}, last},
		{"and stays", status{Order: 9, Rollout: "x", State: Parked, Last: last.Last}, last},
		{"what is borne with stays", status{Order: 10, Rollout: "r", Policy: "p", State: Waiting, Kind: kindNotConnected, At: noon.Add(-time.Minute), Since: noon.Add(-time.Hour)}, since},
		{"unless it was not tried for long", status{Order: 10, Rollout: "r", Policy: "p", State: Waiting, Kind: kindNotConnected, At: noon.Add(-time.Hour), Since: noon.Add(-2 * time.Hour)}, want},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, claimed(row.found, o, "w", noon, fence, 15*time.Second))
		})
	}
}

func apiError(op string, status int, retryAfter time.Duration) error {
	return &zapi.APIError{Op: op, StatusCode: status, RetryAfter: retryAfter, Message: "5544911111111"}
}

// failed is the error of settings that failed.
func failed(setting string, errs ...error) error {
	e := &zapi.ApplyError{}
	for _, err := range errs {
		e.Failed = append(e.Failed, zapi.SettingError{Setting: setting, Err: err})
	}
	return e
}

func TestSettled(t *testing.T) {
	t.Parallel()
	const second = time.Second
	l := limits{
		attempts: 3, minWait: 8 * second, maxWait: time.Minute, settle: 10 * second,
		random: func(int64) int64 { return 0 }, // none of the quarter
	}
	lost := &zapi.TransportError{Op: "privacy/photo", Attempts: 1, Err: errors.New("read 5544911111111: reset")}
	type want struct {
		state     State
		kind, err string
		attempts  int
		wait      time.Duration
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
		{"503", failed("photo", apiError("privacy/photo", 503, 0)), 0, 0,
			want{Waiting, "unavailable", "photo: privacy/photo: 503", 1, 8 * second, 0}},
		{"503 again", apiError("privacy/photo", 503, 0), 1, 0, want{Waiting, "unavailable", "privacy/photo: 503", 2, 16 * second, 0}},
		{"503 once too often", apiError("privacy/photo", 503, 0), 2, 0, want{Parked, kindExhausted, "unavailable: privacy/photo: 503", 3, 0, 0}},
		{"429", apiError("privacy/photo", 429, 0), 2, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 2, 8 * second, 0}},
		{"429 with Retry-After", apiError("privacy/photo", 429, 7*second), 2, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 2, 7 * second, 0}},
		{"429 with an absurd Retry-After", apiError("privacy/photo", 429, 9999*time.Hour), 0, 0, want{Waiting, kindRateLimit, "privacy/photo: 429", 0, time.Hour, 0}},
		{"429 among others", failed("", apiError("privacy/photo", 503, 0), apiError("privacy/online", 429, 3*second), apiError("privacy/online", 429, 2*second)), 0, 0,
			want{Waiting, kindRateLimit, "privacy/photo: 503; privacy/online: 429; privacy/online: 429", 0, 3 * second, 0}},
		{"429 and no response", failed("", apiError("privacy/photo", 503, 0), lost, apiError("privacy/online", 429, 3*second)), 0, 0,
			want{Waiting, kindRateLimit, "privacy/photo: 503; privacy/photo: no response; privacy/online: 429", 0, 3 * second, 10 * second}},
		{"404 and no response", failed("", lost, apiError("privacy/online", 404, 0)), 0, 0,
			want{Parked, "not found", "privacy/photo: no response; privacy/online: 404", 1, 0, 10 * second}},
		{"no response", lost, 0, 0, want{Waiting, "no response", "privacy/photo: no response", 1, 8 * second, 10 * second}},
		{"no response, a later fence stays", lost, 0, time.Minute, want{Waiting, "no response", "privacy/photo: no response", 1, 8 * second, time.Minute}},
		{"401", apiError("privacy/photo", 401, 0), 0, 0, want{Parked, "unauthorized", "privacy/photo: 401", 0 + 1, 0, 0}},
		{"404", apiError("privacy/photo", 404, 0), 0, 0, want{Parked, "not found", "privacy/photo: 404", 1, 0, 0}},
		{"405", apiError("privacy/photo", 405, 0), 0, 0, want{Parked, "method not allowed", "privacy/photo: 405", 1, 0, 0}},
		{"415", apiError("privacy/photo", 415, 0), 0, 0, want{Parked, "unsupported media type", "privacy/photo: 415", 1, 0, 0}},
		{"refused before sending", &zapi.ValidationError{Op: "Apply", Field: "Token", Reason: "must not be empty"}, 0, 0,
			want{Parked, "invalid argument", "Apply: Token", 1, 0, 0}},
		{"a redirect", apiError("privacy/photo", 302, 0), 0, 0, want{Waiting, "unexpected response", "privacy/photo: 302", 1, 8 * second, 0}},
		{"400", apiError("privacy/photo", 400, 0), 0, 0, want{Parked, "refused", "privacy/photo: 400", 1, 0, 0}},
		{"an unknown instance", resolverError{ErrNoInstance}, 0, 0, want{Parked, "no instance", "", 1, 0, 0}},
		{"the resolver could not log in", resolverError{fmt.Errorf("vault: %w", zapi.ErrUnauthorized)}, 0, 0, want{Waiting, "resolver", "", 1, 8 * second, 0}},
		{"the resolver was throttled", resolverError{&zapi.APIError{Op: "vault/secret", StatusCode: 429, RetryAfter: time.Minute}}, 0, 0, want{Waiting, "resolver", "", 1, 8 * second, 0}},
		{"the resolver", resolverError{errors.New("secret 5544911111111")}, 0, 0, want{Waiting, "resolver", "", 1, 8 * second, 0}},
		{"an instance that others may know", resolverError{fmt.Errorf("vault: %w", ErrElsewhere)}, 0, 0, want{Waiting, "elsewhere", "", 0, second, 0}},
		{"a number that is not connected", &zapi.APIError{Op: "privacy/photo", StatusCode: 200, Message: "you need to restore the session"}, 0, 0, want{Waiting, "not connected", "privacy/photo: not connected", 0, 8 * second, 0}},
		{"a panic", panicked{"secret"}, 0, 0, want{Parked, "panic", "", 1, 0, 0}},
		{"an error of a middleware", errors.New("5544911111111"), 0, 0, want{Waiting, "failed", "", 1, 8 * second, 0}},
		{"success is false", &zapi.APIError{Op: "privacy/photo", StatusCode: 200, Message: "5544911111111"}, 0, 0, want{Waiting, "rejected", "privacy/photo: success is false", 1, 8 * second, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before := status{
				Version: format, Order: 10, Rollout: "r", Policy: "p", State: Applying, Attempts: row.attempts, Claims: 3, Worker: "w",
				At: noon.Add(-time.Minute), Fence: noon.Add(time.Hour),
			}
			var fence time.Time
			if row.fence != 0 {
				fence = noon.Add(row.fence)
			}
			got := settled(before, failureOf(row.err), fence, noon, l, false)
			wanted := status{
				Version: format, Order: 10, Rollout: "r", Policy: "p", State: row.want.state, Attempts: row.want.attempts, Worker: "w",
				Kind: row.want.kind, Error: row.want.err, At: noon,
			}
			if row.want.wait > 0 {
				wanted.NotBefore = noon.Add(row.want.wait)
			}
			if row.want.fence > 0 {
				wanted.Fence = noon.Add(row.want.fence)
			}
			if row.want.kind == kindRateLimit {
				wanted.Limited = 1
			}
			if f := failureOf(row.err); row.want.state == Waiting && (f.away || f.kind == kindNotConnected) {
				wanted.Since = noon
			}
			if row.want.kind == kindElsewhere {
				wanted.Unknown = noon
			}
			assert.Equal(t, wanted, got)
		})
	}
}

// What is not the fault of the order is borne with, each for its time.
func TestBorneWith(t *testing.T) {
	t.Parallel()
	l := limits{attempts: 3, minWait: 5 * time.Second, maxWait: 15 * time.Minute, random: func(int64) int64 { return 0 }}
	notConnected := &zapi.APIError{Op: "privacy/photo", StatusCode: 400, Code: "You are not connected."}
	away := apiError("privacy/photo", 503, 0)
	for _, row := range []struct {
		name            string
		err             error
		isAway          bool
		longest, within time.Duration
		kind            string
	}{
		{"not connected", notConnected, false, 15 * time.Minute, 24 * time.Hour, "not connected"},
		{"elsewhere", resolverError{ErrElsewhere}, false, time.Minute, time.Hour, "no instance"},
		{"an API that is away", away, true, time.Minute, 24 * time.Hour, "exhausted"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := order{stored: stored{seq: 1}, Version: format, Rollout: "r", Number: 1, Policy: "p"}
			s, now := status{}, noon
			var longest time.Duration
			for s.State != Parked {
				require.Less(t, now.Sub(noon), 25*time.Hour)
				s = claimed(s, o, "w", now, now.Add(time.Minute), 15*time.Second)
				s = settled(s, failureOf(row.err), time.Time{}, now, l, row.isAway)
				if s.State == Waiting {
					assert.Zero(t, s.Attempts)
					longest = max(longest, s.NotBefore.Sub(now))
					now = s.NotBefore
				}
			}
			assert.Equal(t, row.kind, s.Kind)
			assert.Equal(t, row.longest, longest)
			assert.GreaterOrEqual(t, now.Sub(noon), row.within)
		})
	}
	t.Run("elsewhere, while those that know it cannot try", func(t *testing.T) {
		t.Parallel()
		s := settled(status{State: Applying, Unknown: noon.Add(-2 * time.Hour)}, failureOf(resolverError{ErrElsewhere}), time.Time{}, noon, l, true)
		assert.Equal(t, [2]any{Waiting, noon}, [2]any{s.State, s.Unknown})
	})
	t.Run("ten 429s", func(t *testing.T) {
		t.Parallel()
		s := status{State: Applying}
		for n := 1; n <= 13; n++ {
			s = settled(s, failureOf(apiError("privacy/photo", 429, time.Second)), time.Time{}, noon, l, false)
			assert.Equal(t, max(0, n-10), s.Attempts)
			assert.Equal(t, n == 13, s.State == Parked)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	none, all := func(int64) int64 { return 0 }, func(n int64) int64 { return n - 1 }
	l := limits{attempts: 12, minWait: 5 * time.Second, maxWait: 15 * time.Minute, random: none}
	for _, row := range []struct {
		attempt int
		want    time.Duration
	}{
		{1, 5 * time.Second},
		{2, 10 * time.Second},
		{5, 80 * time.Second},
		{8, 640 * time.Second},
		{9, 15 * time.Minute},
		{1000, 15 * time.Minute},
	} {
		l.random = none
		assert.Equal(t, row.want, l.wait(row.attempt), "attempt %d", row.attempt)
		l.random = all
		assert.Equal(t, row.want*5/4, l.wait(row.attempt), "attempt %d", row.attempt)
	}
	l.random = none
	var sum time.Duration
	for attempt := range l.attempts - 1 {
		sum += l.wait(attempt + 1)
	}
	assert.Greater(t, sum, time.Hour, "the attempts reach over an hour")
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
	assert.Equal(t, "photo: privacy/disallowed-contacts: 400; online: privacy/online: 400", failureOf(err).text)
}

func TestStatusAsItIsStored(t *testing.T) {
	t.Parallel()
	r := status{Version: format, Order: 1, Rollout: "r", Policy: "p", State: Waiting, At: noon, NotBefore: noon.Add(time.Second), Fence: noon.Add(time.Minute)}
	again, err := decodeStatus(encode(r))
	require.NoError(t, err)
	assert.Equal(t, r, again)
	again, err = decodeStatus(encode(status{Version: format, State: Applied}))
	require.NoError(t, err)
	assert.True(t, again.At.IsZero() && again.NotBefore.IsZero() && again.Fence.IsZero())
	assert.JSONEq(t, `{"v":1,"q":1,"r":"r","p":"p","s":"applied","t":"1970-01-01T00:00:00.001Z","f":"1970-01-01T00:00:00.002Z"}`, string(encode(status{
		Version: format, Order: 1, Rollout: "r", Policy: "p", State: Applied, At: time.UnixMilli(1).UTC(), Fence: time.UnixMilli(2).UTC(),
	})))
}

func decodeOrder(data []byte) (order, error) {
	o := readOrder(store.Entry{Value: data})
	err := o.err
	o.stored = stored{}
	return o, err
}

func decodeStatus(data []byte) (status, error) {
	s := readStatus(store.Entry{Value: data})
	err := s.err
	s.stored = stored{}
	return s, err
}

func TestReadOrder(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, data string
		later      bool
	}{
		{"cut short", `{"v":1,"r":"r","n":1,`, false},
		{"garbled", `{"v":"x"}`, false},
		{"without a rollout", `{"v":1,"n":1,"p":"p"}`, false},
		{"of no format", `{}`, false},
		{"of a later release", `{"v":2,"r":"r","n":1,"p":"p"}`, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := readOrder(store.Entry{Seq: 7, Value: []byte(row.data)})
			require.Error(t, o.err)
			assert.Equal(t, row.later, errors.Is(o.err, errLater))
			assert.EqualValues(t, 7, o.seq)
			assert.Equal(t, order{stored: o.stored}, o)
		})
	}
	o := readOrder(store.Entry{Seq: 7, Value: []byte(`{"v":1,"r":"r","n":3,"p":"p"}`)})
	require.NoError(t, o.err, "as an earlier release wrote it")
}

func FuzzOrder(f *testing.F) {
	f.Add(encode(order{Version: format, Rollout: "2026-11", Number: 17, Policy: "9f86d0"}))
	f.Add([]byte(`{"v":2,"r":"r","n":1,"p":"p"}`))
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOrder(data)
		if err != nil || len(data) == 0 { // no data is no order
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
	f.Add(encode(status{Version: format, Order: 4711, Rollout: "r", Policy: "p", State: Waiting, Attempts: 2, Worker: "w", Kind: "k", Error: "e", At: noon, NotBefore: noon, Fence: noon}), uint64(4711))
	f.Add(encode(status{Version: format, Order: 1, State: Applied, At: noon}), uint64(2))
	f.Add([]byte(`{"v":1,"s":"lost"}`), uint64(1))
	f.Add([]byte(``), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		r, err := decodeStatus(data)
		if err != nil {
			assert.Zero(t, r)
			return
		}
		if r.Version == format {
			again, err := decodeStatus(encode(r))
			require.NoError(t, err)
			first, err := json.Marshal(r)
			require.NoError(t, err)
			second, err := json.Marshal(again)
			require.NoError(t, err)
			assert.JSONEq(t, string(first), string(second))
		}
		o := order{stored: stored{seq: seq}, Version: format, Rollout: "r", Number: 1, Policy: "p"}
		v := decide(r, o, false, noon)
		if v.action == delay {
			assert.Positive(t, v.wait)
		}
		if r.Order > seq {
			assert.Equal(t, ask, v.action, "a newer status is never written over without asking")
		}
		if v.action == claim {
			next := claimed(r, o, "w", noon, noon.Add(time.Minute), 15*time.Second)
			assert.Equal(t, seq, next.Order)
			assert.False(t, next.Fence.Before(r.Fence), "a fence is never lowered by a claim")
		}
	})
}
