package admin

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/config"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// APITokenCommand returns the verb api-token.
func APITokenCommand(a *verb.App) *cobra.Command {
	return verb.Group("api-token", "Look after the tokens that people and programs sign in with",
		apiTokenCreateCommand(a),
		apiTokenListCommand(a),
		apiTokenRotateCommand(a),
		&cobra.Command{
			Use:               "revoke ID",
			Short:             "Make an API token useless at once; what runs with it is cut",
			Args:              verb.Exactly("ID"),
			ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeAPITokens(ctx, a) }),
			RunE:              func(cmd *cobra.Command, args []string) error { return apiTokenRevoke(cmd.Context(), a, args[0]) },
		},
	)
}

// request returns the call that makes a token.
func tokenRequest(user string, ttl time.Duration) (*connect.Request[reevev1.CreateApiTokenRequest], error) {
	r := &reevev1.CreateApiTokenRequest{User: user}
	if ttl < 0 {
		return nil, verb.Usagef("--ttl %s: must not be negative", ttl)
	}
	if ttl > 0 {
		r.Ttl = durationpb.New(ttl)
	}
	return connect.NewRequest(r), nil
}

func apiTokenCreateCommand(a *verb.App) *cobra.Command {
	var user string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "create --user USER",
		Short: "Make a token to sign in with",
		Long: `Make a token for a person or a program to sign in with. The token alone is printed
on standard output, this once: keep it in a file that only its user can read.`,
		Example: `  reeve api-token create --user ci --ttl 720h > ci.token`,
		Args:    verb.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return apiTokenCreate(cmd.Context(), a, user, ttl) },
	}
	cmd.Flags().StringVar(&user, "user", "", "whose it is, for the audit trail (required)")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good for; 0 is until it is revoked")
	return cmd
}

func apiTokenCreate(ctx context.Context, a *verb.App, user string, ttl time.Duration) error {
	if user == "" {
		return verb.Usagef("--user is required")
	}
	r, err := tokenRequest(user, ttl)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Access.CreateApiToken(ctx, r)
	if err != nil {
		return s.Explain(err)
	}
	if err := a.Say("%s", answer.Msg.GetSecret()); err != nil {
		return err
	}
	a.Note("API token %s of %s is good %s; it is not shown again", answer.Msg.GetToken().GetId(), user, until(answer.Msg.GetToken()))
	return nil
}

func until(t *reevev1.ApiToken) string {
	if t.GetExpireTime() == nil {
		return "until it is revoked"
	}
	return "until " + output.Timestamp(t.GetExpireTime())
}

func apiTokenListCommand(a *verb.App) *cobra.Command {
	var o verb.ListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the API tokens, without their secrets",
		Args:  verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verb.List(cmd.Context(), a, verb.SiteListOptions{ListOptions: o}, "tokens", apiTokenColumns, apiTokenPages)
		},
	}
	o.AddTo(cmd)
	return cmd
}

func apiTokenPages(s *verb.Session) client.PageFunc[*reevev1.ApiToken] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.ApiToken, string, error) {
		answer, err := s.Access.ListApiTokens(ctx, connect.NewRequest(&reevev1.ListApiTokensRequest{PageSize: size, PageToken: token}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetTokens(), answer.Msg.GetNextPageToken(), nil
	}
}

func apiTokenColumns(p *output.Printer) []output.Column[*reevev1.ApiToken] {
	return []output.Column[*reevev1.ApiToken]{
		{Heading: "ID", Value: (*reevev1.ApiToken).GetId},
		{Heading: "USER", Value: (*reevev1.ApiToken).GetUser},
		{Heading: "CREATED", Value: func(t *reevev1.ApiToken) string { return p.Time(t.GetCreateTime()) }},
		{Heading: "EXPIRES", Value: func(t *reevev1.ApiToken) string {
			if t.GetExpireTime() == nil {
				return "never"
			}
			return p.Expiry(t.GetExpireTime())
		}},
		{Heading: "CURRENT", Value: func(t *reevev1.ApiToken) string {
			if t.GetCurrent() {
				return "*"
			}
			return ""
		}},
	}
}

func apiTokenRevoke(ctx context.Context, a *verb.App, id string) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Access.RevokeApiToken(ctx, connect.NewRequest(&reevev1.RevokeApiTokenRequest{Id: id}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return &verb.Explained{Text: fmt.Sprintf("API token %q not found: see reeve api-token list", id), Cause: err}
	}
	if err != nil {
		return s.Explain(err)
	}
	return a.Say("API token %s is revoked", id)
}

func apiTokenRotateCommand(a *verb.App) *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Sign in with a new token from now on, and revoke the one in use",
		Long: `Make a new token for the user of the context, put it into the configuration file,
and revoke the one that was there. Cut short at any point, one of the two serves;
see reeve api-token list. Other places that keep the old token, as the file
admin-token beside the aggregator's data, are not changed: it serves there no more.`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return apiTokenRotate(cmd.Context(), a, ttl) },
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the new one is good for; 0 is until it is revoked")
	return cmd
}

func apiTokenRotate(ctx context.Context, a *verb.App, ttl time.Duration) error {
	r, err := tokenRequest("", ttl)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	tokens, err := verb.Everything(ctx, s, apiTokenPages(s))
	if err != nil {
		return err
	}
	var old string
	for _, t := range tokens {
		if t.GetCurrent() {
			old = t.GetId()
		}
	}
	if old == "" {
		return fmt.Errorf("the server does not say which API token is in use: revoke it by hand, with reeve api-token")
	}
	made, err := s.Access.CreateApiToken(ctx, r)
	if err != nil {
		return s.Explain(err)
	}
	// It is tried, and kept, before the old one goes.
	c := s.Context
	c.Token = config.Token(made.Msg.GetSecret())
	fresh, err := a.Connect(c)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if _, err := fresh.GetStatus(ctx); err != nil {
		return err
	}
	file, err := config.Load(s.ConfigPath)
	if err != nil {
		return err
	}
	file.Put(c)
	if err := file.Save(s.ConfigPath); err != nil {
		return err
	}
	if _, err := fresh.Access.RevokeApiToken(ctx, connect.NewRequest(&reevev1.RevokeApiTokenRequest{Id: old})); err != nil {
		return fmt.Errorf("the new token is in %s, but the old one still serves (revoke it with reeve api-token revoke %s): %w", s.ConfigPath,
			old, fresh.Explain(err))
	}
	return a.Say("API token %s has taken the place of %s in %s; it is good %s", made.Msg.GetToken().GetId(), old, s.ConfigPath,
		until(made.Msg.GetToken()))
}

func completeAPITokens(ctx context.Context, a *verb.App) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *verb.Session) (ids []string) {
		tokens, _, err := apiTokenPages(s)(ctx, verb.MaxPage, "")
		if err != nil {
			return nil
		}
		for _, t := range tokens {
			ids = append(ids, t.GetId())
		}
		return ids
	})
}
