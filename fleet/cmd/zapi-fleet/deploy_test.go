package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// deployment has the fields of a Deployment that the example uses; any other is an error.
type deployment struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   meta
	Spec       struct {
		Replicas int
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata meta
			Spec     struct {
				Grace           int            `yaml:"terminationGracePeriodSeconds"`
				SecurityContext map[string]any `yaml:"securityContext"`
				Containers      []struct {
					Name, Image string
					Args        []string
					Ports       []struct {
						Name          string
						ContainerPort int `yaml:"containerPort"`
					}
					LivenessProbe struct {
						HTTPGet       struct{ Path, Port string } `yaml:"httpGet"`
						PeriodSeconds int                         `yaml:"periodSeconds"`
					} `yaml:"livenessProbe"`
					Resources       struct{ Requests, Limits map[string]string }
					SecurityContext map[string]any `yaml:"securityContext"`
					VolumeMounts    []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name   string
					Secret struct {
						SecretName string `yaml:"secretName"`
					}
				}
			}
		}
	}
}

type meta struct {
	Name                string
	Labels, Annotations map[string]string
}

// accepts checks that a command has all flags of its arguments.
func accepts(t *testing.T, args []string) {
	t.Helper()
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	require.GreaterOrEqual(t, i, 0, args[0])
	flags, _ := commands[i].flagSet(&session{screen: new(screen)})
	require.NoError(t, flags.Parse(args[1:]))
	assert.Empty(t, flags.Args())
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../deploy/workers.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	var d deployment
	require.NoError(t, decoder.Decode(&d))
	assert.Equal(t, []string{"apps/v1", "Deployment"}, []string{d.APIVersion, d.Kind})
	pod := d.Spec.Template.Spec
	assert.Equal(t, d.Spec.Selector.MatchLabels, d.Spec.Template.Metadata.Labels)
	require.Len(t, pod.Containers, 1)
	c := pod.Containers[0]
	accepts(t, c.Args)
	assert.Equal(t, c.VolumeMounts[0].Name, pod.Volumes[0].Name)
	assert.Equal(t, c.Ports[0].Name, c.LivenessProbe.HTTPGet.Port)
	for _, arg := range c.Args {
		if _, path, ok := strings.Cut(arg, "=/"); ok {
			assert.Equal(t, c.VolumeMounts[0].MountPath, "/"+filepath.Dir(path))
		}
	}
}

func TestSystemd(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob("../../deploy/*.service")
	require.NoError(t, err)
	require.Len(t, units, 2)
	verify, missing := exec.LookPath("systemd-analyze")
	for _, unit := range units {
		data, err := os.ReadFile(unit)
		require.NoError(t, err)
		command := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/zapi-fleet (.*)$`).FindSubmatch(data)
		require.NotNil(t, command, unit)
		accepts(t, strings.Fields(string(command[1])))
		if missing != nil {
			continue
		}
		// The program is not installed here; everything else must be right.
		copied := write(t, filepath.Base(unit), strings.Replace(string(data), "/usr/local/bin/zapi-fleet", "/bin/true", 1))
		out, err := exec.CommandContext(t.Context(), verify, "verify", copied).CombinedOutput()
		assert.NoError(t, err, "%s: %s", unit, out)
		assert.NotContains(t, string(out), filepath.Base(unit), "it warns")
	}
}
