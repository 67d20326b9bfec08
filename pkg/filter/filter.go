// Package filter is the language in which people and programs ask for assets:
// AIP-160 with a little sugar, as docs/filter.md describes it.
//
//	type:pod status:(Pending OR Failed) spec.nodeName=n7 updated>-7d -site:lab
//
// There is one grammar and one parser, and all who ask use them: [Parse] makes a
// tree of a text, or says what is wrong, where, and how to mend it; [Filter.Canonical]
// is the one way of writing what a filter means; [Filter.Match] holds it against an
// asset in memory; [Complete] says what may stand where somebody types.
//
// Whoever turns a tree into something else, such as SQL, needs no more than the
// nodes below, [Compare.Bound], and the functions that say what a text is as a
// number, a moment or a duration: [Number], [Moment] and [Duration]. They are total and small,
// so that both sides can do exactly the same.
//
// All offsets are in bytes.
package filter

// What a filter may be at most. What passes them is refused, with its place.
const (
	// MaxSize is the length of the text in bytes.
	MaxSize = 8 << 10
	// MaxDepth is how deeply brackets and negations are nested.
	MaxDepth = 32
	// MaxTerms is how many words, comparisons and relations there are.
	MaxTerms = 200
	// MaxValues is how many values the lists have together.
	MaxValues = 1000
	// MaxExpressions is how many regular expressions there are.
	MaxExpressions = 20
	// MaxSteps is how many relations are asked for one within another: so many steps away
	// is what is asked of.
	MaxSteps = 4
)

// Filter is a question, parsed. It does not change, so several goroutines may use it.
type Filter struct {
	// Root is what an asset must be. Nil is a filter that every asset passes.
	Root Node
	// Warnings are what is probably meant otherwise than it is written.
	Warnings []*Error
}

// Node is one of [*And], [*Or], [*Not], [*Word], [*Compare] and [*Related].
type Node interface {
	// Span is where in the text it was written. Nodes that were not parsed have none.
	Span() (start, end int)
	node()
}

// Pos is the place of a node in the text.
type Pos struct{ Start, End int }

// Span returns the place.
func (p Pos) Span() (start, end int) { return p.Start, p.End }

// And holds where all of its nodes do. There are two at least, none of which is an And.
type And struct {
	Pos
	Nodes []Node
}

// Or holds where one of its nodes does. There are two at least, none of which is an Or.
type Or struct {
	Pos
	Nodes []Node
}

// Not holds exactly where its node, which is no Not, does not. x!=1 is one, too.
type Not struct {
	Pos
	Node Node
}

// Word holds where the text that searches look at contains it, in any case ([Fold]): see
// [SearchText].
type Word struct {
	Pos
	Text string

	folded string
}

// Compare holds where one value of the field is as the operator says beside one of Values.
type Compare struct {
	Pos
	Field Field
	Op    Op
	// Values is empty for Exists, may be more than one for Equal and Has, and is one for
	// all others.
	Values []Value

	prepared *prepared
}

// Op is an operator.
type Op uint8

// The operators. != is Not of Equal.
const (
	// Exists (x:*) holds where there is any value. A path of the document has one where
	// there is one at any path below it, too.
	Exists Op = iota + 1
	// Equal (=) holds where a value is the same text. Empty values are only asked of
	// labels: no other field has one.
	Equal
	// Has (:) holds where a value contains the text, in any case. A path of the document has it
	// where there is a member of that name, too.
	Has
	// Match (~) holds where a regular expression finds something in a value.
	Match
	// Less and those that follow compare as Bound says.
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Ordering reports whether the operator asks which of two is more.
func (o Op) Ordering() bool { return o >= Less }

// Value is what a field is held against.
type Value struct {
	// Text is never folded. Of Match it is a regular expression that Go and RE2
	// understand alike, with . for line breaks, too.
	Text string
	// Before and After say that something may stand before and behind the text: there was a *.
	// Only Equal and Has have them. A Has with one of them is anchored at the other end; with none
	// or both it is not.
	Before, After bool
}

// Related holds where an asset has a relation to one that Node holds for: in either direction, one
// step away. unrelated(...) is Not of it.
type Related struct {
	Pos
	// Kind is that of the relation; empty is any.
	Kind string
	// Node is what the other asset must be. Nil is anything, also an asset that nobody has
	// seen. A Related in it asks for the other asset's relations: there are up to MaxSteps
	// within each other.
	Node Node
}

func (*And) node()     {}
func (*Or) node()      {}
func (*Not) node()     {}
func (*Word) node()    {}
func (*Compare) node() {}
func (*Related) node() {}

// Walk calls visit for a node and all within it, parents first. What is within a node for which
// visit returns false is passed over.
func Walk(n Node, visit func(Node) bool) {
	if n == nil || !visit(n) {
		return
	}
	for _, c := range within(n) {
		Walk(c, visit)
	}
}

// within returns the nodes that a node is made of.
func within(n Node) []Node {
	switch n := n.(type) {
	case *And:
		return n.Nodes
	case *Or:
		return n.Nodes
	case *Not:
		return []Node{n.Node}
	case *Related:
		if n.Node != nil {
			return []Node{n.Node}
		}
	}
	return nil
}

// both returns what holds where all nodes do, and either where one does. Nodes of their own kind
// are taken apart: brackets within a row of ANDs say nothing.
func both(p Pos, nodes ...Node) Node {
	flat := flatten[*And](nodes)
	if len(flat) == 1 {
		return flat[0]
	}
	return &And{p, flat}
}

func either(p Pos, nodes ...Node) Node {
	flat := flatten[*Or](nodes)
	if len(flat) == 1 {
		return flat[0]
	}
	return &Or{p, flat}
}

func flatten[Row Node](nodes []Node) []Node {
	var flat []Node
	for _, n := range nodes {
		if row, ok := n.(Row); ok {
			flat = append(flat, within(row)...)
		} else {
			flat = append(flat, n)
		}
	}
	return flat
}

func negate(p Pos, n Node) Node {
	if not, ok := n.(*Not); ok {
		return not.Node
	}
	return &Not{p, n}
}
