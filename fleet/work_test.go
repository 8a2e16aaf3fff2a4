package fleet

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRolloutReachesEveryInstance(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, f *Fleet) {
		api := newAPI(t, map[string]int{"acme": 150, "globex": 50})
		fullSpeed(t, f, api.targets)
		work(t, f, api)
		work(t, f, api)
		assert.Equal(t, Receipt{Ordered: 200}, start(t, f, "r", policies[1], api.targets))
		p := finish(t, f, "r")
		assert.Equal(t, 200, p.Applied)
		assert.Equal(t, 200, p.Total)
		assert.Zero(t, newestWins(t, api.Requests(), api.targets, 1))
	})
}
