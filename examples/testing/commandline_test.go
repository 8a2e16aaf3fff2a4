package main

import (
	"testing"

	"github.com/zapi-go/zapi/examples/internal/commandline"
)

func TestMain(m *testing.M) { commandline.Main(m, main) }

func TestCommandLine(t *testing.T) {
	t.Parallel()
	commandline.Run(t, []commandline.Test{
		{Name: "help", Args: []string{"-h"}, Want: "Testing runs the code"},
		{Name: "nothing", Want: "Second run: last seen hidden from"},
		{Name: "superfluous argument", Args: []string{"5544911111111"}, Code: 2, Want: "testing takes no arguments; see -h"},
		{Name: "unknown flag", Args: []string{"-live"}, Code: 2, Want: "flag provided but not defined: -live"},
	})
}
