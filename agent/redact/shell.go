package redact

import (
	"slices"
	"strings"
)

// span is a part of a text, from the first byte to the one behind the last.
type span struct{ from, to int }

// secret is a part of a text that is masked, and what says that it is one.
type secret struct {
	span
	by string
}

type secrets []secret

// mask returns the text with the mask in the place of each secret.
func (d *redactor) mask(s string, list secrets) string {
	if len(list) == 0 {
		return s
	}
	slices.SortStableFunc(list, func(a, b secret) int { return a.from - b.from })
	var b strings.Builder
	var edits []edit
	done := 0
	for _, part := range list {
		if part.to <= done || part.from >= part.to || part.to <= part.from+len(Mask) && strings.HasPrefix(s[part.from:], Mask) {
			continue
		}
		if part.from < done { // goes on behind one before: that mask stands for both
			done = part.to
			if d.trace != nil {
				edits[len(edits)-1].to = done
			}
			continue
		}
		b.WriteString(s[done:part.from])
		if d.trace != nil {
			edits = append(edits, edit{part, b.Len()})
		}
		b.WriteString(Mask)
		done = part.to
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	if d.trace != nil {
		d.trace.edited(edits)
	}
	return b.String()
}

// quotedSpan returns what stands in quotes, the first of which has its
// backslashes from i on and stands at q; to is -1 if there is no second.
func quotedSpan(s string, i, q int) (from, to int) {
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
func shellWords(s string, from, to, depth int, line func([]span)) {
	var list []span
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
		case strings.HasPrefix(s[i:to], Mask):
			list = append(list, span{i, i + len(Mask)})
			i += len(Mask)
		case isBlank(b) || b == ',' || b == '[' || b == ']' || b == '{' || b == '}':
			i++
		case isQuote(b) || b == '\\':
			q := i
			for q < to && s[q] == '\\' {
				q++
			}
			if q == to || !isQuote(s[q]) || unclosed {
				i = q + 1
				continue
			}
			a, z := quotedSpan(s[:to], i, q)
			if z < 0 {
				unclosed = true
				i = q + 1
				continue
			}
			list = append(list, span{a, z})
			if depth < 4 && strings.IndexByte(s[a:z], ' ') >= 0 {
				shellWords(s, a, z, depth+1, line)
			}
			i = z + 1 + (q - i)
		default:
			j := i
			for j < to && !isBlank(s[j]) && strings.IndexByte("|;&()`", s[j]) < 0 {
				if s[j] == '\\' && j+1 < to && (isQuote(s[j+1]) || s[j+1] == '\\' || s[j+1] == '\n') {
					break
				}
				if isQuote(s[j]) {
					// -p'X' is one word; the quote behind sh -c "mysql -pX" is not its.
					if _, z := quotedSpan(s[:to], j, j); s[i] == '-' && !unclosed && z > 0 && j-i < 24 && strings.IndexByte(s[j:z], '\n') < 0 {
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
				list = append(list, span{i, j})
			}
			i = j
		}
	}
	flush()
}
