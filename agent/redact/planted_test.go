package redact

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// planted is a document with secrets in it, of a shape that collectors make.
type planted struct {
	name    string
	doc     string
	secrets []string
	want    string
}

// readPlanted reads a file of such documents: a line with the name behind a #, the
// document, each secret behind a !, and what comes of it behind an arrow.
func readPlanted(t testing.TB, file string) (list []planted) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for line := range strings.SplitSeq(string(data), "\n") {
		last := len(list) - 1
		switch {
		case line == "":
		case strings.HasPrefix(line, "# "):
			name = line[2:]
		case strings.HasPrefix(line, "{"):
			list = append(list, planted{name: name, doc: line})
		case strings.HasPrefix(line, "! ") && last >= 0:
			list[last].secrets = append(list[last].secrets, line[2:])
		case strings.HasPrefix(line, "-> ") && last >= 0:
			list[last].want = line[3:]
		default:
			t.Fatalf("%s: what is %.80q?", file, line)
		}
	}
	return list
}

// writePlanted writes what comes of documents into their file.
func writePlanted(t *testing.T, file string, list []planted) {
	t.Helper()
	var b strings.Builder
	for n, p := range list {
		if n > 0 {
			b.WriteString("\n")
		}
		b.WriteString("# " + p.name + "\n" + p.doc + "\n")
		for _, s := range p.secrets {
			b.WriteString("! " + s + "\n")
		}
		b.WriteString("-> " + string(redact(t, p.doc)) + "\n")
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// leaks returns what of a secret is in a document: all of it, or the half.
func leaks(doc, secret string) bool {
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	for _, s := range []string{secret, string(quoted[1 : len(quoted)-1])} {
		if strings.Contains(doc, s) || len(s) >= 16 && (strings.Contains(doc, s[:len(s)/2]) || strings.Contains(doc, s[len(s)/2:])) {
			return true
		}
	}
	return false
}

// TestPlanted plants secrets in places that people use, in documents of the shapes
// that collectors make, and counts those that would leave.
func TestPlanted(t *testing.T) {
	list := readPlanted(t, "testdata/planted.txt")
	secrets, through := 0, 0
	var came []string
	for _, p := range list {
		got := string(redact(t, p.doc))
		if got != p.want && !*update {
			t.Errorf("%s: gave\n %s\n want\n %s", p.name, got, p.want)
		}
		for _, s := range p.secrets {
			if secrets++; !leaks(canonical(t, p.doc), s) {
				t.Errorf("%s: %q is not planted", p.name, s)
			}
			if leaks(got, s) {
				through++
				came = append(came, p.name)
				t.Errorf("%s: %q came through:\n %s", p.name, s, got)
			}
		}
		if again := string(redact(t, got)); again != got {
			t.Errorf("%s: redacted again gave\n %s\n and not\n %s", p.name, again, got)
		}
	}
	t.Logf("%d of %d secrets in %d documents came through: %q", through, secrets, len(list), slices.Compact(came))
	if secrets < 200 || len(list) < 200 {
		t.Errorf("only %d secrets in %d documents", secrets, len(list))
	}
	if *update {
		writePlanted(t, "testdata/planted.txt", list)
	}
}

// TestLookalikes has what looks like a secret and is none: all of it must be readable.
func TestLookalikes(t *testing.T) {
	list := readPlanted(t, "testdata/lookalikes.txt")
	var masked []string
	for _, p := range list {
		if got, want := string(redact(t, p.doc)), canonical(t, p.doc); got != want {
			masked = append(masked, p.name)
			t.Errorf("%s: gave\n %s", p.name, got)
		}
	}
	t.Logf("%d of %d look-alikes were masked: %q", len(masked), len(list), masked)
	if len(list) < 100 {
		t.Errorf("only %d", len(list))
	}
}
