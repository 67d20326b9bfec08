package api

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every reason that is counted is among those that are there from the start.
func TestReasonsAreKnown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
	}
	for _, test := range []struct {
		pattern string
		known   []string
	}{
		{`refuse\("([a-z_]+)"|refusedCalls\.WithLabelValues\("([a-z_]+)"\)`, refusedCallReasons},
		{`&refusal\{"([a-z_]+)"`, refusedEnrollmentReasons},
	} {
		used := map[string]bool{}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(test.pattern).FindAllStringSubmatch(string(text), -1) {
				used[strings.Join(m[1:], "")] = true
			}
		}
		for reason := range used {
			if !slices.Contains(test.known, reason) {
				t.Errorf("reason %q is not there from the start", reason)
			}
		}
		for _, reason := range test.known {
			if !used[reason] {
				t.Errorf("reason %q is not counted anywhere", reason)
			}
		}
	}
}
