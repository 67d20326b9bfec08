package layout

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
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
	shown := c.show(s, age)
	switch {
	case shown == "":
		return c.Default
	case c.Width > 0:
		shown = cut(shown, c.Width)
	}
	return c.Prefix + shown + c.Suffix
}

// cut returns as much of a text as has so many characters.
func cut(text string, width int) string {
	n := 0
	for i := range text {
		if n++; n == width && len([]rune(text[i:])) > 1 {
			return text[:i] + "…"
		}
	}
	return text
}

func (c *Column) show(s Subject, age func(time.Time) string) string {
	values := s.Values(c.Path)
	switch {
	case c.Format == Count:
		return c.count(s, values)
	case c.Of != "":
		return c.part(s, values)
	case c.Format == JSON:
		return inJSON(values)
	}
	if c.Member != "" {
		var members []any
		for _, v := range spread(values) {
			members = find(members, v, c.Member)
		}
		values = members
	} else if c.Format == More {
		n, there := size(values)
		if !there {
			return ""
		}
		return strconv.Itoa(n)
	}
	texts := make([]string, 0, len(values))
	for _, v := range spread(values) {
		if t := c.one(v, age); t != "" {
			texts = append(texts, t)
		}
	}
	delimiter := ","
	switch {
	case c.Delimiter != "":
		delimiter = c.Delimiter
	case c.Format == Dict:
		delimiter = "; "
	}
	return strings.Join(texts, delimiter)
}

// inJSON returns values as JSON: one alone, several as an array.
func inJSON(values []any) string {
	if len(values) == 0 {
		return ""
	}
	var v any = values
	if len(values) == 1 {
		v = values[0]
	}
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return text(v) // not what decoded JSON has
	}
	return string(data)
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
	case Ratio, Progress:
		if c.Of == "" {
			break
		}
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
	switch c.Format {
	case Time, Age:
		if t, ok := c.moment(v); ok {
			if c.Format == Age {
				return age(t)
			}
			return t.UTC().Format(showLayouts[c.Show])
		}
	case Enum:
		if style, ok := c.Items[text(v)]; ok && style.Label != "" {
			return style.Label
		}
	case Badge:
		if c.Style != nil && c.Style.Label != "" {
			return c.Style.Label
		}
	case List:
		if c.Item != nil {
			if c.Item.Label != "" {
				return c.Item.Label
			}
			return (&Column{Format: c.Item.Format}).one(v, age)
		}
	case Progress:
		if n, ok := v.(float64); ok {
			return number(n, Number) + "%"
		}
	case Dict:
		if m, ok := v.(map[string]any); ok {
			lines := make([]string, 0, len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) {
				lines = append(lines, k+": "+text(m[k]))
			}
			return strings.Join(lines, "; ")
		}
	}
	if n, ok := v.(float64); ok {
		return c.number(n)
	}
	return text(v)
}

// number returns a number in the column's format and unit.
func (c *Column) number(n float64) string {
	if c.Format == Bytes {
		if c.Unit != "" {
			n *= unitSizes[c.Unit]
		}
		if c.Display != "" {
			n /= unitSizes[c.Display]
			return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64) + c.Display
		}
	}
	return number(n, c.Format)
}

// unitSizes are how many bytes each of Units has.
var unitSizes = map[string]float64{
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
}

var showLayouts = map[string]string{"": time.RFC3339, "second": time.RFC3339, "minute": "2006-01-02T15:04Z07:00", "date": time.DateOnly}

// moment returns the moment that a value is, as the column's source writes it.
func (c *Column) moment(v any) (time.Time, bool) {
	if c.Source == "" || c.Source == "rfc3339" {
		text, ok := v.(string)
		t, err := time.Parse(time.RFC3339, text)
		return t, ok && err == nil
	}
	n, ok := v.(float64)
	if text, is := v.(string); is {
		parsed, err := strconv.ParseFloat(text, 64)
		n, ok = parsed, err == nil
	}
	if c.Source == "milliseconds" {
		n /= 1000
	}
	// What is beyond is no time that anybody writes down.
	if !ok || !(n > -1e11 && n < 1e11) {
		return time.Time{}, false
	}
	whole := math.Floor(n)
	return time.Unix(int64(whole), int64((n-whole)*1e9)), true
}

// part returns how much the value is of the whole. A value that is not there is
// none of it, and a whole below zero is no limit, so there is no part to tell.
func (c *Column) part(s Subject, values []any) string {
	value, _ := sum(values)
	whole, ok := sum(s.Values(c.Of))
	switch {
	case !ok && len(values) == 0:
		return ""
	case c.share() && whole <= 0:
		return ""
	case whole < 0:
		return c.number(value)
	case c.share():
		return strconv.FormatFloat(100*value/whole, 'f', 0, 64) + "%"
	}
	return c.number(value) + "/" + c.number(whole)
}

// share reports whether the column shows how much of the whole there is.
func (c *Column) share() bool { return c.Format == Ratio || c.Format == Progress }

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
