package forms

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const (
	// minEncoded is how long base64 is at least that is looked into, and maxEncoded at most.
	minEncoded = 20
	maxEncoded = 1 << 20
	// begun is how much of it is looked at first.
	begun = 16
)

// isEncoded has the bytes of base64, and of what stands for two of them in addresses.
var isEncoded = func() (table [256]bool) {
	for c := range table {
		table[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
	}
	return table
}()

// NextBase64 returns the next part of a text, from a place on, that is base64 of a text by
// its looks, or ok false.
func NextBase64[T string | []byte](s T, from int) (part Span, ok bool) {
	for i := from + minEncoded - 1; i < len(s); i += minEncoded {
		if !isEncoded[s[i]] {
			continue
		}
		begin, end := i, i+1
		for begin > from && isEncoded[s[begin-1]] {
			begin--
		}
		for end < len(s) && isEncoded[s[end]] {
			end++
		}
		i = end
		for begin < end && (s[begin] == '/' || s[begin] == '-' || s[begin] == '+' || s[begin] == '_') { // of an address
			begin++
		}
		if end-begin < minEncoded || !beginsText(s[begin:begin+begun]) {
			continue
		}
		for n := 0; n < 2 && end < len(s) && s[end] == '='; n++ {
			end++
		}
		return Span{begin, end}, true
	}
	return part, false
}

// sextets has what each byte of base64 stands for.
var sextets = func() (table [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for n := range len(alphabet) {
		table[alphabet[n]] = byte(n)
	}
	table['-'], table['_'] = 62, 63
	return table
}()

// beginsText reports whether all that is encoded at the beginning is printed.
func beginsText[T string | []byte](s T) bool {
	for i := 0; i+4 <= len(s); i += 4 {
		a, b, c, d := sextets[s[i]], sextets[s[i+1]], sextets[s[i+2]], sextets[s[i+3]]
		if !isPrinted(a<<2|b>>4) || !isPrinted(b<<4|c>>2) || !isPrinted(c<<6|d) {
			return false
		}
	}
	return true
}

func isPrinted(c byte) bool { return c >= ' ' && c < 0x7f || c == '\n' || c == '\t' || c == '\r' }

// DecodeBase64 returns the text that is encoded, or an empty one if it is none.
func DecodeBase64(s string) string {
	s = strings.TrimRight(s[:min(len(s), maxEncoded)], "=")
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	data, err := encoding.DecodeString(s)
	if err != nil || !utf8.Valid(data) {
		return ""
	}
	for _, c := range data {
		if c < ' ' && !isPrinted(c) && c != 0 { // a 0 is between the parts of AUTH PLAIN
			return ""
		}
	}
	return string(data)
}
