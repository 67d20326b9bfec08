package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/term"
)

const (
	bold, dim, red, yellow, magenta, cyan = "1", "2", "31", "33", "35", "36"

	width = len("aggregator")
	// maxLine bounds what is held of a line that does not end.
	maxLine = 1 << 20
)

// terminal is what people read: lines of several programs.
type terminal struct {
	colour bool
	gone   func() // called when nobody reads any more

	mu sync.Mutex
	w  io.Writer
}

func newTerminal(f *os.File) *terminal {
	return &terminal{
		w:      f,
		colour: term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

func (t *terminal) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (t *terminal) print(text string) {
	t.mu.Lock()
	_, err := io.WriteString(t.w, text+"\n")
	t.mu.Unlock()
	if err != nil {
		t.gone()
	}
}

func (t *terminal) prefix(name string) string {
	code := map[string]string{"run": bold, "aggregator": cyan, "agent": magenta}[name]
	return t.paint(code, fmt.Sprintf("%-*s", width, name))
}

func (t *terminal) say(text string) { t.print(t.prefix("run") + " " + text) }

// lines takes what a program says.
func (t *terminal) lines(name string) *lines {
	return &lines{terminal: t, prefix: t.prefix(name) + " "}
}

// lines prints whole lines. It never fails: a program is not to end because
// nobody reads what it says.
type lines struct {
	terminal *terminal
	prefix   string
	rest     []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			break
		}
		l.terminal.print(l.prefix + l.terminal.readable(line))
		l.rest = rest
	}
	if len(l.rest) > maxLine {
		l.flush()
	}
	return len(b), nil
}

// flush prints what has no end of line.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.terminal.print(l.prefix + l.terminal.readable(l.rest))
		l.rest = nil
	}
}

var plain = regexp.MustCompile(`^[^\s"=]+$`)

// readable is one line of a program, which logs in JSON, made for people. What
// is not JSON stays as it is.
func (t *terminal) readable(line []byte) string {
	line = bytes.ToValidUTF8(bytes.TrimSuffix(line, []byte("\r")), []byte("\ufffd"))
	decoder := jsontext.NewDecoder(bytes.NewReader(line), jsontext.AllowDuplicateNames(true))
	if open, err := decoder.ReadToken(); err != nil || open.Kind() != '{' {
		return visible(string(line))
	}
	var clock, mark, message, fields string
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return visible(string(line))
		}
		key := name.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return visible(string(line))
		}
		text, isText := string(value), value.Kind() == '"'
		if isText {
			unquoted, err := jsontext.AppendUnquote(nil, value)
			if err != nil {
				return visible(string(line))
			}
			text = string(unquoted)
		}
		switch key {
		case "time":
			if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
				clock = t.paint(dim, at.Local().Format(time.TimeOnly)) + " "
			}
		case "level":
			switch text {
			case "WARN":
				mark = t.paint(yellow, "WARN ")
			case "ERROR":
				mark = t.paint(red, "ERROR ")
			case "DEBUG":
				mark = t.paint(dim, "debug ")
			}
		case "msg":
			message = visible(text)
		default:
			shown := visible(text)
			if isText && !plain.MatchString(text) {
				shown = `"` + shown + `"`
			}
			fields += " " + t.paint(dim, visible(key)+"=") + shown
		}
	}
	return clock + mark + message + fields
}

// visible shows what would steer the terminal.
func visible(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) {
			fmt.Fprintf(&out, `\x%02x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}
