package export

import (
	"bufio"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// csvEncoder writes RFC 4180: lines end with CR LF, and a value is quoted where it must be.
// Line ends in values stay as they are, which encoding/csv does not allow.
type csvEncoder struct {
	out      *bufio.Writer
	location *time.Location
	plain    bool
	line     []byte
}

func newCSV(out io.Writer, o Options) *csvEncoder {
	return &csvEncoder{out: bufio.NewWriterSize(out, 64<<10), location: o.Location, plain: o.Plain}
}

func (e *csvEncoder) table(_ string, columns []Column) error {
	header := make([]any, len(columns))
	for i, c := range columns {
		header[i] = c.Name
	}
	return e.row(header)
}

func (e *csvEncoder) row(values []any) error {
	e.line = e.line[:0]
	for i, v := range values {
		if i > 0 {
			e.line = append(e.line, ',')
		}
		if v == nil {
			// Nothing is null, and "" the empty text. A line must not be empty.
			if len(values) == 1 {
				e.line = append(e.line, `""`...)
			}
			continue
		}
		text, err := textOf(v, e.location)
		if err != nil {
			return err
		}
		if _, ok := v.(string); ok && !e.plain {
			text = Guard(text)
		}
		e.line = appendCSV(e.line, text)
	}
	e.line = append(e.line, '\r', '\n')
	_, err := e.out.Write(e.line)
	return err
}

// appendCSV quotes what must be, and \N, which ClickHouse takes for null without quotes.
func appendCSV(line []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\r\n") && text[0] != ' ' && text[0] != '\\' && text[len(text)-1] != ' ' {
		return append(line, text...)
	}
	line = append(line, '"')
	line = append(line, strings.ReplaceAll(text, `"`, `""`)...)
	return append(line, '"')
}

func (e *csvEncoder) close() ([]string, error) { return nil, e.out.Flush() }
func (e *csvEncoder) discard() error           { return nil }

// harmless are texts that a spreadsheet takes for a number though they begin like a
// formula.
var harmless = regexp.MustCompile(`^[-+][0-9]+(\.[0-9]+)?$`)

// Guard returns a text so that no spreadsheet takes it for a formula: with a ' in
// front if it begins with one of = + - @, one of their wide forms, a tab, CR or LF.
// What begins with a ' gets one as well, so that a ' in front is always the guard's:
// a program that takes it away has the text again. Numbers stay as they are.
func Guard(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	if text == "" || !strings.ContainsRune("=+-@\t\r\n'＝＋－＠", first) || harmless.MatchString(text) {
		return text
	}
	return "'" + text
}
