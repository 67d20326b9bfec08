package question

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// MetricCommand returns the verb metric.
func MetricCommand(a *verb.App) *cobra.Command {
	forget := &cobra.Command{
		Use:               "delete METRIC",
		Short:             "Forget a metric, and all of its samples",
		Args:              verb.Exactly("METRIC"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeMetrics(ctx, a) }),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.Open()
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = s.Metric.DeleteMetric(cmd.Context(), connect.NewRequest(&reevev1.DeleteMetricRequest{Name: args[0]}))
			return s.Explain(err)
		},
	}
	list := GetMetricsCommand(a)
	list.Use, list.Aliases = "list", nil
	return verb.Group("metric", "Keep numbers of assets over time", metricSaveCommand(a), list, metricRunCommand(a), metricSeriesCommand(a),
		metricBackfillCommand(a), forget)
}

func completeMetrics(ctx context.Context, a *verb.App) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *verb.Session) (names []string) {
		answer, err := s.Metric.ListMetrics(ctx, connect.NewRequest(&reevev1.ListMetricsRequest{PageSize: verb.MaxPage}))
		if err != nil {
			return nil
		}
		for _, m := range answer.Msg.GetMetrics() {
			names = append(names, m.GetName())
		}
		return names
	})
}

// GetMetricsCommand returns the verb get metrics.
func GetMetricsCommand(a *verb.App) *cobra.Command {
	var o verb.SiteListOptions
	cmd := &cobra.Command{
		Use:     "metrics",
		Aliases: []string{"metric"},
		Short:   "List metrics, and how their sampling goes",
		Args:    verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verb.List(cmd.Context(), a, o, "metrics", metricColumns, func(s *verb.Session) client.PageFunc[*reevev1.Metric] {
				return func(ctx context.Context, size int32, token string) ([]*reevev1.Metric, string, error) {
					answer, err := s.Metric.ListMetrics(ctx, connect.NewRequest(&reevev1.ListMetricsRequest{PageSize: size, PageToken: token}))
					if err != nil {
						return nil, "", err
					}
					return answer.Msg.GetMetrics(), answer.Msg.GetNextPageToken(), nil
				}
			})
		},
	}
	o.ListOptions.AddTo(cmd)
	return cmd
}

func metricColumns(p *output.Printer) []output.Column[*reevev1.Metric] {
	names := func(m *reevev1.Metric) (labels, values []string) {
		for _, k := range m.GetLabels() {
			name := k.GetName()
			if name == "" {
				name = k.GetField()
			}
			labels = append(labels, name)
		}
		for _, v := range m.GetValues() {
			values = append(values, v.GetName())
		}
		return labels, values
	}
	return []output.Column[*reevev1.Metric]{
		{Heading: "NAME", Value: (*reevev1.Metric).GetName},
		{Heading: "TITLE", Value: (*reevev1.Metric).GetTitle},
		{Heading: "TYPE", Only: output.Wide, Value: func(m *reevev1.Metric) string { return m.GetSelection().GetType() }},
		{Heading: "FILTER", Only: output.Wide, Value: func(m *reevev1.Metric) string { return m.GetSelection().GetFilter() }},
		{Heading: "LABELS", Value: func(m *reevev1.Metric) string { labels, _ := names(m); return strings.Join(labels, ",") }},
		{Heading: "VALUES", Only: output.Wide, Value: func(m *reevev1.Metric) string { _, values := names(m); return strings.Join(values, ",") }},
		{Heading: "EVERY", Value: func(m *reevev1.Metric) string { return output.Age(m.GetInterval().AsDuration()) }},
		{Heading: "KEPT", Only: output.Wide, Value: func(m *reevev1.Metric) string {
			if m.GetKeepDays() == 0 {
				return "for ever"
			}
			return fmt.Sprint(m.GetKeepDays(), "d")
		}},
		{Heading: "SAMPLES", Value: func(m *reevev1.Metric) string { return fmt.Sprint(m.GetStatus().GetSamples()) }},
		{Heading: "LAST", Value: func(m *reevev1.Metric) string { return p.Time(m.GetStatus().GetLastTime()) }},
		{Heading: "GROUPS", Value: func(m *reevev1.Metric) string {
			if m.GetStatus().GetOthers() {
				return fmt.Sprint(m.GetStatus().GetGroups(), "+")
			}
			return fmt.Sprint(m.GetStatus().GetGroups())
		}},
		{Heading: "STATE", Value: func(m *reevev1.Metric) string { return metricState(p, m) }},
	}
}

// metricState says how it goes with a metric.
func metricState(p *output.Printer, m *reevev1.Metric) string {
	var parts []string
	st := m.GetStatus()
	if m.GetDisabled() {
		parts = append(parts, "disabled")
	}
	if st.GetError() != "" {
		parts = append(parts, fmt.Sprintf("failed %s, again %s: %s", p.Moment(st.GetErrorTime()), p.Time(st.GetRetryTime()), st.GetError()))
	}
	if n := st.GetDue(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d to be sampled", n))
	}
	if n := st.GetLeft(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d missed", n))
	}
	if b := st.GetBackfill(); b != nil {
		parts = append(parts, fmt.Sprintf("backfill %d/%d", b.GetDone(), b.GetMoments()))
	}
	if len(parts) == 0 {
		return "ok"
	}
	return strings.Join(parts, "; ")
}

func metricSaveCommand(a *verb.App) *cobra.Command {
	m := &reevev1.Metric{Selection: &reevev1.AssetSelection{}}
	var by, values []string
	var every time.Duration
	anew := false
	cmd := &cobra.Command{
		Use:   "save METRIC",
		Short: "Make a metric, or change the one of that name",
		Long: `Make a metric, or change the one of that name: all flags are given anew.

A key of --by is a field, perhaps with NAME= before it, and :hour, :day, :week, :month, :year
or :each behind it, as in reeve analyze; it becomes a label. A value of --value is
NAME=FUNCTION(FIELD), as there; by default assets are counted.`,
		Example: `  reeve metric save pods.by-node --type pods --by node=spec.nodeName --every 5m --keep-days 90
  reeve metric save ram --type servers -l 'status=ACTIVE' --by project --value 'ram=sum(derived.memory)' --unit bytes`,
		Args:              verb.Exactly("METRIC"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeMetrics(ctx, a) }),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Name = args[0]
			for _, text := range by {
				k, err := parseLabel(text)
				if err != nil {
					return err
				}
				m.Labels = append(m.Labels, k)
			}
			for _, text := range values {
				v, err := parseValue(text)
				if err != nil {
					return err
				}
				m.Values = append(m.Values, v)
			}
			m.Interval = durationpb.New(every)
			return metricSave(cmd.Context(), a, m, anew)
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.Title, "title", "", "what people read")
	f.StringVar(&m.Description, "description", "", "what it is for")
	f.StringVar(&m.Unit, "unit", "", "of the values, as in GiB")
	f.StringVarP(&m.Selection.Filter, "filter", "l", "", "only what passes this (docs/filter.md)")
	f.StringVar(&m.Selection.Site, "site", "", "only this site")
	f.StringVar(&m.Selection.Type, "type", "", "only this type (reeve get types lists them)")
	f.StringSliceVar(&by, "by", nil, "fields to verb.Group by: FIELD or NAME=FIELD")
	f.StringArrayVar(&values, "value", nil, "a value of each group: NAME=FUNCTION(FIELD); may be given several times")
	f.Int32Var(&m.Limit, "limit", 0, "how many groups are kept, the largest; 0 is 100, at most 1000")
	f.DurationVar(&every, "every", 5*time.Minute, "from one sample to the next: whole minutes")
	f.Int32Var(&m.KeepDays, "keep-days", 400, "for how long samples are kept; 0 is for ever")
	f.BoolVar(&m.Disabled, "disabled", false, "do not sample it")
	f.BoolVar(&anew, "begin-anew", false, "where the question is another one: remove the samples of before")
	a.Complete(cmd, "type", a.CompleteTypes)
	a.Complete(cmd, "site", a.CompleteSites)
	return cmd
}

// parseLabel reads [NAME=]FIELD[:PERIOD].
func parseLabel(text string) (*reevev1.GroupKey, error) {
	name, field, named := strings.Cut(text, "=")
	if !named {
		name, field = "", text
	}
	k, err := parseKey("--by", field)
	if err == nil {
		k.Name = name
	}
	return k, err
}

func metricSave(ctx context.Context, a *verb.App, m *reevev1.Metric, anew bool) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if m.Selection.Type != "" {
		t, err := s.AssetType(ctx, m.Selection.Site, m.Selection.Type)
		if err != nil {
			return err
		}
		m.Selection.Type = t.GetName()
	}
	answer, err := s.Metric.SaveMetric(ctx, connect.NewRequest(&reevev1.SaveMetricRequest{Metric: m, BeginAnew: anew}))
	if err != nil {
		return s.Explain(err)
	}
	sample := answer.Msg.GetSample()
	a.Warnings(m.GetSelection().GetFilter(), sample.GetFilter().GetWarnings())
	if sample.GetMore() {
		a.Note("there are more groups than are kept: a sample has the largest %d, and all others together (--limit)", len(sample.GetGroups()))
	}
	return a.Say("%s: every %v, %d groups now", m.Name, m.Interval.AsDuration(), len(sample.GetGroups()))
}

func metricRunCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	asOf := ""
	cmd := &cobra.Command{
		Use:               "run METRIC",
		Short:             "Show what a sample would have, and keep nothing",
		Args:              verb.Exactly("METRIC"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeMetrics(ctx, a) }),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := o.Printer(a)
			if err != nil {
				return err
			}
			at, err := a.AsOf(asOf)
			if err != nil {
				return err
			}
			s, err := a.Open()
			if err != nil {
				return err
			}
			defer s.Close()
			answer, err := s.Metric.RunMetric(cmd.Context(), connect.NewRequest(&reevev1.RunMetricRequest{Name: args[0], AsOf: at}))
			if err != nil {
				return s.Explain(err)
			}
			if p.Format == output.JSON || p.Format == output.YAML {
				return p.Document(answer.Msg)
			}
			headings, rows := verb.GroupRows(answer.Msg.GetSample())
			return a.WriteRows(p, headings, rows)
		},
	}
	o.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	cmd.Flags().StringVar(&asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	return cmd
}

type metricSeriesOptions struct {
	verb.OutputOptions
	filter, since, until, aggregate string
	step                            time.Duration
	by                              []string
}

var aggregateNames = map[string]reevev1.QueryMetricRequest_Aggregate{"": 0, "sum": reevev1.QueryMetricRequest_AGGREGATE_SUM,
	"avg": reevev1.QueryMetricRequest_AGGREGATE_AVERAGE, "min": reevev1.QueryMetricRequest_AGGREGATE_MIN,
	"max": reevev1.QueryMetricRequest_AGGREGATE_MAX}

func metricSeriesCommand(a *verb.App) *cobra.Command {
	var o metricSeriesOptions
	cmd := &cobra.Command{
		Use:   "series METRIC",
		Short: "Show the samples of a metric over time",
		Long: `Show the samples of a metric over time.

The table has a line for each verb.Group and value: the verb.First, the last, the smallest and the largest number, and
how it went. CSV has a row for each moment and verb.Group. In the filter of -l labels stand by their names.`,
		Example: `  reeve metric series servers.by-status --since -7d
  reeve metric series servers.by-status -l 'site=west status!=ACTIVE' --step 1h -o csv
  reeve metric series servers.capacity --aggregate sum --by site`,
		Args:              verb.Exactly("METRIC"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeMetrics(ctx, a) }),
		RunE:              func(cmd *cobra.Command, args []string) error { return metricSeries(cmd.Context(), a, args[0], o) },
	}
	o.OutputOptions.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.filter, "filter", "l", "", "only groups whose labels pass this, as in 'site=west status!=ACTIVE'")
	f.StringVar(&o.since, "since", "-1d", "from this moment on: a date, a time, or a span such as -7d")
	f.StringVar(&o.until, "until", "", "up to this moment (default: now)")
	f.DurationVar(&o.step, "step", 0, "only the last sample of each step, as in 1h; 0 gives some hundreds of moments")
	f.StringVar(&o.aggregate, "aggregate", "", "put groups together: sum, avg, min, max")
	f.StringSliceVar(&o.by, "by", nil, "labels by which groups are put together; without any, all are")
	a.Complete(cmd, "aggregate", func(context.Context) []string { return []string{"sum", "avg", "min", "max"} })
	return cmd
}

func metricSeries(ctx context.Context, a *verb.App, name string, o metricSeriesOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	aggregate, ok := aggregateNames[o.aggregate]
	if !ok {
		known := []string{"sum", "avg", "min", "max"}
		return verb.Usagef("--aggregate %q: must be one of %s%s", o.aggregate, strings.Join(known, ", "), nearest.Hint(o.aggregate, known))
	}
	r := &reevev1.QueryMetricRequest{Name: name, Filter: o.filter, Aggregate: aggregate, By: o.by}
	if r.StartTime, err = a.AsOf(o.since); err != nil {
		return err
	}
	if r.EndTime, err = a.AsOf(o.until); err != nil {
		return err
	}
	if o.step != 0 {
		r.Step = durationpb.New(o.step)
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.Metric.QueryMetric(ctx, connect.NewRequest(r))
	if err != nil {
		return s.Explain(err)
	}
	m := answer.Msg
	for _, w := range m.GetWarnings() {
		a.Note("warning: %s", w)
	}
	if p.Format == output.JSON || p.Format == output.YAML {
		return p.Document(m)
	}
	if p.Format == output.CSV {
		headings, rows := sampleRows(m)
		return a.WriteRows(p, headings, rows)
	}
	headings, rows := seriesRows(m)
	if err := p.Table(headings, rows); err != nil {
		return err
	}
	for _, g := range m.GetGaps() {
		a.Note("%d samples are missing, from %s to %s", g.GetMoments(), output.Timestamp(g.GetStartTime()), output.Timestamp(g.GetEndTime()))
	}
	if m.GetMoreGaps() {
		a.Note("there are more gaps")
	}
	return nil
}

// eachSeries are the series of an answer, with the texts of their labels.
func eachSeries(m *reevev1.QueryMetricResponse, do func(labels []string, s *reevev1.Series)) {
	for _, s := range m.GetSeries() {
		labels := slices.Clone(s.GetKeys())
		for i := range labels {
			labels[i] = strings.ReplaceAll(labels[i], "\x1f", ", ")
		}
		do(labels, s)
	}
	if s := m.GetOthers(); s != nil {
		labels := make([]string, len(m.GetLabels()))
		if len(labels) > 0 {
			labels[0] = "(others)"
		}
		do(labels, s)
	}
}

func upper(names []string) (headings []string) {
	for _, n := range names {
		headings = append(headings, strings.ToUpper(n))
	}
	return headings
}

// sampleRows has a row for each moment of each series.
func sampleRows(m *reevev1.QueryMetricResponse) (headings []string, rows [][]string) {
	headings = append(append([]string{"TIME"}, upper(m.GetLabels())...), upper(m.GetValues())...)
	eachSeries(m, func(labels []string, s *reevev1.Series) {
		for i, point := range s.GetPoints() {
			if len(point.GetNumbers()) == 0 {
				continue
			}
			row := append([]string{verb.Stamp(m.GetTimes()[i])}, labels...)
			for _, n := range point.GetNumbers() {
				row = append(row, verb.NumberText(0, n))
			}
			rows = append(rows, row)
		}
	})
	return headings, rows
}

// seriesRows has a row for each value of each series.
func seriesRows(m *reevev1.QueryMetricResponse) (headings []string, rows [][]string) {
	headings = append(upper(m.GetLabels()), "VALUE", "FIRST", "LAST", "MIN", "MAX", "OVER TIME")
	eachSeries(m, func(labels []string, s *reevev1.Series) {
		for i, name := range m.GetValues() {
			numbers := make([]float64, len(s.GetPoints()))
			for j, point := range s.GetPoints() {
				numbers[j] = math.NaN()
				if i < len(point.GetNumbers()) {
					if n, ok := point.GetNumbers()[i].GetKind().(*structpb.Value_NumberValue); ok {
						numbers[j] = n.NumberValue
					}
				}
			}
			row := append(slices.Clone(labels), name)
			there := slices.DeleteFunc(slices.Clone(numbers), math.IsNaN)
			if len(there) == 0 {
				rows = append(rows, append(row, "", "", "", "", ""))
				continue
			}
			for _, n := range []float64{numbers[0], numbers[len(numbers)-1], slices.Min(there), slices.Max(there)} {
				if math.IsNaN(n) {
					row = append(row, "") // it was not there then
				} else {
					row = append(row, strconv.FormatFloat(n, 'f', -1, 64))
				}
			}
			rows = append(rows, append(row, sparkline(numbers, 40)))
		}
	})
	return headings, rows
}

// sparkline draws numbers in so many characters at most: each is the last number of its
// part, and a space where there is none.
func sparkline(numbers []float64, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	there := slices.DeleteFunc(slices.Clone(numbers), math.IsNaN)
	if len(there) == 0 {
		return ""
	}
	least, most := slices.Min(there), slices.Max(there)
	width = min(width, len(numbers))
	line := make([]rune, width)
	for i := range line {
		part := slices.DeleteFunc(slices.Clone(numbers[i*len(numbers)/width:(i+1)*len(numbers)/width]), math.IsNaN)
		switch {
		case len(part) == 0:
			line[i] = ' '
		case most == least:
			line[i] = bars[0]
		default:
			line[i] = bars[int(math.Round((part[len(part)-1]-least)/(most-least)*float64(len(bars)-1)))]
		}
	}
	return string(line)
}

func metricBackfillCommand(a *verb.App) *cobra.Command {
	r := &reevev1.BackfillMetricRequest{}
	since, until := "", ""
	cmd := &cobra.Command{
		Use:   "backfill METRIC",
		Short: "Take samples of moments that are over, out of the history",
		Long: `Take samples of moments that are over, out of the history: verb.Exactly those that would have been taken then.
It is done in the background, goes on after a restart, and takes the place of a backfill that is under way;
reeve metric verb.List shows how far it is.`,
		Example: `  reeve metric backfill servers.by-status --since -30d
  reeve metric backfill servers.by-status --since -2d --again`,
		Args:              verb.Exactly("METRIC"),
		ValidArgsFunction: verb.First(func(ctx context.Context) []string { return completeMetrics(ctx, a) }),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r.Name = args[0]
			if r.StartTime, err = a.AsOf(since); err != nil {
				return err
			}
			if r.EndTime, err = a.AsOf(until); err != nil {
				return err
			}
			if !r.Stop && r.StartTime == nil {
				return verb.Usagef("--since is missing: from when on, as in -30d")
			}
			s, err := a.Open()
			if err != nil {
				return err
			}
			defer s.Close()
			answer, err := s.Metric.BackfillMetric(cmd.Context(), connect.NewRequest(r))
			if err != nil {
				return s.Explain(err)
			}
			return a.Say("%s", backfillText(r, answer.Msg))
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "from this moment on: a date, a time, or a span such as -30d")
	f.StringVar(&until, "until", "", "up to this moment (default: now)")
	f.BoolVar(&r.Again, "again", false, "take samples that there are again: what arrived late is in them then")
	f.BoolVar(&r.ValidateOnly, "dry-run", false, "only say how much it would be")
	f.BoolVar(&r.Stop, "stop", false, "end the backfill that is under way")
	return cmd
}

func backfillText(r *reevev1.BackfillMetricRequest, m *reevev1.BackfillMetricResponse) string {
	if r.GetStop() {
		return "there is no backfill under way any more"
	}
	text := fmt.Sprintf("%d moments, from %s to %s", m.GetMoments(), output.Timestamp(m.GetStartTime()), output.Timestamp(m.GetEndTime()))
	if later := m.GetStartTime().AsTime().Sub(r.GetStartTime().AsTime()); later >= time.Minute {
		text += "; before that it has no moment that is known and kept"
	}
	return text
}
