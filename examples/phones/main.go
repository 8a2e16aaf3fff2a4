// Phones accepts phones as people write them in their own country, by plugging libphonenumber into the client: to zapi
// alone, as NormalizePhone shows, (44) 91111-1111 is a British number.
//
//	cd examples/phones && go run .
//	cd examples/phones && go run . -country GB
//
// It talks to a fake server inside the program. It is a module of its own, because of github.com/nyaruka/phonenumbers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"

	"github.com/nyaruka/phonenumbers"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Phones shows what becomes of phones as people write them, on a fake server inside the program.

`

func main() {
	country := flag.String("country", "BR", "two-letter `code` of the country of phones without a country code")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), description)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "phones takes flags only; see -h")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if err := run(ctx, os.Stdout, *country); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var samples = []string{
	"(44) 91111-1111",
	"+44 20 7946 0958",
	"(44) 9911-1111", // without the ninth digit of Brazilian mobiles
	"999999999999999@lid",
	"4499111111.0", // a cell of a spreadsheet
	"call me later",
}

func run(ctx context.Context, out io.Writer, country string) error {
	parse, err := phoneParser(country)
	if err != nil {
		return err
	}
	server := zapitest.NewServer()
	defer server.Close()
	client, err := server.Client(zapi.WithPhoneParser(parse))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Phones without a country code are taken for phones of %s.\n\n", country)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WRITTEN\tSENT WITH THE PARSER\tSENT WITHOUT IT: NormalizePhone")
	for _, phone := range samples {
		parsed, err := client.DiffBlacklist(ctx, zapi.BlacklistPhoto, []string{phone}) // changes nothing
		if err != nil && !errors.Is(err, zapi.ErrInvalidArgument) {
			return err
		}
		sent := strings.Join(parsed.Added, "")
		if err != nil {
			sent = "refused"
		}
		alone, err := zapi.NormalizePhone(phone)
		var invalid *zapi.ValidationError
		if errors.As(err, &invalid) {
			alone = "refused: " + invalid.Reason
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", phone, sent, alone)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return compare(ctx, out, server, client)
}

// compare shows that a list matches in either form of its Brazilian mobiles.
func compare(ctx context.Context, out io.Writer, server *zapitest.Server, client *zapi.Client) error {
	const listed, wanted = "554499111111", "+55 44 99911-1111"
	settings := server.Settings(client.InstanceID())
	settings.Photo = zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: []string{listed}}
	server.SetSettings(client.InstanceID(), settings)
	diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{wanted})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
WhatsApp lists many Brazilian mobiles without their ninth digit. To zapi, both forms are the same contact:
%s is listed, %s is wanted: %d added, %d removed.
`, listed, wanted, len(diff.Added), len(diff.Removed))
	return nil
}

var errNoPhone = errors.New("not a phone of its country")

// phoneParser returns a parser for [zapi.WithPhoneParser]. Phones without a country code belong to country.
func phoneParser(country string) (func(phone string) (string, error), error) {
	if phonenumbers.GetCountryCodeForRegion(country) == 0 {
		return nil, fmt.Errorf("unknown country %q: it must be two capital letters, such as BR", country)
	}
	return func(phone string) (string, error) {
		number, err := phonenumbers.Parse(phone, country)
		if err != nil {
			return "", err
		}
		if isSpreadsheetCell(phone) || !phonenumbers.IsValidNumber(number) && !lacksNinthDigit(number) {
			return "", errNoPhone
		}
		return phonenumbers.Format(number, phonenumbers.E164), nil
	}, nil
}

// isSpreadsheetCell reports whether phone ends in the .0 or ,0 of a number cell. libphonenumber would drop the point and
// keep the 0, and the phone with the 0 may be someone else's.
func isSpreadsheetCell(phone string) bool {
	whole := strings.TrimRight(phone, "0 ")
	return strings.HasSuffix(whole, ".") || strings.HasSuffix(whole, ",")
}

// lacksNinthDigit reports whether number is a Brazilian mobile in the form in which WhatsApp lists many of them, which
// libphonenumber does not know.
func lacksNinthDigit(number *phonenumbers.PhoneNumber) bool {
	digits := phonenumbers.GetNationalSignificantNumber(number)
	if number.GetCountryCode() != 55 || len(digits) != 10 || digits[2] < '6' {
		return false
	}
	dialed, err := phonenumbers.Parse("+55"+digits[:2]+"9"+digits[2:], "BR")
	return err == nil && phonenumbers.IsValidNumber(dialed)
}
