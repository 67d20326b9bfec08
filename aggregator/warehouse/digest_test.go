package warehouse_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

func TestDigests(t *testing.T) {
	w := warehousetest.New(t)
	names := []string{"a", "ü/ß", "with\ttab", "cluster/Pod/default/long-name-of-a-pod-7f4b9c-x2x9z", "gone", "z"}
	var list []warehouse.AssetVersion
	var want wire.Digest
	for i, name := range names {
		v := version(i, name, warehouse.Created, `{"n":1}`)
		// Hashes end with zeros and have them inside.
		v.Hash = [16]byte{0: byte(i), 7: 0xff}
		list = append(list, v)
		if name != "gone" {
			want.Add(name, v.Hash[:])
		}
	}
	gone := version(50, "gone", warehouse.Deleted, `{"n":1}`)
	otherType, otherScope, otherAgent := version(51, "x", warehouse.Created, `{}`), version(52, "y", warehouse.Created, `{}`), version(53, "w", warehouse.Created, `{}`)
	otherType.Type, otherScope.Scope, otherAgent.AgentID = "fake.test.Other", "fake/other", "agent-2"
	if err := w.Write(t.Context(), group(append(list, gone, otherType, otherScope, otherAgent)...)); err != nil {
		t.Fatal(err)
	}
	got, err := w.Digests(t.Context(), warehouse.DigestQuery{Site: "west", AgentID: "agent-1", Scopes: []string{"fake/other"}, OwnIn: []string{"fake/s"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := got[warehouse.ScopeType{Scope: "fake/s", Type: "fake.test.Thing"}]; d != want {
		t.Errorf("the digest is %+v, want %+v", d, want)
	}
	if len(got) != 3 {
		t.Errorf("there are digests of %v", got)
	}
}

func TestHeld(t *testing.T) {
	w := warehousetest.New(t)
	if err := w.Write(t.Context(), group(
		version(1, "a", warehouse.Created, `{}`), version(2, "b", warehouse.Created, `{}`), version(3, "c", warehouse.Created, `{}`),
		version(4, "b", warehouse.Deleted, `{}`),
	)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ after, until, want string }{
		{"", "", "[a b! c]"}, {"a", "", "[b! c]"}, {"", "b", "[a b!]"}, {"a", "b", "[b!]"}, {"c", "", "[]"},
	} {
		held, err := w.Held(t.Context(), "west", "fake.test.Thing", test.after, test.until, 100)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{}
		for _, h := range held {
			text := h.UID
			if h.Deleted {
				text += "!"
			}
			texts = append(texts, text)
			if h.Hash[2] == 0 || h.Scope != "fake/s" || h.AgentID != "agent-1" || h.Version < 1001 {
				t.Errorf("%+v", h)
			}
		}
		if got := fmt.Sprint(texts); got != test.want {
			t.Errorf("(%s, %s] has %s, want %s", test.after, test.until, got, test.want)
		}
	}
}

func TestCurrent(t *testing.T) {
	w := warehousetest.New(t)
	a, b := version(1, "a", warehouse.Created, `{"n":1}`), version(2, "b", warehouse.Created, `{"n":2}`)
	g := group(a, b, version(3, "c", warehouse.Created, `{}`))
	edge := func(from, to string) warehouse.Relation {
		return warehouse.Relation{Site: "west", FromType: a.Type, FromUID: from, Kind: "part_of", ToType: a.Type, ToUID: to, Version: 1001}
	}
	ended := edge("a", "x")
	ended.Version, ended.Deleted = 1002, true
	g.Relations = []warehouse.Relation{edge("a", "x"), edge("a", "y"), edge("c", "y"), ended}
	if err := w.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if held, err := w.Held(t.Context(), "west", "fake.test.Thing", "", "", 1); err != nil || len(held) != 1 {
		t.Errorf("one: %v, %v", held, err)
	}
	if sizes, err := w.Sizes(t.Context(), "west", a.Type, []string{"a", "nowhere"}); err != nil || len(sizes) != 1 || sizes["a"] <= uint64(len(a.Document)) {
		t.Errorf("sizes: %v, %v", sizes, err)
	}
	versions, relations, err := w.Current(t.Context(), "west", a.Type, []string{"a", "b", "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) != 2 || versions[0].UID != "a" || string(versions[1].Document) != `{"n":2}` || versions[1].Hash != b.Hash ||
		!reflect.DeepEqual(versions[0].Labels, a.Labels) || !versions[0].CreatedAt.Equal(a.CreatedAt) || versions[0].Scope != a.Scope {
		t.Errorf("the versions are %+v", versions)
	}
	if len(relations) != 1 || relations[0].ToUID != "y" || relations[0].FromUID != "a" {
		t.Errorf("the relations are %+v", relations)
	}
}
