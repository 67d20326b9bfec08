// Package redact takes secret values out of what collectors observe, before it
// is compared, stored or sent. It errs on the side of taking too much.
//
// A value is a secret by the name of its key ("db_password", "apiToken"; also
// the name in {"name": "DB_PASSWORD", "value": ...}), or by its own form:
// KEY=VALUE and --flag VALUE with such a name in any text, a password in a URL
// or on the command line of a known program, a private key in PEM, a JSON Web
// Token, an access key of a known make. The operator may add names and forms.
package redact

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

// Rules say what is a secret. The zero value and nil have the built-in rules
// alone. Rules may be used by several goroutines at once.
type Rules struct {
	// keys match, as a whole and in lower case, names of keys beyond the
	// built-in ones.
	keys *regexp.Regexp
	// assigned and flagged find values of such keys in texts, which have one of
	// the hints in them.
	assigned, flagged *regexp.Regexp
	hints             hints
	patterns          []*regexp.Regexp

	redactors sync.Pool
}

var builtin Rules

// New returns the built-in rules and others beside them: keys are the names of
// keys whose values are secret, in any case, where * stands for any characters
// and ? for one; patterns are regular expressions (RE2) for secrets in any text.
// Every fault is named by its place in the configuration.
func New(keys, patterns []string) (*Rules, error) {
	r := &Rules{}
	var errs []error
	var whole, inText, literals []string
	for i, key := range keys {
		if strings.Trim(key, "*? ") == "" {
			errs = append(errs, fmt.Errorf("redact.keys[%d] %q: names every key; write at least one letter beside * and ?", i, key))
			continue
		}
		quoted := regexp.QuoteMeta(key)
		whole = append(whole, strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted))
		inText = append(inText, strings.NewReplacer(`\*`, `[\w.\-]*`, `\?`, `[\w.\-]`).Replace(quoted))
		literals = append(literals, hintsOf(key)...)
	}
	for i, p := range patterns {
		expr, err := regexp.Compile(p)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("redact.patterns[%d]: %w", i, err))
		case expr.MatchString(""):
			errs = append(errs, fmt.Errorf("redact.patterns[%d] %q: matches the empty text; require at least one character", i, p))
		default:
			r.patterns = append(r.patterns, expr)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(whole) > 0 {
		name := `(` + strings.Join(inText, "|") + `)`
		r.keys = regexp.MustCompile(`(?is)^(?:` + strings.Join(whole, "|") + `)$`)
		r.assigned = regexp.MustCompile(`(?i)(?:^|[^\w.\-])` + name + assignedValue)
		r.flagged = regexp.MustCompile(`(?i)(?:^|\s)--?` + name + flaggedValue)
		r.hints = newHints(literals...)
	}
	return r, nil
}

// hintsOf returns texts of which one stands where a text assigns to such a key.
func hintsOf(key string) []string {
	var longest string
	for _, part := range strings.FieldsFunc(key, func(c rune) bool { return c == '*' || c == '?' || c >= utf8.RuneSelf }) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	if longest == "" { // hints have no case beyond ASCII
		return []string{"=", ":", "-"}
	}
	return []string{longest}
}

// orBuiltin makes nil of use.
func (r *Rules) orBuiltin() *Rules {
	if r == nil {
		return &builtin
	}
	return r
}

// Labels returns a map with secret values masked. The argument is not changed.
func (r *Rules) Labels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	d := r.redactor()
	defer d.release()
	clean := make(map[string]string, len(labels))
	for k, v := range labels {
		if v != "" && d.judge([]byte(k)) {
			v = Mask
		}
		clean[k] = d.Text(v)
	}
	return clean
}

// Document returns a JSON document, in canonical form (keys in order, see
// package document), with the secrets in it masked, in the same form. Where there
// are none it returns its argument.
func (r *Rules) Document(canonical []byte) ([]byte, error) {
	d := r.redactor()
	defer d.release()
	d.doc, d.in, d.out, d.done = canonical, document.NewReader(canonical), nil, 0
	if err := d.value(false); err != nil {
		return nil, fmt.Errorf("redacting: %w", err)
	}
	if d.in.Peek() != 0 {
		return nil, errors.New("redacting: more than one JSON value")
	}
	if d.out == nil {
		return canonical, nil
	}
	return append(d.out, canonical[d.done:]...), nil
}

// redactor redacts a document at a time.
type redactor struct {
	*Rules
	doc []byte
	in  document.Reader
	// out is what becomes of the first bytes of the document, of which there are
	// done. What has been read behind them stays as it is.
	out      []byte
	done     int
	scratch  []byte
	verdicts verdicts
}

// redactor returns one that is not in use.
func (r *Rules) redactor() *redactor {
	r = r.orBuiltin()
	d, ok := r.redactors.Get().(*redactor)
	if !ok {
		d = &redactor{Rules: r, verdicts: make(verdicts)}
	}
	return d
}

func (d *redactor) release() {
	d.doc, d.in, d.out = nil, document.Reader{}, nil
	d.redactors.Put(d)
}

func (d *redactor) judge(key []byte) bool { return d.verdicts.judge(d.Rules, key) }

// value goes over one value. Under a secret key every text and number is masked.
func (d *redactor) value(secret bool) error {
	switch d.in.Peek() {
	case '{':
		return d.object(secret)
	case '[':
		return d.array(secret)
	}
	return d.scalar(d.in.Value(), secret)
}

// scalar looks at the value that was read last.
func (d *redactor) scalar(raw []byte, secret bool) error {
	if len(raw) == 0 {
		return io.ErrUnexpectedEOF
	}
	quoted := raw[0] == '"'
	switch {
	case secret && (quoted && len(raw) > 2 || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'):
		return d.replace(raw, Mask)
	case quoted && d.suspicious(raw):
		text, err := d.unquote(raw)
		if err != nil {
			return err
		}
		if clean := d.Text(string(text)); clean != string(text) {
			return d.replace(raw, clean)
		}
	}
	return nil
}

// replace puts a text in the place of the value that was read last.
func (d *redactor) replace(raw []byte, text string) (err error) {
	if d.out == nil {
		d.out = make([]byte, 0, len(d.doc)+len(text))
	}
	end := d.in.Offset()
	d.out = append(d.out, d.doc[d.done:end-len(raw)]...)
	d.done = end
	d.out, err = jsontext.AppendQuote(d.out, text)
	return err
}

// unquote returns the text of a string, which is valid until the next call.
func (d *redactor) unquote(raw []byte) (text []byte, err error) {
	if text := raw[1 : len(raw)-1]; bytes.IndexByte(text, '\\') < 0 {
		return text, nil
	}
	d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], raw)
	return d.scratch, err
}

func (d *redactor) array(secret bool) error {
	d.in.Bracket()
	// It may be a command line.
	var line commandLine
	for first := true; d.in.More(); first = false {
		if secret || d.in.Peek() != '"' {
			line = commandLine{}
			if err := d.value(secret); err != nil {
				return err
			}
			continue
		}
		raw := d.in.Value()
		text, err := d.unquote(raw)
		if err != nil {
			return err
		}
		if clean, masked := line.next(d, text, first); masked {
			err = d.replace(raw, clean)
		} else {
			err = d.scalar(raw, false)
		}
		if err != nil {
			return err
		}
	}
	d.in.Bracket()
	return nil
}

// harmlessMembers are members, in lower case, of what is kept under the name of
// a secret: it is described there rather than told.
var harmlessMembers = map[string]bool{
	"secretname": true, "secretnamespace": true, "objectname": true, "defaultmode": true, "expirationseconds": true,
}

func (d *redactor) object(secret bool) error {
	d.in.Bracket()
	named := false // a "name" or "key" member before was a secret's
	for d.in.More() {
		key, err := d.unquote(d.in.Value())
		if err != nil {
			return err
		}
		switch string(key) {
		case "name", "key":
			// A reference to a secret names it; that is no secret.
			if d.in.Peek() != '"' {
				err = d.value(false)
				break
			}
			raw := d.in.Value()
			text, err := d.unquote(raw)
			if err != nil {
				return err
			}
			named = named || d.judge(text)
			if err := d.scalar(raw, false); err != nil {
				return err
			}
		case "value", "values":
			err = d.value(secret || named)
		case "auth":
			err = d.auth(secret)
		default:
			under := d.judge(key)
			if secret && !under {
				lower := strings.ToLower(string(key))
				under = !harmlessEnds[lower] && !harmlessMembers[lower]
			}
			err = d.value(under)
		}
		if err != nil {
			return err
		}
	}
	d.in.Bracket()
	return nil
}

// auth goes over the value of "auth", which in a registry's configuration is
// user:password in base64, and in others says how one is let in.
func (d *redactor) auth(secret bool) error {
	if d.in.Peek() != '"' {
		return d.value(secret)
	}
	raw := d.in.Value()
	pair, err := base64.StdEncoding.AppendDecode(nil, raw[1:len(raw)-1])
	return d.scalar(raw, secret || err == nil && bytes.IndexByte(pair, ':') >= 0)
}
