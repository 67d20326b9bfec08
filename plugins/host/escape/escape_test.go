package escape

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestNames: what is written for a record tells names apart, and short ones of
// letters stay as they are.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"/": "/", "/mnt/Bücher 2": "/mnt/Bücher 2", "/a\xff": `/a\377`, "/a\n": `/a\012`, `/a\b`: `/a\b`, `/a\x2db`: `/a\x2db`,
		`/a\377`: `/a\134377`, "/a\\\n": `/a\134\012`, "/a\ufffd": `/a\357\277\275`, "\u0085": `\302\205`,
	} {
		if got := Natural(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	long := "/" + strings.Repeat("ü", 2000)
	a, b := Natural(long), Natural(long+"x")
	if len(a) > maxNatural || a == b || !utf8.ValidString(a) {
		t.Errorf("%q and %q", a, b)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("/m/a\xe9", `/m/a\351`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(Natural(a)) || len(Natural(a)) > maxNatural {
			t.Errorf("%q", Natural(a))
		}
		if a != b && Natural(a) == Natural(b) {
			t.Errorf("%q and %q are both %q", a, b, Natural(a))
		}
	})
}
