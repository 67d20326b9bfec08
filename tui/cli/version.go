package cli

import (
	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/pkg/version"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.say("reeve %s", version.String())
		},
	}
}
