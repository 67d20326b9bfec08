package cli

import (
	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/tui/verb"
)

func versionCommand(a *verb.App) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  verb.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.Say("reeve %s", version.String())
		},
	}
}
