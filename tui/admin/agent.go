package admin

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// AgentCommand returns the verb agent.
func AgentCommand(a *verb.App) *cobra.Command {
	return verb.Group("agent", "Shut agents out",
		&cobra.Command{
			Use:   "revoke ID",
			Short: "Shut an agent out for good, or remove one whose machine is gone",
			Long: `Shut an agent out for good. Its session is cut within seconds, and its certificate
serves for nothing any more. What it brought stays, as DISCONNECTED. It is also the
way to remove an agent whose machine is gone: get agents shows it no more, unless
asked to with --revoked. To come back, an agent joins anew, with a new token. As
much of the ID as no other agent has is enough.`,
			Args:              verb.Exactly("ID"),
			ValidArgsFunction: verb.First(a.CompleteAgents),
			RunE:              func(cmd *cobra.Command, args []string) error { return agentRevoke(cmd.Context(), a, args[0]) },
		},
	)
}

func agentRevoke(ctx context.Context, a *verb.App, id string) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if id, err = s.AgentID(ctx, id); err != nil {
		return err
	}
	answer, err := s.Fleet.RevokeAgent(ctx, connect.NewRequest(&reevev1.RevokeAgentRequest{Id: id}))
	// What is no id at all is not found either.
	if code := connect.CodeOf(err); code == connect.CodeNotFound || code == connect.CodeInvalidArgument {
		return &verb.Explained{Text: fmt.Sprintf("agent %q not found: see reeve get agents", id), Cause: err}
	}
	if err != nil {
		return s.Explain(err)
	}
	revoked := answer.Msg.GetAgent()
	return a.Say("Agent %s (%s, site %s) is revoked", revoked.GetId(), revoked.GetHostname(), revoked.GetSite())
}
