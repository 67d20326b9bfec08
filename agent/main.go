// Command reeve-agent observes one site and ships what changes to an aggregator.
//
// Package edge wires the parts. Data flows through the packages beside this file:
// collect runs the collectors and keeps what was last seen; spool keeps what is
// on its way, stores opens both; uplink ships it. enroll gives the agent its identity, config its
// settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/edge"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/logging"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/plugins/host"
	"github.com/reeve-cloud/reeve/plugins/kubernetes"
	"github.com/reeve-cloud/reeve/plugins/openstack"
)

// wallClock is what stamps follow. It is another in the builds of tests.
var wallClock = time.Now

// softMemoryLimit is what an agent's heap needs not exceed, up to some fifty
// thousand assets.
const softMemoryLimit = 112 << 20

// plugins are the collectors that are built in.
var plugins = []plugin.Plugin{host.Plugin, kubernetes.Plugin, openstack.Plugin}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "reeve-agent:", err)
	}
	os.Exit(1)
}

// errTold is an error that was printed already.
var errTold = errors.New("the program has ended with an error")

func command() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:   "reeve-agent",
		Short: "Observe this site and ship what changes to a Reeve aggregator",
		Long: "Observe this site and ship what changes to a Reeve aggregator.\n\n" +
			"Settings come from the file given with --config and from environment variables\nthat begin with REEVE_; docs/agent.md lists them.",
		Version:       version.String(),
		Args:          cmdline.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			logger, out, err := logging.Open(os.Stderr, c.Log)
			if err != nil {
				return err
			}
			defer out.Close()
			// For what libraries say through the standard logger.
			slog.SetDefault(logger)
			if err := run(cmd.Context(), edge.Options{Config: c, Plugins: plugins, Logger: logger, Now: wallClock}); err != nil &&
				!errors.Is(err, context.Canceled) {
				// By the way of the log: the end must not wait for its reader either.
				fmt.Fprintln(out, "reeve-agent:", err)
				return errTold
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(cmdline.FlagError)
	root.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration file (YAML)")
	root.AddCommand(checkCommand(&file), spoolCommand(&file), redactCommand(&file))
	return root
}

// run runs an agent until ctx ends.
func run(ctx context.Context, o edge.Options) error {
	// Memory is what an agent must not take from its host: collect garbage
	// earlier than Go does by default, unless the user says otherwise.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// No hard limit: above it garbage is collected more eagerly, and memory
		// that a first listing needed is given back soon after.
		debug.SetMemoryLimit(softMemoryLimit)
	}
	agent, err := edge.New(o)
	if err != nil {
		return err
	}
	agent.Start()
	select {
	case <-ctx.Done():
	case <-agent.Done():
	}
	return agent.Stop()
}
