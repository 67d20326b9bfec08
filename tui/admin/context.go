package admin

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/tui/config"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// ContextCommand returns the verb context.
func ContextCommand(a *verb.App) *cobra.Command {
	var noHeaders bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List the contexts",
		Args:  verb.NoArguments,
		RunE:  func(*cobra.Command, []string) error { return contextList(a, noHeaders) },
	}
	list.Flags().BoolVar(&noHeaders, "no-headers", false, "leave the headings out")
	return verb.Group("context", "Choose between aggregators",
		list,
		&cobra.Command{
			Use:               "use NAME",
			Short:             "Make a context the current one",
			Args:              verb.Exactly("NAME"),
			ValidArgsFunction: verb.First(a.CompleteContexts),
			RunE:              func(_ *cobra.Command, args []string) error { return contextUse(a, args[0]) },
		},
		&cobra.Command{
			Use:               "delete NAME",
			Short:             "Delete a context and its token from this machine",
			Args:              verb.Exactly("NAME"),
			ValidArgsFunction: verb.First(a.CompleteContexts),
			RunE:              func(_ *cobra.Command, args []string) error { return contextDelete(a, args[0]) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Show the context that calls go to",
			Args:  verb.NoArguments,
			RunE:  func(*cobra.Command, []string) error { return contextShow(a) },
		},
	)
}

func contextList(a *verb.App, noHeaders bool) error {
	file, _, err := a.LoadConfig()
	if err != nil {
		return err
	}
	if len(file.Contexts) == 0 {
		a.Note("no contexts found")
		return nil
	}
	chosen, _ := a.ChosenContext(file)
	rows := make([][]string, len(file.Contexts))
	for i, c := range file.Contexts {
		mark := " "
		if c.Name == chosen {
			mark = "*"
		}
		rows[i] = []string{mark, c.Name, c.Server, c.CAHash}
	}
	p := &output.Printer{Writer: a.Stdout, NoHeaders: noHeaders}
	return p.Rows([]string{"CURRENT", "NAME", "SERVER", "CA-HASH"}, rows)
}

func contextUse(a *verb.App, name string) error {
	return changeContext(a, name, func(file *config.File) { file.Current = name }, "Context %s is the current one")
}

func contextDelete(a *verb.App, name string) error {
	return changeContext(a, name, func(file *config.File) { file.Delete(name) }, "Context %s is deleted")
}

func changeContext(a *verb.App, name string, change func(*config.File), done string) error {
	file, path, err := a.LoadConfig()
	if err != nil {
		return err
	}
	if file.Context(name) == nil {
		return verb.UnknownContext(file, fmt.Sprintf("%q", name), name, path)
	}
	change(file)
	if err := file.Save(path); err != nil {
		return err
	}
	return a.Say(done, name)
}

func contextShow(a *verb.App) error {
	file, path, err := a.LoadConfig()
	if err != nil {
		return err
	}
	c, err := a.PickContext(file, path)
	if err != nil {
		return err
	}
	d := output.NewDetails(&output.Printer{Writer: a.Stdout})
	d.Field("Name", c.Name)
	d.Field("Server", c.Server)
	d.Field("CA hash", c.CAHash)
	d.Field("Configuration", path)
	return d.Close()
}
