//go:build race

package phones

// slowdown divides what the tests go through: with the race detector, regular expressions take some twenty times as long,
// and there is no concurrency in them to be watched.
const slowdown = 10
