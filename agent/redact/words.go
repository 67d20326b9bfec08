package redact

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

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
	// bare: a value follows it in a text without any mark: requirepass X.
	bare
	// vague: its value is masked only where it looks like a secret.
	vague
	// password: what stands behind it in a text is taken for a secret more easily.
	password
)

// secretNames is the one table of what makes a name that of a secret. Words that follow
// each other in a name are written with a blank between them.
var secretNames = []struct {
	places place
	words  string
}{
	{inName | inside | password, "password, passwd, passphrase, passwrd"},
	{inName | password, "passwords, pwd, pswd, pswrd, psw, passw, pword, pass phrase, pass word, passwort, kennwort, senha, contraseña, contrasena, clave, " +
		"mot de passe, wachtwoord, hasło, haslo, salasana, lösenord, losenord, adgangskode, parola, heslo, jelszó, jelszo, lozinka, şifre, " +
		"mật khẩu, пароль, пароля, 密码, 密碼, 口令, パスワード, 비밀번호, 암호, סיסמה, كلمة السر, كلمة المرور, รหัสผ่าน"},
	{inName | ending | password, "pass"},
	{inName | password, "psk"},
	{inName | inside, "secret, credential, apikey, privatekey, userkey, accesskey, dockercfg, dockerconfigjson"},
	{inName | ending, "token"},
	{inName, "secrets, tokens, credentials, creds, cred, authorization, cookie, cookies, setcookie, keytab, pw, passkey, " +
		"bearer, kek, mkek, totp, cvv, htpasswd, netrc, mnemonic, fernet"},
	{inName | bare, "passcode, rootpw, bindpw, olcrootpw, adminpw, userpw, masterauth, requirepass, " +
		"rocommunity, rwcommunity, rocommunity6, rwcommunity6, trapcommunity, auth pass, auth password"},
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
		"key, aes key, des key, rsa key, " +
		"webhook key, gpg key, pgp key, jwt key, registration key, enrollment key, activation key, security key, bot key, " +
		"app key, application key, sentry key, salt key, erlang cookie, rediscli auth, sonar login, " +
		"user data, hash suffix, hash prefix, recovery code, backup code, access code, security code, verification code, " +
		"mfa code, seed phrase, " +
		"pin code, wifi key, enc key, kg key, machine key, validation key, decryption key, instrumentation key, honeycomb team, " +
		"x key, x custom auth, basic auth users, secure json data, proxyauth, " +
		"session id, secret id, secret uuid, snmp community, community string, snmp security, community read, community " +
		"write, x auth, proxy auth"},
	{inName | vague, "hmac, jwt, salt, basic auth"},
	{atEnd | vague, "auth, community, seed, signature, encrypt"},
	{inQuery, "sig, signature, code, key, auth, hmac, x-amz-signature, x-amz-credential, x-goog-signature, x-goog-credential, " +
		"awsaccesskeyid, jwt, sid, hash, md5, apikey, rlkey"},
}

// harmlessEnds are the last words of names that speak about a secret and hold
// none, with how their values look: one that looks otherwise is a secret.
var harmlessEnds = func() map[string]look {
	ends := make(map[string]look)
	for l, list := range map[look]string{
		anyLook: "min max minimum maximum lifetime name names namespace namespaces ref refs reference references count size length bytes enabled disabled " +
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

// verdict is what a name says of its value.
type verdict struct {
	// secret says that the value is one, unless it looks like something else.
	secret bool
	// look is how a value looks that is none.
	look look
	// plain says that the value of a number is none: the name counts secrets.
	counts bool
	// password and bare are those of the table.
	password, bare bool
	// rule says which word of the table, or which of the operator's names, it was.
	rule rule
}

// rule is what made a name that of a secret: a word of the table, by its place in
// table.said, or one of the operator's names, counted from ownRules.
type rule uint16

const ownRules rule = 1 << 15

func (r rule) String() string {
	switch {
	case r >= ownRules:
		return fmt.Sprintf("redact.keys[%d]", r-ownRules)
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
	rules map[string]rule
	said  []string
}

var table = func() lists {
	l := lists{byWord: make(map[string]place), said: []string{""}, rules: make(map[string]rule)}
	for _, row := range secretNames {
		for w := range strings.SplitSeq(row.words, ", ") {
			if l.byWord[w] == 0 {
				l.rules[w] = rule(len(l.said))
				if joined := strings.ReplaceAll(w, " ", ""); l.rules[joined] == 0 {
					l.rules[joined] = rule(len(l.said))
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

// plural says that a word counts, or lists, what the table has in the singular.
func singular(w string) string {
	if s, ok := strings.CutSuffix(w, "s"); ok && !strings.HasSuffix(s, "s") && len(s) > 2 {
		return s
	}
	return w
}

// without are first words that say that there is no secret.
var without = set("nopasswd nopassword nopass passwordless")

// references are the ends of names that name a secret.
var references = [][]string{{"pull", "secret"}, {"pull", "secrets"}, {"existing", "secret"}, {"tls", "secret"}, {"password", "key"}, {"load", "credential"},
	{"load", "credential", "encrypted"}, {"import", "credential"}}

// ofWhole are words before hash that say what it is of: nothing that could be tried.
var ofWhole = set("cert certificate image template chart file git commit spec config content")

// ends reports whether words end with any of some others.
func ends(words []string, with [][]string) bool {
	return slices.ContainsFunc(with, func(end []string) bool {
		return len(words) >= len(end) && slices.Equal(words[len(words)-len(end):], end)
	})
}

// counting are first words of names that say how many there are.
var counting = []string{"count", "num", "number", "max", "min", "total", "limits", "requests", "used", "hard"}

// judgeName holds a name against the table.
func judgeName(name string) verdict {
	ws := split(name)
	if len(ws) == 0 {
		return verdict{}
	}
	v, found, strong := verdict{}, place(0), false
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
				v.rule = table.rules[word]
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
		return verdict{}
	}
	for _, w := range table.inside {
		if strings.Contains(joined, w) {
			found |= inside
			v.rule = max(v.rule, table.rules[w])
			v.password = v.password || w[0] == 'p' && w[1] == 'a'
		}
	}
	for _, w := range table.endings {
		if strings.HasSuffix(joined, w) && !slices.ContainsFunc(falseEnds, func(end string) bool { return strings.HasSuffix(joined, end) }) {
			found |= ending
			v.rule = max(v.rule, table.rules[w])
		}
	}
	if found == 0 {
		return v
	}
	v.password = v.password || found&password != 0
	v.bare = found&bare != 0
	last := ws[len(ws)-1]
	end, harmless := harmlessEnds[last]
	strong = strong || found&(inside|ending) != 0 && found&(inName|atEnd) == 0
	switch {
	case ends(ws, references), last == "hash" && len(ws) > 1 && ofWhole[ws[len(ws)-2]], ws[0] == "checksum":
		return verdict{secret: true, look: wordLook, rule: v.rule}
	case name == "PWD" || name == "OLDPWD":
		return verdict{secret: true, look: dirLook, rule: v.rule}
	case harmless && !(found&atEnd != 0 && table.byWord[strings.Join(ws[max(0, len(ws)-2):], " ")] != 0):
		if end == anyLook {
			return verdict{}
		}
		return verdict{secret: true, look: end, rule: v.rule}
	case !strong:
		return verdict{secret: true, look: wordLook, rule: v.rule}
	}
	v.secret = true
	v.counts = singular(last) != last || slices.Contains(counting, ws[0])
	return v
}

// namesSecret reports whether a text is nothing but what secrets are called.
func namesSecret(text string) bool {
	if len(text) > 24 {
		return false
	}
	p := table.byWord[strings.Join(split(text), " ")]
	return p&inName != 0 && p&vague == 0
}

// memberOf is what the name of a member says of it where the object's own name
// was that of a secret.
func memberOf(name string) verdict {
	if harmlessMembers[strings.ToLower(name)] {
		return verdict{}
	}
	switch strings.ToLower(name) {
	case "key", // which of a secret's, or a key
		"description", "title", "summary", "comment", "hint", "help", "example":
		return verdict{secret: true, look: wordLook}
	}
	if ws := split(name); len(ws) > 0 {
		if end, ok := harmlessEnds[ws[len(ws)-1]]; ok {
			if end == anyLook {
				return verdict{}
			}
			return verdict{secret: true, look: end}
		}
	}
	return verdict{secret: true}
}

// names and values are the members, by the last word of their names in the
// singular, that make a pair: {"name": "DB_PASSWORD", "value": ...}. The value of
// a loose one is a text, or none of the pair.
var (
	pairNames = set("name key id header var variable parameter param field property attribute setting option label title type k env envvar")
	pairValue = set("value val v")
	pairLoose = set("content data text default string literal password")
)

// flagNames are switches that say that the value beside them is a secret.
var flagNames = set("sensitive issensitive secure issecure secret issecret masked ismasked hidden confidential private")

func set(list string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// role is the part of a member in a pair of name and value.
type role uint8

const (
	noRole role = iota
	// argumentsRole is that of the arguments of a command that stands beside them, and
	// authRole that of what may be user:password in base64.
	argumentsRole
	authRole
	// flagRole says of the object that its value is a secret, and ownedRole is what an object
	// has that is called by its type: Terraform's.
	flagRole
	ownedRole
	nameRole
	valueRole
	looseRole
)

// roleOf returns the part that a member of that name can have.
func roleOf(name string) role {
	switch {
	case name == "args", name == "arguments":
		return argumentsRole
	case name == "auth":
		return authRole
	case name == "instances", name == "attributes":
		return ownedRole
	case flagNames[strings.ToLower(strings.ReplaceAll(name, "_", ""))]:
		return flagRole
	case len(name) > 24:
		return noRole
	}
	ws := split(name)
	if len(ws) == 0 || len(ws) > 3 {
		return noRole
	}
	switch last := singular(ws[len(ws)-1]); {
	case pairValue[last]:
		return valueRole
	case pairNames[last]:
		return nameRole
	case pairLoose[last] && len(ws) == 1:
		return looseRole
	}
	return noRole
}

// judged is what is remembered of a name.
type judged struct {
	verdict
	role role
	// holds says that the name has a secret in itself, and says that any of this is so.
	holds, says bool
	// chosen says that the name looks as nobody would call a thing.
	chosen bool
	name   string
	// next is what was judged behind it the last time. Documents of one type have the same
	// names in the same order, so most often it is what is asked for next.
	next *judged
}

// verdicts remembers of names what they say: documents of one type have the
// same keys, and taking them apart is what redaction would otherwise spend its time on.
type verdicts map[string]*judged

// These bound the memory: there is no end of keys in labels.
const (
	maxVerdicts = 4096
	maxVerdict  = 128 // bytes of a key
)

// judge says what a name says of its value, and of itself.
func (d *redactor) judge(name []byte) *judged {
	if j := d.last.next; j != nil && j.name == string(name) {
		d.last = j
		return j
	}
	last := d.last
	j := d.verdicts[string(name)]
	if j == nil {
		j = d.judgeAnew(name)
	}
	if len(name) <= maxVerdict { // of others nothing is kept
		last.next, d.last = j, j
	}
	return j
}

func (d *redactor) judgeAnew(name []byte) *judged {
	j := &judged{name: string(name), verdict: d.Rules.judge(string(name)), role: roleOf(string(name))}
	j.holds = d.suspicious(name) && d.quietly(string(name)) != string(name)
	j.chosen = looksChosen(j.name)
	j.says = j.secret || j.role != noRole || j.holds
	if len(name) > maxVerdict {
		return j
	}
	if len(d.verdicts) >= maxVerdicts {
		d.forget()
	}
	d.verdicts[string(name)] = j
	return j
}

// forget makes room. What is forgotten leads to nothing that is kept.
func (d *redactor) forget() {
	clear(d.verdicts)
	d.last.next = nil
	d.last = new(judged)
}

// judge holds a name against the table and the operator's names.
func (r *Rules) judge(name string) verdict {
	for n, key := range r.keys {
		if key.MatchString(name) {
			return verdict{secret: true, rule: ownRules + rule(min(n, int(ownRules)-1))}
		}
	}
	return judgeName(name)
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
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
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
