// Package forms finds secrets in texts by what they look like, and by what stands around
// them: keys and tokens of known makes, passwords in addresses, lines of configuration files,
// arguments of well-known programs. Names are no part of it.
package forms

import (
	"regexp"
	"strings"
)

// Form is a text that holds a secret, whatever stands around it.
type Form struct {
	// By says what it is.
	by string
	// expr has groups around the secret, which stay. All else that matches is masked.
	expr *regexp.Regexp
	// needs are hints of which one is in all that matches.
	needs []string
	// words says that what looks like a word is no secret.
	words bool
	// within, unless it is nil, is what all of it must stand in.
	within *regexp.Regexp
}

func newForm(by, expr string, needs ...string) Form {
	return Form{by: by, expr: regexp.MustCompile(expr), needs: needs}
}

// wordless is a form of which a word is no secret.
func wordless(f Form) Form {
	f.words = true
	return f
}

// within is a form that counts only in what matches another expression.
func within(expr string, f Form) Form {
	f.within = regexp.MustCompile(expr)
	return f
}

// Find returns the secrets of that form in a text.
func (f *Form) Find(s string) (found Secrets) {
	if f.within == nil {
		return f.find(s)
	}
	for _, at := range f.within.FindAllStringIndex(s, -1) {
		for _, secret := range f.find(s[at[0]:at[1]]) {
			secret.From, secret.To = secret.From+at[0], secret.To+at[0]
			found = append(found, secret)
		}
	}
	return found
}

func (f *Form) find(s string) (found Secrets) {
	for _, at := range f.expr.FindAllStringSubmatchIndex(s, -1) {
		from := at[0]
		for g := 2; g < len(at); g += 2 {
			if at[g] >= 0 {
				found = append(found, Secret{Span{from, at[g]}, f.by})
				from = at[g+1]
			}
		}
		if last := s[from:at[1]]; f.words && strings.Trim(last[min(1, len(last)):], "abcdefghijklmnopqrstuvwxyz.") == "" {
			continue
		}
		found = append(found, Secret{Span{from, at[1]}, f.by})
	}
	return found
}

// All are the forms. Those that keep others from being seen come first.
var All = []Form{
	newForm("private key",
		`(?s)-{4,5} ?BEGIN [A-Za-z0-9 ]*(?:PRIVATE KEY|Static key V1)(?: BLOCK)? ?-{4,5}.*?`+
			`(?:-{4,5} ?END [A-Za-z0-9 ]*(?:PRIVATE KEY|Static key V1)(?: BLOCK)? ?-{4,5}|$)`, "private key", "static key v1"),
	newForm("private key of PuTTY", `(?s)(\bPrivate-Lines:\s*\d+\s*\n).*?(\n\s*Private-(?:MAC|Hash)|$)`, "private-lines:"),
	newForm("private key without its frame",
		`\b(?:MII[A-Za-z0-9+/]{3}IB(?:AAK|ADAN)|MHcCAQEEI|MIGHAgEAMB|MC4CAQAwBQYDK2Vw)(?:[A-Za-z0-9+/]|\s*\n\s*)*=*`,
		"IBAAK", "IBADAN", "MHcCAQEEI", "MIGHAgEAMB", "MC4CAQAwBQ"),
	// The same in base64, in which PRIVATE is one of three, and the configuration
	// of a registry, which begins with {"auth.
	newForm("private key in base64",
		`LS0tLS1CRUdJTi[A-Za-z0-9+/]{0,24}(?:UFJJVkFUR|BSSVZBVE|QUklWQVRF)(?:[A-Za-z0-9+/]|\s*\n\s*)*=*`, "LS0tLS1CRUdJTi"),
	newForm("a registry's credentials in base64",
		`\b(?:eyJhdXRo|ewo[A-Za-z0-9+/]{0,12}(?:ImF1dGh|JhdXRo|iYXV0a))[A-Za-z0-9+/]*=*`, "eyJhdXRo", "ewo"),
	newForm("JSON Web Token", `\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`, "eyJ"),
	newForm("access key or token of a known make",
		`\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|`+
			`gl(?:pat|dt|rtr?|cbt|ptt|soat|agent|ft|oas|imt|ffct|wt)-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|`+
			`[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|`+
			`dckr_pat_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{35}|`+
			`GOCSPX-[A-Za-z0-9_-]{20,}|dop_v1_[a-f0-9]{32,}|glsa_[A-Za-z0-9_]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|`+
			`pypi-[A-Za-z0-9_-]{40,}|rubygems_[a-f0-9]{32,}|cio[A-Za-z0-9]{32}\b|ATATT3[A-Za-z0-9_=-]{40,}|ATBB[A-Za-z0-9]{20,}|`+
			`GR1348941[A-Za-z0-9_-]{15,}|`+
			`tskey-[a-z]+-[A-Za-z0-9-]{20,}|dckr_oat_[A-Za-z0-9_-]{20,}|SWMTKN-1-[a-z0-9]+-[a-z0-9]+|K10[a-f0-9]{32,}::[\w:.-]+|`+
			`[A-Za-z0-9]{10,}\.atlasv1\.[A-Za-z0-9_=-]{20,}|pul-[a-f0-9]{40}|dapi[a-f0-9]{32}(?:-\d)?|sq[upa]_[a-f0-9]{40}|`+
			`glc_[A-Za-z0-9+/=]{20,}|NR(?:AK|JS|II|AL|RA)-[A-Za-z0-9_-]{16,}|sntry[su]_[A-Za-z0-9+/=_-]{20,}|lin_(?:api|oauth)_[A-Za-z0-9]{30,}|`+
			`ntn_[A-Za-z0-9]{30,}|fig[duo]r?_[A-Za-z0-9_-]{30,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|r8_[A-Za-z0-9]{30,}|`+
			`gsk_[A-Za-z0-9]{40,}|`+
			`pplx-[A-Za-z0-9]{40,}|sb[ps]_[a-z0-9]{40}|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{30,}|fm[12][ar]?_[A-Za-z0-9+/=_-]{30,}|`+
			`dp\.(?:st|pt|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{30,}|sdk-[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}|`+
			`dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}|key-[a-f0-9][a-z0-9]{31}|key-\d[a-z0-9]{31}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|`+
			`ya29\.[A-Za-z0-9_-]{20,}|1//0[A-Za-z0-9_-]{40,}|LTAI[A-Za-z0-9]{16,24}\b|AKID[A-Za-z0-9]{32}\b|AKC[pP][A-Za-z0-9]{60,}|`+
			`oy2[A-Za-z0-9]{40,44}\b|bku[at]_[a-f0-9]{40}|CCIP(?:AT|RJ)_[A-Za-z0-9_]{20,}|ops_eyJ[A-Za-z0-9_=-]{20,}|CFPAT-[A-Za-z0-9_-]{30,}|`+
			`PMAK-[a-f0-9]{24}-[a-f0-9]{34}|HRKU-[A-Za-z0-9_-]{30,}|s\.[A-Za-z0-9]{24}\b|nfp_[A-Za-z0-9]{30,}|rnd_[A-Za-z0-9]{28,}|`+
			`nbp_[A-Za-z0-9]{30,}|`+
			`lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|ph[cx]_[A-Za-z0-9]{40,}|EAAC[A-Za-z0-9]{30,}|`+
			`whsec_[A-Za-z0-9+/=]{24,}|xai-[A-Za-z0-9]{40,}|b\.AAAAA[A-Za-z0-9_-]{40,}|[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}|`+
			`sk\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}|`+
			`sha256~[A-Za-z0-9_-]{30,}|(?:token|kubeconfig)-[a-z0-9.-]{3,63}:[a-z0-9]{54}|xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}|`+
			`sq0(?:csp|atp|idp)-[A-Za-z0-9_-]{22,}|do[or]_v1_[a-f0-9]{32,}|nvapi-[A-Za-z0-9_-]{40,}|tfp_[A-Za-z0-9_-]{40,}|`+
			`ATCTT3[A-Za-z0-9_=-]{40,}|ABSK[A-Za-z0-9+/=]{60,}|pat-[a-z]{2}\d-[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}|`+
			`v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}|perm[:-][A-Za-z0-9+/]+=*\.[A-Za-z0-9+/]+=*\.[A-Za-z0-9+/]{16,}=*|E[ZT][AT]K[a-zA-Z0-9]{50,}|EAAA[El][A-Za-z0-9_-]{55,}|`+
			`(?:sk|rk)_prod_[A-Za-z0-9]{16,}|apify_api_[A-Za-z0-9]{30,}|tvly-[A-Za-z0-9-]{20,}|RW(?:RTY0Iy|RCSz)[A-Za-z0-9+/=]{40,}|`+
			`secret-token:[A-Za-z0-9%._~-]{8,}|eyJrIjoi[A-Za-z0-9+/_-]{20,}=*|sy[rt]_[A-Za-z0-9]+_[A-Za-z0-9]{16,}_[A-Za-z0-9]+|`+
			`gAAAAA[A-Za-z0-9_-]{60,}=*|reeve-join-1\.[A-Za-z0-9_-]+)`,
		"AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
		"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glagent-", "glft-", "gloas-", "glimt-", "glffct-", "glwt-", "glrtr-", "xox", "xapp-",
		"k_live_", "k_test_", "sk-ant-", "sk-proj-", "sk-svcacct-", "hf_", "npm_", "dckr_pat_", "hvs.", "hvb.", "hvr.", "SG.", "AIza",
		"pypi-", "rubygems_", "cio", "ATATT3", "ATBB", "GR1348941", "tskey-", "dckr_oat_", "SWMTKN-1-", "::server:", "::node:", ".atlasv1.",
		"pul-", "dapi0", "dapi1", "dapi2", "dapi3", "dapi4", "dapi5", "dapi6", "dapi7", "dapi8", "dapi9", "dapia", "dapib", "dapic", "dapid",
		"dapie", "dapif", "squ_", "sqp_", "sqa_", "glc_", "NRAK-", "NRJS-", "NRII-", "NRAL-", "NRRA-", "sntrys_", "sntryu_", "lin_api_",
		"lin_oauth_", "ntn_", "figd_", "figu_", "figo_", "T3BlbkFJ", "r8_", "gsk_", "pplx-", "sbp_", "sbs_", "pscale_", "fm1_", "fm2_",
		"fm1r_", "fm2a_",
		"dp.st.", "dp.pt.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit.", "sdk-", "dt0", "key-", "shpat_", "shpca_", "shppa_",
		"shpss_", "ya29.", "1//0", "LTAI", "AKID", "AKCp", "oy2", "bkua_", "bkut_", "CCIPAT_", "CCIPRJ_", "ops_eyJ", "CFPAT-", "PMAK-", "HRKU-",
		" s.", "=s.", "\"s.", ":s.", "nfp_", "rnd_", "nbp_", "lsv2_", "phc_", "phx_", "EAAC",
		"whsec_", "xai-", "b.AAAAA", "7Q~", "8Q~", "sk.eyJ", "sha256~", "token-",
		"kubeconfig-", "xkeysib-", "sq0", "doo_v1_", "dor_v1_", "nvapi-", "tfp_", "ATCTT3", "ABSK", "pat-", "v1.0-", "perm:", "perm-",
		"EZAK", "EZTK", "ETAK", "ETTK", "EAAAE", "EAAAl", "sk_prod_", "rk_prod_", "apify_api_", "tvly-", "RWRTY0Iy", "RWRCSz", "eyJrIjoi", "syt_", "syr_", "gAAAAA", "secret-token:",
		"GOCSPX-", "dop_v1_", "glsa_", "AGE-SECRET-KEY-", "reeve-join-"),
	// Addresses that are secrets themselves.
	newForm("token of a bot of Telegram", `(\bbot|\b)\d{8,10}:AA[A-Za-z0-9_-]{30,}`, ":AA"),
	newForm("address that is a secret", `(?i)(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|`+
		`\.webhook\.office\.com/|api\.telegram\.org/bot|hc-ping\.com/|nosnch\.in/|hooks\.zapier\.com/hooks/catch/|`+
		`maker\.ifttt\.com/trigger/\w+/(?:json/)?with/key/|cronitor\.link/)[^\s"']+`,
		"hooks.slack", "api/webhooks/", "webhook.office", "api.telegram", "hc-ping.com", "nosnch.in", "hooks.zapier", "maker.ifttt",
		"cronitor.link"),
	// A password in Go's form of the address of a MySQL, and in Oracle's.
	newForm("password in an address", `\b([\w.\-]+:)[^\s@"']+(@(?:tcp|unix|udp)\()`, "@tcp(", "@unix(", "@udp("),
	newForm("password in an address", `(?i)(jdbc:oracle:\w+:[^/\s"']+/)[^\s"']+(@)`, "jdbc:oracle"),
	newForm("password in an address", `(\b[A-Za-z]\w*/)[^\s"'/@]+(@//\w)`, "@//"),
	newForm("username=USER%PASSWORD", `(?i)(\buser(?:name)?=[^\s,%"']+%)[^\s,"'%]{2,}`, "username=", "user="),
	newForm("header Authorization",
		`(?i)\b(authorization["']?[ \t]*[=:][ \t]*["']?)(?:digest|aws4-\S+|hawk|oauth|signature|negotiate|ntlm)\s[^\n']+`,
		"authorization"),
	newForm("header Authorization", `(?i)\b(authorization["']?[ \t]*[=:][ \t]*["']?)(?:[a-z0-9-]+ +)?[^\s"'\\]+`, "authorization"),
	newForm("header Cookie", `(?i)\b((?:set-)?cookie["']?:\s*["']?)[^"'\n]+`, "cookie"),
	wordless(newForm("bearer or basic token", `(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=_\-.~]{8,}`, "bearer", "basic")),
	newForm("auth in base64", `("auth"\s*:\s*")[A-Za-z0-9+/]{8,}=*`, `"auth"`),
	newForm("pass:PASSWORD", `(?i)(\s-pass(?:in|out)?\s+["']?pass:)[^\s"']+`, "pass:"),
	newForm("password in SQL", `(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?\\*["'])[^"'\\]+`, "identified"),
	newForm("password piped into a program", `(\(\s*)(?:echo|printf)\s[^()|]*[^()|\s](\s*\)\s*\|\s*(?:sudo\s+)?(?:\S*/)?`+
		`(?:passwd|chpasswd|smbpasswd|kinit|su|sudo|cryptsetup|kadmin|htpasswd)\b)`, "(echo", "( echo", "(printf", "( printf"),
	// What is piped into a program that asks for a password: echo X | passwd --stdin u.
	newForm("password piped into a program",
		`(\b(?:echo|printf|yes)\s+(?:-\w+\s+)*\\?["']?)[^"'|;&\n]*[^"'|;&\s\\](\\?["']?\s*\|\s*(?:sudo\s+(?:-\w+\s+)*)?(?:\S*/)?(?:`+
			`(?:passwd|docker|podman|helm|oc|nerdctl|cryptsetup|gpg|openssl|argocd|vault|az|aws|net)\b`+
			`[^|;&\n]*(?:stdin|\s-(?:\s|$)|passphrase-fd|fd:0)|`+
			`\S+\s[^|;&\n]*(?:(?:passw\w*|pass|token|secret|key)[-=_]?(?:on[-_])?stdin|stdin[-_](?:pass\w*|token)|--with-token)|`+
			`realm\s|adcli\s|openconnect\s|[\w-]+-keystore\s|ansible-vault\s|mount\.\w+\s|gpg-preset-passphrase\s|`+
			`chpasswd|passwd\s|kinit|smbpasswd|vncpasswd|wg\s|su\b|sudo\s[^|;&\n]*-S|systemd-creds|kubeseal|htpasswd|mkpasswd))`,
		"echo ", "printf ", "yes "),
	newForm("password piped into a program",
		`(\b(?:passwd|chpasswd|kinit|gpg|sudo|docker|podman|openssl|cryptsetup|vault|su|htpasswd|smbpasswd|mkpasswd)\b`+
			`[^\n|;&]*<<<\s*\\?["']?)`+
			`[^"'\n|;&]*[^"'\n|;&\s]`, "<<<"),
	newForm("password for chpasswd", `(\bchpasswd\b[^\n]*<<[^\n]*\n)(?:[\w.-]+:[^\n]*\n)*[\w.-]+:[^\n]*`, "chpasswd"),
	newForm("password for chpasswd",
		`(\bchpasswd:(?:[^\n]*\n){0,4}?\s*\{?\s*list:\s*\[\s*)[^\[\]\n][^\]\n]*`, "chpasswd"),
	newForm("password for chpasswd",
		`(\bchpasswd:(?:[^\n]*\n){0,4}?\s*list:\s*\|?-?[ \t]*\n)(?:[ \t]*(?:-[ \t]*)?["']?[\w.-]+:[^\s:][^\n]*(?:\n|$))+`,
		"chpasswd"),
	newForm("password sent to a prompt", `(?i)(assword[^\n]{0,80}?\bsend(?:_slow)?\s+(?:--?\w*\s+)*\\*["'])[^"'\\]+`, "send "),
	newForm("password of a user of Redis", `(\b(?:on|off)\s+)[>#][^\s"']+(\s+[~&+%@-])`, "on >", "on #", "off >", "off #"),
	newForm("password hash", `(\$(?:[1567]|2[abxy]?|g?y|apr1|argon2(?:id?|d)|scrypt|pbkdf2[\w-]*)\$)[./A-Za-z0-9$=,+-]{16,}`,
		"$1$", "$5$", "$6$", "$7$", "$2$", "$2a$", "$2b$", "$2x$", "$2y$", "$y$", "$gy$", "$apr1$", "$argon2", "$scrypt$", "$pbkdf2"),
	newForm("password hash",
		`(\bpbkdf2_\w+\$\d+\$|\bgrub\.pbkdf2\.sha512\.\d+\.|\bSCRAM-SHA-\d+\$\d+:|\{(?:S?SHA(?:256|384|512)?|S?MD5|CRYPT)\}|`+
			`\b[0-9A-Fa-f]{32}:)(?:[0-9a-fA-F]{32}(?::::)|[A-Za-z0-9+/=$.:-]{16,})`,
		"pbkdf2_", "grub.pbkdf2", "SCRAM-SHA-", "{sha", "{ssha", "{md5}", "{smd5}", "{crypt}", ":::"),
	newForm("password in SQL", `(?i)(\b(?:old_)?password\(\s*\\*["'])[^"'\\]+(\\*["']\s*\))`, "password("),
	newForm("password in SQL", `(?i)(\bpragma\s+(?:hex)?(?:re)?key\s*=\s*\\*["'])[^"'\\]+`, "pragma "),
	newForm("shared secret of IPsec", `(?i)(:\s*(?:PSK|EAP|XAUTH|NTLM)\s+\\*["'])[^"'\\\n]+`, ": psk", ": eap", ": xauth", ": ntlm"),
	newForm("key of Ceph", `\bAQ[A-Za-z0-9+/]{36}==`, "=="),
	newForm("password for OpenVPN",
		`(\bpassword\s+\\*"(?:Private Key|Auth|HTTP Proxy|SOCKS Proxy)\\*"\s+)[^\s"']+`, `password "`, `password \"`),
	newForm("answer of preseed", `(?m)(^\s*d-i\s+\S*(?:passw|passphrase|wpa|wep)\S*\s+(?:password|string)\s+)\S[^\n]*$`, "d-i "),
	newForm(".npmrc", `(?m)((?:^|:)_auth\s*=\s*"?)[^\s"]+`, "_auth"),
	newForm("sasl_passwd", `(?m)^(\[?[\w.-]+\]?:\d+\s+[\w.@+-]+:)\S+$`, "]:", ":587", ":465", ":25 "),
	newForm("password in an address", `(\bregister\s*=>?\s*[\w.-]+:)[^@\s]+(@)`, "register ="),
	newForm("login=USER:PASSWORD", `(?i)(\b(?:login|proxyauth|userpwd)=[\w.\\-]+:)[^\s,;"'/]+`, "login=", "proxyauth=", "userpwd="),
	newForm("password in code",
		`(?i)(\b(?:mysqli?_connect|mysqli|(?:pymysql|mysqldb|connector|cx_oracle|oracledb|pymssql|fdb|oci|imaplib)\.connect|oci_p?connect|new\s+pdo|`+
			`getconnection|dbi->connect|new\s+sequelize|ldap_bind|ssh2_auth_password|imap_open|odbc_p?connect|sqlsrv_connect|ftp_login|`+
			`drivermanagerdatasource|getconnection|create_connection)`+
			`\s*\(\s*(?:[ub]?\\*["'][^"'\n]*["']|\$?[\w.>-]+)\s*,\s*(?:[ub]?\\*["'][^"'\n]*["']|\$?[\w.>-]+)\s*,\s*[ub]?\\*["'])[^"'\\\n]+`,
		"connect(", "mysqli(", "new pdo", "getconnection", "new sequelize", "ldap_bind", "ssh2_auth_password", "imap_open", "drivermanagerdatasource",
		"ftp_login", "create_connection"),
	newForm("password in code",
		`(?i)((?:\b(?:http(?:basic|digest)auth|\w*passwordauthentication|usernamepasswordcredentials|networkcredential|\w*basic_?auth|`+
			`ftp_login|authenticate|simple_bind(?:_s)?)|`+
			`\.login|\bauth\s*=)\s*\(?\s*[ub]?\\*["'][^"'\n]*["']\s*,\s*[ub]?\\*["'])[^"'\\\n]+`,
		"basicauth", "digestauth", "basic_auth", "passwordauthentication", "passwordcredentials", "networkcredential", "ftp_login",
		".login(", "auth=(", "auth = (",
		"authenticate(", "simple_bind"),
	newForm("ConvertTo-SecureString", `(?i)(convertto-securestring\s+(?:-string\s+)?\\*["'])[^"'\\\n]+`, "convertto-securestring"),
	newForm("password in XML", `(?is)(<\w*password>\s*<value>)[^<]+`, "<value>"),
	newForm("command of a protocol",
		`(?m)^((?:PASS|AUTH\s+(?:PLAIN|LOGIN|XOAUTH2))\s+)[^\s]+[ \t\r]*$`, "pass ", "auth plain", "auth login", "auth xoauth2"),
	newForm("default of a variable",
		`(?is)(\bvariable\s+\\*"\w*(?:passw|secret|token|credential|api_?key)\w*\\*"\s*\{[^}]*?\bdefault\s*=\s*\\*")[^"\\]+`,
		"variable \"", "variable \\\""),
	newForm("qemu's secret", `(\bsecret,(?:[\w.-]+=[^,\s]*,)*data=)[^,\s"']+`, "secret,"),
	// Configurations of programs and of network devices.
	newForm(".netrc", `(\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+)\S+`, "login"),
	newForm(".pgpass", `(?m)^([\w.*-]+:(?:\d+|\*):[^:\s]*:[^:\s]+:)(?:[^:\s\\]|\\.)+$`, ":*:", ":5432:", ":6432:", ":5433:"),
	newForm("createUser of SNMP", `(\bcreateUser\s+(?:-e\s+\S+\s+)?\S+\s+\w+\s+)(?:"[^"]*"|\S+)((?:\s+\w+\s+)?)(?:"[^"]*"|\S*)`,
		"createUser"),
	newForm("password of a network device", `(?i)(\b(?:snmp-server\s+community|snmp\s+community|set\s+community|`+
		`enable\s+(?:secret|password)(?:\s+\d)?|username\s+\S+\s.{0,40}?(?:secret|password)(?:\s+\d)?|`+
		`neighbor\s+\S+\s+password(?:\s+\d)?|message-digest-key\s+\d+\s+\w+(?:\s+\d)?|`+
		`(?:tacacs|radius)(?:-server)?\s+(?:host\s+\S+\s+)?key(?:\s+\d)?|`+
		`com2sec6?\s+(?:-Cn\s+\S+\s+)?\S+\s+\S+|(?:trap2?|inform)sink\s+\S+|authcommunity[\s=]+[\w,]+|(?:incoming|outgoing)user\s+\S+|`+
		`insecure-password|encrypted-password|ospf\s+authentication-key|authentication-key(?:\s+\d+\s+(?:md5|sha1|sha256))?(?:\s+\d)?|pre-shared-secret|password\s+[0-9]|`+
		`pre-shared-key\s+(?:ascii-text|hexadecimal|local|remote)(?:\s+\d)?|key-string(?:\s+\d)?)\s+["']?)[^\s"';]+`,
		"community ", "enable secret", "enable password", "username ", "neighbor ", "message-digest-key", "tacacs", "radius",
		"pre-shared-key", "pre-shared-secret", "key-string", "com2sec", "trapsink", "trap2sink", "informsink", "authcommunity", "inguser", "goinguser",
		"insecure-password",
		"encrypted-password", "authentication-key", "password 0", "password 5", "password 6", "password 7", "password 8", "password 9",
		"key 7"),
	newForm("password of a network device", `(?i)(\b(?:psksecret|passwd|password|secret|key)\s+enc\s+)\S+`, " enc "),
	newForm("password of a network device",
		`(?i)(\b(?:password|secret|key|community(?:\s+(?:read|write))?)\s+(?:irreversible-)?cipher\s+)\S+`, "cipher "),
	newForm("password of a network device", `(?i)(\bcommunity\s+)[^\s"'{]+(\s*\{)`, "community "),
	newForm("password of ProFTPD", `(?i)(\bSQLConnectInfo\s+\S+\s+\S+\s+)\S+`, "sqlconnectinfo"),
	newForm("password of a network device", `(?i)(\bkey\s+7\s+)[0-9a-f]{6,}`, "key 7"),
	within(`(?s)LoginModule\b[^;]*`, newForm("password of a user of Kafka", `(\buser_[\w.-]+\s*=\s*\\*["'])[^"'\\]+`, "loginmodule")),
	newForm("value from a command", `(?i)((?:key|psk|passw\w*|secret|token)\s+<\(\s*(?:echo|printf)\s+(?:-\w+\s+)*["']?)[^"')\s]+`, "<(echo", "<( echo",
		"<(printf"),
	newForm("password of a network device", `(?i)(\bsnmp-(?:server|agent)\s+(?:usm-)?user\s.{0,80}?\bauth\s+\w+\s+)\S+(\s+priv\s+\w+(?:\s+\d+)?\s+)\S+`,
		"snmp-server user", "snmp-agent"),
	newForm("password of a network device", `(?i)(\bsnmp-(?:server|agent)\s+(?:usm-)?user\s.{0,80}?\bauth\s+\w+\s+)\S+`,
		"snmp-server user", "snmp-agent"),
	newForm("secret of RADIUS", `(?m)^([\w.\[\]:-]+:(?:1812|1813|1645|1646)[ \t]+)\S+((?:[ \t]+\d+)?[ \t]*$)`, ":1812", ":1813", ":1645", ":1646"),
	newForm("secret of TACACS+", `(?i)(=[ \t]*(?:cleartext|des)[ \t]+\\*["']?)[^\s"'\\;]+`, "cleartext", "= des "),
	within(`(?s)^.*=[ \t]*(?:cleartext|des)[ \t]+\S.*$`, newForm("secret of TACACS+", `(?m)(^\s*key\s*=\s*\\*["']?)[^\s"'\\;]+`, "cleartext")),
	newForm("key under a master key", `-AQ==[A-Za-z0-9+/=]{8,}`, "-aq=="),
	newForm("key of NTP", `(?m)^([ \t]*\d{1,5}[ \t]+(?:MD5|SHA1|SHA256|SHA384|SHA512|AES128CMAC|AES128|AES256)[ \t]+)\S+([ \t]*(?:#.*)?$)`,
		" md5 ", " sha1 ", " sha256 ", " sha384 ", " sha512 ", " aes128"),
	newForm("password of Redis' sentinel", `(?i)(\bsentinel\s+(?:auth-pass\s+\S+|sentinel-pass)\s+)\S+`, "sentinel "),
	newForm("key of a wireless network", `(?i)(\boption\s+key[1-4]?\s+\\*["'])[^"'\\\n]{5,}`, "option key"),
	newForm("password of a network device", `(\$[89]\$)[A-Za-z0-9./-]{6,}`, "$8$", "$9$"),
	newForm("product key", `(?i)(/ipk\s+)[A-Z0-9-]+`, "/ipk "),
	newForm("login of HAProxy", `(\bstats\s+auth\s+[\w.@-]+:)\S+`, "stats auth"),
	newForm("variable of nginx", `(?i)(\bset\s+\$\w*(?:token|secret|passw\w*|api_?key)\w*\s+\\*["']?)[^"'\\;\s$]+`, "set $"),
	newForm("pgbouncer's list of users", `(?m)^(\s*"[^"\n]+"\s+")[^"\n]+("\s*)$`, `" "`),
}
