package ingest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
)

// large is a group of versions with documents.
func large(versions int) *warehouse.Group {
	g := &warehouse.Group{ReceivedAt: time.Now()}
	for range versions {
		g.Versions = append(g.Versions, warehouse.AssetVersion{
			UID: strings.Repeat("u", 100), Document: make([]byte, 64<<10), Fields: make([]document.Field, 100), Labels: map[string]string{"a": "b"},
		})
	}
	return g
}

func next(t *testing.T, s *Subscription) (versions int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	g, err := s.Next(ctx)
	if err != nil {
		return 0, err
	}
	for _, v := range g.Versions {
		if v.Document != nil || v.Fields != nil || v.Labels != nil {
			t.Error("it has more than is told")
		}
	}
	return len(g.Versions), nil
}

func TestFeed(t *testing.T) {
	f := NewFeed(nil)
	f.Publish(large(1)) // before
	a, b := f.Subscribe(), f.Subscribe()
	defer a.Close()
	f.Publish(large(feedPage + 3))
	b.Close()
	b.Close() // twice does no harm
	f.Publish(large(2))
	for _, want := range []int{feedPage, 3, 2} {
		if n, err := next(t, a); n != want || err != nil {
			t.Errorf("%d versions, want %d: %v", n, want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestFeedCutsOffWhoFallsBehind: those who do not read hold so many bytes, all of them
// together, and nothing is lost for others.
func TestFeedCutsOffWhoFallsBehind(t *testing.T) {
	metrics := prometheus.NewRegistry()
	f := NewFeed(metrics)
	var slow []*Subscription
	for range 20 {
		slow = append(slow, f.Subscribe())
		defer slow[len(slow)-1].Close()
	}
	quick := f.Subscribe()
	defer quick.Close()
	before := heap()
	var most uint64
	published, pages := 0, 0
	for len(f.subscribers) > 1 {
		f.Publish(large(feedPage))
		if n, err := next(t, quick); n != feedPage || err != nil {
			t.Fatalf("%d versions, %v", n, err)
		}
		if published += feedPage * versionBytes; published > 2*feedBytes {
			t.Fatal("they are not cut off")
		}
		if pages++; pages%50 == 0 {
			most = max(most, heap()-before)
		}
	}
	if published < feedBytes/2 {
		t.Errorf("they are cut off after %d bytes", published)
	}
	if most > 2*feedBytes {
		t.Errorf("they hold %d bytes", most)
	}
	for _, s := range slow {
		if _, err := next(t, s); !errors.Is(err, ErrFellBehind) {
			t.Errorf("the error is %v", err)
		}
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[string]float64)
	for _, m := range families {
		counted[m.GetName()] = m.GetMetric()[0].GetCounter().GetValue() + m.GetMetric()[0].GetGauge().GetValue()
	}
	if counted["reeve_ingest_feed_cut_total"] != 20 || counted["reeve_ingest_feed_subscribers"] != 1 {
		t.Errorf("%v are counted", counted)
	}
	runtime.KeepAlive(slow)
}
