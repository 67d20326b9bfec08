package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
)

// busySite is an agent of a site where much changes: its stores and its uplink,
// and what it recorded.
type busySite struct {
	t    *testing.T
	c    *centre.Centre
	dir  string
	id   *enroll.Identity
	rand *mrand.Rand

	seen  *lastseen.Store
	spool *spool.Spool
	clock *hlc.Clock
	stop  func()

	// now is the time at the site, which goes by faster than here.
	now              time.Time
	versions, events int
	newest           map[string]*wirev1.AssetVersion
}

const busyBudget = 32 << 20

// openStores opens what an agent keeps in a directory. The spool must not be
// damaged; zero bytes are its usual budget.
func openStores(t *testing.T, dir string, logger *slog.Logger, bytes int64) (*lastseen.Store, *spool.Spool, *hlc.Clock) {
	t.Helper()
	seen, err := lastseen.Open(filepath.Join(dir, "last-seen"), logger)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{
		Dir: filepath.Join(dir, "spool"), MaxBytes: bytes,
		Apply: seen.Apply, Applied: seen.Applied, BeforeTrim: seen.Sync, Recall: seen.Recall,
		Damaged: func(d spool.Damage) error { return fmt.Errorf("%+v", d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Adopt(sp.ID()); err != nil {
		t.Fatal(err)
	}
	stamp, err := seen.Clock()
	if err != nil {
		t.Fatal(err)
	}
	return seen, sp, hlc.New(stamp)
}

// start begins a life of the agent, which stop ends.
func (b *busySite) start() {
	b.t.Helper()
	b.seen, b.spool, b.clock = openStores(b.t, b.dir, slog.New(slog.DiscardHandler), busyBudget)
	link := &uplink.Uplink{
		Spool: b.spool, Clock: b.clock, Addresses: []string{b.c.Address}, TLS: b.id.ClientTLS, Hostname: "host",
		Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := link.Run(ctx); !errors.Is(err, context.Canceled) {
			b.t.Error(err)
		}
	})
	b.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(b.spool.Close(), b.seen.Close()); err != nil {
			b.t.Error(err)
		}
	})
}

func (b *busySite) append(class wirev1.Class, records []*wirev1.Record) {
	b.t.Helper()
	if err := b.spool.Append(b.t.Context(), class, records); err != nil {
		b.t.Fatal(err)
	}
	var bytes int64
	for _, st := range b.spool.Stat() {
		bytes += st.Bytes
	}
	if bytes > busyBudget {
		b.t.Fatalf("the spool has %d bytes", bytes)
	}
}

// minute has many assets change and a few of them come and go, and tells events.
func (b *busySite) minute(assets int) {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	var part []*wirev1.Record
	for n := range assets {
		uid := fmt.Sprint("u", n)
		before := b.newest[uid]
		a := &wirev1.AssetVersion{
			Type: "fake.test.Thing", Uid: uid, Version: uint64(b.clock.Next()), Operation: wirev1.Operation_OPERATION_UPDATED,
			Scope: "fake/s", ObservedAt: b.now.UnixMilli(), Hash: make([]byte, 16),
			Relations: []*wirev1.Relation{{Kind: "on", Type: "fake.test.Host", Uid: fmt.Sprint(b.rand.IntN(50))}},
		}
		switch {
		case before == nil || before.GetOperation() == wirev1.Operation_OPERATION_DELETED:
			a.Operation = wirev1.Operation_OPERATION_CREATED
		case b.rand.IntN(20) == 0:
			a.Operation, a.Document, a.Relations, a.RemovedRelations = wirev1.Operation_OPERATION_DELETED, before.GetDocument(), nil,
				before.GetRelations()
		case before.GetRelations()[0].GetUid() != a.GetRelations()[0].GetUid():
			a.RemovedRelations = before.GetRelations()
		}
		if a.Document == nil {
			var noise strings.Builder
			for range 40 {
				fmt.Fprintf(&noise, "%016x", b.rand.Uint64())
			}
			a.Document = fmt.Appendf(nil, `{"at":%q,"noise":%q}`, b.now.Format(time.RFC3339), noise.String())
		}
		b.newest[uid] = a
		b.versions++
		if part = append(part, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}}); len(part) == 256 || n == assets-1 {
			b.append(wirev1.Class_CLASS_ASSETS, part)
			part = nil
		}
	}
	for range 3000 {
		b.events++
		part = append(part, &wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{
			Id: fmt.Sprintf("%016x", b.rand.Uint64()), Type: "fake.test.happened", Scope: "fake/s", Time: b.now.UnixMilli(),
			Message: fmt.Sprintf("%016x%016x%016x%016x%016x", b.rand.Uint64(), b.rand.Uint64(), b.rand.Uint64(), b.rand.Uint64(), b.rand.Uint64()),
		}}})
	}
	b.append(wirev1.Class_CLASS_EVENTS, part)
}

func (b *busySite) delivered() {
	b.t.Helper()
	centre.WaitFor(b.t, "everything acknowledged", func() bool {
		for _, st := range b.spool.Stat() {
			if st.Waiting > 0 {
				return false
			}
		}
		return true
	})
}

// TestOutageOfAnHour takes the aggregator away for an hour from a site that makes
// far more than the spool may have in it, restarts the agent in the middle of it,
// and cuts the connection while it catches up. The centre then has the newest
// state of everything, and the gaps say exactly what it does not have.
func TestOutageOfAnHour(t *testing.T) {
	c := centre.New(t)
	b := &busySite{
		t: t, c: c, dir: t.TempDir(), id: c.Join(t.TempDir()), rand: mrand.New(mrand.NewPCG(1, 2)),
		now: time.Now().Add(-2 * time.Hour).Truncate(time.Minute), newest: make(map[string]*wirev1.AssetVersion),
	}
	const assets = 1200
	b.start()
	defer func() { b.stop() }()
	for range 5 {
		b.minute(assets)
	}
	b.delivered()
	if n := warehousetest.Rows(t, c.Store, "gap"); n != 0 {
		t.Fatalf("%d gaps before the outage", n)
	}
	// The aggregator goes away while something is under way.
	b.minute(assets)
	c.Stop()
	began := b.now
	for minute := range 60 {
		if minute == 25 {
			b.stop()
			b.start()
		}
		b.minute(assets)
	}
	ended := b.now
	c.Start()
	centre.WaitFor(t, "the first of it arrives", func() bool { return warehousetest.Rows(t, c.Store, "gap") > 0 })
	c.Stop()
	b.minute(assets)
	c.Start()
	b.delivered()

	var versions, taken, wrong uint64
	one := func(query string, targets ...any) {
		t.Helper()
		if err := c.Store.Conn().QueryRow(t.Context(), query).Scan(targets...); err != nil {
			t.Fatal(err)
		}
	}
	one("SELECT count() FROM asset_version FINAL", &versions)
	one("SELECT count() FROM event FINAL", &taken)
	one("SELECT count() FROM dead_letter", &wrong)
	var lost, lostEvents uint64
	var from, to time.Time
	rows := 0
	api := client(t, c)
	for token := ""; ; {
		answer, err := api.ListGaps(t.Context(), connect.NewRequest(&reevev1.ListGapsRequest{Site: "west", PageSize: 7, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range answer.Msg.GetGaps() {
			rows++
			lost, lostEvents = lost+g.GetVersions(), lostEvents+g.GetEvents()
			if g.GetReason() != reevev1.Gap_REASON_BUDGET || g.GetUnknown()+g.GetUsages()+g.GetAssetTypes() != 0 {
				t.Errorf("%v", g)
			}
			if at := g.GetEarliestTime().AsTime(); from.IsZero() || at.Before(from) {
				from = at
			}
			if at := g.GetLatestTime().AsTime(); at.After(to) {
				to = at
			}
		}
		if token = answer.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	t.Logf("away from %s to %s: %d versions and %d events were recorded in all; the centre has %d and %d; %d gaps from %s to %s tell of %d "+
		"versions and %d events",
		began.Format(time.TimeOnly), ended.Format(time.TimeOnly), b.versions, b.events, versions, taken, rows, from.Format(time.TimeOnly),
		to.Format(time.TimeOnly), lost, lostEvents)
	if int(versions+lost) != b.versions || int(taken+lostEvents) != b.events || wrong != 0 {
		t.Errorf("that does not add up; %d dead letters", wrong)
	}
	if lost == 0 || lostEvents == 0 {
		t.Error("nothing had to be given up")
	}
	if from.Before(began.Add(-time.Minute)) || to.After(ended) {
		t.Errorf("gaps from %s to %s", from, to)
	}
	// The newest state of everything, and no edge too many.
	var uids, deleted []string
	var stamps []uint64
	one("SELECT groupArray(uid), groupArray(version) FROM (SELECT uid, version FROM asset FINAL)", &uids, &stamps)
	one("SELECT groupArray(uid) FROM (SELECT uid FROM asset FINAL WHERE deleted)", &deleted)
	if len(uids) != len(b.newest) {
		t.Errorf("%d assets, want %d", len(uids), len(b.newest))
	}
	for i, uid := range uids {
		if b.newest[uid].GetVersion() != stamps[i] {
			t.Errorf("%s has version %d, want %d", uid, stamps[i], b.newest[uid].GetVersion())
		}
	}
	edges := make(map[string]bool)
	for uid, a := range b.newest {
		if a.GetOperation() == wirev1.Operation_OPERATION_DELETED {
			continue
		}
		edges[uid+" "+a.GetRelations()[0].GetUid()] = true
	}
	if len(deleted) != len(b.newest)-len(edges) {
		t.Errorf("%d assets are deleted, want %d", len(deleted), len(b.newest)-len(edges))
	}
	var found []string
	one("SELECT groupArray(concat(from_uid, ' ', to_uid)) FROM (SELECT from_uid, to_uid FROM relation FINAL WHERE dir = 'out' AND NOT deleted)", &found)
	for _, edge := range found {
		if !edges[edge] {
			t.Errorf("the edge %s is not there any more", edge)
		}
	}
	if len(found) != len(edges) {
		t.Errorf("%d edges, want %d", len(found), len(edges))
	}
}
