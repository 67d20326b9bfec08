// Package cmdline has the errors of the programs' command lines: they name what is
// near to a wrong word.
package cmdline

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// Unknown is the error for a verb that a command does not have.
func Unknown(cmd *cobra.Command, name string) error {
	return fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), name, Hint(cmd, name))
}

// Hint names the verbs of a command that are near to a wrong one.
func Hint(cmd *cobra.Command, name string) string {
	var known []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			known = append(append(known, c.Name()), c.Aliases...)
		}
	}
	return nearest.Hint(name, known)
}

// NoArgs is the check for a command whose only arguments are its verbs.
func NoArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasAvailableSubCommands():
		return Unknown(cmd, args[0])
	}
	return fmt.Errorf("%s takes no arguments; there are %d", cmd.CommandPath(), len(args))
}

// FlagError is for [cobra.Command.SetFlagErrorFunc].
func FlagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	if hint := nearest.Hint("--"+unknown.GetSpecifiedName(), known); hint != "" {
		return fmt.Errorf("%w%s", err, hint)
	}
	return err
}
