package main

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
)

// configuration is the content of the file.
type configuration struct {
	Credentials zapi.Credentials `yaml:"credentials"`
	Policy      zapi.Policy      `yaml:"policy"`
}

// settings are those that the environment and the flags can set, too. Empty ones are left as they are. Credentials are not
// among the flags: everyone on the machine can read the command line of a program.
type settings struct {
	lastSeen, photo zapi.Visibility
	online          zapi.OnlineVisibility
}

// load returns the configuration in file, with what the environment and the flags put in its place.
func load(file string, getenv func(string) string, flags settings) (configuration, error) {
	c, err := readFile(file)
	if err != nil {
		return configuration{}, err
	}
	c.Credentials = zapi.Credentials{
		InstanceID:  cmp.Or(getenv("ZAPI_INSTANCE_ID"), c.Credentials.InstanceID),
		Token:       cmp.Or(getenv("ZAPI_TOKEN"), c.Credentials.Token),
		ClientToken: cmp.Or(getenv("ZAPI_CLIENT_TOKEN"), c.Credentials.ClientToken),
	}
	environment, err := readEnvironment(getenv)
	if err != nil {
		return configuration{}, err
	}
	environment.change(&c.Policy)
	flags.change(&c.Policy)
	return c, nil
}

// readFile reads strictly: an unknown key is an error, not a setting left as it is. The error names the file, and the line
// if the YAML library reports it.
func readFile(file string) (configuration, error) {
	name, data := "the sample", sample
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return configuration{}, err
		}
		name = file
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	var c configuration
	if err := decoder.Decode(&c); err != nil && !errors.Is(err, io.EOF) { // io.EOF is an empty file
		return configuration{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return configuration{}, fmt.Errorf("%s: must hold one YAML document", name)
	}
	return c, nil
}

func readEnvironment(getenv func(string) string) (settings, error) {
	var s settings
	for _, variable := range []struct {
		name  string
		value encoding.TextUnmarshaler
	}{
		{"ZAPI_LAST_SEEN", &s.lastSeen},
		{"ZAPI_PHOTO", &s.photo},
		{"ZAPI_ONLINE", &s.online},
	} {
		if text := getenv(variable.name); text != "" {
			if err := variable.value.UnmarshalText([]byte(text)); err != nil {
				return settings{}, fmt.Errorf("environment variable %s: %w", variable.name, err)
			}
		}
	}
	return s, nil
}

// change puts s in the place of what p has.
func (s settings) change(p *zapi.Policy) {
	changeAudience(&p.LastSeen, s.lastSeen)
	changeAudience(&p.Photo, s.photo)
	p.Online = cmp.Or(s.online, p.Online)
}

// changeAudience keeps the contacts of an audience that already has visibility v.
func changeAudience(audience **zapi.Audience, v zapi.Visibility) {
	if v != "" && (*audience == nil || (*audience).Visibility != v) {
		*audience = &zapi.Audience{Visibility: v}
	}
}
