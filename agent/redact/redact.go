// Package redact takes secret values out of what collectors observe, before it
// is compared, stored or sent. It errs on the side of taking too much.
//
// A value is a secret by the name of its key ("db_password", "apiToken"; also
// the name in {"name": "DB_PASSWORD", "value": ...}), or by its own form:
// KEY=VALUE and --flag VALUE with such a name in any text, a password in a URL,
// a private key in PEM, a JSON Web Token, an access key of a known make.
package redact

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

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
}

// harmlessEnds are the last words of keys that speak about a secret and hold none.
var harmlessEnds = map[string]bool{
	"name": true, "names": true, "namespace": true, "ref": true, "reference": true, "id": true, "uid": true,
	"type": true, "kind": true, "path": true, "file": true, "count": true, "size": true, "length": true,
	"enabled": true, "required": true, "policy": true, "ttl": true, "seconds": true, "expiry": true, "expires": true,
	"time": true, "at": true, "version": true, "status": true, "optional": true, "mode": true, "age": true,
}

// judged remembers verdicts on keys: documents of one type have the same keys,
// and taking them apart is what redaction would otherwise spend its time on.
var judged = struct {
	sync.RWMutex
	verdicts map[string]bool
}{verdicts: make(map[string]bool)}

// These bound the memory: there is no end of keys in labels.
const (
	maxJudged    = 4096
	maxJudgedKey = 128
)

// IsSecretKey reports whether a key is that of a secret value.
func IsSecretKey(key string) bool {
	judged.RLock()
	secret, known := judged.verdicts[key]
	judged.RUnlock()
	if known {
		return secret
	}
	secret = judge(key)
	if len(key) > maxJudgedKey {
		return secret
	}
	judged.Lock()
	defer judged.Unlock()
	if len(judged.verdicts) >= maxJudged {
		clear(judged.verdicts)
	}
	judged.verdicts[key] = secret
	return secret
}

func judge(key string) bool {
	words := split(key)
	if len(words) == 0 || harmlessEnds[words[len(words)-1]] {
		return false
	}
	for i, w := range words {
		if secretWords[w] || i > 0 && secretPairs[[2]string{words[i-1], w}] {
			return true
		}
	}
	// Names run together without any mark: DBPASSWORD, mysecret.
	joined := strings.Join(words, "")
	for _, w := range []string{"password", "passwd", "passphrase", "secret", "apikey", "privatekey", "credential"} {
		if strings.Contains(joined, w) {
			return true
		}
	}
	return strings.HasSuffix(joined, "token")
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

// secretName matches, in free text, a name that holds a secret.
const secretName = `[\w.\-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key|credential|pwd)[\w.\-]*`

var (
	// The value of an assignment ends at white space, or at the quote it began
	// with, or at a separator of query strings and lists.
	assignment = regexp.MustCompile(`(?i)(` + secretName + `["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"'&;,]+)`)
	flag       = regexp.MustCompile(`(?i)(--?` + secretName + `\s+)("[^"]*"|'[^']*'|[^\s-]\S*)`)
	userinfo   = regexp.MustCompile(`(://[^/\s:@]*:)([^\s/@]+)(@)`)
	bearer     = regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([A-Za-z0-9+/=_\-.~]{8,})`)
	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)
	jwt        = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)
	knownKeys  = regexp.MustCompile(`\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk_live_[A-Za-z0-9]{16,}|reeve-join-1\.[A-Za-z0-9_-]+)`)
)

// hints are one of the texts, in lower case, without which none of the patterns
// can match. Looking for them first keeps the patterns away from nearly all text.
var hints = [][]byte{
	[]byte("pass"), []byte("secret"), []byte("token"), []byte("key"), []byte("credential"), []byte("pwd"),
	[]byte("://"), []byte("bearer"), []byte("basic"), []byte("eyj"), []byte("akia"), []byte("asia"),
	[]byte("gh"), []byte("glpat"), []byte("xox"), []byte("sk_live"), []byte("reeve-join"),
}

func suspicious(text []byte) bool {
	lower := bytes.ToLower(text)
	for _, h := range hints {
		if bytes.Contains(lower, h) {
			return true
		}
	}
	return false
}

// Text returns free text with the secrets in it masked.
func Text(s string) string {
	if !suspicious([]byte(s)) {
		return s
	}
	s = privateKey.ReplaceAllLiteralString(s, Mask)
	s = jwt.ReplaceAllLiteralString(s, Mask)
	s = knownKeys.ReplaceAllLiteralString(s, Mask)
	s = userinfo.ReplaceAllString(s, "${1}"+Mask+"${3}")
	s = bearer.ReplaceAllString(s, "${1}"+Mask)
	// KEY=VALUE as a whole: the value may have any character in it.
	if key, value, ok := strings.Cut(s, "="); ok && value != "" && isName(key) && IsSecretKey(key) {
		return key + "=" + Mask
	}
	s = assignment.ReplaceAllString(s, "${1}"+Mask)
	return flag.ReplaceAllString(s, "${1}"+Mask)
}

func isName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
			return false
		}
	}
	return s != ""
}

// Labels returns a map with secret values masked. The argument is not changed.
func Labels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	clean := make(map[string]string, len(labels))
	for k, v := range labels {
		if v != "" && IsSecretKey(k) {
			v = Mask
		}
		clean[k] = Text(v)
	}
	return clean
}

// Document returns a JSON document, in canonical form (keys in order, see
// package document), with the secrets in it masked, in the same form.
func Document(canonical []byte) ([]byte, error) {
	r := redactor{
		dec: jsontext.NewDecoder(bytes.NewBuffer(canonical)),
		out: make([]byte, 0, len(canonical)),
	}
	if err := r.value(false); err != nil {
		return nil, fmt.Errorf("redacting: %w", err)
	}
	if _, err := r.dec.ReadToken(); err != io.EOF {
		return nil, fmt.Errorf("redacting: more than one JSON value")
	}
	return r.out, nil
}

type redactor struct {
	dec *jsontext.Decoder
	out []byte
}

// value copies one value. Under a secret key every text and number is masked.
func (r *redactor) value(secret bool) error {
	switch r.dec.PeekKind() {
	case '{':
		return r.object(secret)
	case '[':
		return r.array(secret)
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	return r.scalar(raw, secret)
}

func (r *redactor) scalar(raw jsontext.Value, secret bool) (err error) {
	switch kind := raw.Kind(); {
	case secret && (kind == '"' && len(raw) > 2 || kind == '0'):
		r.out, err = jsontext.AppendQuote(r.out, Mask)
		return err
	case kind == '"' && suspicious(raw):
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return err
		}
		r.out, err = jsontext.AppendQuote(r.out, Text(string(text)))
		return err
	}
	r.out = append(r.out, raw...)
	return nil
}

func (r *redactor) array(secret bool) error {
	if err := r.token('['); err != nil {
		return err
	}
	for n := 0; r.dec.PeekKind() != ']'; n++ {
		if n > 0 {
			r.out = append(r.out, ',')
		}
		if err := r.value(secret); err != nil {
			return err
		}
	}
	return r.token(']')
}

func (r *redactor) object(secret bool) error {
	if err := r.token('{'); err != nil {
		return err
	}
	named := false // a "name" or "key" member before was a secret's
	for n := 0; r.dec.PeekKind() != '}'; n++ {
		if n > 0 {
			r.out = append(r.out, ',')
		}
		token, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		key := token.String()
		if r.out, err = jsontext.AppendQuote(r.out, key); err != nil {
			return err
		}
		r.out = append(r.out, ':')
		switch {
		case key == "name" || key == "key":
			raw, err := r.dec.ReadValue()
			if err != nil {
				return err
			}
			if text, err := jsontext.AppendUnquote(nil, raw); err == nil && IsSecretKey(string(text)) {
				named = true
			}
			// A reference to a secret names it; that is no secret.
			err = r.plain(raw)
			if err != nil {
				return err
			}
			continue
		case secret && harmlessEnds[strings.ToLower(key)]:
			err = r.value(false)
		default:
			err = r.value(secret || IsSecretKey(key) || named && key == "value")
		}
		if err != nil {
			return err
		}
	}
	return r.token('}')
}

// plain copies a value that has been read already, looking only at its form.
func (r *redactor) plain(raw jsontext.Value) error {
	if k := raw.Kind(); k == '{' || k == '[' {
		inner, err := Document(raw)
		if err != nil {
			return err
		}
		r.out = append(r.out, inner...)
		return nil
	}
	return r.scalar(raw, false)
}

func (r *redactor) token(want byte) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	r.out = append(r.out, want)
	return nil
}
