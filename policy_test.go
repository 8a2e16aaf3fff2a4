package zapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/zapitest"
)

func fullPolicy() zapi.Policy {
	return zapi.Policy{
		LastSeen:        &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"+55 44 1111-1111"}},
		Photo:           &zapi.Audience{Visibility: zapi.VisibilityNone},
		Description:     &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist},
		GroupAdd:        &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{}},
		Online:          zapi.OnlineSameAsLastSeen,
		ReadReceipts:    zapi.ReadReceiptsDisable,
		MessageDuration: zapi.MessageDuration24Hours,
	}
}

const fullPolicyJSON = `{"lastSeen":{"visibility":"CONTACT_BLACKLIST","except":["+55 44 1111-1111"]},` +
	`"photo":{"visibility":"NONE"},"description":{"visibility":"CONTACT_BLACKLIST"},` +
	`"groupAdd":{"visibility":"CONTACT_BLACKLIST","except":[]},` +
	`"online":"SAME_LAST_SEEN","readReceipts":"disable","messageDuration":"hours24"}`

func TestApply(t *testing.T) {
	t.Parallel()
	server := zapitest.NewServer()
	t.Cleanup(server.Close)
	client, err := server.Client()
	require.NoError(t, err)
	old := []zapi.BlacklistChange{zapi.Disallow("554400000000")}
	require.NoError(t, client.SetDescriptionVisibility(t.Context(), zapi.VisibilityContactBlacklist, old...))
	require.NoError(t, client.SetGroupAddPermission(t.Context(), zapi.GroupAddContactBlacklist, old...))
	before := len(server.Requests())

	require.NoError(t, client.Apply(t.Context(), fullPolicy()))
	except := func(contacts ...string) zapitest.Audience {
		return zapitest.Audience{Visibility: zapi.VisibilityContactBlacklist, Blacklist: contacts}
	}
	assert.Equal(t, zapitest.Settings{
		LastSeen:        except("554411111111"),
		Photo:           zapitest.Audience{Visibility: zapi.VisibilityNone},
		Description:     except("554400000000"),
		GroupAdd:        except(),
		Online:          zapi.OnlineSameAsLastSeen,
		ReadReceipts:    zapi.ReadReceiptsDisable,
		MessageDuration: zapi.MessageDuration24Hours,
	}, server.Settings(client.InstanceID()))

	var order []string
	for _, request := range server.Requests()[before:] {
		order = append(order, request.Op)
	}
	assert.Equal(t, []string{
		"privacy/disallowed-contacts", "privacy/last-seen", "privacy/photo", "privacy/description",
		"privacy/disallowed-contacts", "privacy/group-add", "privacy/online", "privacy/read-receipts", "privacy/messages-duration",
	}, order)
}

func TestApplyLeavesWhatIsNotSet(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		policy zapi.Policy
		want   []string
	}{
		{"one value", zapi.Policy{Online: zapi.OnlineAll}, []string{"privacy/online"}},
		{"one audience", zapi.Policy{GroupAdd: &zapi.Audience{Visibility: zapi.VisibilityContacts}}, []string{"privacy/group-add"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			require.NoError(t, api.client(t).Apply(t.Context(), tt.policy))
			var urls []string
			for _, request := range api.requests() {
				urls = append(urls, request.URL)
			}
			var want []string
			for _, route := range tt.want {
				want = append(want, realURL(route))
			}
			assert.Equal(t, want, urls)
		})
	}
}

// A file that is empty, or in which everything is commented out, is read as a policy that names nothing. Applying it would
// look like success.
func TestEmptyPolicies(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, json string }{
		{"no file", ""},
		{"null", "null"},
		{"empty object", "{}"},
		{"a key without a value", `{"photo":null}`},
		{"every key without a value", `{"lastSeen":null,"photo":null,"description":null,"groupAdd":null,"online":null,"readReceipts":null,"messageDuration":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var policy zapi.Policy
			if tt.json != "" {
				require.NoError(t, json.Unmarshal([]byte(tt.json), &policy))
			}
			assert.True(t, policy.IsZero())
			written, err := json.Marshal(policy)
			require.NoError(t, err)
			assert.Equal(t, "{}", string(written))

			const want = "zapi: policy: must name at least one setting"
			api := newMockAPI(succeeding)
			client := api.client(t)
			require.EqualError(t, policy.Validate(), want)
			require.EqualError(t, client.Apply(t.Context(), policy), want)
			plan, err := client.Plan(t.Context(), policy)
			require.EqualError(t, err, want)
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			assert.Nil(t, plan)
			assert.Empty(t, api.requests())
		})
	}
	assert.False(t, fullPolicy().IsZero())
	assert.False(t, zapi.Policy{Photo: new(zapi.Audience)}.IsZero())
}

func TestApplyCarriesOn(t *testing.T) {
	t.Parallel()
	failing := func(status int, body, op string) httpmock.Responder {
		return func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, op) {
				return responding(status, body)(req)
			}
			return listing()(req)
		}
	}
	t.Run("past failures", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/privacy/photo") {
				return responding(400, `{"error":"Invalid photo"}`)(req)
			}
			return failing(200, `{"success":false}`, "/privacy/disallowed-contacts")(req)
		})
		err := api.client(t).Apply(t.Context(), fullPolicy())
		require.EqualError(t, err, strings.Join([]string{
			"lastSeen: zapi: privacy/disallowed-contacts: rejected: success is false",
			"photo: zapi: privacy/photo: 400 Bad Request: Invalid photo",
			"groupAdd: zapi: privacy/disallowed-contacts: rejected: success is false",
		}, "\n"))
		require.ErrorIs(t, err, zapi.ErrRejected)
		var apiErr *zapi.APIError
		require.ErrorAs(t, err, &apiErr)
		assert.Len(t, api.requests(), 7, "two reads that failed and the five settings that need none")
	})
	t.Run("past a value that is not allowed", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(failing(400, `{"error":"NONE not allowed"}`, "/privacy/photo"))
		err := api.client(t).Apply(t.Context(), fullPolicy())
		require.EqualError(t, err, "photo: zapi: privacy/photo: 400 Bad Request: NONE not allowed")
		assert.Len(t, api.requests(), 9)
	})
	t.Run("not past refused credentials", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(failing(403, "", "/privacy/photo"))
		err := api.client(t).Apply(t.Context(), fullPolicy())
		require.EqualError(t, err, "photo: zapi: privacy/photo: 403 Forbidden")
		assert.Len(t, api.requests(), 3)
	})
	t.Run("not past a cancelled context", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		api := newMockAPI(func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/privacy/photo") {
				cancel()
				return nil, errors.New("network")
			}
			return listing()(req)
		})
		err := api.client(t).Apply(ctx, fullPolicy())
		require.EqualError(t, err, "photo: zapi: privacy/photo: no response: context canceled")
		require.ErrorIs(t, err, context.Canceled)
		assert.Len(t, api.requests(), 3)
	})
}

// wrongPolicies are refused by Validate, Apply and both directions of JSON; each error stands for itself.
var wrongPolicies = []struct {
	name   string
	policy zapi.Policy
	json   string // "" where the same cannot be written
	want   string
}{
	{"no visibility", zapi.Policy{LastSeen: &zapi.Audience{}}, `{"lastSeen":{}}`, "lastSeen.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST"},
	{"unknown visibility", zapi.Policy{Photo: &zapi.Audience{Visibility: "FRIENDS"}}, `{"photo":{"visibility":"FRIENDS"}}`, `photo.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST, not "FRIENDS"`},
	{"group add for no one", zapi.Policy{GroupAdd: &zapi.Audience{Visibility: zapi.VisibilityNone}}, `{"groupAdd":{"visibility":"NONE"}}`, `groupAdd.visibility: must be one of ALL, CONTACTS, CONTACT_BLACKLIST, not "NONE"`},
	{"except with another visibility", zapi.Policy{Description: &zapi.Audience{Visibility: zapi.VisibilityContacts, Except: []string{"554411111111"}}},
		`{"description":{"visibility":"CONTACTS","except":["554411111111"]}}`, "description.except: is allowed only with CONTACT_BLACKLIST"},
	{"empty except with another visibility", zapi.Policy{Description: &zapi.Audience{Visibility: zapi.VisibilityAll, Except: []string{}}},
		`{"description":{"visibility":"ALL","except":[]}}`, "description.except: is allowed only with CONTACT_BLACKLIST"},
	{"malformed phone", zapi.Policy{LastSeen: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"554411111111", "4411"}}},
		`{"lastSeen":{"visibility":"CONTACT_BLACKLIST","except":["554411111111","4411"]}}`, "lastSeen.except[1]: must be 7 to 15 digits, country code first, or digits@lid"},
	{"unknown online", zapi.Policy{Online: "NONE"}, `{"online":"NONE"}`, `online: must be one of ALL, SAME_LAST_SEEN, not "NONE"`},
	{"unknown read receipts", zapi.Policy{ReadReceipts: "on"}, `{"readReceipts":"on"}`, `readReceipts: must be one of enable, disable, not "on"`},
	{"unknown message duration", zapi.Policy{MessageDuration: "1d"}, `{"messageDuration":"1d"}`, "messageDuration: must be one of hours24, days7, days90, disable"},
}

func TestWrongPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range wrongPolicies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := "zapi: policy: " + tt.want
			require.EqualError(t, tt.policy.Validate(), want)

			api := newMockAPI(succeeding)
			good := tt.policy
			if good.Online == "" {
				good.Online = zapi.OnlineAll
			}
			err := api.client(t).Apply(t.Context(), good)
			require.EqualError(t, err, want)
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			assert.Empty(t, api.requests(), "nothing is sent if any part is wrong")

			_, err = json.Marshal(tt.policy)
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)

			kept := fullPolicy()
			require.EqualError(t, json.Unmarshal([]byte(tt.json), &kept), want)
			assert.Equal(t, fullPolicy(), kept)
		})
	}
	t.Run("all that is wrong", func(t *testing.T) {
		t.Parallel()
		err := zapi.Policy{LastSeen: &zapi.Audience{}, Online: "NONE"}.Validate()
		require.EqualError(t, err, "zapi: policy: lastSeen.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST\nzapi: policy: online: must be one of ALL, SAME_LAST_SEEN, not \"NONE\"")
	})
}

func TestPolicyJSON(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(fullPolicy())
	require.NoError(t, err)
	assert.JSONEq(t, fullPolicyJSON, string(encoded))
	var decoded zapi.Policy
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	assert.Equal(t, fullPolicy(), decoded)
	assert.Nil(t, decoded.Description.Except, "nil keeps the list")
	assert.NotNil(t, decoded.GroupAdd.Except, "empty clears it")

	encoded, err = json.Marshal(zapi.Policy{})
	require.NoError(t, err)
	assert.Equal(t, `{}`, string(encoded))
	require.NoError(t, json.Unmarshal([]byte(`{"lastSeen":null,"online":null,"photo":{"visibility":"ALL","except":null}}`), &decoded))
	assert.Equal(t, zapi.Policy{Photo: &zapi.Audience{Visibility: zapi.VisibilityAll}}, decoded, "what was there is replaced")
}

func TestPolicyJSONIsStrict(t *testing.T) {
	t.Parallel()
	const keys = "is unknown; the keys are lastSeen, photo, description, groupAdd, online, readReceipts, messageDuration"
	tests := []struct{ name, json, want string }{
		{"unknown key", `{"status":"ALL"}`, "status: " + keys},
		{"the first of several unknown keys", `{"e":1,"d":1,"c":1,"b":1,"a":1}`, "a: " + keys},
		{"key in another case", `{"lastseen":{"visibility":"ALL"}}`, "lastseen: " + keys},
		{"unknown key with null", `{"status":null}`, "status: " + keys},
		{"unknown key of an audience with null", `{"photo":{"visibility":"ALL","but":null}}`, "photo.but: is unknown; the keys are visibility, except"},
		{"a phone as a key", `{"+55 44 91111-1111":null}`, "…: " + keys},
		{"a phone as a key of an audience", `{"photo":{"visibility":"CONTACT_BLACKLIST","5544911111111":[]}}`, "photo.…: is unknown; the keys are visibility, except"},
		{"long key", `{"` + strings.Repeat("x", 500) + `":1}`, strings.Repeat("x", 61) + "…: " + keys},
		{"unknown key of an audience", `{"photo":{"visibility":"ALL","but":[]}}`, "photo.but: is unknown; the keys are visibility, except"},
		{"key twice", `{"online":"ALL","online":"SAME_LAST_SEEN"}`, "online: must not be repeated"},
		{"key twice in an audience", `{"photo":{"visibility":"ALL","visibility":"NONE"}}`, "photo.visibility: must not be repeated"},
		{"audience as a string", `{"photo":"ALL"}`, "photo: must be an object"},
		{"audience as a list", `{"photo":["ALL"]}`, "photo: must be an object"},
		{"value as a number", `{"online":1}`, "online: must be one of ALL, SAME_LAST_SEEN"},
		{"empty value", `{"online":""}`, "online: must be one of ALL, SAME_LAST_SEEN"},
		{"visibility as a list", `{"photo":{"visibility":["ALL"]}}`, "photo.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST"},
		{"except as a string", `{"photo":{"visibility":"CONTACT_BLACKLIST","except":"554411111111"}}`, "photo.except: must be a list of phones, each a string"},
		{"except with a number", `{"photo":{"visibility":"CONTACT_BLACKLIST","except":[554411111111]}}`, "photo.except: must be a list of phones, each a string"},
		{"except with a null", `{"photo":{"visibility":"CONTACT_BLACKLIST","except":[null]}}`, "photo.except[0]: must be 7 to 15 digits, country code first, or digits@lid"},
		{"list", `[]`, "must be an object"},
		{"string", `"ALL"`, "must be an object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kept := fullPolicy()
			err := json.Unmarshal([]byte(tt.json), &kept)
			require.EqualError(t, err, "zapi: policy: "+tt.want)
			require.ErrorIs(t, err, zapi.ErrInvalidArgument)
			assert.Equal(t, fullPolicy(), kept)
		})
	}
	t.Run("no JSON at all", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{``, `{`, `{"online":`, `{"online":"ALL"} {}`, `{"a" 1}`} {
			require.ErrorIs(t, new(zapi.Policy).UnmarshalJSON([]byte(text)), zapi.ErrInvalidArgument, text)
		}
	})
}

func TestAudienceJSON(t *testing.T) {
	t.Parallel()
	var audience zapi.Audience
	require.NoError(t, json.Unmarshal([]byte(`{"visibility":"CONTACT_BLACKLIST","except":["5544"]}`), &audience))
	assert.Equal(t, zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"5544"}}, audience)
	require.EqualError(t, json.Unmarshal([]byte(`{"who":"ALL"}`), &audience), "zapi: policy: who: is unknown; the keys are visibility, except")
	assert.Equal(t, []string{"5544"}, audience.Except)
}

func TestApplyNeedsClientAndContext(t *testing.T) {
	t.Parallel()
	var none *zapi.Client
	assertRefused(t, none.Apply(t.Context(), fullPolicy()), "policy", "client")
	var noContext context.Context
	assertRefused(t, newClient(t, succeeding).Apply(noContext, fullPolicy()), "policy", "ctx")
}

func TestPolicyFromNull(t *testing.T) {
	t.Parallel()
	policy := fullPolicy()
	require.NoError(t, json.Unmarshal([]byte("null"), &policy))
	require.NoError(t, policy.UnmarshalJSON([]byte("null")))
	require.NoError(t, policy.Photo.UnmarshalJSON([]byte("null")))
	assert.Equal(t, fullPolicy(), policy)
}

// Many unknown keys in one object allocate about as much as the same number in small objects.
func TestPolicyJSONIsLinear(t *testing.T) {
	allocated := func(objects, keys int) uint64 {
		var text strings.Builder
		for i := range keys {
			fmt.Fprintf(&text, `,"key%d":null`, i)
		}
		data := []byte("{" + text.String()[1:] + "}")
		return bytesAllocated(func() {
			for range objects {
				require.ErrorIs(t, json.Unmarshal(data, new(zapi.Policy)), zapi.ErrInvalidArgument)
			}
		})
	}
	assert.Less(t, allocated(1, 16_000), 4*allocated(40, 400), "quadratic would be 40 times as much")
}

// document is a YAML library that has parsed a document already.
func document(value any, err error) func(any) error {
	return func(dst any) error {
		*(dst.(*any)) = value
		return err
	}
}

func TestPolicyYAML(t *testing.T) {
	t.Parallel()
	encoded, err := fullPolicy().MarshalYAML()
	require.NoError(t, err)
	var policy zapi.Policy
	require.NoError(t, policy.UnmarshalYAML(document(encoded, nil)))
	assert.Equal(t, fullPolicy(), policy)

	broken := errors.New("line 3: did not find expected key")
	tests := []struct {
		name  string
		value any
		err   error
		want  string
	}{
		{"unknown key", map[string]any{"lastseen": "ALL"}, nil, "zapi: policy: lastseen: is unknown; the keys are lastSeen, photo, description, groupAdd, online, readReceipts, messageDuration"},
		{"phone as a number", map[string]any{"photo": map[string]any{"visibility": "CONTACT_BLACKLIST", "except": []any{int64(5544911111111)}}}, nil, "zapi: policy: photo.except: must be a list of phones, each a string"},
		{"key that is no string", map[any]any{1: "ALL"}, nil, "zapi: policy: must hold only what JSON can hold, with strings as keys"},
		{"list", []any{}, nil, "zapi: policy: must be an object"},
		{"what the library refuses", nil, broken, "line 3: did not find expected key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kept := fullPolicy()
			require.EqualError(t, kept.UnmarshalYAML(document(tt.value, tt.err)), tt.want)
			assert.Equal(t, fullPolicy(), kept)
		})
	}
	_, err = zapi.Policy{Online: "NONE"}.MarshalYAML()
	require.ErrorIs(t, err, zapi.ErrInvalidArgument)
}
