package inventory

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type getEventsOptions struct {
	verb.SiteListOptions
	typ, asset   string
	severities   []string
	since, until string
	full         bool
}

// GetEventsCommand returns the verb get events.
func GetEventsCommand(a *verb.App) *cobra.Command {
	var o getEventsOptions
	cmd := &cobra.Command{
		Use:     "events",
		Aliases: []string{"event"},
		Short:   "List what happened, newest first",
		Long: `List what happened, newest first: to assets, where their source tells of it, and to
the agents themselves. The name of a type may be the whole of it or its end, in any
case. A time is an age as in 90s, 15m, 24h and 7d, or RFC 3339 as in
2026-03-01T12:00:00Z.`,
		Example: `  reeve get events --since 1h
  reeve get events --severity warning,error --site seoul-1
  reeve get events --type interface.down --since 7d
  reeve get events --asset UID -o yaml --full`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return getEvents(cmd.Context(), a, o) },
	}
	o.AddTo(a, cmd)
	cmd.Flags().StringVar(&o.typ, "type", "", "only this type of event")
	cmd.Flags().StringVar(&o.asset, "asset", "", "only of the asset with this uid")
	cmd.Flags().StringSliceVar(&o.severities, "severity", nil, "only these severities: info, warning, error")
	cmd.Flags().StringVar(&o.since, "since", "", "only what happened since then")
	cmd.Flags().StringVar(&o.until, "until", "", "only what happened before then")
	cmd.Flags().BoolVar(&o.full, "full", false, "with the data (json and yaml)")
	a.Complete(cmd, "type", func(ctx context.Context) []string { return completeEventTypes(ctx, a) })
	a.Complete(cmd, "severity", func(context.Context) []string { return severityNames })
	return cmd
}

var severityNames = []string{"info", "warning", "error"}

// request returns what the flags ask for, but for the type.
func (o *getEventsOptions) request(now time.Time) (*reevev1.ListEventsRequest, error) {
	r := &reevev1.ListEventsRequest{Site: o.Site, AssetUid: o.asset, View: reevev1.EventView_EVENT_VIEW_BASIC}
	for _, severity := range o.severities {
		severity = strings.ToLower(severity)
		if !slices.Contains(severityNames, severity) {
			return nil, verb.Usagef("--severity %q: must be info, warning or error%s", severity, nearest.Hint(severity, severityNames))
		}
		r.Severities = append(r.Severities, severity)
	}
	for _, t := range []struct {
		flag, value string
		to          **timestamppb.Timestamp
	}{{"since", o.since, &r.StartTime}, {"until", o.until, &r.EndTime}} {
		if t.value == "" {
			continue
		}
		at, err := verb.ParseMoment(t.value, now)
		if err != nil {
			return nil, verb.Usagef("--%s %q: %v", t.flag, t.value, err)
		}
		*t.to = timestamppb.New(at)
	}
	if o.full {
		if _, err := o.View(true); err != nil {
			return nil, err
		}
		r.View = reevev1.EventView_EVENT_VIEW_FULL
	}
	return r, nil
}

func getEvents(ctx context.Context, a *verb.App, o getEventsOptions) error {
	r, err := o.request(a.Now())
	if err != nil {
		return err
	}
	p, s, err := o.Open(a)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.typ != "" {
		if r.Type, err = eventType(ctx, s, o.Site, o.typ); err != nil {
			return err
		}
	}
	return verb.ListFrom(ctx, s, o.SiteListOptions, p, "events", eventColumns(p),
		func(ctx context.Context, size int32, token string) ([]*reevev1.Event, string, error) {
			r.PageSize, r.PageToken = size, token
			answer, err := s.Events.ListEvents(ctx, connect.NewRequest(r))
			if err != nil {
				return nil, "", err
			}
			return answer.Msg.GetEvents(), answer.Msg.GetNextPageToken(), nil
		})
}

func eventColumns(p *output.Printer) []output.Column[*reevev1.Event] {
	return []output.Column[*reevev1.Event]{
		{Heading: "HAPPENED", Value: func(e *reevev1.Event) string { return p.Time(e.GetTime()) }},
		{Heading: "RECEIVED", Only: output.Wide, Value: func(e *reevev1.Event) string { return p.Time(e.GetReceiveTime()) }},
		{
			Heading: "SEVERITY",
			Value:   func(e *reevev1.Event) string { return strings.ToUpper(e.GetSeverity()) },
			Color:   func(e *reevev1.Event) output.Color { return severityColor(e.GetSeverity()) },
		},
		{Heading: "SITE", Value: (*reevev1.Event).GetSite},
		{Heading: "TYPE", Value: (*reevev1.Event).GetType},
		{Heading: "ASSET-TYPE", Only: output.Wide, Value: (*reevev1.Event).GetAssetType},
		{Heading: "ASSET", Value: (*reevev1.Event).GetAssetUid},
		{Heading: "SOURCE", Only: output.Wide, Value: (*reevev1.Event).GetSource},
		{Heading: "AGENT", Only: output.Wide, Value: (*reevev1.Event).GetAgentId},
		{Heading: "ID", Only: output.Wide, Value: (*reevev1.Event).GetId},
		{Heading: "MESSAGE", Value: (*reevev1.Event).GetMessage},
	}
}

func severityColor(severity string) output.Color {
	switch severity {
	case "warning":
		return output.Yellow
	case "error":
		return output.Red
	}
	return output.NoColor
}

func eventTypePages(s *verb.Session, site string) client.PageFunc[*reevev1.EventType] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.EventType, string, error) {
		answer, err := s.Events.ListEventTypes(ctx,
			connect.NewRequest(&reevev1.ListEventTypesRequest{PageSize: size, PageToken: token, Site: site}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetEventTypes(), answer.Msg.GetNextPageToken(), nil
	}
}

// eventType returns the type of events that a user means by a name.
func eventType(ctx context.Context, s *verb.Session, site, name string) (string, error) {
	types, err := verb.Everything(ctx, s, eventTypePages(s, site))
	if err != nil {
		return "", err
	}
	var known, found []string
	for _, t := range types {
		known = append(known, t.GetName())
	}
	for _, fits := range []func(string) bool{
		func(t string) bool { return t == name },
		func(t string) bool { return strings.EqualFold(t, name) },
		func(t string) bool { return strings.HasSuffix(strings.ToLower(t), "."+strings.ToLower(name)) },
	} {
		if found = slices.DeleteFunc(slices.Clone(known), func(t string) bool { return !fits(t) }); len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 0:
		if err := s.CheckSite(ctx, site); err != nil {
			return "", err
		}
		hint := nearest.Hint(name, verb.Tails(name, known))
		if hint == "" && len(known) > 0 {
			hint = "; those that there are: " + strings.Join(known[:min(len(known), 20)], ", ")
		}
		return "", verb.Usagef("--type %q: there are no events of such a type%s", name, hint)
	case 1:
		return found[0], nil
	}
	return "", verb.Usagef("--type %q could be %s: give more of the name", name, strings.Join(found, " or "))
}

func completeEventTypes(ctx context.Context, a *verb.App) []string {
	return a.CompleteFrom(ctx, func(ctx context.Context, s *verb.Session) (names []string) {
		types, _, err := eventTypePages(s, "")(ctx, verb.MaxPage, "")
		if err != nil {
			return nil
		}
		for _, t := range types {
			if verb.TypeName.MatchString(t.GetName()) {
				names = append(names, t.GetName())
			}
		}
		return names
	})
}
