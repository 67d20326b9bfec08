package filter

import (
	"fmt"
	"slices"
	"strings"
)

// Error is what is wrong with a filter, or probably is.
type Error struct {
	// Start and End are where.
	Start, End int
	// Message says what, on one line.
	Message string
	// Mends are texts that could stand in place of what is between Start and End, the likeliest
	// first.
	Mends []string
}

// Error returns the message with its place, and the mends.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at byte %d: %s", e.Start, e.Message)
	for i, m := range e.Mends {
		switch {
		case i > 0:
			b.WriteString(", or ")
		default:
			b.WriteString("; write ")
		}
		switch m {
		case "":
			b.WriteString("nothing")
		case " ":
			b.WriteString("a space")
		default:
			b.WriteString(m)
		}
	}
	return b.String()
}

// Errors are all that is wrong with a filter, in the order of the text.
type Errors []*Error

// maxErrors is how many of them are told.
const maxErrors = 10

// Unwrap returns them one by one, for errors.As.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, one := range e {
		list[i] = one
	}
	return list
}

// sorted puts errors in the order of the text.
func (e Errors) sorted() {
	slices.SortStableFunc(e, func(a, b *Error) int { return a.Start - b.Start })
}

// Error returns all messages.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return "filter: " + strings.Join(texts, "\n")
}
