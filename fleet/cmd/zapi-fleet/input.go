package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

// readPolicy reads a policy from YAML, of which JSON is a part.
func readPolicy(path string) (zapi.Policy, error) {
	var policy zapi.Policy
	data, err := os.ReadFile(path)
	if err != nil {
		return policy, fmt.Errorf("-policy: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&policy); err != nil && !errors.Is(err, io.EOF) {
		return policy, fmt.Errorf("-policy: %s: %s", path, phones.ReplaceAllString(err.Error(), "…"))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return policy, fmt.Errorf("-policy: %s: must be one document", path)
	}
	return policy, nil
}

// phones matches what an error of the YAML library may quote.
var phones = regexp.MustCompile(`\+?\(?\d(?:[\s\p{Z}().\-/]*\d){6,}`)

// validName is what [fleet.Target] allows. It is checked here, too, so that nothing is ordered of a file that is wrong.
var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func readTargets(path string) ([]fleet.Target, error) {
	var targets []fleet.Target
	accounts := make(map[string]string)
	err := readCSV("-targets", path, []string{"account", "instance"}, func(row []string) error {
		for _, name := range row {
			if !validName.MatchString(name) {
				return errors.New("account and instance must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
			}
		}
		if found, ok := accounts[row[1]]; ok && found != row[0] {
			return errors.New("the instance has another account on an earlier line")
		}
		accounts[row[1]] = row[0]
		targets = append(targets, fleet.Target{Account: row[0], Instance: row[1]})
		return nil
	})
	return targets, err
}

// credentials resolves instances from a file.
type credentials map[string]zapi.Credentials

func (c credentials) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	creds, ok := c[t.Instance]
	if !ok {
		return creds, fleet.ErrElsewhere // the file may list a part of them
	}
	return creds, nil
}

// credentialsFile resolves instances from a file, which is read again when it has changed.
type credentialsFile struct {
	path string
	say  func(format string, args ...any)

	mu     sync.Mutex
	creds  credentials
	looked time.Time
	stamp  string // of the file that was read
}

// lookEvery is how often the file is looked at.
const lookEvery = 2 * time.Second

// Credentials implements [fleet.Resolver]. A file that is wrong changes nothing: it may be half written.
func (c *credentialsFile) Credentials(ctx context.Context, t fleet.Target) (zapi.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > lookEvery {
		c.looked = time.Now()
		if err := c.read(); err != nil {
			c.say("%s; going on with the credentials that were read before", oneLine(err))
		}
	}
	return c.creds.Credentials(ctx, t)
}

func (c *credentialsFile) read() error {
	info, err := os.Stat(c.path)
	if err != nil {
		return fmt.Errorf("-credentials: %w", err)
	}
	stamp := fmt.Sprint(info.ModTime().UnixNano(), info.Size())
	if stamp == c.stamp {
		return nil
	}
	first := c.stamp == ""
	c.stamp = stamp
	creds, err := readCredentials(c.path)
	if err != nil {
		return err
	}
	if c.creds = creds; !first {
		c.say("credentials read again: %s instances", number(len(creds)))
	}
	return nil
}

func readCredentials(path string) (credentials, error) {
	creds := make(credentials)
	api, err := zapi.NewAPI(zapi.WithoutClientToken())
	if err != nil {
		return nil, err
	}
	err = readCSV("-credentials", path, []string{"instance", "token", "clientToken"}, func(row []string) error {
		c := zapi.Credentials{InstanceID: row[0], Token: row[1], ClientToken: row[2]}
		if found, ok := creds[row[0]]; ok && found != c {
			return errors.New("the instance has other credentials on an earlier line")
		}
		creds[row[0]] = c
		_, err := api.Instance(c) // checks them
		return err
	})
	return creds, err
}

// readCSV reads a file with a header that has the columns, in any order. Errors name the line and quote no value.
func readCSV(flag, path string, columns []string, add func(row []string) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))) // spreadsheets write a byte order mark
	reader.TrimLeadingSpace = true
	header, err := reader.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %s: %w", flag, path, err)
	}
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
	}
	positions := make([]int, len(columns))
	for i, column := range columns {
		if positions[i] = slices.Index(header, column); positions[i] < 0 {
			return fmt.Errorf("%s: %s: the first line must name the columns %s", flag, path, strings.Join(columns, ", "))
		}
	}
	for rows := 0; ; rows++ {
		record, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF) && rows == 0:
			return fmt.Errorf("%s: %s: has no rows", flag, path)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %s: %w", flag, path, err)
		}
		row := make([]string, len(columns))
		for i, position := range positions {
			row[i] = strings.TrimSpace(record[position])
		}
		if err := add(row); err != nil {
			line, _ := reader.FieldPos(0)
			return fmt.Errorf("%s: %s: record on line %d: %w", flag, path, line, err)
		}
	}
}
