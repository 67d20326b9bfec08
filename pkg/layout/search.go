package layout

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxSearchText is how many bytes the text has at most that a search by words looks at.
const MaxSearchText = 32 << 10

// SearchText returns what a search by words looks at, in lower case, a line each: an
// asset's name, uid and project, the values of its labels, and those of its fields (as
// of document.Fields) whose paths are among search, a layout's. An asset has a word if
// the word, in lower case, is part of it. What is beyond MaxSearchText is left out.
func SearchText(name, uid, project string, labels map[string]string, fields iter.Seq2[string, string], search []string) string {
	var b strings.Builder
	add := func(text string) {
		if text != "" && b.Len() < MaxSearchText {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(strings.ToLower(text))
		}
	}
	add(name)
	add(uid)
	add(project)
	if len(labels) > 0 {
		for _, value := range slices.Sorted(maps.Values(labels)) {
			add(value)
		}
	}
	if len(search) > 0 {
		for path, value := range fields {
			if slices.Contains(search, path) {
				// Values that share a path have the unit separator between them.
				add(strings.ReplaceAll(value, "\x1f", "\n"))
			}
		}
	}
	text := b.String()
	if len(text) <= MaxSearchText {
		return text
	}
	end := MaxSearchText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}
