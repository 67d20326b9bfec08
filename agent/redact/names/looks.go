package names

import (
	"regexp"
	"strings"
	"unicode"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

// Look is how a value looks that is no secret though its name speaks of one.
type Look uint8

const (
	// NoLook: no look saves a value but that of every harmless one.
	NoLook Look = iota
	// anyLook: whatever it looks like.
	anyLook
	// idLook is that of identifiers and of words from a list.
	idLook
	// pathLook is that of paths, names of files, URLs.
	pathLook
	// dirLook is that of a folder that is written from the root: PWD.
	dirLook
	// wordLook is that of whatever looks not like a secret.
	wordLook
)

// Harmless reports whether a text is no secret, whatever its name: it says that
// there is none, switches something, or stands for a value that is elsewhere.
func Harmless(text string) bool {
	if text == "" {
		return true
	}
	switch strings.ToLower(text[:min(len(text), 10)]) { // none is longer than nine
	case "%s", "%v", "%d", "%q", "%w",
		"true", "false", "null", "nil", "none", "undefined", "~", "yes", "no", "on", "off":
		return true
	}
	if len(text) >= 20 && len(text) <= 35 && text[0] == '2' && text[10] == 'T' && text[13] == ':' && text[4] == '-' && isTimes(text) {
		return true
	}
	if strings.HasPrefix(text, "{{") && template.MatchString(text) {
		return true
	}
	if text[0] == '<' && placeholder.MatchString(text) {
		return true
	}
	return strings.HasPrefix(text, Mask) && strings.Trim(text[len(Mask):], " .,;:!)") == "" || refers(text)
}

// placeholder stands for what is to be filled in: <password>, </s>.
var placeholder = regexp.MustCompile(`^</?[A-Za-z][A-Za-z_ -]*>$`)

// template is what a template fills in from elsewhere, without a text of its own: {{ .Values.password | quote }}.
var template = regexp.MustCompile(`^\{\{-?(?:\s*(?:[\w.$|()]+|include\s+"[\w.-]+"))+\s*-?\}\}$`)

// isTimes reports whether there is nothing in a text that is not in times: 2027-01-01T12:00:00.5Z.
func isTimes(text string) bool { return strings.Trim(text, "0123456789-+:.TZ") == "" }

// refers reports whether a text is a reference to a variable: $(DB_PASSWORD).
func refers(text string) bool {
	name, ok := strings.CutPrefix(text, "$")
	if !ok || name == "" {
		return false
	}
	switch {
	case reads.MatchString(name):
		return true
	case name[0] == '(' && name[len(name)-1] == ')', name[0] == '{' && name[len(name)-1] == '}':
		name = name[1 : len(name)-1]
	case !strings.Contains(name, "_"):
		return false
	}
	for i := range len(name) {
		if c := name[i]; !(c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9' && i > 0) {
			return false
		}
	}
	return name != ""
}

// reads is a command in the place of a value that gets it from elsewhere.
var reads = regexp.MustCompile(`^\((?:<|cat |printenv |head |openssl rand|aws |kubectl |vault |op |pass |gcloud |az )[^()$]*\)$`)

// Has reports whether a text is a secret under a name with such a verdict.
func (v Verdict) Has(text string) bool {
	switch {
	case !v.Secret || Harmless(text):
		return false
	case v.Counts && isQuantity(text):
		return false
	}
	switch v.Look {
	case NoLook:
		return !(text[0] == '/' && keyFile.MatchString(text)) && !isPath(text) && !(v.Rule == secretRule && secretPath.MatchString(text) && !LooksSecret(text)) &&
			!accounts.MatchString(text)
	case pathLook:
		return !strings.ContainsAny(text, `/\.`) && LooksSecret(text)
	case dirLook:
		return text[0] != '/'
	case idLook:
		return !IsID(text) && LooksSecret(text)
	}
	return LooksSecret(text) && !IsID(text) || IsLogin(text)
}

// keyFile is the name of a file with a key, written from the root.
var keyFile = regexp.MustCompile(`^(?:/[\w.-]+)+\.(?:key|pem|crt|cert|cer|p12|pfx|jks|pub|json|yaml|yml|txt|conf)$`)

// isPath knows paths from the root, in small letters.
func isPath(text string) bool {
	return text[0] == '/' && lowPath.MatchString(text) && !LooksSecret(text)
}

var lowPath = regexp.MustCompile(`^(?:/[a-z0-9_.-]+){2,}$`)

// secretPath is where a secret lies, under its name: ops/basic-auth, database/creds/app.
var secretPath = regexp.MustCompile(`^[a-z][a-z-]*(?:/[a-z][a-z-]*)+$`)

var secretRule = table.rules["secret"]

// accounts begins what is no password though it is called passwd.
var accounts = regexp.MustCompile(`^[\w-]+:[x*!]?:\d+:\d+:`)

// isQuantity knows the amounts that count and limit: 10, 1.5k, 10Gi.
func isQuantity(text string) bool {
	n := 0
	for n < len(text) && (text[n] >= '0' && text[n] <= '9' || text[n] == '.') {
		n++
	}
	if n == 0 || n > 9 {
		return false
	}
	switch text[n:] {
	case "", "k", "K", "M", "G", "T", "m", "%", "Ki", "Mi", "Gi", "Ti":
		return true
	}
	return false
}

// IsID knows UUIDs, hashes, numbers, and names in lower case with hyphens.
func IsID(text string) bool {
	hex, digits := true, true
	for i := range len(text) {
		c := text[i]
		digits = digits && c >= '0' && c <= '9'
		hex = hex && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-' || c == ':')
	}
	return digits || hex && len(text) >= 8
}

// notRandom are parts of words that mix letters and digits.
var notRandom = strings.NewReplacer("k8s", "", "k3s", "", "s3", "", "ec2", "", "oauth2", "", "x509", "", "base64", "", "base32", "",
	"i18n", "", "http2", "", "h2c", "", "ipv4", "", "ipv6", "", "argon2id", "", "pbkdf2", "", "v1beta", "", "v1alpha", "",
	"v2beta", "", "2fa", "", "log4j", "", "web3", "", "p12", "", "v1", "", "v2", "", "v3", "")

// LooksSecret reports whether a text looks as nobody would write a word: a part
// of it has letters behind digits, or is in base64. It is asked only where a name
// leaves it open.
func LooksSecret(text string) bool {
	if text = strings.TrimSpace(text); strings.ContainsAny(text, " \t\n{}()<>") {
		return false
	}
	part := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && !strings.ContainsRune("-_./:,=", rune(text[i])) {
			continue
		}
		if word := text[part:i]; mixed(word) && !(len(word) < len(text) && IsID(word)) {
			return true
		}
		part = i + 1
	}
	return false
}

// mixed reports whether a word of eight characters or more has a letter behind a
// digit that is behind a letter.
func mixed(word string) bool {
	if len(word) < 8 || !alternates(word) {
		return false
	}
	word = notRandom.Replace(word)
	return len(word) >= 7 && alternates(word)
}

// alternates reports whether there is a letter behind a digit that is behind a letter.
func alternates(word string) bool {
	state := 0
	for i := range len(word) {
		c := word[i]
		letter, digit := c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9'
		switch {
		case state == 0 && letter, state == 1 && digit, state == 2 && letter:
			state++
		}
	}
	return state == 3
}

// Random reports whether a text has capitals, small letters and digits without
// any mark, or is so long that it is no word.
func Random(text string) bool {
	var upper, small, digit, other int
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'A' && c <= 'Z':
			upper++
		case c >= 'a' && c <= 'z':
			small++
		case c >= '0' && c <= '9':
			digit++
		case strings.IndexByte("+=_!@#$%^&*~", c) >= 0:
			other++
		default:
			return false
		}
	}
	return len(text) >= 8 && upper > 0 && small > 0 && digit > 0 || len(text) >= 20 && digit > 1 && upper+small > 1 && other == 0
}

// LooksChosen reports whether a name looks as nobody would call a thing.
func LooksChosen(name string) bool {
	return len(name) < MaxName && !IsID(name) && (LooksSecret(name) || Random(name))
}

// IsLogin reports whether a text is user:password.
func IsLogin(text string) bool {
	user, pass, ok := strings.Cut(text, ":")
	return ok && user != "" && !NoLogins[user] && len(pass) > 2 && HasDigitAndLetter(pass) &&
		!strings.HasPrefix(pass, "/") && !strings.ContainsAny(text, " \t\n,{}")
}

// HasDigitAndLetter reports whether a text has a digit and a letter of ASCII.
func HasDigitAndLetter(s string) bool {
	var digit, letter bool
	for i := range len(s) {
		digit = digit || s[i] >= '0' && s[i] <= '9'
		letter = letter || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
	}
	return digit && letter
}

// openers are words with which a message goes on behind "secret:" or "token:",
// in place of a value.
var openers = Set(`the a an no not is was are were has had have this that these it its of in on at to for from by with without and or as
	because if when get got post put patch delete list watch dial read write open connect lookup parse load fetch
	connection request response server client context error err failed failure cannot could can unable unexpected invalid illegal bad wrong
	missing required expected empty unknown unsupported unauthorized unauthenticated forbidden denied refused rejected expired revoked
	timeout timed deadline eof stream net tls http https rpc json yaml x509 remote i/o already exists not-found notfound found
	signature must should may does did do been being will would but only must use using flag flags option options value values key name
	file path field so too there which what while whose who authentication authorization permission access user service
	internal volume secret configmap
	malformed mismatch mismatched corrupt corrupted incorrect insufficient unavailable operation object resource resources namespace
	stale locked disabled enabled deleted removed updated created rotated rotation refreshed mounted ok success successful successfully
	serviceaccounts secrets pods nodes configmaps namespaces pending ready unset nil none null undefined true false <nil>`)

// IsProse reports whether what follows "token: " in a text goes on with a
// sentence rather than with a value.
func IsProse(rest string) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	word, _, _ = strings.Cut(word, "\n")
	word = strings.ToLower(strings.Trim(word, `.,;:!?()"'`))
	return openers[word]
}

// IsName reports whether a text may be a name: letters, digits, and _ - .
func IsName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("_-.", r) {
			return false
		}
	}
	return s != ""
}

// NoLogins are what stands before addresses of mail and the like.
var NoLogins = Set("mailto to from cc bcc sip sips xmpp acct user group serviceaccount owner email mail by contact principal domain " +
	"member maintainer maintainers author authors rfc822name upn uri urn id sha256 sha512 sha1 md5 git ssh")
