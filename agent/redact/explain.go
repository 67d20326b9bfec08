package redact

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
)

// Finding is a secret that was masked: where it was, and what told of it. It has
// nothing of the secret in it.
type Finding struct {
	// Path leads to it in the document: names joined by dots, elements of arrays in
	// brackets, and a colon before what leads on in a text that is JSON itself.
	// It is empty for what stands in a text alone.
	Path string
	// Line is that of the mask in the masked text, counted from 1, where it has several
	// lines.
	Line int
	// Rule is what told of it: the word in a name, the form, the program, or the place
	// in the operator's settings.
	Rule string
}

// ExplainDocument is Document, and says what was masked and why. It takes longer.
func (r *Rules) ExplainDocument(canonical []byte) (clean []byte, found []Finding, err error) {
	d := r.redactor()
	defer d.release()
	d.trace = new(trace)
	clean, err = d.document(canonical)
	return clean, d.trace.found, err
}

// ExplainText is Text, and says what was masked and why.
func (r *Rules) ExplainText(s string) (clean string, found []Finding) {
	d := r.redactor()
	defer d.release()
	d.trace = new(trace)
	clean = d.text(s)
	return clean, d.trace.found
}

// trace takes down what is masked.
type trace struct {
	found []Finding
	// marks are the masks in the text that is looked at, in their order.
	marks []mark
}

// mark is a mask in a text, and why it is there.
type mark struct {
	at int
	by string
}

// edit is a secret in a text, and where its mask stands in what became of that.
type edit struct {
	forms.Secret
	at int
}

// edited moves the marks to where they are after edits, which are in order, and adds
// those of the edits. A mark inside of what was masked is gone with it.
func (t *trace) edited(edits []edit) {
	var marks []mark
	moved, n := 0, 0
	take := func(e edit) {
		marks = append(marks, mark{e.at, e.By})
		moved = e.at + len(Mask) - e.To
	}
	for _, m := range t.marks {
		for n < len(edits) && edits[n].From <= m.at {
			take(edits[n])
			n++
		}
		if n == 0 || m.at >= edits[n-1].To {
			marks = append(marks, mark{m.at + moved, m.by})
		}
	}
	for ; n < len(edits); n++ {
		take(edits[n])
	}
	t.marks = marks
}

// took takes down that all of the value, or name, that was read last is masked.
func (d *redactor) took(by string) {
	d.trace.found = append(d.trace.found, Finding{Path: d.path(), Rule: by})
}

// byItsValue is said of a name that is a secret by what stands under it.
const byItsValue = "name whose value is what secrets are called"

// tookName takes down that a name is masked, the value of which was read last.
func (d *redactor) tookName(name string) {
	path := strings.TrimSuffix(d.path(), d.quietly(name)) + Mask
	d.trace.found = append(d.trace.found, Finding{Path: path, Rule: byItsValue})
}

// explained looks through a text, and takes down what is masked in it.
func (d *redactor) explained(s string) (clean string) {
	t := d.trace
	outer := t.marks
	t.marks = nil
	clean = d.rounds(s)
	for _, m := range t.marks {
		f := Finding{Path: d.path(), Rule: m.by}
		if strings.Contains(strings.TrimSpace(clean), "\n") {
			f.Line = 1 + strings.Count(clean[:m.at], "\n")
		}
		t.found = append(t.found, f)
	}
	t.marks = outer
	return clean
}

// quietly is text for what is asked for its own sake: nothing of it is taken down.
func (d *redactor) quietly(s string) string {
	t := d.trace
	d.trace = nil
	defer func() { d.trace = t }()
	return d.text(s)
}

// locator says where in a document a walk is. The places that it is asked for must
// be in order.
type locator struct {
	dec *jsontext.Decoder
	// around is the path to the text that the document is.
	around string
}

// locate begins the walk of a document in the one that is walked now, if any.
func (d *redactor) locate(doc []byte) *locator {
	l := &locator{dec: jsontext.NewDecoder(bytes.NewReader(doc), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
	if d.place != nil {
		l.around = d.path() + ": "
	}
	return l
}

// path leads to the value, or name, that was read last.
func (d *redactor) path() string {
	l := d.place
	if l == nil {
		return ""
	}
	for l.dec.InputOffset() < int64(d.in.Offset()) {
		if _, err := l.dec.ReadToken(); err != nil {
			break
		}
	}
	var b strings.Builder
	b.WriteString(l.around)
	depth := 0
	for name := range l.dec.StackPointer().Tokens() {
		depth++
		kind, n := l.dec.StackIndex(depth)
		switch {
		case kind == jsontext.KindBeginArray:
			fmt.Fprintf(&b, "[%d]", n-1)
			continue
		case depth > 1:
			b.WriteByte('.')
		}
		b.WriteString(d.quietly(name))
	}
	return b.String()
}
