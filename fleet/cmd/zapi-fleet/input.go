package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

// readPolicy reads a policy from YAML, of which JSON is a part.
func readPolicy(path string) (policy zapi.Policy, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return policy, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&policy); err != nil && !errors.Is(err, io.EOF) {
		return policy, errors.New(phones.ReplaceAllString(err.Error(), "…"))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return policy, errors.New("must be one document")
	}
	return policy, nil
}

// phones matches what an error of the YAML library may quote.
var phones = regexp.MustCompile(`\+?\(?\d(?:[\s\p{Z}().\-/]*\d){6,}`)

// validName is what [fleet.Target] allows. It is checked here, too, so that nothing is ordered of a file that is wrong.
var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func readTargets(path string) (iter.Seq[fleet.Target], error) {
	var targets []fleet.Target
	accounts := make(map[string]string)
	err := readCSV(path, []string{"account", "instance"}, func(row []string) error {
		account, instance := row[0], row[1]
		if !validName.MatchString(account) || !validName.MatchString(instance) {
			return errors.New("account and instance must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
		}
		if found, ok := accounts[instance]; ok && found != account {
			return errors.New("the instance has another account on an earlier line")
		}
		accounts[instance] = account
		targets = append(targets, fleet.Target{Account: account, Instance: instance})
		return nil
	})
	return slices.Values(targets), err
}

// credentials are those of instances, by their IDs.
type credentials map[string]zapi.Credentials

func readCredentials(path string) (credentials, error) {
	creds := make(credentials)
	api, err := zapi.NewAPI(zapi.WithoutClientToken())
	if err != nil {
		return nil, err
	}
	err = readCSV(path, []string{"instance", "token", "clientToken"}, func(row []string) error {
		c := zapi.Credentials{InstanceID: row[0], Token: row[1], ClientToken: row[2]}
		if found, ok := creds[row[0]]; ok && found != c {
			return errors.New("the instance has other credentials on an earlier line")
		}
		creds[row[0]] = c
		_, err := api.Instance(c) // checks them
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("-credentials: %w", err)
	}
	return creds, nil
}

// credentialsFile resolves instances from a file.
type credentialsFile struct {
	path  string
	stamp string // of the file that was looked at
	creds atomic.Pointer[credentials]
}

// Credentials implements [fleet.Resolver]. From here on, a call is in flight.
func (c *credentialsFile) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	inFlight.WithLabelValues(t.Account).Inc()
	creds, ok := (*c.creds.Load())[t.Instance]
	if !ok {
		return creds, fleet.ErrElsewhere // the file may list a part of them
	}
	return creds, nil
}

// read reads the file again if it has changed. One that is wrong changes nothing: it may be half written.
func (c *credentialsFile) read() (changed bool, err error) {
	info, err := os.Stat(c.path)
	stamp := fmt.Sprint(err)
	if err == nil {
		stamp = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
	}
	if stamp == c.stamp {
		return false, nil
	}
	c.stamp = stamp
	if err != nil {
		return false, fmt.Errorf("-credentials: %w", err)
	}
	creds, err := readCredentials(c.path)
	if err != nil {
		return false, err
	}
	c.creds.Store(&creds)
	return true, nil
}

// readCSV reads a file with a header that has the columns, in any order. Errors name the line and quote no value.
func readCSV(path string, columns []string, add func(row []string) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))) // spreadsheets write a byte order mark
	reader.TrimLeadingSpace = true
	header, err := reader.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	positions := make([]int, len(columns))
	for i, column := range columns {
		positions[i] = slices.IndexFunc(header, func(name string) bool { return strings.TrimSpace(name) == column })
		if positions[i] < 0 {
			return fmt.Errorf("the first line must name the columns %s, in UTF-8 and separated by commas", strings.Join(columns, ", "))
		}
	}
	for rows := 0; ; rows++ {
		record, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF) && rows == 0:
			return errors.New("has no rows")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		row := make([]string, len(columns))
		for i, position := range positions {
			row[i] = strings.TrimSpace(record[position])
		}
		if err := add(row); err != nil {
			line, _ := reader.FieldPos(0)
			return fmt.Errorf("record on line %d: %w", line, err)
		}
	}
}
