package catalogue

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

func TestKinds(t *testing.T) {
	for value, want := range map[string]Kind{
		"": Text, "true": Boolean, "false": Boolean, "True": Text, "1": Number, "-1": Number, "1.5": Number, "1e9": Number, "1e": Text, ".5": Number,
		"-": Text, "+": Text, ".": Text, "1.2.3": Text, "10.0.0.1": Text, "500m": Quantity, "256Mi": Quantity, "4 GiB": Quantity, "4GiB": Quantity,
		"1.5Gi": Quantity, "7x": Text, "0x10": Text, "2026-01-02T03:04:05Z": Time, "2026-01-02T03:04:05.123456": Time, "2026-01-02": Time,
		"2026-01-02 03:04:05": Time, "2026-13-02": Text, "2026-01": Text, "12345678-1234-1234-1234-123456789abc": Text, "fe80::1": Text, "1E": Quantity,
		"9223372036854775808": Number,
	} {
		if got := kindOf(value); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
	for _, c := range []struct{ a, b, want Kind }{
		{"", Number, Number}, {Number, "", Number}, {Number, Quantity, Quantity}, {Quantity, Number, Quantity}, {Number, Text, Text},
		{Time, Number, Text}, {Boolean, Boolean, Boolean}, {"", "", ""},
	} {
		if got := c.a.join(c.b); got != c.want {
			t.Errorf("%q and %q are %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func FuzzKind(f *testing.F) {
	f.Add("1e5m")
	f.Fuzz(func(t *testing.T, value string) { kindOf(value) })
}

// sites is a Scope of some.
type sites []string

func (s sites) Sees(site string) bool { return slices.Contains(s, site) }

// estate is a model: assets with their documents, and a warehouse that has them.
type estate struct {
	t      *testing.T
	store  *warehouse.Warehouse
	assets map[[3]string]map[string]any
	stamp  uint64
}

// put stores a version as ingest would, and returns the group.
func (e *estate) put(op warehouse.Operation, keys ...[3]string) *warehouse.Group {
	e.t.Helper()
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
	for _, key := range keys {
		doc, err := json.Marshal(e.assets[key])
		if err != nil {
			e.t.Fatal(err)
		}
		fields, err := document.Fields(doc)
		if err != nil {
			e.t.Fatal(err)
		}
		e.stamp++
		v := warehouse.AssetVersion{Origin: warehouse.Origin{Site: key[0], AgentID: "a", SpoolID: "s", Seq: e.stamp}, Type: key[1], UID: key[2],
			Version: e.stamp, Operation: op, Scope: "s", Document: doc, Fields: fields}
		if op == warehouse.Updated {
			for _, f := range fields {
				v.Changed = append(v.Changed, f.Path)
			}
		}
		g.Versions = append(g.Versions, v)
		if op == warehouse.Deleted {
			delete(e.assets, key)
		}
	}
	if err := e.store.Write(e.t.Context(), g); err != nil {
		e.t.Fatal(err)
	}
	return g
}

// paths and values count by the model what there is of a type, in some sites or all.
func (e *estate) count(kind string, scope Scope) (paths map[string]uint64, values map[string]map[string]uint64) {
	paths, values = make(map[string]uint64), make(map[string]map[string]uint64)
	for key, doc := range e.assets {
		if key[1] != kind || scope != nil && !scope.Sees(key[0]) {
			continue
		}
		data, err := json.Marshal(doc)
		if err != nil {
			e.t.Fatal(err)
		}
		fields, err := document.Fields(data)
		if err != nil {
			e.t.Fatal(err)
		}
		for _, f := range fields {
			paths[f.Path]++
			if values[f.Path] == nil {
				values[f.Path] = make(map[string]uint64)
			}
			distinct := strings.Split(f.Value, document.Separator)
			slices.Sort(distinct)
			for _, v := range slices.Compact(distinct) {
				values[f.Path][v]++
			}
		}
	}
	return paths, values
}

func pathsOf(c *Catalogue, scope Scope, kind string) map[string]uint64 {
	list, _ := c.Paths(scope, kind, "", 1_000_000)
	m := make(map[string]uint64)
	for _, p := range list {
		m[p.Path] = p.Assets
	}
	return m
}

func valuesOf(c *Catalogue, scope Scope, kind, path string) map[string]uint64 {
	list, _ := c.Values(scope, kind, path, "", 1_000_000)
	m := make(map[string]uint64)
	for _, v := range list {
		m[v.Value] = v.Assets
	}
	return m
}

func keysOf[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// TestAgainstModel: random assets come, change and go. What is new is there at once;
// after a count all is exact; and it is the same after a restart, and to a caller who
// sees some sites as if there were no others.
func TestAgainstModel(t *testing.T) {
	e := &estate{t: t, store: warehousetest.New(t), assets: make(map[[3]string]map[string]any)}
	c := New(e.store, slog.New(slog.DiscardHandler))
	if err := c.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 8))
	random := func(site string) map[string]any {
		doc := map[string]any{"phase": []string{"Running", "Pending", "Failed"}[r.IntN(3)], "cpu": r.IntN(8)}
		if r.IntN(3) == 0 {
			doc["tags"] = []string{fmt.Sprint("t", r.IntN(4)), "T"}
		}
		if r.IntN(5) == 0 {
			doc["of"] = map[string]any{site: map[string]any{"memory": fmt.Sprint(1+r.IntN(4), "Gi")}}
		}
		return doc
	}
	for round := range 20 {
		var created, updated, deleted [][3]string
		for n := range 30 {
			key := [3]string{fmt.Sprint("site-", r.IntN(4)), fmt.Sprint("k.core.T", r.IntN(2)), fmt.Sprint("u", r.IntN(60))}
			_, there := e.assets[key]
			switch {
			case slices.Contains(created, key) || slices.Contains(updated, key) || slices.Contains(deleted, key):
			case there && n%3 == 0:
				deleted = append(deleted, key)
			case there:
				e.assets[key] = random(key[0])
				updated = append(updated, key)
			default:
				e.assets[key] = random(key[0])
				created = append(created, key)
			}

		}
		c.Learn(e.put(warehouse.Created, created...))
		c.Learn(e.put(warehouse.Updated, updated...))
		c.Learn(e.put(warehouse.Deleted, deleted...))
		for _, kind := range []string{"k.core.T0", "k.core.T1"} {
			want, wantValues := e.count(kind, nil)
			got := pathsOf(c, nil, kind)
			for path := range want {
				if _, there := got[path]; !there {
					t.Fatalf("round %d: %s of %s is missing before a count: %v", round, path, kind, keysOf(got))
				}
				values := valuesOf(c, nil, kind, path)
				for value := range wantValues[path] {
					if _, there := values[value]; !there {
						t.Fatalf("round %d: %s = %s of %s is missing before a count: %v", round, path, value, kind, values)
					}
				}
			}
			if round%4 != 3 {
				continue
			}
			if err := c.count(t.Context(), kind); err != nil {
				t.Fatal(err)
			}
			e.same(c, kind)
		}
		if round%10 == 9 {
			if err := c.write(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			again := New(e.store, slog.New(slog.DiscardHandler))
			if err := again.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"k.core.T0", "k.core.T1"} {
				if got, want := pathsOf(again, nil, kind), pathsOf(c, nil, kind); !reflect.DeepEqual(got, want) {
					t.Fatalf("after a restart there are %v, want %v", got, want)
				}
				for path := range pathsOf(c, nil, kind) {
					// Of what came last, versions that were replaced may be looked at again.
					got := valuesOf(again, nil, kind, path)
					for value, want := range valuesOf(c, nil, kind, path) {
						if n, there := got[value]; !there || n != want {
							t.Fatalf("after a restart %s has %v, want %s of %d", path, got, value, want)
						}
					}
					kindThen, _ := again.Kind(nil, kind, path)
					if want, _ := c.Kind(nil, kind, path); kindThen != want {
						t.Fatalf("after a restart %s is %s, want %s", path, kindThen, want)
					}
				}
			}
			c = again
		}
	}
	for path, want := range map[string]Kind{"phase": Text, "cpu": Number, "tags": Text, "of.site-1.memory": Quantity} {
		if got, known := c.Kind(nil, "k.core.T1", path); got != want || !known {
			t.Errorf("%s is %q, %v, want %s", path, got, known, want)
		}
	}
	if got := c.Types(nil, "phase"); !slices.Equal(got, []string{"k.core.T0", "k.core.T1"}) {
		t.Errorf("phase is of %v", got)
	}
	// A site that is gone leaves nothing behind.
	for key := range e.assets {
		if key[0] == "site-1" {
			delete(e.assets, key)
		}
	}
	c.Forget("site-1")
	for range 20 { // until the rows of it are gone
		if n, err := e.store.DeleteSite(t.Context(), "site-1"); err != nil || n == 0 {
			break
		}
	}
	if _, known := c.Kind(nil, "k.core.T1", "of.site-1.memory"); known {
		t.Error("a path is still known of which the only site is gone")
	}
	for _, kind := range []string{"k.core.T0", "k.core.T1"} {
		if err := c.count(t.Context(), kind); err != nil {
			t.Fatal(err)
		}
		e.same(c, kind)
	}
}

// same holds what is known of a type against the model, just after a count.
func (e *estate) same(c *Catalogue, kind string) {
	e.t.Helper()
	want, wantValues := e.count(kind, nil)
	if got := pathsOf(c, nil, kind); !reflect.DeepEqual(got, want) {
		e.t.Fatalf("%s has %v, want %v", kind, got, want)
	}
	for path := range want {
		if got := valuesOf(c, nil, kind, path); !reflect.DeepEqual(got, wantValues[path]) {
			e.t.Fatalf("%s of %s has %v, want %v", path, kind, got, wantValues[path])
		}
	}
	for _, scope := range []sites{{"site-1"}, {"site-0", "site-3"}, {"nowhere"}, nil} {
		want, wantValues := e.count(kind, scope)
		if got := pathsOf(c, scope, kind); !slices.Equal(keysOf(got), keysOf(want)) {
			e.t.Fatalf("who sees %v is told of %v, want %v", scope, keysOf(got), keysOf(want))
		}
		for path := range pathsOf(c, nil, kind) {
			got := valuesOf(c, scope, kind, path)
			if !slices.Equal(keysOf(got), keysOf(wantValues[path])) {
				e.t.Fatalf("who sees %v is told of %s = %v, want %v", scope, path, keysOf(got), keysOf(wantValues[path]))
			}
			for _, n := range got {
				if n != 0 {
					e.t.Fatalf("who sees %v is told of %d assets of all sites", scope, n)
				}
			}
			if _, known := c.Kind(scope, kind, path); !known && want[path] > 0 {
				e.t.Fatalf("who sees %v is not told the kind of %s", scope, path)
			}
		}
	}
}

// TestAfterADeath: what was learned after it was written last is there again.
func TestAfterADeath(t *testing.T) {
	e := &estate{t: t, store: warehousetest.New(t), assets: make(map[[3]string]map[string]any)}
	c := New(e.store, slog.New(slog.DiscardHandler))
	key := [3]string{"west", "k.core.T", "u"}
	e.assets[key] = map[string]any{"a": "1"}
	c.Learn(e.put(warehouse.Created, key))
	if err := c.write(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	e.assets[key] = map[string]any{"a": "2", "b": "x"}
	c.Learn(e.put(warehouse.Updated, key))
	again := New(e.store, slog.New(slog.DiscardHandler))
	if err := again.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(pathsOf(again, nil, "k.core.T")); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the paths are %v", got)
	}
	if got := keysOf(valuesOf(again, nil, "k.core.T", "a")); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the values are %v", got)
	}
	// Lost as a whole, it is counted at the next start.
	if err := e.store.Conn().Exec(t.Context(), "TRUNCATE TABLE path"); err != nil {
		t.Fatal(err)
	}
	lost := New(e.store, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- lost.Run(ctx) }()
	for range 1000 {
		if len(pathsOf(lost, nil, "k.core.T")) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := pathsOf(lost, nil, "k.core.T"); !reflect.DeepEqual(got, map[string]uint64{"a": 1, "b": 1}) {
		t.Errorf("the paths are %v", got)
	}
	// And written when it ends.
	cancel()
	<-ended
	if n := warehousetest.Rows(t, e.store, "path FINAL WHERE type != '' AND NOT deleted"); n != 2 {
		t.Errorf("%d paths were written", n)
	}
}

// TestView: what is known is said in the terms of filters, and what is not has its
// neighbours named, of those sites only that the caller sees.
func TestView(t *testing.T) {
	e := &estate{t: t, store: warehousetest.New(t), assets: make(map[[3]string]map[string]any)}
	c := New(e.store, slog.New(slog.DiscardHandler))
	if known, _ := c.For(nil).Known("k.core.T", "nothing"); !known {
		t.Error("what is not loaded yet is said to be unknown")
	}
	west, east := [3]string{"west", "k.core.T", "u"}, [3]string{"east", "k.core.T", "v"}
	e.assets[west] = map[string]any{"spec": map[string]any{"nodeName": "n", "cpu": 1}, "ready": true, "at": "2026-01-02T03:04:05Z", "memory": "1Gi"}
	e.assets[east] = map[string]any{"spec": map[string]any{"secretName": "s"}, "gone": map[string]any{"x": 1}}
	e.put(warehouse.Created, west, east)
	if err := c.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	due, err := c.due(t.Context(), nil)
	if err != nil || !slices.Equal(due, []string{"k.core.T"}) {
		t.Fatalf("%v are due, %v", due, err)
	}
	if known, _ := c.For(nil).Known("k.core.T", "nothing"); !known {
		t.Error("of a type that is not counted yet something is said to be unknown")
	}
	if err := c.count(t.Context(), "k.core.T"); err != nil {
		t.Fatal(err)
	}
	// What only a deleted asset has can be asked for, and what only the history has.
	e.put(warehouse.Deleted, east)
	e.assets[west]["memory"] = nil
	e.put(warehouse.Updated, west)
	if err := c.count(t.Context(), "k.core.T"); err != nil {
		t.Fatal(err)
	}
	all, own := c.For(nil), c.For(sites{"west"})
	for _, test := range []struct {
		view  *View
		path  string
		known bool
		near  string
	}{
		{all, "spec.nodeName", true, ""}, {all, "spec", true, ""}, {all, "spec.node", false, "spec.nodeName"}, {all, "nodeName", false, "spec.nodeName"},
		{all, "spec.secretName", true, ""}, {all, "gone.x", true, ""}, {all, "memory", true, ""}, {own, "spec.secretName", false, ""},
		{own, "secretName", false, ""}, {own, "spec.nodeName", true, ""}, {all, "spe", false, "spec.cpu"},
	} {
		known, near := test.view.Known("k.core.T", test.path)
		if known != test.known || test.near != "" && !slices.Contains(near, test.near) && test.path != "spe" || slices.Contains(near, "spec.secretName") && test.view == own {
			t.Errorf("%s is known: %v, near %v", test.path, known, near)
		}
	}
	for path, want := range map[string]filter.Kind{"spec.nodeName": filter.Text, "spec.cpu": filter.Numeric, "ready": filter.Bool, "at": filter.Time,
		"memory": filter.Numeric, "nothing": filter.Unknown} {
		if got := all.Kind("k.core.T", path); got != want {
			t.Errorf("%s is of kind %d, want %d", path, got, want)
		}
	}
	if known, _ := all.Known("k.core.Other", "spec"); known {
		t.Error("a path of a type without assets is said to be known")
	}
	if got := keysOf(pathsOf(c, nil, "k.core.T")); !slices.Equal(got, []string{"at", "ready", "spec.cpu", "spec.nodeName"}) {
		t.Errorf("the paths that assets have are %v", got)
	}
}

// TestHostileDocuments: whatever documents are like, no more is kept than may be, and one
// site leaves room for the others.
func TestHostileDocuments(t *testing.T) {
	c := New(nil, slog.New(slog.DiscardHandler))
	learn := func(site, kind string, fields ...document.Field) {
		c.Learn(&warehouse.Group{Versions: []warehouse.AssetVersion{{Origin: warehouse.Origin{Site: site}, Type: kind, Operation: warehouse.Created,
			Fields: fields}}})
	}
	for n := range 3 * maxPaths {
		learn("evil", "k.core.Pod", document.Field{Path: fmt.Sprint("junk.", n), Value: "x"})
		learn("evil", "k.core.Pod", document.Field{Path: "phase", Value: fmt.Sprint("junk", n)})
		learn("evil", fmt.Sprint("k.core.Junk", n), document.Field{Path: strings.Repeat("p", maxPathLength), Value: strings.Repeat("v", maxValueLength)})
	}
	learn("evil", "k.core.Pod", document.Field{Path: strings.Repeat("p", maxPathLength+1), Value: "x"})
	learn("evil", "k.core.Pod", document.Field{Path: "junk.0", Value: strings.Repeat("v", maxValueLength+1)})
	learn("evil", "k.core.Pod", document.Field{Path: "junk.0", Value: strings.Repeat("x\x1f", 100_000) + "last"})
	learn("west", "k.core.Pod", document.Field{Path: "phase", Value: "Running"}, document.Field{Path: "node", Value: "n1"})
	own := sites{"west"}
	if got := keysOf(pathsOf(c, own, "k.core.Pod")); !slices.Equal(got, []string{"node", "phase"}) {
		t.Errorf("west has %v", got)
	}
	if got := keysOf(valuesOf(c, own, "k.core.Pod", "phase")); !slices.Equal(got, []string{"Running"}) {
		t.Errorf("west's phases are %v", got)
	}
	all, complete := c.Paths(nil, "k.core.Pod", "", 1_000_000)
	if len(all) > maxSitePaths+1 || complete {
		t.Errorf("%d paths, complete: %v", len(all), complete)
	}
	if _, complete := c.Values(nil, "k.core.Pod", "phase", "", 1_000_000); complete {
		t.Error("the values are said to be all")
	}
	if _, complete := c.Values(nil, "k.core.Pod", "junk.0", "", 1_000_000); complete {
		t.Error("the values of a path with a long one are said to be all")
	}
	if n := len(c.of("")); n > maxTypes {
		t.Errorf("%d types", n)
	}
	if used := c.bytes.Load(); used > maxBytes {
		t.Errorf("%d bytes", used)
	}
}

// TestCountHostile: a type whose assets have hundreds of thousands of paths and values is
// counted within its memory, and what many have is found among them.
func TestCountHostile(t *testing.T) {
	e := &estate{t: t, store: warehousetest.New(t)}
	c := New(e.store, slog.New(slog.DiscardHandler))
	// Twenty paths and twenty values of its own each, so 240,000 of them.
	if err := e.store.Conn().Exec(t.Context(), `INSERT INTO asset (site, type, uid, version, fields)
		SELECT 'evil', 'k.core.Pod', toString(number), 1,
			mapFromArrays(arrayConcat(['phase'], arrayMap(i -> concat('junk.', toString(number), '.', toString(i)), range(20))),
				arrayConcat([if(number % 3 = 0, 'Running', 'Failed')], arrayMap(i -> concat(toString(number), '-', toString(i)), range(20))))
		FROM numbers(12000)`); err != nil {
		t.Fatal(err)
	}
	if err := c.count(t.Context(), "k.core.Pod"); err != nil {
		t.Fatal(err)
	}
	list, complete := c.Paths(nil, "k.core.Pod", "", 1_000_000)
	if len(list) == 0 || list[0].Path != "phase" || list[0].Assets != 12_000 || complete || len(list) > maxPaths {
		t.Errorf("%d paths, complete: %v", len(list), complete)
	}
	if got := valuesOf(c, nil, "k.core.Pod", "phase"); !reflect.DeepEqual(got, map[string]uint64{"Running": 4_000, "Failed": 8_000}) {
		t.Errorf("the phases are %v", got)
	}
}

// TestMatch: a prefix is one of the path, or of a key.
func TestMatch(t *testing.T) {
	for _, test := range []struct {
		path, prefix string
		want         int
	}{
		{"spec.nodeName", "", 0}, {"spec.nodeName", "spec.no", 0}, {"spec.nodeName", "nodename", 1}, {"spec.nodeName", "name", -1},
		{"a.b.c", "b.c", 1}, {"a", "ab", -1}, {"", "", 0}, {"a.", "b", -1},
	} {
		if got := match(test.path, test.prefix); got != test.want {
			t.Errorf("%q in %q: %d, want %d", test.prefix, test.path, got, test.want)
		}
	}
}

func BenchmarkLearn(b *testing.B) {
	c := New(nil, slog.New(slog.DiscardHandler))
	g := &warehouse.Group{}
	for n := range 1000 {
		v := warehouse.AssetVersion{Origin: warehouse.Origin{Site: fmt.Sprint("site-", n%100)}, Type: "k.core.Pod", Operation: warehouse.Created}
		for p := range 50 {
			value := fmt.Sprint("value-", n%10)
			if p%2 == 0 {
				value = fmt.Sprint("value-", n)
			}
			v.Fields = append(v.Fields, document.Field{Path: fmt.Sprint("spec.containers.path", p), Value: value})
		}
		g.Versions = append(g.Versions, v)
	}
	for b.Loop() {
		c.Learn(g)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(g.Versions)), "ns/version")
}

func BenchmarkPaths(b *testing.B) {
	c := New(nil, slog.New(slog.DiscardHandler))
	for n := range 60_000 {
		v := warehouse.AssetVersion{Origin: warehouse.Origin{Site: fmt.Sprint("site-", n%2000)}, Type: fmt.Sprint("k.core.T", n%60), Operation: warehouse.Created}
		for p := range 100 {
			v.Fields = append(v.Fields, document.Field{Path: fmt.Sprint("spec.containers.path", p), Value: fmt.Sprint("value-", (n+p)%20)})
		}
		c.Learn(&warehouse.Group{Versions: []warehouse.AssetVersion{v}})
	}
	for name, kind := range map[string]string{"one type": "k.core.T7", "all types": ""} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.Paths(nil, kind, "spec.c", 20)
			}
		})
		b.Run(name+", some sites", func(b *testing.B) {
			for b.Loop() {
				c.Paths(sites{"site-1", "site-2"}, kind, "spec.c", 20)
			}
		})
	}
}
