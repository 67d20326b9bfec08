// Package question has the verbs that compute an answer over many assets: groups, facets, joins, graphs, SQL, and exports.
package question

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type analyzeOptions struct {
	verb.OutputOptions
	verb.SelectOptions
	by, values, computed []string
	having, sort, pivot  string
	series, from         string
	limit, pivotLimit    int
	others, totals       bool
}

// AnalyzeCommand returns the verb analyze.
func AnalyzeCommand(a *verb.App) *cobra.Command {
	var o analyzeOptions
	cmd := &cobra.Command{
		Use:   "analyze",
		Short: "Group assets, and count and add up what each group has",
		Long: `Group assets by fields, and compute values of each group.

A key of --by is a field, perhaps with :hour, :day, :week, :month, :year behind it for
moments, or :each, which counts an asset with several values once for each of them.
A value of --value is NAME=FUNCTION(FIELD) or FUNCTION(FIELD): count, distinct, sum,
avg, min, max, or a quantile such as p95; behind it may stand WHERE and a filter.
--compute and --having are expressions over the names of values.
--series day (or hour, week, month, year) tells each group as it was at the end of each
period.`,
		Example: `  reeve analyze --by type,status
  reeve analyze -l type:server --by project --value 'cores=sum(flavor.vcpus)' --value 'big=count() WHERE flavor.vcpus>8' --totals
  reeve analyze --by site --value 'n=count()' --value 'ram=sum(flavor.ram)' --compute 'each=ram / n' --having 'n > 10' --sort 'each desc'
  reeve analyze --type pods --by spec.nodeName --pivot status --limit 20 --others
  reeve analyze -l type:server --by flavor.name --series day --from -30d -o csv`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return analyze(cmd.Context(), a, o) },
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	o.SelectOptions.AddTo(a, cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.by, "by", nil, "fields to group by")
	f.StringArrayVar(&o.values, "value", nil, "a value of each group: NAME=FUNCTION(FIELD); may be given several times")
	f.StringArrayVar(&o.computed, "compute", nil, "NAME=EXPRESSION over other values; may be given several times")
	f.StringVar(&o.having, "having", "", "only groups for which this comparison is true")
	f.StringVar(&o.sort, "sort", "", "names of keys and values, each perhaps with desc behind it (default: the first value, the largest "+
		"first)")
	f.StringVar(&o.pivot, "pivot", "", "one more field, whose values become columns")
	f.IntVar(&o.pivotLimit, "pivot-limit", 0, "how many of them; 0 is 10")
	f.IntVar(&o.limit, "limit", 0, "how many groups; 0 is 100, of series 10")
	f.BoolVar(&o.others, "others", false, "a group more for all that are not shown")
	f.BoolVar(&o.totals, "totals", false, "a group more for all together")
	f.StringVar(&o.series, "series", "", "tell each group over periods: hour, day, week, month, year")
	f.StringVar(&o.from, "from", "", "where a series begins: a date, a time, or a span such as -90d (default: 30 periods ago)")
	a.Complete(cmd, "series", func(context.Context) []string { return bucketNames })
	return cmd
}

// bucketNames are the periods as a user gives them.
var bucketNames = []string{"hour", "day", "week", "month", "year"}

func parseBucket(flag, name string) (reevev1.GroupKey_Bucket, error) {
	bucket, ok := reevev1.GroupKey_Bucket_value["BUCKET_"+strings.ToUpper(name)]
	if !ok || bucket == 0 {
		return 0, verb.Usagef("%s %q: must be hour, day, week, month or year%s", flag, name, nearest.Hint(name, bucketNames))
	}
	return reevev1.GroupKey_Bucket(bucket), nil
}

// parseKey reads FIELD, FIELD:PERIOD or FIELD:each.
func parseKey(flag, text string) (*reevev1.GroupKey, error) {
	field, rest, more := cutLast(text, ':')
	if !more {
		return &reevev1.GroupKey{Field: text}, nil
	}
	if rest == "each" {
		return &reevev1.GroupKey{Field: field, Each: true}, nil
	}
	bucket, err := parseBucket(flag, rest)
	return &reevev1.GroupKey{Field: field, Bucket: bucket}, err
}

func cutLast(text string, by byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, by)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

var functionNames = map[string]reevev1.GroupValue_Function{
	"count": reevev1.GroupValue_FUNCTION_COUNT, "distinct": reevev1.GroupValue_FUNCTION_DISTINCT, "sum": reevev1.GroupValue_FUNCTION_SUM,
	"avg": reevev1.GroupValue_FUNCTION_AVERAGE, "min": reevev1.GroupValue_FUNCTION_MIN, "max": reevev1.GroupValue_FUNCTION_MAX,
}

// parseValue reads [NAME=]FUNCTION(FIELD) [WHERE FILTER].
func parseValue(text string) (*reevev1.GroupValue, error) {
	v := &reevev1.GroupValue{}
	head, filter, _ := strings.Cut(text, " WHERE ")
	v.Filter = strings.TrimSpace(filter)
	head = strings.TrimSpace(head)
	open := strings.IndexByte(head, '(')
	if open < 0 || !strings.HasSuffix(head, ")") {
		return nil, verb.Usagef("--value %q: must be NAME=FUNCTION(FIELD), as in cores=sum(flavor.vcpus)", text)
	}
	v.Field = strings.TrimSpace(head[open+1 : len(head)-1])
	name, function, named := strings.Cut(head[:open], "=")
	if !named {
		name, function = "", head[:open]
	}
	function = strings.ToLower(strings.TrimSpace(function))
	if percent, ok := strings.CutPrefix(function, "p"); ok && functionNames[function] == 0 {
		level, err := strconv.ParseFloat(percent, 64)
		if err != nil || level <= 0 || level >= 100 {
			return nil, verb.Usagef("--value %q: %s is no function: there are count, distinct, sum, avg, min, max, and quantiles such as p95",
				text, function)
		}
		v.Function, v.Level = reevev1.GroupValue_FUNCTION_QUANTILE, level/100
	} else if v.Function, ok = functionNames[function]; !ok {
		return nil, verb.Usagef("--value %q: %s is no function: there are count, distinct, sum, avg, min, max, and quantiles such as p95", text,
			function)
	}
	if v.Name = strings.TrimSpace(name); v.Name == "" {
		v.Name = strings.ReplaceAll(function, ".", "_")
		if last := v.Field[strings.LastIndexByte(v.Field, '.')+1:]; last != "" {
			v.Name += "_" + strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
					return r
				}
				return '_'
			}, last)
		}
	}
	return v, nil
}

func analyze(ctx context.Context, a *verb.App, o analyzeOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	var keys []*reevev1.GroupKey
	for _, text := range o.by {
		k, err := parseKey("--by", text)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	var values []*reevev1.GroupValue
	for _, text := range o.values {
		v, err := parseValue(text)
		if err != nil {
			return err
		}
		values = append(values, v)
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if o.Type != "" {
		t, err := s.AssetType(ctx, o.Site, o.Type)
		if err != nil {
			return err
		}
		o.Type = t.GetName()
	}
	selection, err := a.Selection(&o.SelectOptions)
	if err != nil {
		return err
	}
	if o.series != "" {
		return series(ctx, s, p, o, selection, keys, values)
	}
	r := &reevev1.AnalyzeAssetsRequest{Selection: selection, GroupBy: keys, Values: values, Having: o.having, OrderBy: o.sort,
		Limit:      int32(o.limit),
		PivotLimit: int32(o.pivotLimit), Others: o.others, Totals: o.totals}
	for _, text := range o.computed {
		name, expression, ok := strings.Cut(text, "=")
		if !ok {
			return verb.Usagef("--compute %q: must be NAME=EXPRESSION", text)
		}
		r.Computed = append(r.Computed, &reevev1.ComputedValue{Name: strings.TrimSpace(name), Expression: expression})
	}
	if o.pivot != "" {
		if r.Pivot, err = parseKey("--pivot", o.pivot); err != nil {
			return err
		}
	}
	answer, err := s.Query.AnalyzeAssets(ctx, connect.NewRequest(r))
	if err != nil {
		return s.Explain(err)
	}
	a.Warnings(o.Filter, answer.Msg.GetFilter().GetWarnings())
	if p.Format == output.JSON || p.Format == output.YAML {
		return p.Document(answer.Msg)
	}
	headings, rows := verb.GroupRows(answer.Msg)
	if err := a.WriteRows(p, headings, rows); err != nil {
		return err
	}
	if answer.Msg.GetMore() {
		a.Note("there are more groups: --limit, --others")
	}
	return nil
}

// series shows groups over periods: a row for each period of each.
func series(ctx context.Context, s *verb.Session, p *output.Printer, o analyzeOptions, selection *reevev1.AssetSelection,
	keys []*reevev1.GroupKey,
	values []*reevev1.GroupValue) error {
	if o.AsOf != "" || o.having != "" || o.pivot != "" || len(o.computed) > 0 || o.totals || o.sort != "" {
		return verb.Usagef("--series: --as-of, --having, --pivot, --compute, --totals and --sort do not go with it")
	}
	interval, err := parseBucket("--series", o.series)
	if err != nil {
		return err
	}
	from, err := s.App.AsOf(o.from)
	if err != nil {
		return err
	}
	answer, err := s.Query.QuerySeries(ctx, connect.NewRequest(&reevev1.QuerySeriesRequest{
		Selection: selection, Interval: interval, StartTime: from, GroupBy: keys, Values: values, Limit: int32(o.limit), Others: o.others,
	}))
	if err != nil {
		return s.Explain(err)
	}
	m := answer.Msg
	s.App.Warnings(o.Filter, m.GetFilter().GetWarnings())
	if p.Format == output.JSON || p.Format == output.YAML {
		return p.Document(m)
	}
	headings := []string{"FROM"}
	for _, k := range m.GetKeys() {
		headings = append(headings, strings.ToUpper(k))
	}
	for _, v := range m.GetValues() {
		headings = append(headings, strings.ToUpper(v.GetName()))
	}
	all := m.GetSeries()
	if m.GetOthers() != nil {
		all = append(all, m.GetOthers())
	}
	var rows [][]string
	for i, t := range m.GetTimes() {
		for _, x := range all {
			row := []string{verb.Stamp(t)}
			for j := range m.GetKeys() {
				text := "(others)"
				if j < len(x.GetKeys()) {
					text = strings.ReplaceAll(x.GetKeys()[j], "\x1f", ", ")
				}
				row = append(row, text)
			}
			if i < len(x.GetPoints()) {
				row = append(row, verb.NumberTexts(m.GetValues(), x.GetPoints()[i])...)
			}
			rows = append(rows, row)
		}
	}
	return s.App.WriteRows(p, headings, rows)
}

type facetsOptions struct {
	verb.OutputOptions
	verb.SelectOptions
	limit int
}

// FacetsCommand returns the verb facets.
func FacetsCommand(a *verb.App) *cobra.Command {
	var o facetsOptions
	cmd := &cobra.Command{
		Use:   "facets FIELD...",
		Short: "Show which values fields have, and how many assets have each",
		Long: `Show the commonest values of up to eight fields of the assets that pass a filter, and how
many assets have each. An asset that has several values counts with each of them.`,
		Example: `  reeve facets type status
  reeve facets -l type:pod status spec.nodeName labels.app --limit 5`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return facets(cmd.Context(), a, o, args) },
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	o.SelectOptions.AddTo(a, cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "how many values of each field; 0 is 10, at most 100")
	return cmd
}

func facets(ctx context.Context, a *verb.App, o facetsOptions, fields []string) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if o.Type != "" {
		t, err := s.AssetType(ctx, o.Site, o.Type)
		if err != nil {
			return err
		}
		o.Type = t.GetName()
	}
	selection, err := a.Selection(&o.SelectOptions)
	if err != nil {
		return err
	}
	answer, err := s.Query.ListFacets(ctx, connect.NewRequest(&reevev1.ListFacetsRequest{Selection: selection, Fields: fields,
		Limit: int32(o.limit)}))
	if err != nil {
		return s.Explain(err)
	}
	a.Warnings(o.Filter, answer.Msg.GetFilter().GetWarnings())
	if p.Format == output.JSON || p.Format == output.YAML {
		return p.Document(answer.Msg)
	}
	var rows [][]string
	for _, f := range answer.Msg.GetFacets() {
		for _, v := range f.GetValues() {
			rows = append(rows, []string{f.GetField(), v.GetValue(), fmt.Sprint(v.GetAssets())})
		}
		if n := f.GetDistinctValues() - int64(len(f.GetValues())); n > 0 {
			rows = append(rows, []string{f.GetField(), fmt.Sprintf("(%d more)", n), ""})
		}
		if n := f.GetMissingAssets(); n > 0 {
			rows = append(rows, []string{f.GetField(), "(none)", fmt.Sprint(n)})
		}
	}
	return a.WriteRows(p, []string{"FIELD", "VALUE", "ASSETS"}, rows)
}

type joinOptions struct {
	verb.OutputOptions
	left, right, kind, asOf string
	columns                 []string
	outer                   bool
	limit                   int
}

// JoinCommand returns the verb join.
func JoinCommand(a *verb.App) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join LEFT RIGHT",
		Short: "List pairs of assets that have a relation, with fields of both",
		Long: `List pairs of assets that have a relation: those that pass the filter LEFT with those that
pass RIGHT. Fields of --columns begin with left. or right.`,
		Example: `  reeve join 'type:server' 'type:hypervisor status:disabled' --relation runs_on --columns left.status,right.state
  reeve join 'type:volume' 'type:server' --outer -o csv`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.left, o.right = args[0], args[1]
			return join(cmd.Context(), a, o)
		},
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.JSON, output.CSV)
	o.AddNoHeaders(cmd)
	f := cmd.Flags()
	f.StringVar(&o.kind, "relation", "", "only relations of this kind, in either direction")
	f.StringSliceVar(&o.columns, "columns", nil, "fields to show, as in left.status,right.spec.nodeName")
	f.BoolVar(&o.outer, "outer", false, "also what is left and has no such relation")
	f.StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	f.IntVar(&o.limit, "limit", 1000, "show at most this many; 0 is all")
	return cmd
}

func join(ctx context.Context, a *verb.App, o joinOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	at, err := a.AsOf(o.asOf)
	if err != nil {
		return err
	}
	r := &reevev1.JoinAssetsRequest{Left: &reevev1.AssetSelection{Filter: o.left, AsOf: at}, Right: &reevev1.AssetSelection{Filter: o.right},
		Relation: o.kind, Outer: o.outer}
	headings := []string{"LEFT-SITE", "LEFT-TYPE", "LEFT-NAME", "RIGHT-SITE", "RIGHT-TYPE", "RIGHT-NAME"}
	for _, c := range o.columns {
		side, field, ok := strings.Cut(c, ".")
		switch {
		case ok && side == "left":
			r.LeftColumns = append(r.LeftColumns, field)
		case ok && side == "right":
			r.RightColumns = append(r.RightColumns, field)
		default:
			return verb.Usagef("--columns %q: must begin with left. or right.", c)
		}
		headings = append(headings, strings.ToUpper(c))
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	cell := func(asset *reevev1.Asset, i int) string {
		if i >= len(asset.GetColumns()) {
			return ""
		}
		return strings.Join(asset.GetColumns()[i].GetValues(), ", ")
	}
	var rows [][]string
	for o.limit == 0 || len(rows) < o.limit {
		r.PageSize = verb.MaxPage
		if o.limit > 0 {
			r.PageSize = int32(min(verb.MaxPage, o.limit-len(rows)))
		}
		answer, err := s.Query.JoinAssets(ctx, connect.NewRequest(r))
		if err != nil {
			return s.Explain(err)
		}
		if r.GetPageToken() == "" {
			a.Warnings(r.GetLeft().GetFilter(), answer.Msg.GetLeftFilter().GetWarnings())
			a.Warnings(r.GetRight().GetFilter(), answer.Msg.GetRightFilter().GetWarnings())
		}
		if p.Format == output.JSON {
			if err := p.Document(answer.Msg); err != nil {
				return err
			}
		}
		for _, pair := range answer.Msg.GetPairs() {
			left, right := pair.GetLeft(), pair.GetRight()
			row := []string{left.GetSite(), left.GetType(), left.GetName(), right.GetSite(), right.GetType(), right.GetName()}
			l, x := 0, 0
			for _, c := range o.columns {
				if strings.HasPrefix(c, "left.") {
					row = append(row, cell(left, l))
					l++
				} else {
					row = append(row, cell(right, x))
					x++
				}
			}
			rows = append(rows, row)
		}
		if r.PageToken = answer.Msg.GetNextPageToken(); r.PageToken == "" {
			break
		}
	}
	if p.Format == output.JSON {
		return nil
	}
	return a.WriteRows(p, headings, rows)
}
