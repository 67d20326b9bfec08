package redact

import (
	"slices"
	"strings"
)

// topics are what a text may be about, a bit each.
type topics uint64

const (
	aboutNames topics = 1 << iota
	aboutPrograms
	aboutAddresses
	aboutEscapes
	// aboutForms is the bit of the first of forms. Others follow.
	aboutForms
)

// hint is a text, in small letters, that is in all texts about something.
type hint struct {
	text  string
	about topics
}

// hints are looked for in any case, all at once. Looking for them first keeps
// what takes longer away from nearly all text.
type hints struct {
	// folded has for each byte what it counts for: a letter in either case for one of
	// 26, all others for one of a few; and more than maxMix for a hint of one byte,
	// of which single has the topics.
	folded [256]uint32
	single [256]topics
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

func newHints() *hints {
	h := &hints{groups: make([][]hint, 1)}
	for c := range h.folded {
		h.folded[c] = class(byte(c))
	}
	return h
}

func (h *hints) add(about topics, texts ...string) {
	for _, t := range texts {
		t = strings.ToLower(t)
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
func (h *hints) start(t string, of hint) {
	n := class(t[0])<<10 | class(t[1])<<5 | class(t[2])
	if h.starts[n/64] |= 1 << (n % 64); h.group[n] == 0 {
		h.group[n] = uint16(len(h.groups))
		h.groups = append(h.groups, nil)
	}
	if group := &h.groups[h.group[n]]; !slices.Contains(*group, of) {
		*group = append(*group, of)
	}
}

// in reports whether any of the hints is in a text.
func (h *hints) in(text []byte) bool { return seek(h, text, true) != 0 }

// about returns what a text may be about.
func (h *hints) about(text string) topics { return seek(h, text, false) }

// seek looks for all hints, or for the first.
func seek[T string | []byte](h *hints, text T, first bool) (found topics) {
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
