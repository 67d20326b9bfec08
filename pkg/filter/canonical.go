package filter

import "strings"

// Canonical returns the one way of writing what the filter means, with all brackets and quotes. It parses to the same
// tree, and that has the same canonical form. Relative times stay what they are.
func (f *Filter) Canonical() string {
	if f.Root == nil {
		return ""
	}
	return Write(f.Root)
}

// Write returns the canonical form of a tree. It is what Parse makes the same tree of, if the tree keeps to
// what the types say.
func Write(n Node) string {
	var b strings.Builder
	write(&b, n)
	return b.String()
}

// New makes a filter of a tree, and refuses what Parse would.
func New(root Node) (*Filter, error) {
	if root == nil {
		return &Filter{}, nil
	}
	return Parse(Write(root))
}

var opTexts = map[Op]string{Equal: "=", Has: ":", Match: "~", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">="}

// String returns how the operator is written; that of Exists is :*, with its value.
func (o Op) String() string {
	if o == Exists {
		return ":*"
	}
	return opTexts[o]
}

func write(b *strings.Builder, n Node) {
	switch n := n.(type) {
	case *And:
		writeRow(b, n.Nodes, " AND ")
	case *Or:
		writeRow(b, n.Nodes, " OR ")
	case *Not:
		switch c := n.Node.(type) {
		case *Compare:
			if c.Op == Equal {
				c.write(b, "!=")
				return
			}
		case *Related:
			b.WriteString("un")
			write(b, c)
			return
		}
		b.WriteString("NOT ")
		writeInner(b, n.Node)
	case *Word:
		b.WriteString(Quote(n.Text))
	case *Compare:
		n.write(b, n.Op.String())
	case *Related:
		b.WriteString("related(")
		switch {
		case n.Kind == "":
			b.WriteByte('*')
		case plainPick(n.Kind) && !strings.Contains(n.Kind, ":"):
			b.WriteString(n.Kind)
		default:
			b.WriteString(Quote(n.Kind))
		}
		if n.Node != nil {
			b.WriteString(", ")
			write(b, n.Node)
		}
		b.WriteByte(')')
	}
}

func writeRow(b *strings.Builder, nodes []Node, joined string) {
	for i, n := range nodes {
		if i > 0 {
			b.WriteString(joined)
		}
		writeInner(b, n)
	}
}

// writeInner writes a node within another one.
func writeInner(b *strings.Builder, n Node) {
	switch n.(type) {
	case *And, *Or:
		b.WriteByte('(')
		write(b, n)
		b.WriteByte(')')
	default:
		write(b, n)
	}
}

func (c *Compare) write(b *strings.Builder, op string) {
	b.WriteString(c.Field.String())
	b.WriteString(op)
	if len(c.Values) > 1 {
		b.WriteByte('(')
	}
	for i, v := range c.Values {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString(v.quote(c.Op))
	}
	if len(c.Values) > 1 {
		b.WriteByte(')')
	}
}
