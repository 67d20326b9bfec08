package redact

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
	"github.com/reeve-cloud/reeve/agent/redact/names"
)

const (
	// maxNested is how deeply texts in texts are taken apart. What is nested deeper
	// is looked through as it is written.
	maxNested = 8
	// maxRounds is how often a text is looked through. Once is enough but for what shows only
	// when what stood before it is masked.
	maxRounds = 4
)

// showsNothing reports quickly of most texts without a secret that there is none.
func showsNothing[T string | []byte](r *Rules, text T) bool {
	return len(text) >= forms.MinPlain && len(text) <= forms.MaxPlain && forms.IsPlain(text) && r.hints == nil && len(r.patterns) == 0
}

// text returns free text with the secrets in it masked.
func (d *redactor) text(s string) string {
	if d.trace != nil {
		return d.explained(s)
	}
	return d.rounds(s)
}

func (d *redactor) rounds(s string) string {
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
	for n, p := range d.patterns {
		var found forms.Secrets
		for _, at := range p.FindAllStringIndex(s, -1) {
			found = append(found, forms.Secret{Span: forms.Span{From: at[0], To: at[1]}, By: fmt.Sprintf("redact.patterns[%d]", n)})
		}
		s = d.mask(s, found)
	}
	about := forms.Anything.About(s)
	if begin := s[:min(len(s), 16)]; strings.IndexByte(begin, ' ') >= 0 {
		about |= forms.Anything.About(" " + begin) // a program may begin it
	}
	if d.hints != nil {
		about |= d.hints.About(s)
	}
	if about == 0 {
		return d.base64(s)
	}
	if clean, ok := d.asJSON(s); ok {
		return clean
	}
	s = d.base64(s)
	// KEY=VALUE as a whole: the value may have any character in it.
	if key, value, ok := strings.Cut(s, "="); ok && names.IsName(key) && !strings.HasPrefix(value, "$(") {
		of := d.judge([]byte(key))
		if of.Has(value) && of.Has(value[:strings.IndexAny(value+" ", " ,;&")]) && !moreVariables.MatchString(value) {
			return d.mask(s, forms.Secrets{{Span: forms.Span{From: len(key) + 1, To: len(s)}, By: of.Rule.String()}})
		}
	}
	if about&forms.AboutPrograms != 0 {
		s = d.mask(s, forms.CommandLines(s))
	}
	for n := range forms.All {
		if about&forms.AboutForm(n) != 0 {
			s = d.mask(s, forms.All[n].Find(s))
		}
	}
	if about&forms.AboutAddresses != 0 || strings.Contains(s, "//") {
		s = d.mask(s, forms.Addresses(s))
	}
	if about&forms.AboutNames != 0 {
		s = d.scan(s)
	}
	return d.remarks(s)
}

// remarks masks comments behind masks on their lines: people note there what a secret was, or
// what it is in plain words.
func (d *redactor) remarks(s string) string {
	if !strings.Contains(s, Mask) {
		return s
	}
	var found forms.Secrets
	for _, at := range remark.FindAllStringSubmatchIndex(s, -1) {
		found = append(found, forms.Secret{Span: forms.Span{From: at[2], To: at[3]}, By: "comment behind a secret"})
	}
	return d.mask(s, found)
}

// remark is a mask with a comment behind it.
var remark = regexp.MustCompile(regexp.QuoteMeta(Mask) + `["';,)\]} \t]*[ \t;]#[ \t]*([^\n"'\\]*[^\n"'\\ \t])`)

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

func (d *redactor) suspicious(text []byte) bool {
	if showsNothing(d.Rules, text) {
		return false
	}
	if len(d.patterns) > 0 || forms.Anything.In(text) || d.hints != nil && d.hints.In(text) {
		return true
	}
	_, is := forms.NextBase64(text, 0)
	return is
}
