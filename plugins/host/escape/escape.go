// Package escape writes names of a machine so that they can be recorded: those of files
// and devices are bytes, of which the kernel excludes few.
package escape

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNatural is how long a part's natural key may be in a uid.
const maxNatural = 800

// Printable writes a name of the machine so that it can be recorded: names of files
// and devices are bytes, of which the kernel excludes few. What is no letter of UTF-8,
// or moves a cursor, is written as the kernel writes blanks, in octal: \015. So is the
// backslash in such a name, and in one that looks as if it had been written so: no two
// names become the same, and systemd's \x2d stays as it is.
func Printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, odd) && !escaped.MatchString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if odd(r) || r == '\\' {
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		} else {
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

var escaped = regexp.MustCompile(`\\[0-7]{3}`)

func odd(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }

// Natural writes a part's natural key for a uid: one that is too long ends with its
// hash.
func Natural(s string) string {
	s = Printable(s)
	if len(s) <= maxNatural {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:maxNatural-33], "") + "~" + hex.EncodeToString(sum[:16])
}
