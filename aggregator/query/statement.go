package query

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// statement is the text of a SELECT with the values of its places. Whatever comes from
// outside is a value. The only exception are the names of paths, which the engine takes
// only as names of columns: they go through [field].
type statement struct {
	strings.Builder
	values []any
	// list has what the values are, for Explain.
	list []Parameter
	// places has the places of values that were given before.
	places map[string]string
}

// Parameter is a value of a statement, as Explain shows it.
type Parameter struct {
	// Name and Type are as in {name:Type}.
	Name, Type string
	Value      string
}

// put adds text.
func (s *statement) put(parts ...string) {
	for _, p := range parts {
		s.WriteString(p)
	}
}

// bind returns the place of a value of a type. The same value has one place.
func (s *statement) bind(kind string, value any) string {
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

// text returns the place of a text.
func (s *statement) text(value string) string { return s.bind("String", value) }

// texts returns the place of a list of texts.
func (s *statement) texts(values []string) string { return s.bind("Array(String)", values) }

// number returns the place of a number.
func (s *statement) number(value float64) string {
	return s.bind("Float64", strconv.FormatFloat(value, 'g', -1, 64))
}

// whole returns the place of a whole number that is not negative.
func (s *statement) whole(value uint64) string {
	return s.bind("UInt64", strconv.FormatUint(value, 10))
}

// wholes returns the place of a list of whole numbers.
func (s *statement) wholes(values []uint64) string { return s.bind("Array(UInt64)", values) }

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
