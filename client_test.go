package zapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	assert.Equal(t, "<nil>", fmt.Sprint((*zapi.Client)(nil)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	unfitForPath := map[string]string{
		"empty": "", "dot": ".", "dots": "..", "slash": "secret/x", "backslash": `secret\x`, "question mark": "secret?x", "number sign": "secret#x",
		"percent": "secret%41", "space": "secret x", "space behind": "secret ", "tab": "secret\tx", "newline": "secret\n", "NUL": "secret\x00",
		"delete": "secret\x7f", "accent": "sécret", "invalid UTF-8": "secret\xff",
	}
	unfitForHeader := map[string]string{
		"empty": "", "newline": "secret\nX: y", "return": "secret\r", "NUL": "secret\x00", "delete": "secret\x7f", "space before": " secret", "space behind": "secret ", "space": " ",
		"tab": "sec\tret", "accent": "sécret", "byte order mark": "\ufeffsecret", "zero-width space": "secret\u200b", "no-break space": "sec\u00a0ret",
		"direction mark": "\u202asecret\u202c", "C1 control": "sec\u0085ret", "invalid UTF-8": "secret\xff",
	}
	fields := []struct {
		field  string
		values map[string]string
		set    func(*zapi.Credentials, string)
	}{
		{"InstanceID", unfitForPath, func(c *zapi.Credentials, v string) { c.InstanceID = v }},
		{"Token", unfitForPath, func(c *zapi.Credentials, v string) { c.Token = v }},
		{"ClientToken", unfitForHeader, func(c *zapi.Credentials, v string) { c.ClientToken = v }},
	}
	client, err := zapi.NewClient(creds)
	require.NoError(t, err)
	for _, field := range fields {
		for name, value := range field.values {
			t.Run(field.field+" "+name, func(t *testing.T) {
				t.Parallel()
				c := creds
				field.set(&c, value)
				_, err := zapi.NewClient(c)
				assertRefused(t, err, "NewClient", field.field, value, "secret")
				_, err = client.ForInstance(c)
				assertRefused(t, err, "ForInstance", field.field, value, "secret")
			})
		}
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
			odd := zapi.Credentials{InstanceID: `!"$&'()*+,-.:;<=>@[]^_{x}|~`, Token: `~|}{` + "`" + `_^][@>=<;:.-,+*)('&$"!`, ClientToken: `F!"#$%&'()*+,-./:;<=>?@[\]^_{|}~`}
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
