package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// TestSeed: what is packed comes out, with where it ends, from nothing to the largest
// version that there may be.
func TestSeed(t *testing.T) {
	random := make([]byte, 6<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	for _, sizes := range [][]int{{}, {0}, {10, 20}, {SeedPiece}, {1 << 20, 1 << 20}, {len(random)}} {
		var versions []*wirev1.AssetVersion
		for i, n := range sizes {
			versions = append(versions, &wirev1.AssetVersion{Uid: fmt.Sprint(i), Document: random[:n]})
		}
		to := &wirev1.Seed{Scope: "k/s", Epoch: 7, UntilType: "t", UntilUid: "u", End: true}
		messages, err := PackSeed(versions, to)
		if err != nil {
			t.Fatal(err)
		}
		var pieces SeedPieces
		for i, m := range messages {
			if proto.Size(m) > MaxControlFrame || m.GetScope() != "k/s" || m.GetEpoch() != 7 || m.GetEnd() != (i == len(messages)-1) {
				t.Fatalf("message %d of %d: %d bytes, %v", i, len(messages), proto.Size(m), m.GetEnd())
			}
			got, done, err := pieces.Add(m)
			if err != nil || done != (i == len(messages)-1) {
				t.Fatal(i, done, err)
			}
			if !done {
				continue
			}
			if len(got) != len(versions) {
				t.Fatalf("%d versions of %d", len(got), len(versions))
			}
			for j, a := range got {
				if a.GetUid() != versions[j].GetUid() || !bytes.Equal(a.GetDocument(), versions[j].GetDocument()) {
					t.Fatalf("version %d is another", j)
				}
			}
		}
	}
}

func FuzzSeedPieces(f *testing.F) {
	messages, err := PackSeed([]*wirev1.AssetVersion{{Uid: "a", Document: []byte(`{}`)}}, &wirev1.Seed{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(messages[0].GetPiece(), false)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04}, true)
	f.Fuzz(func(_ *testing.T, piece []byte, more bool) {
		var p SeedPieces
		_, _, _ = p.Add(&wirev1.Seed{Piece: piece, More: more})
		_, _, _ = p.Add(&wirev1.Seed{Piece: piece})
	})
}
