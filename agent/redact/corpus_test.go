package redact

import (
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false,
	"write what comes of the secrets in testdata into their files; read the difference before you keep it")

// corpus reads a file of cases: lines, each with what comes of it, or ? if that
// is not said.
func corpus(t testing.TB, file string) (cases [][2]string, raw []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw = strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for n := 0; n < len(raw); n++ {
		if raw[n] == "" || strings.HasPrefix(raw[n], "# ") {
			continue
		}
		c := [2]string{read(t, raw[n]), "?"}
		if n+1 < len(raw) && strings.HasPrefix(raw[n+1], "-> ") {
			n++
			c[1] = read(t, strings.TrimPrefix(raw[n], "-> "))
		}
		cases = append(cases, c)
	}
	return cases, raw
}

func read(t testing.TB, line string) string {
	if !strings.HasPrefix(line, `"`) {
		return line
	}
	text, err := strconv.Unquote(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return text
}

// clean redacts a case: a document, or else a text.
func clean(t testing.TB, in string) string {
	if strings.HasPrefix(in, `{"`) && json.Valid([]byte(in)) {
		return string(redact(t, in))
	}
	return builtin.Text(in)
}

// TestCorpus holds what comes of each case against what is written there, and
// shows that no part of a secret is left, and that nothing is masked twice.
func TestCorpus(t *testing.T) {
	cases, raw := corpus(t, "testdata/secrets.txt")
	for _, c := range cases {
		got := clean(t, c[0])
		if got != c[1] && !*update {
			t.Errorf("%q\n gave %q\n want %q", c[0], got, c[1])
		}
		if strings.Contains(got, "Zq") || !strings.Contains(got, Mask) {
			t.Errorf("%q\n gave %q", c[0], got)
		}
		if again := clean(t, got); again != got {
			t.Errorf("%q, redacted again, gave %q", got, again)
		}
	}
	if len(cases) < 500 {
		t.Errorf("only %d cases", len(cases))
	}
	if !*update {
		return
	}
	var out []string
	for _, line := range raw {
		if strings.HasPrefix(line, "-> ") {
			continue
		}
		out = append(out, line)
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		got := clean(t, read(t, line))
		if strings.HasPrefix(line, `"`) {
			got = strconv.Quote(got)
		}
		out = append(out, "-> "+got)
	}
	if err := os.WriteFile("testdata/secrets.txt", []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestHarmless shows that what only speaks about secrets stays.
func TestHarmless(t *testing.T) {
	cases, _ := corpus(t, "testdata/harmless.txt")
	for _, c := range cases {
		want := c[0]
		if strings.HasPrefix(want, `{"`) {
			want = canonical(t, want)
		}
		if got := clean(t, c[0]); got != want {
			t.Errorf("%s\n gave %s", c[0], got)
		}
	}
	if len(cases) < 200 {
		t.Errorf("only %d cases", len(cases))
	}
}
