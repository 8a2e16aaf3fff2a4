package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zapi-go/zapi"
)

// readContacts returns the contacts in one column of a CSV file with a header, as they are written. The separator is a
// semicolon if the header has one, as spreadsheets in Brazil write it. The error names all lines whose phone is refused.
func readContacts(name string, data []byte, column string) ([]string, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // spreadsheets write a byte order mark
	reader := csv.NewReader(bytes.NewReader(data))
	if first, _, _ := bytes.Cut(data, []byte("\n")); bytes.ContainsRune(first, ';') {
		reader.Comma = ';'
	}
	header, err := reader.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	phone := slices.IndexFunc(header, func(title string) bool { return strings.EqualFold(strings.TrimSpace(title), column) })
	if phone < 0 {
		return nil, fmt.Errorf("%s: the first line must name the columns, one of them %q; see -column", name, column)
	}
	var contacts []string
	var failures []error
	for {
		row, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return contacts, errors.Join(failures...)
		case err != nil: // names the line
			return nil, errors.Join(append(failures, fmt.Errorf("%s: %w", name, err))...)
		case strings.TrimSpace(strings.Join(row, "")) == "": // as spreadsheets leave them below the last row
			continue
		}
		contacts = append(contacts, row[phone])
		var invalid *zapi.ValidationError
		if _, err := zapi.NormalizePhone(row[phone]); errors.As(err, &invalid) {
			line, _ := reader.FieldPos(phone)
			failures = append(failures, &zapi.ValidationError{Field: fmt.Sprintf("%s:%d", name, line), Reason: invalid.Reason})
		}
	}
}
