// Package yaml tests that YAML libraries load policies and credentials as strictly as encoding/json does.
package yaml

import (
	"testing"

	goccy "github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
)

var libraries = []struct {
	name      string
	unmarshal func([]byte, any) error
	marshal   func(any) ([]byte, error)
}{
	{"go.yaml.in/yaml/v3", yamlv3.Unmarshal, yamlv3.Marshal},
	{"github.com/goccy/go-yaml", unmarshalGoccy, goccy.Marshal},
}

// unmarshalGoccy is goccy.Unmarshal without its options.
func unmarshalGoccy(data []byte, dst any) error { return goccy.Unmarshal(data, dst) }

// config is a program's own, with the types of zapi inside.
type config struct {
	Credentials zapi.Credentials `yaml:"credentials"`
	Policy      zapi.Policy      `yaml:"policy"`
	LastSeen    zapi.Visibility  `yaml:"lastSeen"`
}

func policy() zapi.Policy {
	return zapi.Policy{
		LastSeen:    &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{"+55 44 91111-1111", "999@lid"}},
		Photo:       &zapi.Audience{Visibility: zapi.VisibilityContacts},
		Description: &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist},
		GroupAdd:    &zapi.Audience{Visibility: zapi.VisibilityContactBlacklist, Except: []string{}},
		Online:      zapi.OnlineSameAsLastSeen,
	}
}

const file = `
credentials:
  instanceId: 3C01D5A4B6
  token: 70C4D2E79B1F
  clientToken: F5e2c1d87A0S
lastSeen: NONE
policy:
  lastSeen:
    visibility: CONTACT_BLACKLIST
    except:
      - +55 44 91111-1111 # a string, as it has spaces
      - 999@lid
  photo: {visibility: CONTACTS}
  description: {visibility: CONTACT_BLACKLIST}
  groupAdd: {visibility: CONTACT_BLACKLIST, except: []}
  online: SAME_LAST_SEEN
  readReceipts: null
`

func TestFile(t *testing.T) {
	t.Parallel()
	for _, library := range libraries {
		t.Run(library.name, func(t *testing.T) {
			t.Parallel()
			var got config
			require.NoError(t, library.unmarshal([]byte(file), &got))
			assert.Equal(t, config{
				Credentials: zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "70C4D2E79B1F", ClientToken: "F5e2c1d87A0S"},
				Policy:      policy(),
				LastSeen:    zapi.VisibilityNone,
			}, got)
		})
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, library := range libraries {
		t.Run(library.name, func(t *testing.T) {
			t.Parallel()
			for name, want := range map[string]zapi.Policy{"full": policy(), "empty": {}} {
				data, err := library.marshal(want)
				require.NoError(t, err)
				var got zapi.Policy
				require.NoError(t, library.unmarshal(data, &got), string(data))
				assert.Equal(t, want, got, name)
			}
			_, err := library.marshal(zapi.Policy{Online: "NONE"})
			require.ErrorContains(t, err, "zapi: policy: online: must be one of ALL, SAME_LAST_SEEN")
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, yaml, want string }{
		{"unknown key", "lastseen: {visibility: ALL}", "lastseen: is unknown; the keys are lastSeen, photo"},
		{"unknown key with null", "status:", "status: is unknown"},
		{"unknown key of an audience", "photo: {visibility: ALL, but: []}", "photo.but: is unknown; the keys are visibility, except"},
		{"key in another case", "photo: {Visibility: ALL}", "photo.Visibility: is unknown"},
		{"unknown value", "photo: {visibility: FRIENDS}", "photo.visibility: must be one of ALL, NONE, CONTACTS, CONTACT_BLACKLIST"},
		{"value that YAML takes for a boolean", "online: true", "online: must be one of ALL, SAME_LAST_SEEN"},
		{"phone without quotation marks", "photo: {visibility: CONTACT_BLACKLIST, except: [5544911111111]}", "photo.except: must be a list of phones, each a string"},
		{"key twice", "online: ALL\nonline: SAME_LAST_SEEN", "online"},
		{"list", "- online: ALL", "must be an object"},
		{"broken", "photo: {visibility: ALL", ""},
	}
	for _, tt := range tests {
		for _, library := range libraries {
			t.Run(tt.name+" by "+library.name, func(t *testing.T) {
				t.Parallel()
				got := policy()
				require.ErrorContains(t, library.unmarshal([]byte(tt.yaml), &got), tt.want)
				assert.Equal(t, policy(), got)
			})
		}
	}
}

func TestCredentialsStaySilent(t *testing.T) {
	t.Parallel()
	creds := zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "70C4D2E79B1F", ClientToken: "F5e2c1d87A0S"}
	for _, library := range libraries {
		t.Run(library.name, func(t *testing.T) {
			t.Parallel()
			data, err := library.marshal(map[string]any{"value": creds, "pointer": &creds})
			require.NoError(t, err)
			assert.Contains(t, string(data), creds.InstanceID)
			assert.NotContains(t, string(data), creds.Token)
			assert.NotContains(t, string(data), creds.ClientToken)
		})
	}
}
