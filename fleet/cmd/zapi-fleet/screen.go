package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"

	"github.com/zapi-go/zapi/fleet/internal/counts"
)

// screen is where commands show what they do. It is safe for concurrent use.
type screen struct {
	mu       sync.Mutex
	w        io.Writer
	terminal *os.File // nil if w is none
	json     bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.terminal = file
	}
	return s
}

// width returns the columns of the terminal, or many.
func (s *screen) width() int {
	if s.terminal != nil {
		if columns, _, err := term.GetSize(int(s.terminal.Fd())); err == nil {
			return max(columns, 40)
		}
	}
	return 1000
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(s.w, text)
}

// textf prints a line, unless objects are wanted.
func (s *screen) textf(format string, args ...any) {
	if !s.json {
		s.print(escape(fmt.Sprintf(format, args...)) + "\n")
	}
}

// sayf prints a message, as a line or as an object.
func (s *screen) sayf(format string, args ...any) {
	s.textf(format, args...)
	s.object(fields{"message": fmt.Sprintf(format, args...)})
}

// fields are members of an object.
type fields map[string]any

// object prints the members of all values as one object, if objects are wanted. Of two with the same name, the first stays.
func (s *screen) object(values ...any) {
	if !s.json {
		return
	}
	all := make(map[string]json.RawMessage)
	for _, value := range slices.Backward(values) {
		data, err := json.Marshal(value)
		if err != nil { // such as of a policy that a later release has stored
			data, _ = json.Marshal(fields{"error": err.Error()})
		}
		_ = json.Unmarshal(data, &all) // adds to what is there; every value is an object
	}
	data, _ := json.Marshal(all)
	s.print(escapeJSON(string(data)) + "\n")
}

// row is a line of a table.
type row []any

const alignRight = tabwriter.AlignRight // all but the last column

// table prints rows in columns, unless objects are wanted. Cells are escaped, as anybody may have written them.
func (s *screen) table(align uint, rows ...row) {
	if s.json {
		return
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', align)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, value := range row {
			cells[i] = escape(cell(value))
		}
		if align == alignRight {
			cells[len(row)-1] = "  " + cells[len(row)-1]
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // a Builder takes all
	for line := range strings.Lines(text.String()) {
		s.print(strings.TrimRight(line, " \n") + "\n")
	}
}

// cell writes a value of a table.
func cell(value any) string {
	switch v := value.(type) {
	case int:
		return counts.Number(v)
	case time.Time:
		return when(v)
	}
	return fmt.Sprint(value)
}

// when writes a time as people and programs read it.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// counted formats a number of instances. It is empty for none.
func counted(format string, n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, counts.Number(n))
}

var unquote = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// escape writes what is not printable as Go does, so that nothing that was stored can control the terminal or make lines.
func escape(text string) string {
	quoted := strconv.Quote(text)
	return unquote.Replace(quoted[1 : len(quoted)-1])
}

// escapeJSON does the same in JSON, which leaves some of it as it is.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
