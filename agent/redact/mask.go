package redact

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
)

// mask returns the text with the mask in the place of each secret.
func (d *redactor) mask(s string, list forms.Secrets) string {
	if len(list) == 0 {
		return s
	}
	slices.SortStableFunc(list, func(a, b forms.Secret) int { return a.From - b.From })
	var b strings.Builder
	var edits []edit
	done := 0
	for _, part := range list {
		if part.To <= done || part.From >= part.To || part.To <= part.From+len(Mask) && strings.HasPrefix(s[part.From:], Mask) {
			continue
		}
		if part.From < done { // goes on behind one before: that mask stands for both
			done = part.To
			if d.trace != nil {
				edits[len(edits)-1].To = done
			}
			continue
		}
		b.WriteString(s[done:part.From])
		if d.trace != nil {
			edits = append(edits, edit{part, b.Len()})
		}
		b.WriteString(Mask)
		done = part.To
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	if d.trace != nil {
		d.trace.edited(edits)
	}
	return b.String()
}

// base64 masks what is a text in base64 that has a secret in it.
func (d *redactor) base64(s string) string {
	if d.nested >= maxNested {
		return s
	}
	var found forms.Secrets
	for from := 0; ; {
		part, ok := forms.NextBase64(s, from)
		if !ok {
			return d.mask(s, found)
		}
		from = part.To
		if text := forms.DecodeBase64(s[part.From:part.To]); text != "" {
			d.nested++
			clean := d.quietly(text)
			d.nested--
			if clean != text {
				found = append(found, forms.Secret{Span: part, By: "secret in base64"})
			}
		}
	}
}
