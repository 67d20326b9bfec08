// Command reeve-aggregator is the centre: it takes what agents ship, keeps it in
// the warehouse, and answers the API.
//
// Data flows through the packages beside this file, which package centre wires:
// gateway holds the agents' sessions, ingest commits their batches in groups,
// warehouse is ClickHouse. registry keeps the small objects (sites, agents,
// tokens), api serves people and programs.
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

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/aggregator/api"
	"github.com/reeve-cloud/reeve/aggregator/centre"
	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/logging"
	"github.com/reeve-cloud/reeve/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "reeve-aggregator:", err)
	}
	os.Exit(1)
}

// errTold is an error that was printed already.
var errTold = errors.New("the program has ended with an error")

// flags are the settings that can also be given on the command line.
type flags struct {
	file, dataDir, listen, warehouse string
	newWarehouse                     bool
}

// load reads the configuration with the flags over it.
func (f *flags) load() (config.Config, error) {
	c, err := config.Load(f.file)
	if err != nil {
		return c, err
	}
	for value, target := range map[*string]*string{&f.dataDir: &c.DataDir, &f.listen: &c.Listen, &f.warehouse: &c.Warehouse} {
		if *value != "" {
			*target = *value
		}
	}
	c.NewWarehouse = f.newWarehouse
	return c, c.Finish()
}

func command() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "reeve-aggregator",
		Short: "Take what agents ship, keep it in the warehouse, and answer the API",
		Long: "Take what agents ship, keep it in the warehouse, and answer the API.\n\n" +
			"Settings come from the file given with --config, from environment variables that begin\nwith REEVE_, and from the flags below; " +
			"docs/aggregator.md lists them.",
		Version:       version.String(),
		Args:          cmdline.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.load()
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
			if err := run(cmd.Context(), c, logger); err != nil && !errors.Is(err, context.Canceled) {
				// By the way of the log: the end must not wait for its reader either.
				fmt.Fprintln(out, "reeve-aggregator:", err)
				return errTold
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(cmdline.FlagError)
	root.PersistentFlags().StringVar(&f.file, "config", "", "configuration file (YAML)")
	root.PersistentFlags().StringVar(&f.dataDir, "data-dir", "", "directory for the CA, registry, commit log and embedded warehouse")
	root.Flags().StringVar(&f.listen, "listen", "", "address for agents (UDP) and the API (TCP), host:port")
	root.Flags().StringVar(&f.warehouse, "warehouse", "",
		"embedded:DIR or clickhouse://USER@HOST:9000 (give the password in a file: REEVE_WAREHOUSE_PASSWORD_FILE)")
	root.Flags().BoolVar(&f.newWarehouse, "new-warehouse", false, "begin with an empty warehouse though there was another one before (once)")
	root.AddCommand(caHashCommand(&f), adminTokenCommand(&f), engineCommand())
	return root
}

// run runs an aggregator until ctx ends or a part of it fails.
func run(ctx context.Context, c config.Config, logger *slog.Logger) error {
	// With thousands of agents sessions are most of the heap: half a gigabyte. A
	// quarter of garbage on top costs a third more of the processor in a first load
	// than a half does, and nothing to speak of afterwards.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	a, err := centre.New(ctx, c, logger)
	if err != nil {
		return err
	}
	a.Start()
	select {
	case <-ctx.Done():
	case <-a.Done():
	}
	return a.Stop()
}

func caHashCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "ca-hash",
		Short: "Print the hash of this aggregator's CA, which `reeve login` asks for",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.load()
			if err != nil {
				return err
			}
			pin, err := identity.ReadPin(centre.CADir(c))
			if errors.Is(err, identity.ErrNoCA) {
				return fmt.Errorf("%w: the aggregator makes one at its first start; --data-dir must be the same as its own", err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), pin)
			return err
		},
	}
}

func adminTokenCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "admin-token",
		Short: "Make another API token for the user admin, while the aggregator is stopped",
		Long: "Make another API token for the user admin, and write it to the file admin-token in the data\n" +
			"directory. It is the way back in for those who have lost theirs: the aggregator must be stopped.\n" +
			"While it runs, `reeve api-token create` makes tokens.",
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.load()
			if err != nil {
				return err
			}
			file, err := makeAdminToken(cmd.Context(), c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), file)
			return err
		},
	}
}

func makeAdminToken(ctx context.Context, c config.Config) (file string, err error) {
	dir := centre.RegistryDir(c)
	there, err := registry.Exists(dir)
	if err != nil {
		return "", err
	}
	if !there {
		return "", fmt.Errorf("there is no registry in %s: the aggregator makes one, and the first token, at its first start", dir)
	}
	r, err := registry.Open(registry.Options{Dir: dir})
	if err != nil {
		return "", fmt.Errorf("%w: is the aggregator still running?", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return api.MakeAdminToken(ctx, r, c.DataDir)
}
