package document

import (
	"bytes"
	"fmt"
)

// MaxPaths is how many bytes all paths of a document may have together. A path is
// repeated with each value below it, so a small document can have paths beyond all
// measure.
const MaxPaths = 8 * MaxSize

// light is the size in bytes of documents whose paths cannot be too large.
const light = 8 << 10

// CheckPaths returns an error if a document's paths are too large. [Fields] does
// not take such a document.
func CheckPaths(doc []byte) error {
	if len(doc) <= light {
		return nil
	}
	if _, paths := Weigh(doc); paths > MaxPaths {
		return fmt.Errorf("document: its paths have %d bytes together: long keys with much below them; at most %d are allowed", paths, MaxPaths)
	}
	return nil
}

// Weigh estimates what a document is when it is flattened, without memory of its own:
// how many values it has, and how many bytes their paths have together. It is never
// less than what [Fields] makes. Of what is no document it says something, quickly.
func Weigh(doc []byte) (values, paths int) {
	// lengths are those of the paths above, of objects and arrays, and key that of
	// the last text.
	var lengths [MaxDepth + 1]int
	depth, path, key := 0, 0, 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			start := i + 1
			for i++; ; i++ {
				n := bytes.IndexByte(doc[min(i, len(doc)):], '"')
				if n < 0 {
					return values, paths // cut off
				}
				if i += n; !openEscape(doc[start:i]) {
					break
				}
			}
			key = i - start
		case ':':
			// One value is counted for each key and each comma, be it an object.
			path = lengths[min(depth, MaxDepth)] + key + 1
			values++
			paths += path
		case ',':
			values++
			paths += lengths[min(depth, MaxDepth)]
		case '{', '[':
			if depth++; depth <= MaxDepth {
				lengths[depth] = path
			}
			path = lengths[min(depth, MaxDepth)]
		case '}', ']':
			if depth > 0 {
				depth--
			}
			path = lengths[min(depth, MaxDepth)]
		}
	}
	return values, paths
}

// openEscape says that what follows the text is part of it: an odd number of backslashes
// stand at its end.
func openEscape(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}
