package zapi

import (
	"regexp"
	"strings"
	"unicode"
)

// NormalizePhone returns the form in which a phone or private id is sent: 7 to 15 digits, or digits@lid.
//
// phone may be written with "+", spaces, "-", "." and parentheses, and must begin with its country code. What is not part
// of the number is refused and never becomes part of it: an extension, the .0 of a spreadsheet, the trunk 0 in
// +44 (0)20 or +49 0171, a second phone. A private id has 1 to 20 digits and is returned as it is.
//
// The error is a [*ValidationError] that does not quote phone. No request is sent.
func NormalizePhone(phone string) (string, error) {
	normal, reason := normalizePhone(phone)
	if reason != "" {
		return "", &ValidationError{"NormalizePhone", "phone", reason}
	}
	return normal, nil
}

const (
	minPhoneDigits = 7
	maxPhoneDigits = 15 // E.164
	maxIDDigits    = 20
	phoneRule      = "must be 7 to 15 digits, country code first, or digits@lid"
	behindRule     = "must have nothing behind the number, such as .0, (2), an extension or a second phone"
	trunkRule      = "must not contain a trunk prefix behind the country code, which is not dialed from abroad"
)

// normalizePhone is NormalizePhone, but returns what is wrong with phone as a reason, which is empty if nothing is.
func normalizePhone(phone string) (normal, reason string) {
	if id, isID := strings.CutSuffix(phone, "@lid"); isID {
		if id == "" || len(id) > maxIDDigits || !allDigits(id) {
			return "", "must have 1 to 20 digits before @lid"
		}
		return phone, ""
	}
	written := strings.Map(plainMark, phone)
	digits := strings.Map(onlyDigit, written)
	switch {
	case strings.Trim(written, "0123456789+() .-") != "" || len(digits) < minPhoneDigits:
		return "", phoneRule
	case plusInside.MatchString(written):
		return "", "must have + only in front"
	case digits[0] == '0':
		return "", "must begin with a country code, which never begins with 0"
	case zeroInParentheses.MatchString(written):
		return "", "must not contain (0), which is not dialed from abroad"
	case areaCodeWithTrunk(written) || trunkPrefix.MatchString(digits):
		return "", trunkRule
	case written != digits && behindNumber.MatchString(written) && !luxembourg.MatchString(written):
		return "", behindRule
	case len(digits) > maxPhoneDigits:
		return "", phoneRule
	}
	return digits, ""
}

var (
	plusInside        = regexp.MustCompile(`[\d+].*\+`)
	zeroInParentheses = regexp.MustCompile(`\(\D*0\D*\)`)
	areaCodeWithZero  = regexp.MustCompile(`\(\D*0`)
)

// behindNumber matches a phone with something behind its number that would become part of it. A cell of a spreadsheet
// turns into 5544911111111.0, a copied contact into 5544911111111 (2), and an extension into one more group of digits.
// The formats of all regions in libphonenumber tell these from numbers: none ends in parentheses, in one digit (but for
// luxembourg), or in two behind a group of four, and no group but the last has more than five. People leave out marks,
// so longer groups are refused only where no number can follow. internal/phones tests the formats.
var behindNumber = regexp.MustCompile(`\d\D*\([^)]*\)?\D*$` + // (2)
	`|\d\D+\d\D*$` + // .0 or -1
	`|\d{4}\D+\d\d\D*$` + // .00 or /12, behind more digits than stand before a pair
	`|\d{6}[^\d.]*\.\D*0+\D*$` + // .000
	`|\d{10}\D+\d` + // anything behind a number without any marks
	`|\d{7}\D+\d{7}|\d{8}\D+\d{6}|\d\D+\d{6,}\D+\d{6}`) // a second phone

// luxembourg matches the one region where a number may end in a single digit, which stands behind pairs: +352 24 41 23 4.
var luxembourg = regexp.MustCompile(`^ *\+?352(?: \d\d){3,4} \d *$`)

// spreadsheetCell matches a number cell that was written as text.
var spreadsheetCell = regexp.MustCompile(`\d{5}[.,]0+\s*$`)

// areaCodeWithTrunk reports whether a group in parentheses begins with 0, as in +55 (044). An Italian area code does so
// from abroad, too.
func areaCodeWithTrunk(written string) bool {
	found := areaCodeWithZero.FindStringIndex(written)
	return found != nil && strings.Map(onlyDigit, written[:found[0]]) != "39"
}

// trunkPrefix matches the digits of a phone with the prefix of national calls behind its country code, as if one could
// dial +44 020. No number can begin with the prefix in the countries of the long list, where it is 0. In the others a
// number can, so that its length decides. Brazil's 0800 is no prefix: only a 0 with an area code is.
var trunkPrefix = regexp.MustCompile(`^(?:550[1-9][1-9]|11\d{10}$|78\d{10}$|(?:370|993)8\d{8}$|6921\d{7}$|2410\d{8}$|2500[1-57-9]` +
	`|3758(?:[89]|0\d{9,10}$|1[5-7]\d{7}$|[2-4]\d{8}$)` +
	`|(?:2[07]|3[1236]|4[013469]|5[13478]|6[0-46]|8[1246]|9[0-58]|21[1238]|23[1-4]|243|249|25[12456]|26[0-5]|291|353|35[589]` +
	`|37[03457]|38[0-35-79]|421|423|508|59[013-68]|686|850|85[56]|880|886|96[1-467]|97[01267]|99[456])0[1-9])`)

// plainMark returns the space for every space and the hyphen for every dash, and drops the invisible marks that come with
// a pasted phone.
func plainMark(r rune) rune {
	switch {
	case unicode.Is(unicode.Zs, r): // also no-break and narrow spaces
		return ' '
	case r >= '\u2010' && r <= '\u2015':
		return '-'
	case r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // direction marks
		return -1
	}
	return r
}

func onlyDigit(r rune) rune {
	if r < '0' || r > '9' {
		return -1
	}
	return r
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// contactKey returns what contacts in their wire form are compared by. WhatsApp knows many Brazilian mobiles without the
// ninth digit that everyone dials: the contact added as 55 44 9 9111-1111 may be listed as 55 44 9111-1111, and both
// have the same key. It is a mobile if the eight digits behind the ninth begin with 6 to 9. What is sent keeps its form.
func contactKey(wire string) string {
	if ninthDigit.MatchString(wire) {
		return wire[:4] + wire[5:]
	}
	return wire
}

var ninthDigit = regexp.MustCompile(`^55[1-9][1-9]9[6-9]\d{7}$`)

// phones normalizes phones as normalizePhone does, those of a caller with [WithPhoneParser] by its func first.
type phones struct {
	parse func(phone string) (string, error) // nil: phones are international
}

func (p phones) normalize(phone string) (normal, reason string) {
	if p.parse != nil && !strings.HasSuffix(phone, "@lid") {
		if spreadsheetCell.MatchString(phone) { // a parser might take the 0 for a digit of the number
			return "", behindRule
		}
		parsed, err := p.parse(phone)
		if err != nil {
			return "", "is refused by the parser given to WithPhoneParser" // whose error may quote the phone
		}
		phone = parsed
	}
	return normalizePhone(phone)
}
