package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

func BenchmarkUnchanged(b *testing.B) { benchmarkRecord(b, false) }
func BenchmarkChanged(b *testing.B)   { benchmarkRecord(b, true) }

// newSink makes the sink of a scope, with stores of its own.
func newSink(b testing.TB) (s *sink, closeStores func() error) {
	b.Helper()
	logger := slog.New(slog.DiscardHandler)
	seen, err := lastseen.Open(b.TempDir(), logger)
	if err != nil {
		b.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: b.TempDir(), Apply: seen.Apply, MaxBytes: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := seen.Adopt(sp.ID()); err != nil {
		b.Fatal(err)
	}
	return &sink{Recorder: &Recorder{Seen: seen, Spool: sp, Clock: hlc.New(0), Logger: logger}, id: scopeID{"c", "s"}, logger: logger,
		volatile: func(string) document.Paths { return nil }}, func() error { return errors.Join(sp.Close(), seen.Close()) }
}

// BenchmarkFirstLoad records what makes the store compact what it has, again and
// again: assets whose keys come in no order, into an empty store.
func BenchmarkFirstLoad(b *testing.B) {
	const assets, flush = 40_000, 200
	facts := make([]plugin.Fact, assets)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range facts {
		uid := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)).String()
		var images []string
		for range 20 {
			images = append(images, fmt.Sprintf(`{"image":"registry.example/app-%d:1.%d"}`, random.IntN(1_000_000), random.IntN(100)))
		}
		facts[i].Upsert = &plugin.Observation{Key: plugin.Key{Type: fake.TypeThing, UID: uid},
			Document: json.RawMessage(fmt.Sprintf(`{"metadata":{"name":"web-%d","uid":%q},"images":[%s]}`, i, uid, strings.Join(images, ",")))}
	}
	b.ReportAllocs()
	for b.Loop() {
		s, closeStores := newSink(b)
		for part := range slices.Chunk(facts, flush) {
			if err := s.record(b.Context(), part, ""); err != nil {
				b.Fatal(err)
			}
		}
		if err := closeStores(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/assets, "ns/asset")
}

func benchmarkRecord(b *testing.B, change bool) {
	s, closeStores := newSink(b)
	defer func() {
		if err := closeStores(); err != nil {
			b.Error(err)
		}
	}()
	const assets = 1000
	facts := make([]plugin.Fact, assets)
	n := 0
	fill := func() {
		n++
		for i := range facts {
			facts[i].Upsert = &plugin.Observation{Key: plugin.Key{Type: fake.TypeThing, UID: fmt.Sprint(i)},
				Document: json.RawMessage(fmt.Sprintf(`{"metadata":{"labels":{"app":"web","tier":"front"},"name":"web-%d"},`+
					`"spec":{"containers":[{"image":"registry.example/app:1.2.%d","name":"c","ports":[{"port":80}]}],"nodeName":"node-17"},`+
					`"status":{"phase":"Running","podIP":"10.1.2.3"}}`, i, n))}
		}
	}
	fill()
	if err := s.record(b.Context(), facts, ""); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if change {
			b.StopTimer()
			fill()
			b.StartTimer()
		}
		if err := s.record(b.Context(), facts, ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/assets, "ns/asset")
}
