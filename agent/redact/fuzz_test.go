package redact

import (
	"bytes"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// FuzzRedact shows that any text, alone, as a label, as a uid, and in a document, is
// redacted without a panic, that redacting it again changes nothing, that what is explained
// is what leaves, and, while fuzzing, that a long text of it takes no more than its share.
func FuzzRedact(f *testing.F) {
	for _, file := range []string{"testdata/secrets.txt", "testdata/harmless.txt"} {
		cases, _ := corpus(f, file)
		for _, c := range cases {
			f.Add(c[0])
		}
	}
	for _, p := range readPlanted(f, "testdata/planted.txt") {
		f.Add(p.doc)
	}
	for _, unit := range longUnits {
		f.Add(strings.Repeat(unit, 3))
	}
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "\ufffd")
		clean := builtin.Text(s)
		if again := builtin.Text(clean); again != clean {
			t.Fatalf("%q gave %q, and that %q", s, clean, again)
		}
		if explained, found := builtin.ExplainText(s); explained != clean || len(found) == 0 && clean != s {
			t.Fatalf("%q gave %q, and %q explained by %v", s, clean, explained, found)
		}
		if uid := builtin.UID(s); (uid == s) != (clean == s) || builtin.UID(uid) != uid {
			t.Fatalf("%q as a uid is %q", s, uid)
		}
		labels := builtin.Labels(map[string]string{s: s, "a": s})
		if again := builtin.Labels(labels); !equal(labels, again) {
			t.Fatalf("labels %q gave %q", labels, again)
		}
		quoted := document.Object{{Name: "a", Value: s}, {Name: "b", Value: []any{s, "-p", s, []any{s, s}}}, {Name: "name", Value: s},
			{Name: "value", Value: s}}
		raw, err := quoted.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{raw, []byte(s)} {
			doc, err := document.Canonical(raw)
			if err != nil {
				continue
			}
			once, err := builtin.Document(doc)
			if err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			if again, err := builtin.Document(once); err != nil || !bytes.Equal(again, once) {
				t.Fatalf("%s gave %s, and that %s, %v", doc, once, again, err)
			}
			if explained, _, err := builtin.ExplainDocument(doc); err != nil || !bytes.Equal(explained, once) {
				t.Fatalf("%s gave %s, and %s explained, %v", doc, once, explained, err)
			}
		}
		if !fuzzing || s == "" {
			return
		}
		// What is quadratic takes seconds, what is linear milliseconds.
		const size, most = 1 << 13, 5 * time.Second
		long := strings.Repeat(s, 1+size/len(s))[:size]
		begun := time.Now()
		builtin.Text(long)
		if took := time.Since(begun); took > most {
			t.Fatalf("%d bytes of %q took %s", len(long), s, took)
		}
	})
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}
