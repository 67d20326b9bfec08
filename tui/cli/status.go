package cli

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

func (a *app) statusCommand() *cobra.Command {
	var o outputOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who you are and what answers",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.printer(a)
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), p)
		},
	}
	o.addTo(cmd, output.Table, output.JSON, output.YAML)
	return cmd
}

func (a *app) status(ctx context.Context, p *output.Printer) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.getStatus(ctx)
	if err != nil {
		return err
	}
	if !isTable(p) {
		return p.Document(answer)
	}
	d := output.NewDetails(p)
	d.Field("Context", s.context.Name)
	d.Field("Configuration", s.configPath)
	d.Field("Server", s.context.Server)
	d.Field("Version", answer.GetVersion())
	d.Field("User", answer.GetUser())
	d.Field("Warehouse", warehouse(answer))
	if problem := answer.GetIngestProblem(); problem != "" {
		d.Field("Problem", problem)
	}
	return d.Close()
}

func (s *session) getStatus(ctx context.Context) (*reevev1.GetStatusResponse, error) {
	answer, err := s.Fleet.GetStatus(ctx, connect.NewRequest(&reevev1.GetStatusRequest{}))
	if err != nil {
		return nil, s.explain(err)
	}
	return answer.Msg, nil
}

func warehouse(answer *reevev1.GetStatusResponse) string {
	if v := answer.GetWarehouseVersion(); v != "" {
		return answer.GetWarehouse() + " (ClickHouse " + v + ")"
	}
	return answer.GetWarehouse()
}
