package zapi_test

import (
	"encoding"
	"encoding/json"
	"flag"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// enum is what all sets of allowed values share.
type enum[T any] interface {
	*T
	UnmarshalText(text []byte) error
}

func testEnum[T interface {
	~string
	Valid() bool
}, P enum[T]](t *testing.T, name, refusal string, allowed ...T) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		for _, want := range allowed {
			assert.True(t, want.Valid(), want)
			text, err := any(want).(encoding.TextMarshaler).MarshalText()
			require.NoError(t, err)
			assert.Equal(t, string(want), string(text))
			var got T
			require.NoError(t, P(&got).UnmarshalText([]byte(want)))
			assert.Equal(t, want, got)
		}
		for text, quoted := range unknownValues(string(allowed[0])) {
			want := "zapi: " + name + ": must be one of " + refusal
			if quoted {
				want += ", not " + strconv.Quote(text)
			}
			assert.False(t, T(text).Valid(), "%q", text)
			_, err := any(T(text)).(encoding.TextMarshaler).MarshalText()
			require.ErrorIs(t, err, zapi.ErrInvalidArgument, "%q", text)
			require.EqualError(t, err, want)
			got := allowed[0]
			err = P(&got).UnmarshalText([]byte(text))
			require.ErrorIs(t, err, zapi.ErrInvalidArgument, "%q", text)
			assert.EqualError(t, err, want)
			assert.Equal(t, allowed[0], got, "a refused text leaves the value alone")
		}
	})
	t.Run(name+", zero value", func(t *testing.T) {
		t.Parallel()
		assert.False(t, T("").Valid(), "it is refused when it is used")
		text, err := any(T("")).(encoding.TextMarshaler).MarshalText()
		require.NoError(t, err)
		assert.Empty(t, text)
		got := allowed[0]
		require.NoError(t, P(&got).UnmarshalText(text), "what was written can be read")
		assert.Empty(t, got)
	})
}

// unknownValues returns texts that are no value of any type, and whether an error may quote them.
func unknownValues(allowed string) map[string]bool {
	return map[string]bool{
		"UNKNOWN":               true,
		"Not_one-of-them":       true,
		strings.Repeat("x", 40): true,
		strings.Repeat("x", 41): false,
		allowed + " ":           false,
		" " + allowed:           false,
		"two words":             false,
		"days8":                 false, // digits may be a phone
		"5544911111111":         false,
		"NENHUM\u00c9":          false,
		"line\n":                false,
	}
}

func TestAllowedValues(t *testing.T) {
	t.Parallel()
	testEnum(t, "Visibility", "ALL, NONE, CONTACTS, CONTACT_BLACKLIST",
		zapi.VisibilityAll, zapi.VisibilityNone, zapi.VisibilityContacts, zapi.VisibilityContactBlacklist)
	testEnum(t, "OnlineVisibility", "ALL, SAME_LAST_SEEN", zapi.OnlineAll, zapi.OnlineSameAsLastSeen)
	testEnum(t, "GroupAddPermission", "ALL, CONTACTS, CONTACT_BLACKLIST",
		zapi.GroupAddAll, zapi.GroupAddContacts, zapi.GroupAddContactBlacklist)
	testEnum(t, "ReadReceipts", "enable, disable", zapi.ReadReceiptsEnable, zapi.ReadReceiptsDisable)
	testEnum(t, "MessageDuration", "hours24, days7, days90, disable",
		zapi.MessageDuration24Hours, zapi.MessageDuration7Days, zapi.MessageDuration90Days, zapi.MessageDurationDisable)
	testEnum(t, "BlacklistScope", "lastSeen, photo, description, groupAdd",
		zapi.BlacklistLastSeen, zapi.BlacklistPhoto, zapi.BlacklistDescription, zapi.BlacklistGroupAdd)
	testEnum(t, "BlacklistAction", "add, remove", zapi.BlacklistAdd, zapi.BlacklistRemove)
}

func TestAllowedValuesInJSONAndFlags(t *testing.T) {
	t.Parallel()
	var config struct{ LastSeen zapi.Visibility }
	require.NoError(t, json.Unmarshal([]byte(`{"LastSeen":"CONTACTS"}`), &config))
	assert.Equal(t, zapi.VisibilityContacts, config.LastSeen)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"LastSeen":"FRIENDS"}`), &config), zapi.ErrInvalidArgument)
	assert.Equal(t, zapi.VisibilityContacts, config.LastSeen)
	require.NoError(t, json.Unmarshal([]byte(`{"LastSeen":""}`), &config), "as an empty environment variable")
	assert.Empty(t, config.LastSeen)
	written, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(written, &config))

	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var online zapi.OnlineVisibility
	flags.TextVar(&online, "online", zapi.OnlineVisibility(""), "who sees that the number is online")
	assert.Empty(t, flags.Lookup("online").DefValue)
	require.NoError(t, flags.Parse([]string{"-online", "SAME_LAST_SEEN"}))
	assert.Equal(t, zapi.OnlineSameAsLastSeen, online)
	require.ErrorContains(t, flags.Parse([]string{"-online", "NONE"}), "must be one of ALL, SAME_LAST_SEEN")
}

func TestBlacklistChanges(t *testing.T) {
	t.Parallel()
	assert.Equal(t, zapi.BlacklistChange{Action: zapi.BlacklistAdd, Phone: "5544"}, zapi.Disallow("5544"))
	assert.Equal(t, zapi.BlacklistChange{Action: zapi.BlacklistRemove, Phone: "5544"}, zapi.Allow("5544"))
}
