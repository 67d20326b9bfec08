package verb

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// GroupRows are the groups as rows of texts.
func GroupRows(m *reevev1.AnalyzeAssetsResponse) (headings []string, rows [][]string) {
	for _, k := range m.GetKeys() {
		headings = append(headings, strings.ToUpper(k))
	}
	for _, v := range m.GetValues() {
		headings = append(headings, strings.ToUpper(v.GetName()))
	}
	pivots := m.GetPivotValues()
	if m.GetPivotOthers() {
		pivots = append(slices.Clip(pivots), "(others)")
	}
	for _, pivot := range pivots {
		if pivot == "" {
			pivot = "(none)"
		}
		for _, v := range m.GetValues() {
			headings = append(headings, strings.ToUpper(pivot+" "+v.GetName()))
		}
	}
	add := func(first string, g *reevev1.Group) {
		if g == nil {
			return
		}
		var row []string
		for i := range m.GetKeys() {
			switch {
			case i < len(g.GetKeys()):
				row = append(row, strings.ReplaceAll(g.GetKeys()[i], "\x1f", ", "))
			case i == 0:
				row = append(row, first)
			default:
				row = append(row, "")
			}
		}
		row = append(row, NumberTexts(m.GetValues(), g.GetValues())...)
		for _, cell := range g.GetPivot() {
			row = append(row, NumberTexts(m.GetValues(), cell)...)
		}
		rows = append(rows, row)
	}
	for _, g := range m.GetGroups() {
		add("", g)
	}
	add("(others)", m.GetOthers())
	add("(all)", m.GetTotals())
	return headings, rows
}

// NumberTexts are the values of a group; of a group that has none, nothing for each.
func NumberTexts(columns []*reevev1.GroupColumn, values *reevev1.GroupNumbers) []string {
	texts := make([]string, len(columns))
	for i, n := range values.GetNumbers() {
		if i < len(texts) {
			texts[i] = NumberText(columns[i].GetUnit(), n)
		}
	}
	return texts
}

// NumberText is a value of a group: a moment and a duration as such, and all digits of a number.
func NumberText(unit reevev1.GroupColumn_Unit, v *structpb.Value) string {
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok {
		return ValueText(v)
	}
	switch unit {
	case reevev1.GroupColumn_UNIT_MOMENT:
		return time.UnixMilli(int64(n.NumberValue)).UTC().Format(time.RFC3339)
	case reevev1.GroupColumn_UNIT_DURATION:
		return time.Duration(n.NumberValue * float64(time.Second)).String()
	}
	return strconv.FormatFloat(n.NumberValue, 'f', -1, 64)
}

// ValueText returns a value as tables and CSV have it: texts as they are, what is
// nested as JSON, and nothing for null.
func ValueText(v *structpb.Value) string {
	switch v.GetKind().(type) {
	case *structpb.Value_NullValue, nil:
		return ""
	case *structpb.Value_StringValue:
		return v.GetStringValue()
	}
	text, err := protojson.Marshal(v)
	if err != nil {
		return ""
	}
	// protojson varies its white space on purpose.
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return string(text)
	}
	return compact.String()
}
