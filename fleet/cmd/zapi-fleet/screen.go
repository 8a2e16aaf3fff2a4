package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"
)

// screen is where commands show what they do. It is safe for concurrent use.
type screen struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	json     bool
}

func newScreen(w io.Writer) *screen {
	file, ok := w.(*os.File)
	return &screen{w: w, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

// width returns the columns of the terminal, or many.
func (s *screen) width() int {
	if file, ok := s.w.(*os.File); ok && s.terminal {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil {
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

// say prints a line, or with -json the fields of values.
func (s *screen) say(text string, values ...any) {
	if s.json {
		s.object(values...)
		return
	}
	s.print(escape(text) + "\n")
}

// sayf is say with a text only.
func (s *screen) sayf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.say(text, fields{"message": text})
}

// fields are members of an object.
type fields map[string]any

// object prints the members of all values as one object. Of two with the same name, the first stays.
func (s *screen) object(values ...any) {
	all := make(map[string]json.RawMessage)
	for _, value := range values {
		data, err := json.Marshal(value)
		members := make(map[string]json.RawMessage)
		if err == nil {
			err = json.Unmarshal(data, &members)
		}
		if err != nil {
			members["error"] = json.RawMessage(strconv.Quote(err.Error()))
		}
		for name, member := range members {
			if _, taken := all[name]; !taken {
				all[name] = member
			}
		}
	}
	data, _ := json.Marshal(all)
	s.print(escapeJSON(string(data)) + "\n")
}

// table prints rows in columns. Cells are escaped, as anybody may have written them.
func (s *screen) table(flags uint, rows [][]string) {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', flags)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			if flags == alignRight && i == len(row)-1 {
				fmt.Fprint(t, "  ") // it is at the left
			}
			fmt.Fprint(t, escape(cell))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // a Builder takes all
	for line := range strings.Lines(text.String()) {
		s.print(strings.TrimRight(line, " \n") + "\n")
	}
}

// escape writes what is not printable as Go does, so that nothing that was stored can control the terminal or make lines.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// escapeJSON does the same in JSON, which leaves some of it as it is.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(unicode.ReplacementChar)
		}
	}
	return b.String()
}

// number writes 12,345.
func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// few joins up to ten names.
func few(names []string) string {
	const most = 10
	if len(names) == 0 {
		return "there are none"
	}
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %s more", number(len(names)-most))
		names = names[:most]
	}
	return "there are " + strings.Join(names, ", ") + more
}
