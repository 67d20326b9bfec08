package warehouse_test

import (
	"fmt"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// TestScopeAssetsWithManyEdges: a page of a scope has no more assets than have few enough
// edges, and all pages have all.
func TestScopeAssetsWithManyEdges(t *testing.T) {
	w := warehousetest.New(t)
	const each = 20_000
	g := group()
	for i, uid := range []string{"a", "b", "c", "d", "e"} {
		v := version(i, uid, warehouse.Created, `{}`)
		if uid == "e" {
			v.Type = "fake.test.Zebra"
		}
		g.Versions = append(g.Versions, v)
		edges := each
		if uid == "d" {
			edges = 1
		}
		for n := range edges {
			g.Relations = append(g.Relations, warehouse.Relation{
				Site: v.Site, FromType: v.Type, FromUID: uid, Kind: "part_of", ToType: "t", ToUID: fmt.Sprint(n), Version: v.Version})
		}
	}
	// Not of this type.
	g.Relations = append(g.Relations, warehouse.Relation{Site: "west", FromType: "other", FromUID: "a", Kind: "k", ToType: "t", ToUID: "u", Version: 1})
	if err := w.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var pages []string
	q := warehouse.ScopeQuery{SiteScope: warehouse.SiteScope{Site: "west", Scope: "fake/s"}, Assets: 100, Bytes: 1 << 20}
	for more := true; more; {
		versions, relations, again, err := w.ScopeAssets(t.Context(), q)
		if err != nil || len(versions) == 0 {
			t.Fatalf("%d assets, %v", len(versions), err)
		}
		more = again
		uids := ""
		for _, v := range versions {
			uids += v.UID
		}
		pages = append(pages, fmt.Sprint(uids, ":", len(relations)))
		q.AfterType, q.AfterUID = versions[len(versions)-1].Type, versions[len(versions)-1].UID
	}
	if got, want := fmt.Sprint(pages), "[ab:40000 cde:40001]"; got != want {
		t.Errorf("the pages are %s, want %s", got, want)
	}
	sizes, err := w.Sizes(t.Context(), "west", "fake.test.Thing", []string{"a", "d", "nowhere"})
	if err != nil || len(sizes) != 2 || sizes["a"] < each*32 || sizes["d"] > 1000 {
		t.Errorf("the sizes are %v, %v", sizes, err)
	}
}

func TestScopesVersion(t *testing.T) {
	w := warehousetest.New(t)
	for _, v := range []uint64{0, 7, 3} {
		if v > 0 {
			if err := w.SetScopes(t.Context(), []warehouse.ScopeHolder{{SiteScope: warehouse.SiteScope{Site: "west", Scope: "k/pods"}, Version: v}}); err != nil {
				t.Fatal(err)
			}
		}
		if version, err := w.ScopesVersion(t.Context()); err != nil || version != min(v*7, 7) {
			t.Errorf("the version is %d, %v", version, err)
		}
	}
}
