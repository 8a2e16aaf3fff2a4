// Command schema writes policy.schema.json, the JSON Schema of a policy. Its patterns for phones are made from the regular
// expressions of phone.go, so run it again when they change:
//
//	cd internal/schema && go run .
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"log"
	"os"
	"text/template"
)

const (
	root       = "../.."
	schemaFile = root + "/policy.schema.json"
)

//go:embed policy.schema.tmpl
var source string

func main() {
	log.SetFlags(0)
	log.SetPrefix("schema: ")
	data, err := generate()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(schemaFile, data, 0o644); err != nil {
		log.Fatal(err)
	}
}

// generate returns the schema: the template with the patterns of phone.go.
func generate() ([]byte, error) {
	rules, err := readRules(root + "/phone.go")
	if err != nil {
		return nil, err
	}
	// A pattern of the template is JSON already, but for the classes that it names.
	tmpl, err := template.New("").Funcs(template.FuncMap{
		"written": func(rule string) (string, error) { return rules.pattern(rule, written) },
		"digits":  func(rule string) (string, error) { return rules.pattern(rule, digits) },
		"spaces":  func() string { return quote(spaces) },
		"dashes":  func() string { return quote(dashes) },
		"marks":   func() string { return quote(marks) },
	}).Parse(source)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, nil); err != nil {
		return nil, err
	}
	var valid json.RawMessage
	return out.Bytes(), json.Unmarshal(out.Bytes(), &valid)
}
