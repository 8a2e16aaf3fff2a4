package zapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

func TestPrintingHoldsNoSecret(t *testing.T) {
	t.Parallel()
	client, err := zapi.NewClient(creds)
	require.NoError(t, err)
	other, err := client.ForInstance(creds)
	require.NoError(t, err)
	type service struct {
		Client *zapi.Client
		Creds  zapi.Credentials
		Any    any
		hidden *zapi.Client
	}
	tests := []struct {
		name     string
		value    any
		hasCreds bool
	}{
		{"credentials", creds, true},
		{"pointer to credentials", &creds, true},
		{"client", client, false},
		{"another instance", other, false},
		{"client by value", *client, false},
		{"struct", service{client, creds, creds, client}, true},
		{"pointer to struct", &service{client, creds, &creds, client}, true},
		{"map", map[string]any{"client": client, "creds": creds}, true},
		{"slice", []any{client, creds}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for what, text := range printed(t, tt.value) {
				// A Credentials is plain strings to what looks past its methods: a failing assertion, and the verbs %p and %w on
				// what is no pointer and no error, which go vet refuses.
				looksPast := what == "assertion" || strings.HasSuffix(what, "p") || strings.HasSuffix(what, "w")
				if looksPast && tt.hasCreds {
					continue
				}
				assertNoQuote(t, creds, text, what)
			}
		})
	}
	for what, text := range map[string]string{
		"%v":      fmt.Sprintf("%v", client),
		"%#v":     fmt.Sprintf("%#v", creds),
		"JSON":    string(must(json.Marshal(map[string]any{"client": client}))),
		"JSON of": string(must(json.Marshal(creds))),
	} {
		assert.Contains(t, text, creds.InstanceID, what)
	}
	assert.Equal(t, creds.InstanceID, client.LogValue().String())
	assert.Equal(t, creds.InstanceID, creds.LogValue().String())
	assert.Equal(t, `zapi.Credentials("`+creds.InstanceID+`")`, creds.String(), "some printers look for String only")
	assert.Equal(t, "<nil>", fmt.Sprint((*zapi.Client)(nil)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// setCredential returns creds with another value in one field.
func setCredential(field, value string) zapi.Credentials {
	c := creds
	switch field {
	case "InstanceID":
		c.InstanceID = value
	case "Token":
		c.Token = value
	case "ClientToken":
		c.ClientToken = value
	}
	return c
}

// assertRefusedCredentials asserts that every way to make a client refuses c and quotes nothing of it.
func assertRefusedCredentials(t *testing.T, c zapi.Credentials, field string, given ...string) {
	t.Helper()
	api, err := zapi.NewAPI()
	require.NoError(t, err)
	client, err := zapi.NewClient(creds)
	require.NoError(t, err)
	for op, instance := range map[string]func() (*zapi.Client, error){
		"NewClient":   func() (*zapi.Client, error) { return zapi.NewClient(c) },
		"Instance":    func() (*zapi.Client, error) { return api.Instance(c) },
		"ForInstance": func() (*zapi.Client, error) { return client.ForInstance(c) },
	} {
		made, err := instance()
		assertRefused(t, err, op, field, append(given, c.Token, c.ClientToken)...)
		require.ErrorIs(t, err, zapi.ErrInvalidCredentials)
		assert.Equal(t, "invalid credentials", zapi.Kind(err))
		assert.Nil(t, made)
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	everywhere := map[string]string{
		"empty": "", "newline": "secret\nX: y", "return": "secret\r", "NUL": "secret\x00", "delete": "secret\x7f", "space before": " secret",
		"space behind": "secret ", "space within": "secret x", "space": " ", "tab": "secret\tx", "accent": "sécret",
		"byte order mark": "\ufeffsecret", "zero-width space": "secret\u200b", "no-break space": "secret\u00a0x", "direction mark": "\u202asecret\u202c",
		"C1 control": "secret\u0085x", "invalid UTF-8": "secret\xff",

		"double quotes": `"secret"`, "single quotes": "'secret'", "backquotes": "`secret`", "curly quotes": "“secret”", "one quote": `secret"`,
		"variable": "$SECRET", "variable in braces": "${SECRET}", "template": "{{secret}}", "percent variable of a shell": "%{SECRET}",
		"placeholder of a manual": "<secret>", "placeholder in brackets": "[secret]", "comma behind": "secret,", "semicolon behind": "secret;",
		"dots and a semicolon": "..;secret", "alternatives": "secret|secret2", "command": "$(secret)", "JSON": `{"token":"secret"}`,
	}
	inPath := map[string]string{
		"dot": ".", "dots": "..", "slash": "secret/x", "backslash": `secret\x`, "question mark": "secret?x", "number sign": "secret#x",
		"percent": "secret%41", "the URL of the panel": "https://api.z-api.io/instances/3C01/token/secret/send-text",
	}
	for _, field := range []string{"InstanceID", "Token", "ClientToken"} {
		for name, value := range everywhere {
			t.Run(field+" "+name, func(t *testing.T) {
				t.Parallel()
				assertRefusedCredentials(t, setCredential(field, value), field, value, "secret", "SECRET")
			})
		}
		if field == "ClientToken" {
			continue
		}
		for name, value := range inPath {
			t.Run(field+" "+name, func(t *testing.T) {
				t.Parallel()
				assertRefusedCredentials(t, setCredential(field, value), field, value, "secret")
			})
		}
	}
}

// Of the printable characters, each is accepted or refused by itself.
func TestCharactersOfCredentials(t *testing.T) {
	t.Parallel()
	const refused, refusedInPath = "\"'<>{}[]$,;|` ", `/\?#%`
	api, err := zapi.NewAPI()
	require.NoError(t, err)
	for _, field := range []string{"InstanceID", "Token", "ClientToken"} {
		for c := byte(' '); c <= '~'; c++ {
			value := "9B1F" + string(c) + "7A0S"
			_, err := api.Instance(setCredential(field, value))
			if strings.IndexByte(refused, c) >= 0 || field != "ClientToken" && strings.IndexByte(refusedInPath, c) >= 0 {
				assertRefused(t, err, "Instance", field, value)
				continue
			}
			require.NoError(t, err, "%s with %q", field, c)
		}
	}
}

// A secret that is a word of the API would be redacted in responses, which would then mean something else.
func TestSecretsThatAreWordsOfTheAPI(t *testing.T) {
	t.Parallel()
	refused := []string{
		"success", "SUCCESS", "message", "disallowedContacts", "disallowedcontacts", "Contacts", "connected", "smartphoneConnected", "client-token",
		"Client-Token", "configured", "allowed", "instance", "not_found", "NOT_FOUND", "restore", "session.",
	}
	for _, field := range []string{"Token", "ClientToken"} {
		for _, word := range refused {
			t.Run(field+" "+word, func(t *testing.T) {
				t.Parallel()
				c := setCredential(field, word)
				_, err := zapi.NewClient(c)
				require.EqualError(t, err, "zapi: NewClient: "+field+": must not be a word of the API's responses")
				require.ErrorIs(t, err, zapi.ErrInvalidCredentials)
			})
		}
		for _, accepted := range []string{"error", "true", "false", "success-9B1F", "1"} { // fewer than six characters are not redacted
			_, err := zapi.NewClient(setCredential(field, accepted))
			require.NoError(t, err, "%s %s", field, accepted)
		}
	}
}

// The ID is shown in logs and errors, so a secret pasted into it would be, too.
func TestInstanceIDHoldsNoSecret(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, instanceID string }{
		{"the token", creds.Token},
		{"the Client-Token", creds.ClientToken},
		{"the token in lower case", strings.ToLower(creds.Token)},
		{"the token behind the ID", creds.InstanceID + "-" + creds.Token},
		{"the Client-Token before the ID", creds.ClientToken + creds.InstanceID},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assertRefusedCredentials(t, setCredential("InstanceID", tt.instanceID), "InstanceID", tt.instanceID, strings.ToLower(creds.Token))
		})
	}
	_, err := zapi.NewClient(zapi.Credentials{InstanceID: "test", Token: "test", ClientToken: "test"})
	require.NoError(t, err, "values of a test are no secrets")
}

// A secret in the base URL would be seen by middleware and traces.
func TestBaseURLHoldsNoSecret(t *testing.T) {
	t.Parallel()
	odd := zapi.Credentials{InstanceID: "3C01D5A4B6", Token: "t0k+en&9B1F", ClientToken: "F/cl1ent?7A0S"}
	tests := []struct {
		name, base string
		creds      zapi.Credentials
	}{
		{"token", "https://proxy.example.com/" + creds.Token, creds},
		{"part of a segment", "https://proxy.example.com/z-" + creds.Token + "-x/api", creds},
		{"Client-Token", "https://proxy.example.com/" + creds.ClientToken + "/api", creds},
		{"host", "https://9b1f-t0ken.example.com", setCredential("Token", "9b1f-t0ken")},
		{"escaped", "https://proxy.example.com/" + url.PathEscape(odd.ClientToken), odd},
		{"escaped in the other way", "https://proxy.example.com/" + url.QueryEscape(odd.Token), odd},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := zapi.NewClient(tt.creds, zapi.WithBaseURL(tt.base))
			assertRefused(t, err, "NewClient", "Token", tt.base, tt.creds.Token, tt.creds.ClientToken)
			api, err := zapi.NewAPI(zapi.WithBaseURL(tt.base))
			require.NoError(t, err, "it does not know the secrets yet")
			_, err = api.Instance(tt.creds)
			assertRefused(t, err, "Instance", "Token", tt.base, tt.creds.Token, tt.creds.ClientToken)
		})
	}
}

func TestCredentialsReachTheWireAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"/", "/a%2Fb", "/{placeholder}"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var path, clientToken string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path, clientToken = r.URL.Path, r.Header.Get("Client-Token")
				_, _ = io.WriteString(w, `{"success":true}`)
			}))
			t.Cleanup(server.Close)
			odd := zapi.Credentials{InstanceID: "!&()*+-.:=@^_x~", Token: "~_^@=:.-+*)(&!", ClientToken: `F!#%&()*+-./:=?@\^_~`}
			client, err := zapi.NewClient(odd, zapi.WithBaseURL(server.URL+base))
			require.NoError(t, err)
			require.NoError(t, setOnline(t.Context(), client))
			prefix := strings.TrimSuffix(strings.ReplaceAll(base, "%2F", "/"), "/")
			assert.Equal(t, prefix+"/instances/"+odd.InstanceID+"/token/"+odd.Token+"/privacy/online", path)
			assert.Equal(t, odd.ClientToken, clientToken)
		})
	}
}

func TestInstancesDoNotCross(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path+" "+r.Header.Get("Client-Token")]++
		mu.Unlock()
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	assert.Equal(t, creds.InstanceID, first.InstanceID())
	const instances, callsEach = 50, 10
	var wg sync.WaitGroup
	for i := range instances {
		c := zapi.Credentials{InstanceID: fmt.Sprint("instance", i), Token: fmt.Sprint("token", i), ClientToken: fmt.Sprint("client", i)}
		client, err := first.ForInstance(c)
		require.NoError(t, err)
		assert.Equal(t, c.InstanceID, client.InstanceID())
		for range callsEach {
			wg.Go(func() { assert.NoError(t, setOnline(t.Context(), client)) })
		}
	}
	wg.Wait()
	want := map[string]int{}
	for i := range instances {
		want[fmt.Sprintf("/instances/instance%d/token/token%d/privacy/online client%d", i, i, i)] = callsEach
	}
	assert.Equal(t, want, seen)
}

func TestCredentialsFromEnv(t *testing.T) {
	tests := []struct {
		name                    string
		instance, token, token2 string
		missing                 string
	}{
		{"all", creds.InstanceID, creds.Token, creds.ClientToken, ""},
		{"none", "", "", "", "ZAPI_INSTANCE_ID, ZAPI_TOKEN"},
		{"no instance", "", creds.Token, creds.ClientToken, "ZAPI_INSTANCE_ID"},
		{"no token", creds.InstanceID, "", creds.ClientToken, "ZAPI_TOKEN"},
		{"no Client-Token", creds.InstanceID, creds.Token, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ZAPI_INSTANCE_ID", tt.instance)
			t.Setenv("ZAPI_TOKEN", tt.token)
			t.Setenv("ZAPI_CLIENT_TOKEN", tt.token2)
			got, err := zapi.CredentialsFromEnv()
			if tt.missing != "" {
				assertRefused(t, err, "CredentialsFromEnv", tt.missing, creds.Token, creds.ClientToken)
				require.ErrorIs(t, err, zapi.ErrInvalidCredentials)
				assert.Zero(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, zapi.Credentials{InstanceID: tt.instance, Token: tt.token, ClientToken: tt.token2}, got)
			_, err = zapi.NewClient(got)
			if tt.token2 == "" {
				require.EqualError(t, err, "zapi: NewClient: ClientToken: must not be empty: set ZAPI_CLIENT_TOKEN, or use WithoutClientToken if the account has none")
				_, err = zapi.NewClient(got, zapi.WithoutClientToken())
			}
			require.NoError(t, err)
		})
	}
}

func TestCredentialsFromJSON(t *testing.T) {
	t.Parallel()
	var got zapi.Credentials
	text := `{"instanceId":"` + creds.InstanceID + `","token":"` + creds.Token + `","clientToken":"` + creds.ClientToken + `"}`
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.Equal(t, creds, got)
	encoded, err := json.Marshal(got)
	require.NoError(t, err)
	assert.Equal(t, `"`+creds.InstanceID+`"`, string(encoded), "what is written is silent")
}
