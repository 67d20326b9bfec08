package warehouse_test

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

var at = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

func version(n int, uid string, op warehouse.Operation, doc string) warehouse.AssetVersion {
	fields, err := document.Fields([]byte(doc))
	if err != nil {
		panic(err)
	}
	return warehouse.AssetVersion{
		Origin: warehouse.Origin{Site: "west", AgentID: "agent-1", SpoolID: "spool-1", Seq: uint64(n)},
		Type:   "fake.test.Thing", UID: uid, Version: uint64(1000 + n), Operation: op, Scope: "fake/s",
		Name: "name of " + uid, Status: "up", Labels: map[string]string{"tier": "front"},
		Hash: document.Hash{1, 2, byte(n)}, Document: []byte(doc), Fields: fields, Changed: []string{"n"},
		CreatedAt: at.Add(-time.Hour), ObservedAt: at.Add(time.Duration(n) * time.Second),
	}
}

func group(versions ...warehouse.AssetVersion) *warehouse.Group {
	return &warehouse.Group{ID: uuid.New(), ReceivedAt: at, Versions: versions}
}

func TestMigrateTwice(t *testing.T) {
	w := warehousetest.New(t)
	if err := w.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	// A step that was cut off in the middle is repeated.
	if err := w.Conn().Exec(t.Context(), "TRUNCATE TABLE schema_migration"); err != nil {
		t.Fatal(err)
	}
	if err := w.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := w.Conn().Exec(t.Context(), "INSERT INTO schema_migration (version, name) VALUES (99, 'future')"); err != nil {
		t.Fatal(err)
	}
	if err := w.Migrate(t.Context(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "newer aggregator") {
		t.Fatalf("a newer schema: %v", err)
	}
}

// TestStatementsHaveThreads: below a limit of a gigabyte each would have one otherwise.
func TestStatementsHaveThreads(t *testing.T) {
	w := warehousetest.New(t)
	var bytes uint64
	if err := w.Conn().QueryRow(t.Context(), "SELECT toUInt64(getSetting('max_threads_min_free_memory_per_thread'))").Scan(&bytes); err != nil || bytes != 0 {
		t.Errorf("%d, %v", bytes, err)
	}
}

// TestWideTablesHaveSmallBuffers: without them a merge of assets takes half a gigabyte.
func TestWideTablesHaveSmallBuffers(t *testing.T) {
	w := warehousetest.New(t)
	for _, table := range []string{"asset", "asset_version", "charge"} {
		var query string
		if err := w.Conn().QueryRow(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = $1",
			table).Scan(&query); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"min_columns_to_activate_adaptive_write_buffer = 1", "adaptive_write_buffer_initial_size = 131072",
			"fsync_after_insert = 1"} {
			if !strings.Contains(query, want) {
				t.Errorf("%s is without %s: %s", table, want, query)
			}
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	w := warehousetest.New(t)
	g := group(version(1, "a", warehouse.Created, `{"n":1,"s":"x"}`), version(2, "b", warehouse.Created, `{"n":1}`),
		version(3, "a", warehouse.Updated, `{"n":2,"s":"x"}`), version(4, "b", warehouse.Deleted, `{"n":1}`))
	g.Relations = []warehouse.Relation{
		{Site: "west", FromType: "fake.test.Thing", FromUID: "a", Kind: "part_of", ToType: "fake.test.Thing", ToUID: "c", Version: 1003},
		{Site: "west", FromType: "fake.test.Thing", FromUID: "d", Kind: "uses", ToType: "fake.test.Thing", ToUID: "a", Version: 1003},
		{Site: "west", FromType: "fake.test.Thing", FromUID: "a", Kind: "was", ToType: "fake.test.Thing", ToUID: "e", Version: 1003,
			Deleted: true},
	}
	g.Events = []warehouse.Event{{Origin: warehouse.Origin{Site: "west", Seq: 1}, ID: "e1", Type: "t", Time: at, Severity: "info",
		Message: "m"}}
	g.DeadLetters = []warehouse.DeadLetter{{Origin: warehouse.Origin{Site: "west", Seq: 9}, Class: "assets", Records: 1, Reason: "r",
		Raw: []byte{0xff, 0}}}
	if err := w.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	all, err := w.Assets(t.Context(), warehouse.AssetQuery{Limit: 10, WithDocument: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].UID != "a" || string(all[0].Document) != `{"n":2,"s":"x"}` || all[0].State != warehouse.Active ||
		!all[0].ObservedAt.Equal(at.Add(3*time.Second)) || !all[0].UpdatedAt.IsZero() || all[0].Labels["tier"] != "front" {
		t.Fatalf("%+v", all)
	}
	if all[1].State != warehouse.Gone || string(all[1].Document) != `{"n":1}` {
		t.Fatalf("a deleted asset keeps its last state: %+v", all[1])
	}
	for _, test := range []struct {
		q    warehouse.AssetQuery
		want string
	}{
		{warehouse.AssetQuery{States: []warehouse.State{warehouse.Active}}, "a"},
		{warehouse.AssetQuery{States: []warehouse.State{warehouse.Gone}}, "b"},
		{warehouse.AssetQuery{States: []warehouse.State{warehouse.Active}, Silent: []string{"agent-1"}}, ""},
		{warehouse.AssetQuery{States: []warehouse.State{warehouse.Disconnected, warehouse.Gone}, Silent: []string{"x", "agent-1"}}, "ab"},
		{warehouse.AssetQuery{Site: "east"}, ""},
		{warehouse.AssetQuery{UID: "b"}, "b"},
		{warehouse.AssetQuery{Type: "fake.test.Thing", After: &warehouse.AssetKey{Site: "west", Type: "fake.test.Thing", UID: "a"}}, "b"},
		{warehouse.AssetQuery{UID: "a' OR 1=1 --\\"}, ""},
	} {
		test.q.Limit = 10
		list, err := w.Assets(t.Context(), test.q)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range list {
			got += a.UID
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.q, got, test.want)
		}
	}
	changes, err := w.Changes(t.Context(),
		warehouse.ChangeQuery{AssetKey: warehouse.AssetKey{Site: "west", Type: "fake.test.Thing", UID: "a"}, Limit: 10})
	if err != nil || len(changes) != 2 || changes[0].Operation != warehouse.Updated ||
		!reflect.DeepEqual(changes[0].Changed, []string{"n"}) || !changes[0].ReceivedAt.Equal(at) {
		t.Fatalf("%+v, %v", changes, err)
	}
	older, err := w.Changes(t.Context(), warehouse.ChangeQuery{AssetKey: warehouse.AssetKey{Site: "west", Type: "fake.test.Thing", UID: "a"},
		Before: changes[0].Version, Limit: 10})
	if err != nil || len(older) != 1 || older[0].Operation != warehouse.Created {
		t.Fatalf("%+v, %v", older, err)
	}
	relations, err := w.Relations(t.Context(), warehouse.AssetKey{Site: "west", Type: "fake.test.Thing", UID: "a"}, 10)
	if err != nil || len(relations) != 2 || relations[0].ToUID != "c" || relations[1].FromUID != "d" {
		t.Fatalf("%+v, %v", relations, err)
	}
	counts, err := w.AssetCounts(t.Context())
	if err != nil || counts["west"] != 1 {
		t.Fatalf("%v, %v", counts, err)
	}
	var value string
	if err := w.Conn().QueryRow(t.Context(), "SELECT fields['s'] FROM asset FINAL WHERE uid = 'a'").Scan(&value); err != nil || value != "x" {
		t.Fatalf("fields: %q, %v", value, err)
	}
}

func TestTypes(t *testing.T) {
	w := warehousetest.New(t)
	kind := func(site, name, title, layout string, version uint64) warehouse.AssetType {
		return warehouse.AssetType{Origin: warehouse.Origin{Site: site, AgentID: "agent-1"}, Name: name, Title: title, Layout: []byte(layout),
			Version: version}
	}
	east := version(4, "c", warehouse.Created, `{}`)
	east.Site, east.AgentID = "east", "agent-2"
	g := group(version(1, "a", warehouse.Created, `{}`), version(2, "b", warehouse.Deleted, `{}`), version(3, "c", warehouse.Created, `{}`),
		east,
		version(5, "d", warehouse.Deleted, `{}`))
	g.Versions[2].Type = "fake.test.Untold"
	// Of which nothing is left, and which can be asked for all the same.
	g.Versions[4].Type = "fake.test.Gone"
	g.Types = []warehouse.AssetType{
		kind("west", "fake.test.Thing", "Thing", `{"icon":"pod"}`, 7), kind("east", "fake.test.Thing", "Older", `{}`, 6),
		kind("west", "fake.test.Empty", "Empty", "", 5),
	}
	// A site that says something else than the others, later and with whatever version,
	// paints its own only.
	hostile := group()
	hostile.ReceivedAt = g.ReceivedAt.Add(time.Hour)
	hostile.Types = []warehouse.AssetType{kind("evil", "fake.test.Thing", "Evil", `{"icon":"skull"}`, 1<<62),
		kind("evil", "fake.test.Empty", "Evil", "", 1<<62)}
	third := group()
	third.ReceivedAt = g.ReceivedAt.Add(2 * time.Hour)
	third.Types = []warehouse.AssetType{kind("south", "fake.test.Thing", "Thing", `{"icon":"pod"}`, 3)}
	for _, g := range []*warehouse.Group{g, hostile, third} {
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	const thing, empty, untold = `fake.test.Thing "Thing" {"icon":"pod"} `, `fake.test.Empty "Empty"  0`, `fake.test.Untold ""  1`
	const gone = `fake.test.Gone ""  0`
	for _, test := range []struct {
		q    warehouse.TypeQuery
		want []string
	}{
		{warehouse.TypeQuery{}, []string{empty, gone, thing + "2", untold}},
		{warehouse.TypeQuery{Silent: []string{"agent-2"}}, []string{empty, gone, thing + "1", untold}},
		{warehouse.TypeQuery{Site: "east"}, []string{`fake.test.Thing "Older" {} 1`}},
		{warehouse.TypeQuery{Site: "evil"}, []string{`fake.test.Empty "Evil"  0`, `fake.test.Thing "Evil" {"icon":"skull"} 0`}},
		{warehouse.TypeQuery{Site: "nowhere' OR 1=1 --"}, nil},
		{warehouse.TypeQuery{After: "fake.test.Empty"}, []string{gone, thing + "2", untold}},
		{warehouse.TypeQuery{After: "fake.test.Thing", Site: "west"}, []string{untold}},
		{warehouse.TypeQuery{Limit: 1}, []string{empty}},
	} {
		if test.q.Limit == 0 {
			test.q.Limit = 10
		}
		list, err := w.Types(t.Context(), test.q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range list {
			got = append(got, fmt.Sprintf("%s %q %s %d", k.Name, k.Title, k.Layout, k.Active))
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.q, got, test.want)
		}
	}
}

// TestWithin measures what can be read at once.
func TestWithin(t *testing.T) {
	w := warehousetest.New(t)
	doc := func(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }
	versions := []warehouse.AssetVersion{version(1, "a", warehouse.Created, doc(100)), version(2, "b", warehouse.Created, doc(1000)),
		version(3, "c", warehouse.Created, doc(100)), version(4, "c", warehouse.Updated, doc(300))}
	if err := w.Write(t.Context(), group(versions...)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		limit int
		bytes uint64
		want  int
	}{{10, 1400, 3}, {10, 1399, 2}, {10, 1, 1}, {10, 0, 1}, {2, 1 << 30, 2}} {
		if n, err := w.AssetsWithin(t.Context(), warehouse.AssetQuery{Site: "west", Limit: test.limit}, test.bytes); err != nil ||
			n != test.want {
			t.Errorf("%+v: %d, %v", test, n, err)
		}
	}
	key := warehouse.AssetKey{Site: "west", Type: versions[3].Type, UID: "c"}
	for bytes, want := range map[uint64]int{400: 2, 399: 1} {
		if n, err := w.ChangesWithin(t.Context(), warehouse.ChangeQuery{AssetKey: key, Limit: 10}, bytes); err != nil || n != want {
			t.Errorf("%d bytes: %d changes, %v", bytes, n, err)
		}
	}
	if n, err := w.AssetsWithin(t.Context(), warehouse.AssetQuery{Site: "nowhere", Limit: 10}, 1); err != nil || n != 0 {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

func TestOldVersionsDoNotComeBack(t *testing.T) {
	w := warehousetest.New(t)
	for _, v := range []warehouse.AssetVersion{version(5, "a", warehouse.Updated, `{"n":5}`), version(2, "a", warehouse.Created, `{"n":2}`)} {
		if err := w.Write(t.Context(), group(v)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.Assets(t.Context(), warehouse.AssetQuery{Limit: 10, WithDocument: true})
	if err != nil || len(list) != 1 || string(list[0].Document) != `{"n":5}` {
		t.Fatalf("%+v, %v", list, err)
	}
}

// TestSettle leaves a group in every half-written condition there can be.
func TestSettle(t *testing.T) {
	w := warehousetest.New(t)
	check := func(name string, g *warehouse.Group, before func()) {
		t.Helper()
		base := warehousetest.Rows(t, w, "asset_version")
		events := warehousetest.Rows(t, w, "event")
		periods := warehousetest.Rows(t, w, "usage FINAL")
		before()
		for range 2 {
			if err := w.Settle(t.Context(), g); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if got := warehousetest.Rows(t, w, "asset_version") - base; got != len(g.Versions) {
			t.Errorf("%s: %d version rows, want %d", name, got, len(g.Versions))
		}
		if got := warehousetest.Rows(t, w, "event") - events; got != len(g.Events) {
			t.Errorf("%s: %d event rows, want %d", name, got, len(g.Events))
		}
		if got := warehousetest.Rows(t, w, "usage FINAL") - periods; got != len(g.Usage) {
			t.Errorf("%s: %d rows of usage, want %d", name, got, len(g.Usage))
		}
	}
	n := 0
	next := func() *warehouse.Group {
		n += 10
		g := group(version(n, fmt.Sprint("a", n), warehouse.Created, `{"n":1}`), version(n+1, fmt.Sprint("a", n), warehouse.Updated, `{"n":2}`))
		g.Events = []warehouse.Event{{Origin: warehouse.Origin{Site: "west", Seq: uint64(n)}, ID: fmt.Sprint("e", n), Time: at}}
		g.Usage = []warehouse.Usage{used(fmt.Sprint("u", n), 1, 60), used(fmt.Sprint("v", n), 1, 60)}
		// Another month, so that the insert makes two parts.
		g.Usage[1].Start = at.AddDate(0, -1, 0)
		return g
	}
	g := next()
	check("nothing was written", g, func() {})
	g = next()
	check("all was written", g, func() {
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	})
	g = next()
	check("one table was written", g, func() {
		one := *g
		one.Events, one.Usage = nil, nil
		if err := w.Write(t.Context(), &one); err != nil {
			t.Fatal(err)
		}
	})
	g = next()
	check("the engine knows the token of rows that it lost", g, func() {
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"asset_version", "event", "usage"} {
			// Lightweight deletes take the rows and leave the token.
			if err := w.Conn().Exec(t.Context(), fmt.Sprintf("DELETE FROM %s WHERE ingest_id = '%s'", table, g.ID)); err != nil {
				t.Fatal(err)
			}
		}
	})
	list, err := w.Assets(t.Context(), warehouse.AssetQuery{Limit: 100})
	if err != nil || len(list) != 4 {
		t.Fatalf("%d assets, %v", len(list), err)
	}
}

// used is the word of a version on a period that starts at the time of the tests.
func used(uid string, version uint64, quantity float64) warehouse.Usage {
	return warehouse.Usage{
		Origin:    warehouse.Origin{Site: "west", AgentID: "agent-1", SpoolID: "spool-1", Seq: version},
		AssetType: "fake.test.Thing", AssetUID: uid, Scope: "fake/s", Meter: "cpu.used", Unit: "core.second",
		Start: at, End: at.Add(time.Duration(quantity) * time.Second), Quantity: quantity, Version: version,
	}
}

func TestUsageIsReplacedByLaterVersions(t *testing.T) {
	w := warehousetest.New(t)
	other := used("a", 1, 5)
	other.Meter, other.Unit = "memory.used", "byte.second"
	for _, list := range [][]warehouse.Usage{
		{used("a", 2, 60), used("a", 3, 120), other, used("b", 1, 30)},
		{used("a", 5, 240)},
		{used("a", 4, 180)}, // came late
	} {
		g := group()
		g.Usage = list
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		t.Helper()
		var lines []string
		if err := w.Conn().QueryRow(t.Context(), `SELECT groupArray(format('{} {} {} {} {} {}', asset_uid, meter, unit, start, end, quantity))
			FROM (SELECT * FROM usage FINAL ORDER BY asset_uid, meter)`).Scan(&lines); err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "; ")
	}
	const want = "a cpu.used core.second 2026-03-04 05:06:07.089 2026-03-04 05:10:07.089 240; " +
		"a memory.used byte.second 2026-03-04 05:06:07.089 2026-03-04 05:06:12.089 5; " +
		"b cpu.used core.second 2026-03-04 05:06:07.089 2026-03-04 05:06:37.089 30"
	if got := read(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := w.Conn().Exec(t.Context(), "OPTIMIZE TABLE usage FINAL"); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != want {
		t.Errorf("merged: %s, want %s", got, want)
	}
}

func TestTokenDropsARepeatedInsert(t *testing.T) {
	w := warehousetest.New(t)
	g := group(version(1, "a", warehouse.Created, `{}`))
	for range 2 {
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if n := warehousetest.Rows(t, w, "asset_version"); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

func TestCheckAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"embedded:/var/lib/x": true, "embedded:": false, "": false, "/var/lib/x": false, "http://x": false,
		"clickhouse://reader@db:9000": true, "clickhouse://u:s3cr3t@db:9000/x?secure=true": true, "clickhouse://u:s3cr3t@%%%": false,
	} {
		err := warehouse.CheckAddress(address)
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	w := warehousetest.New(b)
	n := 0
	const rows = 5000
	doc := `{"metadata":{"labels":{"app":"web","tier":"front"},"name":"web-%d"},` +
		`"spec":{"containers":[{"image":"registry.example/app:1.2.3","name":"c","ports":[{"port":80}]}],"nodeName":"node-17"},` +
		`"status":{"phase":"Running","podIP":"10.1.2.3"}}`
	for b.Loop() {
		b.StopTimer()
		versions := make([]warehouse.AssetVersion, rows)
		for i := range versions {
			n++
			versions[i] = version(n, fmt.Sprint("u", n), warehouse.Created, fmt.Sprintf(doc, n))
		}
		g := group(versions...)
		b.StartTimer()
		if err := w.Write(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

func TestEventsAreKeyedBySource(t *testing.T) { warehouse.CheckEventKey(t, warehousetest.New(t)) }
