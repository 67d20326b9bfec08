package warehouse_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// graph is a model of assets whose edges come and go: of each asset its versions, in
// order.
type graph struct {
	versions map[string][]edgeVersion
}

type edgeVersion struct {
	at      uint64
	deleted bool
	to      []string
}

// at returns the edges of a moment, as "from>to", in order: all of them, or those from
// and to one asset.
func (g *graph) at(moment uint64, only string) []string {
	var list []string
	for from, versions := range g.versions {
		i, found := slices.BinarySearchFunc(versions, moment, func(v edgeVersion, at uint64) int {
			switch {
			case v.at < at:
				return -1
			case v.at > at:
				return 1
			}
			return 0
		})
		if !found {
			i--
		}
		if i < 0 || versions[i].deleted {
			continue
		}
		for _, to := range versions[i].to {
			if only == "" || from == only || to == only {
				list = append(list, from+">"+to)
			}
		}
	}
	slices.Sort(list)
	return list
}

// TestGraphAsOf: relations are asked for as of random moments, in random histories in
// which assets and edges come and go, and are what a model says.
func TestGraphAsOf(t *testing.T) {
	w := warehousetest.New(t)
	const assets, moments = 10_000, 1_000
	r := rand.New(rand.NewPCG(3, 5))
	uid := func(n int) string { return fmt.Sprintf("asset-%05d", n) }
	model := &graph{versions: make(map[string][]edgeVersion)}
	clock := hlc.FromTime(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	first := uint64(clock)
	g := &warehouse.Group{}
	flush := func() {
		t.Helper()
		g.ID, g.ReceivedAt = uuid.New(), time.Now().UTC().Truncate(time.Millisecond)
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		g = &warehouse.Group{}
	}
	for range 3 * assets {
		clock += hlc.Stamp(1 + r.Uint64N(1<<24))
		from := uid(r.IntN(assets))
		v := edgeVersion{at: uint64(clock), deleted: r.IntN(10) == 0}
		op := warehouse.Updated
		row := warehouse.AssetVersion{Origin: warehouse.Origin{Site: "west", AgentID: "a", SpoolID: "s"}, Type: "t", UID: from, Version: v.at,
			Scope: "c/s", Document: []byte("{}")}
		if v.deleted {
			op = warehouse.Deleted
		} else {
			for range r.IntN(5) {
				if to := uid(r.IntN(assets)); !slices.Contains(v.to, to) {
					v.to = append(v.to, to)
					row.Edges = append(row.Edges, warehouse.Relation{Site: "west", FromType: "t", FromUID: from, Kind: "part_of", ToType: "t", ToUID: to,
						Version: v.at})
				}
			}
		}
		row.Operation = op
		model.versions[from] = append(model.versions[from], v)
		g.Versions, g.Relations = append(g.Versions, row), append(g.Relations, row.Edges...)
		if len(g.Versions) == 5_000 {
			flush()
		}
	}
	flush()
	span := uint64(clock) - first
	for i := range moments {
		at, one := first+r.Uint64N(span+1), uid(r.IntN(assets))
		list, known, err := w.RelationsAt(t.Context(), warehouse.AssetKey{Site: "west", Type: "t", UID: one}, hlc.Stamp(at), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list {
			got = append(got, e.FromUID+">"+e.ToUID)
		}
		slices.Sort(got)
		if want := model.at(at, one); !slices.Equal(got, want) || !known {
			t.Fatalf("moment %d: the edges of %s are %q (known: %v), want %q", i, one, got, known, want)
		}
		if i%50 != 0 {
			continue
		}
		// And the graph as a whole.
		var whole string
		if err := w.Conn().QueryRow(t.Context(), `SELECT arrayStringConcat(arraySort(groupArray(concat(uid, '>', to))), ' ') FROM (
			SELECT uid, arrayJoin(argMax(edges.uid, version)) AS to FROM asset_version WHERE site = 'west' AND version <= {at:UInt64} GROUP BY uid)`,
			clickhouse.Named("at", fmt.Sprint(at))).Scan(&whole); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(model.at(at, ""), " "); whole != want {
			t.Fatalf("moment %d: the graph differs, %d bytes of %d", i, len(whole), len(want))
		}
	}
}

// TestEdgesMigrate: a warehouse from before versions had edges keeps what it has. Its
// newest versions get the edges that are known of them; of older ones it says that they
// are not. A migration that was cut off goes on.
func TestEdgesMigrate(t *testing.T) {
	w := warehousetest.Empty(t)
	logger := slog.New(slog.DiscardHandler)
	if err := w.MigrateTo(t.Context(), 5, logger); err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if err := w.Conn().Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	const assets = 12_000 // more than one statement takes
	at := func(n int) string {
		return fmt.Sprint(uint64(hlc.FromTime(time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC))))
	}
	insert := func(table, extra, version string) {
		t.Helper()
		exec(`INSERT INTO ` + table + ` (site, type, uid, version, scope, name, document, received_at, ` + extra + `)
			SELECT 'west', 't', concat('asset-', leftPad(toString(number), 5, '0')), ` + version + `, 'c/s', 'n', '{"a":1}', now64(3), ` +
			map[bool]string{true: "false", false: "'updated'"}[extra == "deleted"] + ` FROM numbers(` + fmt.Sprint(assets) + `)`)
	}
	insert("asset_version", "operation", at(1))
	insert("asset_version", "operation", at(2))
	insert("asset", "deleted", at(2))
	for _, kind := range []string{"runs_on", "part_of"} {
		exec(`INSERT INTO relation (site, from_type, from_uid, kind, to_type, to_uid, version, deleted, received_at)
			SELECT 'west', 't', concat('asset-', leftPad(toString(number), 5, '0')), '` + kind + `', 't', 'asset-00000', ` + at(2) + `, number % 2 = 1, now64(3)
			FROM numbers(` + fmt.Sprint(assets) + `)`)
	}
	if err := w.Migrate(t.Context(), logger); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if n := warehousetest.Rows(t, w, "asset_version FINAL"); n != 2*assets {
			t.Errorf("%s: %d versions of %d", when, n, 2*assets)
		}
		if n := warehousetest.Rows(t, w, "asset_version FINAL WHERE edges_known AND version = "+at(2)+" AND document = "+
			"'{\"a\":1}'"); n != assets {
			t.Errorf("%s: the edges of %d newest versions are known, of %d", when, n, assets)
		}
		if n := warehousetest.Rows(t, w, "asset_version FINAL WHERE edges.kind = ['part_of', 'runs_on'] AND edges.uid = ['asset-00000', "+
			"'asset-00000']"); n != assets/2 {
			t.Errorf("%s: %d versions have their edges", when, n)
		}
		if n := warehousetest.Rows(t, w, "asset_version FINAL WHERE edges_known AND version = "+at(1)); n != 0 {
			t.Errorf("%s: the edges of %d older versions are claimed to be known", when, n)
		}
	}
	check("after the migration")
	// Cut off before it was noted, it is repeated.
	exec("ALTER TABLE schema_migration DELETE WHERE version >= 7 SETTINGS mutations_sync = 1")
	if err := w.Migrate(t.Context(), logger); err != nil {
		t.Fatal(err)
	}
	check("after a second time")

	key := warehouse.AssetKey{Site: "west", Type: "t", UID: "asset-00002"}
	now, known, err := w.RelationsAt(t.Context(), key, hlc.FromTime(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)), 10)
	if err != nil || len(now) != 2 || !known {
		t.Errorf("now there are %v, known: %v, %v", now, known, err)
	}
	before, known, err := w.RelationsAt(t.Context(), key, hlc.FromTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)), 10)
	if err != nil || len(before) != 0 || known {
		t.Errorf("before there were %v, known: %v, %v", before, known, err)
	}
}
