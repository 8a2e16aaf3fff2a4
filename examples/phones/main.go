// Phones accepts phones as people write them in their own country, by plugging libphonenumber into the client: without
// it, (44) 91111-1111 could be a British number.
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

	"github.com/nyaruka/phonenumbers"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

const description = `Phones puts phones as people write them on a blacklist of a fake server inside the program.

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
	"(44) 9111-1111", // without the ninth digit of Brazilian mobiles
	"999999999999999@lid",
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
	for _, phone := range samples {
		diff, err := client.ReplaceBlacklist(ctx, zapi.BlacklistPhoto, []string{phone})
		switch {
		case errors.Is(err, zapi.ErrInvalidArgument):
			fmt.Fprintf(out, "%-20s  refused: %v\n", phone, err) // the error does not quote the phone; this program does
		case err != nil:
			return err
		default:
			fmt.Fprintf(out, "%-20s  listed as %s\n", phone, strings.Join(diff.Added, ", "))
		}
	}
	fmt.Fprint(out, `
WhatsApp knows many Brazilian mobiles without their ninth digit: it may list 554491111111 for 5544991111111.
ReplaceBlacklist compares what the API lists, so it then removes the one and adds the other every time.
`)
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
		// Also false for a Brazilian mobile without its ninth digit. To accept those, add the digit here.
		if !phonenumbers.IsValidNumber(number) {
			return "", errNoPhone
		}
		return phonenumbers.Format(number, phonenumbers.E164), nil
	}, nil
}
