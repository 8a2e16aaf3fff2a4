// Record runs a command and writes what it prints, at the times when it prints it, as an SVG that a browser plays.
//
//	cd fleet && go build -o /tmp/zapi-fleet ./cmd/zapi-fleet && go run ./docs/record /tmp/zapi-fleet demo >docs/demo.svg
//
// Where nothing is played, the picture shows all lines. It follows the reader's light or dark theme.
package main

import (
	"bufio"
	"context"
	"fmt"
	"html"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: record COMMAND [ARGUMENT …]")
	}
	if err := record(context.Background(), os.Stdout, os.Args[1], os.Args[2:]...); err != nil {
		log.Fatal(err)
	}
}

// line is a line of output, and when it came.
type line struct {
	text string
	at   time.Duration
}

func record(ctx context.Context, w io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	var lines []line
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, line{scanner.Text(), time.Since(began)})
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	return draw(w, lines)
}

// columns is where a line is broken, so that the picture can be read on a narrow page.
const columns = 110

func draw(w io.Writer, lines []line) error {
	const lineHeight, charWidth, margin = 18, 7.8, 12
	var body strings.Builder
	row := 0
	for _, l := range lines {
		for text := range broken(l.text) {
			class := "o"
			if strings.HasPrefix(text, "$ ") {
				class = "c"
			}
			fmt.Fprintf(&body, "<text class=%q y=\"%d\" style=\"animation-delay:%.1fs\">%s</text>\n",
				class, margin+lineHeight*(row+1), l.at.Seconds(), html.EscapeString(text))
			row++
		}
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" role="img" aria-label="A recording of zapi-fleet demo">
<style>
svg{background:#fff}rect{fill:#fff;stroke:#d0d7de}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre;fill:#1f2328;animation:show .1s both}
.c{font-weight:bold;fill:#0550ae}
@keyframes show{from{opacity:0}}
@media(prefers-color-scheme:dark){svg{background:#0d1117}rect{fill:#0d1117;stroke:#30363d}text{fill:#e6edf3}.c{fill:#79c0ff}}
</style>
<rect x=".5" y=".5" width="99.9%%" height="99.9%%" rx="6"/>
<g transform="translate(%d)">
%s</g>
</svg>
`, columns*charWidth+2*margin, row*lineHeight+3*margin, margin, body.String())
	return err
}

// broken yields a text in lines of at most columns.
func broken(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for utf8.RuneCountInString(text) > columns {
			runes := []rune(text)
			cut := strings.LastIndex(string(runes[:columns]), " ")
			if cut <= 0 {
				cut = len(string(runes[:columns]))
			}
			if !yield(text[:cut]) {
				return
			}
			text = "    " + strings.TrimSpace(text[cut:])
		}
		yield(text)
	}
}
