package warehouse_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

var relayoutAssets = flag.Int("relayout-assets", 2_000, "how many assets the warehouse of before has whose migration is killed")

// before makes a warehouse as it was before tables were ordered by type.
func before(t *testing.T, w *warehouse.Warehouse, assets int) {
	t.Helper()
	if err := w.MigrateTo(t.Context(), 20, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		// Every third asset has a newer row; every version has one of each of two months, and
		// one of them lies there twice.
		`INSERT INTO asset (site, type, uid, version, deleted, scope, name, region, project, status, labels, hash, document, fields, created_at,
			updated_at, observed_at, received_at, agent_id, ingest_id)
			SELECT concat('site-', toString(n % 7)), ['k.core.Pod', 'k.core.Node', 'o.compute.Server'][n % 3 + 1], concat('UID-', leftPad(toString(n), 7, '0')),
			1000 + v, n % 11 = 0, concat('scope/', toString(n % 5)), concat(['Näme ', 'ÏΣΑΣ ', 'İKK '][n % 3 + 1], toString(n)), 'r', if(n % 2 = 0, 'Prod', ''), 'up',
			if(n % 4 = 0, map('b', 'Zwei', 'a', 'Eins'), map()), unhex(leftPad(hex(n), 32, '0')), concat('{"n":', toString(n), ',"pad":"', repeat('x', n % 500), '"}'),
			map('n', toString(n), 'addr.ip', concat('10.0.0.', toString(n % 250), '\x1f', 'FE80::', hex(n)), 'other', 'Q'),
			toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC'), toDateTime64(0, 3, 'UTC'), toDateTime64('2026-02-02 03:04:05.678', 3, 'UTC') + n,
			toDateTime64('2026-02-02 03:04:06.678', 3, 'UTC') + v, concat('agent-', toString(n % 9)), generateUUIDv4(n)
			FROM (SELECT number AS n, arrayJoin(if(number % 3 = 0, [0, 1], [0])) AS v FROM numbers({n}))`,
		`INSERT INTO asset_version (site, type, uid, version, claimed_version, operation, scope, name, region, project, status, labels, hash, document,
			changed, edges.kind, edges.type, edges.uid, edges_known, created_at, updated_at, observed_at, received_at, agent_id, spool_id, seq, ingest_id)
			SELECT concat('site-', toString(n % 7)), ['k.core.Pod', 'k.core.Node', 'o.compute.Server'][n % 3 + 1], concat('UID-', leftPad(toString(n), 7, '0')),
			1000 + v, n % 13, if(v = 0, 'created', 'updated'), concat('scope/', toString(n % 5)), concat('Näme ', toString(n)), 'r', 'p', 'up',
			map('a', 'b'), unhex(leftPad(hex(n), 32, '0')), concat('{"n":', toString(n), '}'), ['a.b', 'n'],
			['part_of'], ['k.core.Node'], [toString(n + 1)], n % 2 = 0, toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC'), toDateTime64(0, 3, 'UTC'),
			toDateTime64('2026-02-02 03:04:05.678', 3, 'UTC') + n, addMonths(toDateTime64('2026-02-02 03:04:06.678', 3, 'UTC'), v), 'agent-1', 'spool', n,
			toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')
			FROM (SELECT number AS n, arrayJoin(if(number % 10 = 0, [0, 1, 1], [0])) AS v FROM numbers({n}))`,
		`INSERT INTO relation (site, from_type, from_uid, kind, to_type, to_uid, version, deleted, received_at, ingest_id)
			SELECT concat('site-', toString(n % 7)), 'k.core.Node', concat('UID-', toString(n)), ['backed_by', 'part_of'][n % 2 + 1],
			['o.compute.Server', 'k.core.Node'][n % 2 + 1], concat('UID-', toString(n + v * 7)), 1000 + v, n % 5 = 0, now64(3), generateUUIDv4(n)
			FROM (SELECT number AS n, arrayJoin([0, 1]) AS v FROM numbers({n}))`,
		`INSERT INTO asset_type (site, name, title, layout, version, received_at) SELECT concat('site-', toString(number)), 'k.core.Pod', 'Pod',
			if(number = 3, '{"search":["other","addr.ip"]}', '{"search":["addr.ip"]}'), 1, now64(3) FROM numbers(7)`,
	} {
		if err := w.Conn().Exec(t.Context(), strings.ReplaceAll(statement, "{n}", fmt.Sprint(assets))); err != nil {
			t.Fatalf("%.60s: %v", statement, err)
		}
	}
}

// fingerprints sums up what a warehouse has, whatever its layout: dir is the condition
// for the edges as they were told.
func fingerprints(t *testing.T, w *warehouse.Warehouse, dir string) (prints [3]string) {
	t.Helper()
	columns := [3]string{
		"site, type, uid, version, deleted, scope, name, region, project, status, toString(labels), hash, document, toString(mapSort(fields)), created_at, " +
			"updated_at, observed_at, received_at, agent_id, ingest_id",
		"site, type, uid, version, claimed_version, operation, scope, name, region, project, status, toString(labels), hash, document, changed, " +
			"edges.kind, edges.type, edges.uid, edges_known, created_at, updated_at, observed_at, received_at, agent_id, spool_id, seq, ingest_id",
		"site, from_type, from_uid, kind, to_type, to_uid, version, deleted, received_at, ingest_id",
	}
	for i, from := range []string{"asset FINAL", "asset_version FINAL", "relation FINAL" + dir} {
		var rows, sum uint64
		if err := w.Conn().QueryRow(t.Context(), "SELECT count(), groupBitXor(sipHash64("+columns[i]+")) FROM "+from).Scan(&rows, &sum); err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		prints[i] = fmt.Sprintf("%s: %d rows, %x", from[:5], rows, sum)
	}
	return prints
}

// checkRelaid holds a migrated warehouse against what it was.
func checkRelaid(t *testing.T, w *warehouse.Warehouse, want [3]string) {
	t.Helper()
	if got := fingerprints(t, w, " WHERE dir = 'out'"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	one := func(statement string) (n uint64) {
		t.Helper()
		if err := w.Conn().QueryRow(t.Context(), statement).Scan(&n); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return n
	}
	for statement, want := range map[string]uint64{
		"SELECT count() FROM asset WHERE id != sipHash64(site, type, uid)":                                    0,
		"SELECT count() FROM asset_version WHERE id != sipHash64(site, type, uid)":                            0,
		"SELECT count() FROM relation WHERE to_id != sipHash64(site, to_type, to_uid)":                        0,
		"SELECT count() FROM relation WHERE dir != 'far' AND from_id != sipHash64(site, from_type, from_uid)": 0,
		"SELECT count() FROM relation WHERE dir = 'far' AND from_id != sipHash64('', from_type, from_uid)":    0,
		"SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_next'":         0,
		"SELECT count() FROM schema_progress":                                                                 0,
		`SELECT count() FROM (SELECT site, from_type, from_uid, kind, to_type, to_uid, version, deleted FROM relation FINAL WHERE dir = 'out'
			EXCEPT SELECT site, to_type, to_uid, kind, from_type, from_uid, version, deleted FROM relation FINAL WHERE dir = 'in')`: 0,
	} {
		if n := one(statement); n != want {
			t.Errorf("%s: %d, want %d", statement, n, want)
		}
	}
	if out, in := one("SELECT count() FROM relation FINAL WHERE dir = 'out'"), one("SELECT count() FROM relation FINAL WHERE dir = 'in'"); out != in {
		t.Errorf("%d edges lead from assets and %d to them", out, in)
	}
	foreign := one("SELECT count() FROM relation FINAL WHERE dir = 'out' AND kind = 'backed_by'")
	if far := one("SELECT count() FROM relation FINAL WHERE dir = 'far'"); far != foreign || far == 0 {
		t.Errorf("%d edges lead to another provider's assets, %d are noted so", foreign, far)
	}
	rows, err := w.Conn().Query(t.Context(), "SELECT site, type, name, uid, project, labels, fields, search FROM asset FINAL LIMIT 3000")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var site, kind, name, uid, project, search string
		var labels, values map[string]string
		if err := rows.Scan(&site, &kind, &name, &uid, &project, &labels, &values, &search); err != nil {
			t.Fatal(err)
		}
		var paths []string
		if kind == "k.core.Pod" {
			if paths = []string{"addr.ip"}; site == "site-3" {
				paths = []string{"other", "addr.ip"}
			}
		}
		var fields []document.Field
		for _, path := range []string{"n", "addr.ip", "other"} {
			fields = append(fields, document.Field{Path: path, Value: values[path]})
		}
		if want := filter.SearchText(&filter.Asset{Name: name, UID: uid, Project: project, Labels: labels, Fields: fields}, paths); search != want {
			t.Fatalf("%s of %s is searched by %q, want %q", uid, site, search, want)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// mortal is a connection that dies with the process that has it, so to speak: after so
// many statements nothing goes any more, whether the last one took place or not.
type mortal struct {
	driver.Conn
	left *atomic.Int64
	// late says that the last statement takes place.
	late bool
}

var errKilled = errors.New("killed")

func (m mortal) do(statement func() error) error {
	left := m.left.Add(-1)
	if left < 0 || left == 0 && !m.late {
		return errKilled
	}
	if err := statement(); err != nil {
		return err
	}
	if left == 0 {
		return errKilled
	}
	return nil
}

func (m mortal) Exec(ctx context.Context, query string, args ...any) error {
	return m.do(func() error { return m.Conn.Exec(ctx, query, args...) })
}

func (m mortal) Query(ctx context.Context, query string, args ...any) (rows driver.Rows, err error) {
	err = m.do(func() error { rows, err = m.Conn.Query(ctx, query, args...); return err })
	return rows, err
}

// TestRelayout: a warehouse of before has everything after its migration, though that is
// cut off between any two statements; the engine is killed as well.
func TestRelayout(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	t.Run("cut off", func(t *testing.T) {
		warehouse.SmallPieces(t, 97, 20_000)
		w := warehousetest.Empty(t)
		before(t, w, 500)
		want := fingerprints(t, w, "")
		r := rand.New(rand.NewPCG(1, 2))
		deaths := 0
		for {
			left := new(atomic.Int64)
			left.Store(1 + r.Int64N(30))
			var healthy driver.Conn
			w.Over(func(c driver.Conn) driver.Conn { healthy = c; return mortal{c, left, deaths%2 == 0} })
			err := w.Migrate(t.Context(), logger)
			w.Over(func(driver.Conn) driver.Conn { return healthy })
			if err == nil {
				break
			}
			if deaths++; !errors.Is(err, errKilled) || deaths > 1000 {
				t.Fatalf("after %d deaths: %v", deaths, err)
			}
		}
		if deaths < 10 {
			t.Errorf("it was cut off %d times only", deaths)
		}
		checkRelaid(t, w, want)
	})
	t.Run("engine killed", func(t *testing.T) {
		if *relayoutAssets <= 10_000 {
			warehouse.SmallPieces(t, uint64(max(*relayoutAssets/50, 1)), 1<<20)
		}
		w := warehousetest.Empty(t)
		before(t, w, *relayoutAssets)
		want := fingerprints(t, w, "")
		r := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
		kills, began := 0, time.Now()
		for {
			done := make(chan struct{})
			killed := make(chan bool, 1)
			go func() {
				if kills < 10 {
					select {
					case <-time.After(time.Duration(r.Int64N(int64(time.Second)))):
						pid := w.EnginePID()
						for ; pid == 0; pid = w.EnginePID() { // it is being started again
							time.Sleep(time.Millisecond)
						}
						killed <- syscall.Kill(pid, syscall.SIGKILL) == nil
						return
					case <-done:
					}
				}
				killed <- false
			}()
			err := w.Migrate(t.Context(), logger)
			close(done)
			if <-killed {
				kills++
			} else if err != nil {
				t.Fatalf("after %d kills, of none: %v", kills, err)
			}
			for w.Ping(t.Context()) != nil {
				time.Sleep(10 * time.Millisecond)
			}
			if err == nil {
				break
			}
		}
		if kills == 0 {
			t.Error("the engine was never killed")
		}
		checkRelaid(t, w, want)
		t.Logf("%d assets, %d kills, %v", *relayoutAssets, kills, time.Since(began).Round(time.Millisecond))
	})
}
