package expression

import (
	"errors"
	"strings"
	"testing"
)

func TestExpressions(t *testing.T) {
	names := []string{"n", "cores", "AND_"}
	for text, want := range map[string]string{
		"": "missing", "n +": "missing", "n n": "not expected", "1 +* 2": "missing", "m": "no value", "nn": "is it n?", "n > 1": "must be " +
			"a number", "(n": "not closed",
		"f(n)": "no function", "round(n": "not closed", "round()": "missing", "least(n)": "2 to 8", "n ; n": "means nothing", "1e": "not a " +
			"number",
		strings.Repeat("(", 30) + "n" + strings.Repeat(")", 30): "deep", strings.Repeat("-", 30) + "n": "deep", "n" + strings.Repeat("+n",
			200): "parts",
		strings.Repeat(" ", 2000): "bytes", "NOT n": "NOT is before", "n AND n": "between comparisons", "round(n, n)": "digits", "(n > 1) " +
			"+ 1": "between numbers",
		"1.2.3": "not a number", "n\x00": "means nothing", "-": "missing",
	} {
		x, err := Parse(text, names, false)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v %v, want %q", text, x, err, want)
		}
	}
	for _, text := range []string{"n > 1 AND NOT (cores = 2 OR n < 3)", "n/cores >= 1.5e3", "(n > 1)"} {
		if _, err := Parse(text, names, true); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{"n > 1 AND NOT (n = 2)", "round(n / cores, 2)", "-(-n)", "least(n, 1, 2)", "((("} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, logic := range []bool{false, true} {
			x, err := Parse(text, []string{"n", "cores"}, logic)
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Position < 0 || e.Position > len(text)) {
				t.Fatalf("%q: %v", text, err)
			}
			if err == nil {
				if sql := x.SQL(func(name string) string { return name }, func(float64) string { return "1" }); len(sql) > 20_000 {
					t.Fatalf("%q becomes %d bytes", text, len(sql))
				}
			}
		}
	})
}
