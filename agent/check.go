package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/edge"
	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/transport"
)

func checkCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, the collectors' sources, and the reach of the aggregator",
		Long: "Check the configuration, make a real call to each collector's source, and see whether\n" +
			"the aggregator can be reached. Nothing is changed, and a join token is not used up.",
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return check(cmd.Context(), *file, cmd.OutOrStdout())
		},
	}
}

// report prints one line a check and remembers whether any failed.
type report struct {
	w      io.Writer
	failed int
}

func (r *report) line(subject string, err error, detail string) {
	if err != nil {
		r.failed++
		fmt.Fprintf(r.w, "FAIL  %-28s %s\n", subject, strings.ReplaceAll(err.Error(), "\n", "\n"+strings.Repeat(" ", 35)))
		return
	}
	fmt.Fprintf(r.w, "ok    %-28s %s\n", subject, detail)
}

func check(ctx context.Context, file string, w io.Writer) error {
	r := &report{w: w}
	c, err := config.Load(file)
	if file == "" {
		file = "environment and defaults"
	}
	r.line("configuration", err, file)
	if err != nil {
		return errors.New("the configuration is wrong; the rest was not checked")
	}
	opened, err := c.Open(plugins, slog.New(slog.DiscardHandler))
	if err != nil {
		r.line("collectors", err, "")
	}
	for _, o := range opened {
		verifyCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
		checks, err := o.Collector.Verify(verifyCtx)
		cancel()
		if err != nil {
			r.line("collector "+o.Name, err, "")
		}
		for _, k := range checks {
			r.line(o.Name+": "+k.Subject, k.Err, k.Detail)
		}
	}
	checkLeftOut(c, opened, r)
	r.line("data directory", checkWritable(c.DataDir), c.DataDir)
	checkReach(ctx, c, r)
	if r.failed > 0 {
		return fmt.Errorf("%s failed", checks(r.failed))
	}
	return nil
}

// checkLeftOut tells which assets a start with this configuration would delete.
func checkLeftOut(c config.Config, opened []config.Opened, r *report) {
	counts, err := collect.ReadCounts(edge.CountsFile(c))
	if err != nil {
		r.line("scopes", err, "")
		return
	}
	var sources []collect.Source
	for _, o := range opened {
		sources = append(sources, collect.Source(o))
	}
	left := collect.LeftOut(sources, counts)
	wait := collect.MustWait(left, counts)
	for _, l := range left {
		switch {
		case l.Unconfigured:
			r.line("scope "+l.Scope, nil, fmt.Sprintf("its collector is not configured any more: its %d assets become DISCONNECTED, until reeve "+
				"scope end", l.Assets))
		case wait:
			r.line("scope "+l.Scope, fmt.Errorf("collection of it is off, with more than a tenth of all assets: its %d become DISCONNECTED and "+
				"stay, until reeve scope end says that they are gone", l.Assets), "")
		default:
			r.line("scope "+l.Scope, nil, fmt.Sprintf("collection of it is off: %d assets become DELETED", l.Assets))
		}
	}
}

// checkWritable finds out whether files can be made in a directory, or in the
// nearest one above it that exists.
func checkWritable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".reeve-check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkReach opens a session with each aggregator if the agent has enrolled,
// and otherwise checks that they are the ones that the join token speaks of.
func checkReach(ctx context.Context, c config.Config, r *report) {
	proxy, err := c.Through()
	if err != nil {
		r.line("proxy", err, "")
		return
	}
	id, err := enroll.Load(edge.IdentityDir(c))
	if errors.Is(err, enroll.ErrNotEnrolled) {
		checkToken(ctx, c, proxy, r)
		return
	}
	if err != nil {
		r.line("identity", err, "")
		return
	}
	leaf := id.Certificate().Leaf
	r.line("identity", nil, fmt.Sprintf("agent %s of site %s, certificate until %s", id.Agent.ID, id.Agent.Site,
		leaf.NotAfter.Format(time.RFC3339)))
	for _, address := range edge.Addresses(c, id) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		reached, err := uplink.Probe(ctx, address, proxy, id.ClientTLS())
		cancel()
		detail := "QUIC session; version " + reached.Aggregator
		if reached.Transport == transport.TCP {
			detail = "TCP session; version " + reached.Aggregator
		}
		if reached.NotQUIC != nil {
			detail += "; QUIC does not get through: " + reached.NotQUIC.Error()
		}
		r.line("aggregator "+address, err, detail)
	}
}

func checkToken(ctx context.Context, c config.Config, proxy transport.Proxy, r *report) {
	token, ok, err := c.Token()
	switch {
	case err != nil:
		r.line("identity", err, "")
		return
	case !ok:
		r.line("identity", errors.New("not enrolled, and no join token is configured: see join_token_file"), "")
		return
	}
	r.line("identity", nil, "not enrolled yet; join token for site "+token.Site)
	list := c.Aggregators
	if len(list) == 0 {
		list = token.Addresses
	}
	for _, address := range list {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := enroll.Check(ctx, edge.IdentityDir(c), address, token, proxy)
		cancel()
		detail := "its CA is the one in the token, and it takes the token"
		if errors.Is(err, enroll.ErrCannotTell) {
			detail, err = "its CA is the one in the token; "+err.Error(), nil
		}
		r.line("aggregator "+address, err, detail)
	}
}

// checks is a number of checks in words.
func checks(n int) string {
	if n == 1 {
		return "1 check"
	}
	return fmt.Sprintf("%d checks", n)
}
