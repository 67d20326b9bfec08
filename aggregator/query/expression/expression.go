// Package expression computes something of the values of a group: arithmetic,
// comparisons, and a few functions.
//
//	expression = or
//	or         = and { "OR" and }
//	and        = not { "AND" not }
//	not        = [ "NOT" ] comparison
//	comparison = sum [ ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) sum ]
//	sum        = product { ( "+" | "-" ) product }
//	product    = factor { ( "*" | "/" ) factor }
//	factor     = number | name | function "(" sum { "," sum } ")" | "(" or ")" | "-" factor
//
// What is divided by zero is nothing, and nothing compares with anything.
package expression

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// Expression is one that was read. It does not change.
type Expression struct {
	// op is a sign, a function in lower case, "number" or "name".
	op       string
	number   float64
	name     string
	operands []*Expression
	// logic says that it is true or false.
	logic bool
}

const (
	maxSize  = 1 << 10
	maxParts = 100
	maxDepth = 20
)

// functions of expressions, with how many operands they have at least and at most.
var functions = map[string][2]int{"abs": {1, 1}, "round": {1, 2}, "least": {2, 8}, "greatest": {2, 8}, "coalesce": {2, 8}}

// Error is what is wrong with an expression, with the byte at which it is.
type Error struct {
	Expression string
	Position   int
	Reason     string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("at character %d: %s", len([]rune(e.Expression[:min(e.Position, len(e.Expression))]))+1, e.Reason)
}

type parser struct {
	text  string
	at    int
	parts int
	depth int
	// token is the next one, which starts at start; empty at the end.
	token string
	start int
	names []string
}

// Parse reads an expression over names, one that is true or false if logic. The error is
// an Error.
func Parse(text string, names []string, logic bool) (x *Expression, err error) {
	p := &parser{text: text, names: names}
	if len(text) > maxSize {
		return nil, p.wrong(0, "an expression has at most %d bytes", maxSize)
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if x, err = p.or(); err != nil {
		return nil, err
	}
	switch {
	case p.token != "":
		return nil, p.wrong(p.start, "%q is not expected here: an operator (+ - * / = != < > AND OR) would be", p.token)
	case logic && !x.logic:
		return nil, p.wrong(0, "it must compare something, as in count > 10")
	case !logic && x.logic:
		return nil, p.wrong(0, "it must be a number, and not true or false")
	}
	return x, nil
}

func (p *parser) wrong(at int, format string, args ...any) error {
	return &Error{Expression: p.text, Position: at, Reason: fmt.Sprintf(format, args...)}
}

func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// next reads a token.
func (p *parser) next() error {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	p.start, p.token = p.at, ""
	if p.at == len(p.text) {
		return nil
	}
	rest := p.text[p.at:]
	n := 0
	switch c := rest[0]; {
	case c >= '0' && c <= '9' || c == '.':
		for n < len(rest) && (wordByte(rest[n]) || rest[n] == '.' ||
			(rest[n] == '-' || rest[n] == '+') && n > 0 && (rest[n-1] == 'e' || rest[n-1] == 'E')) {
			n++
		}
	case wordByte(c):
		for n < len(rest) && wordByte(rest[n]) {
			n++
		}
	case strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "!="):
		n = 2
	case strings.IndexByte("+-*/()<>=,", c) >= 0:
		n = 1
	default:
		return p.wrong(p.at, "%q means nothing in an expression", []rune(rest)[0])
	}
	p.token = rest[:n]
	p.at += n
	return nil
}

// node makes an expression of a kind, within the bounds.
func (p *parser) node(op string, logic bool, operands ...*Expression) (*Expression, error) {
	if p.parts++; p.parts > maxParts {
		return nil, p.wrong(p.start, "an expression has at most %d parts", maxParts)
	}
	return &Expression{op: op, logic: logic, operands: operands}, nil
}

func (p *parser) binary(operators []string, logic bool, below func() (*Expression, error)) (*Expression, error) {
	left, err := below()
	for err == nil && slices.Contains(operators, p.token) {
		op, at := p.token, p.start
		if err := p.next(); err != nil {
			return nil, err
		}
		right, err := below()
		if err != nil {
			return nil, err
		}
		if left.logic != logic || right.logic != logic {
			return nil, p.wrong(at, "%s is between %s", op, map[bool]string{true: "comparisons", false: "numbers"}[logic])
		}
		if left, err = p.node(op, logic, left, right); err != nil {
			return nil, err
		}
	}
	return left, err
}

func (p *parser) or() (*Expression, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.wrong(p.start, "brackets may be at most %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.binary([]string{"OR"}, true, func() (*Expression, error) { return p.binary([]string{"AND"}, true, p.not) })
}

func (p *parser) not() (*Expression, error) {
	if p.token != "NOT" {
		return p.comparison()
	}
	at := p.start
	if err := p.next(); err != nil {
		return nil, err
	}
	x, err := p.comparison()
	if err != nil {
		return nil, err
	}
	if !x.logic {
		return nil, p.wrong(at, "NOT is before a comparison")
	}
	return p.node("NOT", true, x)
}

func (p *parser) comparison() (*Expression, error) {
	left, err := p.sum()
	if err != nil || !slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, p.token) {
		return left, err
	}
	op, at := p.token, p.start
	if err := p.next(); err != nil {
		return nil, err
	}
	right, err := p.sum()
	if err != nil {
		return nil, err
	}
	if left.logic || right.logic {
		return nil, p.wrong(at, "%s is between numbers", op)
	}
	return p.node(op, true, left, right)
}

func (p *parser) sum() (*Expression, error) {
	return p.binary([]string{"+", "-"}, false, func() (*Expression, error) { return p.binary([]string{"*", "/"}, false, p.factor) })
}

func (p *parser) factor() (*Expression, error) {
	token, at := p.token, p.start
	if token == "" {
		return nil, p.wrong(at, "a name or a number is missing at the end")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	switch {
	case token == "-":
		if p.depth++; p.depth > maxDepth {
			return nil, p.wrong(at, "signs and brackets may be at most %d deep", maxDepth)
		}
		defer func() { p.depth-- }()
		x, err := p.factor()
		if err != nil {
			return nil, err
		}
		if x.logic {
			return nil, p.wrong(at, "- is before a number")
		}
		return p.node("negate", false, x)
	case token == "(":
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.token != ")" {
			return nil, p.wrong(p.start, "the bracket that opens at character %d is not closed", at+1)
		}
		return x, p.next()
	case token[0] >= '0' && token[0] <= '9' || token[0] == '.':
		number, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return nil, p.wrong(at, "%q is not a number", token)
		}
		x, err := p.node("number", false)
		if x != nil {
			x.number = number
		}
		return x, err
	case !wordByte(token[0]) || token == "AND" || token == "OR" || token == "NOT":
		return nil, p.wrong(at, "a name or a number is missing before %q", token)
	case p.token == "(":
		return p.call(token, at)
	}
	if !slices.Contains(p.names, token) {
		return nil, p.wrong(at, "there is no value %q%s: the names are %s", token, nearest.Hint(token, p.names), strings.Join(p.names, ", "))
	}
	x, err := p.node("name", false)
	if x != nil {
		x.name = token
	}
	return x, err
}

// call reads the operands of a function.
func (p *parser) call(name string, at int) (*Expression, error) {
	op := strings.ToLower(name)
	count, ok := functions[op]
	if !ok {
		return nil, p.wrong(at, "there is no function %q: there are abs, coalesce, greatest, least and round", name)
	}
	var operands []*Expression
	for p.token == "(" || p.token == "," {
		if err := p.next(); err != nil {
			return nil, err
		}
		x, err := p.deeper(p.sum)
		if err != nil {
			return nil, err
		}
		if x.logic {
			return nil, p.wrong(at, "%s is of numbers", name)
		}
		operands = append(operands, x)
		if p.token != "," {
			break
		}
	}
	if p.token != ")" {
		return nil, p.wrong(p.start, "the bracket of %s is not closed", name)
	}
	if len(operands) < count[0] || len(operands) > count[1] {
		return nil, p.wrong(at, "%s takes %d to %d numbers", name, count[0], count[1])
	}
	if op == "round" && len(operands) == 2 && operands[1].op != "number" {
		return nil, p.wrong(at, "the second number of %s is how many digits stay: a plain number", name)
	}
	x, err := p.node(op, false, operands...)
	if err != nil {
		return nil, err
	}
	return x, p.next()
}

func (p *parser) deeper(read func() (*Expression, error)) (*Expression, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.wrong(p.start, "brackets may be at most %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return read()
}

// SQL returns the expression with column for each name, and number for each number, as a
// Nullable(Float64) or, of logic, a UInt8 that is 0 where nothing is compared.
func (x *Expression) SQL(column func(name string) string, number func(float64) string) string {
	below := make([]string, len(x.operands))
	for i, o := range x.operands {
		below[i] = o.SQL(column, number)
	}
	switch x.op {
	case "number":
		return number(x.number)
	case "name":
		return column(x.name)
	case "negate":
		return "(-" + below[0] + ")"
	case "NOT":
		return "(NOT " + below[0] + ")"
	case "/":
		return fmt.Sprintf("(%s / nullIf(%s, 0))", below[0], below[1])
	case "+", "-", "*", "AND", "OR":
		return fmt.Sprintf("(%s %s %s)", below[0], x.op, below[1])
	case "=", "!=", "<", "<=", ">", ">=":
		return fmt.Sprintf("ifNull(%s %s %s, 0)", below[0], x.op, below[1])
	case "round":
		if len(below) == 1 {
			below = append(below, "0")
		} else {
			// The engine takes only a constant: at most as many digits as a double has.
			below[1] = strconv.Itoa(int(max(-15, min(15, x.operands[1].number))))
		}
	}
	return fmt.Sprintf("%s(%s)", x.op, strings.Join(below, ", "))
}

// CheckName returns an error unless a name can stand in expressions.
func CheckName(name string) error {
	for i := range len(name) {
		if !wordByte(name[i]) {
			return errName
		}
	}
	switch {
	case name == "" || len(name) > 64 || name[0] >= '0' && name[0] <= '9':
		return errName
	case name == "AND" || name == "OR" || name == "NOT":
		return fmt.Errorf("%s is a word of expressions", name)
	}
	return nil
}

var errName = errors.New("must be a word of letters, digits and underscores that begins with a letter")
