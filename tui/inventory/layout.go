package inventory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// layoutOf returns a type's layout, or nil if it has none that lists are made of.
func layoutOf(t *reevev1.AssetType) (*layout.Layout, error) {
	if t.GetLayout() == nil {
		return nil, nil
	}
	text, err := protojson.Marshal(t.GetLayout())
	if err != nil {
		return nil, err
	}
	l, err := layout.Read(text)
	if err != nil {
		return nil, fmt.Errorf("type %s: %w", t.GetName(), err)
	}
	return l, nil
}

// language is that of the user: "ko-KR", or nothing.
func language(a *verb.App) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if value := a.Getenv(name); value != "" {
			value, _, _ = strings.Cut(value, ".")
			return strings.ReplaceAll(value, "_", "-")
		}
	}
	return ""
}

// sections adds the sections of a layout to the details of an asset.
func sections(ctx context.Context, s *verb.Session, d *output.Details, p *output.Printer, l *layout.Layout, asset *reevev1.Asset) {
	of, age := subject(asset), func(t time.Time) string { return p.Time(timestamppb.New(t)) }
	for i := range l.Sections {
		if shown, ok := l.Sections[i].Show(of, language(s.App), age); ok {
			ask(ctx, s, p, asset.GetType(), &shown)
			section(d, shown, "")
		}
	}
}

// section adds one section. The titles of those around it stand in front of its own.
func section(d *output.Details, s layout.Shown, around string) {
	title := around + s.Title
	switch {
	case len(s.Sections) > 0:
		for _, inner := range s.Sections {
			section(d, inner, title+" / ")
		}
	case s.Query != nil && len(s.Rows) == 0:
		d.Lines(title, []string{"none"})
	case s.Text != "":
		d.Lines(title, strings.Split(s.Text, "\n"))
	case len(s.Heading) == 0:
		lines := make([]string, len(s.Rows))
		for i, row := range s.Rows {
			lines[i] = strings.Join(row, ": ")
		}
		d.Lines(title, lines)
	default:
		headings := make([]string, len(s.Heading))
		for i, h := range s.Heading {
			headings[i] = strings.ToUpper(h)
		}
		d.Section(title, headings, s.Rows)
	}
}

// maxQueried is how many assets a section shows that has to ask for them.
const maxQueried = 10

// ask fills in what a section, and those in it, have to ask the aggregator for. A question that fails is told of, and
// what it was: the asset is shown all the same.
func ask(ctx context.Context, s *verb.Session, p *output.Printer, typ string, shown *layout.Shown) {
	for i := range shown.Sections {
		ask(ctx, s, p, typ, &shown.Sections[i])
	}
	if shown.Query == nil {
		return
	}
	if shown.Query.Type != "" {
		typ = shown.Query.Type
	}
	var err error
	if shown.Kind == layout.QueryTable {
		err = askAssets(ctx, s, p, typ, shown)
	} else {
		err = askGroups(ctx, s, typ, shown)
	}
	if err != nil {
		s.App.Note("the section %s is empty: %v", shown.Title, s.Explain(err))
	}
}

// askAssets fills in a list of assets, and says where the rest of it is.
func askAssets(ctx context.Context, s *verb.Session, p *output.Printer, typ string, shown *layout.Shown) error {
	order := ""
	if shown.Sort != nil {
		order = strings.TrimPrefix(shown.Sort.Path, "@")
		if shown.Sort.Descending {
			order += " desc"
		}
	}
	answer, err := s.Inventory.ListAssets(ctx, connect.NewRequest(&reevev1.ListAssetsRequest{
		PageSize: maxQueried, Type: typ, Filter: shown.Query.Filter, OrderBy: order, View: reevev1.AssetView_ASSET_VIEW_FULL,
	}))
	if err != nil {
		return err
	}
	age := func(t time.Time) string { return p.Time(timestamppb.New(t)) }
	for _, asset := range answer.Msg.GetAssets() {
		row := make([]string, len(shown.Columns))
		for i := range shown.Columns {
			row[i] = shown.Columns[i].Text(subject(asset), age)
		}
		shown.Rows = append(shown.Rows, row)
	}
	if answer.Msg.GetNextPageToken() != "" {
		s.App.Note("the section %s has more than these %d: reeve get assets --type %s --filter '%s'", shown.Title, maxQueried, typ,
			strings.ReplaceAll(shown.Query.Filter, "'", `'\''`))
	}
	return nil
}

var queryFunctions = map[string]reevev1.GroupValue_Function{
	"": reevev1.GroupValue_FUNCTION_COUNT, "count": reevev1.GroupValue_FUNCTION_COUNT, "distinct": reevev1.GroupValue_FUNCTION_DISTINCT,
	"sum": reevev1.GroupValue_FUNCTION_SUM, "avg": reevev1.GroupValue_FUNCTION_AVERAGE, "min": reevev1.GroupValue_FUNCTION_MIN,
	"max": reevev1.GroupValue_FUNCTION_MAX,
}

// askGroups fills in the number of a card, or the numbers of a chart.
func askGroups(ctx context.Context, s *verb.Session, typ string, shown *layout.Shown) error {
	q := shown.Query
	request := &reevev1.AnalyzeAssetsRequest{
		Selection: &reevev1.AssetSelection{Type: typ, Filter: q.Filter}, Limit: int32(q.Top),
		Values: []*reevev1.GroupValue{{Name: "value", Function: queryFunctions[q.Function], Field: strings.TrimPrefix(q.Of, "@")}},
	}
	if q.By != "" {
		request.GroupBy = []*reevev1.GroupKey{{Field: strings.TrimPrefix(q.By, "@")}}
		if q.Top == 0 {
			request.Limit = maxQueried
		}
	}
	answer, err := s.Query.AnalyzeAssets(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	_, shown.Rows = verb.GroupRows(answer.Msg)
	for _, row := range shown.Rows {
		if len(row) > 1 && row[0] == "" {
			row[0] = "(none)"
		}
	}
	return nil
}

// widgets shows the cards and charts of all assets of a type.
func widgets(ctx context.Context, s *verb.Session, p *output.Printer, typ string, l *layout.Layout) error {
	d := output.NewDetails(p)
	for i := range l.Widgets {
		shown, ok := l.Widgets[i].Show(layout.Subject{}, language(s.App), nil)
		if ok {
			ask(ctx, s, p, typ, &shown)
			section(d, shown, "")
		}
	}
	return d.Close()
}

// subject returns what a layout reads of an asset.
func subject(a *reevev1.Asset) layout.Subject {
	labels := make(map[string]any, len(a.GetLabels()))
	for k, v := range a.GetLabels() {
		labels[k] = v
	}
	s := layout.Subject{
		Basics: map[string]any{
			"name": a.GetName(), "uid": a.GetUid(), "region": a.GetRegion(), "project": a.GetProject(),
			"status": a.GetStatus(), "labels": labels, "site": a.GetSite(), "type": a.GetType(), "state": verb.StateName(a.GetState()),
			"scope": a.GetScope(), "agent": a.GetAgentId(),
		},
		Document: a.GetDocument().AsMap(),
	}
	for name, t := range map[string]*timestamppb.Timestamp{
		"created": a.GetCreateTime(), "updated": a.GetUpdateTime(), "changed": a.GetObserveTime(), "deleted": a.GetDeleteTime(),
	} {
		if t != nil {
			s.Basics[name] = t.AsTime().Format(time.RFC3339Nano)
		}
	}
	return s
}

// layoutColumns returns the columns of a list of one type: what every asset has,
// and what the layout adds.
func layoutColumns(p *output.Printer, l *layout.Layout) []output.Column[*reevev1.Asset] {
	// A row is asked for its cells one after the other.
	var (
		last *reevev1.Asset
		read layout.Subject
	)
	of := func(a *reevev1.Asset) layout.Subject {
		if a != last {
			last, read = a, subject(a)
		}
		return read
	}
	age := func(t time.Time) string { return p.Time(timestamppb.New(t)) }
	columns := []output.Column[*reevev1.Asset]{
		{Heading: "SITE", Value: (*reevev1.Asset).GetSite},
		{Heading: "PROJECT", Value: (*reevev1.Asset).GetProject},
		{Heading: "NAME", Value: (*reevev1.Asset).GetName},
	}
	for _, c := range l.Columns {
		if c.Optional {
			continue
		}
		column := output.Column[*reevev1.Asset]{
			Heading: strings.ReplaceAll(strings.ToUpper(c.Title), " ", "-"),
			Value:   func(a *reevev1.Asset) string { return c.Text(of(a), age) },
		}
		if c.Wide {
			column.Only = output.Wide
		}
		if c.Format == layout.StatusWord {
			column.Color = func(a *reevev1.Asset) output.Color { return toneColor(l.Status.Tone(c.Text(of(a), age))) }
		}
		columns = append(columns, column)
	}
	return append(columns,
		output.Column[*reevev1.Asset]{
			Heading: "STATE",
			Value:   func(a *reevev1.Asset) string { return verb.StateName(a.GetState()) },
			Color:   func(a *reevev1.Asset) output.Color { return verb.StateColor(a.GetState()) },
		},
		output.Column[*reevev1.Asset]{Heading: "CHANGED", Value: func(a *reevev1.Asset) string { return p.Time(a.GetObserveTime()) }},
		output.Column[*reevev1.Asset]{Heading: "SINCE", Only: output.Wide, Value: func(a *reevev1.Asset) string { return p.Time(stateSince(a)) }},
		output.Column[*reevev1.Asset]{Heading: "UID", Only: output.Wide, Value: (*reevev1.Asset).GetUid},
		output.Column[*reevev1.Asset]{Heading: "REGION", Only: output.Wide, Value: (*reevev1.Asset).GetRegion},
	)
}

func toneColor(t layout.Tone) output.Color {
	switch t {
	case layout.Good:
		return output.Green
	case layout.Warning:
		return output.Yellow
	case layout.Bad:
		return output.Red
	default:
		return output.NoColor
	}
}
