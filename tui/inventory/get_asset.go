package inventory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getAssetOptions struct {
	verb.OutputOptions
	verb.AssetOptions
	asOf string
}

// GetAssetCommand returns the verb get asset.
func GetAssetCommand(a *verb.App) *cobra.Command {
	var o getAssetOptions
	cmd := &cobra.Command{
		Use:   "asset UID",
		Short: "Show an asset with its relations and document",
		Long: `Show an asset: what every asset has, its relations, the sections of its type's layout, and
its document. A section that lists other assets has the first ten of them.`,
		Example: `  reeve get asset 9f1c...
  reeve get asset eth0 --site seoul-1 --type interface --as-of -7d
  reeve get asset 9f1c... -o yaml`,
		Args:              verb.Exactly("UID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.UID = args[0]
			return getAsset(cmd.Context(), a, o)
		},
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	o.AddNoHeaders(cmd)
	o.AssetOptions.AddTo(a, cmd)
	cmd.Flags().StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	return cmd
}

func getAsset(ctx context.Context, a *verb.App, o getAssetOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	at, err := a.AsOf(o.asOf)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ResolveType(ctx, &o.AssetOptions); err != nil {
		return err
	}
	answer, err := s.Inventory.GetAsset(ctx, connect.NewRequest(&reevev1.GetAssetRequest{Uid: o.UID, Site: o.Site, Type: o.Type, AsOf: at}))
	if err != nil {
		return s.ExplainAsset(ctx, err, o.AssetOptions)
	}
	if !verb.IsTable(p) {
		return p.Document(answer.Msg)
	}
	return printAsset(ctx, s, p, answer.Msg, sectionsOf(ctx, s, answer.Msg.GetAsset()))
}

// sectionsOf returns the layout of an asset's type, or nil: what every asset has is shown
// without it.
func sectionsOf(ctx context.Context, s *verb.Session, asset *reevev1.Asset) *layout.Layout {
	var l *layout.Layout
	_ = client.Pages(ctx, 0, verb.MaxPage, s.TypePages(asset.GetSite()), func(page []*reevev1.AssetType) error {
		for _, t := range page {
			if t.GetName() == asset.GetType() {
				l, _ = layoutOf(t)
			}
		}
		return nil
	})
	return l
}

func printAsset(ctx context.Context, s *verb.Session, p *output.Printer, answer *reevev1.GetAssetResponse, l *layout.Layout) error {
	asset := answer.GetAsset()
	d := output.NewDetails(p)
	d.Field("UID", asset.GetUid())
	d.Field("Type", asset.GetType())
	d.Field("Name", asset.GetName())
	d.Field("Site", asset.GetSite())
	d.ColoredField("State", verb.StateColor(asset.GetState()), verb.StateName(asset.GetState()))
	d.Field("Since", p.Time(stateSince(asset)))
	d.Field("Status", asset.GetStatus())
	d.Field("Region", asset.GetRegion())
	d.Field("Project", asset.GetProject())
	d.Field("Labels", labels(asset.GetLabels())...)
	d.Field("Created", p.Time(asset.GetCreateTime()))
	d.Field("Updated", p.Time(asset.GetUpdateTime()))
	d.Field("Changed", p.Time(asset.GetObserveTime()))
	d.Field("Scope", asset.GetScope())
	d.Field("Agent", asset.GetAgentId())
	d.Field("Version", fmt.Sprint(asset.GetVersion()))
	if relations := answer.GetRelations(); len(relations) > 0 {
		d.Section("Relations", []string{"KIND", "DIRECTION", "TYPE", "UID"}, relationRows(asset, relations))
	}
	if l != nil {
		sections(ctx, s, d, p, l, asset)
	}
	if document := asset.GetDocument(); document != nil {
		// What ticks in it is as old as the last change.
		if err := d.Message("Document (as of "+p.Moment(asset.GetObserveTime())+")", document); err != nil {
			return err
		}
	}
	return d.Close()
}

func labels(m map[string]string) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, key+"="+m[key])
	}
	return lines
}

// relationRows returns the edges as seen from the asset.
func relationRows(asset *reevev1.Asset, relations []*reevev1.Relation) [][]string {
	var rows [][]string
	for _, r := range relations {
		row := []string{r.GetKind(), "from", r.GetFromType(), r.GetFromUid()}
		if r.GetFromUid() == asset.GetUid() && r.GetFromType() == asset.GetType() {
			row = []string{r.GetKind(), "to", r.GetToType(), r.GetToUid()}
		}
		rows = append(rows, row)
	}
	return rows
}
