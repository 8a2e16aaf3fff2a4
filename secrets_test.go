package zapi_test

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zapi-go/zapi"
)

// The Content-Length is not trusted: a false or huge one changes nothing.
func TestContentLengthIsOnlyAHint(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{-1, 0, 1, 15, 16, 1 << 20, 1 << 21, 1 << 60} {
		network := transportFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := succeeding(req)
			resp.ContentLength = length
			return resp, err
		})
		client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client), length)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	const documented = `{"success":true}`
	large := `{"success":true,"pad":"` + strings.Repeat("x", 1<<20-26) + `"}`
	require.Len(t, large, 1<<20-1)
	packed := gzipped(t, documented)
	packedHeader := func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip") }
	tests := []struct {
		name    string
		handler http.HandlerFunc
		check   func(*testing.T, error)
	}{
		{"up to 1 MiB is read", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }, succeeds},
		{"beyond it is no response", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, documented+strings.Repeat(" ", 1<<20))
		}, isUnexpected("unexpected response: the body is larger than 1 MiB")},
		{"gzip", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, packed)
		}, succeeds},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, gzipped(t, documented+strings.Repeat(" ", 64<<20)))
		}, isUnexpected("unexpected response: the body is larger than 1 MiB")},
		{"gzip that is none", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, documented)
		}, isUnexpected("unexpected response: the body is not gzip, although its header says so")},
		{"cut gzip", func(w http.ResponseWriter, _ *http.Request) {
			packedHeader(w)
			_, _ = io.WriteString(w, packed[:len(packed)/2])
		}, isTransport(io.ErrUnexpectedEOF)},
		{"cut body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, documented)
		}, isTransport(io.ErrUnexpectedEOF)},
		{"cut body of an error", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, documented)
		}, isTransport(io.ErrUnexpectedEOF)},
		{"connection closed without a response", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, isTransport(io.EOF)},
		{"endless header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
		}, isTransport(nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.check(t, setOnline(t.Context(), serve(t, tt.handler)))
		})
	}
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	require.NoError(t, err)
}

func isUnexpected(text string) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		require.EqualError(t, err, "zapi: privacy/online: "+text)
		assertKind(t, zapi.ErrUnexpectedResponse, err)
	}
}

// What the transport did not decompress cannot be redacted. The transport decompresses gzip only, and asks for it only.
func TestEncodedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	const reason = "the body is compressed, although no compression was asked for"
	page := gzipped(t, `{"error":"`+creds.ClientToken+` not allowed"}`)
	tests := []struct {
		name     string
		status   int
		body     string
		want     error
		wantText string
		attempts int
	}{
		{"success", 200, gzipped(t, `{"success":true}`), zapi.ErrUnexpectedResponse, "unexpected response: " + reason, 1},
		{"success that is not encoded", 200, `{"success":true}`, zapi.ErrUnexpectedResponse, "unexpected response: " + reason, 1},
		{"bad request", 400, page, errOfNoKind, "400 Bad Request", 1},
		{"unauthorized", 401, page, zapi.ErrUnexpectedResponse, "401 Unauthorized: the response is a page of a proxy or firewall, not the API's", 1},
		{"forbidden", 403, page, zapi.ErrUnexpectedResponse, "403 Forbidden: the response is a page of a proxy or firewall, not the API's", 1},
		{"not found", 404, page, zapi.ErrUnexpectedResponse, "404 Not Found: the response is a page of a proxy or firewall, not the API's", 1},
		{"method not allowed", 405, page, zapi.ErrMethodNotAllowed, "405 Method Not Allowed", 1},
		{"too many requests", 429, page, zapi.ErrRateLimited, "429 Too Many Requests (3 attempts)", 3},
		{"unavailable", 503, page, zapi.ErrUnavailable, "503 Service Unavailable (3 attempts)", 3},
		{"not implemented", 501, page, zapi.ErrUnavailable, "501 Not Implemented", 1},
		{"forbidden without a body", 403, "", zapi.ErrUnauthorized, "403 Forbidden", 1},
		{"method not allowed without a body", 405, "", zapi.ErrMethodNotAllowed, "405 Method Not Allowed", 1},
	}
	for _, tt := range tests {
		for _, encoding := range []string{"gzip", "x-gzip", "br", "deflate", "zstd", "GZIP, br"} {
			for name, opts := range map[string][]zapi.Option{"": nil, ", below a middleware": {wrapping}} {
				t.Run(tt.name+" in "+encoding+name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						packed := responding(tt.status, tt.body).HeaderSet(http.Header{"Content-Encoding": {encoding}})
						network := &script{steps: []step{step(packed)}}
						err := setOnline(t.Context(), network.client(t, opts...))
						var apiErr *zapi.APIError
						require.ErrorAs(t, err, &apiErr)
						require.EqualError(t, err, "zapi: privacy/online: "+tt.wantText)
						assertKind(t, tt.want, err)
						assert.Empty(t, apiErr.Body)
						assert.Len(t, network.at, tt.attempts)

						recovering := &script{steps: []step{step(packed), status(200)}}
						err = setOnline(t.Context(), recovering.client(t, opts...))
						assert.Equal(t, tt.attempts > 1, err == nil, "%v", err)
					})
				})
			}
		}
	}
}

// "identity" is the word for no encoding. A second header may still name one.
func TestBodiesThatAreNotEncoded(t *testing.T) {
	t.Parallel()
	const echo = `{"error":"token-of-a-test"}`
	withToken := creds
	withToken.Token = "token-of-a-test"
	tests := []struct {
		name      string
		encodings []string
		want      string
	}{
		{"none", nil, "[REDACTED]: status 200 with an error in the body"},
		{"empty", []string{""}, "[REDACTED]: status 200 with an error in the body"},
		{"identity", []string{"identity"}, "[REDACTED]: status 200 with an error in the body"},
		{"in capitals", []string{"Identity"}, "[REDACTED]: status 200 with an error in the body"},
		{"empty, then br", []string{"", "br"}, "the body is compressed, although no compression was asked for"},
		{"identity, then gzip", []string{"identity", "gzip"}, "the body is compressed, although no compression was asked for"},
		{"identity and br in one", []string{"identity, br"}, "the body is compressed, although no compression was asked for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock := httpmock.NewMockTransport()
			mock.RegisterNoResponder(responding(200, echo).HeaderSet(http.Header{"Content-Encoding": tt.encodings}))
			client, err := zapi.NewClient(withToken, zapi.WithTransport(mock))
			require.NoError(t, err)
			require.EqualError(t, setOnline(t.Context(), client), "zapi: privacy/online: unexpected response: "+tt.want)
		})
	}
}

// The same for a body that is not what the header announces, which the transport finds out when it decompresses.
func TestFalseGzip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		status   int
		body     string
		want     error
		requests int32
	}{
		{"success", 200, `{"success":true}`, zapi.ErrUnexpectedResponse, 1},
		{"checksum", 200, corrupt(gzipped(t, `{"success":true}`), -8), zapi.ErrUnexpectedResponse, 1},
		{"block", 200, corrupt(gzipped(t, `{"success":true}`), 10), zapi.ErrUnexpectedResponse, 1},
		{"forbidden", 403, "<html>forbidden</html>", zapi.ErrUnexpectedResponse, 1},
		{"bad request", 400, `{"error":"Invalid phone"}`, errOfNoKind, 1},
		{"unavailable", 503, "<html>unavailable</html>", zapi.ErrUnavailable, 2},
		{"bad gateway", 502, "<html>bad gateway</html>", zapi.ErrUnavailable, 2},
		{"too many requests", 429, "<html>slow down</html>", zapi.ErrRateLimited, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}, zapi.WithRetry(zapi.RetryPolicy{MaxAttempts: 2, MinWait: 1, MaxWait: 1}))
			err := setOnline(t.Context(), client)
			var apiErr *zapi.APIError
			require.ErrorAs(t, err, &apiErr)
			assertKind(t, tt.want, err)
			assert.Equal(t, tt.status, apiErr.StatusCode)
			assert.Empty(t, apiErr.Body)
			assert.Equal(t, tt.requests, requests.Load())
		})
	}
}

// corrupt changes one byte of text, counted from the end if at is negative.
func corrupt(text string, at int) string {
	changed := []byte(text)
	if at < 0 {
		at += len(changed)
	}
	changed[at] ^= 0xff
	return string(changed)
}

func TestNeitherResponseNorError(t *testing.T) {
	t.Parallel()
	network := transportFunc(func(*http.Request) (*http.Response, error) { return nil, nil })
	client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
	require.NoError(t, err)
	require.EqualError(t, setOnline(t.Context(), client), "zapi: privacy/online: no response: the transport returned neither a response nor an error")
}

// dump is a middleware that writes down all it can see.
func dump(seen *strings.Builder) zapi.Option {
	write := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(seen, "%v\n%+v\n%#v\n", v, v, v)
			failed := &failedTest{}
			assert.Equal(failed, []any{v}, v)
			seen.WriteString(failed.text)
		}
	}
	return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (*http.Response, error) {
			request, _ := httputil.DumpRequest(req, true)
			seen.Write(request)
			write(req.URL, req.Header, req, req.Context())
			resp, err := next.RoundTrip(req)
			write(err, req, req.Context())
			if err != nil {
				return resp, err
			}
			if resp.Request != req {
				seen.WriteString("another request in the response: " + creds.Token)
			}
			response, _ := httputil.DumpResponse(resp, true)
			seen.Write(response)
			write(resp, resp.Header, resp.Request, req.Context())
			return resp, err
		})
	})
}

func TestMiddlewareSeesNoSecret(t *testing.T) {
	t.Parallel()
	for i, failure := range failures {
		for _, c := range []zapi.Credentials{creds, awkward} {
			t.Run(failure.name+" with "+c.Token[:5], func(t *testing.T) {
				t.Parallel()
				var seen strings.Builder
				plain := failingCall(t, i, c)
				dumped := failingCall(t, i, c, dump(&seen))
				assert.Contains(t, seen.String(), "/instances/"+c.InstanceID+"/token/-/privacy/last-seen")
				assertNoQuote(t, c, seen.String(), "dump")
				var apiErr *zapi.APIError
				if errors.As(plain, &apiErr) {
					assert.ErrorContains(t, dumped, strings.Split(plain.Error(), "127.0.0.1")[0], "looking on changes nothing")
				}
			})
		}
	}
}

// Half a secret cannot be found and redacted, so middleware gets nothing that may end in one.
func TestMiddlewareSeesNoHalfSecret(t *testing.T) {
	t.Parallel()
	half := creds.ClientToken[:len(creds.ClientToken)-1]
	tests := []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"body cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "page "+half)
		}},
		{"body of broken gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			_, _ = io.WriteString(packed, "page "+half)
			_ = packed.Flush()
			_, _ = io.WriteString(w, "\a") // begins a block of a type that does not exist
		}},
		{"body beyond the limit", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "page"+strings.Repeat(" ", 1<<20-len(half)-4)+creds.ClientToken)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen string
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err != nil {
						return nil, err
					}
					body, err := io.ReadAll(resp.Body)
					seen = fmt.Sprint(string(body), err)
					return nil, err
				})
			})
			require.Error(t, setOnline(t.Context(), serve(t, tt.handler, looking)))
			assert.NotEmpty(t, seen)
			assert.NotContains(t, seen, half)
		})
	}
}

// The trace hooks of the caller's context are run by the transport, below secretTransport.
func TestTraceSeesNoSecret(t *testing.T) {
	t.Parallel()
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Client-Token")+r.URL.Path)
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	var headers, events []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteHeaderField: func(name string, values []string) { headers = append(headers, fmt.Sprint(name, values)) },
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			headers = append(headers, fmt.Sprint(header))
			return nil
		},
		GotConn:      func(info httptrace.GotConnInfo) { events = append(events, fmt.Sprintf("%+v", info)) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { events = append(events, fmt.Sprintf("%+v", info)) },
	})
	require.NoError(t, setOnline(ctx, client))
	assert.Len(t, events, 2, "the other hooks are kept")
	assertNoSecret(t, fmt.Sprint(events), "trace")
	assert.Empty(t, headers)
}

// A server could put a secret of an earlier request into its certificate, where middleware and traces would record it.
func TestCertificatesThatQuoteASecret(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		quote string
		shown bool
	}{
		{"no secret", "api.z-api.io", true},
		{"half a secret", creds.Token[:8], true},
		{"the token", creds.Token, false},
		{"the Client-Token within a text", "page of " + creds.ClientToken + ".", false},
	}
	for _, tt := range tests {
		for major, protocols := range map[int]func(*http.Protocols){
			1: func(p *http.Protocols) { p.SetHTTP1(true) },
			2: func(p *http.Protocols) { p.SetHTTP2(true) },
		} {
			t.Run(fmt.Sprint(tt.name, " over HTTP/", major), func(t *testing.T) {
				t.Parallel()
				certificate, roots := selfSigned(t, tt.quote)
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, `{"success":true}`)
				}))
				server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
				server.EnableHTTP2 = major == 2
				server.StartTLS()
				t.Cleanup(server.Close)
				transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
				protocols(transport.Protocols)
				t.Cleanup(transport.CloseIdleConnections)

				var seen *http.Response
				looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
					return transportFunc(func(req *http.Request) (resp *http.Response, err error) {
						seen, err = next.RoundTrip(req)
						return seen, err
					})
				})
				client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL), zapi.WithTransport(transport), looking, once)
				require.NoError(t, err)
				var states []tls.ConnectionState
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					TLSHandshakeDone: func(state tls.ConnectionState, err error) {
						assert.NoError(t, err)
						states = append(states, state)
					},
				})
				require.NoError(t, setOnline(ctx, client))
				assert.Equal(t, major, seen.ProtoMajor)
				require.Len(t, states, 1, "the hook is called in any case")
				if !tt.shown {
					assert.Nil(t, seen.TLS)
					assert.Equal(t, tls.ConnectionState{}, states[0])
					return
				}
				for _, state := range []tls.ConnectionState{*seen.TLS, states[0]} {
					assert.True(t, state.HandshakeComplete)
					assert.Equal(t, tt.quote, state.PeerCertificates[0].Subject.CommonName)
				}
			})
		}
	}
}

// selfSigned returns a certificate for loopback with a common name, and the roots that trust it.
func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, roots
}

// A real TLS server whose certificate nobody trusts is asked once.
func TestUntrustedServerIsAskedOnce(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			asked.Store(conn.RemoteAddr().String(), true)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := zapi.NewClient(creds, zapi.WithBaseURL(server.URL))
	require.NoError(t, err)
	err = setOnline(t.Context(), client)
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)
	assert.Equal(t, 1, attemptsOf(err))
	connections := 0
	asked.Range(func(any, any) bool { connections++; return true })
	assert.Equal(t, 1, connections)
}

// net/http sends a key of a header map as it stands, so a raw one would be a second field beside the canonical one.
func TestRawHeaderKeysOfMiddleware(t *testing.T) {
	t.Parallel()
	forged := before(func(req *http.Request) error {
		for _, name := range []string{"client-token", "CLIENT-TOKEN", "Client-Token", "accept-encoding", "Accept-encoding", "ACCEPT-ENCODING"} {
			req.Header[name] = []string{"forged"}
		}
		req.Header["x-raw"] = []string{"kept"}
		return nil
	})
	t.Run("to the transport", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(succeeding)
		require.NoError(t, setOnline(t.Context(), api.client(t, forged)))
		header := api.requests()[0].Header
		assert.Equal(t, []string{"kept"}, header["x-raw"]) //nolint:staticcheck // a raw key
		assert.Equal(t, []string{creds.ClientToken}, header["Client-Token"])
		for name := range header {
			assert.False(t, name != "Client-Token" && strings.EqualFold(name, "Client-Token"), name)
			assert.False(t, strings.EqualFold(name, "Accept-Encoding"), name)
		}
	})
	t.Run("on the wire", func(t *testing.T) {
		t.Parallel()
		var header http.Header
		require.NoError(t, setOnline(t.Context(), serve(t, func(w http.ResponseWriter, r *http.Request) {
			header = r.Header
			_, _ = io.WriteString(w, `{"success":true}`)
		}, forged)))
		assert.Equal(t, []string{creds.ClientToken}, header["Client-Token"])
		assert.Equal(t, []string{"gzip"}, header["Accept-Encoding"], "what the transport itself can read")
		assert.Equal(t, []string{"kept"}, header["X-Raw"])
	})
	t.Run("without a Client-Token", func(t *testing.T) {
		t.Parallel()
		api := newMockAPI(succeeding)
		client, err := zapi.NewClient(zapi.Credentials{InstanceID: "without", Token: "token"}, zapi.WithoutClientToken(), zapi.WithTransport(api), forged)
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client))
		for name := range api.requests()[0].Header {
			assert.False(t, strings.EqualFold(name, "Client-Token"), name)
		}
	})
}

func TestMiddlewareOrderAndHeaders(t *testing.T) {
	t.Parallel()
	var order []string
	named := func(name string) zapi.Option {
		return before(func(req *http.Request) error {
			order = append(order, name)
			req.Header.Set("Traceparent", name)
			req.Header.Set("Client-Token", "forged")
			req.Header.Set("Accept-Encoding", "br")
			req.Host = "elsewhere.example.com"
			return nil
		})
	}
	var host string
	api := newMockAPI(func(req *http.Request) (*http.Response, error) {
		host = req.Host
		return succeeding(req)
	})
	require.NoError(t, setOnline(t.Context(), api.client(t, named("outer"), named("inner"))))
	assert.Equal(t, []string{"outer", "inner"}, order)
	header := api.requests()[0].Header
	assert.Equal(t, "inner", header.Get("Traceparent"), "what middleware adds is sent")
	assert.Equal(t, creds.ClientToken, header.Get("Client-Token"))
	assert.Empty(t, header.Get("Accept-Encoding"), "a response that cannot be read cannot be redacted")
	assert.Empty(t, host)
}

// Middleware gets what it needs to know of a response, and nothing that would not be true of it any more.
func TestMiddlewareSeesThePlainResponse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, encoding, body string
		wantErr              string // of reading the body
	}{
		{"plain", "", `{"success":true}`, ""},
		{"encoded", "gzip", gzipped(t, `{"success":true}`), "the body is compressed, although no compression was asked for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := http.Header{"Location": {"https://elsewhere.example.com"}, "X-Request-Id": {"7"}}
			if tt.encoding != "" {
				sent["Content-Encoding"] = []string{tt.encoding}
			}
			kept := sent.Clone()
			network := transportFunc(func(req *http.Request) (*http.Response, error) {
				return &http.Response{
					StatusCode: http.StatusOK, Header: sent, Trailer: http.Header{"X-Trailer": {creds.ClientToken}},
					Body: io.NopCloser(strings.NewReader(tt.body)), ContentLength: int64(len(tt.body)), Request: req,
				}, nil
			})
			var seen *http.Response
			var text string
			var textErr error
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (resp *http.Response, err error) {
					seen, err = next.RoundTrip(req)
					body, bodyErr := io.ReadAll(seen.Body)
					text, textErr = string(body), bodyErr
					return seen, err
				})
			})
			client, err := zapi.NewClient(creds, zapi.WithTransport(network), looking)
			require.NoError(t, err)
			require.Error(t, setOnline(t.Context(), client), "the body was taken away")
			assert.Equal(t, http.Header{"X-Request-Id": {"7"}}, seen.Header)
			assert.Empty(t, seen.Trailer)
			assert.EqualValues(t, -1, seen.ContentLength, "redaction may change the length")
			assert.Equal(t, kept, sent, "the transport's own header is left alone")
			if tt.wantErr == "" {
				require.NoError(t, textErr)
				assert.Equal(t, tt.body, text)
				return
			}
			require.EqualError(t, textErr, tt.wantErr)
			assert.Empty(t, text)
		})
	}
}

func TestBodiesAreClosed(t *testing.T) {
	t.Parallel()
	response := func(body *counting) transportFunc {
		return func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: body, Request: req}, nil
		}
	}
	t.Run("of the transport", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		client, err := zapi.NewClient(creds, zapi.WithTransport(response(body)))
		require.NoError(t, err)
		require.NoError(t, setOnline(t.Context(), client))
		assert.Equal(t, 1, body.closed)
	})
	t.Run("of a middleware", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader(`{"success":true}`)}
		instead := zapi.WithMiddleware(func(http.RoundTripper) http.RoundTripper { return response(body) })
		require.NoError(t, setOnline(t.Context(), newClient(t, succeeding, instead)))
		assert.Equal(t, 1, body.closed)
	})
	t.Run("of a request that is not sent", func(t *testing.T) {
		t.Parallel()
		body := &counting{Reader: strings.NewReader("{}")}
		err := setOnline(t.Context(), newClient(t, succeeding, before(func(req *http.Request) error {
			req.Body, req.URL.Host = body, "elsewhere.example.com"
			return nil
		})))
		require.Error(t, err)
		assert.Equal(t, 1, body.closed)
	})
}

func TestMiddlewareCannotTakeTheSecretsElsewhere(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*http.Request){
		"host":   func(req *http.Request) { req.URL.Host = "evil.example.com" },
		"scheme": func(req *http.Request) { req.URL.Scheme = "http" },
		"path":   func(req *http.Request) { req.URL.Path = "/collect" },
		"suffix": func(req *http.Request) { req.URL.Path += "/../read-receipts" },
		"prefix": func(req *http.Request) { req.URL.Path = "/elsewhere" + req.URL.Path },
		"method": func(req *http.Request) { req.Method = http.MethodGet },
		"body":   func(req *http.Request) { req.Body, req.URL.Host = nil, "evil.example.com" },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newMockAPI(succeeding)
			err := setOnline(t.Context(), api.client(t, before(func(req *http.Request) error {
				change(req)
				return nil
			})))
			isTransport(nil)(t, err)
			assert.EqualError(t, err, "zapi: privacy/online: no response: a middleware changed where the request goes; nothing was sent")
			assert.Empty(t, api.requests())
		})
	}
}

func TestMiddlewareThatRefuses(t *testing.T) {
	t.Parallel()
	open := errors.New("circuit open")
	api := newMockAPI(succeeding)
	err := setOnline(t.Context(), api.client(t, before(func(*http.Request) error { return open })))
	isTransport(open)(t, err)
	assert.Empty(t, api.requests())
}

func TestMiddlewareThatResponds(t *testing.T) {
	t.Parallel()
	respondingWith := func(status int, header http.Header, body io.Reader) zapi.Option {
		return zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return transportFunc(func(req *http.Request) (*http.Response, error) {
				if _, err := next.RoundTrip(req); err != nil { // its response is thrown away
					return nil, err
				}
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: req}, nil
			})
		})
	}
	echo := responding(403, `{"error":"Client-Token `+creds.ClientToken+` not allowed"}`)
	tests := []struct {
		name string
		opt  zapi.Option
		want error
	}{
		{"success", respondingWith(200, nil, strings.NewReader(`{"success":true}`)), nil},
		{"unavailable", respondingWith(503, nil, strings.NewReader("")), zapi.ErrUnavailable},
		{"redirect", respondingWith(307, http.Header{"Location": {"https://evil.example.com"}}, strings.NewReader("")), zapi.ErrUnexpectedResponse},
		{"endless", respondingWith(200, nil, endless{}), zapi.ErrUnexpectedResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assertKind(t, tt.want, setOnline(t.Context(), newClient(t, echo, tt.opt)))
		})
	}
	t.Run("broken", func(t *testing.T) {
		t.Parallel()
		broken := io.MultiReader(strings.NewReader(`{"succ`), readerFunc(func([]byte) (int, error) {
			return 0, &url.Error{Op: "read", URL: creds.Token, Err: io.ErrUnexpectedEOF}
		}))
		err := setOnline(t.Context(), newClient(t, succeeding, respondingWith(200, nil, broken)))
		isTransport(io.ErrUnexpectedEOF)(t, err)
		assertNoSecret(t, err.Error(), "error")
	})
}

// The body of a 101 is the raw connection, and no context ends a read of it.
func TestSwitchingProtocolsFailsAtOnce(t *testing.T) {
	t.Parallel()
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	}, zapi.WithTimeout(0))
	err := setOnline(t.Context(), client)
	require.EqualError(t, err, "zapi: privacy/online: 101 Switching Protocols: the documented status is 200")
	assertKind(t, zapi.ErrUnexpectedResponse, err)
}

func TestResponseWithoutBody(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{200: zapi.ErrUnexpectedResponse, 403: zapi.ErrUnauthorized, 503: zapi.ErrUnavailable} {
		network := transportFunc(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: status}, nil })
		client, err := zapi.NewClient(creds, zapi.WithTransport(network), once)
		require.NoError(t, err)
		assertKind(t, want, setOnline(t.Context(), client))
	}
}

// What a middleware sees of an error of the body is redacted, too.
func TestMiddlewareSeesNoSecretInOddPlaces(t *testing.T) {
	t.Parallel()
	responses := map[string]func(zapi.Credentials) string{
		"a broken trailer": func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + c.ClientToken + "\r\n\r\n"
		},
		"a broken chunk": func(c zapi.Credentials) string {
			return "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n" + c.ClientToken + "\r\n\r\n"
		},
	}
	for name, response := range responses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen strings.Builder
			looking := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err == nil {
						body, bodyErr := io.ReadAll(resp.Body)
						fmt.Fprintf(&seen, "%v %s %v %+v %#v", resp.Header, body, bodyErr, bodyErr, errors.Unwrap(bodyErr))
						resp.Body = io.NopCloser(strings.NewReader(string(body)))
					}
					fmt.Fprintf(&seen, "%v", err)
					return resp, err
				})
			})
			client, err := zapi.NewClient(creds, append(rawResponse(t, response), once, looking)...)
			require.NoError(t, err)
			require.Error(t, setOnline(t.Context(), client))
			assertNoSecret(t, seen.String(), "middleware")
		})
	}
}

// A response that a middleware keeps and uses again was redacted when it came.
func TestReplayedResponseStaysRedacted(t *testing.T) {
	t.Parallel()
	var kept []byte
	caching := zapi.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(req *http.Request) (*http.Response, error) {
			if kept == nil {
				resp, err := next.RoundTrip(req)
				if err != nil {
					return nil, err
				}
				kept, err = io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(strings.NewReader(string(kept)))
				return resp, err
			}
			return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(strings.NewReader(string(kept))), Request: req}, nil
		})
	})
	first := newClient(t, responding(400, `{"error":"`+creds.ClientToken+`"}`), caching)
	second, err := first.ForInstance(zapi.Credentials{InstanceID: "second", Token: "second-token", ClientToken: "second-client-token"})
	require.NoError(t, err)
	for _, client := range []*zapi.Client{first, second} {
		var apiErr *zapi.APIError
		require.ErrorAs(t, setOnline(t.Context(), client), &apiErr)
		assert.JSONEq(t, `{"error":"[REDACTED]"}`, string(apiErr.Body))
	}
}

// Secrets of fewer than six characters are test values: they may be words of every response, and are left alone.
func TestShortSecretsAreLeftAlone(t *testing.T) {
	t.Parallel()
	short := []zapi.Credentials{
		{InstanceID: "1", Token: "wait", ClientToken: "1"}, {InstanceID: "instance", Token: "e", ClientToken: ":"},
		{InstanceID: "instance", Token: "error", ClientToken: "true"}, {InstanceID: "true", Token: "true", ClientToken: "true"},
	}
	tests := []struct {
		name, body string
		status     int
		want       error
	}{
		{"success", `{"success":true}`, 200, nil},
		{"rejected", `{"success":false}`, 200, zapi.ErrRejected},
		{"account token missing", `{"error":"your client-token is not configured"}`, 400, zapi.ErrUnauthorized},
		{"rate limited", `{"error":"wait 120 seconds"}`, 429, zapi.ErrRateLimited},
	}
	for _, tt := range tests {
		for _, c := range short {
			t.Run(tt.name+" with "+c.Token, func(t *testing.T) {
				t.Parallel()
				for _, middleware := range [][]zapi.Option{nil, {wrapping}} {
					response := responding(tt.status, tt.body).HeaderSet(http.Header{"Retry-After": {"120"}})
					client, err := zapi.NewClient(c, append(middleware, zapi.WithTransport(newMockAPI(response)), once)...)
					require.NoError(t, err)
					err = setOnline(t.Context(), client)
					assertKind(t, tt.want, err)
					var apiErr *zapi.APIError
					if errors.As(err, &apiErr) {
						assert.Equal(t, tt.body, string(apiErr.Body))
						assert.Equal(t, 2*time.Minute, apiErr.RetryAfter)
					}
				}
			})
		}
	}
}

// Secrets that could be phones are left alone: redacting them would change the contacts of a list.
func TestSecretsThatCouldBePhones(t *testing.T) {
	t.Parallel()
	const list = `{"disallowedContacts":["554411111111","999999999999999@lid"]}`
	for _, token := range []string{"554411111111", "55441111", "999999999999999"} {
		client, err := zapi.NewClient(setCredential("Token", token), zapi.WithTransport(newMockAPI(responding(200, list))))
		require.NoError(t, err)
		contacts, err := client.DisallowedContacts(t.Context(), zapi.BlacklistPhoto)
		require.NoError(t, err)
		assert.Equal(t, []string{"554411111111", "999999999999999@lid"}, contacts)
	}
}

// A test that forgot a responder learns at once which one.
func TestMissingResponder(t *testing.T) {
	t.Parallel()
	path := "POST /instances/" + creds.InstanceID + "/token/-/privacy/online"
	tests := []struct{ name, method, url, want string }{
		{"another route", "POST", realURL("privacy/photo"), "no responder found: " + path},
		{"another method", "GET", realURL("privacy/online"), `no responder found for method "POST", but one matches method "GET": ` + path},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mock := httpmock.NewMockTransport()
			mock.RegisterResponder(tt.method, tt.url, succeeding)
			client, err := zapi.NewClient(creds, zapi.WithTransport(mock))
			require.NoError(t, err)
			err = setOnline(t.Context(), client)
			require.ErrorContains(t, err, "zapi: privacy/online: no response: "+tt.want)
			require.ErrorIs(t, err, httpmock.NoResponderFound)
			assert.Equal(t, 1, attemptsOf(err))
			assertNoSecret(t, err.Error(), "error")
		})
	}
}

func TestMiddlewareThatDropsTheContext(t *testing.T) {
	t.Parallel()
	api := newMockAPI(succeeding)
	err := setOnline(t.Context(), api.client(t, before(func(req *http.Request) error {
		*req = *req.WithContext(context.Background())
		return nil
	})))
	require.EqualError(t, err, "zapi: privacy/online: no response: a middleware dropped the context of the request; nothing was sent")
	assert.Empty(t, api.requests())
}
