// Package verb is what every verb of the terminal client is made with: the run that it belongs to, its session with the
// aggregator, the flags and lists that verbs share, what users may write for types, sites and moments, and errors in words.
package verb

import (
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

// App is one run of the client.
type App struct {
	System
	// The flags that every verb has.
	configFile  string
	ContextName string
	timeout     time.Duration
	// Started says that the command line was understood.
	Started bool
	// quiet keeps warnings back, for completion.
	quiet bool
}

// Group returns a command that is there for its subcommands only.
func Group(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return Usagef("%s what?", cmd.CommandPath())
			}
			return UnknownCommand(cmd, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.AddCommand(subcommands...)
	return cmd
}

// Exactly returns the check for a verb that takes the named argument and no
// other. Its error does not repeat what was given, which may be a secret.
func Exactly(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Usagef("%s takes exactly one argument, %s; there are %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

// NoArguments is the check for a verb that takes none.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("%s takes no arguments; there are %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// Note writes a line for the user beside the output.
func (a *App) Note(format string, args ...any) {
	// There is nowhere to say that standard error is closed.
	_, _ = fmt.Fprintf(a.Stderr, "reeve: %s\n", output.Escape(fmt.Sprintf(format, args...)))
}

// More writes lines that belong to the note before.
func (a *App) More(lines []string) {
	for _, line := range lines {
		_, _ = fmt.Fprintln(a.Stderr, output.Escape(line))
	}
}

// Say writes a line of output.
func (a *App) Say(format string, args ...any) error {
	if _, err := fmt.Fprintln(a.Stdout, output.Escape(fmt.Sprintf(format, args...))); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// LoadConfig returns the configuration file in use and its path.
func (a *App) LoadConfig() (*config.File, string, error) {
	warn := func(s string) {
		if !a.quiet {
			a.Note("warning: %s", s)
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

// ChosenContext returns the name of the context to use, and what chose it. The
// name is empty if nothing did.
func (a *App) ChosenContext(file *config.File) (name, by string) {
	if a.ContextName != "" {
		return a.ContextName, "--context"
	}
	if name := a.Getenv("REEVE_CONTEXT"); name != "" {
		return name, "REEVE_CONTEXT"
	}
	return file.Current, "current"
}

// UnknownContext is the error for a context that a file does not have.
func UnknownContext(file *config.File, shown, name, path string) error {
	known := make([]string, len(file.Contexts))
	for i, c := range file.Contexts {
		known[i] = c.Name
	}
	return fmt.Errorf("no context %s in %s%s: see reeve context list", shown, path, nearest.Hint(name, known))
}

// PickContext returns the context to use.
func (a *App) PickContext(file *config.File, path string) (config.Context, error) {
	name, by := a.ChosenContext(file)
	if name == "" {
		if len(file.Contexts) > 0 {
			return config.Context{}, fmt.Errorf("no context is chosen in %s: choose one with reeve context use", path)
		}
		return config.Context{}, fmt.Errorf("not signed in (%s has no context): sign in with reeve login SERVER", path)
	}
	c := file.Context(name)
	if c == nil {
		return config.Context{}, UnknownContext(file, fmt.Sprintf("%q (%s)", name, by), name, path)
	}
	return *c, nil
}

// AddTo adds the flags that every verb has to the root of all verbs.
func (a *App) AddTo(root *cobra.Command) {
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.timeout < 0 {
			return fmt.Errorf("--timeout %s: must not be negative", a.timeout)
		}
		a.Started = true
		return nil
	}
	root.SetFlagErrorFunc(cmdline.FlagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "",
		"configuration file (default: $REEVE_CONFIG, .reeve/cli.yaml here or above, ~/.config/reeve/cli.yaml)")
	flags.StringVar(&a.ContextName, "context", "", "context to use (default: $REEVE_CONTEXT, else the current one)")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for an answer; 0 is for ever")
	a.Complete(root, "context", a.CompleteContexts)
}
