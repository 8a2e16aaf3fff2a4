package main

import (
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

var errMalformed = errors.New("malformed body")

// A handler sets the privacy of the tenants' numbers.
type handler struct {
	log   *slog.Logger
	api   *zapi.API
	store store
}

func newHandler(log *slog.Logger, api *zapi.API, s store) http.Handler {
	h := handler{log, api, s}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /tenants/{tenant}/privacy", func(w http.ResponseWriter, r *http.Request) {
		h.respond(w, r, h.apply(w, r))
	})
	return mux
}

// apply applies the policy in the body to the number of the tenant.
func (h handler) apply(w http.ResponseWriter, r *http.Request) error {
	var policy zapi.Policy
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err = errors.Join(err, json.Unmarshal(body, &policy)); err != nil { // strict: an unknown key is an error
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	creds, err := h.store.credentials(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	client, err := h.api.Instance(creds) // about 200 bytes; all of them share the connections of the API
	if err != nil {
		return err
	}
	return client.Apply(r.Context(), policy)
}

// statusOf returns the status for err, and with a 503 how long to wait: 4xx is the caller's to mend, 5xx is ours or the API's.
func statusOf(err error) (status int, wait time.Duration) {
	after, again := zapi.Retryable(err)
	switch {
	case errors.Is(err, errNoTenant):
		return http.StatusNotFound, 0
	case errors.Is(err, zapi.ErrInvalidCredentials), errors.Is(err, zapi.ErrUnauthorized), errors.Is(err, zapi.ErrNotFound):
		return http.StatusInternalServerError, 0 // our table is wrong
	case errors.Is(err, errMalformed), errors.Is(err, zapi.ErrInvalidArgument):
		return http.StatusBadRequest, 0
	case errors.Is(err, zapi.ErrNotConnected), errors.Is(err, zapi.ErrRejected):
		return http.StatusConflict, 0 // the state of the number forbids it
	case again:
		return http.StatusServiceUnavailable, max(after, time.Second)
	}
	return http.StatusInternalServerError, 0 // such as a database that is away, or a response that nobody expected
}

// respond sends what the caller can act on, and logs the rest.
func (h handler) respond(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status, wait := statusOf(err)
	body := map[string]any{"error": err.Error()}
	if status >= http.StatusInternalServerError {
		h.log.ErrorContext(r.Context(), "privacy not set", "tenant", r.PathValue("tenant"), "failure", zapi.Kind(err), "error", err)
		body["error"] = http.StatusText(status)
	}
	var incomplete *zapi.ApplyError
	if errors.As(err, &incomplete) && len(incomplete.Applied) > 0 {
		body["applied"] = incomplete.Applied // keys of the policy; the same request completes the others
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the caller went away
}
