package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

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
	if err := yaml.Unmarshal(data, &policy); err != nil {
		return policy, fmt.Errorf("-policy: %s: %w", path, err)
	}
	return policy, nil
}

func readTargets(path string) ([]fleet.Target, error) {
	var targets []fleet.Target
	err := readCSV("-targets", path, []string{"account", "instance"}, func(row []string) {
		targets = append(targets, fleet.Target{Account: row[0], Instance: row[1]})
	})
	return targets, err
}

// credentials resolves instances from a file.
type credentials map[string]zapi.Credentials

func (c credentials) Credentials(_ context.Context, t fleet.Target) (zapi.Credentials, error) {
	creds, ok := c[t.Instance]
	if !ok {
		return creds, fleet.ErrNoInstance
	}
	return creds, nil
}

func readCredentials(path string) (credentials, error) {
	creds := make(credentials)
	err := readCSV("-credentials", path, []string{"instance", "token", "clientToken"}, func(row []string) {
		creds[row[0]] = zapi.Credentials{InstanceID: row[0], Token: row[1], ClientToken: row[2]}
	})
	return creds, err
}

// readCSV reads a file with a header that has the columns, in any order. Errors quote no value.
func readCSV(flag, path string, columns []string, add func(row []string)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	reader := csv.NewReader(file)
	reader.TrimLeadingSpace = true
	header, err := reader.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %s: %w", flag, path, err)
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
		add(row)
	}
}

func values[T any](all []T) iter.Seq[T] { return slices.Values(all) }
