//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// truth is what a journal says: each line makes exactly one version.
type truth struct {
	entries []fake.Entry
	lines   []truthLine
	// live is the last state of each asset; nil for a deleted one.
	live map[string]*fake.Asset
}

type truthLine struct {
	// seq is the number of the version in the spool.
	seq            uint64
	uid, operation string
	document       any
}

// makeTruth makes up the lives of assets: they come, change, go and come again.
// No two lines have the same content.
func makeTruth(t *testing.T, r *rand.Rand, lines, assets int) *truth {
	t.Helper()
	tr := &truth{live: make(map[string]*fake.Asset)}
	states := []string{"ACTIVE", "BUILD", "ERROR", "SHUTOFF"}
	for n := range lines {
		uid := fmt.Sprintf("thing-%03d", r.IntN(assets))
		before := tr.live[uid]
		if before != nil && r.IntN(8) == 0 {
			tr.add(t, uid, "deleted", before, fake.Entry{Delete: uid})
			tr.live[uid] = nil
			continue
		}
		a := thing(uid, map[string]any{
			"line":  n,
			"size":  r.IntN(1 << 20),
			"ports": r.Perm(4),
			"nested": map[string]any{
				"text": fmt.Sprintf("ünïcode %x \"quoted\"\n", r.Uint64()),
				"none": nil,
			},
			// So much that does not shrink that the spool gives segments up.
			"blob": noise(r, 4<<10),
		})
		a.Status = states[r.IntN(len(states))]
		a.Labels = map[string]string{"shelf": fmt.Sprint(r.IntN(10))}
		for range r.IntN(3) {
			to := plugin.Key{Type: fake.TypeThing, UID: fmt.Sprintf("thing-%03d", r.IntN(assets))}
			a.Relations = append(a.Relations, plugin.Relation{Kind: "member_of", To: to})
		}
		operation := "updated"
		if before == nil {
			operation = "created"
		}
		tr.add(t, uid, operation, &a, upsert(a))
		tr.live[uid] = &a
	}
	return tr
}

// noise returns text that compresses little, and in which redaction sees no secret.
func noise(r *rand.Rand, length int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	data := make([]byte, length)
	for i := range data {
		data[i] = letters[r.IntN(len(letters))]
	}
	return string(data)
}

func (tr *truth) add(t *testing.T, uid, operation string, a *fake.Asset, e fake.Entry) {
	tr.entries = append(tr.entries, e)
	tr.lines = append(tr.lines, truthLine{uint64(typeRecords + len(tr.lines) + 1), uid, operation, decode(t, string(a.Document))})
}

// compareVersions wants the rows to be exactly the journal's lines, in order.
func compareVersions(t *testing.T, tr *truth, rows []version) {
	t.Helper()
	operations := make(map[string]int)
	stamps := make(map[uint64]bool)
	wrong := 0
	for i, row := range rows {
		operations[row.Operation]++
		if stamps[row.Version] {
			t.Errorf("two rows have version %d", row.Version)
		}
		stamps[row.Version] = true
		if i >= len(tr.lines) || wrong > 10 {
			continue
		}
		want := tr.lines[i]
		switch {
		case row.Seq != want.seq:
			t.Errorf("row %d has the number %d in the spool", i+1, row.Seq)
		case row.UID != want.uid || row.Operation != want.operation:
			t.Errorf("row %d is %s %s, the journal has %s %s", i+1, row.Operation, row.UID, want.operation, want.uid)
		case !reflect.DeepEqual(decode(t, row.Document), want.document):
			t.Errorf("row %d (%s %s) has the document %.500s, the journal %.500s", i+1, row.Operation, row.UID, row.Document,
				fmt.Sprint(want.document))
		case (row.Operation == "updated") != slices.Contains(row.Changed, "line"):
			t.Errorf("row %d (%s %s) says of the changed paths %v", i+1, row.Operation, row.UID, row.Changed)
		default:
			continue
		}
		wrong++
	}
	if len(rows) != len(tr.lines) {
		t.Errorf("the warehouse has %d versions, the journal %d", len(rows), len(tr.lines))
	}
	t.Logf("versions, counted without FINAL: %d of %d, %v", len(rows), len(tr.lines), operations)
}

// compareAssets wants the current state to be that of the last line of each asset.
func compareAssets(t *testing.T, tr *truth, db driver.Conn, site string) {
	t.Helper()
	var rows []struct {
		UID      string            `ch:"uid"`
		Deleted  bool              `ch:"deleted"`
		Name     string            `ch:"name"`
		Status   string            `ch:"status"`
		Labels   map[string]string `ch:"labels"`
		Document string            `ch:"document"`
		Line     string            `ch:"line"`
	}
	if err := db.Select(t.Context(), &rows,
		"SELECT uid, deleted, name, status, labels, document, fields['line'] AS line FROM asset FINAL WHERE site = {site:String} AND type = "+
			"'fake.test.Thing'", clickhouse.Named("site", site)); err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, row := range rows {
		want, known := tr.live[row.UID]
		if !known || row.Deleted != (want == nil) {
			t.Errorf("asset %s: deleted is %v, the journal has %v", row.UID, row.Deleted, want)
		}
		if want == nil || row.Deleted {
			continue
		}
		active++
		document := decode(t, row.Document)
		if row.Name != want.Name || row.Status != want.Status || !maps.Equal(row.Labels, want.Labels) ||
			!reflect.DeepEqual(document, decode(t, string(want.Document))) || row.Line != fmt.Sprint(at(document, "line")) {
			t.Errorf("asset %s is %.900s, the journal has %.900s", row.UID, fmt.Sprintf("%+v", row), fmt.Sprintf("%+v", want))
		}
	}
	if len(rows) != len(tr.live) {
		t.Errorf("the warehouse has %d assets, the journal %d", len(rows), len(tr.live))
	}
	t.Logf("assets: %d of %d, %d of them active", len(rows), len(tr.live), active)
}

// compareRelations wants the edges to be those of the assets that exist.
func compareRelations(t *testing.T, tr *truth, db driver.Conn, site string) {
	t.Helper()
	want := make(map[string]bool)
	for uid, a := range tr.live {
		if a == nil {
			continue
		}
		for _, r := range a.Relations {
			want[uid+" "+r.Kind+" "+r.To.UID] = true
		}
	}
	var rows []struct {
		Edge string `ch:"edge"`
	}
	if err := db.Select(t.Context(), &rows,
		"SELECT concat(from_uid, ' ', kind, ' ', to_uid) AS edge FROM relation FINAL WHERE dir = 'out' AND site = {site:String} AND NOT deleted AND from_type "+
			"= 'fake.test.Thing'", clickhouse.Named("site", site)); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, row := range rows {
		if got[row.Edge] {
			t.Errorf("the edge %s is there twice", row.Edge)
		}
		got[row.Edge] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("the edges differ: %d in the warehouse, %d in the journal", len(got), len(want))
		shown := 0
		for _, edge := range slices.Sorted(maps.Keys(got)) {
			if !want[edge] && shown < 10 {
				t.Logf("only in the warehouse: %s", edge)
				shown++
			}
		}
		for _, edge := range slices.Sorted(maps.Keys(want)) {
			if !got[edge] && shown < 20 {
				t.Logf("only in the journal: %s", edge)
				shown++
			}
		}
	}
	t.Logf("relations: %d of %d", len(got), len(want))
}
