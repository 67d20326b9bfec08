package cli

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

type getChangesOptions struct {
	listOptions
	assetOptions
	full bool
}

func (a *app) getChangesCommand() *cobra.Command {
	var o getChangesOptions
	cmd := &cobra.Command{
		Use:               "changes UID",
		Short:             "List the versions of an asset, newest first",
		Args:              exactly("UID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.uid = args[0]
			return a.getChanges(cmd.Context(), o)
		},
	}
	o.listOptions.addTo(cmd)
	o.assetOptions.addTo(a, cmd)
	cmd.Flags().BoolVar(&o.full, "full", false, "with the documents (json and yaml)")
	return cmd
}

func (a *app) getChanges(ctx context.Context, o getChangesOptions) error {
	view, err := o.view(o.full)
	if err != nil {
		return err
	}
	p, s, err := o.open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.resolveType(ctx, &o.assetOptions); err != nil {
		return err
	}
	return listFrom(ctx, s, siteListOptions{listOptions: o.listOptions}, p, "changes", changeColumns(p),
		func(ctx context.Context, size int32, token string) ([]*reevev1.Change, string, error) {
			answer, err := s.Inventory.ListChanges(ctx, connect.NewRequest(&reevev1.ListChangesRequest{
				PageSize:  size,
				PageToken: token,
				Uid:       o.uid,
				Site:      o.site,
				Type:      o.typ,
				View:      view,
			}))
			if err != nil {
				return nil, "", s.explainAsset(ctx, err, o.assetOptions)
			}
			return answer.Msg.GetChanges(), answer.Msg.GetNextPageToken(), nil
		})
}

func changeColumns(p *output.Printer) []output.Column[*reevev1.Change] {
	return []output.Column[*reevev1.Change]{
		{Heading: "CHANGED", Value: func(c *reevev1.Change) string { return p.Time(c.GetObserveTime()) }},
		{Heading: "RECEIVED", Only: output.Wide, Value: func(c *reevev1.Change) string { return p.Time(c.GetReceiveTime()) }},
		{Heading: "VERSION", Only: output.Wide, Value: func(c *reevev1.Change) string { return fmt.Sprint(c.GetVersion()) }},
		{
			Heading: "OPERATION",
			Value:   func(c *reevev1.Change) string { return operationName(c.GetOperation()) },
			Color:   func(c *reevev1.Change) output.Color { return operationColor(c.GetOperation()) },
		},
		{Heading: "STATUS", Value: (*reevev1.Change).GetStatus},
		{Heading: "AGENT", Only: output.Wide, Value: (*reevev1.Change).GetAgentId},
		{Heading: "PATHS", Only: output.Table, Value: func(c *reevev1.Change) string { return somePaths(c.GetChangedPaths()) }},
		{Heading: "PATHS", Only: output.Wide, Value: func(c *reevev1.Change) string { return strings.Join(c.GetChangedPaths(), ",") }},
	}
}

// somePaths returns the first of a list of paths, and how many more there are.
func somePaths(paths []string) string {
	const shown = 4
	if len(paths) <= shown {
		return strings.Join(paths, ",")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(paths[:shown], ","), len(paths)-shown)
}

func operationName(o reevev1.Change_Operation) string {
	return strings.TrimPrefix(o.String(), "OPERATION_")
}

func operationColor(o reevev1.Change_Operation) output.Color {
	switch o {
	case reevev1.Change_OPERATION_CREATED:
		return output.Green
	case reevev1.Change_OPERATION_UPDATED:
		return output.Yellow
	case reevev1.Change_OPERATION_DELETED:
		return output.Red
	default:
		return output.NoColor
	}
}
