package notify

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 11, 25, 15, 0, 0, 123456000, time.UTC)
	const plainMessage = `{"message_id": "m", "publisher_id": "compute.a", "event_type": "e", "priority": "info", "timestamp": "2026-11-25 ` +
		`15:00:00.123456",
		"_context_request_id": "req-1", "_context_user": "u", "_context_tenant": "p", "payload": {"a": 1}}`
	want := Notification{ID: "m", EventType: "e", Publisher: "compute.a", Priority: "INFO", Time: at, RequestID: "req-1", UserID: "u",
		ProjectID: "p",
		Payload:   json.RawMessage(`{"a":1}`)}
	envelope := func(version, message string) string {
		text, err := json.Marshal(map[string]string{"oslo.version": version, "oslo.message": message})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tests := []struct {
		name, body string
		want       Notification
		err        string
	}{
		{"plain", plainMessage, want, ""},
		{"envelope", envelope("2.0", plainMessage), want, ""},
		{"other envelope", envelope("3.0", plainMessage), Notification{}, "version"},
		{"no JSON", "\x80\x03}q", Notification{}, "envelope"},
		{"no JSON inside", envelope("2.0", "{"), Notification{}, "notification"},
		{"no event type", `{"payload": {}}`, Notification{}, "event_type"},
		{"odd members", `{"event_type": "e", "message_id": 7, "timestamp": null, "priority": [], "payload": [1]}`,
			Notification{EventType: "e", Payload: json.RawMessage("[1]")}, ""},
		{"no payload", `{"event_type": "e"}`, Notification{EventType: "e"}, ""},
		{"versioned", `{"event_type": "e", "payload": {"nova_object.data": {}}}`,
			Notification{EventType: "e", Versioned: true, Payload: json.RawMessage(`{"nova_object.data":{}}`)}, ""},
		{"keystone, basic", `{"event_type": "e", "payload": {"request_id": "req-2"}}`,
			Notification{EventType: "e", RequestID: "req-2", Payload: json.RawMessage(`{"request_id":"req-2"}`)}, ""},
		{"keystone, cadf", `{"event_type": "e", "payload": {"initiator": {"id": "x", "user_id": "u", "project_id": "p", "request_id": "req-3"}}}`,
			Notification{EventType: "e", RequestID: "req-3", UserID: "u", ProjectID: "p",
				Payload: json.RawMessage(`{"initiator":{"id":"x","user_id":"u","project_id":"p","request_id":"req-3"}}`)}, ""},
		{"secrets", `{"event_type": "e", "payload": {"auth_token": "s", "a": [{"_context": {"b": "s"}, "c": 1, "connection_info": "s"}], ` +
			`"adminPass": ["s", {}], "d": "auth_token"}}`,
			Notification{EventType: "e", Payload: json.RawMessage(`{"a":[{"c":1}],"d":"auth_token"}`)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse([]byte(test.body))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one of %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestParseTime(t *testing.T) {
	want := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2026-11-25 15:00:00", "2026-11-25 15:00:00.000000", "2026-11-25T15:00:00.000000", "2026-11-25T15:00:00Z", "2026-11-25T16:00:00+01:00",
		"2026-11-25 15:00:00+00:00", "2026-11-25T15:00:00.000000+0000",
	} {
		if got := parseTime(s); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s is %v", s, got)
		}
	}
	if got := parseTime("yesterday"); !got.IsZero() {
		t.Errorf("yesterday is %v", got)
	}
}

// Recorded tokens are replaced by a text that says so.
func TestRecordedHasNoSecrets(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	tokens := 0
	for _, file := range files {
		for _, body := range recorded(t, filepath.Base(file)) {
			if strings.Contains(string(body), "gAAAA") {
				t.Errorf("%s has a token", file)
			}
			tokens += strings.Count(string(body), "not-a-real-token")
			n, err := Parse(body)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if n.ID == "" || n.Publisher == "" || n.Time.IsZero() || n.Priority == "" {
				t.Errorf("%s: %s lacks something: %+v", file, n.EventType, n)
			}
			for _, part := range []string{"not-a-real-token", "connection_info", "auth_token"} {
				if strings.Contains(string(n.Payload), part) {
					t.Errorf("%s: the payload of %s has %s", file, n.EventType, part)
				}
			}
		}
	}
	if tokens == 0 {
		t.Error("no message has a token, so this shows nothing")
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"nova.json", "nova-versioned.json", "neutron.json", "cinder.json", "glance.json", "keystone.json"} {
		for i, body := range recorded(f, file) {
			if i%5 == 0 {
				f.Add([]byte(body))
			}
		}
	}
	f.Add([]byte(`{"event_type": "port.create.end", "payload": {"ports": [{"id": "a"}, 1, null]}}`))
	f.Add([]byte(`{"oslo.version": "2.0", "oslo.message": "{\"event_type\": \"tag.create.end\", \"payload\": {\"parent_resource\": ` +
		`\"ports\"}}"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := Parse(body)
		if err != nil {
			return
		}
		if n.EventType == "" {
			t.Error("no event type and no error")
		}
		if len(n.Payload) > 0 && !json.Valid(n.Payload) {
			t.Errorf("the payload is not JSON: %q", n.Payload)
		}
		for _, s := range n.Subjects() {
			if s.Kind == "" {
				t.Errorf("a subject without a kind: %+v", s)
			}
			if s.Deleted && s.ID == "" {
				t.Errorf("it is not known which one is gone: %+v", s)
			}
		}
	})
}
