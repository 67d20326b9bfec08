package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/aggregator/export"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// exportPage is how many rows of an export are read at a time.
const exportPage = query.MaxPage

// exportedTable is a table of an export: what its columns are, and its rows.
type exportedTable struct {
	name    string
	columns []export.Column
	rows    iter.Seq2[[]any, error]
	// total is how many rows there are, about: 0 if that is not known.
	total int64
	// notes are for the summary.
	notes []string
}

// background gives what is read for an export the engine's time that others leave.
func background(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"priority": 2, "max_threads": 1}))
}

// exportColumn is a column, and where its values are.
type exportColumn struct {
	export.Column
	of layout.Column
}

// exportBasics are what every asset has beside its document, and its kinds.
var exportBasics = []struct {
	path, title string
	kind        export.Kind
}{
	{"@site", "Site", export.Text}, {"@type", "Type", export.Text}, {"@name", "Name", export.Text}, {"@uid", "UID", export.Text},
	{"@state", "State", export.Text}, {"@status", "Status", export.Text}, {"@region", "Region", export.Text},
	{"@project", "Project", export.Text}, {"@created", "Created", export.Time}, {"@updated", "Updated", export.Time},
	{"@changed", "Changed", export.Time}, {"@deleted", "Deleted", export.Time}, {"@scope", "Scope", export.Text},
	{"@agent", "Agent", export.Text}, {"@labels", "Labels", export.Nested}, {"@document", "Document", export.Nested},
}

func basicColumn(path string) (exportColumn, error) {
	for _, b := range exportBasics {
		if b.path == path {
			return exportColumn{export.Column{Name: path[1:], Title: b.title, Kind: b.kind}, layout.Column{Path: path}}, nil
		}
	}
	if label, ok := strings.CutPrefix(path, "@labels."); ok && label != "" {
		return exportColumn{export.Column{Name: path[1:]}, layout.Column{Path: path}}, nil
	}
	known := make([]string, len(exportBasics))
	for i, b := range exportBasics {
		known[i] = b.path
	}
	return exportColumn{}, fmt.Errorf("%q: assets have no such column%s: they have %s", short(path), nearest.Hint(path, known),
		strings.Join(known, ", "))
}

// formatKinds are the kinds of columns by the formats of layouts: those that are not here
// are text.
var formatKinds = map[layout.Format]export.Kind{
	layout.Number: export.Number, layout.Bytes: export.Number, layout.Cores: export.Number, layout.Ratio: export.Number,
	layout.Count: export.Integer, layout.Bool: export.Bool, layout.Time: export.Time, layout.Age: export.Time,
}

// exportColumns returns the columns that are asked for. Those of a type's layout are of
// the kind that it says.
func exportColumns(asked []*reevev1.ExportColumn, l *layout.Layout) ([]exportColumn, error) {
	var columns []exportColumn
	if len(asked) == 0 {
		return defaultColumns(l)
	}
	if len(asked) > export.MaxColumns {
		return nil, invalid("columns", "%d of them: must be at most %d", len(asked), export.MaxColumns)
	}
	for i, a := range asked {
		c, err := columnOf(a.GetPath(), l)
		if err != nil {
			return nil, invalid(fmt.Sprintf("columns[%d].path", i), "%w", err)
		}
		if len(a.GetTitle()) > 256 {
			return nil, invalid(fmt.Sprintf("columns[%d].title", i), "%d bytes: must be at most 256", len(a.GetTitle()))
		}
		if a.GetTitle() != "" {
			c.Title = a.GetTitle()
		}
		if slices.ContainsFunc(columns, func(o exportColumn) bool { return o.Name == c.Name }) {
			return nil, invalid(fmt.Sprintf("columns[%d].path", i), "%q is there twice", c.Name)
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// columnOf returns the column for a path.
func columnOf(path string, l *layout.Layout) (exportColumn, error) {
	if strings.HasPrefix(path, "@") {
		return basicColumn(path)
	}
	if err := layout.CheckPath(path); err != nil {
		return exportColumn{}, err
	}
	if l != nil {
		for _, of := range l.Columns {
			if of.Path == path {
				return exportColumn{export.Column{Name: documentName(path), Title: of.Title, Kind: formatKinds[of.Format]}, of}, nil
			}
		}
	}
	return exportColumn{export.Column{Name: documentName(path)}, layout.Column{Path: path}}, nil
}

// documentName is how a file calls a path of the document. What every asset has comes
// without its @, which spreadsheets take for a formula: so a path that reads the same has
// a doc. in front, as in filters.
func documentName(path string) string {
	first, _, _ := strings.Cut(path, ".")
	for _, b := range exportBasics {
		if first == b.path[1:] {
			return "doc." + path
		}
	}
	return path
}

// defaultColumns are those of a layout, between what every asset has.
func defaultColumns(l *layout.Layout) ([]exportColumn, error) {
	before, after := []string{"@site", "@type", "@name", "@uid", "@state", "@status", "@region", "@project"}, []string{"@created", "@changed"}
	if l != nil {
		before = []string{"@site", "@project", "@name", "@uid", "@state"}
	}
	var columns []exportColumn
	add := func(paths []string) error {
		for _, path := range paths {
			c, err := basicColumn(path)
			if err != nil {
				return err
			}
			columns = append(columns, c)
		}
		return nil
	}
	if err := add(before); err != nil {
		return nil, err
	}
	if l != nil {
		for _, of := range l.Columns {
			paths := []string{of.Path}
			// The whole that it is a part of stands beside it: a cell has one number.
			if of.Of != "" && of.Format != layout.Ratio {
				paths = append(paths, of.Of)
			}
			for i, path := range paths {
				c, err := columnOf(path, l)
				if err != nil {
					return nil, err
				}
				if i > 0 && c.Title == "" {
					c.Title, c.Kind, c.of.Format = of.Title+" (of)", formatKinds[of.Format], of.Format
				}
				if slices.ContainsFunc(columns, func(o exportColumn) bool { return o.Name == c.Name }) || slices.Contains(after, path) {
					continue
				}
				columns = append(columns, c)
			}
		}
	}
	return columns, add(after)
}

// assetRows reads assets as rows.
func assetRows(ctx context.Context, questions *query.Engine, q query.ListQuery, columns []exportColumn) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for page, err := range questions.All(ctx, query.All(), q) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page.Rows {
				row, err := assetRow(&page.Rows[i].Asset, columns)
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

var stateWords = map[warehouse.State]string{warehouse.Active: "ACTIVE", warehouse.Disconnected: "DISCONNECTED", warehouse.Gone: "DELETED"}

func assetRow(a *warehouse.Asset, columns []exportColumn) ([]any, error) {
	labels := make(map[string]any, len(a.Labels))
	for k, v := range a.Labels {
		labels[k] = v
	}
	document, err := decodeDocument(a.Document)
	if err != nil {
		return nil, fmt.Errorf("asset %s of type %s in site %s: %w", a.UID, a.Type, a.Site, err)
	}
	subject := layout.Subject{Document: document, Basics: map[string]any{
		"site": a.Site, "type": a.Type, "name": a.Name, "uid": a.UID, "state": stateWords[a.State], "status": textOrNil(a.Status),
		"region": textOrNil(a.Region), "project": textOrNil(a.Project), "labels": labels, "scope": textOrNil(a.Scope), "agent": a.AgentID,
		"created": timeOrNil(a.CreatedAt), "updated": timeOrNil(a.UpdatedAt), "changed": timeOrNil(a.ObservedAt), "document": document,
	}}
	if a.State == warehouse.Gone {
		subject.Basics["deleted"] = timeOrNil(a.ObservedAt)
	}
	row := make([]any, len(columns))
	for i := range columns {
		row[i] = exportValue(columns[i].of.Value(subject), columns[i].Kind)
	}
	return row, nil
}

// exportValue returns a value as its column's kind has it, if it can be: documents have
// times as texts.
func exportValue(v any, kind export.Kind) any {
	if text, ok := v.(string); ok && kind == export.Time {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return t
		}
	}
	return v
}

func textOrNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// decodeDocument returns a document's values, with all digits of numbers that a double
// does not hold.
func decodeDocument(doc []byte) (any, error) {
	if len(doc) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("a document in the warehouse: %w", err)
	}
	return exactNumbers(v), nil
}

func exactNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = exactNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = exactNumbers(e)
		}
	case json.Number:
		f, err := v.Float64()
		if whole := !strings.ContainsAny(v.String(), ".eE"); err != nil || whole && (f >= maxExact || f <= -maxExact) {
			return v
		}
		return f
	}
	return v
}

// changeColumns are those of a history.
var changeColumns = []export.Column{
	{Name: "version", Title: "Version", Kind: export.Integer}, {Name: "operation", Title: "Operation"},
	{Name: "observed", Title: "Observed", Kind: export.Time}, {Name: "received", Title: "Received", Kind: export.Time},
	{Name: "name", Title: "Name"}, {Name: "status", Title: "Status"}, {Name: "changed", Title: "Changed paths", Kind: export.Nested},
	{Name: "agent", Title: "Agent"}, {Name: "document", Title: "Document", Kind: export.Nested},
}

// changeRows reads the versions of an asset as rows.
func (s *Inventory) changeRows(ctx context.Context, key warehouse.AssetKey) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		ctx := background(ctx)
		q := warehouse.ChangeQuery{AssetKey: key, WithDocument: true}
		for {
			q.Limit = exportPage
			fit, err := s.Warehouse.ChangesWithin(ctx, q, pageBytes)
			if err != nil {
				yield(nil, err)
				return
			}
			q.Limit = min(exportPage, max(fit, 1))
			list, err := s.Warehouse.Changes(ctx, q)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range list {
				c := &list[i]
				document, err := decodeDocument(c.Document)
				if err != nil {
					yield(nil, err)
					return
				}
				changed := make([]any, len(c.Changed))
				for j, path := range c.Changed {
					changed[j] = path
				}
				if !yield([]any{c.Version, c.Operation.String(), timeOrNil(c.ObservedAt), timeOrNil(c.ReceivedAt), textOrNil(c.Name),
					textOrNil(c.Status), changed, c.AgentID, document}, nil) {
					return
				}
			}
			if len(list) < q.Limit {
				return
			}
			q.Before = list[len(list)-1].Version
		}
	}
}
