package redact

import (
	"strings"
	"unicode"
)

// secretWords make a key a secret's, wherever they stand in it.
var secretWords = map[string]bool{
	"password": true, "passwords": true, "passwd": true, "passphrase": true, "pwd": true, "pass": true,
	"secret": true, "secrets": true, "token": true, "tokens": true,
	"credential": true, "credentials": true, "apikey": true, "authkey": true, "privatekey": true, "accesskey": true,
	"authorization": true, "cookie": true, "psk": true, "keytab": true,
}

// secretPairs do so in two words that follow each other.
var secretPairs = map[[2]string]bool{
	{"api", "key"}: true, {"private", "key"}: true, {"access", "key"}: true, {"auth", "key"}: true,
	{"encryption", "key"}: true, {"signing", "key"}: true, {"host", "key"}: true, {"preshared", "key"}: true,
	{"shared", "key"}: true, {"session", "key"}: true, {"ssh", "key"}: true, {"user", "data"}: true,
	{"user", "key"}: true, {"client", "key"}: true, {"server", "key"}: true, {"tls", "key"}: true, {"ca", "key"}: true,
	{"account", "key"}: true, {"storage", "key"}: true, {"admin", "key"}: true, {"master", "key"}: true,
	{"root", "key"}: true, {"hmac", "key"}: true, {"license", "key"}: true,
	{"deploy", "key"}: true,
}

// harmlessEnds are the last words of keys that speak about a secret and hold none.
var harmlessEnds = map[string]bool{
	"name": true, "names": true, "namespace": true, "ref": true, "reference": true, "id": true, "uid": true,
	"type": true, "kind": true, "path": true, "file": true, "count": true, "size": true, "length": true, "bytes": true,
	"enabled": true, "required": true, "policy": true, "ttl": true, "seconds": true, "expiry": true, "expires": true,
	"time": true, "at": true, "version": true, "status": true, "optional": true, "mode": true, "age": true,
	"class": true, "audience": true, "audiences": true,
}

// verdicts remembers of keys whether they are secret: documents of one type have the
// same keys, and taking them apart is what redaction would otherwise spend its time on.
type verdicts map[string]bool

// These bound the memory: there is no end of keys in labels.
const (
	maxVerdicts = 4096
	maxVerdict  = 128 // bytes of a key
)

// judge is IsSecretKey for a key that may be in the verdicts.
func (v verdicts) judge(r *Rules, key []byte) bool {
	if secret, known := v[string(key)]; known {
		return secret
	}
	secret := r.IsSecretKey(string(key))
	if len(key) > maxVerdict {
		return secret
	}
	if len(v) >= maxVerdicts {
		clear(v)
	}
	v[string(key)] = secret
	return secret
}

// IsSecretKey reports whether a key is that of a secret value.
func (r *Rules) IsSecretKey(key string) bool {
	r = r.orBuiltin()
	return isSecretName(key) || r.keys != nil && r.keys.MatchString(key)
}

// isSecretName holds a key against the built-in words.
func isSecretName(key string) bool {
	words := split(key)
	if len(words) == 0 || endHarmlessly(words) {
		return false
	}
	for i, w := range words {
		if secretWords[w] || i > 0 && secretPairs[[2]string{words[i-1], w}] {
			return true
		}
	}
	// Names run together without any mark: DBPASSWORD, mysecret.
	joined := strings.Join(words, "")
	for _, w := range []string{"password", "passwd", "passphrase", "secret", "apikey", "privatekey", "userkey", "credential"} {
		if strings.Contains(joined, w) {
			return true
		}
	}
	return strings.HasSuffix(joined, "token")
}

// speaksOf reports whether a key only speaks about a secret: secret_name.
func speaksOf(key string) bool { return endHarmlessly(split(key)) }

func endHarmlessly(words []string) bool {
	n := len(words)
	// The secret_id of Vault's AppRole is its password.
	return n > 0 && harmlessEnds[words[n-1]] && !(n > 1 && words[n-2] == "secret" && words[n-1] == "id")
}

// split takes a key apart into lower-case words at marks and at changes of case.
func split(key string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	var last rune
	for _, r := range key {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
		case unicode.IsUpper(r) && unicode.IsLower(last):
			flush()
			word = append(word, r)
		default:
			word = append(word, r)
		}
		last = r
	}
	flush()
	return words
}
