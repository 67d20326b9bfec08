package cli

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
)

// assetOptions name one asset.
type assetOptions struct {
	uid, site, typ string
}

func (o *assetOptions) addTo(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.site, "site", "", "site of the asset, where several have the uid")
	cmd.Flags().StringVar(&o.typ, "type", "", "type of the asset, where several have the uid")
	a.complete(cmd, "site", a.completeSites)
	a.complete(cmd, "type", a.completeTypes)
}

// explainAsset puts an error of a call for one asset into words.
func (s *session) explainAsset(ctx context.Context, err error, o assetOptions) error {
	if connect.CodeOf(err) != connect.CodeNotFound {
		return s.explain(err)
	}
	if err := s.checkSite(ctx, o.site); err != nil {
		return err
	}
	text := fmt.Sprintf("asset %q not found", o.uid)
	if o.site != "" {
		text += " in site " + o.site
	}
	if o.typ != "" {
		text += " with type " + o.typ
	}
	return &explained{text: text, cause: err}
}

// resolveType makes the type that a user gave the whole name of it.
func (s *session) resolveType(ctx context.Context, o *assetOptions) error {
	if o.typ == "" {
		return nil
	}
	t, err := s.assetType(ctx, o.site, o.typ)
	if err == nil {
		o.typ = t.GetName()
	}
	return err
}

type getAssetOptions struct {
	outputOptions
	assetOptions
	asOf string
}

func (a *app) getAssetCommand() *cobra.Command {
	var o getAssetOptions
	cmd := &cobra.Command{
		Use:               "asset UID",
		Short:             "Show an asset with its relations and document",
		Args:              exactly("UID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.uid = args[0]
			return a.getAsset(cmd.Context(), o)
		},
	}
	o.outputOptions.addTo(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	o.addNoHeaders(cmd)
	o.assetOptions.addTo(a, cmd)
	cmd.Flags().StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	return cmd
}

func (a *app) getAsset(ctx context.Context, o getAssetOptions) error {
	p, err := o.printer(a)
	if err != nil {
		return err
	}
	at, err := a.asOf(o.asOf)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.resolveType(ctx, &o.assetOptions); err != nil {
		return err
	}
	answer, err := s.Inventory.GetAsset(ctx, connect.NewRequest(&reevev1.GetAssetRequest{Uid: o.uid, Site: o.site, Type: o.typ, AsOf: at}))
	if err != nil {
		return s.explainAsset(ctx, err, o.assetOptions)
	}
	if !isTable(p) {
		return p.Document(answer.Msg)
	}
	return a.printAsset(p, answer.Msg, s.sectionsOf(ctx, answer.Msg.GetAsset()))
}

// sectionsOf returns the layout of an asset's type, or nil: what every asset has is shown
// without it.
func (s *session) sectionsOf(ctx context.Context, asset *reevev1.Asset) *layout.Layout {
	var l *layout.Layout
	_ = client.Pages(ctx, 0, maxPage, s.typePages(asset.GetSite()), func(page []*reevev1.AssetType) error {
		for _, t := range page {
			if t.GetName() == asset.GetType() {
				l, _ = layoutOf(t)
			}
		}
		return nil
	})
	return l
}

func (a *app) printAsset(p *output.Printer, answer *reevev1.GetAssetResponse, l *layout.Layout) error {
	asset := answer.GetAsset()
	d := output.NewDetails(p)
	d.Field("UID", asset.GetUid())
	d.Field("Type", asset.GetType())
	d.Field("Name", asset.GetName())
	d.Field("Site", asset.GetSite())
	d.ColoredField("State", stateColor(asset.GetState()), stateName(asset.GetState()))
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
		a.sections(d, p, l, asset)
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
