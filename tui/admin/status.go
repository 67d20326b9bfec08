package admin

import (
	"context"

	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// StatusCommand returns the verb status.
func StatusCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who you are and what answers",
		Args:  verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.Printer(a)
			if err != nil {
				return err
			}
			return status(cmd.Context(), a, p)
		},
	}
	o.AddTo(cmd, output.Table, output.JSON, output.YAML)
	return cmd
}

func status(ctx context.Context, a *verb.App, p *output.Printer) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.GetStatus(ctx)
	if err != nil {
		return err
	}
	if !verb.IsTable(p) {
		return p.Document(answer)
	}
	d := output.NewDetails(p)
	d.Field("Context", s.Context.Name)
	d.Field("Configuration", s.ConfigPath)
	d.Field("Server", s.Context.Server)
	d.Field("Version", answer.GetVersion())
	d.Field("User", answer.GetUser())
	d.Field("Warehouse", warehouse(answer))
	if problem := answer.GetIngestProblem(); problem != "" {
		d.Field("Problem", problem)
	}
	return d.Close()
}

func warehouse(answer *reevev1.GetStatusResponse) string {
	if v := answer.GetWarehouseVersion(); v != "" {
		return answer.GetWarehouse() + " (ClickHouse " + v + ")"
	}
	return answer.GetWarehouse()
}
