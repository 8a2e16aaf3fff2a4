// Command release writes a module of a source tree into a folder that the go command can use as a module proxy.
//
//	release -tree DIR -module PATH -version v1.2.3 -proxy FOLDER
//
// The script .ci/release calls it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	tree := flag.String("tree", "", "folder of the module")
	path := flag.String("module", "", "module path")
	version := flag.String("version", "", "such as v1.2.3")
	proxy := flag.String("proxy", "", "folder to write to")
	flag.Parse()
	if flag.NArg() > 0 || *tree == "" || *path == "" || *version == "" || *proxy == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*tree, module.Version{Path: *path, Version: *version}, *proxy); err != nil {
		log.Fatal(err)
	}
}

// write adds a version to the proxy: its info, mod and zip, and a line of list. A version that is there is replaced.
func write(tree string, m module.Version, proxy string) error {
	if semver.Canonical(m.Version) != m.Version {
		return fmt.Errorf("the version must be like v1.2.3, not %q", m.Version)
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(tree, "go.mod"))
	if err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{m.Version, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	folder := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	list, err := addLine(filepath.Join(folder, "list"), m.Version)
	if err != nil {
		return err
	}
	if err := writeZip(filepath.Join(folder, m.Version+".zip"), m, tree); err != nil {
		return err
	}
	for name, data := range map[string][]byte{m.Version + ".info": info, m.Version + ".mod": mod, "list": list} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeZip(name string, m module.Version, tree string) error {
	archive, err := os.Create(name)
	if err != nil {
		return err
	}
	err = zip.CreateFromDir(archive, m, tree) // leaves nested modules out, as the go command does
	return errors.Join(err, archive.Close())
}

// addLine returns the lines of a file, which need not exist, with one more unless it is there.
func addLine(name, line string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lines := strings.Fields(string(data))
	if !slices.Contains(lines, line) {
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, "\n") + "\n"), nil
}
