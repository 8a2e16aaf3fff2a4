package main

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
	timeout     = 30 * time.Second // the SDK's default
	maxBody     = 1 << 20
	idlePerHost = 512 // the SDK's pool

	disallowed = "554411111111"
	allowed    = "554422222222"
)

// creds are as long as real ones.
var creds = zapi.Credentials{
	InstanceID:  "3C01D5A4B6F27E983D02E6B5C7A38F09",
	Token:       "70C4D2E79B1F4A6D8E3C5B7A",
	ClientToken: "F5e2c1d87a0b4f6c9d3e8a1b2c4d6f7e0S",
}

// call sets last seen to CONTACT_BLACKLIST with two changes; it may be called concurrently.
type call func(context.Context) error

// variant is one way to write the call. Without a transport it makes its own pool.
type variant struct {
	name  string
	build func(baseURL string, transport http.RoundTripper) (call, error)
}

var variants = []variant{
	{"zapi", newZapi},
	{"resty", newResty},
	{"resty+timeout", newRestyTimeout},
	{"handwritten", newHandwritten},
	{"floor", newFloor},
}

func newZapi(baseURL string, transport http.RoundTripper) (call, error) {
	client, err := newClient(baseURL, transport)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return setLastSeen(ctx, client) }, nil
}

// newClient makes a client with the default options.
func newClient(baseURL string, transport http.RoundTripper) (*zapi.Client, error) {
	opts := []zapi.Option{zapi.WithBaseURL(baseURL)}
	if transport != nil {
		opts = append(opts, zapi.WithTransport(transport))
	}
	return zapi.NewClient(creds, opts...)
}

func setLastSeen(ctx context.Context, client *zapi.Client) error {
	return client.SetLastSeen(ctx, zapi.VisibilityContactBlacklist, zapi.Disallow(disallowed), zapi.Allow(allowed))
}

// lastSeen and change are the body as its own code would declare it.
type lastSeen struct {
	Visibility string   `json:"visualizationType"`
	Blacklist  []change `json:"contactsBlacklist"`
}

type change struct {
	Action string `json:"action"`
	Phone  string `json:"phone"`
}

func newBody() lastSeen {
	return lastSeen{"CONTACT_BLACKLIST", []change{{"add", disallowed}, {"remove", allowed}}}
}

func path(creds zapi.Credentials) string {
	return "/instances/" + creds.InstanceID + "/token/" + creds.Token + "/privacy/last-seen"
}

func newResty(baseURL string, transport http.RoundTripper) (call, error) {
	return newRestyBounded(baseURL, transport, 0)
}

// newRestyTimeout has the bound on a call that zapi and the handwritten code have; resty has none by itself.
func newRestyTimeout(baseURL string, transport http.RoundTripper) (call, error) {
	return newRestyBounded(baseURL, transport, timeout)
}

func newRestyBounded(baseURL string, transport http.RoundTripper, timeout time.Duration) (call, error) {
	client, err := newRestyClient(baseURL, creds)
	if err != nil {
		return nil, err
	}
	client.SetTimeout(timeout)
	if transport != nil {
		client.SetTransport(transport)
	}
	return func(ctx context.Context) error { return callResty(ctx, client, creds) }, nil
}

func newRestyClient(baseURL string, creds zapi.Credentials) (*resty.Client, error) {
	sdk, err := sentBySDK()
	if err != nil {
		return nil, err
	}
	return resty.New().
		SetBaseURL(baseURL).
		SetHeader("Client-Token", creds.ClientToken).
		SetHeader("Accept", "application/json").
		SetHeader("User-Agent", sdk.request.UserAgent()), nil
}

func callResty(ctx context.Context, client *resty.Client, creds zapi.Credentials) error {
	var result struct {
		Success bool `json:"success"`
	}
	resp, err := client.R().
		SetContext(ctx).
		SetHeader("Content-Type", "application/json").
		SetBody(newBody()).
		SetResult(&result).
		Post(path(creds))
	if err != nil {
		return err
	}
	if resp.IsError() || !result.Success {
		return fmt.Errorf("no success: %s", resp.Status())
	}
	return nil
}

func newHandwritten(baseURL string, transport http.RoundTripper) (call, error) {
	sdk, err := sentBySDK()
	if err != nil {
		return nil, err
	}
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
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path(creds), bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Client-Token", creds.ClientToken)
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", sdk.request.UserAgent())
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // up to EOF is drained
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("no success: %s", resp.Status)
		}
		var result struct {
			Success *bool `json:"success"`
		}
		if err := json.Unmarshal(answer, &result); err != nil {
			return err
		}
		if result.Success == nil || !*result.Success {
			return errors.New("no success")
		}
		return nil
	}, nil
}

// scratch is what one call of the floor needs, for the next one to use again.
type scratch struct {
	request *http.Request
	body    *bytes.Reader
	buffer  []byte
}

func newFloor(baseURL string, transport http.RoundTripper) (call, error) {
	sdk, err := sentBySDK()
	if err != nil {
		return nil, err
	}
	template, err := http.NewRequestWithContext(context.Background(), http.MethodPost, baseURL+path(creds), http.NoBody)
	if err != nil {
		return nil, err
	}
	transport = orPool(transport)
	pool := sync.Pool{New: func() any {
		body := bytes.NewReader(sdk.body)
		request := template.Clone(context.Background())
		request.Header = sdk.request.Header.Clone()
		request.Body, request.ContentLength = io.NopCloser(body), body.Size()
		return &scratch{request, body, make([]byte, 512)}
	}}
	return func(context.Context) error {
		s := pool.Get().(*scratch)
		defer pool.Put(s)
		s.body.Reset(sdk.body)
		resp, err := transport.RoundTrip(s.request)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = resp.Body.Read(s.buffer)
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}, nil
}

// orPool is transport, or a pool like that of the SDK.
func orPool(transport http.RoundTripper) http.RoundTripper {
	if transport != nil {
		return transport
	}
	pooled := http.DefaultTransport.(*http.Transport).Clone()
	pooled.MaxIdleConns = 0
	pooled.MaxIdleConnsPerHost = idlePerHost
	return pooled
}

// sentBySDK is the request that all variants send.
var sentBySDK = sync.OnceValues(func() (*recorder, error) {
	sdk := &recorder{}
	send, err := newZapi(memoryURL, sdk)
	if err != nil {
		return nil, err
	}
	return sdk, send(context.Background())
})
