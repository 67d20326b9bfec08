package api

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/reeve-cloud/reeve/aggregator/export"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// analysis is what an export has of groups: they are as few as an answer has.
func (s *Export) analysis(ctx context.Context, m *reevev1.AnalyzeAssetsRequest) (table exportedTable, err error) {
	answer, err := s.Query.AnalyzeAssets(ctx, connect.NewRequest(m))
	if err != nil {
		return table, under("analysis", err)
	}
	a := answer.Msg
	table.name, table.total = "groups", int64(len(a.GetGroups()))
	for _, k := range a.GetKeys() {
		table.columns = append(table.columns, export.Column{Name: k})
	}
	values := func(suffix string) {
		for _, v := range a.GetValues() {
			c := export.Column{Name: v.GetName() + suffix, Kind: export.Number}
			switch v.GetUnit() {
			case reevev1.GroupColumn_UNIT_MOMENT:
				c.Kind = export.Time
			case reevev1.GroupColumn_UNIT_DURATION:
				c.Title = c.Name + " (seconds)"
			}
			table.columns = append(table.columns, c)
		}
	}
	values("")
	for _, p := range a.GetPivotValues() {
		values(" of " + p)
	}
	if a.GetPivotOthers() {
		values(" of all others")
	}
	if a.GetMore() {
		table.notes = append(table.notes, "there are more groups than the file has: limit says how many are asked for")
	}
	for _, w := range a.GetFilter().GetWarnings() {
		table.notes = append(table.notes, "filter: "+w.GetMessage())
	}
	table.rows = func(yield func([]any, error) bool) {
		for _, g := range a.GetGroups() {
			if !yield(groupRow(g, a.GetValues(), len(table.columns)), nil) {
				return
			}
		}
	}
	return table, nil
}

// groupRow is a group as a row. A key without a value is empty.
func groupRow(g *reevev1.Group, columns []*reevev1.GroupColumn, width int) []any {
	row := make([]any, 0, width)
	for _, k := range g.GetKeys() {
		row = append(row, textOrNil(k))
	}
	for _, numbers := range append([]*reevev1.GroupNumbers{g.GetValues()}, g.GetPivot()...) {
		for i, n := range numbers.GetNumbers() {
			var v any
			switch kind := n.GetKind().(type) {
			case *structpb.Value_NumberValue:
				v = kind.NumberValue
				if columns[i].GetUnit() == reevev1.GroupColumn_UNIT_MOMENT {
					v = time.UnixMilli(int64(kind.NumberValue))
				}
			case *structpb.Value_StringValue: // what no number of JSON is
				v = kind.StringValue
			}
			row = append(row, v)
		}
	}
	return row
}
