package redact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRandomTexts: long texts of random letters and digits, such as packed data, are no tokens
// for how they begin.
func TestRandomTexts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 400)
	for range 40_000 {
		for i := range text {
			text[i] = letters[random.IntN(len(letters))]
		}
		out, err := builtin.Document(fmt.Appendf(nil, `{"blob":%q}`, text))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), string(text)) {
			t.Errorf("%.60s became %.80s", text, out)
		}
	}
}
