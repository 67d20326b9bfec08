package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/tui/config"
	"github.com/reeve-cloud/reeve/tui/output"
)

func (a *app) contextCommand() *cobra.Command {
	var noHeaders bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List the contexts",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return a.contextList(noHeaders) },
	}
	list.Flags().BoolVar(&noHeaders, "no-headers", false, "leave the headings out")
	return group("context", "Choose between aggregators",
		list,
		&cobra.Command{
			Use:               "use NAME",
			Short:             "Make a context the current one",
			Args:              exactly("NAME"),
			ValidArgsFunction: first(a.completeContexts),
			RunE:              func(_ *cobra.Command, args []string) error { return a.contextUse(args[0]) },
		},
		&cobra.Command{
			Use:               "delete NAME",
			Short:             "Delete a context and its token from this machine",
			Args:              exactly("NAME"),
			ValidArgsFunction: first(a.completeContexts),
			RunE:              func(_ *cobra.Command, args []string) error { return a.contextDelete(args[0]) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Show the context that calls go to",
			Args:  noArguments,
			RunE:  func(*cobra.Command, []string) error { return a.contextShow() },
		},
	)
}

func (a *app) contextList(noHeaders bool) error {
	file, _, err := a.loadConfig()
	if err != nil {
		return err
	}
	if len(file.Contexts) == 0 {
		a.note("no contexts found")
		return nil
	}
	chosen, _ := a.chosenContext(file)
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

func (a *app) contextUse(name string) error {
	return a.changeContext(name, func(file *config.File) { file.Current = name }, "Context %s is the current one")
}

func (a *app) contextDelete(name string) error {
	return a.changeContext(name, func(file *config.File) { file.Delete(name) }, "Context %s is deleted")
}

func (a *app) changeContext(name string, change func(*config.File), done string) error {
	file, path, err := a.loadConfig()
	if err != nil {
		return err
	}
	if file.Context(name) == nil {
		return unknownContext(file, fmt.Sprintf("%q", name), name, path)
	}
	change(file)
	if err := file.Save(path); err != nil {
		return err
	}
	return a.say(done, name)
}

func (a *app) contextShow() error {
	file, path, err := a.loadConfig()
	if err != nil {
		return err
	}
	c, err := a.pickContext(file, path)
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
