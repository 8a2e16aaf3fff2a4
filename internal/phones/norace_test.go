//go:build !race

package phones

// slowdown is more with the race detector.
const slowdown = 1
