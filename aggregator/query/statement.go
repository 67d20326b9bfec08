package query

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Statement is the text of a SELECT with the values of its places. Whatever comes from
// outside is a value. The only exception are the names of paths, which the engine takes
// only as names of columns: they go through [field].
type Statement struct {
	// eager has the engine read all columns at once. Where relations are asked for, it fails
	// with what it reads later ("structureEquals is not supported", ClickHouse 26.7).
	eager bool
	strings.Builder
	values []any
	// list has what the values are, for Explain.
	list []Parameter
	// places has the places of values that were given before.
	places map[string]string
	// documents is how many expressions there are that read something out of a document.
	documents int
}

// Parameter is a value of a statement, as Explain shows it.
type Parameter struct {
	// Name and Type are as in {name:Type}.
	Name, Type string
	Value      string
}

// Put adds text.
func (s *Statement) Put(parts ...string) {
	for _, p := range parts {
		s.WriteString(p)
	}
}

// Bind returns the place of a value of a type. The same value has one place.
func (s *Statement) Bind(kind string, value any) string {
	key := fmt.Sprintf("%s %#v", kind, value)
	if place, ok := s.places[key]; ok {
		return place
	}
	if s.places == nil {
		s.places = make(map[string]string)
	}
	name := "p" + strconv.Itoa(len(s.values))
	place := "{" + name + ":" + kind + "}"
	s.places[key] = place
	s.values = append(s.values, clickhouse.Named(name, value))
	s.list = append(s.list, Parameter{Name: name, Type: kind, Value: shown(value)})
	return place
}

// Text returns the place of a text.
func (s *Statement) Text(value string) string { return s.Bind("String", value) }

// Texts returns the place of a list of texts.
func (s *Statement) Texts(values []string) string { return s.Bind("Array(String)", values) }

// Number returns the place of a number.
func (s *Statement) Number(value float64) string {
	return s.Bind("Float64", strconv.FormatFloat(value, 'g', -1, 64))
}

// Whole returns the place of a whole number that is not negative.
func (s *Statement) Whole(value uint64) string {
	return s.Bind("UInt64", strconv.FormatUint(value, 10))
}

// Wholes returns the place of a list of whole numbers.
func (s *Statement) Wholes(values []uint64) string { return s.Bind("Array(UInt64)", values) }

// shown is a value as people read it, cut where it is long.
func shown(value any) string {
	text, ok := value.(string)
	if !ok {
		text = fmt.Sprintf("%v", value)
	}
	const most = 200
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// identifier returns a name as the engine reads it in back quotes, whatever is in it.
func identifier(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 2)
	b.WriteByte('`')
	for i := range len(name) {
		switch c := name[i]; {
		case c == '`' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f || c == '{' || c == '}':
			// Braces are no danger to the engine, but the driver looks for places.
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('`')
	return b.String()
}

// field returns the column of a path of the document: one part of the map, which is read
// without the others also under FINAL.
func field(path string) string { return "fields." + identifier("key_"+path) }
