package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/zapi-go/zapi"
)

func TestSchemaIsUpToDate(t *testing.T) {
	t.Parallel()
	want, err := generate()
	require.NoError(t, err)
	have, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	assert.Equal(t, string(want), strings.ReplaceAll(string(have), "\r\n", "\n"),
		"run go run . in internal/schema")
}

// A new rule of phone.go needs a place in the template.
func TestEveryRuleIsUsed(t *testing.T) {
	t.Parallel()
	found, err := readRules(root + "/phone.go")
	require.NoError(t, err)
	var used []string
	for _, rule := range regexp.MustCompile(`{{(?:written|digits) "(\w+)"}}`).FindAllStringSubmatch(source, -1) {
		used = append(used, rule[1])
	}
	delete(found, "trunkZero")       // is part of "trunk"
	delete(found, "brazilian90")     // likewise
	delete(found, "spreadsheetCell") // is asked with a phone parser only, which policies do not have
	used = slices.DeleteFunc(used, func(rule string) bool { return rule == "trunk" })
	assert.ElementsMatch(t, slices.Collect(maps.Keys(found)), used)
}

// engines are the two ways in which validators read a pattern.
var engines = []struct {
	name    string
	compile jsonschema.RegexpEngine
}{
	{"RE2", nil},
	{"ECMA-262", func(pattern string) (jsonschema.Regexp, error) {
		re, err := regexp2.Compile(pattern, regexp2.ECMAScript|regexp2.Unicode)
		return ecmaPattern{re}, err
	}},
}

type ecmaPattern struct{ *regexp2.Regexp }

func (p ecmaPattern) MatchString(s string) bool {
	ok, err := p.Regexp.MatchString(s)
	return ok && err == nil
}

func compile(t *testing.T, engine jsonschema.RegexpEngine) *jsonschema.Schema {
	t.Helper()
	return compileAt(t, engine, "")
}

// compileAt returns the part of the schema at a place such as "#/$defs/phone".
func compileAt(t *testing.T, engine jsonschema.RegexpEngine, place string) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	if engine != nil {
		compiler.UseRegexpEngine(engine)
	}
	id := document.(map[string]any)["$id"].(string)
	require.NoError(t, compiler.AddResource(id, document))
	schema, err := compiler.Compile(id + place) // also validates it against the metaschema
	require.NoError(t, err)
	return schema
}

// accepts returns the error of the schema.
func accepts(t *testing.T, schema *jsonschema.Schema, document string) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	require.NoError(t, err, document)
	return schema.Validate(value)
}

// policyAccepts returns the error of a Policy.
func policyAccepts(document string) error {
	var policy zapi.Policy
	if err := json.Unmarshal([]byte(document), &policy); err != nil {
		return err
	}
	return policy.Validate()
}

// except returns a document with one phone on a blacklist.
func except(phone string) string {
	text, err := json.Marshal(phone)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"photo": {"visibility": "CONTACT_BLACKLIST", "except": [%s]}}`, text)
}

// phonesOf returns a document for each phone.
func phonesOf(phones map[string]string) map[string]string {
	documents := make(map[string]string)
	for name, phone := range phones {
		documents["phone: "+name] = except(phone)
	}
	return documents
}

// The schema cannot see a repeated key, as validators get the document when it has been read. Policy refuses it.
var repeated = []string{
	`{"online": "ALL", "online": "ALL"}`,
	`{"photo": {"visibility": "ALL", "visibility": "ALL"}}`,
	`{"online": null, "online": "ALL"}`,
}

func TestRepeatedKeysAreLeftToPolicy(t *testing.T) {
	t.Parallel()
	schema := compile(t, nil)
	assert.Contains(t, source, `"$comment": "Accepts what zapi.Policy accepts; a test compares them. A schema cannot see that a key is repeated`)
	for _, document := range repeated {
		assert.Error(t, policyAccepts(document), document)
		var value any
		require.NoError(t, json.Unmarshal([]byte(document), &value)) // keeps the last one
		assert.NoError(t, schema.Validate(value), document)
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	documents := len(acceptedDocuments) + len(acceptedPhones) + len(refusedDocuments) + len(refusedPhones)
	assert.GreaterOrEqual(t, documents, 100)
	for _, engine := range engines {
		schema := compile(t, engine.compile)
		for name, document := range acceptedDocuments {
			assert.NoError(t, policyAccepts(document), name)
			assert.NoError(t, accepts(t, schema, document), "%s, %s", engine.name, name)
		}
		for name, document := range phonesOf(acceptedPhones) {
			assert.NoError(t, policyAccepts(document), name)
			assert.NoError(t, accepts(t, schema, document), "%s, %s", engine.name, name)
		}
		for name, document := range refusedDocuments {
			assert.Error(t, policyAccepts(document), name)
			assert.Error(t, accepts(t, schema, document), "%s, %s", engine.name, name)
		}
		for name, document := range phonesOf(refusedPhones) {
			assert.Error(t, policyAccepts(document), name)
			assert.Error(t, accepts(t, schema, document), "%s, %s", engine.name, name)
		}
	}
}

// The files that the pages show pass.
func TestFilesOfThePages(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	data, err := os.ReadFile(root + "/examples/policy/policy.json")
	require.NoError(t, err)
	files["examples/policy/policy.json"] = string(data)
	block := regexp.MustCompile("(?ms)^```(json|yaml)\n(.*?)^```$")
	for _, name := range []string{"README.md", "README.pt-BR.md", "docs/policy.md", "docs/policy.pt-BR.md"} {
		page, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		for i, match := range block.FindAllStringSubmatch(strings.ReplaceAll(string(page), "\r\n", "\n"), -1) {
			language, text := match[1], match[2]
			if strings.Contains(text, "json.schemas") || strings.Contains(text, "yaml.schemas") { // settings of an editor
				continue
			}
			if language == "yaml" {
				var value any
				require.NoError(t, yaml.Unmarshal([]byte(text), &value))
				data, err := json.Marshal(value)
				require.NoError(t, err)
				text = string(data)
			}
			files[fmt.Sprint(name, " ", i)] = text
		}
	}
	assert.Len(t, files, 5)
	schema := compile(t, nil)
	for name, document := range files {
		assert.NoError(t, policyAccepts(document), name)
		assert.NoError(t, accepts(t, schema, document), name)
	}
}

// What a country code is followed by decides about a trunk prefix, and often the length of the phone does, too.
func TestTrunkPrefixes(t *testing.T) {
	t.Parallel()
	const total = 4000
	found, err := readRules(root + "/phone.go")
	require.NoError(t, err)
	codes := append(strings.Fields(found["trunkZero"]), "1", "11", "7", "78", "241", "370", "375", "3758", "692", "993", "39", "352", "30")
	r := rand.New(rand.NewPCG(19, 4))
	for _, engine := range engines {
		schema := compileAt(t, engine.compile, "#/$defs/contact")
		refused := 0
		for range total {
			phone := pick(r, codes...) + pick(r, "", "0", "00", "06", "1", "8", "80", fmt.Sprint(r.IntN(100)))
			for length := 7 + r.IntN(9); len(phone) < length; {
				phone += fmt.Sprint(r.IntN(10))
			}
			_, want := zapi.NormalizePhone(phone)
			there := schema.Validate(phone)
			require.Equal(t, want == nil, there == nil, "%s\nNormalizePhone: %v\n%s: %v", phone, want, engine.name, there)
			if want != nil {
				refused++
			}
		}
		assert.Greater(t, refused, total/5)
		assert.Less(t, refused, total*4/5)
	}
}

// Documents and phones at random: most have one fault or none, so that both sides must look closely.
func TestRandomDocuments(t *testing.T) {
	t.Parallel()
	const total = 3000
	r := rand.New(rand.NewPCG(19, 3))
	var schemas []*jsonschema.Schema
	for _, engine := range engines {
		schemas = append(schemas, compile(t, engine.compile))
	}
	accepted := 0
	for range total {
		document := randomPolicy(r)
		err := policyAccepts(document)
		if err == nil {
			accepted++
		}
		for i, schema := range schemas {
			there := accepts(t, schema, document)
			require.Equal(t, err == nil, there == nil, "%s\nPolicy: %v\n%s: %v", document, err, engines[i].name, there)
		}
	}
	t.Logf("%d of %d accepted", accepted, total)
	assert.Greater(t, accepted, total/5)
	assert.Less(t, accepted, total*4/5)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// seldom reports whether one of n is to be wrong.
func seldom(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func randomPolicy(r *rand.Rand) string {
	if seldom(r, 100) {
		return pick(r, `null`, `[]`, `"ALL"`, `1`, `true`, `{}`)
	}
	members := make(map[string]string) // so that no key is repeated
	for range r.IntN(4) {
		key := pick(r, "lastSeen", "photo", "description", "groupAdd")
		members[key] = randomAudience(r)
	}
	if seldom(r, 2) {
		members["online"] = pick(r, `"ALL"`, `"SAME_LAST_SEEN"`, `null`)
	}
	if seldom(r, 3) {
		members["readReceipts"] = pick(r, `"enable"`, `"disable"`, `null`)
	}
	if seldom(r, 3) {
		members["messageDuration"] = pick(r, `"hours24"`, `"days7"`, `"days90"`, `"disable"`, `null`)
	}
	if seldom(r, 15) {
		key := pick(r, "online", "readReceipts", "messageDuration", "photo", "Photo", "status", "", "$schema", "visibility")
		members[key] = pick(r, `"ALL"`, `"enable"`, `"all"`, `""`, `0`, `true`, `[]`, `{}`, `"NONE"`, `null`)
	}
	return object(r, members)
}

func randomAudience(r *rand.Rand) string {
	if seldom(r, 12) {
		return `null`
	}
	members := map[string]string{"visibility": pick(r, `"ALL"`, `"CONTACTS"`, `"CONTACT_BLACKLIST"`, `"CONTACT_BLACKLIST"`)}
	if seldom(r, 8) {
		members["visibility"] = pick(r, `"NONE"`, `"NONE"`, `"none"`, `"SAME_LAST_SEEN"`, `""`, `null`, `1`, `["ALL"]`)
	}
	if seldom(r, 20) {
		delete(members, "visibility")
	}
	switch {
	case members["visibility"] == `"CONTACT_BLACKLIST"`:
		if !seldom(r, 3) {
			members["except"] = randomExcept(r)
		}
	case seldom(r, 10):
		members["except"] = pick(r, `null`, `[]`, randomExcept(r))
	}
	if seldom(r, 30) {
		members[pick(r, "Except", "action", "excepts", "VISIBILITY", "")] = pick(r, `null`, `[]`, `"ALL"`)
	}
	return object(r, members)
}

func randomExcept(r *rand.Rand) string {
	if seldom(r, 10) {
		return pick(r, `null`, `[]`, `{}`, `"5544911111111"`, `5544911111111`, `[5544911111111]`, `[null]`, `[["5544911111111"]]`)
	}
	var phones []string
	for range r.IntN(3) {
		text, err := json.Marshal(randomPhone(r))
		if err != nil {
			panic(err)
		}
		phones = append(phones, string(text))
	}
	return "[" + strings.Join(phones, ", ") + "]"
}

func randomPhone(r *rand.Rand) string {
	phone := []rune(pick(r, slices.Collect(maps.Values(acceptedPhones))...))
	if len(phone) == 0 || seldom(r, 2) {
		return string(phone)
	}
	for range 1 + r.IntN(2) {
		at := r.IntN(len(phone) + 1)
		piece := pick(r, " ", "-", ".", "(", ")", "+", "0", "1", "8", "(0)", "(0", ".0", " (2)", "\u00a0", "\u2011", "\u200e", "\u202c",
			"\u3000", "\u2015", "\u2016", "\u200b", "\n", "x", "@lid", "\uff15", " 1", " 22", " 544922222222")
		phone = slices.Insert(phone, at, []rune(piece)...)
	}
	return string(phone)
}

// object writes members in any order.
func object(r *rand.Rand, members map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(members)) {
		list = append(list, fmt.Sprintf("%q: %s", key, members[key]))
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return "{" + strings.Join(list, ", ") + "}"
}
