package verb

import (
	"encoding/csv"
	"fmt"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

// SelectOptions are the flags of verbs that ask for some of the assets.
type SelectOptions struct {
	Filter, Site, Type, AsOf string
	States                   []string
}

// AddTo adds the flags to a verb.
func (o *SelectOptions) AddTo(a *App, cmd *cobra.Command) {
	o.addFilter(cmd)
	cmd.Flags().StringVar(&o.Site, "site", "", "only this site")
	cmd.Flags().StringVar(&o.Type, "type", "", "only this type (reeve get types lists them)")
	cmd.Flags().StringSliceVar(&o.States, "state", nil, "only these states: active, disconnected, deleted")
	a.CompleteFilter(cmd, "filter", &o.Site, &o.Type)
	a.Complete(cmd, "site", a.CompleteSites)
	a.Complete(cmd, "type", a.CompleteTypes)
}

// addFilter adds those flags that no verb had before.
func (o *SelectOptions) addFilter(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.Filter, "filter", "l", "", "only what passes this, as in 'type:pod status!=Running memory>4GiB' "+
		"(docs/filter.md)")
	cmd.Flags().StringVar(&o.AsOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
}

// Selection returns what the API is asked for. The type must be resolved before.
func (a *App) Selection(o *SelectOptions) (*reevev1.AssetSelection, error) {
	states, err := ParseStates(o.States)
	if err != nil {
		return nil, err
	}
	at, err := a.AsOf(o.AsOf)
	if err != nil {
		return nil, err
	}
	return &reevev1.AssetSelection{Filter: o.Filter, Site: o.Site, Type: o.Type, States: states, AsOf: at}, nil
}

// filterLines shows where a filter is wrong: what, the filter, and carets under the place.
// There are none for errors of anything else.
func filterLines(err *connect.Error) []string {
	for _, d := range err.Details() {
		value, e := d.Value()
		if e != nil {
			continue
		}
		if f, ok := value.(*reevev1.FilterError); ok {
			return problemLines(f.GetFilter(), f.GetProblems())
		}
	}
	return nil
}

// problemLines are the lines that show what is wrong with a filter.
func problemLines(filter string, problems []*reevev1.FilterProblem) []string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.GetMessage())
		if p.GetEnd() == 0 && p.GetMessage() != "" && len(p.GetMends()) == 0 { // it is of another part of the request
			continue
		}
		lines = append(lines, "  "+shownFilter(filter))
		start, end := clamp(filter, p.GetStart()), clamp(filter, p.GetEnd())
		width := max(1, utf8.RuneCountInString(filter[start:max(start, end)]))
		lines = append(lines, "  "+strings.Repeat(" ", utf8.RuneCountInString(filter[:start]))+strings.Repeat("^", width))
		for _, m := range p.GetMends() {
			if m == "" {
				m = "nothing"
			}
			lines = append(lines, "  write "+shownFilter(m))
		}
	}
	return lines
}

// shownFilter is a filter in which each character takes the place of one.
func shownFilter(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, s)
}

// clamp returns a place of a text that is within it and no part of a character.
func clamp(s string, at int32) int {
	n := max(0, min(int(at), len(s)))
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// Warnings tells what is probably meant otherwise.
func (a *App) Warnings(filter string, list []*reevev1.FilterProblem) {
	for _, p := range list {
		lines := problemLines(filter, []*reevev1.FilterProblem{p})
		a.Note("warning: %s", lines[0])
		if p.GetEnd() > 0 { // else it is of no place in the filter
			a.More(lines[1:])
		}
	}
}

// WriteRows writes rows of texts: as a table, or as CSV.
func (a *App) WriteRows(p *output.Printer, headings []string, rows [][]string) error {
	if p.Format == output.CSV {
		return a.WriteCSV(p, headings, rows)
	}
	return p.Table(headings, rows)
}

// WriteCSV writes rows as CSV, with headings unless they are nil.
func (a *App) WriteCSV(p *output.Printer, headings []string, rows [][]string) error {
	w := csv.NewWriter(p.Writer)
	if !p.NoHeaders && headings != nil {
		rows = append([][]string{headings}, rows...)
	}
	for _, row := range rows {
		record := make([]string, len(row))
		for i, text := range row {
			// What goes to a program is as it is; a terminal could be told things.
			if record[i] = text; IsTerminal(a.Stdout) {
				record[i] = output.Escape(text)
			}
		}
		if err := w.Write(record); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// Stamp is a moment of a message, as CSV has it.
func Stamp(t *timestamppb.Timestamp) string { return output.Timestamp(t) }
