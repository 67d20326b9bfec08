package inventory

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// maxExplained is how many paths, or values, the server tells at once.
const maxExplained = 100

type explainOptions struct {
	verb.OutputOptions
	site string
}

// ExplainCommand returns the verb explain.
func ExplainCommand(a *verb.App) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain TYPE [PATH]",
		Short: "Show which fields the assets of a type have, and the values of one",
		Long: `Show the fields that assets of a type have in their documents: what kind of value each
has, and about how many assets have it. With PATH, what lies below it, and its most
frequent values. All of it can be asked for with --filter, --columns and --sort.

How a list would be made, with its SQL, is shown by reeve get assets --explain.`,
		Example: `  reeve explain pods
  reeve explain pod status
  reeve explain openstack.compute.Server flavor.name`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return verb.Usagef("%s takes TYPE and perhaps PATH; there are %d arguments", cmd.CommandPath(), len(args))
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return a.CompleteTypes(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
			case 1:
				return a.CompletePaths(cmd.Context(), o.site, args[0], typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) == 2 {
				path = args[1]
			}
			return explain(cmd.Context(), a, o, args[0], path)
		},
	}
	o.AddTo(cmd, output.Table, output.CSV)
	o.AddNoHeaders(cmd)
	cmd.Flags().StringVar(&o.site, "site", "", "only what there is in this site")
	a.Complete(cmd, "site", a.CompleteSites)
	return cmd
}

func explain(ctx context.Context, a *verb.App, o explainOptions, name, path string) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.AssetType(ctx, o.site, name)
	if err != nil {
		return err
	}
	fields, err := s.Suggest(ctx, o.site, t.GetName(), path, maxExplained)
	if err != nil {
		return err
	}
	var rows [][]string
	known := false
	for _, f := range fields {
		if f.GetKind() != reevev1.FilterSuggestion_KIND_FIELD || f.GetAssets() == 0 {
			continue // what every asset has, and what is no field
		}
		known = known || f.GetText() == path
		rows = append(rows, []string{f.GetText(), f.GetHelp(), fmt.Sprint(f.GetAssets())})
	}
	more := len(fields) == maxExplained
	if path == "" {
		if len(rows) == 0 {
			a.Note("nothing is known of what assets of type %s have", t.GetName())
		}
		if err := a.WriteRows(p, []string{"PATH", "KIND", "ASSETS"}, rows); err != nil {
			return err
		}
		if more {
			a.Note("there are more: give the beginning of a path")
		}
		return nil
	}
	values, err := s.Suggest(ctx, o.site, t.GetName(), path+"=", maxExplained)
	if err != nil {
		return err
	}
	if len(rows) == 0 && len(values) == 0 {
		return verb.Usagef("no %s has %s: reeve explain %s lists the fields that there are", t.GetName(), path, name)
	}
	// A leaf alone is told by its values; with what lies below, or beginnings of names, by those.
	if !known || len(rows) > 1 || len(values) == 0 {
		if err := a.WriteRows(p, []string{"PATH", "KIND", "ASSETS"}, rows); err != nil {
			return err
		}
		if more {
			a.Note("there are more: give more of the path")
		}
		if len(values) == 0 || p.Format == output.CSV {
			return nil
		}
		if err := p.Lines([]string{""}); err != nil {
			return err
		}
	}
	rows = nil
	for _, v := range values {
		n := ""
		if v.GetAssets() > 0 {
			n = fmt.Sprint(v.GetAssets())
		}
		rows = append(rows, []string{v.GetText(), n})
	}
	return a.WriteRows(p, []string{"VALUE", "ASSETS"}, rows)
}
