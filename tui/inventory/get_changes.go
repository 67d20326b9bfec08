package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getChangesOptions struct {
	verb.ListOptions
	verb.AssetOptions
	verb.ChangesOptions
	full bool
}

// GetChangesCommand returns the verb get changes.
func GetChangesCommand(a *verb.App) *cobra.Command {
	var o getChangesOptions
	cmd := &cobra.Command{
		Use:   "changes [UID]",
		Short: "List the versions of an asset, or of all assets, newest first",
		Example: `  reeve get changes 9f1c...
  reeve get changes --since 1h --type pod
  reeve get changes --since 7d --operation deleted -l 'name:web'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return verb.Usagef("%s takes at most one argument, UID; there are %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return getEstateChanges(cmd.Context(), a, o)
			}
			if err := o.OfOne(cmd); err != nil {
				return err
			}
			o.UID = args[0]
			return getChanges(cmd.Context(), a, o)
		},
	}
	o.ListOptions.AddTo(cmd)
	o.AssetOptions.AddTo(a, cmd)
	o.ChangesOptions.AddTo(cmd)
	cmd.Flags().BoolVar(&o.full, "full", false, "with the documents (json and yaml; of one asset)")
	return cmd
}

// getEstateChanges lists what changed in the whole inventory.
func getEstateChanges(ctx context.Context, a *verb.App, o getChangesOptions) error {
	if o.full {
		return verb.Usagef("--full is for the changes of one asset: give its UID")
	}
	r, err := o.Request(a)
	if err != nil {
		return err
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ResolveType(ctx, &o.AssetOptions); err != nil {
		return err
	}
	r.Site, r.Type = o.Site, o.Type
	columns := slices.Insert(changeColumns(p), 1,
		output.Column[*reevev1.Change]{Heading: "SITE", Value: (*reevev1.Change).GetSite},
		output.Column[*reevev1.Change]{Heading: "TYPE", Value: (*reevev1.Change).GetType},
		output.Column[*reevev1.Change]{Heading: "NAME", Value: (*reevev1.Change).GetName},
		output.Column[*reevev1.Change]{Heading: "UID", Only: output.Wide, Value: (*reevev1.Change).GetUid})
	if o.Limit == 0 && verb.IsTable(p) {
		o.Limit = 100 // the newest of a history without an end
	}
	return verb.ListFrom(ctx, s, verb.SiteListOptions{ListOptions: o.ListOptions, Site: o.Site}, p, "changes", columns,
		func(ctx context.Context, size int32, token string) ([]*reevev1.Change, string, error) {
			r.PageSize, r.PageToken = size, token
			answer, err := s.History.ListEstateChanges(ctx, connect.NewRequest(r))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetChanges(), answer.Msg.GetNextPageToken(), nil
		})
}

func getChanges(ctx context.Context, a *verb.App, o getChangesOptions) error {
	view, err := o.View(o.full)
	if err != nil {
		return err
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ResolveType(ctx, &o.AssetOptions); err != nil {
		return err
	}
	return verb.ListFrom(ctx, s, verb.SiteListOptions{ListOptions: o.ListOptions}, p, "changes", changeColumns(p),
		func(ctx context.Context, size int32, token string) ([]*reevev1.Change, string, error) {
			answer, err := s.Inventory.ListChanges(ctx, connect.NewRequest(&reevev1.ListChangesRequest{
				PageSize:  size,
				PageToken: token,
				Uid:       o.UID,
				Site:      o.Site,
				Type:      o.Type,
				View:      view,
			}))
			if err != nil {
				return nil, "", s.ExplainAsset(ctx, err, o.AssetOptions)
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
