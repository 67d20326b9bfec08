package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendYAML appends JSON text as block-style YAML that starts at the given
// column of a fresh line.
//
// It is written here because the answers hold strings that are not to be
// trusted, and YAML encoders write some of them in ways that a terminal obeys or
// a parser reads as something else. Here a string is left bare only where
// nothing can be made of it but a string; all others are quoted as in JSON.
func appendYAML(dst, text []byte, column int) ([]byte, error) {
	e := yamlEncoder{dst: dst, src: json.NewDecoder(bytes.NewReader(text))}
	e.src.UseNumber()
	token, err := e.src.Token()
	if err == nil {
		err = e.block(token, column, false)
	}
	if err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return e.dst, nil
}

type yamlEncoder struct {
	dst []byte
	src *json.Decoder
}

// block writes the value that begins with token and ends the line. Where inLine
// is set, the place for its first line is already there.
func (e *yamlEncoder) block(token json.Token, column int, inLine bool) error {
	open, ok := token.(json.Delim)
	if !ok || !e.src.More() {
		if !inLine {
			e.indent(column)
		}
		if ok {
			return e.empty(open)
		}
		e.scalar(token)
		e.dst = append(e.dst, '\n')
		return nil
	}
	for e.src.More() {
		if !inLine {
			e.indent(column)
		}
		inLine = false
		entry := e.item
		if open == '{' {
			entry = e.pair
		}
		if err := entry(column); err != nil {
			return err
		}
	}
	_, err := e.src.Token()
	return err
}

func (e *yamlEncoder) item(column int) error {
	e.dst = append(e.dst, "- "...)
	token, err := e.src.Token()
	if err != nil {
		return err
	}
	return e.block(token, column+2, true)
}

func (e *yamlEncoder) pair(column int) error {
	key, err := e.src.Token()
	if err != nil {
		return err
	}
	e.scalar(key)
	e.dst = append(e.dst, ':')
	token, err := e.src.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok || !e.src.More() {
		e.dst = append(e.dst, ' ')
		return e.block(token, column, true)
	}
	e.dst = append(e.dst, '\n')
	if open == '{' {
		column += 2
	}
	return e.block(token, column, false)
}

func (e *yamlEncoder) empty(open json.Delim) error {
	if open == '{' {
		e.dst = append(e.dst, "{}\n"...)
	} else {
		e.dst = append(e.dst, "[]\n"...)
	}
	_, err := e.src.Token()
	return err
}

func (e *yamlEncoder) indent(column int) {
	for range column {
		e.dst = append(e.dst, ' ')
	}
}

func (e *yamlEncoder) scalar(token json.Token) {
	switch v := token.(type) {
	case nil:
		e.dst = append(e.dst, "null"...)
	case bool:
		e.dst = fmt.Append(e.dst, v)
	case json.Number:
		e.dst = append(e.dst, v...)
	case string:
		if plainYAML(v) {
			e.dst = append(e.dst, v...)
		} else {
			e.dst = appendQuotedYAML(e.dst, v)
		}
	}
}

// plainYAML reports whether a bare s can be read only as the string s.
func plainYAML(s string) bool {
	if len(s) == 0 || len(s) > 256 {
		return false
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	previous := rune(0)
	for i, r := range s {
		switch {
		case unicode.IsLetter(r), r == '_', r == '/' && s != "/":
		case i == 0:
			return false
		case r >= '0' && r <= '9', strings.ContainsRune(".-+=@", r):
		case r == ':' && i+1 < len(s) && s[i+1] != ' ' && s[i+1] != ':':
		case r == ' ' && previous != ' ' && i+1 < len(s):
		default:
			return false
		}
		previous = r
	}
	return true
}

// appendQuotedYAML appends s in double quotes, with what is not printable
// escaped.
func appendQuotedYAML(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r > 0xffff:
			dst = fmt.Appendf(dst, `\U%08x`, r)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return append(dst, '"')
}
