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
	"slices"
	"strings"
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
	rules["trunk"] = trunk(strings.Fields(rules["trunkZero"])) + "|" + rules["brazilian90"]
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

// trunk returns hasTrunkPrefix of phone.go as a regular expression, without Belarus. codes are those whose trunk prefix is 0.
func trunk(codes []string) string {
	codes = slices.DeleteFunc(slices.Clone(codes), func(code string) bool { return code == "55" || code == "250" })
	return `^(?:(?:` + strings.Join(codes, "|") + `)0[1-9]|550[1-9][1-9]|2500[1-57-9]` + // 0 belongs to 0800 in Brazil and to 06 in Rwanda
		`|11\d{10}|54\d{12}|78\d{10}|2410\d{8}|3708\d{8}|6921\d{7}|9938\d{8})` // a number that begins so is shorter
}
