// Package counts writes numbers of instances for people, in the same way in fleet and in its program.
package counts

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Number writes 12,345.
func Number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Kinds writes kinds of failures with their numbers, the most frequent first: unauthorized 12, poison 3.
func Kinds(kinds map[string]int) string {
	sorted := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b))
	})
	for i, kind := range sorted {
		sorted[i] = kind + " " + Number(kinds[kind])
	}
	return strings.Join(sorted, ", ")
}
