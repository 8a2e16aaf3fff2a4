package counts

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		assert.Equal(t, want, Number(n))
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Kinds(nil))
	assert.Equal(t, "unauthorized 1,200, exhausted 3, poison 3", Kinds(map[string]int{"poison": 3, "exhausted": 3, "unauthorized": 1200}))
}
