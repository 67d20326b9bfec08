package output

import (
	"bytes"
	"slices"
)

// Color is the colour of a table's cell, where colours are shown.
type Color int

// The colours.
const (
	NoColor Color = iota
	Red
	Green
	Yellow
)

func (c Color) sequence() string {
	switch c {
	case Red:
		return "\x1b[31m"
	case Green:
		return "\x1b[32m"
	case Yellow:
		return "\x1b[33m"
	default:
		return ""
	}
}

const (
	columnGap = 3
	// A cell that is wider than this runs over, so that one absurd name does
	// not push apart every line.
	maxPad = 100
)

// table aligns rows in columns. It remembers the widths from one flush to the
// next, so that a long list can be written page by page.
type table struct {
	indent int
	color  bool
	widths []int
	rows   [][]cell
}

type cell struct {
	text  string
	color Color
}

func textCell(s string) cell {
	if s == "" {
		s = "-"
	}
	return cell{text: Escape(s)}
}

// add takes a row.
func (t *table) add(row []cell) {
	t.rows = append(t.rows, row)
	for i, c := range row {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		if w := displayWidth(c.text); w <= maxPad {
			t.widths[i] = max(t.widths[i], w)
		}
	}
}

// flush appends the rows taken so far to b and forgets them.
func (t *table) flush(b *bytes.Buffer) {
	for _, row := range t.rows {
		pad(b, t.indent)
		for i, c := range row {
			sequence := c.color.sequence()
			if !t.color {
				sequence = ""
			}
			b.WriteString(sequence)
			b.WriteString(c.text)
			if sequence != "" {
				b.WriteString("\x1b[0m")
			}
			if i+1 < len(row) {
				pad(b, max(t.widths[i]-displayWidth(c.text), 0)+columnGap)
			}
		}
		b.WriteByte('\n')
	}
	t.rows = slices.Delete(t.rows, 0, len(t.rows))
}

func pad(b *bytes.Buffer, n int) {
	for range n {
		b.WriteByte(' ')
	}
}
