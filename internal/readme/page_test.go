package readme

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

const root = "../.." // of the repository

// page is what the tests compare of a page in Markdown.
type page struct {
	name     string // from the root of the repository
	text     string
	headings []heading
	blocks   []block
	tables   []table
	links    []string // in prose and tables
}

type heading struct {
	level  int
	anchor string // as GitHub derives it
}

type block struct{ language, text string }

type table []row // without the header

type row []string // cells

var (
	linkPattern     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeSpanPattern = regexp.MustCompile("`([^`]+)`")
)

// codeSpans returns what stands between backticks.
func codeSpans(text string) []string {
	var spans []string
	for _, match := range codeSpanPattern.FindAllStringSubmatch(text, -1) {
		spans = append(spans, match[1])
	}
	return spans
}

// code returns the first code span or the text of the first link of the first cell.
func (r row) code() string {
	if spans := codeSpans(r[0]); len(spans) > 0 {
		return spans[0]
	}
	text, _, _ := strings.Cut(strings.TrimPrefix(r[0], "["), "]")
	return text
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	require.NoError(t, err)
	return strings.ReplaceAll(string(data), "\r\n", "\n") // as git may check them out
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	p := page{name: name, text: readFile(t, name)}
	lines := strings.Split(p.text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if language, ok := strings.CutPrefix(line, "```"); ok {
			end := i + 1 + slices.Index(lines[i+1:], "```")
			require.Greater(t, end, i, "%s: a block of code does not end", name)
			p.blocks = append(p.blocks, block{language, strings.Join(lines[i+1:end], "\n") + "\n"})
			i = end
			continue
		}
		for _, link := range linkPattern.FindAllStringSubmatch(line, -1) {
			p.links = append(p.links, link[1])
		}
		switch {
		case strings.HasPrefix(line, "#"):
			marks, text, _ := strings.Cut(line, " ")
			p.headings = append(p.headings, heading{len(marks), anchorOf(text)})
		case strings.HasPrefix(line, "|---"):
			p.tables = append(p.tables, nil)
		case strings.HasPrefix(line, "|") && !strings.HasPrefix(lines[i+1], "|---"):
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			last := len(p.tables) - 1
			p.tables[last] = append(p.tables[last], cells)
		}
	}
	require.NotEmpty(t, p.headings, name)
	require.NotEmpty(t, p.links, name)
	return p
}

func anchorOf(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

// table returns the table whose first cell shows code, without a place in the page that a new section would shift.
func (p page) table(t *testing.T, code string) table {
	t.Helper()
	for _, table := range p.tables {
		if table[0].code() == code {
			return table
		}
	}
	require.Fail(t, "no table", "%s: no table begins with %s", p.name, code)
	return nil
}

func (t table) codes() []string {
	codes := make([]string, len(t))
	for i, r := range t {
		codes[i] = r.code()
	}
	return codes
}
