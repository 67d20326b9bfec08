package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/aims"
)

var (
	steadyAssets = flag.Int("steady-assets", 20_000, "how many assets the estate of BenchmarkSteady has")
	steadyRate   = flag.Int("steady-rate", 133, "how many versions a second come")
	steadyFor    = flag.Duration("steady-for", 20*time.Second, "for how long it is measured")
)

// What the engine may take of a core in steady state, and how long a version may take
// from its arrival until it can be read.
const (
	steadyCores = 0.4
	steadyWait  = time.Second
)

// BenchmarkSteady has versions come at a steady rate, each in a batch of its own from one
// of a hundred sites, and measures what the engine takes of a core and how long a version
// is on its way until it can be read.
func BenchmarkSteady(b *testing.B) {
	w := warehousetest.New(b)
	store, err := registry.Open(registry.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	in, err := ingest.New(ingest.Options{Warehouse: w, Watermarks: store, Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := in.Run(ctx); !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	})
	sites := make([]*steadySite, 100)
	for i := range sites {
		sites[i] = openSteady(b, in, i)
		defer sites[i].inlet.Close()
	}
	for i := range *steadyAssets {
		sites[i%len(sites)].add(b, i)
	}
	for _, s := range sites {
		s.send(b)
	}
	for _, s := range sites {
		s.wait(b)
		s.delays = nil
	}
	rest(b, w)
	engine := engineProcess(b)
	for b.Loop() {
		before, began, parts := processorTime(b, engine), time.Now(), newParts(b, w)
		tick := time.NewTicker(time.Second / time.Duration(*steadyRate))
		defer tick.Stop()
		for n := 0; time.Since(began) < *steadyFor; n++ {
			<-tick.C
			s := sites[n%len(sites)]
			s.add(b, (n*7919)%*steadyAssets)
			s.send(b)
		}
		cores := (processorTime(b, engine) - before).Seconds() / time.Since(began).Seconds()
		var delays []time.Duration
		for _, s := range sites {
			s.wait(b)
			s.mu.Lock()
			delays = append(delays, s.delays...)
			s.mu.Unlock()
		}
		slices.Sort(delays)
		p99 := delays[len(delays)*99/100]
		b.ReportMetric(cores*100, "%core")
		b.ReportMetric(delays[len(delays)/2].Seconds()*1000, "p50-ms")
		b.ReportMetric(p99.Seconds()*1000, "p99-ms")
		b.ReportMetric(delays[len(delays)-1].Seconds()*1000, "worst-ms")
		b.ReportMetric(float64(newParts(b, w)-parts)/time.Since(began).Seconds(), "parts/s")
		b.ReportMetric(0, "ns/op")
		for _, missed := range []error{
			whenAbove(cores, steadyCores, func() error {
				return aims.Missed(b.Logf, "cores of the engine in steady state", fmt.Sprintf("%.2f", cores), steadyCores)
			}),
			whenAbove(p99.Seconds(), steadyWait.Seconds(), func() error {
				return aims.Missed(b.Logf, "arrival until a version can be read, p99", p99.String(), steadyWait.String())
			}),
		} {
			if missed != nil {
				b.Error(missed)
			}
		}
	}
}

func whenAbove(value, aim float64, missed func() error) error {
	if value > aim {
		return missed()
	}
	return nil
}

// steadySite is a site with one agent.
type steadySite struct {
	inlet   *ingest.Inlet
	spool   string
	seq     uint64
	records []*wirev1.Record
	clock   *hlc.Clock

	mu sync.Mutex
	// sent is when each record was submitted that is not durable yet.
	sent   map[uint64]time.Time
	delays []time.Duration
}

func openSteady(b *testing.B, in *ingest.Ingest, n int) *steadySite {
	b.Helper()
	s := &steadySite{spool: strings.ReplaceAll(uuid.NewString(), "-", ""), sent: make(map[uint64]time.Time), clock: hlc.New(0)}
	var err error
	if s.inlet, err = in.Open(b.Context(), identity.Agent{Site: fmt.Sprintf("site-%03d", n), ID: uuid.NewString()}, s.spool); err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			select {
			case <-s.inlet.Acks():
			case <-b.Context().Done():
				return
			}
			now := time.Now()
			s.mu.Lock()
			for _, w := range s.inlet.Durable() {
				for seq, at := range s.sent {
					if seq <= w.GetSeq() {
						s.delays = append(s.delays, now.Sub(at))
						delete(s.sent, seq)
					}
				}
			}
			s.mu.Unlock()
		}
	}()
	return s
}

// add makes a version of an asset.
func (s *steadySite) add(b *testing.B, asset int) {
	b.Helper()
	s.seq++
	var d map[string]any
	if err := json.Unmarshal(doc(asset), &d); err != nil {
		b.Fatal(err)
	}
	d["generation"] = s.seq
	data, err := json.Marshal(d)
	if err != nil {
		b.Fatal(err)
	}
	canonical, err := document.Canonical(data)
	if err != nil {
		b.Fatal(err)
	}
	s.records = append(s.records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "kubernetes.core.Pod", Uid: uid(asset), Version: uint64(s.clock.Now()), Operation: wirev1.Operation_OPERATION_UPDATED,
		Scope: "k/pods", Name: fmt.Sprint("web-", asset), Document: canonical, Hash: make([]byte, 16), Changed: []string{"generation"},
		Relations: []*wirev1.Relation{
			{Kind: "runs_on", Type: "kubernetes.core.Node", Uid: fmt.Sprint("node-", asset%100)},
			{Kind: "owned_by", Type: "kubernetes.apps.ReplicaSet", Uid: fmt.Sprint("set-", asset%1000)},
		},
	}}})
}

func (s *steadySite) send(b *testing.B) {
	b.Helper()
	first := s.seq - uint64(len(s.records)) + 1
	data, err := wire.EncodeBatch(s.spool, wirev1.Class_CLASS_ASSETS, first, s.records)
	if err != nil {
		b.Fatal(err)
	}
	s.records = nil
	s.mu.Lock()
	s.sent[s.seq] = time.Now()
	s.mu.Unlock()
	if err := s.inlet.Receive(b.Context(), wirev1.Class_CLASS_ASSETS, len(data), bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
}

func (s *steadySite) wait(b *testing.B) {
	b.Helper()
	for range 6000 {
		s.mu.Lock()
		n := len(s.sent)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("what was sent did not become durable")
}

// newParts is how many parts were ever made of the tables of the inventory.
func newParts(b *testing.B, w *warehouse.Warehouse) (n uint64) {
	b.Helper()
	if err := w.Conn().QueryRow(b.Context(), "SELECT toUInt64(sum(m)) FROM (SELECT max(max_block_number) AS m FROM system.parts WHERE database = "+
		"currentDatabase() AND table IN ('asset', 'asset_version', 'relation') GROUP BY table, partition)").Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// engineProcess is the process of the embedded engine, a child of this one.
func engineProcess(b *testing.B) int {
	b.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid := filepath.Base(filepath.Dir(file))
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && fields[1] == strconv.Itoa(os.Getpid()) && bytes.Contains(line, []byte("\x00engine\x00")) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Skip("no engine process is to be seen in /proc")
	return 0
}

// processorTime is what a process has used.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // a tick is that long wherever Linux runs
}
