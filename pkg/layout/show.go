package layout

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Subject is what columns are read from: an asset, or one element of it.
// Its values are those of decoded JSON: map[string]any, []any, string, float64,
// bool, nil.
type Subject struct {
	// Basics are what the asset has beside its document, by the names that
	// paths have for them, without the @. Elements have none.
	Basics map[string]any
	// Document is the asset's document, or the element.
	Document any
}

// Values returns the values at a path, in the document's order. What is null or
// not there is left out.
func (s Subject) Values(path string) []any {
	if name, ok := strings.CutPrefix(path, "@"); ok {
		return find(nil, s.Basics, name)
	}
	return find(nil, s.Document, path)
}

// Elements returns the values at a path with arrays taken apart.
func (s Subject) Elements(path string) []Subject {
	var list []Subject
	for _, v := range spread(s.Values(path)) {
		list = append(list, Subject{Document: v})
	}
	return list
}

func spread(values []any) []any {
	var flat []any
	for _, v := range values {
		if list, ok := v.([]any); ok {
			flat = append(flat, spread(list)...)
		} else if v != nil {
			flat = append(flat, v)
		}
	}
	return flat
}

// find appends the values at a path below v. A key ends at a dot, a bracket or
// the end of the path, and at which of them only the document can tell.
func find(found []any, v any, path string) []any {
	if v == nil {
		return found
	}
	if path == "" {
		return append(found, v)
	}
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			found = find(found, element, path)
		}
	case map[string]any:
		for end := range len(path) + 1 {
			if end < len(path) && path[end] != '.' && path[end] != '[' {
				continue
			}
			member, ok := v[path[:end]]
			switch {
			case !ok:
			case end == len(path):
				found = find(found, member, "")
			case path[end] == '.':
				found = find(found, member, path[end+1:])
			default:
				found = pick(found, member, path[end+1:])
			}
		}
	}
	return found
}

// pick goes on with the elements whose member has the value that the path
// begins with, as in type=Ready].status.
func pick(found []any, v any, path string) []any {
	condition, rest, _ := strings.Cut(path, "]")
	key, want, _ := strings.Cut(condition, "=")
	list, _ := v.([]any)
	for _, element := range list {
		if m, ok := element.(map[string]any); ok && m[key] != nil && text(m[key]) == want {
			found = find(found, element, strings.TrimPrefix(rest, "."))
		}
	}
	return found
}

// Text returns what the column shows of a subject, or nothing. Ages are told by
// the client: it passes how.
func (c *Column) Text(s Subject, age func(time.Time) string) string {
	values := s.Values(c.Path)
	if c.Format == Count {
		return c.count(s, values)
	}
	if c.Of != "" {
		return c.part(s, values)
	}
	texts := make([]string, 0, len(values))
	for _, v := range spread(values) {
		if t := c.one(v, age); t != "" {
			texts = append(texts, t)
		}
	}
	return strings.Join(texts, ",")
}

// Value returns the value behind what the column shows of a subject: a float64 for a
// count, and for a ratio, where 1 is the whole. Several values are a []any; without
// any it is nil.
func (c *Column) Value(s Subject) any {
	values := s.Values(c.Path)
	switch c.Format {
	case Count:
		if n, there := size(values); there {
			return float64(n)
		}
		return nil
	case Ratio:
		value, _ := sum(values)
		if whole, ok := sum(s.Values(c.Of)); ok && whole > 0 {
			return value / whole
		}
		return nil
	}
	switch len(values) {
	case 0:
		return nil
	case 1:
		return values[0]
	}
	return values
}

func (c *Column) one(v any, age func(time.Time) string) string {
	switch v := v.(type) {
	case float64:
		return number(v, c.Format)
	case string:
		if c.Format != Time && c.Format != Age {
			break
		}
		t, err := time.Parse(time.RFC3339, v)
		switch {
		case err != nil: // it is shown as it is
		case c.Format == Age:
			return age(t)
		default:
			return t.UTC().Format(time.RFC3339)
		}
	}
	return text(v)
}

// part returns how much the value is of the whole. A value that is not there is
// none of it, and a whole below zero is no limit, so there is no part to tell.
func (c *Column) part(s Subject, values []any) string {
	value, _ := sum(values)
	whole, ok := sum(s.Values(c.Of))
	switch {
	case !ok && len(values) == 0:
		return ""
	case c.Format == Ratio && whole <= 0:
		return ""
	case whole < 0:
		return number(value, c.Format)
	case c.Format == Ratio:
		return strconv.FormatFloat(100*value/whole, 'f', 0, 64) + "%"
	}
	return number(value, c.Format) + "/" + number(whole, c.Format)
}

func (c *Column) count(s Subject, values []any) string {
	n, there := size(values)
	if c.Of == "" {
		if !there {
			return ""
		}
		return strconv.Itoa(n)
	}
	whole, there := size(s.Values(c.Of))
	if !there {
		return ""
	}
	return fmt.Sprintf("%d/%d", n, whole)
}

// size counts elements of arrays and members of objects.
func size(values []any) (n int, there bool) {
	for _, v := range values {
		switch v := v.(type) {
		case []any:
			n += len(v)
		case map[string]any:
			n += len(v)
		default:
			n++
		}
	}
	return n, len(values) > 0
}

// sum adds up numbers.
func sum(values []any) (total float64, ok bool) {
	for _, v := range spread(values) {
		if n, is := v.(float64); is {
			total += n
			ok = true
		}
	}
	return total, ok
}

func number(n float64, f Format) string {
	switch f {
	case Bytes:
		return bytes(n)
	case Cores:
		n = float64(int64(n*1000+0.5)) / 1000
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// bytes returns a number of bytes in three digits or four.
func bytes(n float64) string {
	unit := 0
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for (n >= 1024 || n <= -1024) && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	digits := 0
	if unit > 0 && n < 10 && n > -10 && n != float64(int64(n)) {
		digits = 1
	}
	return strconv.FormatFloat(n, 'f', digits, 64) + units[unit]
}

// text returns any value on one line. Objects are their members.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		texts := make([]string, len(v))
		for i, e := range v {
			texts[i] = text(e)
		}
		return strings.Join(texts, ",")
	case map[string]any:
		texts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			texts = append(texts, k+"="+text(v[k]))
		}
		return strings.Join(texts, ",")
	}
	return fmt.Sprint(v)
}
