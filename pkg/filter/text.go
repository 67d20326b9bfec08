package filter

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// closing has the quotation marks that begin a text, with those that end it. Chats and
// word processors make the typographic ones of the straight ones, in the manner of some language.
func closing(open rune) string {
	switch open {
	case '"', '\'':
		return string(open)
	case '“', '”', '„', '‟', '«', '»', '″':
		return "“”„‟«»″\""
	case '‘', '’', '‚', '‛', '‹', '›', '′':
		return "‘’‚‛‹›′'"
	}
	return ""
}

// isSpace reports whether a rune parts terms: also those that are pasted unseen.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff'
}

// isControl reports whether a rune may stand nowhere.
func isControl(r rune) bool {
	return unicode.IsControl(r) && !isSpace(r)
}

// inField reports whether a rune goes on with a field or a word that is not in quotes.
func inField(r rune) bool {
	return !isSpace(r) && !strings.ContainsRune(`(),"=<>!~:[]`, r)
}

// inValue is the same for values. After the operator there is none to come.
func inValue(r rune) bool {
	return !isSpace(r) && !strings.ContainsRune(`(),"=<>`, r)
}

// run returns how long the text is whose runes are all as told.
func run(s string, is func(rune) bool) int {
	for i, r := range s {
		if !is(r) {
			return i
		}
	}
	return len(s)
}

func isKeyword(s string) bool { return s == "AND" || s == "OR" || s == "NOT" }

// plainKey reports whether a key of a path stands for itself without quotes.
func plainKey(key string, first bool) bool {
	if key == "" || isKeyword(key) || first && key[0] == '-' {
		return false
	}
	for _, r := range key {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-/@+%$#", r) {
			return false
		}
	}
	return true
}

func plainPick(value string) bool {
	return value != "" && !strings.ContainsFunc(value, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-/.:@+%", r)
	})
}

// isAddress reports whether a word is an IPv6 address, a network of such, or a MAC address: the colons
// in it are no operators.
func isAddress(s string) bool {
	if strings.Count(s, ":") < 2 || len(s) > 64 {
		return false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Is6()
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	if len(s) != len("00:00:00:00:00:00") {
		return false
	}
	for i := range len(s) {
		if (s[i] == ':') != (i%3 == 2) || s[i] != ':' && !isHex(s[i]) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

// unescape returns the text that stands between quotation marks. A backslash takes its meaning from a
// quotation mark, a backslash or a *; before all else it is itself. stars says which of its bytes are
// such * as stand for any text.
func unescape(raw string) (text string, stars []int) {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '*' {
			stars = append(stars, b.Len())
		}
		if c == '\\' && i+1 < len(raw) {
			if next := raw[i+1]; next == '\\' || next == '*' {
				i++
				c = next
			} else if r, _ := utf8.DecodeRuneInString(raw[i+1:]); closing(r) != "" {
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String(), stars
}

// unescapeExpression is the same for a regular expression, which has backslashes of its own: only a quotation
// mark takes one away.
func unescapeExpression(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' && i+1 < len(raw) {
			if r, _ := utf8.DecodeRuneInString(raw[i+1:]); closing(r) != "" {
				continue
			}
			b.WriteByte(raw[i])
			i++
		}
		b.WriteByte(raw[i])
	}
	return b.String()
}

// Quote returns a text in quotation marks, so that it means just itself as a value, a word or a key.
func Quote(text string) string {
	return `"` + quoter.Replace(text) + `"`
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `*`, `\*`)

// Quote returns the value as the canonical form has it.
func (v Value) quote(op Op) string {
	if op == Match {
		return quoteExpression(v.Text)
	}
	quoted := Quote(v.Text)
	if v.Before {
		quoted = `"*` + quoted[1:]
	}
	if v.After {
		quoted = quoted[:len(quoted)-1] + `*"`
	}
	return quoted
}

func quoteExpression(expression string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(expression); i++ {
		switch c := expression[i]; {
		case c == '\\' && i+1 < len(expression):
			b.WriteByte(c)
			i++
		case c == '"':
			b.WriteByte('\\')
		}
		b.WriteByte(expression[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Fold returns a text in small letters, code point by code point: what "in any case" means. The small sigma of word ends is as
// the other one; the Kelvin sign and the capital I with a dot stay as they are, so that only ASCII becomes ASCII. So
// the engine's lower, which knows ASCII only, does the same wherever what is looked for is ASCII.
func Fold(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return s[:i] + strings.Map(fold, s[i:])
		}
	}
	return s
}

func fold(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r + ('a' - 'A')
	case r < utf8.RuneSelf, r == '\u212a', r == 'İ':
		return r
	case r == 'ς', r == 'Σ':
		return 'σ'
	}
	return unicode.ToLower(r)
}

// Plain returns a text as a value that means just itself, in quotes only if it needs them.
func Plain(text string) string {
	if plainPick(text) && text[0] != '-' && !isKeyword(text) {
		return text
	}
	return Quote(text)
}
