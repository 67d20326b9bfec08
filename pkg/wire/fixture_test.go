package wire

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

var fixture = flag.String("fixture", "", "write the bytes of this version into testdata/NAME; those of a released version never change")

// control are messages of a session, in both directions.
func control() []*wirev1.Control {
	return []*wirev1.Control{
		{Message: &wirev1.Control_Hello{Hello: &wirev1.Hello{
			Protocol: 1, AgentVersion: "v0.1.0", SpoolId: spoolID, Hostname: "host", Platform: "linux/amd64", Collectors: []string{"host"},
			InstanceId: "one", Time: 1_700_000_000_000,
		}}},
		{Message: &wirev1.Control_Welcome{Welcome: &wirev1.Welcome{
			Protocol: 1, AggregatorVersion: "v0.1.0", Durable: []*wirev1.Watermark{{Class: wirev1.Class_CLASS_ASSETS, Seq: 7}}, Clock: 1 << 40,
			MaxBatchBytes: MaxBatch, WindowBytes: 16 << 20, HeartbeatSeconds: 15, Time: 1_700_000_000_000, Compares: true,
		}}},
		{Message: &wirev1.Control_Heartbeat{Heartbeat: &wirev1.Heartbeat{Clock: 1 << 40,
			Backlog: []*wirev1.Backlog{{Class: wirev1.Class_CLASS_EVENTS, Records: 1, Bytes: 2}}}}},
		{Message: &wirev1.Control_Ack{Ack: &wirev1.Ack{Durable: []*wirev1.Watermark{{Class: wirev1.Class_CLASS_ASSETS, Seq: 9}}}}},
		{Message: &wirev1.Control_Digest{Digest: &wirev1.Digest{AsOf: 1 << 40,
			Scopes: []*wirev1.ScopeDigest{{Scope: "c/s", Type: "t", Assets: 3, Sum: 1 << 63}}}}},
		{Message: &wirev1.Control_Goodbye{Goodbye: &wirev1.Goodbye{Reason: wirev1.Goodbye_REASON_STOPPING, Message: "bye", Code: CodeStopping}}},
	}
}

// everyKind is a record of each kind.
func everyKind() []*wirev1.Record {
	relation := &wirev1.Relation{Kind: "runs_on", Type: "fake.test.Host", Uid: "h"}
	return []*wirev1.Record{
		{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
			Type: "fake.test.Thing", Uid: "u", Version: 1_700_000_000_000 << 16, Operation: wirev1.Operation_OPERATION_UPDATED, Scope: "fake/s",
			Name:   "n",
			Region: "r", Project: "p", Status: "up", Labels: map[string]string{"tier": "front"}, CreatedAt: 1_600_000_000_000,
			UpdatedAt:  1_650_000_000_000,
			ObservedAt: 1_700_000_000_000, Document: []byte(`{"a":{"b":[1,2]}}`), Hash: bytes.Repeat([]byte{7}, 16), Changed: []string{"a.b"},
			Relations: []*wirev1.Relation{relation}, RemovedRelations: []*wirev1.Relation{{Kind: "part_of", Type: "fake.test.Thing", Uid: "root"}},
		}}},
		{Body: &wirev1.Record_AssetType{AssetType: &wirev1.AssetType{Name: "fake.test.Thing", Title: "Thing", Layout: []byte(`{"icon":"pod"}`),
			Version: 1 << 40}}},
		{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: "e", Type: "fake.happened", Scope: "fake/s", AssetType: "fake.test.Thing",
			AssetUid: "u",
			Time:     1_700_000_000_000, Severity: "warning", Message: "m", Data: []byte(`{"x":1}`)}}},
		{Body: &wirev1.Record_Usage{Usage: &wirev1.Usage{AssetType: "fake.test.Thing", AssetUid: "u", Scope: "fake/s", Meter: "cpu.used",
			Unit:  "core.second",
			Start: 1_700_000_000_000, End: 1_700_000_060_000, Quantity: 1.5, Version: 1 << 40}}},
		{Body: &wirev1.Record_Gap{Gap: &wirev1.Gap{Reason: wirev1.Gap_REASON_BUDGET, FirstSeq: 1, LastSeq: 5, Versions: 2, Events: 1,
			From: 1_700_000_000_000,
			To:   1_700_000_060_000, Ended: []*wirev1.EndedRelation{{Type: "fake.test.Thing", Uid: "u", Version: 1 << 40, Relation: relation}}}}},
	}
}

// TestBytesOfReleasedVersions: what earlier versions sent and have in their spools is
// read, and has all that it had.
func TestBytesOfReleasedVersions(t *testing.T) {
	if *fixture != "" {
		writeFixture(t, filepath.Join("testdata", *fixture))
	}
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("there are none:", err)
	}
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "control.frames"))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(bytes.NewReader(data))
		for _, want := range control() {
			got := new(wirev1.Control)
			if err := ReadMessage(r, MaxControlFrame, got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%s: %v is read as %v, %v", dir, want, got, err)
			}
		}
		if _, err := ReadFrame(r, MaxControlFrame); !errors.Is(err, io.EOF) {
			t.Errorf("%s: behind the last message: %v", dir, err)
		}
		if data, err = os.ReadFile(filepath.Join(dir, "records.batch")); err != nil {
			t.Fatal(err)
		}
		b, err := DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CheckRecords(b, nil); err != nil {
			t.Error(err)
		}
		records, err := DecodeRecords(b)
		if err != nil || b.GetSpoolId() != spoolID || b.GetFirstSeq() != 41 {
			t.Fatalf("%s: batch %v, %v", dir, b, err)
		}
		if !proto.Equal(&wirev1.Records{Records: records}, &wirev1.Records{Records: everyKind()}) {
			t.Errorf("%s: the records are %v", dir, records)
		}
	}
}

func writeFixture(t *testing.T, dir string) {
	t.Helper()
	var frames bytes.Buffer
	for _, c := range control() {
		if err := WriteMessage(&frames, c); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 41, everyKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"control.frames": frames.Bytes(), "records.batch": batch} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
