package estate

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// TestEstate wants documents like those of collectors, the same ones each time, and
// relations inside the estate that lead somewhere.
func TestEstate(t *testing.T) {
	const assets = 400
	for number, inside := range []map[string]bool{
		{"kubernetes.apps.ReplicaSet": true, "kubernetes.apps.Deployment": true, "kubernetes.core.Node": true, "kubernetes.core.ConfigMap": true},
		{"openstack.compute.Server": true, "openstack.network.Network": true, "openstack.network.Port": true, "openstack.storage.Volume": true},
	} {
		e := New(1, number)
		uids := make(map[string]bool)
		bytesInAll := 0
		for i := range assets {
			a := e.Version(i, 1)
			if uids[a.GetUid()] {
				t.Errorf("two assets have the uid %s", a.GetUid())
			}
			uids[a.GetUid()] = true
			bytesInAll += len(a.GetDocument())
			canonical, err := document.Canonical(a.GetDocument())
			if err != nil || !bytes.Equal(canonical, a.GetDocument()) {
				t.Fatalf("%s: not canonical (%v):\n%s\n%s", a.GetType(), err, a.GetDocument(), canonical)
			}
			if !proto.Equal(a, New(1, number).Version(i, 1)) {
				t.Errorf("%s is another one the second time", a.GetUid())
			}
			for _, other := range []*Estate{New(2, number), New(1, number+2)} {
				if other.Version(i, 1).GetUid() == a.GetUid() {
					t.Errorf("%s is in another estate, too", a.GetUid())
				}
			}
			if bytes.Equal(e.Version(i, 2).GetDocument(), a.GetDocument()) {
				t.Errorf("%s does not differ after a change:\n%s", a.GetUid(), a.GetDocument())
			}
		}
		for i := range assets {
			for _, r := range e.Version(i, 1).GetRelations() {
				if inside[r.GetType()] && !uids[r.GetUid()] {
					t.Errorf("%s %s %s, which is not there", e.Version(i, 1).GetUid(), r.GetKind(), r.GetUid())
				}
			}
		}
		t.Logf("%s: %d bytes a document", e.kinds[0].assetType, bytesInAll/assets)
	}
}

func BenchmarkVersion(b *testing.B) {
	e := New(1, 0)
	for b.Loop() {
		e.Version(0, 1)
	}
}

// TestWide wants many types, canonical documents, and each asset once.
func TestWide(t *testing.T) {
	types, uids := make(map[string]int), make(map[string]bool)
	for number := range 4 {
		e := NewWide(1, number)
		for i := range 400 {
			a := e.Version(i, 1)
			types[a.GetType()]++
			if uids[a.GetType()+a.GetUid()] {
				t.Errorf("two assets of %s have the uid %s", a.GetType(), a.GetUid())
			}
			uids[a.GetType()+a.GetUid()] = true
			canonical, err := document.Canonical(a.GetDocument())
			if err != nil || !bytes.Equal(canonical, a.GetDocument()) {
				t.Fatalf("%s: not canonical (%v):\n%s\n%s", a.GetType(), err, a.GetDocument(), canonical)
			}
		}
	}
	if len(types) != 63 {
		t.Errorf("%d types, want 63: %v", len(types), types)
	}
}
