package redact

import (
	"regexp"
	"strings"
)

// scanner looks for names in a text, and for what stands for their values.
type scanner struct {
	*redactor
	s     string
	found secrets
	pair  textPair
	// before is where the name before began, if but a blank is between.
	before, beforeEnd int
	lines             bool // the text has several
}

// textPair is how far a name and a value that belong together were read.
type textPair struct {
	named bool
	of    verdict
	value span // of a value that stands before its name
}

func (d *redactor) scan(s string) string {
	c := scanner{redactor: d, s: s, lines: strings.Contains(strings.TrimSpace(s), "\n")}
	c.run()
	return d.mask(s, c.found)
}

// isNameByte has the bytes of names in texts.
var isNameByte = func() (table [256]bool) {
	for c := range table {
		table[c] = c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
	}
	return table
}()

func (c *scanner) run() {
	for i := 0; i < len(c.s); {
		switch b := c.s[i]; {
		case isNameByte[b]:
			start, j := i, i
			for j < len(c.s) && isNameByte[c.s[j]] {
				j++
			}
			if next := c.name(i, j); next > j {
				i = next
			} else {
				i = j
			}
			c.before, c.beforeEnd = start, j
		case b == '\\' && c.escapedQuote(i) > 0:
			i += c.escapedQuote(i)
		case b == '%' && i+2 < len(c.s) && isHex(c.s[i+1]) && isHex(c.s[i+2]):
			i += 3
		case b == '<':
			i = c.tag(i)
		case b == '{' || b == '}':
			c.pair = textPair{}
			i++
		case b == '\n':
			i++
			if strings.HasPrefix(strings.TrimLeft(c.s[i:min(len(c.s), i+256)], " \t"), "-") {
				c.pair = textPair{}
			}
		case strings.HasPrefix(c.s[i:], Mask):
			i += len(Mask)
		default:
			i++
		}
	}
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f'
}

// name looks at a name and what stands behind it, and returns where to go on.
func (c *scanner) name(i, j int) int {
	from, to := i, j
	for from < to && (c.s[from] == '-' || c.s[from] == '.') {
		from++
	}
	for from < to && (c.s[to-1] == '-' || c.s[to-1] == '.') {
		to--
	}
	if from == to || to-from > maxName {
		return j
	}
	name := c.s[from:to]
	flag := c.s[i] == '-' && (i == 0 || strings.IndexByte(" \t\n\r\"'`([{,=;|", c.s[i-1]) >= 0)
	if flag && len(name) > 2 && name[0] == 'D' { // -Dkey=value
		name = name[1:]
	}
	if strings.HasPrefix(c.s[j:], "&gt;") && strings.HasSuffix(c.s[:i], "&lt;") {
		return c.escapedTag(name, j)
	}
	mark, behind := c.separator(j)
	if mark == 0 {
		switch {
		case flag:
			return c.flag(name, j)
		case c.s[i] != '-':
			return c.bare(name, i, j)
		}
		return j
	}
	if inWord := mark == ':' && behind < len(c.s) && !isBlank(c.s[behind]); inWord && c.isUnits(i) {
		return j
	}
	of, words := *c.judge([]byte(name)), 1
	if secondWords[strings.ToLower(name)] && !of.secret && c.beforeEnd > 0 && c.beforeEnd == i-1 && c.s[i-1] == ' ' { // api key: x
		ws := split(c.s[c.before:to])
		if n := len(ws); n > 1 {
			if p := table.byWord[ws[n-2]+" "+singular(ws[n-1])]; p&inName != 0 && p&vague == 0 {
				of.verdict, words = verdict{secret: true, rule: table.rules[ws[n-2]+" "+singular(ws[n-1])]}, 2
			}
		}
	}
	inURL := mark == '=' && i > 0 && (c.s[i-1] == '?' || c.s[i-1] == '&')
	if inURL && (!of.secret || of.look != noLook) && table.byWord[strings.ToLower(name)]&inQuery != 0 {
		of.verdict = verdict{secret: true, rule: table.rules[strings.ToLower(name)]}
	}
	at := c.lineStart(i)
	switch {
	case of.role == nameRole && !(of.secret && of.look == noLook):
		c.named(behind)
		return behind
	case of.role == valueRole || of.role == looseRole:
		if c.pair.named {
			if c.pair.of.secret {
				of.verdict = c.pair.of
			}
		} else {
			c.pair.value = c.valueAt(behind, mark, false).span
		}
	}
	if !of.secret {
		if at && looksChosen(name) {
			c.namedByValue(span{from, to}, behind)
		}
		return behind
	}
	v := c.valueAt(behind, mark, at)
	if v.nested {
		if of.look == noLook {
			c.block(i, v.from, of.rule)
		}
		return v.from
	}
	if !c.has(of.verdict, v, mark, i) || words == 2 && !of.password && !v.quoted && isWord(c.s[v.from:v.to]) {
		return max(behind, v.from)
	}
	c.found = append(c.found, secret{v.span, of.rule.String()})
	return v.to
}

// escapedTag looks at an element of XML that is escaped: &lt;password&gt;X&lt;/password&gt;.
func (c *scanner) escapedTag(name string, j int) int {
	from := j + len("&gt;")
	n := strings.Index(c.s[from:], "&lt;")
	if of := c.judge([]byte(name)); n > 0 && of.has(c.s[from:from+n]) {
		c.found = append(c.found, secret{span{from, from + n}, of.rule.String()})
		return from + n
	}
	return from
}

// namedByValue masks a name whose value, to the end of the line, is what secrets are
// called.
func (c *scanner) namedByValue(name span, behind int) {
	value := strings.Trim(c.s[behind:behind+lineEnd(c.s[behind:])], " \t\r\"',")
	if namesSecret(value) {
		c.found = append(c.found, secret{name, byItsValue})
	}
}

// secondWords are the last of names that are written with a blank between.
var secondWords = set("key keys code codes string phrase")

// maxName is how long a name is at most.
const maxName = 128

// has reports whether a value in the text is a secret.
func (c *scanner) has(of verdict, v value, mark byte, name int) bool {
	if v.from >= v.to {
		return false
	}
	text := c.s[v.from:v.to]
	if !of.has(text) || strings.HasPrefix(text, Mask) {
		return false
	}
	if mark != ':' || v.quoted {
		return true
	}
	if isBlank(c.s[v.from-1]) {
		return !isProse(c.s[v.from:])
	}
	// secrets:read, app-secret:1.2, but not password:x
	return of.password || !isWord(text) && !(name > 0 && c.s[name-1] == '/' && isTag(text))
}

// isWord reports whether there are but letters and marks in a short text.
func isWord(text string) bool {
	for i := range len(text) {
		if b := text[i]; !(b|0x20 >= 'a' && b|0x20 <= 'z' || strings.IndexByte("*/_.-:", b) >= 0) {
			return false
		}
	}
	return len(text) <= 24
}

// isTag reports whether a text looks like the tag of an image.
func isTag(text string) bool {
	version := strings.Contains(text, ".") && strings.ContainsAny(text[:min(len(text), 2)], "0123456789")
	return version || !looksSecret(text) && !random(text)
}

// isUnits reports whether a name is one of several with colons between:
// arn:aws:secretsmanager:eu, system:controller:token-cleaner.
func (c *scanner) isUnits(i int) bool {
	from := i
	for from > 0 && i-from < 256 && !isBlank(c.s[from-1]) && strings.IndexByte("\"'`,;=([{", c.s[from-1]) < 0 {
		from--
	}
	for _, start := range []string{"arn:", "urn:", "system:", "spiffe:", "oci:", "urn-"} {
		if strings.HasPrefix(c.s[from:i], start) {
			return true
		}
	}
	return false
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
func isQuote(b byte) bool { return b == '"' || b == '\'' || b == '`' }

// blanks returns where the blanks of a line end.
func (c *scanner) blanks(i int) int {
	for i < len(c.s) && (c.s[i] == ' ' || c.s[i] == '\t') {
		i++
	}
	return i
}

// separator returns the mark behind a name, = or :, or 0, and where it ends.
func (c *scanner) separator(i int) (mark byte, end int) {
	quoted := i
	for quoted < len(c.s) && quoted-i < 64 {
		if n := c.escapedQuote(quoted); n > 0 {
			quoted += n
			continue
		}
		if c.s[quoted] != '\\' && !isQuote(c.s[quoted]) {
			break
		}
		quoted++
	}
	if quoted < len(c.s) && c.s[quoted] == ']' { // config['password'] = x
		quoted++
	}
	i = c.blanks(quoted)
	rest := c.s[i:]
	switch {
	case rest == "":
	case rest[0] == '=':
		i++
		if len(rest) > 1 && (rest[1] == '>' || rest[1] == '=') {
			i++
		}
		return '=', i
	case strings.HasPrefix(rest, ":="), strings.HasPrefix(rest, "?="), strings.HasPrefix(rest, "+="):
		return '=', i + 2
	case strings.HasPrefix(rest, ":: "): // base64 in LDIF
		return ':', i + 2
	case strings.HasPrefix(rest, "://"), strings.HasPrefix(rest, "::"):
	case rest[0] == ':':
		return ':', i + 1
	case i == quoted && (strings.HasPrefix(rest, "%3D") || strings.HasPrefix(rest, "%3d")):
		return '=', i + 3
	}
	return 0, i
}

// lineStart reports whether nothing stands before a name in its line but what
// belongs to it.
func (c *scanner) lineStart(i int) bool {
	for i > 0 {
		switch b := c.s[i-1]; b {
		case '\n':
			return true
		case ' ', '\t', '-', '\r':
			i--
		default:
			return false
		}
	}
	return true
}

// value is what stands for a value in a text.
type value struct {
	span
	quoted bool
	// nested says that lines below have it, or a bracket that is gone into.
	nested bool
}

// valueAt returns the value that begins there. At the start of a line it may go on to its end.
func (c *scanner) valueAt(i int, mark byte, start bool) value {
	blank, before := i < len(c.s) && isBlank(c.s[i]), i > 1 && isBlank(c.s[i-2])
	i = c.blanks(i)
	if i >= len(c.s) {
		return value{span: span{i, i}}
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
		return value{span: span{i, i}, nested: start && mark == ':' && c.lines}
	case strings.HasPrefix(c.s[i:], Mask):
		return value{span: span{i, i + len(Mask)}}
	case b == '{' && braced.MatchString(c.s[i:min(len(c.s), i+maxName)]): // {SSHA}x, PWD={x};
	case b == '{' && !strings.HasPrefix(c.s[i:], "{{"), b == '(' && mark == ':':
		return value{span: span{i, i}}
	case b == '[':
		return c.bracket(i)
	case (b == '|' || b == '>') && start && blank && c.lines:
		line := c.s[i:]
		if n := strings.IndexByte(line, '\n'); n >= 0 && len(strings.TrimSpace(line[:n])) <= 3 {
			return value{span: span{i, c.indented(i)}}
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
	return value{span: span{i, end}}
}

// properties skips what YAML may say of a value before it: a tag, an anchor.
func (c *scanner) properties(i int) int {
	for c.s[i] == '!' || c.s[i] == '&' {
		end := i + max(0, strings.IndexAny(c.s[i:min(len(c.s), i+maxName)], " \t\r\n"))
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
	if tag == "" || len(tag) > maxName || !isName(tag) || from > len(c.s) {
		return v, false
	}
	for at := from; at < len(c.s); {
		end := at + lineEnd(c.s[at:])
		if strings.TrimSpace(c.s[at:end]) == tag {
			return value{span: span{from, max(from, at-1)}, quoted: true}, true
		}
		at = end + 1
	}
	return value{span: span{from, len(c.s)}, quoted: true}, true
}

// braced is a value that begins with a brace, and no object.
var braced = regexp.MustCompile(`^\{[\w.+/=!$-]+\}(?:\S|;|$)`)

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
		return value{span: span{from, from + to}, quoted: true}, true
	}
	if i+1 < len(c.s) && strings.IndexByte("ubrfN", c.s[i]) >= 0 && isQuote(c.s[i+1]) { // Python's, SQL's
		i++
	}
	q := i
	for q < len(c.s) && c.s[q] == '\\' {
		q++
	}
	if q >= len(c.s) || !isQuote(c.s[q]) {
		return v, false
	}
	from, to := quotedSpan(c.s, i, q)
	if to < 0 { // cut off, or the second of a pair
		if begin := strings.LastIndexByte(c.s[:i], '\n') + 1; i == q && strings.Count(c.s[max(begin, i-1024):i], c.s[q:q+1])%2 == 1 {
			return v, false
		}
		to = from + lineEnd(c.s[from:])
	}
	return value{span: span{from, to}, quoted: true}, true
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
					return value{span: span{i, i}}
				}
				return value{span: span{i + 1, x}}
			}
		}
	}
	return value{span: span{i, c.bareEnd(i)}}
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
func (c *scanner) block(name, at int, by rule) {
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
		of := verdict{secret: true}
		if keyed && isName(strings.Trim(key, `"'`)) && (rest == "" || rest[0] == ' ') {
			text = strings.TrimLeft(rest, " \t")
			if j := c.judge([]byte(strings.Trim(key, `"'`))); j.secret {
				continue // by itself
			}
			of = memberOf(strings.Trim(key, `"'`))
		}
		if text == "" || strings.IndexByte("|>{[&*", text[0]) >= 0 || !of.has(strings.Trim(text, `"'`)) {
			continue
		}
		from := begin + len(line) - len(text)
		to := begin + len(line)
		if isQuote(text[0]) && len(text) > 1 && text[len(text)-1] == text[0] {
			from, to = from+1, to-1
		}
		c.found = append(c.found, secret{span{from, to}, by.String()})
	}
}

// bareEnd returns where a value without quotes ends.
func (c *scanner) bareEnd(i int) int {
	if strings.HasPrefix(c.s[i:], Mask) {
		return i + len(Mask)
	}
	if strings.HasPrefix(c.s[i:], "$(") || strings.HasPrefix(c.s[i:], "${") {
		if n := strings.IndexAny(c.s[i:min(len(c.s), i+maxName)], ")}"); n > 0 {
			return i + n + 1
		}
	}
	for x := i; x < len(c.s); x++ {
		switch b := c.s[x]; b {
		case ' ', '\t', '\n', '\r', '"', '\'', '`':
			return x
		case '\\':
			if x+1 < len(c.s) && (isQuote(c.s[x+1]) || c.s[x+1] == '\\' || c.s[x+1] == 'n' || c.s[x+1] == 'r') {
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
	for j < len(c.s) && isNameByte[c.s[j]] && j-i < maxName {
		j++
	}
	return j > i && j < len(c.s) && (c.s[j] == '=' || c.s[j] == ':')
}

// named takes what stands behind "name:" for the name of a value that stands
// near.
func (c *scanner) named(i int) {
	v := c.valueAt(i, '=', false)
	if v.to-v.from > maxName || v.from >= v.to {
		return
	}
	of := c.judge([]byte(c.s[v.from:v.to]))
	if c.pair.value.to > 0 && !c.pair.named && of.has(c.s[c.pair.value.from:c.pair.value.to]) {
		c.found = append(c.found, secret{c.pair.value, of.rule.String()})
	}
	if c.pair.named && c.pair.of.secret && !of.secret && c.pair.of.look == noLook && v.to-c.beforeEnd < 64 && !c.lines {
		return // {"key": "password", "id": 7, "value": ...
	}
	c.pair = textPair{named: true, of: of.verdict}
}

// flag looks at what follows a flag: --password X, also in a list: "--password", "X".
func (c *scanner) flag(name string, j int) int {
	of := c.judge([]byte(name))
	if !of.secret || switches(name) {
		return j
	}
	i := j
	for i < len(c.s) && (c.s[i] == '\\' || isQuote(c.s[i])) && i-j < 64 {
		i++
	}
	if i < len(c.s) && c.s[i] == ',' {
		i++
	}
	from := i
	for i < len(c.s) && (isBlank(c.s[i]) || c.s[i] == '\\' && i+1 < len(c.s) && c.s[i+1] == '\n') {
		i++
	}
	if i == from || i >= len(c.s) {
		return j
	}
	v, quoted := c.quoted(i)
	if !quoted {
		if c.s[i] == '-' {
			return j
		}
		v = value{span: span{i, c.bareEnd(i)}}
		if isProse(c.s[i:]) {
			return j
		}
	}
	if v.from >= v.to || !of.has(c.s[v.from:v.to]) {
		return j
	}
	c.found = append(c.found, secret{v.span, of.rule.String()})
	return v.to
}

// bare looks at a value that stands behind a name without any mark: requirepass X,
// machine m password X. What looks like a word is none.
func (c *scanner) bare(name string, i, j int) int {
	if to := c.argument(name, i, j); to > j {
		return to
	}
	if j >= len(c.s) || c.s[j] != ' ' && c.s[j] != '\t' {
		return j
	}
	of := c.judge([]byte(name))
	if !of.secret || of.look != noLook {
		return j
	}
	at := c.blanks(j)
	v, quoted := c.quoted(at)
	if !quoted {
		v = value{span: span{at, c.bareEnd(at)}}
	}
	if v.from >= v.to || !of.has(c.s[v.from:v.to]) {
		return j
	}
	if word := c.s[v.from:v.to]; of.password && !quoted && (word == "is" || word == "was") { // the password is X
		at = c.blanks(v.to)
		v.span = span{at, c.bareEnd(at)}
	}
	text := strings.TrimRight(c.s[v.from:v.to], ".,;:")
	setter := ""
	if c.beforeEnd < i && strings.TrimSpace(c.s[c.beforeEnd:i]) == "" {
		setter = strings.ToLower(c.s[c.before:c.beforeEnd])
	}
	is := false
	switch {
	case text == "":
		return j
	case headers[setter]:
		if !quoted {
			v.to = v.from + lineEnd(c.s[v.from:])
			text = strings.TrimRight(c.s[v.from:v.to], " \t\r;")
		}
		is = text[0] != '$' && text[0] != '%'
	case of.bare:
		is = !isProse(text) && text[0] != '-'
	case setters[setter] && (isVariable(name) || strings.ContainsAny(name, "-_")):
		is = text[0] != '$'
	case quoted:
		is = of.password && !strings.Contains(text, " ")
	case isVariable(name): // docker -e DB_PASSWORD image:1.2, but ENV DB_PASSWORD x
		return j
	case of.password && c.lines && strings.ContainsAny(name, "-_.") && c.lineStart(i) && strings.TrimSpace(c.s[v.to:v.to+lineEnd(c.s[v.to:])]) == "":
		is = !isProse(text)
	case of.password:
		is = hasDigitAndLetter(text) && len(text) >= 6 && !strings.ContainsAny(text, "/()")
	case strings.ContainsAny(name, "-_") && name != strings.ToLower(name) || c.lineStart(i) && strings.ContainsAny(name, "-_"):
		is = looksSecret(text) && !isID(text) && !strings.ContainsAny(text, "/()")
	default:
		is = isLogin(text)
	}
	if !is && !random(text) {
		return j
	}
	c.found = append(c.found, secret{span{v.from, v.from + len(text)}, of.rule.String()})
	return v.to
}

// setters are words behind which a variable and its value stand, and headers those
// behind which a header does, the value of which goes on to the end of the line.
var (
	setters = set("env setenv fastcgi_param uwsgi_param arg passenger_env_var set putenv")
	headers = set("proxy_set_header grpc_set_header set_header set-header add_header add-header header requestheader request_header")
)

// argument looks at a value that stands behind a name in a call or a tuple:
// define('DB_PASSWORD', 'x').
func (c *scanner) argument(name string, i, j int) int {
	if i < 2 || j+3 > len(c.s) || !isQuote(c.s[j]) || c.s[i-1] != c.s[j] || c.s[j+1] != ',' {
		return j
	}
	before := strings.TrimRight(c.s[max(0, i-8):i-1], " ")
	if !strings.HasSuffix(before, "(") && !strings.HasSuffix(before, "[[") && !strings.HasSuffix(before, ", [") {
		return j
	}
	v, ok := c.quoted(c.blanks(j + 2))
	if !ok || v.from >= v.to || v.to+1 >= len(c.s) || c.s[v.to+1] != ')' && c.s[v.to+1] != ']' {
		return j
	}
	of := c.judge([]byte(name))
	if !of.has(c.s[v.from:v.to]) {
		return j
	}
	c.found = append(c.found, secret{v.span, of.rule.String()})
	return v.to
}

// tag looks at an element of XML, and returns where to go on:
// <adminPass>X</adminPass>, <entry key="password">X</entry>, <key>password</key><string>X</string>.
func (c *scanner) tag(i int) int {
	end := strings.IndexByte(c.s[i:min(len(c.s), i+512)], '>')
	if end < 2 || !isNameByte[c.s[i+1]] {
		return i + 1
	}
	open := c.s[i+1 : i+end]
	text := i + end + 1
	next := strings.IndexByte(c.s[text:], '<')
	if next <= 0 || strings.HasSuffix(open, "/") || !strings.HasPrefix(c.s[text+next:], "</") {
		return i + 1
	}
	name, attributes, _ := strings.Cut(open, " ")
	of := *c.judge([]byte(name))
	inner := c.s[text : text+next]
	if attributes != "" && !of.secret {
		for _, attribute := range []string{`name="`, `key="`, `id="`, `name='`, `key='`} {
			if _, rest, ok := strings.Cut(attributes, attribute); ok {
				named, _, _ := strings.Cut(rest, attribute[len(attribute)-1:])
				of = *c.judge([]byte(named))
				break
			}
		}
	}
	switch {
	case of.role == nameRole && !of.secret:
		c.pair = textPair{named: true, of: c.judge([]byte(strings.TrimSpace(inner))).verdict}
		return text
	case (of.role == valueRole || of.role == looseRole) && c.pair.named && c.pair.of.secret:
		of.verdict = c.pair.of
	}
	if strings.TrimSpace(inner) != "" && of.has(strings.TrimSpace(inner)) {
		c.found = append(c.found, secret{span{text, text + next}, of.rule.String()})
		return text + next
	}
	return i + 1
}
