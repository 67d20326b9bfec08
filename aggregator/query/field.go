package query

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// ParseField reads a field as filters have it. part is where it stands in the request.
func ParseField(part, text string) (filter.Field, error) {
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
	of, missing func(*Statement, *Source) string
	// kindOf is what is known of the values.
	kindOf filter.Kind
}

func (p *Plan) value(f filter.Field) value {
	text := p.TextOf(f)
	kind := p.KindOf(f)
	if f.Space == filter.Fixed && kind == filter.Time {
		column := attributes[f.Name]
		return value{
			kind: "Int64", kindOf: kind,
			of:      func(*Statement, *Source) string { return "toUnixTimestamp64Milli(" + column + ")" },
			missing: func(*Statement, *Source) string { return "toUnixTimestamp64Milli(" + column + ") = 0" },
		}
	}
	read := map[filter.Kind]func(string) string{filter.Numeric: number, filter.Time: moment, filter.Span: duration}[kind]
	if read == nil {
		return value{kind: "String", kindOf: kind, of: text, missing: func(s *Statement, src *Source) string { return text(s, src) + " = ''" }}
	}
	v := value{
		kind: "Float64", kindOf: kind,
		of:      func(s *Statement, src *Source) string { return "ifNull(" + src.once(read, text(s, src)) + ", 0)" },
		missing: func(s *Statement, src *Source) string { return "isNull(" + src.once(read, text(s, src)) + ")" },
	}
	if kind == filter.Time {
		v.kind = "Int64"
	}
	return v
}

// TextOf returns the expression of all that a field has, as one text: of several values
// with the unit separator between them, of nothing empty.
func (p *Plan) TextOf(f filter.Field) func(*Statement, *Source) string {
	return func(s *Statement, src *Source) string {
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
				s.Text(document.Separator))
		case f.Space == filter.Label:
			return "labels[" + s.Text(f.Name) + "]"
		case len(f.Picks) > 0:
			c := compiler{Plan: p, s: s, source: src}
			return fmt.Sprintf("arrayStringConcat(%s, %s)", scalars(c.pickedRaws(f)), s.Text(document.Separator))
		}
		return src.path(s, f.Name)
	}
}

// Millis returns the expression of a field as a moment in milliseconds, or NULL.
func (p *Plan) Millis(f filter.Field) func(*Statement, *Source) string {
	if f.Space == filter.Fixed && isTime(f.Name) {
		return func(*Statement, *Source) string {
			return "nullIf(toUnixTimestamp64Milli(" + attributes[f.Name] + "), 0)"
		}
	}
	text := p.TextOf(f)
	return func(s *Statement, src *Source) string { return src.once(moment, text(s, src)) }
}

// Texts returns the expression of the list of values of a field.
func (p *Plan) Texts(f filter.Field) func(*Statement, *Source) string {
	text := p.TextOf(f)
	return func(s *Statement, src *Source) string {
		if src.History && f.Space == filter.Document && len(f.Picks) == 0 {
			return src.List(f.Name)
		}
		return fmt.Sprintf("arrayFilter(v -> v != '', splitByChar(%s, %s))", s.Text(document.Separator), text(s, src))
	}
}

// Numbers returns the expression of the list of those values of a field that are numbers, or, by its kind,
// moments in milliseconds or durations in seconds.
func (p *Plan) Numbers(f filter.Field) func(*Statement, *Source) string {
	if f.Space == filter.Fixed && isTime(f.Name) {
		at := p.Millis(f)
		return func(s *Statement, src *Source) string {
			return "arrayMap(v -> toFloat64(assumeNotNull(v)), arrayFilter(v -> isNotNull(v), [" + at(s, src) + "]))"
		}
	}
	read := map[filter.Kind]func(string) string{filter.Time: moment, filter.Span: duration}[p.KindOf(f)]
	if read == nil {
		read = number
	}
	text, texts := p.TextOf(f), p.Texts(f)
	return func(s *Statement, src *Source) string {
		all := "arrayMap(v -> toFloat64(assumeNotNull(v)), arrayFilter(v -> isNotNull(v), arrayMap(v -> " + read("v") + ", " + texts(s, src) + ")))"
		if p.KindOf(f) == filter.Time || p.KindOf(f) == filter.Span || src.History {
			return all
		}
		// Most numbers are whole, and alone.
		return fmt.Sprintf("if(match(%[1]s, '^[0-9]{1,15}$'), [toFloat64OrZero(%[1]s)], %[2]s)", text(s, src), all)
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

// SplitValues parts the text of a field into its values.
func SplitValues(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, document.Separator)
}
