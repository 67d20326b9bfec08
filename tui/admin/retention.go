package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

const retentionRules = `A rule is written as all=30d daily=90d weekly=1y monthly=5y: for so long, counted from now, all versions are kept,
then the last of each day, of each week, of each month; of what is older, the last one of each asset. daily, weekly and
monthly may be left out, or be "ever". type=NAME and site=NAME before it say whose it is. Of each asset the first rule that is its own holds.`

// RetentionCommand returns the verb retention.
func RetentionCommand(a *verb.App) *cobra.Command {
	off := &cobra.Command{
		Use:   "off",
		Short: "Remove no versions any more, but for what the aggregator's configuration says",
		Args:  verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.Open()
			if err != nil {
				return err
			}
			defer s.Close()
			if _, err := s.Retention.SetRetention(cmd.Context(), connect.NewRequest(&reevev1.SetRetentionRequest{})); err != nil {
				return s.Explain(err)
			}
			return a.Say("there are no rules any more; what was removed does not come back")
		},
	}
	return verb.Group("retention", "Say how much of the history of assets is kept", retentionShowCommand(a), retentionPlanCommand(a),
		retentionSetCommand(a), off)
}

// parseRules reads rules as a user gives them.
func parseRules(texts []string) (rules []*reevev1.RetentionRule, err error) {
	for _, text := range texts {
		r := &reevev1.RetentionRule{}
		for word := range strings.FieldsSeq(text) {
			key, value, ok := strings.Cut(word, "=")
			to := map[string]*int32{"all": &r.AllDays, "daily": &r.DailyDays, "weekly": &r.WeeklyDays, "monthly": &r.MonthlyDays}[key]
			switch {
			case ok && key == "type":
				r.Type = value
			case ok && key == "site":
				r.Site = value
			case !ok || to == nil:
				known := []string{"all", "daily", "weekly", "monthly", "type", "site"}
				return nil, verb.Usagef("rule %q: %q: must be all=DAYS, daily=, weekly=, monthly=, type= or site=%s", text, word, nearest.Hint(key, known))
			default:
				if *to, err = parseDays(value); err != nil {
					return nil, verb.Usagef("rule %q: %s: %v", text, key, err)
				}
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// everDays stands for what is kept for ever.
const everDays = 36500

func parseDays(text string) (int32, error) {
	if text == "ever" {
		return everDays, nil
	}
	number, factor := strings.TrimSuffix(text, "d"), 1
	if n, ok := strings.CutSuffix(text, "y"); ok {
		number, factor = n, 365
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 || n*int64(factor) > everDays {
		return 0, fmt.Errorf("%q is no number of days, as in 30d, 2y or ever", text)
	}
	return int32(n) * int32(factor), nil
}

// ruleText is a rule as a user gives it.
func ruleText(r *reevev1.RetentionRule) string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"type", r.GetType()}, {"site", r.GetSite()}} {
		if p.value != "" {
			parts = append(parts, p.name+"="+p.value)
		}
	}
	for _, p := range []struct {
		name string
		days int32
	}{{"all", r.GetAllDays()}, {"daily", r.GetDailyDays()}, {"weekly", r.GetWeeklyDays()}, {"monthly", r.GetMonthlyDays()}} {
		switch p.days {
		case 0:
		case everDays:
			parts = append(parts, p.name+"=ever")
		default:
			parts = append(parts, fmt.Sprintf("%s=%dd", p.name, p.days))
		}
	}
	return strings.Join(parts, " ")
}

func retentionShowCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the rules, and how far the thinning is",
		Args:  verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.Printer(a)
			if err != nil {
				return err
			}
			s, err := a.Open()
			if err != nil {
				return err
			}
			defer s.Close()
			answer, err := s.Retention.GetRetention(cmd.Context(), connect.NewRequest(&reevev1.GetRetentionRequest{}))
			if err != nil {
				return s.Explain(err)
			}
			if p.Format != output.Table {
				return p.Document(answer.Msg)
			}
			return p.Lines(retentionLines(p, answer.Msg))
		},
	}
	o.AddTo(cmd, output.Table, output.JSON, output.YAML)
	return cmd
}

func retentionLines(p *output.Printer, m *reevev1.GetRetentionResponse) (lines []string) {
	for _, r := range m.GetRules() {
		lines = append(lines, "rule: "+ruleText(r))
	}
	if len(m.GetRules()) == 0 {
		lines = append(lines, "there are no rules: versions are kept as the aggregator's configuration says (retention.versions_days)")
	}
	for _, c := range m.GetThinned() {
		lines = append(lines, "thin: "+cutText(c))
	}
	g := m.GetProgress()
	switch {
	case g.GetWaiting():
		lines = append(lines, fmt.Sprintf("under way: %d of %d versions removed; waiting until less comes in", g.GetRemoved(), g.GetDoomed()))
	case g.GetRunning():
		lines = append(lines, fmt.Sprintf("under way: %d of %d versions removed", g.GetRemoved(), g.GetDoomed()))
	case g.GetError() != "":
		lines = append(lines, fmt.Sprintf("failed %s: %s", p.Moment(g.GetFinishTime()), g.GetError()))
	case g.GetFinishTime() != nil:
		lines = append(lines, fmt.Sprintf("done %s: %d versions removed", p.Moment(g.GetFinishTime()), g.GetRemoved()))
	}
	return lines
}

// cutText says what is kept of the history.
func cutText(c *reevev1.RetentionCut) string {
	of := "all types"
	if c.GetType() != "" {
		of = c.GetType()
	}
	if c.GetSite() != "" {
		of += " of site " + c.GetSite()
	}
	day := func(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.DateOnly) }
	var text strings.Builder
	text.WriteString(of + ": everything since " + day(c.GetAllSince()))
	before := c.GetAllSince()
	for _, part := range []struct {
		how   string
		since *timestamppb.Timestamp
	}{{"once a day", c.GetDailySince()}, {"once a week", c.GetWeeklySince()}, {"once a month", c.GetMonthlySince()}} {
		if part.since.AsTime().Before(before.AsTime()) {
			text.WriteString(", " + part.how + " since " + day(part.since))
			before = part.since
		}
	}
	if before.AsTime().Unix() > 0 {
		text.WriteString("; of moments before that nothing can be asked any more")
	}
	return text.String()
}

func retentionPlanCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	cmd := &cobra.Command{
		Use:     "plan RULE...",
		Short:   "Say what rules would remove, and change nothing",
		Long:    "Say what rules would remove, and change nothing.\n\n" + retentionRules,
		Example: `  reeve retention plan 'type=kubernetes.core.Pod all=14d daily=90d' 'all=90d daily=1y weekly=3y monthly=ever'`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return retentionSet(cmd.Context(), a, o, args, true)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	return cmd
}

func retentionSetCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	yes := false
	cmd := &cobra.Command{
		Use:   "set RULE...",
		Short: "Say how much of the history is kept: what is more is removed for good",
		Long: "Say how much of the history is kept, in place of the rules of before. What is more is removed for good, in the background.\n" +
			"Without --yes it only says what that would be.\n\n" + retentionRules,
		Example: `  reeve retention set 'all=90d daily=1y weekly=3y monthly=ever' --yes`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return retentionSet(cmd.Context(), a, o, args, !yes)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.AddTo(cmd, output.Table, output.JSON, output.YAML, output.CSV)
	o.AddNoHeaders(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "remove it")
	return cmd
}

func retentionSet(ctx context.Context, a *verb.App, o verb.OutputOptions, texts []string, plan bool) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	rules, err := parseRules(texts)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, r := range rules {
		if r.Type != "" {
			t, err := s.AssetType(ctx, r.GetSite(), r.GetType())
			if err != nil {
				return err
			}
			r.Type = t.GetName()
		}
	}
	answer, err := s.Retention.SetRetention(ctx, connect.NewRequest(&reevev1.SetRetentionRequest{Rules: rules, ValidateOnly: plan}))
	if err != nil {
		return s.Explain(err)
	}
	if p.Format == output.JSON || p.Format == output.YAML {
		return p.Document(answer.Msg)
	}
	var rows [][]string
	for _, e := range answer.Msg.GetEffects() {
		rows = append(rows, []string{e.GetType(), fmt.Sprint(e.GetVersions()), fmt.Sprint(e.GetRemoved()),
			fmt.Sprintf("%.1f MB", float64(e.GetBytes())/1e6)})
	}
	if err := a.WriteRows(p, []string{"TYPE", "OLD VERSIONS", "REMOVED", "ABOUT"}, rows); err != nil {
		return err
	}
	for _, c := range answer.Msg.GetCuts() {
		a.Note("%s", cutText(c))
	}
	if plan {
		a.Note("nothing was changed; with reeve retention set ... --yes it is removed for good")
	} else {
		a.Note("it is removed in the background; reeve retention show says how far that is")
	}
	return nil
}
