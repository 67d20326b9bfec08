package output

import (
	"bytes"

	"google.golang.org/protobuf/proto"
)

// Details writes one thing for people: fields, then sections. Close writes it
// all.
type Details struct {
	printer *Printer
	fields  table
	text    bytes.Buffer
}

// NewDetails returns empty details.
func NewDetails(p *Printer) *Details {
	return &Details{printer: p, fields: table{color: p.Color}}
}

// Field adds a line with a name and a value. Several values take a line each.
// Without a value there is no line.
func (d *Details) Field(name string, values ...string) {
	d.ColoredField(name, NoColor, values...)
}

// ColoredField is Field with a colour for the values.
func (d *Details) ColoredField(name string, color Color, values ...string) {
	name += ":"
	for _, value := range values {
		if value == "" {
			continue
		}
		d.fields.add([]cell{{text: name}, {text: Escape(value), color: color}})
		name = ""
	}
}

// Section adds a heading and rows below it.
func (d *Details) Section(heading string, columns []string, rows [][]string) {
	d.fields.flush(&d.text)
	d.text.WriteString(Escape(heading) + ":\n")
	d.printer.appendRows(&d.text, 2, columns, rows)
}

// Lines adds a heading and lines below it.
func (d *Details) Lines(heading string, lines []string) {
	d.fields.flush(&d.text)
	d.text.WriteString(Escape(heading) + ":\n")
	for _, line := range lines {
		d.text.WriteString("  " + Escape(line) + "\n")
	}
}

// Message adds a heading and a message, as YAML, below it.
func (d *Details) Message(heading string, m proto.Message) error {
	d.fields.flush(&d.text)
	text, err := Marshal(m)
	if err != nil {
		return err
	}
	if text, err = appendYAML(nil, text, 2); err != nil {
		return err
	}
	d.text.WriteString(heading + ":\n")
	d.text.Write(text)
	return nil
}

// Close writes the details.
func (d *Details) Close() error {
	d.fields.flush(&d.text)
	return d.printer.write(d.text.Bytes())
}

// Rows writes a table that is no list of messages.
func (p *Printer) Rows(columns []string, rows [][]string) error {
	var b bytes.Buffer
	p.appendRows(&b, 0, columns, rows)
	return p.write(b.Bytes())
}

func (p *Printer) appendRows(b *bytes.Buffer, indent int, columns []string, rows [][]string) {
	t := table{indent: indent}
	if !p.NoHeaders {
		rows = append([][]string{columns}, rows...)
	}
	for _, row := range rows {
		cells := make([]cell, len(row))
		for i, value := range row {
			cells[i] = textCell(value)
		}
		t.add(cells)
	}
	t.flush(b)
}
