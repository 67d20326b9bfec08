package filter

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	// maxExpression is the length of the longest regular expression, and maxSteps how many steps its repetitions
	// may be written out to.
	maxExpression = 512
	maxSteps      = 250
)

// expressionOf makes a comparison with a regular expression.
func (p *parser) expressionOf(at Pos, f Field, r read) Node {
	if p.expressions++; p.expressions > MaxExpressions {
		p.stop(at.Start, at.End, fmt.Sprintf("more than %d regular expressions", MaxExpressions))
		return nil
	}
	text := unescapeExpression(r.raw)
	if message, mends := checkExpression(text); message != "" {
		for i, m := range mends {
			mends[i] = quoteExpression(m)
		}
		p.fail(r.Start, r.End, message, mends...)
		return nil
	}
	return &Compare{Pos: at, Field: f, Op: Match, Values: []Value{{Text: text}}}
}

// checkExpression refuses what is no regular expression, what Go and RE2 read differently, and what is too large.
func checkExpression(text string) (message string, mends []string) {
	if len(text) > maxExpression {
		return fmt.Sprintf("a regular expression of %d bytes: the longest allowed has %d", len(text), maxExpression), nil
	}
	for i := 0; i < len(text)-1; i++ {
		if text[i] == '\\' {
			if i++; strings.IndexByte("pPCQE", text[i]) >= 0 {
				return fmt.Sprintf(`\%c is not allowed in a regular expression here: not every program that asks reads it alike`, text[i]), nil
			}
		} else if begins.MatchString(text[i:]) {
			return "groups of a regular expression have no names here", []string{named.ReplaceAllString(text, "(")}
		}
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		message = "no regular expression"
		if e, ok := err.(*syntax.Error); ok { //nolint:errorlint // it is never wrapped
			message += fmt.Sprintf(": %s at %s", e.Code, e.Expr)
			switch e.Code {
			case syntax.ErrInvalidPerlOp, syntax.ErrInvalidNamedCapture:
				message += " (there is no looking ahead or back)"
			case syntax.ErrMissingRepeatArgument:
				mends = []string{regexp.QuoteMeta(text), "." + text}
			default:
				mends = []string{regexp.QuoteMeta(text)}
			}
		}
		return message, mends
	}
	if n := repeated(tree); n > maxSteps {
		return fmt.Sprintf("a regular expression whose repetitions make %d steps: the most allowed are %d", n, maxSteps), nil
	}
	return "", nil
}

var (
	named  = regexp.MustCompile(`\(\?P?<\w*>`)
	begins = regexp.MustCompile(`^` + named.String())
)

// repeated is how large the repetitions of an expression are, written out. A text costs as many steps a character in
// memory, so an expression must not be much larger than what was typed.
func repeated(r *syntax.Regexp) int {
	if r.Op == syntax.OpRepeat {
		return steps(r)
	}
	n := 0
	for _, sub := range r.Sub {
		n += repeated(sub)
	}
	return n
}

func steps(r *syntax.Regexp) int {
	n := 0
	for _, sub := range r.Sub {
		n += steps(sub)
	}
	switch r.Op {
	case syntax.OpLiteral:
		return len(r.Rune)
	case syntax.OpRepeat:
		return n * max(r.Max, r.Min, 1)
	}
	return max(n, 1)
}

// compile makes the expression that values are held against. The engine's match lets . be a line break, too.
func compile(text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?s:" + text + ")")
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return re, nil
}
