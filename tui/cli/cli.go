// Package cli puts the verbs of the terminal client together and runs them.
package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/tui/admin"
	"github.com/reeve-cloud/reeve/tui/inventory"
	"github.com/reeve-cloud/reeve/tui/question"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// What a run of the client exits with.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Run runs the client with the arguments, which do not include the program's
// name, and returns the exit code. The end of ctx is the user's interrupt.
func Run(ctx context.Context, args []string, system verb.System) int {
	a := &verb.App{System: system}
	root := command(a)
	root.SetArgs(args)
	root.SetIn(system.Stdin)
	root.SetOut(system.Stdout)
	root.SetErr(system.Stderr)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		a.Note("interrupted")
		return exitInterrupted
	case !a.Started || verb.IsUsage(err):
		a.Note("%s (see %s --help)", err, command.CommandPath())
		return exitUsage
	default:
		a.Note("%s", err)
		if e, ok := errors.AsType[*verb.Explained](err); ok {
			a.More(e.More)
		}
		return exitFailure
	}
}

func command(a *verb.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "reeve",
		Short: "Look at private clouds through a Reeve aggregator",
		Long: `reeve is the terminal client of a Reeve aggregator.

Sign in with "reeve login", then look around with "reeve get".`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return verb.UnknownCommand(cmd, args[0])
		},
	}
	a.AddTo(root)
	root.AddCommand(
		admin.LoginCommand(a),
		admin.ContextCommand(a),
		admin.StatusCommand(a),
		admin.SiteCommand(a),
		admin.TokenCommand(a),
		admin.APITokenCommand(a),
		admin.AgentCommand(a),
		admin.ScopeCommand(a),
		admin.CACommand(a),
		getCommand(a),
		inventory.WatchCommand(a),
		inventory.DiffCommand(a),
		inventory.ExplainCommand(a),
		question.GraphCommand(a),
		question.AnalyzeCommand(a),
		question.FacetsCommand(a),
		question.JoinCommand(a),
		question.SQLCommand(a),
		question.ExportCommand(a),
		admin.LayoutCommand(a),
		inventory.QueryCommand(a),
		question.MetricCommand(a),
		admin.RetentionCommand(a),
		versionCommand(a),
	)
	return root
}
