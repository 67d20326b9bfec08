package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
)

func (a *app) getTypesCommand() *cobra.Command {
	var o siteListOptions
	cmd := &cobra.Command{
		Use:     "types",
		Aliases: []string{"type"},
		Short:   "List the types of assets",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.getTypes(cmd.Context(), o) },
	}
	o.addTo(a, cmd)
	return cmd
}

func (a *app) getTypes(ctx context.Context, o siteListOptions) error {
	return list(ctx, a, o, "asset_types", typeColumns, func(s *session) client.PageFunc[*reevev1.AssetType] {
		return s.typePages(o.site)
	})
}

func typeColumns(*output.Printer) []output.Column[*reevev1.AssetType] {
	return []output.Column[*reevev1.AssetType]{
		{Heading: "NAME", Value: (*reevev1.AssetType).GetName},
		{Heading: "TITLE", Value: (*reevev1.AssetType).GetTitle},
		{Heading: "ACTIVE", Value: func(t *reevev1.AssetType) string { return fmt.Sprint(t.GetActiveAssets()) }},
	}
}
