package main

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
		e := newEstate(1, number)
		uids := make(map[string]bool)
		bytesInAll := 0
		for i := range assets {
			a := e.version(i, 1)
			if uids[a.GetUid()] {
				t.Errorf("two assets have the uid %s", a.GetUid())
			}
			uids[a.GetUid()] = true
			bytesInAll += len(a.GetDocument())
			canonical, err := document.Canonical(a.GetDocument())
			if err != nil || !bytes.Equal(canonical, a.GetDocument()) {
				t.Fatalf("%s: not canonical (%v):\n%s\n%s", a.GetType(), err, a.GetDocument(), canonical)
			}
			if !proto.Equal(a, newEstate(1, number).version(i, 1)) {
				t.Errorf("%s is another one the second time", a.GetUid())
			}
			for _, other := range []*estate{newEstate(2, number), newEstate(1, number+2)} {
				if other.version(i, 1).GetUid() == a.GetUid() {
					t.Errorf("%s is in another estate, too", a.GetUid())
				}
			}
			if bytes.Equal(e.version(i, 2).GetDocument(), a.GetDocument()) {
				t.Errorf("%s does not differ after a change:\n%s", a.GetUid(), a.GetDocument())
			}
		}
		for i := range assets {
			for _, r := range e.version(i, 1).GetRelations() {
				if inside[r.GetType()] && !uids[r.GetUid()] {
					t.Errorf("%s %s %s, which is not there", e.version(i, 1).GetUid(), r.GetKind(), r.GetUid())
				}
			}
		}
		t.Logf("%s: %d bytes a document", e.kinds[0].assetType, bytesInAll/assets)
	}
}

func BenchmarkVersion(b *testing.B) {
	e := newEstate(1, 0)
	for b.Loop() {
		e.version(0, 1)
	}
}
