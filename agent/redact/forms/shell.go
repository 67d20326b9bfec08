package forms

import (
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// Span is a part of a text, from the first byte to the one behind the last.
type Span struct{ From, To int }

// Secret is a part of a text that is masked, and what says that it is one.
type Secret struct {
	Span
	By string
}

// Secrets are those of one text.
type Secrets []Secret

// QuotedSpan returns what stands in quotes, the first of which has its
// backslashes from i on and stands at q; to is -1 if there is no second.
func QuotedSpan(s string, i, q int) (from, to int) {
	if triple := strings.Repeat(s[q:q+1], 3); i == q && strings.HasPrefix(s[q:], triple) {
		if n := strings.Index(s[q+3:], triple); n >= 0 {
			return q + 3, q + 3 + n
		}
	}
	slashes := 0
	for x := q + 1; x < len(s); x++ {
		switch s[x] {
		case '\\':
			slashes++
			continue
		case s[q]:
			if x+1 < len(s) && s[q] == '\'' && s[x+1] == '\'' && i == q && x > q+1 && slashes == 0 { // it''s
				x++
				continue
			}
			if depth := q - i; slashes <= depth && depth > 0 || depth == 0 && slashes%2 == 0 {
				return q + 1, x - min(slashes, depth)
			}
		}
		slashes = 0
	}
	return q + 1, -1
}

// shellWords gives the words of each command line in a text: what stands in quotes is
// one, and is taken for a command line of its own as well.
func shellWords(s string, from, to, depth int, line func([]Span)) {
	var list []Span
	flush := func() {
		if len(list) > 1 {
			line(list)
		}
		list = nil
	}
	unclosed := false
	for i := from; i < to; {
		switch b := s[i]; {
		case b == '\\' && i+1 < to && s[i+1] == '\n':
			i += 2
		case b == '\n' || b == '|' || b == ';' || b == '&' || b == '(' || b == ')' || b == '`':
			flush()
			i++
		case strings.HasPrefix(s[i:to], names.Mask):
			list = append(list, Span{i, i + len(names.Mask)})
			i += len(names.Mask)
		case IsBlank(b) || b == ',' || b == '[' || b == ']' || b == '{' || b == '}':
			i++
		case IsQuote(b) || b == '\\':
			q := i
			for q < to && s[q] == '\\' {
				q++
			}
			if q == to || !IsQuote(s[q]) || unclosed {
				i = q + 1
				continue
			}
			a, z := QuotedSpan(s[:to], i, q)
			if z < 0 {
				unclosed = true
				i = q + 1
				continue
			}
			list = append(list, Span{a, z})
			if depth < 4 && strings.IndexByte(s[a:z], ' ') >= 0 {
				shellWords(s, a, z, depth+1, line)
			}
			i = z + 1 + (q - i)
		default:
			j := i
			for j < to && !IsBlank(s[j]) && strings.IndexByte("|;&()`", s[j]) < 0 {
				if s[j] == '\\' && j+1 < to && (IsQuote(s[j+1]) || s[j+1] == '\\' || s[j+1] == '\n') {
					break
				}
				if IsQuote(s[j]) {
					// -p'X' is one word; the quote behind sh -c "mysql -pX" is not its.
					if _, z := QuotedSpan(s[:to], j, j); s[i] == '-' && !unclosed && z > 0 && j-i < 24 && strings.IndexByte(s[j:z], '\n') < 0 {
						j = z + 1
						continue
					}
					break
				}
				j++
			}
			if j == i {
				j++
			} else {
				list = append(list, Span{i, j})
			}
			i = j
		}
	}
	flush()
}

// IsBlank knows what parts words and lines.
func IsBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// IsQuote knows quotation marks.
func IsQuote(b byte) bool { return b == '"' || b == '\'' || b == '`' }
