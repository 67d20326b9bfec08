package main

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestReadable(t *testing.T) {
	clock := time.Date(2026, 11, 30, 12, 13, 14, 0, time.UTC).Local().Format(time.TimeOnly)
	for line, want := range map[string]string{
		`{"time":"2026-11-30T12:13:14.5Z","level":"INFO","msg":"ready","z":"b","a":1}`: clock + ` ready z=b a=1`,
		`{"level":"ERROR","msg":"no","error":"a \"b\" c","empty":""}`:                  `ERROR no error="a "b" c" empty=""`,
		`{"level":"WARN","msg":"m","o":{"b":[1,"x"],"a":null}}`:                        `WARN m o={"b":[1,"x"],"a":null}`,
		`{"level":"DEBUG","msg":"m","a":1,"a":2}`:                                      `debug m a=1 a=2`,
		`{"msg":"` + "\\u001b[2J" + `","k` + "\\u0007" + `":"v"}`:                      `\x1b[2J k\x07=v`,
		`{}`:                       ``,
		"panic: no\tJSON\x1b[0m\r": `panic: no\x09JSON\x1b[0m`,
		`{"msg":"cut`:              `{"msg":"cut`,
		`[1]`:                      `[1]`,
		`{"msg":1}`:                `1`,
		`{"time":"noon"}`:          ``,
		"{\"msg\":\"\xff\"}":       "\ufffd",
	} {
		if got := (&terminal{}).readable([]byte(line)); got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", line, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	term := &terminal{w: &out}
	l := term.lines("agent")
	for _, piece := range []string{"on", "e\ntwo\n\nthr", "ee"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	l.flush()
	l.flush()
	if want := "agent      one\nagent      two\nagent      \nagent      three\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if _, err := l.Write(make([]byte, 3*maxLine)); err != nil || len(l.rest) > 0 {
		t.Errorf("%d bytes of a line without an end are held, %v", len(l.rest), err)
	}

	gone := 0
	term = &terminal{w: broken{}, gone: func() { gone++ }}
	if n, err := term.lines("agent").Write([]byte("x\n")); n != 2 || err != nil || gone != 1 {
		t.Errorf("nobody reads: got %d, %v, told %d times", n, err, gone)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }
