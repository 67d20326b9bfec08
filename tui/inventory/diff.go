package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type diffOptions struct {
	verb.OutputOptions
	verb.AssetOptions
	from, to string
}

// DiffCommand returns the verb diff.
func DiffCommand(a *verb.App) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff UID",
		Short: "Show what differs between two versions of an asset",
		Long: "Show what differs between two versions of an asset: its last change, or between two moments or versions.\n\n" +
			"A line begins with + for what was added, - for what was removed, ~ for what changed.",
		Example: `  reeve diff 9f1c...
  reeve diff 9f1c... --from 7d
  reeve diff 9f1c... --from 2026-11-01 --to 2026-11-08T12:00:00Z`,
		Args:              verb.Exactly("UID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.UID = args[0]
			return diff(cmd.Context(), a, o)
		},
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.JSON, output.YAML)
	o.AssetOptions.AddTo(a, cmd)
	cmd.Flags().StringVar(&o.from, "from", "", "the earlier one: a time, a date, an age such as 7d, or the number of a version (default: the version before)")
	cmd.Flags().StringVar(&o.to, "to", "", "the later one (default: the newest)")
	return cmd
}

func diff(ctx context.Context, a *verb.App, o diffOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	r := &reevev1.DiffAssetRequest{}
	if r.FromVersion, r.FromTime, err = a.Point("from", o.from); err != nil {
		return err
	}
	if r.ToVersion, r.ToTime, err = a.Point("to", o.to); err != nil {
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
	r.Asset = &reevev1.AssetName{Uid: o.UID, Site: o.Site, Type: o.Type}
	answer, err := s.History.DiffAsset(ctx, connect.NewRequest(r))
	if err != nil {
		return s.ExplainAsset(ctx, err, o.AssetOptions)
	}
	if !verb.IsTable(p) {
		return p.Document(answer.Msg)
	}
	return p.Lines(diffLines(answer.Msg))
}

var pathSigns = map[reevev1.PathChange_Operation]string{
	reevev1.PathChange_OPERATION_ADDED: "+", reevev1.PathChange_OPERATION_REMOVED: "-", reevev1.PathChange_OPERATION_CHANGED: "~",
	reevev1.PathChange_OPERATION_REORDERED: "~",
}

func diffLines(m *reevev1.DiffAssetResponse) []string {
	from := "nothing"
	if m.GetFrom() != nil {
		from = fmt.Sprintf("%d of %s", m.GetFrom().GetVersion(), output.Timestamp(m.GetFrom().GetObserveTime()))
	}
	lines := []string{
		"--- " + from,
		fmt.Sprintf("+++ %d of %s (%s)", m.GetTo().GetVersion(), output.Timestamp(m.GetTo().GetObserveTime()), operationName(m.GetTo().GetOperation())),
	}
	for _, c := range m.GetChanges() {
		line := pathSigns[c.GetOperation()] + " " + c.GetPath()
		switch c.GetOperation() {
		case reevev1.PathChange_OPERATION_ADDED:
			line += ": " + shownValue(c.GetNew())
		case reevev1.PathChange_OPERATION_REMOVED:
			line += ": " + shownValue(c.GetOld())
		case reevev1.PathChange_OPERATION_CHANGED:
			line += ": " + shownValue(c.GetOld()) + " -> " + shownValue(c.GetNew())
		default:
			line += ": another order"
		}
		lines = append(lines, line)
	}
	for _, c := range m.GetRelations() {
		lines = append(lines, fmt.Sprintf("%s %s -> %s %s", pathSigns[c.GetOperation()], c.GetKind(), c.GetToType(), c.GetToUid()))
	}
	if len(lines) == 2 {
		lines = append(lines, "no difference")
	}
	return lines
}

// shownValue is a value as JSON, cut where it is long.
func shownValue(v *structpb.Value) string {
	text, err := json.Marshal(v.AsInterface())
	if err != nil {
		return err.Error()
	}
	const most = 300
	shown := string(text)
	if len(shown) > most {
		return strings.ToValidUTF8(shown[:most], "") + "..."
	}
	return shown
}
