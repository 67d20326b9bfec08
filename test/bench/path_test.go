// Package bench_test measures the whole path, from a collector's observation to
// the acknowledged row, side by side with the plain limit: the same rows inserted
// straight into the same engine, ready made and by a loader that makes them of the
// documents meanwhile. All in one run, for machines are noisy.
//
//	make bench ARGS='-bench Path -count 3'
package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/test/aims"
	"github.com/reeve-cloud/reeve/test/centre"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

const assets = 40_000

// pathAim is the share of the speed of a plain insert that the whole path should have.
const pathAim = 0.7

// doc is a document of about 2 kB with some 50 paths, like a Kubernetes object.
func doc(i int) json.RawMessage {
	containers := make([]map[string]any, 3)
	for c := range containers {
		containers[c] = map[string]any{
			"name": fmt.Sprint("c", c), "image": fmt.Sprintf("registry.example/team-%d/app-%d:1.%d.%d", i%17, c, i%50, i%7),
			"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
			"ports": []map[string]any{{"containerPort": 8080 + c, "protocol": "TCP", "name": "http"}},
			"resources": map[string]any{"limits": map[string]any{"cpu": "500m", "memory": "256Mi"},
				"requests": map[string]any{"cpu": "100m", "memory": "128Mi"}},
			"volumeMounts": []map[string]any{{"mountPath": "/var/run/service", "name": "service", "readOnly": true}},
		}
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": fmt.Sprint("web-", i), "namespace": fmt.Sprint("team-", i%17), "uid": uid(i), "creationTimestamp": "2026-03-01T12:00:00Z",
			"labels": map[string]any{"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": fmt.Sprint("web-", i%100),
				"tier": "front"},
			"ownerReferences": []map[string]any{{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": fmt.Sprint("web-", i%100),
				"controller": true}},
		},
		"spec": map[string]any{"nodeName": fmt.Sprint("node-", i%100), "containers": containers, "restartPolicy": "Always",
			"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30},
		"status": map[string]any{"phase": "Running", "podIP": fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), "qosClass": "Burstable",
			"conditions": []map[string]any{{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}}},
	})
	if err != nil {
		panic(err)
	}
	return data
}

func uid(i int) string { return uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)).String() }

// estate is a collector that lists the same estate each time, as generation n.
type estate struct {
	docs  []json.RawMessage
	swept chan struct{}
}

func (e *estate) Verify(context.Context) ([]plugin.Check, error) { return nil, nil }

func (e *estate) Scopes(_ context.Context, publish func([]plugin.Scope)) error {
	publish([]plugin.Scope{{Name: "pods"}})
	return nil
}

func (e *estate) Sweep(ctx context.Context, _ plugin.Scope, out plugin.Sink) error {
	s, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	for i, d := range e.docs {
		if err := s.Upsert(ctx, plugin.Observation{Key: plugin.Key{Type: "kubernetes.core.Pod", UID: uid(i)}, Name: fmt.Sprint("web-", i),
			Document: d}); err != nil {
			return err
		}
	}
	if err := s.Commit(ctx, ""); err != nil {
		return err
	}
	close(e.swept)
	return nil
}

func BenchmarkPath(b *testing.B) {
	c := centre.New(b)
	docs := make([]json.RawMessage, assets)
	raw := 0
	for i := range docs {
		docs[i] = doc(i)
		raw += len(docs[i])
	}
	var whole, limit, loader time.Duration
	var wire int64
	for b.Loop() {
		rest(b, c.Store)
		took, bytes := throughPath(b, c, docs)
		whole += took
		wire += bytes
		rest(b, c.Store)
		limit += straight(b, c.Store, docs)
		rest(b, c.Store)
		loader += loaded(b, c.Store, docs)
	}
	n := float64(b.N * assets)
	b.ReportMetric(float64(whole.Nanoseconds())/n, "ns/asset")
	b.ReportMetric(float64(limit.Nanoseconds())/n, "ns/asset-straight")
	b.ReportMetric(float64(loader.Nanoseconds())/n, "ns/asset-loader")
	b.ReportMetric(limit.Seconds()/whole.Seconds(), "of-limit")
	b.ReportMetric(loader.Seconds()/whole.Seconds(), "of-loader")
	if share := limit.Seconds() / whole.Seconds(); share < pathAim {
		if err := aims.Missed(b.Logf, "whole path by the plain insert of rows ready made", fmt.Sprintf("%.2f", share), pathAim); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(wire)/float64(b.N*raw), "wire/json")
	b.ReportMetric(0, "ns/op")
}

// rest waits until what a measurement left behind, garbage and parts to be merged,
// takes nothing from the next one.
func rest(b *testing.B, w *warehouse.Warehouse) {
	b.Helper()
	runtime.GC()
	for idle := 0; idle < 5; idle++ {
		var merges uint64
		if err := w.Conn().QueryRow(b.Context(), "SELECT count() FROM system.merges").Scan(&merges); err != nil {
			b.Fatal(err)
		}
		if merges > 0 {
			idle = -1
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// throughPath lets a new agent observe the estate, and returns the time until
// all of it is acknowledged, and the bytes of its batches.
func throughPath(b *testing.B, c *centre.Centre, docs []json.RawMessage) (time.Duration, int64) {
	b.Helper()
	dir := b.TempDir()
	logger := slog.New(slog.DiscardHandler)
	id := c.Join(filepath.Join(dir, "identity"))
	seen, err := lastseen.Open(filepath.Join(dir, "seen"), logger)
	if err != nil {
		b.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Apply: seen.Apply, Applied: seen.Applied, BeforeTrim: seen.Sync,
		Recall: seen.Recall})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := seen.Adopt(sp.ID()); err != nil {
		b.Fatal(err)
	}
	clock := hlc.New(0)
	e := &estate{docs: docs, swept: make(chan struct{})}
	runner := &collect.Runner{
		Recorder: &collect.Recorder{Seen: seen, Spool: sp, Clock: clock, Logger: logger},
		Sources:  []collect.Source{{Name: "k", Description: plugin.Description{Name: "k"}, Collector: e}},
	}
	metrics := prometheus.NewRegistry()
	link := &uplink.Uplink{Spool: sp, Clock: clock, Addresses: []string{c.Address}, TLS: id.ClientTLS, Logger: logger,
		Metrics: uplink.NewMetrics(metrics)}

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	began := time.Now()
	for _, part := range []func(context.Context) error{runner.Run, link.Run} {
		wg.Go(func() {
			if err := part(ctx); !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
		})
	}
	<-e.swept
	for sp.Stat()[0].Waiting > 0 {
		time.Sleep(2 * time.Millisecond)
	}
	took := time.Since(began)
	cancel()
	wg.Wait()
	if err := errors.Join(sp.Close(), seen.Close()); err != nil {
		b.Fatal(err)
	}
	return took, sent(b, metrics)
}

// sent returns the bytes of batches that an uplink counted.
func sent(b *testing.B, r *prometheus.Registry) (bytes int64) {
	b.Helper()
	families, err := r.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "reeve_agent_sent_batch_bytes_total" {
			for _, m := range f.GetMetric() {
				bytes += int64(m.GetCounter().GetValue())
			}
		}
	}
	return bytes
}

// rowsOf makes groups of rows of documents, as large as those that ingest makes.
func rowsOf(docs []json.RawMessage, put func(*warehouse.Group)) error {
	const size = 5000
	now := time.Now()
	for from := 0; from < len(docs); from += size {
		g := &warehouse.Group{ID: uuid.New(), ReceivedAt: now.Truncate(time.Millisecond)}
		for i := from; i < min(from+size, len(docs)); i++ {
			canonical, err := document.Canonical(docs[i])
			if err != nil {
				return err
			}
			fields, err := document.Fields(canonical)
			if err != nil {
				return err
			}
			g.Versions = append(g.Versions, warehouse.AssetVersion{
				Origin: warehouse.Origin{Site: "straight", AgentID: "a", SpoolID: g.ID.String(), Seq: uint64(i)},
				Type:   "kubernetes.core.Pod", UID: uid(i), Version: uint64(hlc.FromTime(now)) + uint64(i), Operation: warehouse.Created,
				Scope: "k/pods",
				Name:  fmt.Sprint("web-", i), Document: canonical, Fields: fields, ObservedAt: now,
			})
		}
		put(g)
	}
	return nil
}

// straight inserts the same documents as rows that are ready made.
func straight(b *testing.B, w *warehouse.Warehouse, docs []json.RawMessage) time.Duration {
	b.Helper()
	var groups []*warehouse.Group
	if err := rowsOf(docs, func(g *warehouse.Group) { groups = append(groups, g) }); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	for _, g := range groups {
		if err := w.Write(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

// loaded inserts the same documents and makes rows of the next ones meanwhile.
func loaded(b *testing.B, w *warehouse.Warehouse, docs []json.RawMessage) time.Duration {
	b.Helper()
	began := time.Now()
	groups, made := make(chan *warehouse.Group), make(chan error, 1)
	go func() {
		defer close(groups)
		made <- rowsOf(docs, func(g *warehouse.Group) {
			select {
			case groups <- g:
			case <-b.Context().Done():
			}
		})
	}()
	for g := range groups {
		if err := w.Write(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-made; err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
