package redact

import (
	"regexp"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// value is what stands for a value in a text.
type value struct {
	forms.Span
	quoted bool
	// nested says that lines below have it, or a bracket that is gone into.
	nested bool
}

// valueAt returns the value that begins there. At the start of a line it may go on to its end.
func (c *scanner) valueAt(i int, mark byte, start bool) value {
	blank, before := i < len(c.s) && forms.IsBlank(c.s[i]), i > 1 && forms.IsBlank(c.s[i-2])
	i = c.blanks(i)
	if i >= len(c.s) {
		return value{Span: forms.Span{From: i, To: i}}
	}
	if mark == ':' && blank {
		i = c.properties(i)
	}
	if v, ok := c.quoted(i); ok {
		return v
	}
	if v, ok := c.hereDocument(i); ok {
		return v
	}
	switch b := c.s[i]; {
	case b == '\n' || b == '\r':
		return value{Span: forms.Span{From: i, To: i}, nested: start && mark == ':' && c.lines}
	case strings.HasPrefix(c.s[i:], Mask):
		return value{Span: forms.Span{From: i, To: i + len(Mask)}}
	case b == '{' && mark == '=' && bracedValue.MatchString(c.s[i:min(len(c.s), i+names.MaxName)]): // password={x;y};
		return value{Span: forms.Span{From: i, To: i + bracedValue.FindStringIndex(c.s[i:min(len(c.s), i+names.MaxName)])[1] - 1}}
	case b == '{' && braced.MatchString(c.s[i:min(len(c.s), i+names.MaxName)]): // {SSHA}x, PWD={x};
	case b == '{' && !strings.HasPrefix(c.s[i:], "{{"), b == '(' && mark == ':':
		return value{Span: forms.Span{From: i, To: i}}
	case b == '[':
		return c.bracket(i)
	case (b == '|' || b == '>') && start && blank && c.lines:
		line := c.s[i:]
		if n := strings.IndexByte(line, '\n'); n >= 0 && len(strings.TrimSpace(line[:n])) <= 3 {
			return value{Span: forms.Span{From: i, To: c.indented(i)}}
		}
	}
	end := c.bareEnd(i)
	if start {
		line := i + lineEnd(c.s[i:])
		rest := c.s[end:line]
		spaced := mark == ':' && blank || mark == '=' && blank && before
		switch {
		case spaced && (c.lines || !strings.ContainsAny(rest, "=:")), // password: two words
			mark == '=' && c.lines && !strings.ContainsAny(rest, "=;&|/"):
			end = max(end, i+len(strings.TrimRight(c.s[i:line], " \t\r")))
		}
	}
	return value{Span: forms.Span{From: i, To: end}}
}

// properties skips what YAML may say of a value before it: a tag, an anchor.
func (c *scanner) properties(i int) int {
	for c.s[i] == '!' || c.s[i] == '&' {
		end := i + max(0, strings.IndexAny(c.s[i:min(len(c.s), i+names.MaxName)], " \t\r\n"))
		next := c.blanks(end)
		if next == end || next >= len(c.s) || c.s[next] == '\n' || c.s[next] == '\r' {
			return i
		}
		i = next
	}
	return i
}

// hereDocument reads a value over several lines: <<EOT.
func (c *scanner) hereDocument(i int) (v value, ok bool) {
	if !strings.HasPrefix(c.s[i:], "<<") {
		return v, false
	}
	from := i + lineEnd(c.s[i:]) + 1
	tag := strings.Trim(c.s[i:from-1], "<-~'\"\\ \t\r")
	if tag == "" || len(tag) > names.MaxName || !names.IsName(tag) || from > len(c.s) {
		return v, false
	}
	for at := from; at < len(c.s); {
		end := at + lineEnd(c.s[at:])
		if strings.TrimSpace(c.s[at:end]) == tag {
			return value{Span: forms.Span{From: from, To: max(from, at-1)}, quoted: true}, true
		}
		at = end + 1
	}
	return value{Span: forms.Span{From: from, To: len(c.s)}, quoted: true}, true
}

// braced is a value that begins with a brace, and no object.
var braced = regexp.MustCompile(`^\{[\w.+/=!$-]+\}(?:\S|;|$)`)

// bracedValue is one that stands in braces, with a mark behind them, as ODBC and JDBC have them.
var bracedValue = regexp.MustCompile(`^\{(?:[^{}"'\s:]|\}\})+\};`)

func lineEnd(s string) int {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n
	}
	return len(s)
}

// quoted reads a value in quotes, which may be escaped, and of which the end may
// be cut off.
func (c *scanner) quoted(i int) (v value, ok bool) {
	if n := c.escapedQuote(i); n > 0 {
		from := i + n
		to := strings.Index(c.s[from:], c.s[i:from])
		if to < 0 {
			to = lineEnd(c.s[from:])
		}
		return value{Span: forms.Span{From: from, To: from + to}, quoted: true}, true
	}
	if i+1 < len(c.s) && strings.IndexByte("ubrfN", c.s[i]) >= 0 && forms.IsQuote(c.s[i+1]) { // Python's, SQL's
		i++
	}
	q := i
	for q < len(c.s) && c.s[q] == '\\' {
		q++
	}
	if q >= len(c.s) || !forms.IsQuote(c.s[q]) {
		return v, false
	}
	from, to := forms.QuotedSpan(c.s, i, q)
	if to < 0 { // cut off, or the second of a pair
		if begin := strings.LastIndexByte(c.s[:i], '\n') + 1; i == q && strings.Count(c.s[max(begin, i-1024):i], c.s[q:q+1])%2 == 1 {
			return v, false
		}
		to = from + lineEnd(c.s[from:])
	}
	return value{Span: forms.Span{From: from, To: to}, quoted: true}, true
}

// escapedQuote returns the length of a quotation mark as HTML, addresses and
// JSON escape it, if one stands there.
func (c *scanner) escapedQuote(i int) int {
	if i >= len(c.s) || strings.IndexByte("&\\%", c.s[i]) < 0 {
		return 0
	}
	for _, quote := range []string{"&quot;", "&apos;", "&#34;", "&#39;", `\u0022`, `\u0027`, "%22", "%27"} {
		if strings.HasPrefix(c.s[i:], quote) {
			return len(quote)
		}
	}
	return 0
}

// bracket reads a list: ["a", "b"].
func (c *scanner) bracket(i int) value {
	depth := 0
	for x := i; x < len(c.s) && c.s[x] != '\n'; x++ {
		switch c.s[x] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				if x == i+1 || strings.Contains(c.s[i:x], ":") && strings.Contains(c.s[i:x], "{") {
					return value{Span: forms.Span{From: i, To: i}}
				}
				return value{Span: forms.Span{From: i + 1, To: x}}
			}
		}
	}
	return value{Span: forms.Span{From: i, To: c.bareEnd(i)}}
}

// indented returns where the lines end that are indented more than that of i.
func (c *scanner) indented(i int) int {
	indent := c.indent(i)
	end := i + lineEnd(c.s[i:])
	for end < len(c.s) {
		line := c.s[end+1 : end+1+lineEnd(c.s[end+1:])]
		trimmed := strings.TrimLeft(line, " \t")
		if strings.TrimSpace(line) != "" && len(line)-len(trimmed) <= indent {
			break
		}
		end += 1 + len(line)
	}
	return end
}

// indent returns how far a line is indented, with the hyphens of lists.
func (c *scanner) indent(i int) int {
	begin := strings.LastIndexByte(c.s[:i], '\n') + 1
	return len(c.s[begin:i]) - len(strings.TrimLeft(c.s[begin:i], " \t-"))
}

// block masks the lines below the name of a secret: all but what only describes
// it.
func (c *scanner) block(name, at int, by names.Rule) {
	indent := c.indent(name)
	for end := at + lineEnd(c.s[at:]); end < len(c.s); {
		begin := end + 1
		end = begin + lineEnd(c.s[begin:])
		line := strings.TrimRight(c.s[begin:end], " \t\r")
		trimmed := strings.TrimLeft(line, " \t")
		if trimmed == "" {
			continue
		}
		item := strings.HasPrefix(trimmed, "- ")
		if in := len(line) - len(trimmed); in < indent || in == indent && !item {
			return
		}
		text := strings.TrimLeft(trimmed, "- ")
		key, rest, keyed := strings.Cut(text, ":")
		of := names.Verdict{Secret: true}
		if keyed && names.IsName(strings.Trim(key, `"'`)) && (rest == "" || rest[0] == ' ') {
			text = strings.TrimLeft(rest, " \t")
			if j := c.judge([]byte(strings.Trim(key, `"'`))); j.Secret {
				continue // by itself
			}
			of = names.MemberOf(strings.Trim(key, `"'`))
		}
		if text == "" || strings.IndexByte("|>{[&*", text[0]) >= 0 || !of.Has(strings.Trim(text, `"'`)) {
			continue
		}
		from := begin + len(line) - len(text)
		to := begin + len(line)
		if forms.IsQuote(text[0]) && len(text) > 1 && text[len(text)-1] == text[0] {
			from, to = from+1, to-1
		}
		c.found = append(c.found, forms.Secret{Span: forms.Span{From: from, To: to}, By: by.String()})
	}
}

// bareEnd returns where a value without quotes ends.
func (c *scanner) bareEnd(i int) int {
	if strings.HasPrefix(c.s[i:], Mask) {
		return i + len(Mask)
	}
	if strings.HasPrefix(c.s[i:], "$(") || strings.HasPrefix(c.s[i:], "${") {
		if n := strings.IndexAny(c.s[i:min(len(c.s), i+names.MaxName)], ")}"); n > 0 {
			return i + n + 1
		}
	}
	if c.unquoted.From <= i && i < c.unquoted.To { // of a long value not again from each place in it
		return c.unquoted.To
	}
	c.unquoted = forms.Span{From: i, To: c.unquotedEnd(i)}
	return c.unquoted.To
}

func (c *scanner) unquotedEnd(i int) int {
	for x := i; x < len(c.s); x++ {
		switch b := c.s[x]; b {
		case ' ', '\t', '\n', '\r', '"', '\'', '`':
			return x
		case '\\':
			if x+1 < len(c.s) && (forms.IsQuote(c.s[x+1]) || c.s[x+1] == '\\' || c.s[x+1] == 'n' || c.s[x+1] == 'r') {
				return x
			}
		case '<':
			if strings.HasPrefix(c.s[x:], "</") {
				return x
			}
		case '[':
			if strings.HasPrefix(c.s[x:], Mask) {
				x += len(Mask) - 1
			}
		case ',', ';', '&':
			if c.ends(x + 1) {
				return x
			}
		case ')', ']', '}':
			if x > i && (x+1 == len(c.s) || strings.IndexByte(" \t\r\n,;)]}\"'`\\<", c.s[x+1]) >= 0) {
				return x
			}
		case '%':
			if strings.HasPrefix(c.s[x:], "%26") || strings.HasPrefix(c.s[x:], "%22") || strings.HasPrefix(c.s[x:], "%20") {
				return x
			}
		}
	}
	return len(c.s)
}

// ends reports whether a mark before i separates a value from what follows.
func (c *scanner) ends(i int) bool {
	if i >= len(c.s) || strings.IndexByte(" \t\r\n\"'`\\,;&)]}", c.s[i]) >= 0 {
		return true
	}
	j := i
	for j < len(c.s) && isNameByte[c.s[j]] && j-i < names.MaxName {
		j++
	}
	return j > i && j < len(c.s) && (c.s[j] == '=' || c.s[j] == ':')
}
