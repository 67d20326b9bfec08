package collect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// TestOwnRules plants what only the operator's rules know wherever a collector
// can put it.
func TestOwnRules(t *testing.T) {
	const canary = "ACME-123456789012"
	rules, err := redact.New([]string{"*_dsn"}, []string{"ACME-[0-9]{12}"})
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{Recorder: &Recorder{Redact: rules, Clock: hlc.New(0)}, volatile: func(string) document.Paths { return nil }}
	key := plugin.Key{Type: "t.T", UID: "u"}
	doc := json.RawMessage(`{"a":"` + canary + `","db_dsn":"hidden by its key"}`)
	version, _, err := s.prepare(&plugin.Observation{
		Key: key, Name: canary, Region: canary, Project: canary, Status: canary,
		Labels: map[string]string{"card": canary, "db_dsn": "hidden by its key"}, Document: doc,
	})
	if err != nil {
		t.Fatal(err)
	}
	event := s.event(&plugin.Event{ID: "i", Type: "e", Time: time.Now(), Message: "lost " + canary, Data: doc})
	usage := s.usage(&plugin.Usage{Subject: key, Meter: canary, Unit: canary, Start: time.Now().Add(-time.Hour), End: time.Now()})
	for _, text := range []string{usage.GetUsage().GetMeter(), usage.GetUsage().GetUnit()} {
		if text != redact.Mask {
			t.Errorf("%s", text)
		}
	}
	for _, m := range []proto.Message{version, event} {
		for _, b := range [][]byte{version.GetDocument(), event.GetEvent().GetData(), []byte(protojson.Format(m))} {
			if text := string(b); strings.Contains(text, "ACME") || strings.Contains(text, "hidden by") || !strings.Contains(text, redact.Mask) {
				t.Errorf("%s", text)
			}
		}
	}
}
