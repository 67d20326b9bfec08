package redact

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxNested is how deeply texts in texts are taken apart. What is nested deeper
	// is looked through as it is written.
	maxNested = 8
	// maxRounds is how often a text is looked through. Once is enough but for what shows only
	// when what stood before it is masked.
	maxRounds = 4
)

// form is a text that holds a secret, whatever stands around it.
type form struct {
	expr *regexp.Regexp
	// with replaces what matches: the groups around the secret stay.
	with string
	// needs are hints of which one is in all that matches.
	needs []string
}

func newForm(expr, with string, needs ...string) form {
	return form{expr: regexp.MustCompile(expr), with: with, needs: needs}
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
		`\.webhook\.office\.com/|api\.telegram\.org/bot|hc-ping\.com/)[^\s"']+`, "${1}"+Mask,
		"hooks.slack", "api/webhooks/", "webhook.office", "api.telegram", "hc-ping.com"),
	// A password in Go's form of the address of a MySQL, and in Oracle's.
	newForm(`\b([\w.\-]+:)[^\s@"']+(@(?:tcp|unix|udp)\()`, "${1}"+Mask+"${2}", "@tcp(", "@unix(", "@udp("),
	newForm(`(?i)(jdbc:oracle:\w+:[^/\s"']+/)[^\s"']+(@)`, "${1}"+Mask+"${2}", "jdbc:oracle"),
	newForm(`(\b[A-Za-z]\w*/)[^\s"'/@]+(@//\w)`, "${1}"+Mask+"${2}", "@//"),
	newForm(`(?i)(\busername=[^\s,%"']+%)[^\s,"']+`, "${1}"+Mask, "username="),
	newForm(`(?i)\b(authorization["']?\s*[=:]\s*["']?)(?:digest|aws4-\S+|hawk|oauth|signature|negotiate|ntlm)\s[^\n']+`,
		"${1}"+Mask, "authorization"),
	newForm(`(?i)\b(authorization["']?\s*[=:]\s*["']?)(?:[a-z0-9-]+ +)?[^\s"']+`, "${1}"+Mask, "authorization"),
	newForm(`(?i)\b((?:set-)?cookie["']?:\s*["']?)[^"'\n]+`, "${1}"+Mask, "cookie"),
	newForm(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=_\-.~]{8,}`, "${1}"+Mask, "bearer", "basic"),
	newForm(`("auth"\s*:\s*")[A-Za-z0-9+/]{8,}=*`, "${1}"+Mask, `"auth"`),
	newForm(`(?i)(\s-pass(?:in|out)?\s+["']?pass:)[^\s"']+`, "${1}"+Mask, "pass:"),
	newForm(`(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?\\*["'])[^"'\\]+`, "${1}"+Mask, "identified"),
	// What is piped into a program that asks for a password: echo X | passwd --stdin u.
	newForm(`(\b(?:echo|printf)\s+(?:-\w+\s+)*\\?["']?)[^"'|;&\n]*[^"'|;&\s\\](\\?["']?\s*\|\s*(?:sudo\s+(?:-\w+\s+)*)?(?:\S*/)?(?:`+
		`(?:passwd|docker|podman|helm|oc|nerdctl|cryptsetup|gpg|openssl|argocd|vault|az|aws|net)\b`+
		`[^|;&\n]*(?:stdin|\s-(?:\s|$)|passphrase-fd|fd:0)|`+
		`chpasswd|kinit|smbpasswd|su\b|sudo\s[^|;&\n]*-S|systemd-creds|kubeseal|htpasswd|mkpasswd))`,
		"${1}"+Mask+"${2}", "echo ", "printf "),
	newForm(`(\b(?:passwd|chpasswd|kinit|gpg|sudo|docker|podman|openssl|cryptsetup|vault|su|htpasswd|smbpasswd|mkpasswd)\b`+
		`[^\n|;&]*<<<\s*\\?["']?)`+
		`[^"'\n|;&]*[^"'\n|;&\s]`, "${1}"+Mask, "<<<"),
	newForm(`(\bsecret,(?:[\w.-]+=[^,\s]*,)*data=)[^,\s"']+`, "${1}"+Mask, "secret,"), // qemu --object
	// Configurations of programs and of network devices.
	newForm(`(\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+)\S+`, "${1}"+Mask, "login"), // .netrc
	newForm(`(?m)^([\w.*-]+:(?:\d+|\*):[^:\s]*:[^:\s]+:)\S+$`, "${1}"+Mask, ":*:"),                // .pgpass
	newForm(`(\bcreateUser\s+(?:-e\s+\S+\s+)?\S+\s+\w+\s+)(?:"[^"]*"|\S+)((?:\s+\w+\s+)?)(?:"[^"]*"|\S*)`,
		"${1}"+Mask+"${2}"+Mask, "createUser"),
	newForm(`(?i)(\b(?:snmp-server\s+community|snmp\s+community|set\s+community|`+
		`enable\s+(?:secret|password)(?:\s+\d)?|username\s+\S+\s.{0,40}?(?:secret|password)(?:\s+\d)?|`+
		`neighbor\s+\S+\s+password(?:\s+\d)?|message-digest-key\s+\d+\s+\w+(?:\s+\d)?|`+
		`(?:tacacs|radius)(?:-server)?\s+(?:host\s+\S+\s+)?key(?:\s+\d)?|`+
		`pre-shared-key\s+(?:ascii-text|hexadecimal|local|remote)(?:\s+\d)?|key-string(?:\s+\d)?)\s+["']?)[^\s"';]+`, "${1}"+Mask,
		"community ", "enable secret", "enable password", "username ", "neighbor ", "message-digest-key", "tacacs", "radius",
		"pre-shared-key", "key-string"),
	newForm(`(?m)^(\s*"[^"\n]+"\s+")[^"\n]+("\s*)$`, "${1}"+Mask+"${2}", `" "`), // pgbouncer's list of users
}

// anything are hints of which one is in each text that holds a secret, but for
// those of the operator.
var anything = func() *hints {
	h := newHints()
	for _, row := range secretNames {
		for w := range strings.SplitSeq(row.words, ", ") {
			// Of two words the last is enough where it is key; others are common.
			switch all := strings.Fields(w); {
			case row.places&inQuery != 0:
				h.add(aboutNames, w+"=")
			case len(all) == 1:
				h.add(aboutNames, w)
			case all[len(all)-1] == "key":
				h.add(aboutNames, "key")
			default:
				for _, mark := range []string{"", " ", "_", "-", "."} {
					h.add(aboutNames, strings.Join(all, mark))
				}
			}
		}
	}
	h.add(aboutPrograms, programs...)
	h.add(aboutAddresses, "@", "://")
	// Escapes of JSON stand between in raw text, or in place of what is looked for.
	h.add(aboutEscapes, `auth\"`, `\" \"`, `\\u00`)
	for n, f := range forms {
		h.add(aboutForms<<n, f.needs...)
	}
	return h
}()

func (d *redactor) suspicious(text []byte) bool {
	return len(d.patterns) > 0 || anything.in(text) || d.hints != nil && d.hints.in(text)
}

// text returns free text with the secrets in it masked.
func (d *redactor) text(s string) string {
	for range maxRounds {
		clean := d.once(s)
		if clean == s {
			break
		}
		s = clean
	}
	return s
}

func (d *redactor) once(s string) string {
	for _, p := range d.patterns {
		s = p.ReplaceAllLiteralString(s, Mask)
	}
	about := anything.about(s) | anything.about(" "+s[:min(len(s), 16)]) // a program may begin it
	if d.hints != nil {
		about |= d.hints.about(s)
	}
	if about == 0 {
		return s
	}
	if clean, ok := d.asJSON(s); ok {
		return clean
	}
	// KEY=VALUE as a whole: the value may have any character in it.
	if key, value, ok := strings.Cut(s, "="); ok && isName(key) {
		of := d.judge([]byte(key))
		if of.has(value) && of.has(value[:strings.IndexAny(value+" ", " ,;&")]) && !moreVariables.MatchString(value) {
			return key + "=" + Mask
		}
	}
	if about&aboutPrograms != 0 {
		s = d.commandLines(s)
	}
	for n, f := range forms {
		if about&(aboutForms<<n) != 0 {
			s = f.expr.ReplaceAllString(s, f.with)
		}
	}
	if about&aboutAddresses != 0 || strings.Contains(s, "//") {
		s = urls(s)
	}
	if about&aboutNames != 0 {
		s = d.scan(s)
	}
	return s
}

// moreVariables is in a text of several lines that assign.
var moreVariables = regexp.MustCompile(`\n\s*(?:#[^\n]*\s*)*(?:export )?[A-Za-z_][\w.]*=`)

// asJSON goes over a text that is an object, an array or a string in JSON as
// over a document.
func (d *redactor) asJSON(s string) (clean string, ok bool) {
	inner := strings.TrimSpace(s)
	if len(inner) < 3 || d.nested >= maxNested {
		return "", false
	}
	switch first, last := inner[0], inner[len(inner)-1]; {
	case first == '{' && last == '}', first == '[' && last == ']', first == '"' && last == '"':
	default:
		return "", false
	}
	if !jsontext.Value(inner).IsValid(jsontext.AllowDuplicateNames(true)) {
		return "", false
	}
	d.nested++
	scratch := d.scratch
	d.scratch = nil
	masked, _, err := d.json([]byte(inner))
	d.nested--
	d.scratch = scratch
	if err != nil {
		return "", false
	}
	if string(masked) == inner {
		return s, true
	}
	at := strings.Index(s, inner)
	return s[:at] + string(masked) + s[at+len(inner):], true
}

func isName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
			return false
		}
	}
	return s != ""
}
