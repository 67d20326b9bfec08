package output

import (
	"bytes"

	"google.golang.org/protobuf/proto"
)

// Column is a column of a table of T.
type Column[T any] struct {
	Heading string
	// Only, if set, is the only one of the formats Table and Wide that has the
	// column.
	Only  Format
	Value func(T) string
	// Color may be nil.
	Color func(T) Color
}

// List writes a list that comes in pages, each page as it comes. Close must be
// called in the end, unless there was an error.
type List[T proto.Message] struct {
	printer *Printer
	name    string
	columns []Column[T]
	table   table
	count   int
}

// NewList returns a list that the formats JSON and YAML write as the field name
// of one object, and that the others write as a table of the columns.
func NewList[T proto.Message](p *Printer, name string, columns []Column[T]) *List[T] {
	l := &List[T]{printer: p, name: name, table: table{color: p.Color}}
	for _, c := range columns {
		if c.Only == "" || c.Only == p.Format {
			l.columns = append(l.columns, c)
		}
	}
	return l
}

// Count returns how many items were written.
func (l *List[T]) Count() int { return l.count }

// Write writes a page.
func (l *List[T]) Write(page []T) error {
	if len(page) == 0 {
		return nil
	}
	var b bytes.Buffer
	var err error
	switch l.printer.Format {
	case JSON:
		err = l.writeJSON(&b, page)
	case YAML:
		err = l.writeYAML(&b, page)
	default:
		l.writeTable(&b, page)
	}
	if err != nil {
		return err
	}
	l.count += len(page)
	return l.printer.write(b.Bytes())
}

// Close writes what belongs behind the last page.
func (l *List[T]) Close() error {
	end := ""
	switch {
	case l.printer.Format == JSON && l.count == 0:
		end = "{\n  \"" + l.name + "\": []\n}\n"
	case l.printer.Format == JSON:
		end = "\n  ]\n}\n"
	case l.printer.Format == YAML && l.count == 0:
		end = l.name + ": []\n"
	}
	return l.printer.write([]byte(end))
}

func (l *List[T]) writeJSON(b *bytes.Buffer, page []T) error {
	for i, item := range page {
		if l.count+i == 0 {
			b.WriteString("{\n  \"" + l.name + "\": [\n    ")
		} else {
			b.WriteString(",\n    ")
		}
		text, err := Marshal(item)
		if err != nil {
			return err
		}
		if text, err = indentJSON(text, "    "); err != nil {
			return err
		}
		b.Write(text)
	}
	return nil
}

func (l *List[T]) writeYAML(b *bytes.Buffer, page []T) error {
	if l.count == 0 {
		b.WriteString(l.name + ":\n")
	}
	for _, item := range page {
		text, err := Marshal(item)
		if err != nil {
			return err
		}
		// A list of one, because an item begins with its dash.
		text, err = appendYAML(b.AvailableBuffer(), append(append([]byte{'['}, text...), ']'), 0)
		if err != nil {
			return err
		}
		b.Write(text)
	}
	return nil
}

func (l *List[T]) writeTable(b *bytes.Buffer, page []T) {
	if l.count == 0 && !l.printer.NoHeaders {
		l.table.add(l.headings())
	}
	for _, item := range page {
		row := make([]cell, len(l.columns))
		for i, c := range l.columns {
			row[i] = textCell(c.Value(item))
			if c.Color != nil {
				row[i].color = c.Color(item)
			}
		}
		l.table.add(row)
	}
	l.table.flush(b)
}

func (l *List[T]) headings() []cell {
	row := make([]cell, len(l.columns))
	for i, c := range l.columns {
		row[i] = textCell(c.Heading)
	}
	return row
}
