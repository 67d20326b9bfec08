// Package aims keeps a list of what tests measured and found short of what it is
// meant to be, where that is no failure: figures go by the machine and by what else
// it does. Where it is a failure at any rate, the test says so itself.
package aims

import (
	"fmt"
	"os"
)

// List is the name of the environment variable that names the file of the list.
// Several processes may append to it at once. Without it there is only the log.
const List = "REEVE_MISSED_AIMS"

// Missed says by logf, which is that of a test or like it, and in the list that a
// measured figure is short of its aim. The error is that of the list.
func Missed(logf func(format string, args ...any), what string, got, aim any) error {
	line := fmt.Sprintf("%s: %v, the aim is %v", what, got, aim)
	logf("missed aim: %s", line)
	file := os.Getenv(List)
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("the list of missed aims: %w", err)
	}
	// One write of a short line is not torn by those of others.
	_, err = f.WriteString(line + "\n")
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("the list of missed aims: %w", err)
	}
	return nil
}
