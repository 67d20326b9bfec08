package document

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestWeighIsNeverTooLittle holds it against what documents become.
func TestWeighIsNeverTooLittle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var value func(depth int) any
	text := func() string { return strings.Repeat([]string{"a", "ü", "{", ":", "\"", "\\"}[r.IntN(6)], r.IntN(9)) }
	value = func(depth int) any {
		switch n := r.IntN(8); {
		case n < 3 && depth < 6:
			m := make(map[string]any)
			for range r.IntN(6) {
				m[text()] = value(depth + 1)
			}
			return m
		case n < 5 && depth < 6:
			var l []any
			for range r.IntN(6) {
				l = append(l, value(depth+1))
			}
			return l
		case n == 5:
			return r.IntN(1000)
		}
		return text()
	}
	for range 5000 {
		doc, err := json.Marshal(map[string]any{text(): value(0), text(): value(0)})
		if err != nil {
			t.Fatal(err)
		}
		fields, err := Fields(doc)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, f := range fields {
			size += len(f.Path)
		}
		if values, paths := Weigh(doc); values < len(fields) || paths < size {
			t.Fatalf("%s weighs %d values with paths of %d bytes, it has %d with %d", doc, values, paths, len(fields), size)
		}
	}
}

// TestPathsAreBounded: a document of less than the largest size, whose paths would
// take gigabytes.
func TestPathsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"` + strings.Repeat("k", 1<<20) + `":{`)
	for n := range 100_000 {
		fmt.Fprintf(&b, `"%d":0,`, n)
	}
	b.WriteString(`"x":0}}`)
	doc := []byte(b.String())
	if _, err := Fields(doc); err == nil || !strings.Contains(err.Error(), "paths have") {
		t.Errorf("the error is %v", err)
	}
	if err := CheckPaths(doc); err == nil {
		t.Error("it is taken by CheckPaths")
	}
}

// TestLightDocuments: none of that size has paths that are too large.
func TestLightDocuments(t *testing.T) {
	for keys := 1; keys < light; keys += 97 {
		doc := []byte(`{"` + strings.Repeat("k", keys) + `":[` + strings.Repeat("0,", (light-keys)/2) + `0]}`)
		if _, paths := Weigh(doc); paths > MaxPaths {
			t.Fatalf("a key of %d bytes: %d", keys, paths)
		}
	}
}

func FuzzWeigh(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":"d"}]}}`))
	f.Add([]byte(`}}]]{{{"`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if values, paths := Weigh(doc); values < 0 || paths < 0 {
			t.Fatal(values, paths)
		}
	})
}

func BenchmarkWeigh(b *testing.B) {
	doc := []byte(`{"spec":{"containers":[{"name":"main","image":"registry.example/app:1.2.3","env":[{"name":"A","value":"b"}]}],` +
		`"nodeName":"n1"}}`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		Weigh(doc)
	}
}
