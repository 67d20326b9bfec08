// Package cli has the verbs of the terminal client, one file each.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/config"
	"github.com/reeve-cloud/reeve/tui/output"
)

// What a run of the client exits with.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// System is what a run of the client has around it. All fields are required.
type System struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Dir is the working directory, or empty if there is none.
	Dir string
	Now func() time.Time
}

// Host returns the system that the process runs on.
func Host() System {
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	return System{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Dir: dir, Now: time.Now}
}

// Run runs the client with the arguments, which do not include the program's
// name, and returns the exit code. The end of ctx is the user's interrupt.
func Run(ctx context.Context, args []string, system System) int {
	a := &app{System: system}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(system.Stdin)
	root.SetOut(system.Stdout)
	root.SetErr(system.Stderr)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		a.note("interrupted")
		return exitInterrupted
	case !a.started || isUsage(err):
		a.note("%s (see %s --help)", err, command.CommandPath())
		return exitUsage
	default:
		a.note("%s", err)
		if e, ok := errors.AsType[*explained](err); ok {
			a.more(e.more)
		}
		return exitFailure
	}
}

// app is one run of the client.
type app struct {
	System
	// The flags that every verb has.
	configFile  string
	contextName string
	timeout     time.Duration
	// started says that the command line was understood.
	started bool
	// quiet keeps warnings back, for completion.
	quiet bool
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "reeve",
		Short: "Look at private clouds through a Reeve aggregator",
		Long: `reeve is the terminal client of a Reeve aggregator.

Sign in with "reeve login", then look around with "reeve get".`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.timeout < 0 {
				return fmt.Errorf("--timeout %s: must not be negative", a.timeout)
			}
			a.started = true
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(cmdline.FlagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "",
		"configuration file (default: $REEVE_CONFIG, .reeve/cli.yaml here or above, ~/.config/reeve/cli.yaml)")
	flags.StringVar(&a.contextName, "context", "", "context to use (default: $REEVE_CONTEXT, else the current one)")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for an answer; 0 is for ever")
	a.complete(root, "context", a.completeContexts)
	root.AddCommand(
		a.loginCommand(),
		a.contextCommand(),
		a.statusCommand(),
		a.siteCommand(),
		a.tokenCommand(),
		a.apiTokenCommand(),
		a.agentCommand(),
		a.scopeCommand(),
		a.caCommand(),
		a.getCommand(),
		a.watchCommand(),
		a.diffCommand(),
		a.graphCommand(),
		a.analyzeCommand(),
		a.facetsCommand(),
		a.joinCommand(),
		a.sqlCommand(),
		a.exportCommand(),
		a.layoutCommand(),
		a.queryCommand(),
		a.metricCommand(),
		a.versionCommand(),
	)
	return root
}

// group returns a command that is there for its subcommands only.
func group(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s what?", cmd.CommandPath())
			}
			return unknownCommand(cmd, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.AddCommand(subcommands...)
	return cmd
}

// exactly returns the check for a verb that takes the named argument and no
// other. Its error does not repeat what was given, which may be a secret.
func exactly(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s takes exactly one argument, %s; there are %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

// noArguments is the check for a verb that takes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments; there are %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// note writes a line for the user beside the output.
func (a *app) note(format string, args ...any) {
	// There is nowhere to say that standard error is closed.
	_, _ = fmt.Fprintf(a.Stderr, "reeve: %s\n", output.Escape(fmt.Sprintf(format, args...)))
}

// more writes lines that belong to the note before.
func (a *app) more(lines []string) {
	for _, line := range lines {
		_, _ = fmt.Fprintln(a.Stderr, output.Escape(line))
	}
}

// say writes a line of output.
func (a *app) say(format string, args ...any) error {
	if _, err := fmt.Fprintln(a.Stdout, output.Escape(fmt.Sprintf(format, args...))); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// loadConfig returns the configuration file in use and its path.
func (a *app) loadConfig() (*config.File, string, error) {
	warn := func(s string) {
		if !a.quiet {
			a.note("warning: %s", s)
		}
	}
	source := config.Source{
		File:       a.configFile,
		Dir:        a.Dir,
		ConfigHome: a.Getenv("XDG_CONFIG_HOME"),
		Home:       a.Getenv("HOME"),
	}
	if source.File == "" {
		source.File = a.Getenv("REEVE_CONFIG")
	}
	path, err := source.Locate(warn)
	if err != nil {
		return nil, "", err
	}
	file, err := config.Load(path)
	if err != nil {
		return nil, "", err
	}
	if err := config.CheckPrivate(path); err != nil {
		warn(err.Error())
	}
	return file, path, nil
}

// chosenContext returns the name of the context to use, and what chose it. The
// name is empty if nothing did.
func (a *app) chosenContext(file *config.File) (name, by string) {
	if a.contextName != "" {
		return a.contextName, "--context"
	}
	if name := a.Getenv("REEVE_CONTEXT"); name != "" {
		return name, "REEVE_CONTEXT"
	}
	return file.Current, "current"
}

// unknownContext is the error for a context that a file does not have.
func unknownContext(file *config.File, shown, name, path string) error {
	known := make([]string, len(file.Contexts))
	for i, c := range file.Contexts {
		known[i] = c.Name
	}
	return fmt.Errorf("no context %s in %s%s: see reeve context list", shown, path, nearest.Hint(name, known))
}

// pickContext returns the context to use.
func (a *app) pickContext(file *config.File, path string) (config.Context, error) {
	name, by := a.chosenContext(file)
	if name == "" {
		if len(file.Contexts) > 0 {
			return config.Context{}, fmt.Errorf("no context is chosen in %s: choose one with reeve context use", path)
		}
		return config.Context{}, fmt.Errorf("not signed in (%s has no context): sign in with reeve login SERVER", path)
	}
	c := file.Context(name)
	if c == nil {
		return config.Context{}, unknownContext(file, fmt.Sprintf("%q (%s)", name, by), name, path)
	}
	return *c, nil
}
