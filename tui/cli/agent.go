package cli

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

func (a *app) agentCommand() *cobra.Command {
	return group("agent", "Shut agents out",
		&cobra.Command{
			Use:   "revoke ID",
			Short: "Shut an agent out for good, or remove one whose machine is gone",
			Long: `Shut an agent out for good. Its session is cut within seconds, and its certificate
serves for nothing any more. What it brought stays, as DISCONNECTED. It is also the
way to remove an agent whose machine is gone: get agents shows it no more, unless
asked to with --revoked. To come back, an agent joins anew, with a new token. As
much of the ID as no other agent has is enough.`,
			Args:              exactly("ID"),
			ValidArgsFunction: first(a.completeAgents),
			RunE:              func(cmd *cobra.Command, args []string) error { return a.agentRevoke(cmd.Context(), args[0]) },
		},
	)
}

func (a *app) agentRevoke(ctx context.Context, id string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if id, err = s.agentID(ctx, id); err != nil {
		return err
	}
	answer, err := s.Fleet.RevokeAgent(ctx, connect.NewRequest(&reevev1.RevokeAgentRequest{Id: id}))
	// What is no id at all is not found either.
	if code := connect.CodeOf(err); code == connect.CodeNotFound || code == connect.CodeInvalidArgument {
		return &explained{text: fmt.Sprintf("agent %q not found: see reeve get agents", id), cause: err}
	}
	if err != nil {
		return s.explain(err)
	}
	revoked := answer.Msg.GetAgent()
	return a.say("Agent %s (%s, site %s) is revoked", revoked.GetId(), revoked.GetHostname(), revoked.GetSite())
}
