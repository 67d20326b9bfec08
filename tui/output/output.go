// Package output writes what the API answers: as a table for people, as JSON or
// YAML for programs.
//
// JSON and YAML are the protobuf JSON mapping of the API's messages with the
// field names of the .proto files, and with fields present also where they hold
// their default. They are stable: the same message gives the same bytes. Tables
// are for people only.
package output

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// Format is how to write an answer.
type Format string

// The formats. Wide is the table with more columns and with full times.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
	// JSONL is an object a line, for rows without a message; Printer does not write it.
	JSONL Format = "jsonl"
	// CSV is for rows without a message; Printer does not write it.
	CSV Format = "csv"
	// Name is the uids of assets, a line each.
	Name Format = "name"
	// Tree, Dot (of Graphviz) and Mermaid are for graphs; Printer writes their lines.
	Tree    Format = "tree"
	Dot     Format = "dot"
	Mermaid Format = "mermaid"
)

// ParseFormat returns the named format if it is one of those allowed.
func ParseFormat(name string, allowed ...Format) (Format, error) {
	if f := Format(name); slices.Contains(allowed, f) {
		return f, nil
	}
	names := make([]string, len(allowed))
	for i, f := range allowed {
		names[i] = string(f)
	}
	return "", fmt.Errorf("output format %q: must be one of %s%s", name, strings.Join(names, ", "), nearest.Hint(name, names))
}

// Printer writes answers in one format.
type Printer struct {
	Writer io.Writer
	Format Format
	// NoHeaders leaves the headings of tables out.
	NoHeaders bool
	// Color allows colours in tables.
	Color bool
	// Now is the moment that ages are told from.
	Now time.Time
}

// Lines writes lines of text, with nothing in them that a terminal would obey.
func (p *Printer) Lines(lines []string) error {
	var b []byte
	for _, l := range lines {
		b = append(append(b, Escape(l)...), '\n')
	}
	return p.write(b)
}

// Table writes a table of texts.
func (p *Printer) Table(headings []string, rows [][]string) error {
	t := table{color: p.Color}
	add := func(row []string) {
		cells := make([]cell, len(row))
		for i, text := range row {
			cells[i] = textCell(text)
		}
		t.add(cells)
	}
	if !p.NoHeaders {
		add(headings)
	}
	for _, row := range rows {
		add(row)
	}
	var b bytes.Buffer
	t.flush(&b)
	return p.write(b.Bytes())
}

// Document writes one message in the JSON or YAML format.
func (p *Printer) Document(m proto.Message) error {
	text, err := Marshal(m)
	if err != nil {
		return err
	}
	if p.Format == YAML {
		text, err = appendYAML(nil, text, 0)
	} else {
		text, err = indentJSON(text, "")
		text = append(text, '\n')
	}
	if err != nil {
		return err
	}
	return p.write(text)
}

// Line writes one message as one line of JSON.
func (p *Printer) Line(m proto.Message) error {
	text, err := Marshal(m)
	if err != nil {
		return err
	}
	return p.write(append(text, '\n'))
}

// Time returns a time as tables show it: its age, or in the wide format the
// time itself.
func (p *Printer) Time(t *timestamppb.Timestamp) string {
	switch {
	case t == nil:
		return ""
	case p.Format == Wide:
		return Timestamp(t)
	default:
		return Age(p.Now.Sub(t.AsTime()))
	}
}

// Expiry returns a time at which something ends, as tables show it: what is over
// says so.
func (p *Printer) Expiry(t *timestamppb.Timestamp) string {
	if t == nil || p.Now.Before(t.AsTime()) {
		return p.Time(t)
	}
	return "expired " + p.Moment(t)
}

// Moment returns a time for a sentence: "3m ago", or in the wide format the time
// itself.
func (p *Printer) Moment(t *timestamppb.Timestamp) string {
	if t == nil || p.Format == Wide {
		return Timestamp(t)
	}
	age := p.Time(t)
	if strings.HasPrefix(age, "in ") {
		return age
	}
	return age + " ago"
}

func (p *Printer) write(text []byte) error {
	if _, err := p.Writer.Write(text); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// Timestamp returns a time in the form of RFC 3339, in UTC and to the second.
func Timestamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// Age returns a duration in its largest fitting unit: 45s, 3m, 26h, 5d, 2y. What
// is still to come is "in 5d".
func Age(d time.Duration) string {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	prefix := ""
	if d <= -time.Second {
		prefix, d = "in ", -d
	}
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{year, "y"}, {day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= 2*unit.length {
			return fmt.Sprintf("%s%d%s", prefix, d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%s%ds", prefix, max(d, 0)/time.Second)
}
