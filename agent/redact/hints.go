package redact

import (
	"slices"
	"strings"
)

// hints are texts that are looked for in any case.
type hints struct {
	texts []string
	// folded has for each byte what it counts for: that of a small letter for a
	// capital, and more than maxMix for one that is a hint by itself.
	folded *[256]uint32
	// starts has a bit for what is mixed from three bytes that a hint begins with,
	// and groups the hints of each.
	starts *[(maxMix + 1) / 64]uint64
	groups map[uint32][]string
	// short are those of two bytes, which starts does not show at the end of a text.
	short []string
}

// maxMix is the largest that is mixed from three bytes. Of small letters no
// three make the same as others do.
const maxMix = 1<<15 - 1

func newHints(texts ...string) hints {
	h := hints{texts: texts, folded: new([256]uint32), starts: new([(maxMix + 1) / 64]uint64), groups: make(map[uint32][]string)}
	for c := range h.folded {
		h.folded[c] = uint32(lower[c])
	}
	for _, t := range texts {
		t = strings.ToLower(t)
		switch len(t) {
		case 1:
			h.folded[t[0]], h.folded[strings.ToUpper(t)[0]] = maxMix+1, maxMix+1
		case 2:
			for c := range lower {
				h.start(t+string([]byte{lower[c]}), t)
			}
			h.short = append(h.short, t)
		default:
			h.start(t, t)
		}
	}
	return h
}

// start notes what a hint begins with.
func (h hints) start(t, hint string) {
	n := (uint32(t[0])<<10 ^ uint32(t[1])<<5 ^ uint32(t[2])) & maxMix
	h.starts[n/64] |= 1 << (n % 64)
	if !slices.Contains(h.groups[n], hint) {
		h.groups[n] = append(h.groups[n], hint)
	}
}

// in reports whether any of the texts is in a text.
func (h hints) in(text []byte) bool {
	if h.starts == nil {
		return false
	}
	var n uint32
	for i, c := range text {
		if n = n<<5&maxMix ^ h.folded[c]; n > maxMix {
			return true
		}
		if h.starts[n/64]&(1<<(n%64)) != 0 && i > 1 && h.begin(n, text[i-2:]) {
			return true
		}
	}
	for _, t := range h.short {
		if n := len(text) - len(t); n >= 0 && equalFold(t, text[n:]) {
			return true
		}
	}
	return false
}

// begin reports whether a text begins with any of the hints of a group.
func (h hints) begin(n uint32, text []byte) bool {
	for _, t := range h.groups[n] {
		if len(t) <= len(text) && equalFold(t, text[:len(t)]) {
			return true
		}
	}
	return false
}

func equalFold(hint string, text []byte) bool {
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
