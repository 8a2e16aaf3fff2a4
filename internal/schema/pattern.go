package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode"
)

// phone.go matches a phone after it has dropped invisible marks and replaced spaces and dashes; a schema sees the phone
// as it was written. So each pattern here allows anything that is dropped behind every character, and all kinds of a mark
// for the one that it becomes. It uses only what ECMA-262, RE2 and PCRE read alike, which is why nothing is escaped.

// The characters that phone.go replaces or drops, as parts of a class.
const (
	dashes = "\u2010-\u2015"
	marks  = "\u200e\u200f\u202a-\u202e\u2066-\u2069" // of direction
)

// spaces are those of the category Zs, whose first one is the ASCII space.
var spaces = func() string {
	var class strings.Builder
	for _, table := range unicode.Zs.R16 { // there are none above
		if table.Stride == 1 {
			class.WriteString(runeRange(rune(table.Lo), rune(table.Hi)))
			continue
		}
		for r := rune(table.Lo); r <= rune(table.Hi); r += rune(table.Stride) {
			class.WriteRune(r)
		}
	}
	return class.String()
}()

// A view is what a regular expression of phone.go is matched against.
type view struct {
	ignored string // class of the characters that are dropped before, as it stands behind each character
	other   string // what a negated class excludes, too
}

var (
	written = view{"[" + marks + "]*", marks}
	digits  = view{"[^0-9]*", ""}
)

// rules are the regular expressions and the lists of words of a file, by the names of their variables.
type rules map[string]string

// readRules reads the variables that are declared as regexp.MustCompile or strings.Fields of constant text.
func readRules(file string) (rules, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	found := make(rules)
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		call, ok := spec.Values[0].(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		if fun, ok := call.Fun.(*ast.SelectorExpr); !ok || fun.Sel.Name != "MustCompile" && fun.Sel.Name != "Fields" {
			return true
		}
		if text, ok := constant(call.Args[0]); ok {
			found[spec.Names[0].Name] = text
		}
		return false
	})
	return found, nil
}

// constant returns the text of literals that are joined by +.
func constant(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, leftOK := constant(e.X)
		right, rightOK := constant(e.Y)
		return left + right, leftOK && rightOK
	}
	return "", false
}

// pattern returns the rule for a phone as it was written, ready to stand between quotation marks in JSON.
func (r rules) pattern(rule string, v view) (string, error) {
	text, ok := r[rule]
	if !ok {
		return "", fmt.Errorf("phone.go has no %s", rule)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return "", err
	}
	pattern, err := v.translate(re)
	return quote(pattern), err
}

func (v view) translate(re *syntax.Regexp) (string, error) {
	var subs []string
	for _, sub := range re.Sub {
		s, err := v.translate(sub)
		if err != nil {
			return "", err
		}
		subs = append(subs, s)
	}
	switch re.Op {
	case syntax.OpLiteral:
		var s strings.Builder
		for _, r := range re.Rune {
			s.WriteString(v.class(r, r))
		}
		return s.String(), nil
	case syntax.OpCharClass, syntax.OpAnyCharNotNL:
		if excluded, ok := negated(re); ok {
			return "[^" + members(excluded) + v.other + "]" + v.ignored, nil
		}
		return v.class(re.Rune...), nil
	case syntax.OpBeginText:
		return "^" + v.ignored, nil
	case syntax.OpEndText:
		return "$", nil
	case syntax.OpEmptyMatch:
		return "", nil
	case syntax.OpConcat:
		return strings.Join(subs, ""), nil
	case syntax.OpAlternate:
		return "(?:" + strings.Join(subs, "|") + ")", nil
	case syntax.OpCapture:
		return "(?:" + subs[0] + ")", nil
	case syntax.OpStar:
		if excluded, ok := negated(re.Sub[0]); ok { // what is ignored is among the others
			return "[^" + members(excluded) + "]*", nil
		}
		return "(?:" + subs[0] + ")*", nil
	case syntax.OpPlus:
		if excluded, ok := negated(re.Sub[0]); ok {
			return "[^" + members(excluded) + v.other + "][^" + members(excluded) + "]*", nil
		}
		return "(?:" + subs[0] + ")+", nil
	case syntax.OpQuest:
		return "(?:" + subs[0] + ")?", nil
	case syntax.OpRepeat:
		limit := fmt.Sprint(re.Min, ",", re.Max)
		switch re.Max {
		case re.Min:
			limit = fmt.Sprint(re.Min)
		case -1:
			limit = fmt.Sprint(re.Min, ",")
		}
		return "(?:" + subs[0] + "){" + limit + "}", nil
	}
	return "", fmt.Errorf("cannot translate %v", re)
}

// class returns a class of the characters in pairs, which are ranges, and what may stand behind each.
func (v view) class(pairs ...rune) string {
	if len(pairs) == 2 && pairs[0] == pairs[1] && unicode.IsDigit(pairs[0]) {
		return string(pairs[0]) + v.ignored
	}
	return "[" + members(pairs) + "]" + v.ignored
}

// negated returns the characters that a negated class excludes.
func negated(re *syntax.Regexp) (excluded []rune, ok bool) {
	if re.Op == syntax.OpAnyCharNotNL {
		return []rune{'\n', '\n'}, true
	}
	if re.Op != syntax.OpCharClass || re.Rune[len(re.Rune)-1] != unicode.MaxRune {
		return nil, false
	}
	next := rune(0)
	for i := 0; i < len(re.Rune); i += 2 {
		if re.Rune[i] > next {
			excluded = append(excluded, next, re.Rune[i]-1)
		}
		next = re.Rune[i+1] + 1
	}
	return excluded, true
}

// members returns what stands between the brackets of a class.
func members(pairs []rune) string {
	var s strings.Builder
	hyphen := ""
	for i := 0; i < len(pairs); i += 2 {
		lo, hi := pairs[i], pairs[i+1]
		if (lo > ' ' || hi < ' ') && (lo > '-' || hi < '-') {
			s.WriteString(runeRange(lo, hi))
			continue
		}
		for r := lo; r <= hi; r++ {
			switch r {
			case ' ':
				s.WriteString(spaces)
			case '-':
				hyphen = dashes + "-" // at the end it means itself
			default:
				s.WriteRune(r)
			}
		}
	}
	return s.String() + hyphen
}

func runeRange(lo, hi rune) string {
	switch {
	case lo == hi:
		return string(lo)
	case lo+1 == hi:
		return string(lo) + string(hi)
	}
	return string(lo) + "-" + string(hi)
}

// quote writes what is not ASCII as \u, as it is hard to see.
func quote(pattern string) string {
	quoted := strconv.QuoteToASCII(pattern)
	return quoted[1 : len(quoted)-1]
}
