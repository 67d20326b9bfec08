package inventory

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// GetTypesCommand returns the verb get types.
func GetTypesCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	cmd := &cobra.Command{
		Use:     "types",
		Aliases: []string{"type"},
		Short:   "List the types of assets",
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return getTypes(cmd.Context(), a, o) },
	}
	o.AddTo(a, cmd)
	return cmd
}

func getTypes(ctx context.Context, a *verb.App, o verb.SiteListOptions) error {
	return verb.List(ctx, a, o, "asset_types", typeColumns, func(s *verb.Session) client.PageFunc[*reevev1.AssetType] {
		return s.TypePages(o.Site)
	})
}

func typeColumns(*output.Printer) []output.Column[*reevev1.AssetType] {
	return []output.Column[*reevev1.AssetType]{
		{Heading: "NAME", Value: (*reevev1.AssetType).GetName},
		{Heading: "TITLE", Value: (*reevev1.AssetType).GetTitle},
		{Heading: "ACTIVE", Value: func(t *reevev1.AssetType) string { return fmt.Sprint(t.GetActiveAssets()) }},
	}
}
