package zapi

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// NormalizePhone returns the form in which a phone or private id is sent: 7 to 15 digits, or digits@lid.
//
// phone may be written with "+", spaces, "-", "." and parentheses, and must begin with its country code. What is not part
// of the number is refused and never becomes part of it: an extension, the .0 of a spreadsheet, the trunk 0 in
// +44 (0)20 or +49 0171, a carrier code, the 2) of a numbered list, a second phone. A private id has 1 to 20 digits and is
// returned as it is.
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
	minPhoneDigits, maxPhoneDigits = 7, 15 // E.164

	phoneRule  = "must be 7 to 15 digits, country code first, or digits@lid"
	behindRule = "must have nothing behind the number, such as .0, (2) or an extension"
	frontRule  = "must have nothing in front of the country code, such as 1. or 2)"
	brazilRule = "must have no carrier code behind 55: Brazilian numbers have at most 13 digits"
)

// normalizePhone is NormalizePhone with a reason in place of the error. The reason is empty if phone is accepted.
func normalizePhone(phone string) (normal, reason string) {
	if id, isID := strings.CutSuffix(phone, "@lid"); isID {
		if id == "" || len(id) > 20 || !allDigits(id) {
			return "", "must have 1 to 20 digits before @lid"
		}
		return phone, ""
	}
	written := strings.Map(plainMark, phone)
	digits := strings.Map(onlyDigit, written)
	hasMarks := written != digits
	switch {
	case strings.Trim(written, "0123456789+() .-") != "" || len(digits) < minPhoneDigits:
		return "", phoneRule
	case hasMarks && plusInside.MatchString(written):
		return "", "must have + only in front"
	case digits[0] == '0':
		return "", "must begin with a country code, which never begins with 0"
	case hasMarks && zeroInParentheses.MatchString(written):
		return "", "must not contain (0), which is not dialed from abroad"
	case hasMarks && areaCodeWithZero.MatchString(written) && !italianAreaCode.MatchString(written), hasTrunkPrefix(digits):
		return "", "must not contain a trunk prefix behind the country code, which is not dialed from abroad"
	case hasMarks && frontOfNumber.MatchString(written):
		return "", frontRule
	case hasMarks && behindNumber.MatchString(written) && !luxembourg.MatchString(written):
		return "", behindRule
	case len(digits) > maxPhoneDigits:
		return "", phoneRule
	case hasMarks && tooLongForBrazil.MatchString(written):
		return "", brazilRule
	}
	return digits, ""
}

var (
	plusInside        = regexp.MustCompile(`[\d+].*\+`)
	zeroInParentheses = regexp.MustCompile(`\(\D*0\D*\)`)
	areaCodeWithZero  = regexp.MustCompile(`\(\D*0`)
	italianAreaCode   = regexp.MustCompile(`^\D*39\D*\(\D*0`) // has its 0 from abroad, too
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

// frontOfNumber matches a phone with the number of a list in front, which would become its country code: 2) 55 44 91111-1111.
// Without a plus, a whole Brazilian number is not what stands behind a country code.
var frontOfNumber = regexp.MustCompile(`^[^\d(]*\d{1,3} *\)` + // 2)
	`|^ *\d{1,3}\. ` + // 2.
	`|^[^+\d]*\d{1,3}[^+\d]+5[^+\d]*5[^+\d]*(?:\d[^+\d]*){10,}$`) // 2 - 55

// tooLongForBrazil matches a phone with the code of a carrier behind 55, or a ninth digit twice: +55 15 44 91111-1111.
var tooLongForBrazil = regexp.MustCompile(`^\D*5\D*5\D*(?:\d\D*){12,}$`)

// luxembourg matches the one region where a number may end in a single digit, which stands behind pairs: +352 24 41 23 4.
var luxembourg = regexp.MustCompile(`^ *\+?352(?: \d\d){3,4} \d *$`)

// spreadsheetCell matches a number that a spreadsheet has written with decimals, such as 5544911111111.0.
var spreadsheetCell = regexp.MustCompile(`\d{5}[.,]0+\s*$`)

// hasTrunkPrefix reports whether a phone has the prefix of national calls behind its country code, as in +44 020.
func hasTrunkPrefix(digits string) bool {
	for _, length := range []int{2, 3} {
		code, national := digits[:length], digits[length:]
		if national[0] == '0' && national[1] != '0' && slices.Contains(trunkZero, code) {
			brazilian0800, rwandan06 := code == "55" && national[2] == '0', code == "250" && national[1] == '6'
			return !brazilian0800 && !rwandan06 // where the 0 belongs to the number
		}
	}
	for start, longest := range otherTrunks {
		if strings.HasPrefix(digits, start) && len(digits) > longest {
			return true
		}
	}
	return strings.HasPrefix(digits, "3758") && !belarusian8.MatchString(digits) || brazilian90.MatchString(digits)
}

// trunkZero are the country codes where national calls begin with 0 and, but for hasTrunkPrefix, no number does.
var trunkZero = strings.Fields(`20 27 31 32 33 36 40 41 43 44 46 49 51 52 53 54 55 57 58 60 61 62 63 64 66 81 82 84 86 90 91 92 93
	94 95 98 211 212 213 218 231 232 233 234 243 249 250 251 252 254 255 256 260 261 262 263 264 265 291 353 355 358 359 370 373
	374 375 377 380 381 382 383 385 386 387 389 421 423 508 590 591 593 594 595 596 598 686 850 855 856 880 886 961 962 963 964 966
	967 970 971 972 976 977 994 995 996`)

// otherTrunks are country codes with another prefix, and the length of the longest number that begins with the same digits.
// That of Argentine mobiles, 15, stands behind the area code.
var otherTrunks = map[string]int{"11": 11, "54": 13, "78": 11, "2410": 11, "3708": 11, "6921": 10, "9938": 11}

// brazilian90 matches a Brazilian number with the 90 of a call that the other side pays. 900 and seven digits are a service.
var brazilian90 = regexp.MustCompile(`^5590(?:[1-9]|0\d{8})`)

// belarusian8 matches the few numbers of Belarus that begin with 8, as its national calls do.
var belarusian8 = regexp.MustCompile(`^3758(?:0[013]\d{3,7}|10\d{7}|20\d{8})$`)

// plainMark returns ' ' for every space, '-' for every dash, and drops the invisible marks that come with a pasted phone.
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

// contactKey returns a key that is the same for two wire forms of one contact. WhatsApp knows many Brazilian mobiles
// without the ninth digit that everyone dials: the contact added as 55 44 9 9111-1111 may be listed as 55 44 9111-1111.
// A number is a mobile if the eight digits behind its ninth digit begin with 6 to 9. What is sent keeps its form.
func contactKey(wire string) string {
	isBrazilian := len(wire) == 13 && allDigits(wire) && strings.HasPrefix(wire, "55") && wire[2] != '0' && wire[3] != '0'
	if isBrazilian && wire[4] == '9' && wire[5] >= '6' {
		return wire[:4] + wire[5:]
	}
	return wire
}

// A phoneNormalizer passes phones through the func of [WithPhoneParser], if there is one, and then through normalizePhone.
type phoneNormalizer struct {
	parse func(phone string) (string, error) // nil if phones are international already
}

func (n phoneNormalizer) normalize(phone string) (normal, reason string) {
	if n.parse != nil && !strings.HasSuffix(phone, "@lid") {
		if spreadsheetCell.MatchString(phone) { // a parser might take the 0 for a digit of the number
			return "", behindRule
		}
		parsed, err := n.parse(phone)
		if err != nil {
			return "", "is refused by the parser given to WithPhoneParser" // whose error may quote the phone
		}
		phone = parsed
	}
	return normalizePhone(phone)
}
