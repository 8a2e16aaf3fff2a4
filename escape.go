package zapi

import (
	"html"
	"strconv"
	"strings"
)

const (
	escapeMarks = `%&\`
	maxNesting  = 4 // such as HTML in JSON in a URL in JSON
)

// unescape returns text without the escapes of URLs, JSON, Go and HTML, also where they are nested. offsets[i] is where
// byte i of plain begins in text. One more offset, the last, is the length of text.
func unescape(text string) (plain string, offsets []int32) {
	offsets = make([]int32, len(text)+1)
	for i := range offsets {
		offsets[i] = int32(i)
	}
	for range maxNesting {
		n := len(text)
		text, offsets = unescapeOnce(text, offsets)
		if len(text) == n {
			break
		}
	}
	return text, offsets
}

func unescapeOnce(text string, offsets []int32) (string, []int32) {
	if !strings.ContainsAny(text, escapeMarks) {
		return text, offsets
	}
	plain := make([]byte, 0, len(text))
	kept := make([]int32, 0, len(offsets))
	for i := 0; i < len(text); {
		char, length := escapeAt(text[i:])
		plain, kept = append(plain, char), append(kept, offsets[i])
		i += length
	}
	return string(plain), append(kept, offsets[len(text)])
}

// escapeAt returns the character that text begins with, and how many bytes of text stand for it. An escape of a character
// beyond ASCII is left as it is, as secrets are ASCII.
func escapeAt(text string) (char byte, length int) {
	switch text[0] {
	case '%':
		return hexAt(text, 1, 2)
	case '\\':
		switch {
		case len(text) == 1:
		case text[1] == 'u':
			return hexAt(text, 2, 4)
		case text[1] == 'x':
			return hexAt(text, 2, 2)
		case strings.IndexByte(`"\/'`, text[1]) >= 0:
			return text[1], 2
		}
	case '&':
		entity := text[:min(len(text), 10)] // long enough for the names of ASCII characters, and leading zeros
		if end := strings.IndexByte(entity, ';'); end > 0 {
			if char := html.UnescapeString(entity[:end+1]); len(char) == 1 {
				return char[0], end + 1
			}
		}
	}
	return text[0], 1
}

// hexAt is escapeAt for an escape whose digits begin at start.
func hexAt(text string, start, digits int) (char byte, length int) {
	if len(text) >= start+digits {
		if value, err := strconv.ParseUint(text[start:start+digits], 16, 7); err == nil {
			return byte(value), start + digits
		}
	}
	return text[0], 1
}
