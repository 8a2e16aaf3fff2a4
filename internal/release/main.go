// Command release writes a module of a source tree into a folder that the go command can use as a module proxy.
//
//	release -tree DIR -module PATH -version v1.2.3 -proxy FOLDER
//
// The script .ci/release calls it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
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
	if err := write(*tree, module.Version{Path: *path, Version: *version}, *proxy); err != nil {
		log.Fatal(err)
	}
}

// write adds the four files of a version to the proxy: list, info, mod and zip.
func write(tree string, m module.Version, proxy string) error {
	if semver.Canonical(m.Version) != m.Version {
		return fmt.Errorf("the version must be like v1.2.3, not %q", m.Version)
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	folder := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	archive, err := os.Create(filepath.Join(folder, m.Version+".zip"))
	if err != nil {
		return err
	}
	defer archive.Close()                                       //nolint:errcheck // the one below counts
	if err := zip.CreateFromDir(archive, m, tree); err != nil { // leaves nested modules out, as the go command does
		return err
	}
	if err := archive.Close(); err != nil {
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
	for name, data := range map[string][]byte{"list": []byte(m.Version + "\n"), m.Version + ".info": info, m.Version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
