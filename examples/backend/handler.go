package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/zapi-go/zapi"
)

const (
	maxBody                   = 1 << 20 // some ten thousand blacklist changes
	statusClientClosedRequest = 499     // as nginx logs a caller that went away
)

var (
	errNoInstance = errors.New("no such instance")
	errMalformed  = errors.New("malformed body")
)

// service sets the privacy of the instances whose credentials it finds.
type service struct {
	log  *slog.Logger
	api  *zapi.API // shared by all requests
	find findCredentials
}

// A findCredentials returns the credentials of an instance, from wherever a company keeps them; examples/sql reads a table.
// A map of them in the service would show the secrets wherever the service is printed.
type findCredentials func(instanceID string) (creds zapi.Credentials, ok bool)

// audience is the body of the settings that have a blacklist. Its keys are those that zapi's errors name.
type audience struct {
	Visibility zapi.Visibility        `json:"visibility"`
	Changes    []zapi.BlacklistChange `json:"changes"`
}

type online struct {
	Visibility zapi.OnlineVisibility `json:"visibility"`
}

// failure is the body of every response that is not a success.
type failure struct {
	Error  string `json:"error"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func newHandler(log *slog.Logger, api *zapi.API, find findCredentials) http.Handler {
	s := &service{log, api, find}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /instances/{id}/last-seen", put(s, func(ctx context.Context, client *zapi.Client, body audience) error {
		return client.SetLastSeen(ctx, body.Visibility, body.Changes...)
	}))
	mux.HandleFunc("PUT /instances/{id}/photo", put(s, func(ctx context.Context, client *zapi.Client, body audience) error {
		return client.SetPhotoVisibility(ctx, body.Visibility, body.Changes...)
	}))
	mux.HandleFunc("PUT /instances/{id}/online", put(s, func(ctx context.Context, client *zapi.Client, body online) error {
		return client.SetOnlineVisibility(ctx, body.Visibility)
	}))
	return mux
}

// put decodes the body and applies it to the instance of the path.
func put[T any](s *service, apply func(context.Context, *zapi.Client, T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		creds, ok := s.find(r.PathValue("id"))
		if !ok {
			s.fail(w, r, errNoInstance)
			return
		}
		client, err := s.api.Instance(creds) // cheap, and sends nothing
		if err != nil {
			s.fail(w, r, err)
			return
		}
		var body T
		if err := decode(http.MaxBytesReader(w, r.Body, maxBody), &body); err != nil {
			s.fail(w, r, fmt.Errorf("%w: %w", errMalformed, err))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		if err := apply(ctx, client, body); err != nil {
			s.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// decode reads exactly one JSON value without unknown keys.
func decode(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("more than one JSON value"), err)
	}
	return nil
}

// statusOf returns the status for err: 4xx is the caller's to mend, 5xx is ours or the API's.
func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	var transport *zapi.TransportError
	switch {
	case errors.Is(err, context.Canceled):
		return statusClientClosedRequest // nobody reads it
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, zapi.ErrInvalidCredentials), errors.Is(err, zapi.ErrUnauthorized), errors.Is(err, zapi.ErrNotFound):
		return http.StatusInternalServerError // the credentials are ours: no 4xx, and no 502 that invites a repetition
	case errors.Is(err, errMalformed), errors.Is(err, zapi.ErrInvalidArgument):
		return http.StatusBadRequest
	case errors.Is(err, errNoInstance):
		return http.StatusNotFound
	case errors.Is(err, zapi.ErrNotConnected), errors.Is(err, zapi.ErrRejected):
		return http.StatusConflict // the number's state forbids it: no 503, which would wake whoever is on call
	case errors.Is(err, zapi.ErrRateLimited):
		return http.StatusServiceUnavailable
	case errors.As(err, &transport) && transport.Timeout():
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// fail sends the caller what it can act on, and logs the rest.
func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	body := failure{Error: err.Error()}
	var invalid *zapi.ValidationError
	switch {
	case status >= http.StatusInternalServerError:
		s.log.ErrorContext(r.Context(), "not set", "path", r.URL.Path, "status", status, "failure", zapi.Kind(err), "error", err)
		body.Error = http.StatusText(status)
	case errors.Is(err, zapi.ErrNotConnected):
		body.Error = "the number is not connected to WhatsApp: connect it again in the Z-API panel, then repeat"
	case errors.As(err, &invalid):
		body.Field, body.Reason = invalid.Field, invalid.Reason
	}
	if status == http.StatusServiceUnavailable {
		after, _ := zapi.Retryable(err)
		after = max(after, time.Second) // also if the API did not say how long
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the caller went away
}
