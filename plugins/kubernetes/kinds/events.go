package kinds

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// grave are the reasons of events by which something was lost. Kubernetes knows
// only Normal and Warning.
var grave = map[string]bool{
	"BackoffLimitExceeded": true,
	"ClaimLost":            true,
	"Evicted":              true,
	"NodeNotReady":         true,
	"OOMKilling":           true,
	"SystemOOM":            true,
}

// involved is the object that an event is about.
type involved struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
	UID        string `json:"uid,omitempty"`
	FieldPath  string `json:"fieldPath,omitempty"`
}

// key returns the asset that is meant, or none.
func (i *involved) key(names object.Names) plugin.Key {
	if i.Kind == "" || i.Name == "" {
		return plugin.Key{}
	}
	return names.Key(groupOf(i.APIVersion), i.Kind, i.Namespace, i.Name)
}

// eventSource is who made an event.
type eventSource struct {
	Component string `json:"component,omitempty"`
	Host      string `json:"host,omitempty"`
}

// event has the fields of events of the core group, and those that events of
// the group events.k8s.io have in their place.
type event struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	Action string `json:"action"`

	Message string `json:"message"`
	Note    string `json:"note"`

	Involved  involved `json:"involvedObject"`
	Regarding involved `json:"regarding"`
	Related   involved `json:"related"`

	First           time.Time `json:"firstTimestamp"`
	DeprecatedFirst time.Time `json:"deprecatedFirstTimestamp"`
	EventTime       time.Time `json:"eventTime"`
	Last            time.Time `json:"lastTimestamp"`
	DeprecatedLast  time.Time `json:"deprecatedLastTimestamp"`

	Count           int `json:"count"`
	DeprecatedCount int `json:"deprecatedCount"`
	Series          struct {
		Count int       `json:"count"`
		Last  time.Time `json:"lastObservedTime"`
	} `json:"series"`

	Source             eventSource `json:"source"`
	DeprecatedSource   eventSource `json:"deprecatedSource"`
	ReportingComponent string      `json:"reportingComponent"`
	// Controller is what events.k8s.io calls the component.
	Controller string `json:"reportingController"`
	Instance   string `json:"reportingInstance"`
}

// eventData is what is said of an event besides what all events have.
type eventData struct {
	Type      string      `json:"type,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Action    string      `json:"action,omitempty"`
	Count     int         `json:"count"`
	FirstTime time.Time   `json:"firstTime"`
	LastTime  time.Time   `json:"lastTime"`
	Source    eventSource `json:"source,omitzero"`
	Involved  involved    `json:"involvedObject"`
	Related   *involved   `json:"related,omitempty"`
}

// Event reads an Event of the core group or of events.k8s.io, which are two
// views of the same objects and read the same.
//
// Kubernetes counts repetitions in the one object. So a series is one event,
// with the ID of the object and the time of its first occurrence, neither of
// which changes, and a count and a last time that grow.
func Event(o *object.Object, names object.Names) (plugin.Event, error) {
	var e event
	if err := o.Decode(&e); err != nil {
		return plugin.Event{}, err
	}
	if o.Meta.UID == "" {
		return plugin.Event{}, fmt.Errorf("reading event %s/%s: it has no uid", o.Meta.Namespace, o.Meta.Name)
	}
	about := e.Involved
	if about == (involved{}) {
		about = e.Regarding
	}
	data := eventData{
		Type: e.Type, Reason: e.Reason, Action: e.Action, Involved: about,
		Count:     max(e.Count, e.DeprecatedCount, e.Series.Count, 1),
		FirstTime: firstSet(e.First, e.DeprecatedFirst, e.EventTime, o.Meta.CreationTimestamp),
		Source: eventSource{
			Component: or(or(e.Source.Component, e.DeprecatedSource.Component), or(e.ReportingComponent, e.Controller)),
			Host:      or(or(e.Source.Host, e.DeprecatedSource.Host), e.Instance),
		},
	}
	data.LastTime = firstSet(e.Series.Last, e.Last, e.DeprecatedLast, data.FirstTime)
	if e.Related != (involved{}) {
		data.Related = &e.Related
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return plugin.Event{}, fmt.Errorf("encoding event %s/%s: %w", o.Meta.Namespace, o.Meta.Name, err)
	}
	return plugin.Event{
		ID: o.Meta.UID, Type: "cloud.reeve.kubernetes.event." + or(alphanumeric(e.Reason), "Unknown"),
		Subject: about.key(names), Time: data.FirstTime, Severity: severity(e.Type, e.Reason),
		Message: strings.Join(strings.Fields(or(e.Message, e.Note)), " "), Data: encoded,
	}, nil
}

func severity(typ, reason string) plugin.Severity {
	switch {
	case grave[reason]:
		return plugin.Error
	case typ == "Warning":
		return plugin.Warning
	}
	return plugin.Info
}

// firstSet returns the first of the times that is one.
func firstSet(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// alphanumeric leaves out what is neither a letter nor a digit of ASCII.
func alphanumeric(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			return c
		}
		return -1
	}, s)
}
