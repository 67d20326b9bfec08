package collect

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func fitSink() *sink {
	return &sink{
		Recorder: &Recorder{Clock: hlc.New(0)}, id: scopeID{"c", "s"}, logger: slog.New(slog.DiscardHandler),
		volatile: func(string) document.Paths { return nil },
	}
}

// odd gives texts and times of which some break the rules of the centre.
type odd struct{ *rand.Rand }

func (r odd) text() string {
	return []string{
		"a", "a", "a", "", "ü", "a\x00", "a\n", "a\x7f", "a\xff", "\ufffd", "a\x1b[31m", strings.Repeat("x", wire.MaxName),
		strings.Repeat("x", wire.MaxName+1),
		"password=hunter22", "token=abcdefgh",
	}[r.IntN(15)]
}

func (r odd) time() time.Time {
	return []time.Time{
		{}, time.Now(), time.Now(), time.Now().Add(time.Minute), time.Unix(0, 0), time.Unix(-1, 0), time.UnixMilli(1),
		time.Date(1903, 1, 1, 0, 0, 0, 0, time.UTC),
		wire.LatestTime, wire.LatestTime.Add(time.Second), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.UnixMilli(math.MaxInt64),
		time.Now().Add(-wire.UsageReach), time.Now().Add(wire.UsageReach), time.Now().Add(-wire.UsageReach / 2),
	}[r.IntN(15)]
}

func (r odd) document() []byte {
	return []byte([]string{
		`{}`, `{"a":1}`, `[]`, `{"a":`, `{"a":"\ud800"}`, ``, `null`, `{"a":{"b":[1,2,{"c":"d"}]}}`, `{"a":1e400}`, "{\"a\":\"\xff\"}",
		`{"` + strings.Repeat("k", 9<<10) + `":[` + strings.Repeat("0,", 5000) + `0]}`,
		strings.Repeat(`{"a":`, document.MaxDepth) + "1" + strings.Repeat("}", document.MaxDepth),
		strings.Repeat(`{"a":`, document.MaxDepth+1) + "1" + strings.Repeat("}", document.MaxDepth+1),
	}[r.IntN(13)])
}

func (r odd) quantity() float64 {
	return []float64{0, 1, -1, math.NaN(), math.Inf(1), math.MaxFloat64}[r.IntN(6)]
}

// TestWhatIsRecordedIsTaken: the centre refuses nothing that an agent records.
func TestWhatIsRecordedIsTaken(t *testing.T) {
	r := odd{rand.New(rand.NewPCG(5, 6))}
	s := fitSink()
	var taken, refused [3]int
	count := func(kind int, ok bool) bool {
		if ok {
			taken[kind]++
		} else {
			refused[kind]++
		}
		return ok
	}
	var records []*wirev1.Record
	for range 5000 {
		o := &plugin.Observation{
			Key: plugin.Key{Type: r.text(), UID: r.text()}, Name: r.text(), Region: r.text(), Project: r.text(), Status: r.text(),
			Labels: map[string]string{r.text(): r.text()}, CreatedAt: r.time(), UpdatedAt: r.time(), Document: r.document(),
		}
		if r.IntN(2) == 0 {
			o.Relations = []plugin.Relation{{Kind: r.text(), To: plugin.Key{Type: r.text(), UID: r.text()}}}
		}
		if a, _, err := s.prepare(o); count(0, err == nil) {
			if err := wire.CheckAsset(a); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			if _, err := document.Fields(a.GetDocument()); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			records = append(records, wire.AssetRecord(a))
		}
		e := &plugin.Event{
			ID: r.text(), Type: r.text(), Subject: plugin.Key{Type: r.text(), UID: r.text()}, Time: r.time(), Severity: plugin.Severity(r.text()),
			Message: r.text(), Data: r.document(),
		}
		if record := s.event(e); count(1, record != nil) {
			if err := wire.CheckEvent(record.GetEvent()); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			if data := record.GetEvent().GetData(); len(data) > 0 {
				if _, err := document.Canonical(data); err != nil {
					t.Fatalf("%+v: %v", e, err)
				}
			}
			records = append(records, record)
		}
		u := &plugin.Usage{
			Subject: plugin.Key{Type: r.text(), UID: r.text()}, Meter: r.text(), Unit: r.text(), Start: r.time(), End: r.time(),
			Quantity: r.quantity(),
		}
		if record := s.usage(u); count(2, record != nil) {
			// It may lie in the spool for a month.
			for _, later := range []time.Duration{0, 30 * 24 * time.Hour} {
				if err := wire.CheckUsage(record.GetUsage(), time.Now().Add(later), wire.UsageReach); err != nil {
					t.Fatalf("%+v: %v", u, err)
				}
			}
			records = append(records, record)
		}
	}
	for kind := range taken {
		if taken[kind] == 0 || refused[kind] == 0 {
			t.Errorf("%d were taken and %d refused of kind %d", taken[kind], refused[kind], kind)
		}
	}
	// All of them can be put into batches as well.
	for _, record := range records {
		if _, err := proto.Marshal(record); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTimesOutOfRange: the time is left out, the asset and the event are taken.
func TestTimesOutOfRange(t *testing.T) {
	s := fitSink()
	for _, at := range []time.Time{time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), wire.LatestTime.Add(time.Hour),
		time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)} {
		a, _, err := s.prepare(&plugin.Observation{Key: plugin.Key{Type: "t", UID: "u"}, CreatedAt: at, UpdatedAt: at, Document: []byte(`{}`)})
		if err != nil || a.GetCreatedAt() != 0 || a.GetUpdatedAt() != 0 {
			t.Errorf("%v: %v, %v", at, a, err)
		}
		if e := s.event(&plugin.Event{ID: "i", Type: "t", Time: at}); e == nil || e.GetEvent().GetTime() != 0 {
			t.Errorf("%v: %v", at, e)
		}
	}
}

// TestEdgesOfNoKind are refused here, where somebody can mend the collector.
func TestEdgesOfNoKind(t *testing.T) {
	s := fitSink()
	for _, kind := range []string{"", "a\nb", strings.Repeat("k", wire.MaxName+1)} {
		_, _, err := s.prepare(&plugin.Observation{
			Key: plugin.Key{Type: "t", UID: "u"}, Document: []byte(`{}`),
			Relations: []plugin.Relation{{Kind: kind, To: plugin.Key{Type: "t", UID: "v"}}},
		})
		if err == nil || !strings.Contains(fmt.Sprint(err), "relation kind") {
			t.Errorf("a relation of kind %.20q: %v", kind, err)
		}
	}
}
