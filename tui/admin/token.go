package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// TokenCommand returns the verb token.
func TokenCommand(a *verb.App) *cobra.Command {
	return verb.Group("token", "Let agents join sites",
		tokenCreateCommand(a),
		tokenListCommand(a),
		&cobra.Command{
			Use:               "delete ID",
			Short:             "Make a join token useless; agents that joined with it stay",
			Args:              verb.Exactly("ID"),
			ValidArgsFunction: verb.First(a.CompleteTokens),
			RunE:              func(cmd *cobra.Command, args []string) error { return tokenDelete(cmd.Context(), a, args[0]) },
		},
	)
}

type tokenCreateOptions struct {
	site      string
	ttl       time.Duration
	uses      int32
	addresses []string
}

func tokenCreateCommand(a *verb.App) *cobra.Command {
	var o tokenCreateOptions
	cmd := &cobra.Command{
		Use:   "create --site SITE",
		Short: "Make a token that lets agents join a site",
		Long: `Make a token that lets agents join a site. The site comes into being with its
first token. The token alone is printed on standard output, this once: keep it
in a file. What to do with it is printed on standard error.`,
		Example: `  reeve token create --site seoul-1 > seoul-1.token`,
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return tokenCreate(cmd.Context(), a, o) },
	}
	cmd.Flags().StringVar(&o.site, "site", "", "site to join (required)")
	cmd.Flags().DurationVar(&o.ttl, "ttl", time.Hour, "how long the token is good for")
	cmd.Flags().Int32Var(&o.uses, "uses", 1, "how many agents may join with it")
	cmd.Flags().StringArrayVar(&o.addresses, "address", nil,
		"host:port by which the agents reach the aggregator, if not as it is configured; may be repeated")
	a.Complete(cmd, "site", a.CompleteSites)
	return cmd
}

func (o *tokenCreateOptions) validate() error {
	if o.site == "" {
		return verb.Usagef("--site is required")
	}
	if err := identity.CheckSiteName(o.site); err != nil {
		return verb.Usagef("--site: %v", err)
	}
	if o.ttl <= 0 {
		return verb.Usagef("--ttl %s: must be positive", o.ttl)
	}
	if o.uses <= 0 {
		return verb.Usagef("--uses %d: must be positive", o.uses)
	}
	for _, address := range o.addresses {
		if err := identity.CheckAddress(address); err != nil {
			return verb.Usagef("--address: %v", err)
		}
	}
	return nil
}

func tokenCreate(ctx context.Context, a *verb.App, o tokenCreateOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	sites, err := s.SiteNames(ctx)
	if err != nil {
		return err
	}
	answer, err := s.Fleet.CreateJoinToken(ctx, connect.NewRequest(&reevev1.CreateJoinTokenRequest{
		Site:      o.site,
		Ttl:       durationpb.New(o.ttl),
		MaxUses:   o.uses,
		Addresses: o.addresses,
	}))
	if connect.CodeOf(err) == connect.CodeInvalidArgument && strings.HasPrefix(s.Explain(err).Error(), "addresses: ") {
		return &verb.Explained{Text: "--address: " + strings.TrimPrefix(s.Explain(err).Error(), "addresses: "), Cause: err}
	}
	if err != nil {
		return s.Explain(err)
	}
	if err := a.Say("%s", answer.Msg.GetSecret()); err != nil {
		return err
	}
	if err := explainToken(a, answer.Msg.GetToken()); err != nil {
		return err
	}
	if !slices.Contains(sites, o.site) {
		// A slip makes a site, where nobody would look for the agent.
		a.Note("site %s is new%s", o.site, nearest.Hint(o.site, sites))
	}
	for _, warning := range answer.Msg.GetWarnings() {
		a.Note("warning: %s (--address names others)", warning)
	}
	return nil
}

// explainToken says what a token is good for and what to do next.
func explainToken(a *verb.App, t *reevev1.JoinToken) error {
	agents := "one agent"
	if n := t.GetMaxUses(); n != 1 {
		agents = fmt.Sprintf("%d agents", n)
	}
	reached := ""
	if addresses := t.GetAddresses(); len(addresses) > 0 {
		reached = fmt.Sprintf("Agents that join with it connect to %s, over UDP and TCP.\n", output.Escape(strings.Join(addresses, " or ")))
	}
	expiry := output.Timestamp(t.GetExpireTime())
	left := output.Age(a.Now().Sub(t.GetExpireTime().AsTime()))
	_, err := fmt.Fprintf(a.Stderr, `Join token %s lets %s join site %s until %s (%s).
%sIt is not shown again. Put it in a file on the agent's machine and run there:

    REEVE_JOIN_TOKEN_FILE=/path/to/token reeve-agent

or name the file as join_token_file in the agent's configuration.
`, output.Escape(t.GetId()), agents, output.Escape(t.GetSite()), expiry, left, reached)
	if err != nil {
		return fmt.Errorf("writing the explanation: %w", err)
	}
	return nil
}

func tokenListCommand(a *verb.App) *cobra.Command {
	var o verb.ListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the join tokens, without their secrets",
		Args:  verb.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return tokenList(cmd.Context(), a, o) },
	}
	o.AddTo(cmd)
	return cmd
}

func tokenList(ctx context.Context, a *verb.App, o verb.ListOptions) error {
	return verb.List(ctx, a, verb.SiteListOptions{ListOptions: o}, "tokens", tokenColumns, tokenPages)
}

func tokenPages(s *verb.Session) client.PageFunc[*reevev1.JoinToken] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.JoinToken, string, error) {
		answer, err := s.Fleet.ListJoinTokens(ctx, connect.NewRequest(&reevev1.ListJoinTokensRequest{PageSize: size, PageToken: token}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetTokens(), answer.Msg.GetNextPageToken(), nil
	}
}

func tokenColumns(p *output.Printer) []output.Column[*reevev1.JoinToken] {
	return []output.Column[*reevev1.JoinToken]{
		{Heading: "ID", Value: (*reevev1.JoinToken).GetId},
		{Heading: "SITE", Value: (*reevev1.JoinToken).GetSite},
		{Heading: "USES", Value: func(t *reevev1.JoinToken) string { return fmt.Sprintf("%d/%d", t.GetUses(), t.GetMaxUses()) }},
		{Heading: "EXPIRES", Value: func(t *reevev1.JoinToken) string { return p.Expiry(t.GetExpireTime()) }},
		{Heading: "LAST-USED", Value: func(t *reevev1.JoinToken) string { return p.Time(t.GetLastUseTime()) }},
		{Heading: "CREATED", Value: func(t *reevev1.JoinToken) string { return p.Time(t.GetCreateTime()) }},
		{Heading: "CREATED-BY", Only: output.Wide, Value: (*reevev1.JoinToken).GetCreatedBy},
		{Heading: "ADDRESSES", Only: output.Wide, Value: func(t *reevev1.JoinToken) string { return strings.Join(t.GetAddresses(), ",") }},
	}
}

func tokenDelete(ctx context.Context, a *verb.App, id string) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	tokens, err := verb.Everything(ctx, s, tokenPages(s))
	if err != nil {
		return err
	}
	ids := make([]string, len(tokens))
	for i, t := range tokens {
		ids[i] = t.GetId()
	}
	if id, err = verb.OneOf("join token", id, ids); err != nil {
		return err
	}
	_, err = s.Fleet.DeleteJoinToken(ctx, connect.NewRequest(&reevev1.DeleteJoinTokenRequest{Id: id}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return &verb.Explained{Text: fmt.Sprintf("join token %q not found: see reeve token list", id), Cause: err}
	}
	if err != nil {
		return s.Explain(err)
	}
	return a.Say("Join token %s is deleted", id)
}
