package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/examples/internal/commandline"
	"github.com/zapi-go/zapi/zapitest"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Phones shows what becomes of phones"},
		{Name: "nothing", Want: "taken for phones of BR."},
		{Name: "country", Args: []string{"-country", "GB"}, Want: "taken for phones of GB."},
		{Name: "unknown country", Args: []string{"-country", "Brasil"}, Code: 1, Want: `unknown country "Brasil"`},
		{Name: "superfluous argument", Args: []string{"GB"}, Code: 2, Want: "phones takes flags only; see -h"},
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, "BR"))
	assert.Equal(t, `Phones without a country code are taken for phones of BR.

WRITTEN              SENT WITH THE PARSER  SENT WITHOUT IT: NormalizePhone
(44) 91111-1111      5544911111111         44911111111
+44 20 7946 0958     442079460958          442079460958
(44) 9911-1111       554499111111          4499111111
999999999999999@lid  999999999999999@lid   999999999999999@lid
4499111111.0         refused               refused: must have nothing behind the number, such as .0, (2) or an extension
call me later        refused               refused: must be 7 to 15 digits, country code first, or digits@lid

WhatsApp lists many Brazilian mobiles without their ninth digit. To zapi, both forms are the same contact:
554499111111 is listed, +55 44 99911-1111 is wanted: 0 added, 0 removed.
`, out.String())
}

func TestPhones(t *testing.T) {
	t.Parallel()
	const refused = ""
	tests := []struct {
		name, country, phone, want string
	}{
		{"national", "BR", "(44) 91111-1111", "5544911111111"},
		{"national, with the 0 of a long-distance call", "BR", "044 91111-1111", "5544911111111"},
		{"national, with the code of a carrier", "BR", "0 15 44 91111-1111", "5544911111111"},
		{"landline", "BR", "(44) 3222-1111", "554432221111"},
		{"international", "BR", "+55 44 91111-1111", "5544911111111"},
		{"as the API writes it", "BR", "5544911111111", "5544911111111"},
		{"of another country", "BR", "+44 20 7946 0958", "442079460958"},
		{"of another country, as on a business card", "BR", "+44 (0)20 7946 0958", "442079460958"},
		{"the same digits elsewhere", "GB", "020 7946 0958", "442079460958"},
		{"private id", "BR", "999999999999999@lid", "999999999999999@lid"},
		{"mobile without the ninth digit", "BR", "(44) 9911-1111", "554499111111"},
		{"mobile without the ninth digit, as the API lists it", "BR", "554499111111", "554499111111"},
		{"mobile without the ninth digit, elsewhere", "GB", "+55 44 9911-1111", "554499111111"},
		{"neither a landline nor a mobile without the ninth digit", "BR", "(44) 1111-1111", refused},
		{"mobile without the ninth digit, in an area that does not exist", "BR", "(23) 9911-1111", refused},
		{"cell of a spreadsheet", "BR", "4499111111.0", refused},
		{"cell of a spreadsheet, with a country code", "BR", "554491111111.0", refused},
		{"cell of a spreadsheet in Brazil", "BR", "4499111111,0", refused},
		{"large cell of a spreadsheet", "BR", "5.54491E+12", refused},
		{"without the area code", "BR", "91111-1111", refused},
		{"words", "BR", "call me later", refused},
		{"too short", "BR", "911", refused},
		{"nothing", "BR", "", refused},
		{"too long", "BR", "+44 20 7946 0958 9999 9999", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := zapitest.NewServer()
			t.Cleanup(server.Close)
			parse, err := phoneParser(tt.country)
			require.NoError(t, err)
			client, err := server.Client(zapi.WithPhoneParser(parse))
			require.NoError(t, err)

			err = client.SetPhotoVisibility(t.Context(), zapi.VisibilityContactBlacklist, zapi.Disallow(tt.phone))
			if tt.want == refused {
				require.ErrorIs(t, err, zapi.ErrInvalidArgument)
				reason := "is refused by the parser given to WithPhoneParser"
				if strings.HasPrefix(tt.name, "cell of a spreadsheet") { // zapi does not ask the parser
					reason = "must have nothing behind the number, such as .0, (2) or an extension"
				}
				assert.EqualError(t, err, "zapi: privacy/photo: changes[0].phone: "+reason)
				assert.Empty(t, server.Requests(), "nothing was sent")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{tt.want}, server.Settings(client.InstanceID()).Photo.Blacklist)
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, run(ended, io.Discard, "BR"), context.Canceled)
}
