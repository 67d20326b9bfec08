package redact

import (
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// scanner looks for names in a text, and for what stands for their values.
type scanner struct {
	*redactor
	s     string
	found forms.Secrets
	// unquoted is the value without quotes that was read last.
	unquoted forms.Span
	pair     textPair
	// before is where the name before began, if but a blank is between.
	before, beforeEnd int
	lines             bool // the text has several
}

// textPair is how far a name and a value that belong together were read.
type textPair struct {
	named bool
	of    names.Verdict
	value forms.Span // of a value that stands before its name
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
			for j < len(c.s) && isNameByte[c.s[j]] && (c.s[j] != wideMarks[0] || wideMark(c.s[j:]) == 0) {
				j++
			}
			if j == i { // a wide mark
				i += len(wideMarks) / 2
				continue
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

// wideMarks are : and = as East Asian texts have them, of three bytes each.
const wideMarks = "：＝"

// wideMark returns the mark that a text begins with, or 0.
func wideMark(s string) byte {
	switch {
	case strings.HasPrefix(s, wideMarks[:3]):
		return ':'
	case strings.HasPrefix(s, wideMarks[3:]):
		return '='
	}
	return 0
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
	if from == to || to-from > names.MaxName {
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
	if inWord := mark == ':' && behind < len(c.s) && !forms.IsBlank(c.s[behind]); inWord && c.isUnits(i) {
		return j
	}
	of, words := *c.judge([]byte(name)), 1
	if secondWords[strings.ToLower(name)] && !of.Secret && c.beforeEnd > 0 && c.beforeEnd == i-1 && c.s[i-1] == ' ' { // api key: x
		if pair, ok := names.JudgePair(c.s[c.before:to]); ok {
			of.Verdict, words = pair, 2
		}
	}
	inURL := mark == '=' && i > 0 && (c.s[i-1] == '?' || c.s[i-1] == '&')
	if inURL && (!of.Secret || of.Look != names.NoLook) {
		if parameter, ok := names.JudgeParameter(name); ok {
			of.Verdict = parameter
		}
	}
	at := c.lineStart(i)
	switch {
	case of.role == names.NameRole && !(of.Secret && of.Look == names.NoLook):
		c.named(behind)
		return behind
	case of.role == names.ValueRole || of.role == names.LooseRole:
		if c.pair.named {
			if c.pair.of.Secret {
				of.Verdict = c.pair.of
			}
		} else {
			c.pair.value = c.valueAt(behind, mark, false).Span
		}
	}
	if !of.Secret {
		if at && names.LooksChosen(name) {
			c.namedByValue(forms.Span{From: from, To: to}, behind)
		}
		return behind
	}
	v := c.valueAt(behind, mark, at)
	if v.nested {
		if of.Look == names.NoLook {
			c.block(i, v.From, of.Rule)
		}
		return v.From
	}
	if !c.has(of.Verdict, v, mark, i) || words == 2 && !of.Password && !v.quoted && isWord(c.s[v.From:v.To]) {
		return max(behind, v.From)
	}
	c.found = append(c.found, forms.Secret{Span: v.Span, By: of.Rule.String()})
	return v.To
}

// escapedTag looks at an element of XML that is escaped: &lt;password&gt;X&lt;/password&gt;.
func (c *scanner) escapedTag(name string, j int) int {
	from := j + len("&gt;")
	n := strings.Index(c.s[from:], "&lt;")
	if of := c.judge([]byte(name)); n > 0 && of.Has(c.s[from:from+n]) {
		c.found = append(c.found, forms.Secret{Span: forms.Span{From: from, To: from + n}, By: of.Rule.String()})
		return from + n
	}
	return from
}

// namedByValue masks a name whose value, to the end of the line, is what secrets are
// called.
func (c *scanner) namedByValue(name forms.Span, behind int) {
	value := strings.Trim(c.s[behind:behind+lineEnd(c.s[behind:])], " \t\r\"',")
	if names.CallsSecret(value) {
		c.found = append(c.found, forms.Secret{Span: name, By: byItsValue})
	}
}

// secondWords are the last of names that are written with a blank between.
var secondWords = names.Set("key keys code codes string phrase")

// has reports whether a value in the text is a secret.
func (c *scanner) has(of names.Verdict, v value, mark byte, name int) bool {
	if v.From >= v.To {
		return false
	}
	text := c.s[v.From:v.To]
	if !of.Has(text) || strings.HasPrefix(text, Mask) {
		return false
	}
	if mark != ':' || v.quoted {
		return true
	}
	if forms.IsBlank(c.s[v.From-1]) {
		return !names.IsProse(c.s[v.From:])
	}
	// secrets:read, app-secret:1.2, but not password:x
	return of.Password || !isWord(text) && !(name > 0 && c.s[name-1] == '/' && isTag(text))
}

// isWord reports whether there are but letters and marks in a short text.
func isWord(text string) bool {
	if len(text) > 24 {
		return false
	}
	for i := range len(text) {
		if b := text[i]; !(b|0x20 >= 'a' && b|0x20 <= 'z' || strings.IndexByte("*/_.-:", b) >= 0) {
			return false
		}
	}
	return true
}

// isTag reports whether a text looks like the tag of an image.
func isTag(text string) bool {
	if len(text) > names.MaxName {
		return false
	}
	version := strings.Contains(text, ".") && strings.ContainsAny(text[:min(len(text), 2)], "0123456789")
	return version || !names.LooksSecret(text) && !names.Random(text)
}

// isUnits reports whether a name is one of several with colons between:
// arn:aws:secretsmanager:eu, system:controller:token-cleaner.
func (c *scanner) isUnits(i int) bool {
	from := i
	for from > 0 && i-from < 256 && !forms.IsBlank(c.s[from-1]) && strings.IndexByte("\"'`,;=([{", c.s[from-1]) < 0 {
		from--
	}
	for _, start := range []string{"arn:", "urn:", "system:", "spiffe:", "oci:", "urn-"} {
		if strings.HasPrefix(c.s[from:i], start) {
			return true
		}
	}
	return false
}

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
		if c.s[quoted] != '\\' && !forms.IsQuote(c.s[quoted]) {
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
	case wideMark(rest) != 0:
		return wideMark(rest), i + len(wideMarks)/2
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

// named takes what stands behind "name:" for the name of a value that stands
// near.
func (c *scanner) named(i int) {
	v := c.valueAt(i, '=', false)
	if v.To-v.From > names.MaxName || v.From >= v.To {
		return
	}
	of := c.judge([]byte(c.s[v.From:v.To]))
	if c.pair.value.To > 0 && !c.pair.named && of.Has(c.s[c.pair.value.From:c.pair.value.To]) {
		c.found = append(c.found, forms.Secret{Span: c.pair.value, By: of.Rule.String()})
	}
	if c.pair.named && c.pair.of.Secret && !of.Secret && c.pair.of.Look == names.NoLook && v.To-c.beforeEnd < 64 && !c.lines {
		return // {"key": "password", "id": 7, "value": ...
	}
	c.pair = textPair{named: true, of: of.Verdict}
}

// flag looks at what follows a flag: --password X, also in a list: "--password", "X".
func (c *scanner) flag(name string, j int) int {
	of := c.judge([]byte(name))
	if !of.Secret || switches(name) {
		return j
	}
	i := j
	for i < len(c.s) && (c.s[i] == '\\' || forms.IsQuote(c.s[i])) && i-j < 64 {
		i++
	}
	if i < len(c.s) && c.s[i] == ',' {
		i++
	}
	from := i
	for i < len(c.s) && (forms.IsBlank(c.s[i]) || c.s[i] == '\\' && i+1 < len(c.s) && c.s[i+1] == '\n') {
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
		v = value{Span: forms.Span{From: i, To: c.bareEnd(i)}}
		if names.IsProse(c.s[i:]) {
			return j
		}
	}
	if v.From >= v.To || !of.Has(c.s[v.From:v.To]) {
		return j
	}
	c.found = append(c.found, forms.Secret{Span: v.Span, By: of.Rule.String()})
	return v.To
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
	if !of.Secret || of.Look != names.NoLook {
		return j
	}
	at := c.blanks(j)
	v, quoted := c.quoted(at)
	if !quoted {
		v = value{Span: forms.Span{From: at, To: c.bareEnd(at)}}
	}
	if v.From >= v.To || !of.Has(c.s[v.From:v.To]) {
		return j
	}
	if word := c.s[v.From:v.To]; of.Password && !quoted && (word == "is" || word == "was") { // the password is X
		at = c.blanks(v.To)
		v.Span = forms.Span{From: at, To: c.bareEnd(at)}
	}
	text := strings.TrimRight(c.s[v.From:v.To], ".,;:")
	setter := ""
	if c.beforeEnd < i && strings.TrimSpace(c.s[c.beforeEnd:i]) == "" {
		setter = strings.ToLower(c.s[c.before:c.beforeEnd])
	}
	is := false
	switch {
	case text == "", strings.IndexByte("<>|&", text[0]) >= 0:
		return j
	case headers[setter]:
		if !quoted {
			v.To = v.From + lineEnd(c.s[v.From:])
			text = strings.TrimRight(c.s[v.From:v.To], " \t\r;")
		}
		is = text[0] != '$' && text[0] != '%'
	case of.Bare:
		is = !names.IsProse(text) && text[0] != '-'
	case setters[setter] && (isVariable(name) || strings.ContainsAny(name, "-_")):
		is = text[0] != '$'
	case quoted:
		is = of.Password && !strings.Contains(text, " ")
	case isVariable(name): // docker -e DB_PASSWORD image:1.2, but ENV DB_PASSWORD x
		return j
	case of.Password && c.lines && c.lineStart(i) && strings.TrimSpace(c.s[v.To:v.To+lineEnd(c.s[v.To:])]) == "":
		// password X, but not kpasswd 464/tcp, or Go's Password string.
		is = !names.IsProse(text) && !goTypes[text] && !isPortName(text)
	case of.Password:
		is = names.HasDigitAndLetter(text) && len(text) >= 6 && !strings.ContainsAny(text, "/()")
	case strings.ContainsAny(name, "-_") && name != strings.ToLower(name) || c.lineStart(i) && strings.ContainsAny(name, "-_"):
		is = names.LooksSecret(text) && !names.IsID(text) && !strings.ContainsAny(text, "/()")
	default:
		is = names.IsLogin(text)
	}
	if !is && !names.Random(text) {
		return j
	}
	c.found = append(c.found, forms.Secret{Span: forms.Span{From: v.From, To: v.From + len(text)}, By: of.Rule.String()})
	return v.To
}

// goTypes are what stands behind a field of a structure in Go and its kin.
var goTypes = names.Set("string *string []byte bool int error String str")

// isPortName knows ports as /etc/services has them: 464/tcp.
func isPortName(text string) bool {
	port, protocol, ok := strings.Cut(text, "/")
	return ok && (protocol == "tcp" || protocol == "udp") && strings.Trim(port, "0123456789") == ""
}

// setters are words behind which a variable and its value stand, and headers those
// behind which a header does, the value of which goes on to the end of the line.
var (
	setters = names.Set("env setenv fastcgi_param uwsgi_param arg passenger_env_var set putenv")
	headers = names.Set("proxy_set_header grpc_set_header set_header set-header add_header add-header header requestheader request_header")
)

// argument looks at a value that stands behind a name in a call or a tuple:
// define('DB_PASSWORD', 'x').
func (c *scanner) argument(name string, i, j int) int {
	if j+1 < len(c.s) && c.s[j] == '(' {
		return c.setter(name, i, j)
	}
	if i < 2 || j+3 > len(c.s) || !forms.IsQuote(c.s[j]) || c.s[i-1] != c.s[j] || c.s[j+1] != ',' {
		return j
	}
	before := strings.TrimRight(c.s[max(0, i-8):i-1], " ")
	if !strings.HasSuffix(before, "(") && !strings.HasSuffix(before, "[[") && !strings.HasSuffix(before, ", [") {
		return j
	}
	v, ok := c.quoted(c.blanks(j + 2))
	if !ok || v.From >= v.To {
		return j
	}
	if end := c.blanks(v.To + 1); end >= len(c.s) || strings.IndexByte(")],", c.s[end]) < 0 {
		return j
	}
	of := c.judge([]byte(name))
	if !of.Has(c.s[v.From:v.To]) {
		return j
	}
	c.found = append(c.found, forms.Secret{Span: v.Span, By: of.Rule.String()})
	return v.To
}

// setter looks at the one argument of a call that sets something: x.setPassword("x"),
// builder().apiKey("x").
func (c *scanner) setter(name string, i, j int) int {
	v, ok := c.quoted(c.blanks(j + 1))
	if !ok || v.From >= v.To || v.To-v.From > names.MaxName {
		return j
	}
	if end := c.blanks(v.To + 1); end >= len(c.s) || c.s[end] != ')' {
		return j
	}
	method := name[strings.LastIndexByte(name, '.')+1:]
	sets := strings.HasPrefix(method, "set") || strings.HasPrefix(method, "with") || strings.HasPrefix(method, "Set") || strings.HasPrefix(method, "With")
	chained := i > 0 && c.s[i-1] == ')' && c.s[i] == '.' && !strings.HasPrefix(method, "get")
	if of := c.judge([]byte(method)); !sets && !chained || !of.Has(c.s[v.From:v.To]) {
		return j
	}
	c.found = append(c.found, forms.Secret{Span: v.Span, By: c.judge([]byte(method)).Rule.String()})
	return v.To
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
	if element, _, ok := strings.Cut(open, " "); ok { // <password value="x"/>
		if at := strings.Index(open, ` value="`); at > 0 {
			from := i + 1 + at + len(` value="`)
			to := from + max(0, strings.IndexByte(c.s[from:text], '"'))
			if of := c.judge([]byte(element)); from < to && of.Look == names.NoLook && of.Has(c.s[from:to]) {
				c.found = append(c.found, forms.Secret{Span: forms.Span{From: from, To: to}, By: of.Rule.String()})
				return to
			}
		}
	}
	next := strings.IndexByte(c.s[text:], '<')
	if next <= 0 || strings.HasSuffix(open, "/") || !strings.HasPrefix(c.s[text+next:], "</") {
		return i + 1
	}
	name, attributes, _ := strings.Cut(open, " ")
	of := *c.judge([]byte(name))
	inner := c.s[text : text+next]
	if attributes != "" && !of.Secret {
		for _, attribute := range []string{`name="`, `key="`, `id="`, `name='`, `key='`} {
			if _, rest, ok := strings.Cut(attributes, attribute); ok {
				named, _, _ := strings.Cut(rest, attribute[len(attribute)-1:])
				of = *c.judge([]byte(named))
				break
			}
		}
	}
	switch {
	case of.role == names.NameRole && !of.Secret:
		c.pair = textPair{named: true, of: c.judge([]byte(strings.TrimSpace(inner))).Verdict}
		return text
	case (of.role == names.ValueRole || of.role == names.LooseRole) && c.pair.named && c.pair.of.Secret:
		of.Verdict = c.pair.of
	}
	if strings.TrimSpace(inner) != "" && of.Has(strings.TrimSpace(inner)) {
		c.found = append(c.found, forms.Secret{Span: forms.Span{From: text, To: text + next}, By: of.Rule.String()})
		return text + next
	}
	return i + 1
}
