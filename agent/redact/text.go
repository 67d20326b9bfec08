package redact

import (
	"fmt"
	"math/bits"
	"regexp"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxNested is how deeply texts in texts are taken apart. What is nested deeper
	// is looked through as it is written.
	maxNested = 8
	// maxRounds is how often a text is looked through. Once is enough but for what shows only
	// when what stood before it is masked.
	maxRounds = 4
)

// shortEnds are what stands behind a short name where it has a value.
const shortEnds = "=: \t\n\"'\\]<>,;)_-.%&$0123456789"

// anything are hints of which one is in each text that holds a secret, but for
// those of the operator.
var anything = func() *hints {
	h := newHints()
	for _, row := range secretNames {
		for w := range strings.SplitSeq(row.words, ", ") {
			// Of two words the last is enough where it is key; others are common.
			switch all := strings.Fields(w); {
			case row.places&inQuery != 0:
				h.add(aboutNames, w+"=")
			case len(w) <= 3: // they are in many words: what stands behind a name must follow
				for _, mark := range shortEnds {
					h.add(aboutNames, w+string(mark))
				}
			case len(all) == 1:
				h.add(aboutNames, w)
			case all[len(all)-1] == "key":
				h.add(aboutNames, "key")
			default:
				for _, mark := range []string{"", " ", "_", "-", "."} {
					h.add(aboutNames, strings.Join(all, mark))
				}
			}
		}
	}
	h.add(aboutPrograms, programs...)
	h.add(aboutAddresses, "@", "://")
	// Escapes of JSON stand between in raw text, or in place of what is looked for.
	h.add(aboutEscapes, `"kty"`, `kty\"`, `auth\"`, `\" \"`, `\\u00`)
	for n, f := range forms {
		h.add(aboutForms<<n, f.needs...)
	}
	return h
}()

func (d *redactor) suspicious(text []byte) bool {
	if showsNothing(d.Rules, text) {
		return false
	}
	if len(d.patterns) > 0 || anything.in(text) || d.hints != nil && d.hints.in(text) {
		return true
	}
	_, is := encoded(text, 0)
	return is
}

// minPlain and maxPlain are how long what isPlain knows is.
const minPlain, maxPlain = 8, 64

// plain has the bytes of UUIDs, hashes, addresses, numbers and times. No hint of
// minPlain bytes is made of them alone that is in a text with a secret of up to maxPlain.
var plain = func() (table [256]bool) {
	for _, c := range []byte("0123456789abcdef-:.TZ+\"") {
		table[c] = true
	}
	return table
}()

// isPlain knows most of what identifies and measures, which holds no secret that shows,
// more quickly than by looking for hints.
func isPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if !plain[text[i]] {
			return false
		}
	}
	return true
}

// showsNothing reports quickly of most texts without a secret that there is none.
func showsNothing[T string | []byte](r *Rules, text T) bool {
	return len(text) >= minPlain && len(text) <= maxPlain && isPlain(text) && r.hints == nil && len(r.patterns) == 0
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
		var found secrets
		for _, at := range p.FindAllStringIndex(s, -1) {
			found = append(found, secret{span{at[0], at[1]}, fmt.Sprintf("redact.patterns[%d]", n)})
		}
		s = d.mask(s, found)
	}
	about := anything.about(s)
	if begin := s[:min(len(s), 16)]; strings.IndexByte(begin, ' ') >= 0 {
		about |= anything.about(" " + begin) // a program may begin it
	}
	if d.hints != nil {
		about |= d.hints.about(s)
	}
	if about == 0 {
		return d.base64(s)
	}
	if clean, ok := d.asJSON(s); ok {
		return clean
	}
	s = d.base64(s)
	// KEY=VALUE as a whole: the value may have any character in it.
	if key, value, ok := strings.Cut(s, "="); ok && isName(key) && !strings.HasPrefix(value, "$(") {
		of := d.judge([]byte(key))
		if of.has(value) && of.has(value[:strings.IndexAny(value+" ", " ,;&")]) && !moreVariables.MatchString(value) {
			return d.mask(s, secrets{{span{len(key) + 1, len(s)}, of.rule.String()}})
		}
	}
	if about&aboutPrograms != 0 {
		s = d.commandLines(s)
	}
	for which := about / aboutForms; which != 0; which &= which - 1 {
		s = d.mask(s, forms[bits.TrailingZeros64(uint64(which))].find(s))
	}
	if about&aboutAddresses != 0 || strings.Contains(s, "//") {
		s = d.mask(s, urls(s))
	}
	if about&aboutNames != 0 {
		s = d.scan(s)
	}
	return s
}

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

func isName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
			return false
		}
	}
	return s != ""
}
