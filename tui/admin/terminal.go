package admin

import (
	"context"
	"fmt"

	"golang.org/x/term"

	"github.com/reeve-cloud/reeve/tui/verb"
)

// askSecret asks for a line on the terminal and does not show what is typed.
func askSecret(ctx context.Context, a *verb.App, fd int, prompt string) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprint(a.Stderr, prompt); err != nil {
		return nil, err
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		// The line end of the user is not shown either.
		_, _ = fmt.Fprintln(a.Stderr)
		return got.line, got.err
	case <-ctx.Done():
		_, _ = fmt.Fprintln(a.Stderr)
		if err := term.Restore(fd, before); err != nil {
			return nil, err
		}
		return nil, ctx.Err()
	}
}
