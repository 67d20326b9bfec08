package redact

import "regexp"

// form is a text that holds a secret, whatever stands around it.
type form struct {
	// by says what it is.
	by string
	// expr has groups around the secret, which stay. All else that matches is masked.
	expr *regexp.Regexp
	// needs are hints of which one is in all that matches.
	needs []string
}

func newForm(by, expr string, needs ...string) form {
	return form{by, regexp.MustCompile(expr), needs}
}

// find returns the secrets of that form in a text.
func (f *form) find(s string) (found secrets) {
	for _, at := range f.expr.FindAllStringSubmatchIndex(s, -1) {
		from := at[0]
		for g := 2; g < len(at); g += 2 {
			if at[g] >= 0 {
				found = append(found, secret{span{from, at[g]}, f.by})
				from = at[g+1]
			}
		}
		found = append(found, secret{span{from, at[1]}, f.by})
	}
	return found
}

var forms = []form{
	newForm("private key",
		`(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)`, "private key"),
	// The same in base64, in which PRIVATE is one of three, and the configuration
	// of a registry, which begins with {"auth.
	newForm("private key in base64",
		`LS0tLS1CRUdJTi[A-Za-z0-9+/]{0,24}(?:UFJJVkFUR|BSSVZBVE|QUklWQVRF)(?:[A-Za-z0-9+/]|\s*\n\s*)*=*`, "LS0tLS1CRUdJTi"),
	newForm("a registry's credentials in base64",
		`\b(?:eyJhdXRo|ewo[A-Za-z0-9+/]{0,12}(?:ImF1dGh|JhdXRo|iYXV0a))[A-Za-z0-9+/]*=*`, "eyJhdXRo", "ewo"),
	newForm("JSON Web Token", `\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`, "eyJ"),
	newForm("access key or token of a known make",
		`\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|`+
			`gl(?:pat|dt|rt|cbt|ptt|soat|agent|ft)-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|`+
			`[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|`+
			`dckr_pat_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{35}|`+
			`GOCSPX-[A-Za-z0-9_-]{20,}|dop_v1_[a-f0-9]{32,}|glsa_[A-Za-z0-9_]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|`+
			`reeve-join-1\.[A-Za-z0-9_-]+)`,
		"AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
		"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glagent-", "glft-", "xox", "xapp-",
		"k_live_", "k_test_", "sk-ant-", "sk-proj-", "sk-svcacct-", "hf_", "npm_", "dckr_pat_", "hvs.", "hvb.", "hvr.", "SG.", "AIza",
		"GOCSPX-", "dop_v1_", "glsa_", "AGE-SECRET-KEY-", "reeve-join-"),
	// Addresses that are secrets themselves.
	newForm("address that is a secret", `(?i)(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|`+
		`\.webhook\.office\.com/|api\.telegram\.org/bot|hc-ping\.com/)[^\s"']+`,
		"hooks.slack", "api/webhooks/", "webhook.office", "api.telegram", "hc-ping.com"),
	// A password in Go's form of the address of a MySQL, and in Oracle's.
	newForm("password in an address", `\b([\w.\-]+:)[^\s@"']+(@(?:tcp|unix|udp)\()`, "@tcp(", "@unix(", "@udp("),
	newForm("password in an address", `(?i)(jdbc:oracle:\w+:[^/\s"']+/)[^\s"']+(@)`, "jdbc:oracle"),
	newForm("password in an address", `(\b[A-Za-z]\w*/)[^\s"'/@]+(@//\w)`, "@//"),
	newForm("username=USER%PASSWORD", `(?i)(\busername=[^\s,%"']+%)[^\s,"']+`, "username="),
	newForm("header Authorization",
		`(?i)\b(authorization["']?\s*[=:]\s*["']?)(?:digest|aws4-\S+|hawk|oauth|signature|negotiate|ntlm)\s[^\n']+`,
		"authorization"),
	newForm("header Authorization", `(?i)\b(authorization["']?\s*[=:]\s*["']?)(?:[a-z0-9-]+ +)?[^\s"']+`, "authorization"),
	newForm("header Cookie", `(?i)\b((?:set-)?cookie["']?:\s*["']?)[^"'\n]+`, "cookie"),
	newForm("bearer or basic token", `(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=_\-.~]{8,}`, "bearer", "basic"),
	newForm("auth in base64", `("auth"\s*:\s*")[A-Za-z0-9+/]{8,}=*`, `"auth"`),
	newForm("pass:PASSWORD", `(?i)(\s-pass(?:in|out)?\s+["']?pass:)[^\s"']+`, "pass:"),
	newForm("password in SQL", `(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?\\*["'])[^"'\\]+`, "identified"),
	// What is piped into a program that asks for a password: echo X | passwd --stdin u.
	newForm("password piped into a program",
		`(\b(?:echo|printf)\s+(?:-\w+\s+)*\\?["']?)[^"'|;&\n]*[^"'|;&\s\\](\\?["']?\s*\|\s*(?:sudo\s+(?:-\w+\s+)*)?(?:\S*/)?(?:`+
			`(?:passwd|docker|podman|helm|oc|nerdctl|cryptsetup|gpg|openssl|argocd|vault|az|aws|net)\b`+
			`[^|;&\n]*(?:stdin|\s-(?:\s|$)|passphrase-fd|fd:0)|`+
			`chpasswd|kinit|smbpasswd|su\b|sudo\s[^|;&\n]*-S|systemd-creds|kubeseal|htpasswd|mkpasswd))`,
		"echo ", "printf "),
	newForm("password piped into a program",
		`(\b(?:passwd|chpasswd|kinit|gpg|sudo|docker|podman|openssl|cryptsetup|vault|su|htpasswd|smbpasswd|mkpasswd)\b`+
			`[^\n|;&]*<<<\s*\\?["']?)`+
			`[^"'\n|;&]*[^"'\n|;&\s]`, "<<<"),
	newForm("qemu's secret", `(\bsecret,(?:[\w.-]+=[^,\s]*,)*data=)[^,\s"']+`, "secret,"),
	// Configurations of programs and of network devices.
	newForm(".netrc", `(\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+)\S+`, "login"),
	newForm(".pgpass", `(?m)^([\w.*-]+:(?:\d+|\*):[^:\s]*:[^:\s]+:)\S+$`, ":*:"),
	newForm("createUser of SNMP", `(\bcreateUser\s+(?:-e\s+\S+\s+)?\S+\s+\w+\s+)(?:"[^"]*"|\S+)((?:\s+\w+\s+)?)(?:"[^"]*"|\S*)`,
		"createUser"),
	newForm("password of a network device", `(?i)(\b(?:snmp-server\s+community|snmp\s+community|set\s+community|`+
		`enable\s+(?:secret|password)(?:\s+\d)?|username\s+\S+\s.{0,40}?(?:secret|password)(?:\s+\d)?|`+
		`neighbor\s+\S+\s+password(?:\s+\d)?|message-digest-key\s+\d+\s+\w+(?:\s+\d)?|`+
		`(?:tacacs|radius)(?:-server)?\s+(?:host\s+\S+\s+)?key(?:\s+\d)?|`+
		`pre-shared-key\s+(?:ascii-text|hexadecimal|local|remote)(?:\s+\d)?|key-string(?:\s+\d)?)\s+["']?)[^\s"';]+`,
		"community ", "enable secret", "enable password", "username ", "neighbor ", "message-digest-key", "tacacs", "radius",
		"pre-shared-key", "key-string"),
	newForm("pgbouncer's list of users", `(?m)^(\s*"[^"\n]+"\s+")[^"\n]+("\s*)$`, `" "`),
}
