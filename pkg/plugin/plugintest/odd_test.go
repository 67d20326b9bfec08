package plugintest

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestOdd(t *testing.T) {
	seen := make(map[string]string)
	Odd(t, []byte(`{ "a" : 1, "b": {"c\"d": ["x", "y"]} , "e":[] }`), func(what string, odd []byte) {
		if _, twice := seen[what]; twice {
			t.Errorf("%s comes twice", what)
		}
		seen[what] = strings.Join(strings.Fields(string(odd)), "")
		if !jsontext.Value(odd).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			t.Errorf("%s: %.200s", what, odd)
		}
	})
	for what, want := range map[string]string{
		"a is null": `{"a":null,"b":{"c\"d":["x","y"]},"e":[]}`, "a is its own text": `{"a":"1","b":{"c\"d":["x","y"]},"e":[]}`,
		"a is missing": `{"b":{"c\"d":["x","y"]},"e":[]}`, "e is missing": `{"a":1,"b":{"c\"d":["x","y"]}}`,
		`b.c"d[0] is missing`: `{"a":1,"b":{"c\"d":["y"]},"e":[]}`, `b.c"d[0] is there twice`: `{"a":1,"b":{"c\"d":["x","x","y"]},"e":[]}`,
		`b.c"d is there twice, and null`: `{"a":1,"b":{"c\"d":["x","y"],"c\"d":null},"e":[]}`, "the element is null": `null`,
	} {
		if text, tried := seen[what]; text != want && (tried || OneOf == 1) {
			t.Errorf("%s: %s, want %s", what, text, want)
		}
	}
}
