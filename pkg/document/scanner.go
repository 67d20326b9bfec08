package document

// scanner takes JSON text apart and holds it against the grammar (RFC 8259). Its
// methods begin at the next byte, behind white space.
type scanner struct {
	doc []byte
	at  int
}

// peek goes over white space and returns the byte that is next, or 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.doc) {
		switch c := s.doc[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// form is what a string has in it. What is escaped may be beyond ASCII, too.
type form uint8

const (
	plain form = iota
	beyondASCII
	escaped
)

// special are the bytes that a string cannot simply have in it.
var special = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c >= 0x80 || c == '"' || c == '\\'
	}
	return
}()

// quote goes over a string and returns it as it is written. Whether its bytes are
// UTF-8, and its surrogates pairs, is not looked at.
func (s *scanner) quote() (raw []byte, f form, ok bool) {
	if s.at >= len(s.doc) || s.doc[s.at] != '"' {
		return nil, plain, false
	}
	doc := s.doc
	for i := s.at + 1; i < len(doc); i++ {
		c := doc[i]
		if !special[c] {
			continue
		}
		switch {
		case c == '"':
			raw = doc[s.at : i+1]
			s.at = i + 1
			return raw, f, true
		case c == '\\':
			n := escape(doc[i+1:])
			if n == 0 {
				return nil, f, false
			}
			f, i = escaped, i+n
		case c >= 0x80:
			f = max(f, beyondASCII)
		default:
			return nil, f, false
		}
	}
	return nil, f, false
}

// escape returns how many bytes behind a backslash belong to it; 0 is an error.
func escape(s []byte) int {
	if len(s) == 0 {
		return 0
	}
	switch s[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(s) < 5 {
			return 0
		}
		for _, c := range s[1:5] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return 0
			}
		}
		return 5
	}
	return 0
}

// scalar goes over a number, true, false or null.
func (s *scanner) scalar() bool {
	if s.at >= len(s.doc) {
		return false
	}
	switch s.doc[s.at] {
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

func (s *scanner) word(w string) bool {
	end := s.at + len(w)
	if end > len(s.doc) || string(s.doc[s.at:end]) != w {
		return false
	}
	s.at = end
	return true
}

func (s *scanner) number() bool {
	if s.next('-') {
		s.at++
	}
	if s.next('0') {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.next('.') {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if s.next('e') || s.next('E') {
		s.at++
		if s.next('+') || s.next('-') {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) next(c byte) bool { return s.at < len(s.doc) && s.doc[s.at] == c }

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.doc) && s.doc[s.at] >= '0' && s.doc[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}
