package kinds

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

func TestEvent(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           plugin.Event
	}{
		{
			"a series", file(t, "event.json"), plugin.Event{
				ID: "9d6a02bf-3d39-4a87-8b75-78e78a076e89", Type: "cloud.reeve.kubernetes.event.FailedGetResourceMetric",
				Subject: plugin.Key{Type: "kubernetes.autoscaling.HorizontalPodAutoscaler",
					UID: "c/HorizontalPodAutoscaler.autoscaling/checkout-dev-02/api-0"},
				Time: at("2026-11-22T17:49:23Z"), Severity: plugin.Warning,
				Message: "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: " +
					"the server could not find the requested resource (get pods.metrics.k8s.io)",
				Data: []byte(`{"type":"Warning","reason":"FailedGetResourceMetric","count":61,"firstTime":"2026-11-22T17:49:23Z",` +
					`"lastTime":"2026-11-22T18:04:24Z","source":{"component":"horizontal-pod-autoscaler"},` +
					`"involvedObject":{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","namespace":"checkout-dev-02","name":"api-0",` +
					`"uid":"840fc378-6aa6-442e-b659-4626ad24d70a"}}`),
			},
		},
		{
			"one of the scheduler", file(t, "event-scheduled.json"), plugin.Event{
				ID: "d9ba845b-d0ad-41de-a887-00e05b8a8daa", Type: "cloud.reeve.kubernetes.event.Scheduled",
				Subject: plugin.Key{Type: "kubernetes.core.Pod", UID: "c/Pod/checkout-dev-02/api-0-5fdb5786f8-ffml6"},
				Time:    at("2026-11-22T17:49:09.262513Z"), Severity: plugin.Info,
				Message: "Successfully assigned checkout-dev-02/api-0-5fdb5786f8-ffml6 to worker-1",
				Data: []byte(`{"type":"Normal","reason":"Scheduled","action":"Binding","count":1,"firstTime":"2026-11-22T17:49:09.262513Z",` +
					`"lastTime":"2026-11-22T17:49:09.262513Z","source":{"component":"default-scheduler","host":"default-scheduler-cp-1"},` +
					`"involvedObject":{"apiVersion":"v1","kind":"Pod","namespace":"checkout-dev-02","name":"api-0-5fdb5786f8-ffml6",` +
					`"uid":"1c9dce1b-093f-4a03-930a-a999c26a8bea"}}`),
			},
		},
		{
			"a series of the newer API, with all there can be",
			`{"apiVersion":"events.k8s.io/v1","kind":"Event","eventTime":"2026-03-01T01:00:00.000001Z","reason":"Node-Not Ready!","note":" ` +
				`two\nlines ",
				"type":"Warning","action":"Taint","series":{"count":7,"lastObservedTime":"2026-03-01T02:00:00Z"},
				"reportingController":"node-controller","reportingInstance":"cp-1",
				"regarding":{"apiVersion":"v1","kind":"Node","namespace":"default","name":"n","fieldPath":"spec"},"related":{"kind":"Pod","namespace":"ns","name":"p"}}`,
			plugin.Event{
				ID: "u", Type: "cloud.reeve.kubernetes.event.NodeNotReady", Subject: plugin.Key{Type: "kubernetes.core.Node", UID: "c/Node/n"},
				Time: at("2026-03-01T01:00:00.000001Z"), Severity: plugin.Warning, Message: "two lines",
				Data: []byte(`{"type":"Warning","reason":"Node-Not Ready!","action":"Taint","count":7,"firstTime":"2026-03-01T01:00:00.000001Z",` +
					`"lastTime":"2026-03-01T02:00:00Z","source":{"component":"node-controller","host":"cp-1"},` +
					`"involvedObject":{"apiVersion":"v1","kind":"Node","namespace":"default","name":"n","fieldPath":"spec"},` +
					`"related":{"kind":"Pod","namespace":"ns","name":"p"}}`),
			},
		},
		{
			"grave, with next to nothing", `{"apiVersion":"v1","kind":"Event","reason":"SystemOOM"}`, plugin.Event{
				ID: "u", Type: "cloud.reeve.kubernetes.event.SystemOOM", Time: at("2026-03-01T00:00:00Z"), Severity: plugin.Error,
				Data: []byte(`{"reason":"SystemOOM","count":1,"firstTime":"2026-03-01T00:00:00Z","lastTime":"2026-03-01T00:00:00Z",` +
					`"involvedObject":{}}`),
			},
		},
		{
			"without a reason", `{"apiVersion":"v1","kind":"Event"}`, plugin.Event{
				ID: "u", Type: "cloud.reeve.kubernetes.event.Unknown", Time: at("2026-03-01T00:00:00Z"), Severity: plugin.Info,
				Data: []byte(`{"count":1,"firstTime":"2026-03-01T00:00:00Z","lastTime":"2026-03-01T00:00:00Z","involvedObject":{}}`),
			},
		},
	} {
		got, err := Event(parse(t, test.document), testNames)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v\n%+v\n%s\nwant\n%+v\n%s", test.name, err, got, got.Data, test.want, test.want.Data)
		}
	}
}

// TestEventViews: the two API groups show the same objects.
func TestEventViews(t *testing.T) {
	core, err := Event(parse(t, file(t, "event.json")), testNames)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := Event(parse(t, file(t, "event-v1.json")), testNames)
	if err != nil || !reflect.DeepEqual(newer, core) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, newer, core)
	}
}

// TestEventSeries: a series stays in its place while it grows.
func TestEventSeries(t *testing.T) {
	first, err := Event(parse(t, file(t, "event.json")), testNames)
	if err != nil {
		t.Fatal(err)
	}
	grown, err := Event(parse(t, strings.NewReplacer(`"count": 61`, `"count": 62`, `18:04:24`, `18:04:39`).Replace(file(t, "event.json"))),
		testNames)
	if err != nil || grown.ID != first.ID || !grown.Time.Equal(first.Time) || string(grown.Data) == string(first.Data) {
		t.Errorf("%v\n%+v\nbefore\n%+v", err, grown, first)
	}
}

func TestBadEvent(t *testing.T) {
	o := parse(t, `{"apiVersion":"v1","kind":"Event"}`)
	o.Meta.UID = ""
	if _, err := Event(o, testNames); err == nil || !strings.Contains(err.Error(), "ns/x") {
		t.Errorf("no uid: %v", err)
	}
	if _, err := Event(parse(t, `{"apiVersion":"v1","kind":"Event","count":"many"}`), testNames); err == nil ||
		!strings.Contains(err.Error(), "ns/x") {
		t.Errorf("bad count: %v", err)
	}
}

func FuzzEvent(f *testing.F) {
	for _, name := range documents(f) {
		f.Add(file(f, name))
	}
	f.Fuzz(func(t *testing.T, document string) {
		o, err := object.Read(object.Kind{Kind: "Event", Namespaced: true}, []byte(document))
		if err != nil {
			t.Skip()
		}
		e, err := Event(o, testNames)
		if err != nil {
			return
		}
		reason := strings.TrimPrefix(e.Type, "cloud.reeve.kubernetes.event.")
		if e.ID != o.Meta.UID || reason == "" || reason != alphanumeric(reason) || strings.ContainsAny(e.Message, "\n\r") {
			t.Errorf("%+v", e)
		}
		if !jsontext.Value(e.Data).IsValid() || e.Severity == "" || (e.Subject.Type == "") != (e.Subject.UID == "") {
			t.Errorf("%+v", e)
		}
	})
}
