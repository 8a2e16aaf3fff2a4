// Package commandline tests the examples as programs: their arguments, exit codes and output.
package commandline

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
)

const variable = "RUN_EXAMPLE"

// A Test is one run of an example.
type Test struct {
	Name string
	Args []string
	Env  []string // all that the example has of an environment
	Code int      // exit code
	Want string   // part of the output
}

// Main is for TestMain. It calls main in a process that [Run] started, and runs the tests in any other.
func Main(m *testing.M, main func()) {
	if os.Getenv(variable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Run runs the example once for each of tests.
func Run(t *testing.T, tests []Test) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], tt.Args...)
			cmd.Env = append([]string{variable + "=1"}, tt.Env...)
			out, _ := cmd.CombinedOutput() // its error is the exit code
			assert.Equal(t, tt.Code, cmd.ProcessState.ExitCode())
			assert.Contains(t, string(out), tt.Want)
		})
	}
}
