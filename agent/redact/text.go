package redact

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	// secretName matches, in free text, a name that holds a secret.
	secretName = `[\w.\-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|` +
		`auth[_-]?key|account[_-]?key|shared[_-]?key|client[_-]?key|encryption[_-]?key|credential|pwd)[\w.\-]*`
	// The value of an assignment ends at white space, or at the quote it began
	// with, or at a separator of query strings and lists.
	assignedValue = `(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"'&;,]+)`
	flaggedValue  = `(\s+)("[^"]*"|'[^']*'|[^\s-]\S*)`
)

var (
	assignment = regexp.MustCompile(`(?i)(` + secretName + `)` + assignedValue)
	flag       = regexp.MustCompile(`(?i)--?(` + secretName + `)` + flaggedValue)
)

// form is a text that holds a secret, whatever stands around it.
type form struct {
	expr *regexp.Regexp
	// with replaces what matches: the groups around the secret stay.
	with string
	// needs are texts of which one is in all that matches. Looking for them
	// first keeps the expressions away from nearly all text.
	needs hints
}

func newForm(expr, with string, needs ...string) form {
	return form{expr: regexp.MustCompile(expr), with: with, needs: newHints(needs...)}
}

var forms = []form{
	newForm(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)`, Mask, "private key"),
	// The same in base64, in which PRIVATE is one of three, and the configuration
	// of a registry, which begins with {"auth.
	newForm(`LS0tLS1CRUdJTi[A-Za-z0-9+/]{0,24}(?:UFJJVkFUR|BSSVZBVE|QUklWQVRF)(?:[A-Za-z0-9+/]|\s*\n\s*)*=*`, Mask, "LS0tLS1CRUdJTi"),
	newForm(`\b(?:eyJhdXRo|ewo[A-Za-z0-9+/]{0,12}(?:ImF1dGh|JhdXRo|iYXV0a))[A-Za-z0-9+/]*=*`, Mask, "eyJhdXRo", "ewo"),
	newForm(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`, Mask, "eyJ"),
	newForm(`\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|`+
		`gl(?:pat|dt|rt|cbt|ptt|soat|agent|ft)-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|`+
		`[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|`+
		`dckr_pat_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{35}|`+
		`GOCSPX-[A-Za-z0-9_-]{20,}|dop_v1_[a-f0-9]{32,}|glsa_[A-Za-z0-9_]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|`+
		`reeve-join-1\.[A-Za-z0-9_-]+)`, Mask,
		"AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
		"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glagent-", "glft-", "xox", "xapp-",
		"k_live_", "k_test_", "sk-ant-", "sk-proj-", "sk-svcacct-", "hf_", "npm_", "dckr_pat_", "hvs.", "hvb.", "hvr.", "SG.", "AIza",
		"GOCSPX-", "dop_v1_", "glsa_", "AGE-SECRET-KEY-", "reeve-join-"),
	// Addresses that are secrets themselves.
	newForm(`(?i)(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|`+
		`\.webhook\.office\.com/|api\.telegram\.org/bot)[^\s"']+`, "${1}"+Mask,
		"hooks.slack", "api/webhooks/", "webhook.office", "api.telegram"),
	newForm(`(?i)([?&](?:sig|signature|x-amz-signature|x-goog-signature|code|key|auth)=)[^\s"'&;,]+`, "${1}"+Mask,
		"sig=", "signature=", "code=", "key=", "auth="),
	// A whole part of a URL's path that is no word: webhooks carry their secret there.
	newForm(`(https?://[^\s"'?#]*/)[A-Za-z0-9]{24,}\b`, "${1}"+Mask, "://"),
	// A password in a URL, a token in place of its user, a password in Go's form
	// of the address of a MySQL.
	newForm(`(//[^/\s:@"']*:)[^\s/?#"']+(@)`, "${1}"+Mask+"${2}", "@"),
	newForm(`(://)[A-Za-z0-9_\-]{20,}(@)`, "${1}"+Mask+"${2}", "@"),
	newForm(`\b([\w.\-]+:)[^\s@"']+(@(?:tcp|unix|udp)\()`, "${1}"+Mask+"${2}", "@tcp(", "@unix(", "@udp("),
	newForm(`(?i)\b(authorization["']?\s*[=:]\s*["']?)(?:[a-z0-9-]+ +)?[^\s"']+`, "${1}"+Mask, "authorization"),
	newForm(`(?i)\b((?:set-)?cookie["']?:\s*["']?)[^"'\n]+`, "${1}"+Mask, "cookie"),
	newForm(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=_\-.~]{8,}`, "${1}"+Mask, "bearer", "basic"),
	newForm(`("auth"\s*:\s*")[A-Za-z0-9+/]{8,}=*`, "${1}"+Mask, `"auth"`),
	newForm(`(\slogin\s(?:[^|;&\n]*?\s)?-p\s*)[^\s"']+`, "${1}"+Mask, "login"), // docker, helm ...
	newForm(`(?i)(\s-pass(?:in|out)?\s+["']?pass:)[^\s"']+`, "${1}"+Mask, "pass:"),
}

// secretFlags are flags of well-known programs that a secret follows, or
// user:password. Their names say nothing, so the program must be known.
var secretFlags = []struct {
	programs string
	flags    string
	// glued and apart say how the value may stand to the flag: -pVALUE, -p VALUE.
	glued, apart bool
}{
	{programs: `mysql\w*|mariadb[\w-]*`, flags: `-p`, glued: true},
	{programs: `curl`, flags: `-[sSfLkvi]*[uU]`, glued: true, apart: true},
	{programs: `curl`, flags: `--user|--proxy-user`, apart: true},
	{programs: `redis-cli|valkey-cli`, flags: `-a`, glued: true, apart: true},
	{programs: `sshpass`, flags: `-p`, glued: true, apart: true},
	{programs: `mongo\w*`, flags: `-p`, glued: true, apart: true},
	{programs: `ldap\w+`, flags: `-w`, glued: true, apart: true},
	{programs: `sqlcmd|bcp`, flags: `-P`, glued: true, apart: true},
	{programs: `rabbitmqadmin`, flags: `-p`, glued: true, apart: true},
	{programs: `smbclient`, flags: `-U`, glued: true, apart: true},
	{programs: `etcdctl`, flags: `--user`, apart: true},
}

// command is one of secretFlags, compiled.
type command struct {
	program *regexp.Regexp // the whole name of the program
	glued   *regexp.Regexp // a whole argument with a value in it; may be nil
	apart   *regexp.Regexp // a whole argument before a value; may be nil
	line    *regexp.Regexp // in a text
}

var commands = func() (list []command) {
	for _, f := range secretFlags {
		// A long flag takes its value behind = too.
		value := map[[2]bool]string{{true, false}: ``, {false, true}: `(?:\s+|=)`, {true, true}: `\s*=?`}[[2]bool{f.glued, f.apart}]
		c := command{
			program: regexp.MustCompile(`^(?:` + f.programs + `)$`),
			line: regexp.MustCompile(`((?:^|[\s/"'(;|&` + "`" + `])(?:` + f.programs + `)\s(?:[^|;&\n]*?\s)?(?:` + f.flags + `)` + value +
				`)("[^"]*"|'[^']*'|[^\s"'][^\s"']*)`),
		}
		if f.glued {
			c.glued = regexp.MustCompile(`(?s)^(` + f.flags + `).+$`)
		} else {
			c.glued = regexp.MustCompile(`(?s)^((?:` + f.flags + `)=).+$`)
		}
		if f.apart {
			c.apart = regexp.MustCompile(`^(?:` + f.flags + `)$`)
		}
		list = append(list, c)
	}
	return list
}()

// programs are parts of the names of those programs, words are in all that
// secretName matches, and anything is either of them or what a form needs.
var (
	programs = newHints("mysql", "mariadb", "curl", "redis-cli", "valkey-cli", "sshpass", "mongo", "ldap", "sqlcmd", "bcp",
		"rabbitmqadmin", "smbclient", "etcdctl")
	words    = newHints("pass", "secret", "token", "key", "credential", "pwd")
	anything = func() hints {
		all := append(slices.Clone(programs.texts), words.texts...)
		for _, f := range forms {
			all = append(all, f.needs.texts...)
		}
		// Escapes of JSON stand between in raw text.
		return newHints(append(all, `auth\"`)...)
	}()
)

func (r *Rules) suspicious(text []byte) bool {
	return len(r.patterns) > 0 || anything.in(text) || r.hints.in(text)
}

// Text returns free text with the secrets in it masked.
func (r *Rules) Text(s string) string {
	r = r.orBuiltin()
	for _, p := range r.patterns {
		s = p.ReplaceAllLiteralString(s, Mask)
	}
	text := []byte(s)
	hasWord, hasOurs := words.in(text), r.hints.in(text)
	if !hasWord && !hasOurs && !anything.in(text) {
		return s
	}
	if programs.in(text) {
		for _, c := range commands {
			s = c.line.ReplaceAllString(s, "${1}"+Mask)
		}
	}
	// KEY=VALUE as a whole: the value may have any character in it.
	if key, value, ok := strings.Cut(s, "="); ok && value != "" && isName(key) && r.IsSecretKey(key) {
		return key + "=" + Mask
	}
	for _, f := range forms {
		if f.needs.in(text) {
			s = f.expr.ReplaceAllString(s, f.with)
		}
	}
	s = r.lines(s)
	assigns, flags := strings.ContainsAny(s, "=:"), strings.Contains(s, "-")
	if hasWord && assigns {
		s = maskValues(assignment, s, speaksOf)
	}
	if hasWord && flags {
		s = maskValues(flag, s, speaksOf)
	}
	if hasOurs && assigns {
		s = maskValues(r.assigned, s, nil)
	}
	if hasOurs && flags {
		s = maskValues(r.flagged, s, nil)
	}
	return s
}

// maskValues masks what the last group of the expression matches, except behind
// a name, in the first group, that is harmless.
func maskValues(expr *regexp.Regexp, s string, harmless func(name string) bool) string {
	var b strings.Builder
	done := 0
	for _, m := range expr.FindAllStringSubmatchIndex(s, -1) {
		if harmless != nil && harmless(s[m[2]:m[3]]) {
			continue
		}
		b.WriteString(s[done:m[6]])
		b.WriteString(Mask)
		done = m[7]
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// pair is a line of YAML or of a header with a key and a value.
var pair = regexp.MustCompile(`^([ \t]*(?:- +)*)["']?([\w.\-]+)["']?:[ \t]+(\S.*)$`)

// lines masks the values of secret keys in text of several lines, where they
// end with the line, or go on for as long as lines are indented behind | or >.
func (r *Rules) lines(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	list := strings.Split(s, "\n")
	kept := list[:0]
	block := -1 // the indentation of the key whose block is left out
	for _, line := range list {
		if block >= 0 {
			if indent := len(line) - len(strings.TrimLeft(line, " \t")); indent > block || strings.TrimSpace(line) == "" {
				continue
			}
			block = -1
		}
		if m := pair.FindStringSubmatch(line); m != nil && r.IsSecretKey(m[2]) {
			switch value := m[3]; value[0] {
			case '|', '>':
				block = len(m[1])
				line = strings.TrimSuffix(line, value) + Mask
			case '"', '\'', '{', '[', '&', '*', '!': // not plain: left to the assignments
			default:
				line = strings.TrimSuffix(line, value) + Mask
			}
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n")
}

func isName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
			return false
		}
	}
	return s != ""
}

// commandLine follows the arguments in an array.
type commandLine struct {
	known []command
	// expected says that a secret comes next.
	expected bool
}

// next takes the next argument, and returns what to write for it if it is, or
// has in it, a secret that does not show by itself.
func (l *commandLine) next(d *redactor, arg []byte, first bool) (clean string, masked bool) {
	if first {
		l.begin(arg)
		if len(arg) == 0 || arg[0] != '-' {
			return "", false
		}
	}
	flag := len(arg) > 1 && arg[0] == '-'
	if l.expected && len(arg) > 0 && !flag {
		l.expected = false
		return Mask, true
	}
	l.expected = false
	if !flag {
		return "", false
	}
	for _, c := range l.known {
		if c.apart != nil && c.apart.Match(arg) {
			l.expected = true
			return "", false
		}
		if m := c.glued.FindSubmatch(arg); m != nil {
			return string(m[1]) + Mask, true
		}
	}
	l.expected = isName(string(arg)) && d.judge(arg)
	return "", false
}

func (l *commandLine) begin(program []byte) {
	if !programs.in(program) {
		return
	}
	name := path.Base(string(program))
	for _, c := range commands {
		if c.program.MatchString(name) {
			l.known = append(l.known, c)
		}
	}
}

// hints are texts that are looked for in any case.
type hints struct {
	texts []string
	// starts has a bit for each pair of bytes that one of them begins with, and
	// byFirst has them in lower case by their first byte.
	starts  *[1 << 16 / 64]uint64
	byFirst *[256][]string
}

func newHints(texts ...string) hints {
	h := hints{texts: texts, starts: new([1 << 16 / 64]uint64), byFirst: new([256][]string)}
	for _, t := range texts {
		t = strings.ToLower(t)
		h.byFirst[t[0]] = append(h.byFirst[t[0]], t)
		from, to := 0, 255
		if len(t) > 1 {
			from, to = int(t[1]), int(t[1])
		}
		for second := from; second <= to; second++ {
			start := int(t[0])<<8 | second
			h.starts[start/64] |= 1 << (start % 64)
		}
	}
	return h
}

// in reports whether any of the texts is in a text, and not at its very end if
// it is but one byte long.
func (h hints) in(text []byte) bool {
	if h.starts == nil || len(text) == 0 {
		return false
	}
	start := int(lower[text[0]])
	for i, c := range text[1:] {
		start = start<<8&0xff00 | int(lower[c])
		if h.starts[start/64]&(1<<(start%64)) != 0 && h.begin(text[i:]) {
			return true
		}
	}
	return false
}

// begin reports whether a text begins with any of the texts.
func (h hints) begin(text []byte) bool {
	for _, t := range h.byFirst[lower[text[0]]] {
		if len(t) <= len(text) && equalFold(t, text[:len(t)]) {
			return true
		}
	}
	return false
}

func equalFold(hint string, text []byte) bool {
	for i := range len(hint) {
		if lower[text[i]] != hint[i] {
			return false
		}
	}
	return true
}

// lower maps bytes to lower case, as far as they are ASCII.
var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		table[c] = byte(c) + 'a' - 'A'
	}
	return table
}()
