// Package nearest finds what a word that nobody knows may have been meant to be.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

// shown is how many words are named at most.
const shown = 3

// Words returns those of the known words that are nearest to a wrong one, the
// nearest first: three at most, and none that are far from it. Case does not
// count.
func Words(wrong string, known []string) []string {
	type candidate struct {
		word     string
		distance int
	}
	var near []candidate
	lower := strings.ToLower(wrong)
	for _, word := range known {
		other := strings.ToLower(word)
		d := distance(lower, other)
		switch {
		case d <= max(1, min(len(lower), len(other))/3):
		case len(lower) >= 3 && (strings.HasPrefix(other, lower) || strings.HasSuffix(other, lower)):
		default:
			continue
		}
		near = append(near, candidate{word, d})
	}
	slices.SortStableFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.word, b.word))
	})
	var words []string
	for _, c := range near {
		if !slices.Contains(words, c.word) && len(words) < shown {
			words = append(words, c.word)
		}
	}
	return words
}

// Hint returns the end of an error about a wrong word: "; is it this or that?",
// or nothing where no known word is near.
func Hint(wrong string, known []string) string {
	words := Words(wrong, known)
	if len(words) == 0 {
		return ""
	}
	return "; is it " + strings.Join(words, " or ") + "?"
}

// maxWord bounds the words that are compared: beyond it nobody mistyped.
const maxWord = 200

// distance is how many letters must be put in, left out, changed, or swapped with
// their neighbour to make one word of the other.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return max(len(a), len(b))
	}
	// Rows of the table: the one before the last, the last, and this one.
	var before []int
	last, this := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		this[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			this[j+1] = min(change, last[j+1]+1, this[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				this[j+1] = min(this[j+1], before[j-1]+1)
			}
		}
		before, last, this = last, this, make([]int, len(b)+1)
	}
	return last[len(b)]
}
