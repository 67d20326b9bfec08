// Package redact takes secret values out of what collectors observe, before it
// is compared, stored or sent. It errs on the side of taking too much.
//
// A value is a secret by the name that it is kept under ("db_password",
// "apiToken"), or by its own form: a password in a URL, a private key in PEM, a
// JSON Web Token, an access key of a known make. A name is that of a member or a
// label, the name in {"name": "DB_PASSWORD", "value": ...} and its kin, a variable
// of the environment, a flag (in a text or in an array of arguments), a key in a
// text of several lines. All of them are held against one table ([names]). Where
// the name is no help, the program is: ipmitool -P, htpasswd -b ([forms]).
//
// Texts are taken apart as what they are: JSON within JSON within JSON, up to
// maxNested deep; lines of YAML and of INI; command lines; Python's literals; XML;
// base64 of texts; also where quotes are escaped, or the end is cut off.
//
// What speaks about secrets and holds none stays: names, numbers under a plural
// (a quota of secrets), switches, references to variables, sentences. What nothing
// tells by name, place or form is not found: docs/redaction.md. The operator
// may add names and forms.
package redact

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
	"github.com/reeve-cloud/reeve/agent/redact/names"
	"github.com/reeve-cloud/reeve/pkg/document"
)

// Mask stands where a secret was.
const Mask = names.Mask

// Rules say what is a secret. The zero value and nil have the built-in rules
// alone. Rules may be used by several goroutines at once.
type Rules struct {
	// keys match, as a whole and in any case, names of keys beyond the
	// built-in ones.
	keys []*regexp.Regexp
	// hints are in all texts that have such a name.
	hints    *forms.Hints
	patterns []*regexp.Regexp
	// key is that of uids; nil means ownKey.
	key *Key

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
	var literals []string
	for i, key := range keys {
		if strings.Trim(key, "*? ") == "" {
			errs = append(errs, fmt.Errorf("redact.keys[%d] %q: names every key; write at least one letter beside * and ?", i, key))
			continue
		}
		quoted := regexp.QuoteMeta(key)
		whole := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted)
		r.keys = append(r.keys, regexp.MustCompile(`(?is)^(?:`+whole+`)$`))
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
	if len(r.keys) > 0 {
		r.hints = forms.NewHints()
		r.hints.Add(forms.AboutNames, literals...)
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

// Text returns free text with the secrets in it masked.
func (r *Rules) Text(s string) string {
	d := r.redactor()
	defer d.release()
	return d.text(s)
}

// Labels returns a map with secret values masked, and the secrets in names, which
// tags without a value are. The argument is not changed.
func (r *Rules) Labels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	d := r.redactor()
	defer d.release()
	clean := make(map[string]string, len(labels))
	value := func(j *judged, v string) string {
		if j.Has(v) {
			return Mask
		}
		return d.text(v)
	}
	var held, named []string
	taken := make(nameCounts)
	for k, v := range labels {
		if j := d.judge([]byte(k)); j.holds {
			held = append(held, k)
		} else {
			clean[k], taken[k] = value(j, v), 1
		}
	}
	for k, v := range clean {
		if names.LooksChosen(k) && names.CallsSecret(v) {
			delete(clean, k)
			delete(taken, k)
			named = append(named, k)
		}
	}
	// Names that become the same are told apart in the same way each time.
	slices.Sort(held)
	for _, k := range held {
		clean[taken.apart(d.text(k))] = value(d.judge([]byte(k)), labels[k])
	}
	slices.Sort(named)
	for _, k := range named {
		clean[taken.apart(Mask)] = labels[k]
	}
	return clean
}

// nameCounts are those that are taken, with how often.
type nameCounts map[string]int

// apart returns the name, with a number behind it if it is taken.
func (taken nameCounts) apart(name string) string {
	unique := name
	n := taken[name]
	for ; taken[unique] > 0; n++ {
		unique = name + " " + strconv.Itoa(n+1)
	}
	taken[name], taken[unique] = max(n, 1), max(taken[unique], 1)
	return unique
}

// Document returns a JSON document, in canonical form (keys in order, see
// package document), with the secrets in it masked, in the same form. Where there
// are none it returns its argument.
func (r *Rules) Document(canonical []byte) ([]byte, error) {
	d := r.redactor()
	defer d.release()
	return d.document(canonical)
}

func (d *redactor) document(canonical []byte) ([]byte, error) {
	clean, renamed, err := d.json(canonical)
	if err != nil {
		return nil, fmt.Errorf("redacting: %w", err)
	}
	if renamed {
		if clean, err = document.Canonical(clean); err != nil {
			return nil, fmt.Errorf("redacting: bringing names that held secrets into order: %w", err)
		}
	}
	return clean, nil
}

// redactor redacts a document or a text at a time.
type redactor struct {
	*Rules
	walk
	// nested is how many texts lie around the one that is looked at.
	nested   int
	scratch  []byte
	verdicts verdicts
	// last is what was judged last, of which the next is known.
	last *judged
	// trace takes down what is masked, where somebody asks.
	trace *trace
}

// walk goes over one JSON value.
type walk struct {
	doc []byte
	in  document.Reader
	// out is what becomes of the first bytes of the document, of which there are
	// done. What has been read behind them stays as it is.
	out   []byte
	done  int
	depth int // of objects and arrays
	// renamed says that a name of a member was changed.
	renamed bool
	// place says where the walk is, where there is a trace.
	place *locator
}

// redactor returns one that is not in use.
func (r *Rules) redactor() *redactor {
	r = r.orBuiltin()
	d, ok := r.redactors.Get().(*redactor)
	if !ok {
		d = &redactor{Rules: r, verdicts: make(verdicts), last: new(judged)}
	}
	return d
}

func (d *redactor) release() {
	d.walk, d.nested, d.trace = walk{}, 0, nil
	d.redactors.Put(d)
}

// json returns valid JSON with the secrets in it masked.
func (d *redactor) json(doc []byte) (clean []byte, renamed bool, err error) {
	outer := d.walk
	defer func() { d.walk = outer }()
	var place *locator
	if d.trace != nil {
		place = d.locate(doc)
	}
	d.walk = walk{doc: doc, in: document.NewReader(doc), place: place}
	if err := d.value(names.Verdict{}); err != nil {
		return nil, false, err
	}
	if d.in.Peek() != 0 {
		return nil, false, errors.New("more than one JSON value")
	}
	if d.out == nil {
		return doc, false, nil
	}
	return append(d.out, doc[d.done:]...), d.renamed, nil
}

// value goes over one value. Under the name of a secret every text and number is
// masked.
func (d *redactor) value(under names.Verdict) error {
	switch d.in.Peek() {
	case '{':
		return d.object(under)
	case '[':
		return d.array(under, nil, false)
	}
	return d.scalar(d.in.Value(), under)
}

// scalar looks at the value that was read last.
func (d *redactor) scalar(raw []byte, under names.Verdict) error {
	if len(raw) == 0 {
		return io.ErrUnexpectedEOF
	}
	return d.maskIn(raw, under, raw[0] == '"' && d.suspicious(raw))
}

// maskIn looks at a value, of which it is known whether a secret may show in it.
func (d *redactor) maskIn(raw []byte, under names.Verdict, suspicious bool) error {
	switch {
	case raw[0] == '"' && (under.Secret || suspicious):
		text, err := d.unquote(raw)
		if err != nil {
			return err
		}
		s := string(text)
		if under.Has(s) {
			return d.maskAll(raw, under.Rule)
		}
		if !suspicious {
			return nil
		}
		if clean := d.text(s); clean != s {
			return d.replace(raw, clean)
		}
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		if under.Secret && !under.Counts && under.Look == names.NoLook {
			return d.maskAll(raw, under.Rule)
		}
	}
	return nil
}

// maskAll puts the mask in the place of the value that was read last.
func (d *redactor) maskAll(raw []byte, by names.Rule) error {
	if d.trace != nil {
		d.took(by.String())
	}
	return d.replace(raw, Mask)
}

// replace puts a text in the place of the value that was read last.
func (d *redactor) replace(raw []byte, text string) error {
	return d.replaceAt(d.in.Offset(), raw, text)
}

// replaceAt puts a text in the place of the value, or name, that ends there.
func (d *redactor) replaceAt(end int, raw []byte, text string) (err error) {
	if d.out == nil {
		d.out = make([]byte, 0, len(d.doc)+len(text))
	}
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

// array goes over an array. The program is what stands before the arguments in
// it, if it is known. One array in another may be a pair: ["DB_PASSWORD", "x"].
func (d *redactor) array(under names.Verdict, program []string, inner bool) error {
	if under = under.Items(); under.Secret {
		program, inner = nil, false
	}
	start, asked := d.in, under.Secret
	var masked map[int]forms.Argument
	d.in.Bracket()
	if d.depth++; d.depth > document.MaxDepth {
		return errors.New("it is nested too deeply")
	}
	for n := 0; d.in.More(); n++ {
		var err error
		switch d.in.Peek() {
		case '[':
			err = d.array(under, nil, true)
		case '{':
			err = d.object(under)
		default:
			raw := d.in.Value()
			suspicious := raw[0] == '"' && d.suspicious(raw)
			// Most arrays are no command lines, and what shows that one is stands
			// before what is a secret in it.
			if !asked && raw[0] == '"' && (n == 0 && (inner || program != nil) || len(raw) > 3 && raw[1] == '-' ||
				n < 3 && suspicious && forms.Anything.About(string(raw))&forms.AboutPrograms != 0) {
				asked, masked = true, d.arguments(start, program, inner)
			}
			if of, ok := masked[n]; ok && raw[0] == '"' {
				err = d.argument(raw, of)
			} else {
				err = d.maskIn(raw, under, suspicious)
			}
		}
		if err != nil {
			return err
		}
	}
	d.in.Bracket()
	d.depth--
	return nil
}

// arguments takes an array for a command line, and returns what becomes of those
// of its elements that are a secret, or have one in them, that does not show by itself.
func (d *redactor) arguments(in document.Reader, program []string, inner bool) map[int]forms.Argument {
	args := append(program, d.strings(in)...)
	if inner && len(args) == 2 {
		if of := d.judge([]byte(args[0])); of.Has(args[1]) {
			return map[int]forms.Argument{1: {By: of.Rule.String()}}
		}
		if names.LooksChosen(args[0]) && names.CallsSecret(args[1]) {
			return map[int]forms.Argument{0: {By: byItsValue}}
		}
	}
	masked := make(map[int]forms.Argument)
	for n, of := range d.commandLine(args) {
		masked[n-len(program)] = of
	}
	return masked
}

// argument masks an argument, which was read last.
func (d *redactor) argument(raw []byte, of forms.Argument) error {
	if d.trace != nil {
		d.took(of.By)
	}
	text, err := d.unquote(raw)
	if err != nil {
		return err
	}
	return d.replace(raw, string(text[:of.Keep])+Mask)
}

// strings returns the texts in an array, with an empty one for what is none.
func (d *redactor) strings(in document.Reader) (list []string) {
	in.Bracket()
	for in.More() {
		text := ""
		if raw := in.Value(); len(raw) > 1 && raw[0] == '"' {
			if t, err := d.unquote(raw); err == nil {
				text = string(t)
			}
		}
		list = append(list, text)
	}
	return list
}

// pair is how far an object is known to be one of a name and a value.
type pair struct {
	// named says that a member with a name was seen, and verdict what it says.
	named bool
	// flagged says that the value is a secret, whatever its name.
	flagged bool
	names.Verdict
}

func (d *redactor) object(under names.Verdict) error {
	start := d.in
	d.in.Bracket()
	if d.depth++; d.depth > document.MaxDepth {
		return errors.New("it is nested too deeply")
	}
	var p pair
	var taken nameCounts
	for d.in.More() {
		name := d.in.Value()
		end := d.in.Offset()
		key, err := d.unquote(name)
		if err != nil {
			return err
		}
		if len(key) <= 2 && isPrivatePart(string(key)) && d.has(start, "kty") {
			if err := d.value(names.SecretBy("private key")); err != nil {
				return err
			}
			continue
		}
		j := d.judge(key)
		if !j.says && !under.Secret { // most are
			if d.in.Peek() == '"' {
				err = d.member(name, end, j, start, &taken)
			} else {
				err = d.value(names.Verdict{})
			}
			if err != nil {
				return err
			}
			continue
		}
		if j.holds {
			if taken == nil {
				taken = d.others(start)
			}
			if err := d.rename(name, taken); err != nil {
				return err
			}
		}
		at := j.Verdict
		if under.Secret && under.Look == names.NoLook && !at.Secret {
			at = names.MemberOf(string(key))
			at.Counts, at.Rule = false, under.Rule
		}
		switch next := d.in.Peek(); {
		case j.role == names.NameRole && next == '"' && !(j.Secret && j.Look == names.NoLook):
			// A reference to a secret names it; that is no secret.
			raw := d.in.Value()
			p.named = true
			if at.Secret || d.suspicious(raw) {
				text, err := d.unquote(raw)
				if err != nil {
					return err
				}
				if of := d.judgePairName(text); of.Secret && (!p.Secret || of.Look == names.NoLook) {
					p.Verdict = of.Verdict
				}
				if err := d.maskIn(raw, at, true); err != nil {
					return err
				}
			}
			continue
		case j.role == names.FlagRole && next == 't':
			p.flagged = true
		case j.role == names.OwnedRole && (next == '{' || next == '['):
			if of := d.nameOf(start); of.Secret && of.Look == names.NoLook {
				at = of
			}
		case j.role >= names.ValueRole && (j.role == names.ValueRole || next == '"'):
			if !p.named {
				p.named, p.Verdict = true, d.nameOf(start)
			}
			switch {
			case p.Secret && p.Look == names.NoLook:
				at = p.Verdict
			case p.flagged || d.nested > 0 && d.flagged(start):
				at = names.SecretBy("secret")
			case p.Secret:
				at = p.Verdict
			}
		}
		switch next := d.in.Peek(); {
		case next == '[' && j.role == names.ArgumentsRole:
			err = d.array(at, d.programOf(start), false)
		case next == '[':
			err = d.array(at, nil, false)
		case next == '"' && j.role == names.AuthRole:
			err = d.auth(at)
		default:
			err = d.value(at)
		}
		if err != nil {
			return err
		}
	}
	d.in.Bracket()
	d.depth--
	return nil
}

// member goes over a text under a name, that ends there, and says nothing of it. The
// text may say that the name is the secret: {"hunter2x": "password"}.
func (d *redactor) member(quoted []byte, end int, j *judged, object document.Reader, taken *nameCounts) error {
	raw := d.in.Value()
	suspicious := d.suspicious(raw)
	if !suspicious {
		return nil
	}
	if j.chosen && len(raw) <= 26 && names.CallsSecret(string(raw[1:len(raw)-1])) {
		if d.trace != nil {
			d.tookName(j.name)
		}
		d.renamed = true
		if *taken == nil {
			*taken = d.others(object)
		}
		if err := d.replaceAt(end, quoted, taken.apart(Mask)); err != nil {
			return err
		}
	}
	return d.maskIn(raw, names.Verdict{}, true)
}

// nameOf returns the verdict on what names the value in an object.
func (d *redactor) nameOf(in document.Reader) (v names.Verdict) {
	in.Bracket()
	for in.More() {
		key, err := d.unquote(in.Value())
		if err != nil {
			return v
		}
		named := d.judge(key).role == names.NameRole
		raw := in.Value()
		if !named || len(raw) < 2 || raw[0] != '"' {
			continue
		}
		if text, err := d.unquote(raw); err == nil {
			if of := d.judge(text); of.Secret && (!v.Secret || of.Look == names.NoLook) {
				v = of.Verdict
			}
		}
	}
	return v
}

// has reports whether an object has a member with such a name.
func (d *redactor) has(object document.Reader, name string) bool {
	object.Bracket()
	for object.More() {
		raw := object.Value()
		if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name {
			return true
		}
		object.Value()
	}
	return false
}

// flagged reports whether an object says of its value that it is a secret.
func (d *redactor) flagged(object document.Reader) bool {
	object.Bracket()
	for object.More() {
		raw := object.Value()
		if value := object.Value(); string(value) == "true" && len(raw) > 2 && names.RoleOf(string(raw[1:len(raw)-1])) == names.FlagRole {
			return true
		}
	}
	return false
}

// isPrivatePart reports whether a member of a JSON Web Key is secret.
func isPrivatePart(name string) bool {
	switch name {
	case "d", "p", "q", "dp", "dq", "qi", "k":
		return true
	}
	return false
}

// programOf returns the command in an object, to which there are arguments.
func (d *redactor) programOf(in document.Reader) []string {
	in.Bracket()
	for in.More() {
		name := in.Value()
		switch string(name) {
		case `"command"`, `"cmd"`, `"entrypoint"`, `"program"`, `"exec"`:
			switch in.Peek() {
			case '[':
				return d.strings(in)
			case '"':
				if text, err := d.unquote(in.Value()); err == nil {
					return []string{string(text)}
				}
				return nil
			}
		}
		in.Value()
	}
	return nil
}

// rename writes the name of a member, that was read last, without the secret that
// is in it.
func (d *redactor) rename(raw []byte, taken nameCounts) error {
	key, err := d.unquote(raw)
	if err != nil {
		return err
	}
	d.renamed = true
	return d.replace(raw, taken.apart(d.text(string(key))))
}

// others returns the names in an object that stay as they are.
func (d *redactor) others(in document.Reader) nameCounts {
	taken := make(nameCounts)
	in.Bracket()
	for in.More() {
		if key, err := d.unquote(in.Value()); err == nil && !d.judge(key).holds {
			taken[string(key)] = 1
		}
		in.Value()
	}
	return taken
}

// auth goes over the value of "auth", which in a registry's configuration is
// user:password in base64, and in others says how one is let in.
func (d *redactor) auth(under names.Verdict) error {
	raw := d.in.Value()
	pair, err := base64.StdEncoding.AppendDecode(nil, raw[1:len(raw)-1])
	if err == nil && bytes.IndexByte(pair, ':') >= 0 {
		under = names.SecretBy("auth")
	}
	return d.scalar(raw, under)
}
