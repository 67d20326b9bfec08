package admin

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// CACommand returns the verb ca.
func CACommand(a *verb.App) *cobra.Command {
	return verb.Group("ca", "Look after the aggregator's certificate authorities",
		caListCommand(a),
		&cobra.Command{
			Use:   "rotate",
			Short: "Make a new authority, which signs from now on",
			Long: `Make a new certificate authority, which signs from now on. Nothing stops: agents,
join tokens and contexts that know the one before go on with it until it is retired.
Agents that are connected renew their certificates within ten minutes.`,
			Args: verb.NoArguments,
			RunE: func(cmd *cobra.Command, _ []string) error { return caRotate(cmd.Context(), a) },
		},
		caRetireCommand(a),
	)
}

func caListCommand(a *verb.App) *cobra.Command {
	var o verb.ListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the authorities that are trusted, the one that signs first",
		Args:  verb.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return caList(cmd.Context(), a, o) },
	}
	o.AddTo(cmd)
	return cmd
}

func caList(ctx context.Context, a *verb.App, o verb.ListOptions) error {
	return verb.List(ctx, a, verb.SiteListOptions{ListOptions: o}, "certificate_authorities", caColumns,
		func(s *verb.Session) client.PageFunc[*reevev1.CertificateAuthority] {
			return func(ctx context.Context, _ int32, _ string) ([]*reevev1.CertificateAuthority, string, error) {
				answer, err := s.Fleet.ListCertificateAuthorities(ctx, connect.NewRequest(&reevev1.ListCertificateAuthoritiesRequest{}))
				if err != nil {
					return nil, "", err
				}
				return answer.Msg.GetCertificateAuthorities(), "", nil
			}
		})
}

func caColumns(p *output.Printer) []output.Column[*reevev1.CertificateAuthority] {
	return []output.Column[*reevev1.CertificateAuthority]{
		{Heading: "HASH", Value: (*reevev1.CertificateAuthority).GetHash},
		{Heading: "STATE", Value: func(c *reevev1.CertificateAuthority) string {
			if c.GetSigning() {
				return "SIGNING"
			}
			return "TRUSTED"
		}},
		{Heading: "AGENTS", Value: func(c *reevev1.CertificateAuthority) string { return fmt.Sprint(c.GetAgents()) }},
		{Heading: "CREATED", Value: func(c *reevev1.CertificateAuthority) string { return p.Time(c.GetCreateTime()) }},
		{Heading: "EXPIRES", Value: func(c *reevev1.CertificateAuthority) string { return p.Expiry(c.GetExpireTime()) }},
	}
}

func caRotate(ctx context.Context, a *verb.App) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Fleet.RotateCertificateAuthority(ctx, connect.NewRequest(&reevev1.RotateCertificateAuthorityRequest{}))
	if err != nil {
		return s.Explain(err)
	}
	if err := a.Say("%s", answer.Msg.GetCertificateAuthority().GetHash()); err != nil {
		return err
	}
	a.Note("the authority above signs from now on; the one before stays trusted until it is retired: see reeve ca list")
	return nil
}

func caRetireCommand(a *verb.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "retire HASH",
		Short: "End the trust in the oldest authority",
		Long: `End the trust in the oldest authority, once it does not sign any more. It is refused
while agents or join tokens depend on it. With --force, those agents must join anew.
Contexts that know the aggregator by it must sign in anew, with --ca-hash.`,
		Args:              verb.Exactly("HASH"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return caRetire(cmd.Context(), a, args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if agents or join tokens depend on it")
	return cmd
}

func caRetire(ctx context.Context, a *verb.App, hash string, force bool) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Fleet.RetireCertificateAuthority(ctx, connect.NewRequest(&reevev1.RetireCertificateAuthorityRequest{Hash: hash, Force: force}))
	if err = s.Explain(err); connect.CodeOf(err) == connect.CodeFailedPrecondition && !force {
		return &verb.Explained{Text: err.Error() + "; or use --force: they must join anew then", Cause: err}
	}
	if err != nil {
		return err
	}
	return a.Say("Certificate authority %s is retired", hash)
}
