package kinds

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
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// maxText is the size of the longest text that is taken.
const maxText = 16 << 10

// dropped are members that are left out at any depth: addresses of the API
// itself, which depend on who asks, and what lets somebody into a volume.
var dropped = []string{"links", "connection_info", "connector", "adminPass", "private_key"}

// sized are members whose texts and objects hold what a machine is first booted
// with, or the contents of files. What is told of them is their size.
var sized = []string{
	"user_data", "OS-EXT-SRV-ATTR:user_data", "userdata", "personality", "configdrive", "config_drive_data", "files", "template",
	"environment_files", "payload",
}

// maxDepth is how deeply an element may be nested. What a service sends is some
// ten deep.
const maxDepth = 100

// Document returns an element as a document: without what must not leave the
// site, and with what was derived. What shows by the name of a key, or by the form of
// a text, is left to the redaction that every document passes later.
//
// A document has no name twice, and nothing in it that is not UTF-8. Of members of
// one name the first is taken.
func (k *Kind) Document(raw jsontext.Value, derived document.Object) (jsontext.Value, error) {
	s := scrubber{kind: k, dec: jsontext.NewDecoder(bytes.NewBuffer(raw)), out: make([]byte, 0, len(raw)+512)}
	err := s.document()
	if err != nil {
		// Seldom is it the names or the texts; it costs to look at each of them.
		s.out, s.depth, s.mend = s.out[:0], 0, true
		s.dec = jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		err = s.document()
	}
	if err != nil {
		return nil, fmt.Errorf("taking secrets out of one of %s: %w", k, err)
	}
	if len(derived) == 0 {
		return s.out, nil
	}
	facts, err := json.Marshal(derived)
	if err != nil {
		return nil, fmt.Errorf("encoding what was derived: %w", err)
	}
	whole := bytes.TrimSuffix(s.out, []byte("}"))
	if len(whole) > 1 {
		whole = append(whole, ',')
	}
	whole = append(append(whole, `"derived":`...), facts...)
	return append(whole, '}'), nil
}

type scrubber struct {
	kind  *Kind
	dec   *jsontext.Decoder
	out   []byte
	depth int
	// mend says that names come twice, or that texts are not UTF-8.
	mend bool
}

func (s *scrubber) document() error {
	if kind := s.dec.PeekKind(); kind != '{' {
		if _, err := s.dec.ReadToken(); err != nil {
			return err
		}
		return errors.New("it is not a JSON object")
	}
	if err := s.value(); err != nil {
		return err
	}
	if _, err := s.dec.ReadToken(); err != io.EOF { //nolint:errorlint // a wrapped one is no clean end
		return errors.New("it is more than one JSON value")
	}
	return nil
}

func (s *scrubber) value() error {
	switch s.dec.PeekKind() {
	case '{', '[':
		if s.depth++; s.depth > maxDepth {
			return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
		}
		defer func() { s.depth-- }()
		if s.dec.PeekKind() == '{' {
			return s.object()
		}
		return s.array()
	}
	raw, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	s.scalar(raw)
	return nil
}

func (s *scrubber) scalar(raw jsontext.Value) {
	if raw.Kind() == '"' && (s.mend || len(raw) > len(`"#!/"`)) {
		text := unquote(raw)
		if len(text) > maxText || boots(text) {
			s.size(len(text))
			return
		}
		if s.mend {
			s.out, _ = jsontext.AppendQuote(s.out, text)
			return
		}
	}
	s.out = append(s.out, raw...)
}

// unquote returns what a JSON text says. Most have no escapes.
func unquote(raw []byte) []byte {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner
	}
	text, _ := jsontext.AppendUnquote(nil, raw) // an error tells of what is not UTF-8, which is replaced
	return text
}

// heads are what the data begins with that machines are first booted with, as
// cloud-init, cloudbase-init and Ignition take it.
var heads = []string{
	"#cloud-config", "#cloud-boothook", "#include", "#part-handler", "#upstart-job", "#!/", "## template:", "Content-Type: multipart",
	"MIME-Version: ", "#ps1", "rem cmd", "<powershell>", "<script>", "\x1f\x8b\x08",
}

// boots reports whether a text is what a machine is first booted with, also in
// base64: under whatever name it was put.
func boots(text []byte) bool {
	if begins(text) {
		return true
	}
	// The start shows whether all of it need be decoded. Base64 is written in lines, too.
	var start [64]byte
	n := 0
	for _, c := range text {
		if n == len(start) {
			break
		}
		if !isSpace(c) {
			start[n] = c
			n++
		}
	}
	var decoded [48]byte
	m, err := base64.RawStdEncoding.Decode(decoded[:], bytes.TrimRight(start[:n], "="))
	if err != nil || m == 0 {
		return false
	}
	if decoded[0] == '{' || decoded[0] == 'F' {
		whole := bytes.Map(func(r rune) rune {
			if r < utf8.RuneSelf && isSpace(byte(r)) {
				return -1
			}
			return r
		}, text)
		decoded, err := base64.RawStdEncoding.AppendDecode(nil, bytes.TrimRight(whole, "="))
		return err == nil && begins(decoded)
	}
	return begins(decoded[:m])
}

func isSpace(c byte) bool { return c == '\n' || c == '\r' || c == ' ' || c == '\t' }

// ignition is in every configuration of Ignition, and parts in the head of what
// has several parts.
var (
	ignition = regexp.MustCompile(`"ignition"\s*:\s*\{`)
	parts    = regexp.MustCompile(`(?i)\n(?:content-type:\s*multipart|mime-version:)`)
)

func begins(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n\ufeff")
	if len(text) == 0 {
		return false
	}
	switch text[0] {
	case '#', 'C', 'M', 'r', '<', 0x1f:
		return slices.ContainsFunc(heads, func(head string) bool { return bytes.HasPrefix(text, []byte(head)) })
	case 'F':
		return bytes.HasPrefix(text, []byte("From ")) && parts.Match(text[:min(len(text), 4<<10)])
	case '{':
		return bytes.Contains(text, []byte(`"ignition"`)) && ignition.Match(text)
	}
	return false
}

func (s *scrubber) size(n int) {
	s.out = append(s.out, `{"bytes":`...)
	s.out = strconv.AppendInt(s.out, int64(n), 10)
	s.out = append(s.out, '}')
}

func (s *scrubber) array() error {
	if err := s.token('['); err != nil {
		return err
	}
	for n := 0; s.dec.PeekKind() != ']'; n++ {
		if n > 0 {
			s.out = append(s.out, ',')
		}
		if err := s.value(); err != nil {
			return err
		}
	}
	return s.token(']')
}

func (s *scrubber) object() error {
	if err := s.token('{'); err != nil {
		return err
	}
	var seen map[string]bool
	for n := 0; s.dec.PeekKind() != '}'; {
		name, err := s.dec.ReadValue()
		if err != nil {
			return err
		}
		key := string(unquote(name))
		if s.kind.drops(key) || s.depth == 1 && key == "derived" || seen[key] {
			if err := s.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if n++; n > 1 {
			s.out = append(s.out, ',')
		}
		if s.mend {
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[strings.Clone(key)] = true
			s.out, _ = jsontext.AppendQuote(s.out, key)
		} else {
			s.out = append(s.out, name...)
		}
		s.out = append(s.out, ':')
		if !slices.Contains(sized, key) {
			if err := s.value(); err != nil {
				return err
			}
			continue
		}
		raw, err := s.dec.ReadValue()
		if err != nil {
			return err
		}
		switch raw.Kind() {
		case 'n', 't', 'f', '0':
			s.out = append(s.out, raw...)
		default:
			s.size(sizeOf(raw))
		}
	}
	return s.token('}')
}

// drops reports whether a member of that name is left out.
func (k *Kind) drops(key string) bool {
	return slices.Contains(dropped, key) || slices.Contains(k.drop, key) || strings.HasSuffix(key, "_links")
}

// sizeOf returns the size of what a text has in base64, or else of the value.
func sizeOf(raw jsontext.Value) int {
	if raw.Kind() == '"' {
		text := unquote(raw)
		if decoded, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
			return len(decoded)
		}
		return len(text)
	}
	return len(raw)
}

func (s *scrubber) token(want byte) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	s.out = append(s.out, want)
	return nil
}
