package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zapi-go/zapi"
)

var _ PrivacySetter = (*zapi.Client)(nil) // the real one fits

// fake is a PrivacySetter that records its calls and returns errs, one for each call.
type fake struct {
	errs  []error
	calls []string
}

func (f *fake) SetLastSeen(_ context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error {
	return f.record("last seen", v, changes)
}

func (f *fake) SetPhotoVisibility(_ context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error {
	return f.record("photo", v, changes)
}

func (f *fake) SetDescriptionVisibility(_ context.Context, v zapi.Visibility, changes ...zapi.BlacklistChange) error {
	return f.record("description", v, changes)
}

func (f *fake) record(setting string, v zapi.Visibility, changes []zapi.BlacklistChange) (err error) {
	call := setting + " " + string(v)
	for _, change := range changes {
		call += " " + string(change.Action) + " " + change.Phone
	}
	f.calls = append(f.calls, call)
	if len(f.errs) > 0 {
		err, f.errs = f.errs[0], f.errs[1:]
	}
	return err
}

func TestHideWithAFake(t *testing.T) {
	t.Parallel()
	const (
		lastSeen    = "last seen CONTACT_BLACKLIST add 5544911111111"
		photo       = "photo CONTACT_BLACKLIST add 5544911111111"
		description = "description CONTACT_BLACKLIST add 5544911111111"
	)
	// An APIError made by hand matches the kind of its status code.
	rateLimited := &zapi.APIError{StatusCode: http.StatusTooManyRequests, RetryAfter: 30 * time.Second}
	unavailable := &zapi.APIError{StatusCode: http.StatusServiceUnavailable}
	rejected := &zapi.APIError{StatusCode: http.StatusOK, Message: "not now"}
	lost := &zapi.TransportError{Err: errors.New("connection reset")}
	tests := []struct {
		name  string
		errs  []error // of the calls
		want  []error // all that the error of Hide wraps, nil for a success
		calls []string
	}{
		{"all is well", nil, nil, []string{lastSeen, photo, description}},
		{"rate limited at first", []error{rateLimited}, []error{zapi.ErrRateLimited}, []string{lastSeen}},
		{"rate limited later", []error{nil, rateLimited}, []error{zapi.ErrRateLimited}, []string{lastSeen, photo}},
		{"several failures", []error{unavailable, rejected, lost}, []error{zapi.ErrUnavailable, zapi.ErrRejected, lost}, []string{lastSeen, photo, description}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			setter := &fake{errs: tt.errs}
			err := Offboarding{Client: setter}.Hide(t.Context(), "5544911111111")
			assert.Equal(t, tt.want == nil, err == nil)
			for _, want := range tt.want {
				assert.ErrorIs(t, err, want)
			}
			assert.Equal(t, tt.calls, setter.calls)
		})
	}
}
