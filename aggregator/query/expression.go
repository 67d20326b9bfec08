package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// An expression computes something of the values of a group: arithmetic, comparisons,
// and a few functions.
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
type expression struct {
	// op is a sign, a function in lower case, "number" or "name".
	op       string
	number   float64
	name     string
	operands []*expression
	// logic says that it is true or false.
	logic bool
}

const (
	maxExpression      = 1 << 10
	maxExpressionParts = 100
	maxExpressionDepth = 20
)

// functions of expressions, with how many operands they have at least and at most.
var functions = map[string][2]int{"abs": {1, 1}, "round": {1, 2}, "least": {2, 8}, "greatest": {2, 8}, "coalesce": {2, 8}}

// ExpressionError is an error of an expression, with the byte at which it is.
type ExpressionError struct {
	Expression string
	Position   int
	Reason     string
}

// Error implements error.
func (e *ExpressionError) Error() string {
	return fmt.Sprintf("at character %d: %s", len([]rune(e.Expression[:min(e.Position, len(e.Expression))]))+1, e.Reason)
}

type expressionParser struct {
	text  string
	at    int
	parts int
	depth int
	// token is the next one, which starts at start; empty at the end.
	token string
	start int
	names []string
}

// parseExpression reads an expression over names, one that is true or false if logic.
func parseExpression(text string, names []string, logic bool) (x *expression, err error) {
	p := &expressionParser{text: text, names: names}
	if len(text) > maxExpression {
		return nil, p.wrong(0, "an expression has at most %d bytes", maxExpression)
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

func (p *expressionParser) wrong(at int, format string, args ...any) error {
	return &ExpressionError{Expression: p.text, Position: at, Reason: fmt.Sprintf(format, args...)}
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// next reads a token.
func (p *expressionParser) next() error {
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
		for n < len(rest) && (nameByte(rest[n]) || rest[n] == '.' ||
			(rest[n] == '-' || rest[n] == '+') && n > 0 && (rest[n-1] == 'e' || rest[n-1] == 'E')) {
			n++
		}
	case nameByte(c):
		for n < len(rest) && nameByte(rest[n]) {
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
func (p *expressionParser) node(op string, logic bool, operands ...*expression) (*expression, error) {
	if p.parts++; p.parts > maxExpressionParts {
		return nil, p.wrong(p.start, "an expression has at most %d parts", maxExpressionParts)
	}
	return &expression{op: op, logic: logic, operands: operands}, nil
}

func (p *expressionParser) binary(operators []string, logic bool, below func() (*expression, error)) (*expression, error) {
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

func (p *expressionParser) or() (*expression, error) {
	if p.depth++; p.depth > maxExpressionDepth {
		return nil, p.wrong(p.start, "brackets may be at most %d deep", maxExpressionDepth)
	}
	defer func() { p.depth-- }()
	return p.binary([]string{"OR"}, true, func() (*expression, error) { return p.binary([]string{"AND"}, true, p.not) })
}

func (p *expressionParser) not() (*expression, error) {
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

func (p *expressionParser) comparison() (*expression, error) {
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

func (p *expressionParser) sum() (*expression, error) {
	return p.binary([]string{"+", "-"}, false, func() (*expression, error) { return p.binary([]string{"*", "/"}, false, p.factor) })
}

func (p *expressionParser) factor() (*expression, error) {
	token, at := p.token, p.start
	if token == "" {
		return nil, p.wrong(at, "a name or a number is missing at the end")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	switch {
	case token == "-":
		if p.depth++; p.depth > maxExpressionDepth {
			return nil, p.wrong(at, "signs and brackets may be at most %d deep", maxExpressionDepth)
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
	case !nameByte(token[0]) || token == "AND" || token == "OR" || token == "NOT":
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
func (p *expressionParser) call(name string, at int) (*expression, error) {
	op := strings.ToLower(name)
	count, ok := functions[op]
	if !ok {
		return nil, p.wrong(at, "there is no function %q: there are abs, coalesce, greatest, least and round", name)
	}
	var operands []*expression
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

func (p *expressionParser) deeper(read func() (*expression, error)) (*expression, error) {
	if p.depth++; p.depth > maxExpressionDepth {
		return nil, p.wrong(p.start, "brackets may be at most %d deep", maxExpressionDepth)
	}
	defer func() { p.depth-- }()
	return read()
}

// sql returns the expression with column for each name, as a Nullable(Float64) or, of
// logic, a UInt8 that is 0 where nothing is compared.
func (x *expression) sql(s *statement, column func(name string) string) string {
	below := make([]string, len(x.operands))
	for i, o := range x.operands {
		below[i] = o.sql(s, column)
	}
	switch x.op {
	case "number":
		return s.number(x.number)
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
