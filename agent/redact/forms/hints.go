package forms

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// Topics are what a text may be about, a bit each.
type Topics uint64

const (
	AboutNames Topics = 1 << iota
	AboutPrograms
	AboutAddresses
	aboutEscapes
	// aboutForms is the bit of the first of forms. Others follow.
	aboutForms
)

// formBits is how many bits forms have. Where there are more forms, some share one.
const formBits = 60

// AboutForm is the bit of the nth of [All].
func AboutForm(n int) Topics { return aboutForms << (n % formBits) }

// hint is a text, in small letters, that is in all texts about something.
type hint struct {
	text  string
	about Topics
}

// Hints are looked for in any case, all at once. Looking for them first keeps
// what takes longer away from nearly all text.
type Hints struct {
	// folded has for each byte what it counts for: a letter in either case for one of
	// 26, all others for one of a few; and more than maxMix for a hint of one byte,
	// of which single has the Topics.
	folded [256]uint32
	single [256]Topics
	// starts has a bit for what is mixed from three bytes that a hint begins with,
	// and groups the hints of each.
	starts [(maxMix + 1) / 64]uint64
	groups [][]hint
	group  [maxMix + 1]uint16 // of what is mixed, in groups
	// short are those of two bytes, which starts does not show at the end of a text.
	short []hint
}

// maxMix is the largest that is mixed from three bytes, of five bits each. Of
// letters no three make the same as others do.
const maxMix = 1<<15 - 1

// class returns the five bits that a byte counts for.
func class(c byte) uint32 {
	switch c = lower[c]; {
	case c >= 'a' && c <= 'z':
		return uint32(c - 'a')
	case c >= '0' && c <= '9':
		return 26
	case c == '-' || c == '_' || c == '.':
		return 27
	case c == '/' || c == ':':
		return 28
	case c == '=' || c == '<':
		return 29
	case c >= 0x80:
		return 30
	}
	return 31
}

// NewHints returns none.
func NewHints() *Hints {
	h := &Hints{groups: make([][]hint, 1)}
	for c := range h.folded {
		h.folded[c] = class(byte(c))
	}
	return h
}

// Add adds texts of which each is in all texts about something.
func (h *Hints) Add(about Topics, texts ...string) {
	for _, t := range texts {
		t = lowerASCII(t)
		switch len(t) {
		case 1:
			for _, c := range []byte{t[0], strings.ToUpper(t)[0]} {
				h.folded[c] |= maxMix + 1
				h.single[c] |= about
			}
		case 2:
			for c := range lower {
				h.start(t+string([]byte{lower[c]}), hint{t, about})
			}
			h.short = append(h.short, hint{t, about})
		default:
			h.start(t, hint{t, about})
		}
	}
}

// start notes what a hint begins with.
func (h *Hints) start(t string, of hint) {
	n := class(t[0])<<10 | class(t[1])<<5 | class(t[2])
	if h.starts[n/64] |= 1 << (n % 64); h.group[n] == 0 {
		h.group[n] = uint16(len(h.groups))
		h.groups = append(h.groups, nil)
	}
	if group := &h.groups[h.group[n]]; !slices.Contains(*group, of) {
		*group = append(*group, of)
	}
}

// In reports whether any of the hints is in a text.
func (h *Hints) In(text []byte) bool { return seek(h, text, true) != 0 }

// About returns what a text may be about.
func (h *Hints) About(text string) Topics { return seek(h, text, false) }

// seek looks for all hints, or for the first.
func seek[T string | []byte](h *Hints, text T, first bool) (found Topics) {
	var n uint32
	for i := range len(text) {
		if n = n<<5&maxMix | h.folded[text[i]]; n > maxMix {
			if found |= h.single[text[i]]; first {
				return found
			}
			n &= maxMix
		}
		if h.starts[n/64]&(1<<(n%64)) != 0 && i > 1 {
			for _, t := range h.groups[h.group[n]] {
				if rest := text[i-2:]; len(t.text) <= len(rest) && equalFold(t.text, rest[:len(t.text)]) {
					found |= t.about
				}
			}
			if first && found != 0 {
				return found
			}
		}
	}
	for _, t := range h.short {
		if n := len(text) - len(t.text); n >= 0 && equalFold(t.text, text[n:]) {
			found |= t.about
		}
	}
	return found
}

func equalFold[T string | []byte](hint string, text T) bool {
	for i := range len(hint) {
		if lower[text[i]] != hint[i] {
			return false
		}
	}
	return true
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lower[b[i]]
	}
	return string(b)
}

// lower maps bytes to lower case, as far as they are ASCII.
var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		table[c] = byte(c) + 'a' - 'A'
	}
	return table
}()

// Anything are hints of which one is in each text that holds a secret, but for
// those of the operator.
var Anything = func() *Hints {
	h := NewHints()
	h.Add(AboutNames, names.Hints()...)
	h.Add(AboutPrograms, programs...)
	h.Add(AboutAddresses, "@", "://")
	// Escapes of JSON stand between in raw text, or in place of what is looked for.
	h.Add(aboutEscapes, `"kty"`, `kty\"`, `auth\"`, `\" \"`, `\\u00`)
	for n, f := range All {
		h.Add(AboutForm(n), f.needs...)
	}
	return h
}()

// MinPlain and maxPlain are how long what isPlain knows is.
const MinPlain, MaxPlain = 8, 64

// plain has the bytes of UUIDs, hashes, addresses, numbers and times. No hint of
// MinPlain bytes is made of them alone that is in a text with a secret of up to maxPlain.
var plain = func() (table [256]bool) {
	for _, c := range []byte("0123456789abcdef-:.TZ+\"") {
		table[c] = true
	}
	return table
}()

// IsPlain knows most of what identifies and measures, which holds no secret that shows,
// more quickly than by looking for hints.
func IsPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if !plain[text[i]] {
			return false
		}
	}
	return true
}
