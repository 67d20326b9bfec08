package cli

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
)

func (a *app) caCommand() *cobra.Command {
	return group("ca", "Look after the aggregator's certificate authorities",
		a.caListCommand(),
		&cobra.Command{
			Use:   "rotate",
			Short: "Make a new authority, which signs from now on",
			Long: `Make a new certificate authority, which signs from now on. Nothing stops: agents,
join tokens and contexts that know the one before go on with it until it is retired.
Agents that are connected renew their certificates within ten minutes.`,
			Args: noArguments,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.caRotate(cmd.Context()) },
		},
		a.caRetireCommand(),
	)
}

func (a *app) caListCommand() *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the authorities that are trusted, the one that signs first",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.caList(cmd.Context(), o) },
	}
	o.addTo(cmd)
	return cmd
}

func (a *app) caList(ctx context.Context, o listOptions) error {
	return list(ctx, a, siteListOptions{listOptions: o}, "certificate_authorities", caColumns,
		func(s *session) client.PageFunc[*reevev1.CertificateAuthority] {
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

func (a *app) caRotate(ctx context.Context) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Fleet.RotateCertificateAuthority(ctx, connect.NewRequest(&reevev1.RotateCertificateAuthorityRequest{}))
	if err != nil {
		return s.explain(err)
	}
	if err := a.say("%s", answer.Msg.GetCertificateAuthority().GetHash()); err != nil {
		return err
	}
	a.note("the authority above signs from now on; the one before stays trusted until it is retired: see reeve ca list")
	return nil
}

func (a *app) caRetireCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "retire HASH",
		Short: "End the trust in the oldest authority",
		Long: `End the trust in the oldest authority, once it does not sign any more. It is refused
while agents or join tokens depend on it. With --force, those agents must join anew.
Contexts that know the aggregator by it must sign in anew, with --ca-hash.`,
		Args:              exactly("HASH"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.caRetire(cmd.Context(), args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if agents or join tokens depend on it")
	return cmd
}

func (a *app) caRetire(ctx context.Context, hash string, force bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Fleet.RetireCertificateAuthority(ctx, connect.NewRequest(&reevev1.RetireCertificateAuthorityRequest{Hash: hash, Force: force}))
	if err = s.explain(err); connect.CodeOf(err) == connect.CodeFailedPrecondition && !force {
		return &explained{text: err.Error() + "; or use --force: they must join anew then", cause: err}
	}
	if err != nil {
		return err
	}
	return a.say("Certificate authority %s is retired", hash)
}
