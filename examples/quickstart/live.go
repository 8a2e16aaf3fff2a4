package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zapi-go/zapi"
)

// settings are those that flags name. Empty ones are left as they are.
type settings struct {
	lastSeen, photo zapi.Visibility
	online          zapi.OnlineVisibility
}

// change is one setting of s.
type change struct {
	what string
	set  func(context.Context, *zapi.Client) error
}

func (s settings) changes() []change {
	var changes []change
	if s.lastSeen != "" {
		changes = append(changes, change{"last seen: " + string(s.lastSeen), func(ctx context.Context, client *zapi.Client) error {
			return client.SetLastSeen(ctx, s.lastSeen)
		}})
	}
	if s.photo != "" {
		changes = append(changes, change{"photo: " + string(s.photo), func(ctx context.Context, client *zapi.Client) error {
			return client.SetPhotoVisibility(ctx, s.photo)
		}})
	}
	if s.online != "" {
		changes = append(changes, change{"online: " + string(s.online), func(ctx context.Context, client *zapi.Client) error {
			return client.SetOnlineVisibility(ctx, s.online)
		}})
	}
	return changes
}

// runLive shows what s changes on the instance of the environment, and changes it if confirmed. Only tests pass opts.
func runLive(ctx context.Context, out io.Writer, s settings, confirmed bool, opts ...zapi.Option) error {
	creds, err := zapi.CredentialsFromEnv()
	if err != nil {
		return err
	}
	client, err := zapi.NewClient(creds, opts...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "About to set on instance %s of the real API:\n", client.InstanceID())
	for _, c := range s.changes() {
		fmt.Fprintf(out, "    %s\n", c.what)
	}
	if !confirmed {
		return errors.New("nothing was changed: run the same command with -yes to change it")
	}
	fmt.Fprintln(out)
	var failures []error
	for _, c := range s.changes() {
		err := c.set(ctx, client)
		report(out, c.what, err)
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
