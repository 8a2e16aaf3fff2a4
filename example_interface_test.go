package zapi_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/zapi-go/zapi"
)

// A photoSetter is the part of *zapi.Client that hidePhoto needs.
type photoSetter interface {
	SetPhotoVisibility(context.Context, zapi.Visibility, ...zapi.BlacklistChange) error
}

var _ photoSetter = (*zapi.Client)(nil)

func hidePhoto(ctx context.Context, number photoSetter) string {
	err := number.SetPhotoVisibility(ctx, zapi.VisibilityNone)
	if errors.Is(err, zapi.ErrRateLimited) {
		return "later"
	}
	return "done"
}

// limited is a double for tests: each call of it is rate limited.
type limited struct{}

func (limited) SetPhotoVisibility(context.Context, zapi.Visibility, ...zapi.BlacklistChange) error {
	return &zapi.APIError{StatusCode: 429}
}

// A program that wants to replace the client in its tests declares an interface of what it calls.
func ExampleClient() {
	fmt.Println(hidePhoto(context.Background(), limited{}))
	// Output: later
}
