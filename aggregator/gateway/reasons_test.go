package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every kind that is counted is among those that are there from the start.
func TestReasonsAreKnown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`[rd]\w*\.log\("([a-z-]+)"|kind :?= "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
			used[m[1]+m[2]] = true
		}
	}
	for kind := range used {
		if !slices.Contains(refusedReasons, kind) {
			t.Errorf("%q is not there from the start", kind)
		}
	}
	for _, kind := range refusedReasons {
		if !used[kind] {
			t.Errorf("%q is not counted anywhere", kind)
		}
	}
}
