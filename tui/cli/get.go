package cli

import (
	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/tui/admin"
	"github.com/reeve-cloud/reeve/tui/inventory"
	"github.com/reeve-cloud/reeve/tui/question"
	"github.com/reeve-cloud/reeve/tui/verb"
)

func getCommand(a *verb.App) *cobra.Command {
	return verb.Group("get", "Show sites, agents, assets, their types and changes, events, scopes, metrics, what is missing, and who did what",
		admin.GetSitesCommand(a),
		admin.GetAgentsCommand(a),
		inventory.GetTypesCommand(a),
		inventory.GetAssetsCommand(a),
		inventory.GetAssetCommand(a),
		inventory.GetChangesCommand(a),
		inventory.GetEventsCommand(a),
		admin.GetGapsCommand(a),
		question.GetMetricsCommand(a),
		admin.GetAuditCommand(a),
		admin.GetScopesCommand(a),
	)
}
