package lastseen

import (
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestValues(t *testing.T) {
	want := &wirev1.AssetVersion{Uid: "u", Hash: []byte("0123456789abcdef"), Document: []byte(`{"a":1}`)}
	value, err := encodeValue(want)
	if err != nil {
		t.Fatal(err)
	}
	// As versions before this one wrote it.
	raw, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := e.EncodeAll(raw, append([]byte{1}, want.Hash...))
	for _, v := range [][]byte{value, before} {
		s, err := decodeValue(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Version(); err != nil || !proto.Equal(got, want) || string(s.Hash[:]) != string(want.Hash) {
			t.Errorf("format %d: %v, %v", v[0], got, err)
		}
	}
}

// FuzzValue: whatever lies in the store is a version or damage.
func FuzzValue(f *testing.F) {
	value, err := encodeValue(&wirev1.AssetVersion{Uid: "u", Hash: make([]byte, 16), Document: []byte(`{"a":1}`)})
	if err != nil {
		f.Fatal(err)
	}
	deletion, err := encodeDeletion(&wirev1.AssetVersion{Uid: "u"}, 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add(deletion)
	f.Add([]byte("\x010123456789abcdef(\xb5/\xfd"))
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := decodeValue(value)
		if err == nil {
			_, err = s.Version()
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		if _, _, err := decodeDeletion(value); err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
}
