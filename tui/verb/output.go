package verb

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/tui/output"
)

// OutputOptions are the flags of verbs that print what the API answers.
type OutputOptions struct {
	Format    string
	noHeaders bool
	allowed   []output.Format
}

// AddTo adds the flag of the format to a verb: the first that is allowed is the default.
func (o *OutputOptions) AddTo(cmd *cobra.Command, allowed ...output.Format) {
	o.allowed = allowed
	names, usage := make([]string, len(allowed)), "output format: "
	for i, f := range allowed {
		names[i] = string(f)
		if i > 0 {
			usage += ", "
		}
		usage += names[i]
	}
	cmd.Flags().StringVarP(&o.Format, "output", "o", names[0], usage)
	// It fails only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

// AddNoHeaders adds the flag that leaves headings out.
func (o *OutputOptions) AddNoHeaders(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "leave the headings of tables out")
}

// Printer returns what prints in the format asked for.
func (o *OutputOptions) Printer(a *App) (*output.Printer, error) {
	format, err := output.ParseFormat(o.Format, o.allowed...)
	if err != nil {
		return nil, Usagef("--output: %v", err)
	}
	return &output.Printer{
		Writer:    a.Stdout,
		Format:    format,
		NoHeaders: o.noHeaders,
		Color:     IsTerminal(a.Stdout) && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb",
		Now:       a.Now(),
	}, nil
}

// finish ends a list, and tells people when it is empty.
func finish[T proto.Message](a *App, p *output.Printer, l *output.List[T], things string) error {
	if err := l.Close(); err != nil {
		return err
	}
	if l.Count() == 0 && IsTable(p) {
		a.Note("no %s found", things)
	}
	return nil
}

// IsTable reports whether people are to read what is printed.
func IsTable(p *output.Printer) bool {
	return p.Format == output.Table || p.Format == output.Wide
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(stream any) bool {
	_, ok := Terminal(stream)
	return ok
}

// Terminal returns the file descriptor of a reader or writer that is a terminal.
func Terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}
