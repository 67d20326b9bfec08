package plugintest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// Odd calls each with an element of a listing, a JSON object, in which one thing at
// a time is odd: each member and each element of a list, at any depth, is null, empty,
// of every other type, its own text instead of a number, huge, nested too deeply, out of range,
// missing, and there twice. What says which one it is. Under the race detector, which
// makes it ten times as slow, it is each fifth of them.
func Odd(t testing.TB, element []byte, each func(what string, odd []byte)) {
	t.Helper()
	n := 0
	visit := func(what string, odd []byte) {
		if n++; n%OneOf == 0 {
			each(what, odd)
		}
	}
	places, err := placesOf(element)
	if err != nil {
		t.Fatalf("the element is not sound: %v", err)
	}
	with := func(from, to int, text string) []byte {
		return slices.Concat(element[:from], []byte(text), element[to:])
	}
	for _, p := range places {
		value := string(element[p.value:p.end])
		for _, odd := range append(oddValues, [2]string{"its own text", `"` + strings.Trim(value, `"`) + `"`}) {
			if odd[1] != value && jsontext.Value(odd[1]).IsValid(jsontext.AllowInvalidUTF8(true)) {
				visit(fmt.Sprintf("%s is %s", p.path, odd[0]), with(p.value, p.end, odd[1]))
			}
		}
		visit(p.path+" is missing", p.without(element))
		whole := string(element[p.from:p.end])
		visit(p.path+" is there twice", with(p.from, p.end, whole+","+whole))
		if name := string(element[p.from:p.value]); name != "" {
			visit(p.path+" is there twice, and null", with(p.from, p.end, whole+","+name+"null"))
		}
	}
	for _, odd := range oddValues {
		visit("the element is "+odd[0], []byte(odd[1]))
	}
}

// oddValues are what a member may be instead of what it should be.
var oddValues = [][2]string{
	{"null", `null`}, {"an empty text", `""`}, {"an empty object", `{}`}, {"an empty list", `[]`}, {"true", `true`}, {"a number", `7`},
	{"below zero", `-1`}, {"a fraction", `0.5`}, {"out of range", `1e400`}, {"2^64", `18446744073709551616`}, {"a text", `"odd"`},
	{"an object", `{"odd":[null]}`}, {"a list", `[["odd"],null]`}, {"texts", `["",null,7,"odd"]`}, {"no UTF-8", "\"\xff\""},
	{"escapes", `"\u0000\ud800\n"`}, {"huge", `"` + strings.Repeat("odd ", 1<<13) + `"`},
	{"nested deeply", strings.Repeat(`{"odd":[`, 100) + strings.Repeat(`]}`, 100)},
}

// place is where a value lies: from its name, or itself in a list, to its end.
type place struct {
	path             string
	from, value, end int
}

// without returns the text without what lies there, and without one comma.
func (p place) without(text []byte) []byte {
	before, after := bytes.TrimRight(text[:p.from], " \t\r\n"), bytes.TrimLeft(text[p.end:], " \t\r\n")
	if cut, ok := bytes.CutPrefix(after, []byte(",")); ok {
		after = cut
	} else {
		before = bytes.TrimSuffix(before, []byte(","))
	}
	return slices.Concat(before, after)
}

// placesOf returns all values in an object. Of lists only the first elements count: the
// others are like them.
func placesOf(text []byte) (places []place, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	next := func() int {
		at := int(dec.InputOffset())
		return at + len(text[at:]) - len(bytes.TrimLeft(text[at:], " \t\r\n:,"))
	}
	var walk func(path string, quiet bool) error
	walk = func(path string, quiet bool) error {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		begin := token.Kind()
		if begin != '{' && begin != '[' {
			return nil
		}
		for i := 0; dec.PeekKind() != '}' && dec.PeekKind() != ']'; i++ {
			p := place{path: fmt.Sprintf("%s[%d]", path, i), from: next()}
			if begin == '{' {
				name, err := dec.ReadToken()
				if err != nil {
					return err
				}
				p.path = strings.TrimPrefix(path+"."+name.String(), ".")
			}
			p.value = next()
			skip := quiet || begin == '[' && i > 0
			at := len(places)
			if !skip {
				places = append(places, p)
			}
			if err := walk(p.path, skip); err != nil {
				return err
			}
			if !skip {
				places[at].end = int(dec.InputOffset())
			}
		}
		_, err = dec.ReadToken()
		return err
	}
	return places, walk("", false)
}
