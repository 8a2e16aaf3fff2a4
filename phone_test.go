package zapi_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestPhones(t *testing.T) {
	t.Parallel()
	const (
		rule     = "must be 7 to 15 digits, country code first, or digits@lid"
		id       = "must have 1 to 20 digits before @lid"
		plus     = "must have + only in front"
		code     = "must begin with a country code, which never begins with 0"
		trunk    = "must not contain a trunk prefix behind the country code, which is not dialed from abroad"
		zero     = "must not contain (0), which is not dialed from abroad"
		front    = "must have nothing in front of the country code, such as 1. or 2)"
		brazil   = "must have no carrier code behind 55: Brazilian numbers have at most 13 digits"
		behind   = "must have nothing behind the number, such as .0, (2) or an extension"
		accepted = ""
	)
	tests := []struct {
		name   string
		phone  string
		want   string // digits
		reason string
	}{
		{"digits", "554411111111", "554411111111", accepted},
		{"every mark", "+55 (44) 9.1111-1111", "5544911111111", accepted},
		{"shortest", "1234567", "1234567", accepted},
		{"longest", "123456789012345", "123456789012345", accepted},
		{"empty", "", "", rule},
		{"marks only", "+ - . ( )", "", rule},
		{"too short", "123456", "", rule},
		{"too long", "1234567890123456", "", rule},
		{"too long with marks", "+55 44 11111 11111 11111", "", rule},

		{"private id", "999999999999999@lid", "999999999999999@lid", accepted},
		{"long private id", "12345678901234567890@lid", "12345678901234567890@lid", accepted},
		{"private id of 21 digits", "123456789012345678901@lid", "", id},
		{"private id without digits", "@lid", "", id},
		{"private id with marks", "+999 999@lid", "", id},
		{"private id in capitals", "999999999999999@LID", "", rule},
		{"private id twice", "999@lid@lid", "", id},
		{"private id of a spreadsheet", "999999999999999.0@lid", "", id},

		{"Italian area code", "+39 06 6982 1234", "390669821234", accepted},
		{"Italian area code in parentheses", "+39 (06) 6982 1234", "390669821234", accepted},
		{"Italian area code, all in parentheses", "(+39) (06) 6982 1234", "390669821234", accepted},
		{"American area code", "+1 (202) 555-0100", "12025550100", accepted},
		{"dots", "+55.44.91111.1111", "5544911111111", accepted},
		{"ends in zeros behind dots", "+33.6.12.34.56.00", "33612345600", accepted},
		{"four zeros behind a dot", "+55.44.91111.0000", "5544911110000", accepted},
		{"thousands", "5.544.911.111.000", "5544911111000", accepted},
		{"Luxembourg ends in one digit", "+352 24 41 23 4", "3522441234", accepted},
		{"Luxembourg of nine digits", "352 24 41 23 45 6", "352244123456", accepted},
		{"country code in parentheses", "(+55) 44 1111-1111", "554411111111", accepted},
		{"all in parentheses", "(+554411111111)", "554411111111", accepted},
		{"area code without spaces", "55(44)91111-1111", "5544911111111", accepted},
		{"one mark", "554491111-1111", "5544911111111", accepted},
		{"mark behind", "554411111111.", "554411111111", accepted},
		{"spaces around", "  554411111111\u00a0", "554411111111", accepted},
		{"no-break and narrow spaces", "55\u00a044\u202f1111\u20091111", "554411111111", accepted},
		{"dashes", "55\u201044\u201111\u201211\u201311\u201411\u2015", "554411111111", accepted},
		{"direction marks", "\u202a+55 44 1111-1111\u202c\u200e\u200f\u2066\u2069", "554411111111", accepted},

		{"letters", "5544CALLME1", "", rule},
		{"Arabic digits", "٥٥٤٤١١١١١١١١", "", rule},
		{"full-width digits", "５５４４１１１１１１１１", "", rule},
		{"superscript", "554411111111²", "", rule},
		{"invalid UTF-8", "554411111111\xff", "", rule},
		{"tab", "5544\t11111111", "", rule},
		{"newline", "554411111111\n", "", rule},
		{"zero-width space", "5544\u200b11111111", "", rule},
		{"apostrophe of a spreadsheet", "'5544911111111", "", rule},
		{"formula", "=5544911111111", "", rule},
		{"tel URI", "tel:+55-44-91111-1111", "", rule},
		{"chat id", "554411111111@c.us", "", rule},
		{"plus in parentheses and digits before", "55 (+44) 1111-1111", "", plus},
		{"plus in the middle", "55+4411111111", "", plus},
		{"plus twice", "++554411111111", "", plus},
		{"plus twice with a space", "+ +554411111111", "", plus},
		{"plus behind", "554411111111+", "", plus},
		{"leading zeros", "0055 44 1111-1111", "", code},
		{"leading zeros in parentheses", "(0055) 44 1111-1111", "", code},
		{"international prefix", "011 55 44 1111-1111", "", code},
		{"zeros", "00000000", "", code},

		{"trunk 0 in parentheses", "+44 (0)20 7946 0018", "", zero},
		{"trunk 0 in parentheses with spaces", "+44 ( 0 ) 20 7946 0018", "", zero},
		{"trunk 0 in parentheses in Italy", "+39 (0) 6 6982 1234", "", zero},
		{"area code with trunk 0", "+55 (044) 91111-1111", "", trunk},
		{"British area code with trunk 0", "+44 (0207) 946 0958", "", trunk},
		{"German area code with trunk 0", "+49 (0171) 1234567", "", trunk},
		{"trunk 0 in parentheses of a country that has none", "+351 (021) 123 4567", "", trunk},
		{"area code with trunk 0 behind a mark", "+55 (-044) 91111-1111", "", trunk},
		{"39 in the middle", "+55 39 (06) 6982 1234", "", trunk},
		{"trunk 0 in Brazil", "55 044 91111-1111", "", trunk},
		{"trunk 0 in Brazil, digits", "5504491111111", "", trunk},
		{"trunk 0 and carrier in Brazil", "+55 0 15 44 91111-1111", "", trunk},
		{"0800 in Brazil", "55 0800 123 4567", "5508001234567", accepted},
		{"0300 in Brazil", "+55 0300 123 4567", "5503001234567", accepted},
		{"trunk 0 in Great Britain", "+44 020 7946 0958", "", trunk},
		{"trunk 0 in Germany", "+49 0171 1234567", "", trunk},
		{"trunk 0 in Egypt", "+20 010 0123 4567", "", trunk},
		{"trunk 0 in Israel", "+972 050-234-5678", "", trunk},
		{"0 belongs to the number in Ivory Coast", "+225 01 23 45 6789", "2250123456789", accepted},
		{"0 belongs to the number in San Marino", "+378 0549 886377", "3780549886377", accepted},
		{"0 belongs to the number in New Caledonia", "+687 05.00.12", "687050012", accepted},
		{"0 belongs to the number in Japan", "+81 00777 123456", "8100777123456", accepted},
		{"trunk 0 in Japan", "+81 03-1234-5678", "", trunk},
		{"0 belongs to the number in Rwanda", "+250 06 123456", "25006123456", accepted},
		{"trunk 0 in Rwanda", "+250 0720 123 456", "", trunk},
		{"trunk 1 in America", "+1 1 202 555 0100", "", trunk},
		{"trunk 8 in Russia", "+7 8 (495) 123-45-67", "", trunk},
		{"a Russian number that begins with 8", "+7 800 123-45-67", "78001234567", accepted},

		{"15 of mobiles in Argentina", "+54 11 15 1234-5678", "", trunk},
		{"15 of mobiles in Argentina, digits", "54341151234567", "", trunk},
		{"15 and 9 in Argentina", "+54 9 11 15 1234-5678", "", trunk},
		{"Argentine mobile", "+54 9 11 1234-5678", "5491112345678", accepted},
		{"long-distance prefix in Mexico", "+52 01 55 1234 5678", "", trunk},
		{"mobile prefix in Mexico", "+52 (044) 55 1234 5678", "", trunk},
		{"Mexican number in its old form", "+52 1 55 1234 5678", "5215512345678", accepted},
		{"collect call in Brazil", "+55 90 44 91111-1111", "", trunk},
		{"collect call in Brazil, digits", "559044911111111", "", trunk},
		{"collect call of a service in Brazil", "+55 90 4004-1234", "", trunk},
		{"0900 in Brazil", "+55 900 123 4567", "559001234567", accepted},
		{"carrier in Brazil", "+55 15 44 91111-1111", "", brazil},
		{"carrier in Brazil, landline", "55 (15) 44 1111-1111", "", brazil},
		{"country code twice", "55 55 44 91111-1111", "", front},
		{"ninth digit twice", "+55 44 9 91111-1111", "", brazil},
		{"area code 55", "55 55 91111-1111", "5555911111111", accepted},

		{"numbered list with a dot", "1. 55 44 91111-1111", "", front},
		{"numbered list with a dot, American number", "3. 1 202 555 0100", "", front},
		{"numbered list with a parenthesis", "12) 5544911111111", "", front},
		{"numbered list with a dash", "7 - 55 44 1111-1111", "", front},
		{"numbered list with a space", "1 5544911111111", "", front},
		{"numbered list in parentheses", "(1) 55 44 91111-1111", "", front},
		{"numbered list with a plus", "1. +55 44 91111-1111", "", plus},
		{"country code and a dash", "55 - 44 - 91111-1111", "5544911111111", accepted},
		{"country code and a dot", "+55. 44. 91111.1111", "5544911111111", accepted},
		{"twelve digits behind the country code", "41 860 12 345 67 89", "41860123456789", accepted},

		{"cell of a spreadsheet", "5544911111111.0", "", behind},
		{"cell of a spreadsheet, landline", "554491111111.0", "", behind},
		{"cell with two decimals", "5544911111111.00", "", behind},
		{"cell with three decimals", "554491111111.000", "", behind},
		{"short number with three decimals", "298211234.000", "", behind},
		{"decimals that are not zero", "554411111111.25", "", behind},
		{"decimal comma", "5544911111111,0", "", rule},
		{"thousands and a decimal comma", "5.544.911.111.111,00", "", rule},
		{"thousands with commas", "5,544,911,111,111", "", rule},
		{"scientific notation", "5.54491111111E+12", "", rule},
		{"scientific notation without a sign", "5.54491111111e12", "", rule},
		{"dash and 0", "5544911111111-0", "", behind},
		{"dash and 1 behind a mask", "+55 44 91111-1111-1", "", behind},
		{"long dash and 1", "+55 44 91111-1111 \u2013 1", "", behind},
		{"dash and two digits", "+55 44 91111-1111-01", "", behind},
		{"two digits and a space", "+55 44 91111-1111 12", "", behind},
		{"one digit and a space", "+55 44 91111-1111 2", "", behind},
		{"Luxembourg with a dot", "+352 24.41.23.4", "", behind},
		{"a copy", "5544911111111 (2)", "", behind},
		{"a copy in a mask", "+55 (44) 91111-1111 (2)", "", behind},
		{"a copy without a space", "554491111111(12)", "", behind},
		{"parentheses that stay open", "5544911111111 (2", "", behind},
		{"subscriber in parentheses", "+55 44 (9111-1111)", "", behind},
		{"extension of three digits", "554411111111 123", "", behind},
		{"extension with ext", "+55 44 91111-1111 ext 5", "", rule},
		{"extension with x", "+55 44 91111-1111 x5", "", rule},
		{"extension with #", "+55 44 91111-1111 #5", "", rule},
		{"extension with ;", "+55-44-91111-1111;ext=5", "", rule},
		{"slash", "+55 44 91111-1111/2", "", rule},
		{"two phones and a plus", "+5544111111 +5544222", "", plus},
		{"two phones and a comma", "5544111111,5544222", "", rule},
		{"two phones and a slash", "5544111111 / 5544222", "", rule},
		{"two phones and a space", "1234567 7654321", "", behind},
		{"two phones behind one country code", "+298 211234 212345", "", behind},
		{"two phones, the first one with its country code", "298211234 212345", "", behind},
		{"two long phones", "5544911111111 5544922222222", "", behind},
		{"British mobile in two groups", "447911 123456", "447911123456", accepted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			normal, err := zapi.NormalizePhone(tt.phone)
			assert.Equal(t, tt.want, normal)
			api := newMockAPI(succeeding)
			sendErr := api.client(t).SetLastSeen(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(tt.phone))
			if tt.reason != accepted {
				assert.Equal(t, &zapi.ValidationError{Op: "NormalizePhone", Field: "phone", Reason: tt.reason}, err)
				assert.Equal(t, &zapi.ValidationError{Op: "privacy/last-seen", Field: "changes[0].phone", Reason: tt.reason}, sendErr)
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			require.NoError(t, sendErr)
			require.Len(t, api.requests(), 1)
			assert.Equal(t, `{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"`+tt.want+`"}]}`, api.requests()[0].Body)
		})
	}
}

func TestNinthDigit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		one, other  string
		sameContact bool
	}{
		{"itself", "5544991111111", "+55 (44) 99111-1111", true},
		{"eight digits that begin with 9", "5544991111111", "554491111111", true},
		{"eight digits that begin with 8", "5544981111111", "554481111111", true},
		{"eight digits that begin with 7", "5544971111111", "554471111111", true},
		{"eight digits that begin with 6", "5544961111111", "554461111111", true},
		{"eight digits that begin with 5: a landline", "5544951111111", "554451111111", false},
		{"eight digits that begin with 2: a landline", "5544921111111", "554421111111", false},
		{"eight digits that begin with 1", "5544911111111", "554411111111", false},
		{"lowest area code", "5511991111111", "551191111111", true},
		{"highest area code", "5599991111111", "559991111111", true},
		{"area code that ends in 0", "5540991111111", "554091111111", false},
		{"another digit than 9", "5544891111111", "554491111111", false},
		{"another area code", "5544991111111", "554591111111", false},
		{"another country", "5444991111111", "544491111111", false},
		{"one digit fewer", "554499111111", "55449111111", false},
		{"one digit more", "55449911111111", "5544911111111", false},
		{"private ids", "5544996111111@lid", "554496111111@lid", false},
		{"private ids that are as long as a phone", "554499611@lid", "55449611@lid", false},
		{"a phone and a private id", "5544991111111", "5544991111111@lid", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			one, err := zapi.NormalizePhone(tt.one)
			require.NoError(t, err)
			other, err := zapi.NormalizePhone(tt.other)
			require.NoError(t, err)
			for _, phones := range [][2]string{{one, other}, {other, one}} {
				api := newMockAPI(succeeding)
				add := `{"action":"add","phone":"` + phones[0] + `"}`
				client := api.client(t)
				repeated := client.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(phones[0]), zapi.Disallow(phones[1]))
				require.NoError(t, repeated)
				contradiction := client.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(phones[0]), zapi.Allow(phones[1]))
				if tt.sameContact {
					assert.Contains(t, api.requests()[0].Body, "["+add+"]", "the first form is sent as it is")
					require.EqualError(t, contradiction, "zapi: privacy/photo: changes[1].phone: repeats the contact of changes[0] with the other action")
				} else {
					assert.Contains(t, api.requests()[0].Body, "["+add+`,{"action":"add","phone":"`+phones[1]+`"}]`)
					require.NoError(t, contradiction)
				}

				diff, err := newMockAPI(listing(phones[0])).client(t).ReplaceBlacklist(t.Context(), zapi.BlacklistPhoto, []string{phones[1]})
				require.NoError(t, err)
				if tt.sameContact {
					assert.Zero(t, diff)
				} else {
					assert.Equal(t, zapi.BlacklistDiff{Added: []string{phones[1]}, Removed: []string{phones[0]}}, diff)
				}
			}
		})
	}
}

func TestPhoneParser(t *testing.T) {
	t.Parallel()
	brazilian := zapi.WithPhoneParser(func(phone string) (string, error) {
		if strings.Contains(phone, "?") {
			return "", errors.New("cannot parse " + phone)
		}
		if !strings.HasPrefix(phone, "+") {
			phone = "+55" + phone
		}
		return phone, nil
	})
	tests := []struct {
		name string
		call caller
		want string // the phones sent, or the error
	}{
		{"changes", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("(44) 91111-1111"), zapi.Allow("+44 20 7946 0018")), "5544911111111 442079460018"},
		{"changes of groups", setGroupAdd(zapi.GroupAddContactBlacklist, zapi.Disallow("(44) 91111-1111")), "5544911111111"},
		{"the same contact in two forms", setPhoto(zapi.VisibilityContactBlacklist, zapi.Disallow("(44) 91111-1111"), zapi.Disallow("+55 44 91111-1111")), "5544911111111"},
		{"ReplaceBlacklist", replaceBlacklist(zapi.BlacklistPhoto, "(44) 91111-1111"), "5544911111111"},
		{"private ids are not parsed", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("999@lid")), "999@lid"},
		{"its error quotes no phone", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("91111?")), "changes[0].phone: is refused by the parser given to WithPhoneParser"},
		{"its error in ReplaceBlacklist", replaceBlacklist(zapi.BlacklistPhoto, "91111?"), "want[0]: is refused by the parser given to WithPhoneParser"},
		{"its result is checked", setLastSeen(zapi.VisibilityContactBlacklist, zapi.Disallow("+1")), "changes[0].phone: must be 7 to 15 digits, country code first, or digits@lid"},
		{"a policy is international", func(ctx context.Context, c *zapi.Client) error {
			return c.Apply(ctx, zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"44 2079460018"}}})
		}, "442079460018"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(listing())
			err := tt.call(t.Context(), api.client(t, brazilian))
			if strings.Contains(tt.want, ":") {
				require.ErrorContains(t, err, tt.want)
				require.ErrorIs(t, err, zapi.ErrInvalidArgument)
				assert.NotContains(t, err.Error(), "91111")
				assert.Empty(t, api.requests())
				return
			}
			require.NoError(t, err)
			var phones []string
			for _, match := range regexp.MustCompile(`"phone":"(.*?)"`).FindAllStringSubmatch(api.requests()[len(api.requests())-1].Body, -1) {
				phones = append(phones, match[1])
			}
			assert.Equal(t, tt.want, strings.Join(phones, " "))
		})
	}
}
