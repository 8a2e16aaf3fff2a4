// Package bench compares a call of zapi with the same call written with resty and with net/http.
// All of it is tests and benchmarks; BENCHMARKS.md at the root has the commands and the figures.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/zapi-go/zapi"
)

const (
	timeout     = 30 * time.Second // zapi's default
	maxBody     = 1 << 20
	idlePerHost = 512 // zapi's default

	disallowed = "554411111111"
	allowed    = "554422222222"
)

// creds are as long as real ones.
var creds = zapi.Credentials{
	InstanceID:  "3C01D5A4B6F27E983D02E6B5C7A38F09",
	Token:       "70C4D2E79B1F4A6D8E3C5B7A",
	ClientToken: "F5e2c1d87a0b4f6c9d3e8a1b2c4d6f7e0S",
}

// A call sets last seen to CONTACT_BLACKLIST with two changes. It is safe for concurrent use.
type call func(context.Context) error

// A variant is one way to write the call. A nil transport stands for the network.
type variant struct {
	name  string
	build func(baseURL string, transport http.RoundTripper) call
}

// variants are compared with the last one, zapi.
var variants = []variant{
	{"handwritten", newHandwritten},
	{"resty", newResty},
	{"restyTimeout", newRestyTimeout},
	{"zapi", newZapi},
}

func newZapi(baseURL string, transport http.RoundTripper) call {
	client := newClient(baseURL, transport)
	return func(ctx context.Context) error { return setLastSeen(ctx, client) }
}

// newClient returns a client with the default options. Its arguments are those of this package, so an error is a bug here.
func newClient(baseURL string, transport http.RoundTripper) *zapi.Client {
	opts := []zapi.Option{zapi.WithBaseURL(baseURL)}
	if transport != nil {
		opts = append(opts, zapi.WithTransport(transport))
	}
	client, err := zapi.NewClient(creds, opts...)
	if err != nil {
		panic(err)
	}
	return client
}

func setLastSeen(ctx context.Context, client *zapi.Client) error {
	return client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(disallowed), zapi.Allow(allowed))
}

// lastSeen is the body as a program without zapi would declare it.
type lastSeen struct {
	Visibility string   `json:"visualizationType"`
	Changes    []change `json:"contactsBlacklist"`
}

type change struct {
	Action string `json:"action"`
	Phone  string `json:"phone"`
}

func newBody() lastSeen {
	return lastSeen{"CONTACT_BLACKLIST", []change{{"add", disallowed}, {"remove", allowed}}}
}

func path() string {
	return "/instances/" + creds.InstanceID + "/token/" + creds.Token + "/privacy/last-seen"
}

// newResty writes the call as resty's documentation does, but with a connection pool like zapi's.
func newResty(baseURL string, transport http.RoundTripper) call {
	return callOf(newRestyClient(baseURL, transport))
}

// newRestyTimeout adds the limit on the duration of a call that zapi and the handwritten code have.
func newRestyTimeout(baseURL string, transport http.RoundTripper) call {
	return callOf(newRestyClient(baseURL, transport).SetTimeout(timeout))
}

func newRestyClient(baseURL string, transport http.RoundTripper) *resty.Client {
	return resty.New().
		SetTransport(orPool(transport)).
		SetBaseURL(baseURL).
		SetHeader("Client-Token", creds.ClientToken).
		SetHeader("Accept", "application/json").
		SetHeader("User-Agent", userAgent())
}

func callOf(client *resty.Client) call {
	return func(ctx context.Context) error {
		var result struct {
			Success bool `json:"success"`
		}
		resp, err := client.R().
			SetContext(ctx).
			SetHeader("Content-Type", "application/json").
			SetBody(newBody()).
			SetResult(&result).
			Post(path())
		if err != nil {
			return err
		}
		if resp.IsError() || !result.Success {
			return fmt.Errorf("no success: %s", resp.Status())
		}
		return nil
	}
}

// newHandwritten is careful net/http: no redirects, a timeout, a limited read, and a check of the whole response.
func newHandwritten(baseURL string, transport http.RoundTripper) call {
	client := &http.Client{
		Transport:     orPool(transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		body, err := json.Marshal(newBody())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Client-Token", creds.ClientToken)
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", userAgent())
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		response, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("no success: %s", resp.Status)
		}
		var result struct {
			Success *bool `json:"success"`
		}
		if err := json.Unmarshal(response, &result); err != nil {
			return err
		}
		if result.Success == nil || !*result.Success {
			return errors.New("no success")
		}
		return nil
	}
}

// orPool returns transport, or a pool as large as zapi's.
func orPool(transport http.RoundTripper) http.RoundTripper {
	if transport != nil {
		return transport
	}
	pool := http.DefaultTransport.(*http.Transport).Clone()
	pool.MaxIdleConns = 0
	pool.MaxIdleConnsPerHost = idlePerHost
	return pool
}

// userAgent returns zapi's User-Agent, which all variants send.
var userAgent = sync.OnceValue(func() (product string) {
	client := newClient(memoryURL, transportFunc(func(req *http.Request) (*http.Response, error) {
		product = req.UserAgent()
		return memory{}.RoundTrip(req)
	}))
	if err := setLastSeen(context.Background(), client); err != nil {
		panic(err)
	}
	return product
})

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
