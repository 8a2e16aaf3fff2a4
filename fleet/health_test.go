package fleet

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// One order fails all the time. Whether the API is away depends on when the worker has heard of it.
func TestOneOrderShowsThatTheAPIIsAway(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	for _, row := range []struct {
		name  string
		heard []int // minutes after the order began to fail
		now   int
		want  bool
	}{
		{"never heard, at first", nil, 1, false},
		{"never heard, later", nil, 11, true},
		{"heard before it began to fail", []int{-20}, 11, true},
		{"heard a moment ago", []int{10}, 11, false},
		{"heard after it began to fail, and then no more", []int{1}, 12, true},
		{"others go on", []int{1, 10, 20, 30}, 31, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := health{log: slog.New(slog.DiscardHandler)}
			for _, minute := range row.heard {
				assert.False(t, h.report(t.Context(), at(minute), false, failure{}, time.Time{}))
			}
			assert.Equal(t, row.want, h.report(t.Context(), at(row.now), false, failure{away: true}, began))
		})
	}
}
