package query

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// parseField reads a field as filters have it. part is where it stands in the request.
func parseField(part, text string) (filter.Field, error) {
	f, err := filter.Parse(text + ":*")
	if err != nil {
		return filter.Field{}, &RequestError{Part: part, Reason: fmt.Errorf("%q is no field: %w", text, err)}
	}
	c, ok := f.Root.(*filter.Compare)
	if !ok || c.Op != filter.Exists || len(text) == 0 {
		return filter.Field{}, wrong(part, "%q is no field, such as name, labels.app or spec.nodeName", text)
	}
	c.Field.Pos = filter.Pos{}
	return c.Field, nil
}

// value is the value of a field as it is sorted and grouped by: one of a kind, where a list
// of several texts is one text.
type value struct {
	// kind is the engine's type of it: String, Float64 or Int64, which is milliseconds.
	kind string
	// of is the expression of the value, which is something also where there is none:
	// missing says so.
	of, missing func(*statement, *source) string
	// kindOf is what is known of the values.
	kindOf filter.Kind
}

func (p *plan) value(f filter.Field) value {
	text := p.textOf(f)
	kind := p.kind(f)
	if f.Space == filter.Fixed && kind == filter.Time {
		column := attributes[f.Name]
		return value{
			kind: "Int64", kindOf: kind,
			of:      func(*statement, *source) string { return "toUnixTimestamp64Milli(" + column + ")" },
			missing: func(*statement, *source) string { return "toUnixTimestamp64Milli(" + column + ") = 0" },
		}
	}
	read := map[filter.Kind]func(string) string{filter.Numeric: number, filter.Time: moment, filter.Span: duration}[kind]
	if read == nil {
		return value{kind: "String", kindOf: kind, of: text, missing: func(s *statement, src *source) string { return text(s, src) + " = ''" }}
	}
	v := value{
		kind: "Float64", kindOf: kind,
		of:      func(s *statement, src *source) string { return "ifNull(" + read(text(s, src)) + ", 0)" },
		missing: func(s *statement, src *source) string { return "isNull(" + read(text(s, src)) + ")" },
	}
	if kind == filter.Time {
		v.kind = "Int64"
	}
	return v
}

// textOf returns the expression of all that a field has, as one text: of several values
// with the unit separator between them, of nothing empty.
func (p *plan) textOf(f filter.Field) func(*statement, *source) string {
	return func(s *statement, src *source) string {
		switch {
		case f.Space == filter.Fixed && f.Name == "state":
			return p.stateText(s, src)
		case f.Space == filter.Fixed && isTime(f.Name):
			column := attributes[f.Name]
			return fmt.Sprintf("if(toUnixTimestamp64Milli(%s) = 0, '', %s)", column, timeText(column))
		case f.Space == filter.Fixed:
			return "toString(" + attributes[f.Name] + ")"
		case f.Space == filter.Label && f.Name == "":
			return fmt.Sprintf("arrayStringConcat(arrayMap((k, v) -> concat(k, '=', v), mapKeys(labels), mapValues(labels)), %s)",
				s.text(document.Separator))
		case f.Space == filter.Label:
			return "labels[" + s.text(f.Name) + "]"
		case len(f.Picks) > 0:
			c := compiler{plan: p, s: s, source: src}
			return fmt.Sprintf("arrayStringConcat(%s, %s)", scalars(c.pickedRaws(f)), s.text(document.Separator))
		}
		return src.path(s, f.Name)
	}
}

// searchPath is a path that words are looked for at, in assets of some types.
type searchPath struct {
	path  string
	types []string
}

// searchPaths returns those of a type, or of all types.
func (e *Engine) searchPaths(assetType string) []searchPath {
	var list []searchPath
	paths := e.warehouse.SearchPaths()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if types := paths[path]; assetType == "" || slices.Contains(types, assetType) {
			list = append(list, searchPath{path, types})
		}
	}
	return list
}

// splitValues parts the text of a field into its values.
func splitValues(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, document.Separator)
}
