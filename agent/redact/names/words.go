// Package names says what a name says of its value: one table of words makes a name
// that of a secret, and says where in a name each word counts. Where that leaves it open,
// the value's looks decide.
package names

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is how long a name is at most.
const MaxName = 128

// place says where a word of the table counts. A name is that of a member of an
// object, a label, a variable of the environment, a flag, a key in a text, or what
// the "name" of a pair of name and value says: they are all held against the same table.
type place uint8

const (
	// inName: as a word of a name, wherever it stands there: db_password_old.
	inName place = 1 << iota
	// atEnd: as the last word of a name: user_pin, but not pin_count.
	atEnd
	// inside: within a name that is run together: MYDBPASSWORD1.
	inside
	// ending: at the end of one: rootpass.
	ending
	// inQuery: as the whole name of a parameter in the query of a URL.
	inQuery
	// Bare: a value follows it in a text without any mark: requirepass X.
	bare
	// vague: its value is masked only where it looks like a secret.
	vague
	// Password: what stands behind it in a text is taken for a secret more easily.
	password
)

// secretNames is the one table of what makes a name that of a secret. Words that follow
// each other in a name are written with a blank between them.
var secretNames = []struct {
	places place
	words  string
}{
	{inName | inside | password, "password, passwd, passphrase, passwrd"},
	{inName | inside | password, "motdepasse, contraseña, contrasena, contrasenia, contrasenya, contrasinal, kennwort, passwort, wachtwoord, " +
		"salasana, adgangskode, kodeord, slaptažodis, slaptazodis, пароль, пароля, паролем, паролі, парола, лозинка, 密码, 密碼, 口令, パスワード, " +
		"パスコード, 暗証番号, 비밀번호, 암호, סיסמה, पासवर्ड, পাসওয়ার্ড, κωδικός, κωδικος, συνθηματικό, գաղտնաբառ, პაროლი, รหัสผ่าน"},
	{inName | password, "passwords, pwd, pswd, pswrd, psw, passw, pword, pass phrase, pass word, " +
		"senha, clave, palavra passe, sandi, kata sandi, kata laluan, parolă, parolası, parolasi, sifre, şifrə, şifresi, sifresi, toegangscode, zugangscode, " +
		"passord, parool, geslo, zaporka, lykilorð, pasahitza, pasvorto, nenosiri, wagwoord, رمز عبور, mat khau, " +
		"mot de passe, hasło, haslo, lösenord, losenord, parola, heslo, jelszó, jelszo, lozinka, şifre, " +
		"mật khẩu, كلمة السر, كلمة المرور"},
	{inName | ending | password, "pass"},
	{inName | password, "psk"},
	{inName | inside, "密钥, 秘钥, 私钥, 密鑰, 私鑰, 秘密鍵, 秘密키, 비밀키, 개인키, 令牌"},
	{inName, "geheimnis, secreto, segreto, segredo, secrète, секрет, jeton, authtok"},
	{inName | inside, "secret, credential, apikey, privatekey, userkey, accesskey, dockercfg, dockerconfigjson"},
	{inName | ending, "token"},
	{inName, "secrets, tokens, credentials, creds, cred, authorization, cookie, cookies, setcookie, keytab, passkey, " +
		"bearer, tlspskvalue, passcommand, kek, mkek, totp, cvv, htpasswd, netrc, mnemonic, fernet"},
	{inName | bare, "passcode, rootpw, bindpw, olcrootpw, adminpw, userpw, rootpwmodpw, masterauth, requirepass, " +
		"rocommunity, rwcommunity, rocommunity6, rwcommunity6, trapcommunity, auth pass, auth password"},
	{inName | ending, "pw"},
	{inName | ending, "privkey, authkey, signingkey, encryptionkey, masterkey, secretkey, sharedkey, clientkey, " +
		"adminkey, sshkey, sslkey, tlskey, rndckey, " +
		"fernetkey, heartbeatkey, rgwkey, mdskey, joinkey, routingkey, licensekey, integrationkey, sessionkey, hostkey, " +
		"simplecryptokek, rabbitcookie, " +
		"hashsuffix, hashprefix, sessionid, phpsessid"},
	{inName, "cephmonkey, cephclusterfsid, id rsa, id ed25519, id ecdsa, id dsa"},
	{atEnd, "pin, puk, otp, dsn, hotp, pat, chap"},
	{inName, "api key, private key, priv key, access key, auth key, encryption key, encrypted key, signing key, host " +
		"key, preshared key, shared key, " +
		"session key, ssh key, ssl key, user key, client key, server key, tls key, ca key, account key, storage key, admin " +
		"key, master key, root key, " +
		"hmac key, license key, deploy key, join key, routing key, integration key, url key, url sig, fernet key, rndc key, " +
		"tsig key, mon key, mds key, " +
		"rgw key, heartbeat key, write key, ingest key, ingestion key, recovery key, unseal key, consumer key, agent key, " +
		"service key, wrapping key, " +
		"service account key, publish key, subscribe key, vapid key, push key, wep key, monitor key, cipher key, crypto " +
		"key, auth salt, nonce salt, in salt, aes key, des key, rsa key, " +
		"webhook key, gpg key, pgp key, jwt key, registration key, enrollment key, activation key, security key, bot key, " +
		"app key, application key, sentry key, salt key, erlang cookie, rediscli auth, sonar login, " +
		"user data, hash suffix, hash prefix, recovery code, backup code, access code, security code, verification code, " +
		"mfa code, seed phrase, " +
		"pin code, wifi key, enc key, kg key, machine key, validation key, decryption key, instrumentation key, honeycomb team, " +
		"x key, tlspsk value, ipsec key, clear text, product key, auth ident, github oauth, gitlab oauth, bitbucket oauth, clé secrète, cle secrete, clé api, cle api, clé privée, " +
		"cle privee, chave secreta, chave privada, chave api, chave acesso, chiave segreta, chiave privata, chiave api, api schlüssel, api schluessel, " +
		"geheimer schlüssel, privater schlüssel, закрытый ключ, секретный ключ, ключ api, ключ доступа, x custom auth, basic auth users, secure json data, proxyauth, " +
		"session id, secret id, secret uuid, snmp community, community string, snmp security, community read, community " +
		"write, x auth, proxy auth"},
	{inName | vague, "hmac, jwt, salt, basic auth, keyfile, bundle gems, bundle github, bundle rubygems, bundle enterprise"},
	{atEnd | vague, "auth, community, seed, signature, encrypt"},
	{inQuery, "sig, signature, code, key, auth, hmac, x-amz-signature, x-amz-credential, x-goog-signature, x-goog-credential, " +
		"awsaccesskeyid, jwt, sid, hash, md5, apikey, rlkey"},
}

// harmlessEnds are the last words of names that speak about a secret and hold
// none, with how their values look: one that looks otherwise is a secret.
var harmlessEnds = func() map[string]Look {
	ends := make(map[string]Look)
	for l, list := range map[Look]string{
		anyLook: "min max minimum maximum lifetime name names namespace namespaces ref refs reference references count size " +
			"length bytes enabled disabled " +
			"required ttl seconds minutes hours " +
			"days expiry expires expired expiration created updated deleted time timestamp at optional age rotation interval " +
			"timeout used hard limit total rate through thru stdin prompt only fd uses immutable attempts failures errors retries",
		idLook: "id ids uid type kind class provider policy version status state mode audience audiences method algorithm " +
			"format source engine backend scope encoder encoding encryption hasher strength complexity",
		pathLook: "path paths file files dir directory url uri endpoint location",
	} {
		for w := range strings.FieldsSeq(list) {
			ends[w] = l
		}
	}
	return ends
}()

// harmlessMembers are members, in lower case, of what is kept under the name of
// a secret: it is described there rather than told.
var harmlessMembers = map[string]bool{
	"secretname": true, "secretnamespace": true, "objectname": true, "defaultmode": true, "expirationseconds": true,
	"apiversion": true, "controller": true,
}

// falseEnds are words that end like one of a secret and are none.
var falseEnds = []string{"compass", "bypass", "trespass", "encompass", "surpass", "overpass", "underpass"}

// Verdict is what a name says of its value.
type Verdict struct {
	// Secret says that the value is one, unless it looks like something else.
	Secret bool
	// Look is how a value looks that is none.
	Look Look
	// plain says that the value of a number is none: the name counts secrets.
	Counts bool
	// Password and bare are those of the table.
	Password, Bare bool
	// Rule says which word of the table, or which of the operator's names, it was.
	Rule Rule
}

// Items is the verdict on what an array holds.
func (v Verdict) Items() Verdict {
	if v.Look != NoLook {
		return Verdict{}
	}
	v.Counts = false
	return v
}

// Rule is what made a name that of a secret: a word of the table, by its place in
// table.said, or one of the operator's names, counted from ownRules.
type Rule uint16

// OwnRule is the first of the operator's names.
const OwnRule Rule = 1 << 15

// String names the word, or the place in the operator's settings.
func (r Rule) String() string {
	switch {
	case r >= OwnRule:
		return fmt.Sprintf("redact.keys[%d]", r-OwnRule)
	case r > 0:
		return table.said[r]
	}
	return "name"
}

// lists are the table, by the number of words and by where they count.
type lists struct {
	byWord          map[string]place // one word or more, joined by blanks
	inside, endings []string
	longest         int // the most words in a row
	// rules are of all words, each of which has one, and said is what is said of each.
	rules map[string]Rule
	said  []string
}

var table = func() lists {
	l := lists{byWord: make(map[string]place), said: []string{""}, rules: make(map[string]Rule)}
	for _, row := range secretNames {
		for w := range strings.SplitSeq(row.words, ", ") {
			if l.byWord[w] == 0 {
				l.rules[w] = Rule(len(l.said))
				if joined := strings.ReplaceAll(w, " ", ""); l.rules[joined] == 0 {
					l.rules[joined] = Rule(len(l.said))
				}
				l.said = append(l.said, fmt.Sprintf("name %q", w))
			}
			l.byWord[w] |= row.places
			l.longest = max(l.longest, strings.Count(w, " ")+1)
			joined := strings.ReplaceAll(w, " ", "")
			if row.places&inside != 0 {
				l.inside = append(l.inside, joined)
			}
			// Two words that are run together are the end of such a name.
			if row.places&ending != 0 || row.places&(inName|vague) == inName && strings.HasSuffix(w, " key") && len(joined) > 6 {
				l.endings = append(l.endings, joined)
			}
		}
	}
	return l
}()

// shortEnds are what stands behind a short name where it has a value.
const shortEnds = "=: \t\n\"'\\]<>,;)_-.%&$0123456789"

// Hints returns texts, in small letters, of which one is in each text in which a name
// of a secret stands with its value.
func Hints() (list []string) {
	for _, row := range secretNames {
		for w := range strings.SplitSeq(row.words, ", ") {
			// Hints have no case beyond ASCII.
			if first, n := utf8.DecodeRuneInString(w); len(w) != utf8.RuneCountInString(w) && !strings.Contains(w, " ") {
				list = append(list, strings.ToUpper(w), string(unicode.ToUpper(first))+w[n:])
			}
			// Of two words the last is enough where it is key; others are common.
			switch all := strings.Fields(w); {
			case row.places&inQuery != 0:
				list = append(list, w+"=")
			case len(w) <= 3: // they are in many words
				for _, mark := range shortEnds {
					list = append(list, w+string(mark))
				}
			case len(all) == 1:
				list = append(list, w)
			case all[len(all)-1] == "key":
				list = append(list, "key")
			default:
				for _, mark := range []string{"", " ", "_", "-", "."} {
					list = append(list, strings.Join(all, mark))
				}
			}
		}
	}
	return list
}

// SecretBy is the verdict on what a word of the table names.
func SecretBy(word string) Verdict { return Verdict{Secret: true, Rule: table.rules[word]} }

// JudgePair holds the last two words of a text against the table: a name that is
// written with a blank between, as in "api key".
func JudgePair(text string) (v Verdict, ok bool) {
	ws := split(text)
	if len(ws) < 2 {
		return v, false
	}
	pair := ws[len(ws)-2] + " " + singular(ws[len(ws)-1])
	p := table.byWord[pair]
	return SecretBy(pair), p&inName != 0 && p&vague == 0
}

// JudgeParameter holds the name of a parameter in an address against the table.
func JudgeParameter(name string) (v Verdict, ok bool) {
	name = strings.ToLower(name)
	return SecretBy(name), table.byWord[name]&inQuery != 0
}

// plural says that a word counts, or lists, what the table has in the singular.
func singular(w string) string {
	if s, ok := strings.CutSuffix(w, "s"); ok && !strings.HasSuffix(s, "s") && len(s) > 2 {
		return s
	}
	return w
}

// without are first words that say that there is no secret.
var without = Set("nopasswd nopassword nopass passwordless")

// references are the ends of names that name a secret.
var references = [][]string{
	{"pull", "secret"}, {"pull", "secrets"}, {"existing", "secret"}, {"tls", "secret"}, {"password", "key"}, {"load", "credential"},
	{"load", "credential", "encrypted"}, {"import", "credential"}, {"creds", "store"},
	{"cred", "helpers"}, {"creds", "helper"}, {"credential", "helper"}}

// ofWhole are words before hash that say what it is of: nothing that could be tried.
var ofWhole = Set("cert certificate image template chart file git commit spec config content")

// ends reports whether words end with any of some others.
func ends(words []string, with [][]string) bool {
	return slices.ContainsFunc(with, func(end []string) bool {
		return len(words) >= len(end) && slices.Equal(words[len(words)-len(end):], end)
	})
}

// counting are first words of names that say how many there are.
var counting = []string{"count", "num", "number", "max", "min", "total", "limits", "requests", "used", "hard"}

// Judge holds a name against the table.
func Judge(name string) Verdict {
	ws := split(name)
	if len(ws) == 0 {
		return Verdict{}
	}
	v, found, strong := Verdict{}, place(0), false
	for i := range ws {
		for n := 1; n <= table.longest && i+n <= len(ws); n++ {
			word := strings.Join(ws[i:i+n], " ")
			p := table.byWord[word]
			if p == 0 && n > 1 {
				word = strings.Join(append(slices.Clone(ws[i:i+n-1]), singular(ws[i+n-1])), " ")
				p = table.byWord[word]
			}
			if p == 0 && n == 1 {
				word = strings.TrimRight(ws[i], "0123456789")
				p = table.byWord[word]
			}
			if p&inName != 0 || p&atEnd != 0 && i+n == len(ws) {
				found |= p
				v.Rule = table.rules[word]
				strong = strong || p&vague == 0
				// The secret_id of Vault's AppRole is its password.
				if i+n == len(ws) && n > 1 {
					found |= atEnd
				}
			}
		}
	}
	joined := strings.Join(ws, "")
	if without[ws[0]] || ws[0] == "no" && found&password != 0 { // NOPASSWD
		return Verdict{}
	}
	for _, w := range table.inside {
		if strings.Contains(joined, w) {
			found |= inside
			v.Rule = max(v.Rule, table.rules[w])
			v.Password = v.Password || w[0] == 'p' && w[1] == 'a'
		}
	}
	for _, w := range table.endings {
		if strings.HasSuffix(joined, w) && !slices.ContainsFunc(falseEnds, func(end string) bool { return strings.HasSuffix(joined, end) }) {
			found |= ending
			v.Rule = max(v.Rule, table.rules[w])
		}
	}
	if found == 0 {
		return v
	}
	v.Password = v.Password || found&password != 0
	v.Bare = found&bare != 0
	last := ws[len(ws)-1]
	end, harmless := harmlessEnds[last]
	strong = strong || found&(inside|ending) != 0 && found&(inName|atEnd) == 0
	switch {
	case ends(ws, references), last == "hash" && len(ws) > 1 && ofWhole[ws[len(ws)-2]], ws[0] == "checksum":
		return Verdict{Secret: true, Look: wordLook, Rule: v.Rule}
	case name == "PWD" || name == "OLDPWD":
		return Verdict{Secret: true, Look: dirLook, Rule: v.Rule}
	case harmless && !(found&atEnd != 0 && table.byWord[strings.Join(ws[max(0, len(ws)-2):], " ")] != 0):
		if end == anyLook {
			return Verdict{}
		}
		return Verdict{Secret: true, Look: end, Rule: v.Rule}
	case !strong:
		return Verdict{Secret: true, Look: wordLook, Rule: v.Rule}
	}
	v.Secret = true
	v.Counts = singular(last) != last || last == "history" || slices.Contains(counting, ws[0])
	return v
}

// CallsSecret reports whether a text is nothing but what secrets are called.
func CallsSecret(text string) bool {
	if len(text) > 24 {
		return false
	}
	p := table.byWord[strings.Join(split(text), " ")]
	return p&inName != 0 && p&vague == 0
}

// MemberOf is what the name of a member says of it where the object's own name
// was that of a secret.
func MemberOf(name string) Verdict {
	if harmlessMembers[strings.ToLower(name)] {
		return Verdict{}
	}
	switch strings.ToLower(name) {
	case "key", // which of a secret's, or a key
		"description", "title", "summary", "comment", "hint", "help", "example":
		return Verdict{Secret: true, Look: wordLook}
	}
	if ws := split(name); len(ws) > 0 && ws[0] != "inline" { // inline_bytes: Envoy's
		if end, ok := harmlessEnds[ws[len(ws)-1]]; ok {
			if end == anyLook {
				return Verdict{}
			}
			return Verdict{Secret: true, Look: end}
		}
	}
	return Verdict{Secret: true}
}

// names and values are the members, by the last word of their names in the
// singular, that make a pair: {"name": "DB_PASSWORD", "value": ...}. The value of
// a loose one is a text, or none of the pair.
var (
	pairNames = Set("name key id header var variable parameter param field property attribute setting option label title type k env envvar")
	pairValue = Set("value val v")
	pairLoose = Set("content data text default string literal password")
)

// flagNames are switches that say that the value beside them is a secret.
var flagNames = Set("sensitive issensitive secure issecure secret issecret masked ismasked hidden confidential private")

// Set makes a set of the words in a list.
func Set(list string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// Role is the part of a member in a pair of name and value.
type Role uint8

const (
	NoRole Role = iota
	// ArgumentsRole is that of the arguments of a command that stands beside them, and
	// AuthRole that of what may be user:password in base64.
	ArgumentsRole
	AuthRole
	// FlagRole says of the object that its value is a secret, and ownedRole is what an object
	// Has that is called by its type: Terraform's.
	FlagRole
	OwnedRole
	NameRole
	ValueRole
	LooseRole
)

// RoleOf returns the part that a member of that name can have.
func RoleOf(name string) Role {
	switch {
	case name == "args", name == "arguments":
		return ArgumentsRole
	case name == "auth":
		return AuthRole
	case name == "instances", name == "attributes":
		return OwnedRole
	case flagNames[strings.ToLower(strings.ReplaceAll(name, "_", ""))]:
		return FlagRole
	case len(name) > 24:
		return NoRole
	}
	ws := split(name)
	if len(ws) == 0 || len(ws) > 3 {
		return NoRole
	}
	switch last := singular(ws[len(ws)-1]); {
	case pairValue[last]:
		return ValueRole
	case pairNames[last]:
		return NameRole
	case pairLoose[last] && len(ws) == 1:
		return LooseRole
	}
	return NoRole
}

// split takes a name apart into lower-case words at marks and at changes of case.
func split(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	var last rune
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r):
			flush()
		case unicode.IsUpper(r) && unicode.IsLower(last):
			flush()
			word = append(word, r)
		case unicode.IsLower(r) && unicode.IsUpper(last) && len(word) > 1: // APIToken
			next := word[len(word)-1]
			word = word[:len(word)-1]
			flush()
			word = append(word, next, r)
		default:
			word = append(word, r)
		}
		last = r
	}
	flush()
	return words
}
