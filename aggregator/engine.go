package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/engine"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
)

// engineCommand runs the embedded engine in a process of its own. The
// aggregator starts it; people do not, and use the commands below it.
func engineCommand() *cobra.Command {
	command := &cobra.Command{
		Use:                "engine",
		Short:              "Fetch the library of the ClickHouse engine",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			o, socket, err := embedded.ParseArguments(args)
			if err != nil {
				return err
			}
			// The aggregator logs what this process says, so it says only what
			// is wrong.
			o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			// Ctrl-C reaches every process of a terminal, but the aggregator
			// still needs the engine to finish: it says when to stop.
			signal.Ignore(os.Interrupt)
			ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM)
			defer stop()
			return embedded.Serve(ctx, o, socket, os.Stdin)
		},
	}
	command.AddCommand(engineFetchCommand())
	return command
}

func engineFetchCommand() *cobra.Command {
	o := engine.Options{Progress: os.Stderr}
	command := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the library of the ClickHouse engine, and print its path",
		Long: "Fetch the library of the ClickHouse engine (180 MB, 570 MB unpacked) and print its path.\n\n" +
			"It comes from the npm registry that npm's settings name (npm_config_registry, .npmrc), through\n" +
			"the proxy that they or HTTPS_PROXY name, and must have the hash that this program was built with.\n" +
			"Nothing is fetched when it is there already, nor where CHDB_LIB_PATH names a copy.",
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := engine.Fetch(cmd.Context(), o)
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted: the next fetch goes on with what has come")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	command.Flags().StringVar(&o.Dir, "to", "", "directory to put it into (default the cache of this user, ~/.cache/reeve)")
	command.Flags().StringVar(&o.From, "from", "", "file that has the package, brought from elsewhere, instead of the registry")
	return command
}
