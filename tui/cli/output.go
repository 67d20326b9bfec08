package cli

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/tui/output"
)

// outputOptions are the flags of verbs that print what the API answers.
type outputOptions struct {
	format    string
	noHeaders bool
	allowed   []output.Format
}

func (o *outputOptions) addTo(cmd *cobra.Command, allowed ...output.Format) {
	o.allowed = allowed
	names, usage := make([]string, len(allowed)), "output format: "
	for i, f := range allowed {
		names[i] = string(f)
		if i > 0 {
			usage += ", "
		}
		usage += names[i]
	}
	cmd.Flags().StringVarP(&o.format, "output", "o", names[0], usage)
	// It fails only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

func (o *outputOptions) addNoHeaders(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "leave the headings of tables out")
}

// printer returns what prints in the format asked for.
func (o *outputOptions) printer(a *app) (*output.Printer, error) {
	format, err := output.ParseFormat(o.format, o.allowed...)
	if err != nil {
		return nil, usagef("--output: %v", err)
	}
	return &output.Printer{
		Writer:    a.Stdout,
		Format:    format,
		NoHeaders: o.noHeaders,
		Color:     isTerminal(a.Stdout) && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb",
		Now:       a.Now(),
	}, nil
}

// finish ends a list, and tells people when it is empty.
func finish[T proto.Message](a *app, p *output.Printer, l *output.List[T], things string) error {
	if err := l.Close(); err != nil {
		return err
	}
	if l.Count() == 0 && isTable(p) {
		a.note("no %s found", things)
	}
	return nil
}

func isTable(p *output.Printer) bool {
	return p.Format == output.Table || p.Format == output.Wide
}

func isTerminal(stream any) bool {
	_, ok := terminal(stream)
	return ok
}

// terminal returns the file descriptor of a reader or writer that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}
