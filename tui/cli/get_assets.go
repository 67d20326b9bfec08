package cli

import (
	"context"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/output"
)

type getAssetsOptions struct {
	siteListOptions
	typ    string
	states []string
	full   bool
}

func (a *app) getAssetsCommand() *cobra.Command {
	var o getAssetsOptions
	cmd := &cobra.Command{
		Use:   "assets",
		Short: "List the assets",
		Long: `List the assets, ordered by site, type and uid. The deleted are left out unless
--state asks for them. With --type the table has the columns of that type; its
name may be the whole of it, or its end, or the plural of that, in any case.`,
		Example: `  reeve get assets --site seoul-1 --type openstack.compute.Server
  reeve get assets --type pods
  reeve get assets --state disconnected,deleted -o wide
  reeve get assets --full -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.getAssets(cmd.Context(), o) },
	}
	o.addTo(a, cmd)
	cmd.Flags().StringVar(&o.typ, "type", "", "only this type (reeve get types lists them)")
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only these states: active, disconnected, deleted")
	cmd.Flags().BoolVar(&o.full, "full", false, "with the documents (json and yaml)")
	a.complete(cmd, "type", a.completeTypes)
	a.complete(cmd, "state", func(context.Context) []string { return stateNames })
	return cmd
}

func (a *app) getAssets(ctx context.Context, o getAssetsOptions) error {
	states, err := parseStates(o.states)
	if err != nil {
		return err
	}
	view, err := o.view(o.full)
	if err != nil {
		return err
	}
	p, s, err := o.open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	columns := assetColumns(p)
	if o.typ != "" {
		t, err := s.assetType(ctx, o.site, o.typ)
		if err != nil {
			return err
		}
		o.typ = t.GetName()
		l, err := layoutOf(t)
		if err != nil {
			// It was checked where it was taken in, so it is newer than this client.
			a.note("warning: showing the columns that every type has: %v", err)
		}
		if l != nil && len(l.Columns) > 0 && isTable(p) {
			columns, view = layoutColumns(p, l), reevev1.AssetView_ASSET_VIEW_FULL
			o.page = documentPage
		}
	}
	return listFrom(ctx, s, o.siteListOptions, p, "assets", columns,
		func(ctx context.Context, size int32, token string) ([]*reevev1.Asset, string, error) {
			answer, err := s.Inventory.ListAssets(ctx, connect.NewRequest(&reevev1.ListAssetsRequest{
				PageSize:  size,
				PageToken: token,
				Site:      o.site,
				Type:      o.typ,
				States:    states,
				View:      view,
			}))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetAssets(), answer.Msg.GetNextPageToken(), nil
		})
}

// view returns the view to ask for, and sets the page size for it.
func (o *listOptions) view(full bool) (reevev1.AssetView, error) {
	if !full {
		return reevev1.AssetView_ASSET_VIEW_BASIC, nil
	}
	if o.format != string(output.JSON) && o.format != string(output.YAML) {
		return 0, usagef("--full: a table has no place for documents; use it with -o json or -o yaml")
	}
	o.page = documentPage
	return reevev1.AssetView_ASSET_VIEW_FULL, nil
}

// stateNames are the states as a user gives them.
var stateNames = []string{"active", "disconnected", "deleted"}

func parseStates(names []string) ([]reevev1.State, error) {
	var states []reevev1.State
	for _, name := range names {
		state, ok := reevev1.State_value["STATE_"+strings.ToUpper(name)]
		if !ok || state == int32(reevev1.State_STATE_UNSPECIFIED) {
			return nil, usagef("--state %q: must be active, disconnected or deleted%s", name, nearest.Hint(name, stateNames))
		}
		states = append(states, reevev1.State(state))
	}
	return states, nil
}

func assetColumns(p *output.Printer) []output.Column[*reevev1.Asset] {
	return []output.Column[*reevev1.Asset]{
		{Heading: "SITE", Value: (*reevev1.Asset).GetSite},
		{Heading: "TYPE", Value: (*reevev1.Asset).GetType},
		{Heading: "NAME", Value: (*reevev1.Asset).GetName},
		{Heading: "UID", Value: (*reevev1.Asset).GetUid},
		{
			Heading: "STATE",
			Value:   func(a *reevev1.Asset) string { return stateName(a.GetState()) },
			Color:   func(a *reevev1.Asset) output.Color { return stateColor(a.GetState()) },
		},
		{Heading: "SINCE", Value: func(a *reevev1.Asset) string { return p.Time(stateSince(a)) }},
		{Heading: "STATUS", Value: (*reevev1.Asset).GetStatus},
		{Heading: "CHANGED", Value: func(a *reevev1.Asset) string { return p.Time(a.GetObserveTime()) }},
		{Heading: "CREATED", Only: output.Wide, Value: func(a *reevev1.Asset) string { return p.Time(a.GetCreateTime()) }},
		{Heading: "UPDATED", Only: output.Wide, Value: func(a *reevev1.Asset) string { return p.Time(a.GetUpdateTime()) }},
		{Heading: "REGION", Only: output.Wide, Value: (*reevev1.Asset).GetRegion},
		{Heading: "PROJECT", Only: output.Wide, Value: (*reevev1.Asset).GetProject},
		{Heading: "SCOPE", Only: output.Wide, Value: (*reevev1.Asset).GetScope},
		{Heading: "AGENT", Only: output.Wide, Value: (*reevev1.Asset).GetAgentId},
	}
}

func stateName(s reevev1.State) string { return strings.TrimPrefix(s.String(), "STATE_") }

func stateColor(s reevev1.State) output.Color {
	switch s {
	case reevev1.State_STATE_ACTIVE:
		return output.Green
	case reevev1.State_STATE_DISCONNECTED:
		return output.Yellow
	case reevev1.State_STATE_DELETED:
		return output.Red
	default:
		return output.NoColor
	}
}

// stateSince returns since when an asset has been deleted or disconnected.
func stateSince(a *reevev1.Asset) *timestamppb.Timestamp {
	switch a.GetState() {
	case reevev1.State_STATE_DELETED:
		return a.GetDeleteTime()
	case reevev1.State_STATE_DISCONNECTED:
		return a.GetDisconnectTime()
	default:
		return nil
	}
}
