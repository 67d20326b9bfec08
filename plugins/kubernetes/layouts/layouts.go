// Package layouts has the layouts of Kubernetes kinds: a file for each kind that
// is known, named after its asset type, one for all others, and those that
// custom resource definitions describe themselves.
package layouts

import (
	"embed"
	"encoding/json"
	"strings"
	"sync"
	"unicode"

	"github.com/reeve-cloud/reeve/pkg/layout"
)

//go:embed *.json
var files embed.FS

const (
	prefix  = "kubernetes."
	generic = "generic"
)

// known are the files by name, without what is there for people only.
var known = sync.OnceValue(func() map[string]json.RawMessage {
	all, err := layout.Files(files)
	if err != nil {
		panic(err) // they are part of the program, and tested
	}
	return all
})

// For returns the title and the layout of an asset type of the cluster.
func For(typeName string) (title string, shown json.RawMessage) {
	name := strings.TrimPrefix(typeName, prefix)
	title = words(name[strings.LastIndexByte(name, '.')+1:])
	if l, ok := known()[name]; ok && name != generic {
		return title, l
	}
	return title, known()[generic]
}

// Has reports whether there is a layout for just this type.
func Has(typeName string) bool {
	_, ok := known()[strings.TrimPrefix(typeName, prefix)]
	return ok
}

// words writes the name of a kind for people: "Persistent volume claim", "CSI
// driver".
func words(kind string) string {
	var b strings.Builder
	runes := []rune(kind)
	for i, r := range runes {
		inAcronym := i+1 == len(runes) || !unicode.IsLower(runes[i+1])
		if i > 0 && unicode.IsUpper(r) {
			if !unicode.IsUpper(runes[i-1]) || !inAcronym {
				b.WriteByte(' ')
			}
			if !inAcronym {
				r = unicode.ToLower(r)
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// PrinterColumn is an entry of a custom resource definition's
// additionalPrinterColumns.
type PrinterColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	JSONPath string `json:"jsonPath"`
	Priority int    `json:"priority"`
}

// FromPrinterColumns returns the layout of a custom resource whose definition
// has such columns. One whose path cannot be told in a layout is left out.
// Without any it is the layout of kinds that are not known.
func FromPrinterColumns(columns []PrinterColumn) json.RawMessage {
	l, err := layout.Parse(known()[generic])
	if err != nil {
		panic(err) // it is part of the program, and tested
	}
	const created = "metadata.creationTimestamp"
	shown := []layout.Column{}
	aged := false
	for _, c := range columns {
		path, ok := pathOf(c.JSONPath)
		if !ok {
			continue
		}
		column := layout.Column{Title: c.Name, Path: path, Format: formatOf(c.Type), Wide: c.Priority > 0}
		if column.Format == layout.Text && strings.HasSuffix(path, ".status") && strings.Contains(path, "[") {
			column.Format = layout.StatusWord // True and False of a condition
		}
		shown = append(shown, column)
		aged = aged || path == created
	}
	if len(shown) == 0 {
		return known()[generic]
	}
	if !aged {
		shown = append(shown, layout.Column{Title: "Age", Path: created, Format: layout.Age})
	}
	l.Columns = shown
	text, err := json.Marshal(l)
	if err == nil {
		_, err = layout.Parse(text)
	}
	if err != nil {
		return known()[generic] // names that no column may have
	}
	return text
}

func formatOf(printed string) layout.Format {
	switch printed {
	case "integer", "number":
		return layout.Number
	case "boolean":
		return layout.Bool
	case "date":
		return layout.Age
	}
	return layout.Text
}

// pathOf returns the path that a JSONPath of kubectl's means: keys, escaped dots
// in them, all elements of an array, or those with one member of a value.
func pathOf(jsonPath string) (path string, ok bool) {
	var b strings.Builder
	rest := strings.TrimPrefix(jsonPath, ".")
	for rest != "" {
		end := strings.IndexAny(rest, `\[`)
		if end < 0 {
			end = len(rest)
		}
		b.WriteString(rest[:end])
		rest = rest[end:]
		switch {
		case rest == "":
		case rest[0] == '\\':
			if !strings.HasPrefix(rest, `\.`) {
				return "", false
			}
			b.WriteByte('.')
			rest = rest[2:]
		default:
			var inside string
			if inside, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				return "", false
			}
			picked, ok := bracket(inside)
			if !ok {
				return "", false
			}
			b.WriteString(picked)
		}
	}
	path = b.String()
	// What it means is checked where layouts are.
	check, err := json.Marshal(layout.Layout{Columns: []layout.Column{{Title: "x", Path: path}}})
	if err != nil {
		return "", false
	}
	_, err = layout.Parse(check)
	return path, err == nil
}

// bracket returns what stands in a path for the inside of brackets: nothing for
// *, a key for a quoted one, a condition for ?(@.type=="Ready").
func bracket(inside string) (picked string, ok bool) {
	if inside == "*" {
		return "", true
	}
	if key, ok := unquote(inside); ok {
		return "." + strings.ReplaceAll(key, `\.`, "."), true
	}
	condition, ok := strings.CutPrefix(inside, "?(@.")
	if !ok {
		return "", false
	}
	if condition, ok = strings.CutSuffix(condition, ")"); !ok {
		return "", false
	}
	key, value, ok := strings.Cut(condition, "==")
	if !ok {
		return "", false
	}
	value, ok = unquote(strings.TrimSpace(value))
	return "[" + strings.TrimSpace(key) + "=" + value + "]", ok && !strings.ContainsAny(key, `.[("'&|`)
}

func unquote(s string) (string, bool) {
	if len(s) < 3 || s[0] != s[len(s)-1] || s[0] != '"' && s[0] != '\'' {
		return "", false
	}
	s = s[1 : len(s)-1]
	return s, !strings.ContainsAny(s, `"'`)
}
