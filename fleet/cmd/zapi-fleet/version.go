package main

import (
	"cmp"
	"context"
	"flag"
	"runtime/debug"
)

func version(*flag.FlagSet) action {
	return func(_ context.Context, out *screen) error {
		out.say(programVersion(), fields{"version": programVersion()})
		return nil
	}
}

// programVersion is the version of the module that the program was built from.
func programVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	return cmp.Or(info.Main.Version, "(devel)")
}
