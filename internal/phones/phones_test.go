// Package phones compares what zapi takes for a phone with libphonenumber.
package phones

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// examples returns the example numbers of all regions and types, each once, in a fixed order.
func examples() []*phonenumbers.PhoneNumber {
	numbers := make(map[string]*phonenumbers.PhoneNumber)
	add := func(number *phonenumbers.PhoneNumber) {
		if number != nil {
			numbers[phonenumbers.Format(number, phonenumbers.E164)] = number
		}
	}
	for region := range phonenumbers.GetSupportedRegions() {
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.VOICEMAIL; kind++ {
			add(phonenumbers.GetExampleNumberForType(region, kind))
		}
	}
	for code := range phonenumbers.GetSupportedGlobalNetworkCallingCodes() {
		add(phonenumbers.GetExampleNumberForNonGeoEntity(code))
	}
	sorted := make([]*phonenumbers.PhoneNumber, 0, len(numbers))
	for _, key := range slices.Sorted(maps.Keys(numbers)) {
		sorted = append(sorted, numbers[key])
	}
	return sorted
}

// digits returns the digits of number, country code first.
func digits(number *phonenumbers.PhoneNumber) string {
	return phonenumbers.Format(number, phonenumbers.E164)[1:]
}

var (
	marks    = regexp.MustCompile(`[ .-]+`)
	areaCode = regexp.MustCompile(`^(\+\d+)[ .-](\d+)[ .-](.*)$`)
)

// written returns number as people write it abroad.
func written(number *phonenumbers.PhoneNumber) []string {
	international := phonenumbers.Format(number, phonenumbers.INTERNATIONAL)
	forms := []string{
		international,
		strings.TrimPrefix(international, "+"),
		phonenumbers.Format(number, phonenumbers.E164),
		digits(number),
		"\u202a" + international + "\u202c",
	}
	for _, mark := range []string{" ", "-", ".", "\u00a0", "\u202f", "\u2011", "\u2013", "  ", " - "} {
		forms = append(forms, marks.ReplaceAllString(international, mark))
	}
	code := fmt.Sprintf("+%d", number.GetCountryCode())
	forms = append(forms, strings.Replace(international, code, "("+code+")", 1))
	if area := areaCode.FindStringSubmatch(international); area != nil && (area[2][0] != '0' || code == "+39") {
		forms = append(forms,
			fmt.Sprintf("%s (%s) %s", area[1], area[2], area[3]),
			fmt.Sprintf("%s(%s)%s", area[1], area[2], area[3]),
			fmt.Sprintf("%s%s %s", area[1], area[2], area[3]))
	}
	return forms
}

func TestEveryInternationalFormIsAccepted(t *testing.T) {
	t.Parallel()
	numbers, forms, short := 0, 0, 0
	for _, number := range examples() {
		want := digits(number)
		if len(want) < 7 { // services of Iran and others; no WhatsApp number is as short
			short++
			continue
		}
		numbers++
		for _, form := range written(number) {
			forms++
			normal, err := zapi.NormalizePhone(form)
			require.NoError(t, err, form)
			require.Equal(t, want, normal, form)
		}
	}
	t.Logf("%d forms of %d numbers; %d numbers are too short", forms, numbers, short)
	assert.Greater(t, numbers, 1000)
	assert.Less(t, short, 10)
}

// Every number that libphonenumber's formats can write is accepted, with the fewest and the most digits of each group.
// The formats are what the rules for groups of digits rest on.
func TestEveryFormatIsAccepted(t *testing.T) {
	t.Parallel()
	metadata, err := phonenumbers.MetadataCollection()
	require.NoError(t, err)
	refused := make(map[string]bool)
	shapes := 0
	for _, region := range metadata.GetMetadata() {
		formats := region.GetIntlNumberFormat()
		if len(formats) == 0 {
			formats = region.GetNumberFormat()
		}
		for _, format := range formats {
			if format.GetFormat() == "NA" { // has no international form
				continue
			}
			for _, national := range shapesOf(t, format) {
				phone := fmt.Sprintf("+%d %s", region.GetCountryCode(), national)
				want := strings.Map(digit, phone)
				if len(want) < 7 || len(want) > 15 {
					continue
				}
				shapes++
				if normal, err := zapi.NormalizePhone(phone); err != nil {
					refused[region.GetId()+" "+format.GetFormat()+" "+marks.ReplaceAllString(national, " ")] = true
				} else {
					assert.Equal(t, want, normal)
				}
			}
		}
	}
	t.Logf("%d shapes", shapes)
	assert.Greater(t, shapes, 500)
	assert.Equal(t, []string{
		"DE $1 $2 2222 22", // subscribers of two digits, which hardly exist
		"DE $1 $2 22222 22",
		"IT $1 $2 2222 22",
	}, slices.Sorted(maps.Keys(refused)))
}

// shapesOf returns what format writes for the fewest and the most digits of its groups, with 2 for every digit.
func shapesOf(t *testing.T, format *phonenumbers.NumberFormat) []string {
	t.Helper()
	pattern, err := syntax.Parse(format.GetPattern(), syntax.Perl)
	require.NoError(t, err)
	var groups []*syntax.Regexp
	var collect func(*syntax.Regexp)
	collect = func(re *syntax.Regexp) {
		if re.Op == syntax.OpCapture {
			groups = append(groups, re)
			return
		}
		for _, sub := range re.Sub {
			collect(sub)
		}
	}
	collect(pattern)
	shapes := []string{format.GetFormat()}
	for i, group := range groups {
		var next []string
		for _, shape := range shapes {
			for _, length := range []int{shortest(group), longest(group)} {
				next = append(next, strings.Replace(shape, fmt.Sprint("$", i+1), strings.Repeat("2", length), 1))
			}
		}
		shapes = slices.Compact(next)
	}
	return shapes
}

func shortest(re *syntax.Regexp) int {
	return length(re, func(re *syntax.Regexp) int { return re.Min }, slices.Min[[]int])
}
func longest(re *syntax.Regexp) int {
	return length(re, func(re *syntax.Regexp) int { return re.Max }, slices.Max[[]int])
}

func length(re *syntax.Regexp, times func(*syntax.Regexp) int, choose func([]int) int) int {
	lengths := make([]int, len(re.Sub))
	sum := 0
	for i, sub := range re.Sub {
		lengths[i] = length(sub, times, choose)
		sum += lengths[i]
	}
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpAlternate:
		return choose(lengths)
	case syntax.OpRepeat:
		return sum * times(re)
	case syntax.OpQuest:
		return sum * choose([]int{0, 1})
	case syntax.OpCapture, syntax.OpConcat, syntax.OpEmptyMatch:
		return sum
	}
	panic("unexpected " + re.String())
}

func digit(r rune) rune {
	if r < '0' || r > '9' {
		return -1
	}
	return r
}

// mutations are what happens to a phone in forms, spreadsheets and address books, and some noise.
var mutations = []func(r *rand.Rand, phone, code string) string{
	// Trunk prefix behind the country code.
	func(r *rand.Rand, phone, code string) string {
		trunk := []string{"0", " 0", "-0", " 0 ", "(0)", " (0)", " (0", "0 15 ", "1", "8", " 06", "00", " 90 ", " 044 ", " 01 "}[r.IntN(15)]
		return strings.Replace(phone, code, code+trunk, 1)
	},
	// Area code in parentheses.
	func(r *rand.Rand, phone, _ string) string {
		area := areaCode.FindStringSubmatch(phone)
		if area == nil {
			return phone
		}
		return area[1] + []string{" (", " (0", "(0", " (00"}[r.IntN(4)] + area[2] + []string{") ", ") ", ") 15 "}[r.IntN(3)] + area[3]
	},
	// Something behind.
	func(r *rand.Rand, phone, _ string) string {
		behind := []string{
			".0", ".00", ",0", ",00", "-0", ".000", " (2)", "(2)", " 2", "/2", " ext 5", " x5", "x55", ";ext=7", "#9", " -1", "-01", " 12", "e+12",
			"E12", " 123", ".5", "+1", " - 1", " (12", "()", ".", "-", " / 1234567", " 7654321", ", 1234567", ";", "~",
		}
		return phone + behind[r.IntN(len(behind))]
	},
	// Something before.
	func(r *rand.Rand, phone, _ string) string {
		return []string{"00", "+", "'", "tel:", "0", "011 ", "=", "(", "-", "~", "whatsapp:", "1. ", "2) ", "10 - "}[r.IntN(14)] + phone
	},
	// Other marks.
	func(r *rand.Rand, phone, _ string) string {
		return marks.ReplaceAllStringFunc(phone, func(string) string {
			return []string{"-", ".", " ", "  ", "\u00a0", "\u2011", "/", ",", ") ", " (", "~", "", "_", "\u200b"}[r.IntN(14)]
		})
	},
	// A mark somewhere.
	func(r *rand.Rand, phone, _ string) string {
		i := r.IntN(len(phone) + 1)
		return phone[:i] + []string{" ", "-", ".", "(", ")", "+", ",", "/", "(0)", "x"}[r.IntN(10)] + phone[i:]
	},
	// A digit more.
	func(r *rand.Rand, phone, _ string) string {
		i := r.IntN(len(phone) + 1)
		return phone[:i] + string("0018"[r.IntN(4)]) + phone[i:]
	},
	// A digit fewer.
	func(r *rand.Rand, phone, _ string) string {
		i := r.IntN(len(phone))
		return phone[:i] + phone[i+1:]
	},
	// Full-width digits.
	func(r *rand.Rand, phone, _ string) string {
		i := r.IntN(len(phone))
		if c := phone[i]; c >= '0' && c <= '9' {
			return phone[:i] + string('０'+rune(c-'0')) + phone[i+1:]
		}
		return phone
	},
}

// comparison counts what zapi and libphonenumber make of phones.
type comparison struct {
	refused   int // by zapi; libphonenumber is not asked, as its parser is what takes the time
	invalid   int // to libphonenumber only
	same      int
	known     int // differences that are meant
	different []string
}

func (c *comparison) add(phone string) {
	normal, err := zapi.NormalizePhone(phone)
	if err != nil {
		c.refused++
		return
	}
	number, err := phonenumbers.Parse(phone, "ZZ") // a region that has no numbers
	if err != nil || !phonenumbers.IsValidNumber(number) {
		c.invalid++
		return
	}
	switch there := digits(number); {
	case normal == there:
		c.same++
	case strings.HasPrefix(normal, "550") && "550"+there[2:] == normal:
		c.known++ // 0800 and the like, which the 0 belongs to in Brazil
	case len(there) > len(normal):
		c.known++ // libphonenumber adds the area code to local numbers of some islands; zapi adds nothing
	default:
		c.different = append(c.different, fmt.Sprintf("%q is %s here and %s there", phone, normal, there))
	}
}

func (c *comparison) String() string {
	return fmt.Sprintf("%d refused here, %d invalid there, %d the same, %d different as they should be", c.refused, c.invalid, c.same, c.known)
}

// What libphonenumber finds valid is the same number here, or refused.
func TestMutations(t *testing.T) {
	t.Parallel()
	const total = 100_000 / slowdown
	r := rand.New(rand.NewPCG(15, 1))
	var codes, phones []string
	for _, number := range examples() {
		code := fmt.Sprintf("+%d", number.GetCountryCode())
		codes = append(codes, code, code)
		phones = append(phones, phonenumbers.Format(number, phonenumbers.INTERNATIONAL), phonenumbers.Format(number, phonenumbers.E164))
	}
	var c comparison
	for range total {
		i := r.IntN(len(phones))
		code, phone := codes[i], phones[i]
		for range 1 + r.IntN(2) {
			phone = mutations[r.IntN(len(mutations))](r, phone, code)
		}
		c.add(phone)
	}
	t.Log(&c)
	assert.Empty(t, c.different)
	assert.Greater(t, c.same, total/10)
	assert.Greater(t, c.refused, total/10)
}

// No number is accepted with the prefix of its country's national calls behind the country code.
func TestTrunkPrefixes(t *testing.T) {
	t.Parallel()
	var c comparison
	for i, number := range examples() {
		if i%slowdown != 0 {
			continue
		}
		code := fmt.Sprintf("+%d", number.GetCountryCode())
		for _, form := range []string{phonenumbers.Format(number, phonenumbers.INTERNATIONAL), phonenumbers.Format(number, phonenumbers.E164)} {
			for _, trunk := range []string{"0", " 0", "-0", " (0)", " (0", "1", " 8", " 80", " 8 0", " 06", " 0 15 "} {
				c.add(strings.Replace(form, code, code+trunk, 1))
			}
		}
	}
	t.Log(&c)
	assert.Empty(t, c.different)
	assert.Greater(t, c.refused, 5000/slowdown)
}
