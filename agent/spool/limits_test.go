package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// large are versions of assets that compress to nearly nothing.
func large(n, size int) (list []*wirev1.Record) {
	for i := range n {
		list = append(list, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
			Type: "t", Uid: fmt.Sprint("large", i), Scope: "s", Version: uint64(i + 1), Operation: wirev1.Operation_OPERATION_UPDATED,
			Hash:     make([]byte, 16),
			Document: append(append([]byte(`{"a":"`), bytes.Repeat([]byte("10.0.0.1 "), size/9)...), `"}`...),
		}}})
	}
	return list
}

// noise is a version that does not compress.
func noise(r *rand.Rand, uid string, size int) *wirev1.Record {
	text := make([]byte, size)
	for i := range text {
		text[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[r.IntN(64)]
	}
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: "t", Uid: uid, Scope: "s", Version: 1, Operation: wirev1.Operation_OPERATION_UPDATED,
		Document: fmt.Appendf(nil, `{"a":"%s"}`, text),
	}}}
}

// knots are documents that are small, and large when they are flattened.
func knots(n int) (list []*wirev1.Record) {
	doc := []byte(`{"` + strings.Repeat("k", 4000) + `":[` + strings.Repeat("0,", 2000) + `0]}`)
	for i := range n {
		list = append(list, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{Uid: fmt.Sprint("knot", i), Document: doc}}})
	}
	return list
}

// TestWhatIsAppendedIsTaken: the centre takes every batch of whatever was appended, all
// of it, in its order, with the checkpoints once everything before them is there.
func TestWhatIsAppendedIsTaken(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	cases := map[string][]*wirev1.Record{
		"257 versions of 300 KiB":       large(257, 300<<10),
		"versions of 6 MiB":             large(14, 6<<20),
		"one of all that a batch has":   large(1, wire.MaxRecords-1<<10),
		"a few more than a frame":       large(frameRecords+1, 10),
		"many more than a batch":        large(wire.MaxCount+1, 1),
		"what does not compress":        {noise(random, "a", 4<<20), noise(random, "b", 4<<20), noise(random, "c", 6<<20)},
		"what grows when it is read":    knots(200),
		"small, large, small":           append(append(large(3, 10), large(1, 5<<20)...), large(300, 9)...),
		"just a frame":                  large(1, frameBytes),
		"one record without anything":   {{}},
		"frameRecords without anything": make([]*wirev1.Record, frameRecords),
	}
	for i := range cases["frameRecords without anything"] {
		cases["frameRecords without anything"][i] = &wirev1.Record{}
	}
	for i := range 6 {
		var list []*wirev1.Record
		for range 1 + random.IntN(6) {
			list = append(list, large(1+random.IntN(5), random.IntN(3<<20))...)
			list = append(list, large(random.IntN(5000), random.IntN(50))...)
			list = append(list, knots(random.IntN(60))...)
			list = append(list, noise(random, "n", random.IntN(3<<20)))
		}
		cases[fmt.Sprint("random ", i)] = list
	}
	for name, records := range cases {
		t.Run(name, func(t *testing.T) {
			var applied []*wirev1.Record
			var checkpoints []Checkpoint
			s := open(t, Options{Dir: t.TempDir(), Apply: func(f Frame) error {
				if len(checkpoints) > 0 {
					t.Error("there are records behind the checkpoint")
				}
				checkpoints = f.Checkpoints
				got, err := f.Records()
				applied = append(applied, got...)
				return err
			}})
			if err := s.Append(t.Context(), assets, records, Checkpoint{"s", "7"}); err != nil {
				t.Fatal(err)
			}
			if len(applied) != len(records) || len(checkpoints) != 1 {
				t.Fatalf("%d records and %d checkpoints were applied, want %d and 1", len(applied), len(checkpoints), len(records))
			}
			r := s.Reader(assets, 1)
			defer r.Close()
			at := 0
			for r.seq < s.Next(assets) {
				f, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				b, err := wire.DecodeBatch(f.Batch)
				if err != nil {
					t.Fatalf("the centre does not take it: %v", err)
				}
				if _, err := wire.CheckRecords(b, nil); err != nil {
					t.Fatalf("the centre does not take it: %v", err)
				}
				got, err := wire.DecodeRecords(b)
				if err != nil {
					t.Fatalf("the centre does not take it: %v", err)
				}
				for _, record := range got {
					if !proto.Equal(record, records[at]) {
						t.Fatalf("record %d is another", at)
					}
					at++
				}
			}
			if at != len(records) {
				t.Errorf("%d records arrive, %d were appended", at, len(records))
			}
		})
	}
}

// TestTooLargeForAny appends a record that no batch can have, alone and beside others.
func TestTooLargeForAny(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	tooLarge := large(1, wire.MaxRecords+1)
	if err := s.Append(t.Context(), assets, tooLarge, Checkpoint{"s", "1"}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("it was appended: %v", err)
	}
	// One that shares its frame with others does not take them along.
	l := s.logs[assets]
	group := []*request{
		{records: []*wirev1.Record{record("a")}, done: make(chan error, 1)},
		{records: tooLarge, done: make(chan error, 1)},
		{records: []*wirev1.Record{record("b")}, done: make(chan error, 1)},
	}
	l.writeGroup(group)
	for i, r := range group {
		if err := <-r.done; errors.Is(err, wire.ErrTooLarge) != (i == 1) || err != nil && i != 1 {
			t.Errorf("request %d: %v", i, err)
		}
	}
	equal(t, uids(t, s, 1), []string{"a", "b"})
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

// boundless is a frame as versions wrote it that knew no bounds.
func boundless(t *testing.T, id string, first uint64, records []*wirev1.Record) []byte {
	t.Helper()
	raw, err := proto.Marshal(&wirev1.Records{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := proto.Marshal(&wirev1.Batch{
		SpoolId: id, Class: assets, FirstSeq: first, Count: uint32(len(records)), RawBytes: uint32(len(raw)), Records: z.EncodeAll(raw, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := wire.DecodeBatch(batch); err == nil {
		if _, err := wire.CheckRecords(b, nil); err == nil {
			t.Fatal("the centre would take it")
		}
	}
	frame, err := encodeFrame(Frame{Class: assets, First: first, Last: first + uint64(len(records)) - 1, Batch: batch,
		Checkpoints: []Checkpoint{{"s", "5"}}})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// TestHeals opens spools that hold a frame which nobody takes.
func TestHeals(t *testing.T) {
	for name, records := range map[string][]*wirev1.Record{"too many bytes": large(257, 300<<10), "too heavy": knots(200)} {
		for _, where := range []string{"first", "middle", "last"} {
			for _, forgot := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, last seen lost %v", name, where, forgot), func(t *testing.T) {
					heals(t, records, where, forgot)
				})
			}
		}
	}
}

func heals(t *testing.T, records []*wirev1.Record, where string, forgot bool) {
	dir := t.TempDir()
	m := newMemory()
	o := m.options(Options{Dir: dir})
	s := open(t, o)
	if where != "first" {
		appendAll(t, s, "before")
	}
	first := s.Next(assets)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "assets", "00000000000000000001.seg")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(boundless(t, s.ID(), first, records))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	m.applied[assets] = first + uint64(len(records)) - 1
	if forgot {
		m.applied[assets] = 0
	}
	var told []Damage
	o.Damaged = func(d Damage) error { told = append(told, d); return nil }
	s = open(t, o)
	if where != "last" {
		appendAll(t, s, "behind")
	}
	want := map[string][]string{"first": {"behind"}, "middle": {"before", "behind"}, "last": {"before"}}[where]
	for range 2 {
		equal(t, uids(t, s, 1), want)
		g := gaps(t, s, 1)
		if len(g) != 1 || g[0].GetUnknown() != uint64(len(records)) || g[0].GetReason() != wirev1.Gap_REASON_DAMAGED {
			t.Errorf("gaps: %v", g)
		}
		if len(told) != 1 || told[0].Records != uint64(len(records)) {
			t.Errorf("damage: %v", told)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, o)
	}
}

// TestGivesUpWhatNobodyReads reaches the budget with a frame among the oldest that
// nobody can read.
func TestGivesUpWhatNobodyReads(t *testing.T) {
	dir := t.TempDir()
	m := newMemory()
	o := m.options(Options{Dir: dir, MaxBytes: 16 << 20})
	s := open(t, o)
	appendAll(t, s, "before")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	records := large(257, 300<<10)
	file := filepath.Join(dir, "assets", "00000000000000000001.seg")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(boundless(t, s.ID(), 2, records))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	m.applied[assets] = 1 + uint64(len(records))
	damaged := 0
	o.Damaged = func(Damage) error { damaged++; return nil }
	s = open(t, o)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 80 {
		appendOne(t, s, assets, noise(random, fmt.Sprint("n", i), 256<<10))
	}
	if damaged != 1 {
		t.Errorf("it was mended %d times", damaged)
	}
	found := false
	for _, g := range gaps(t, s, 1) {
		found = found || g.GetUnknown() == uint64(len(records))
	}
	if !found {
		t.Error("what was lost is not counted")
	}
}

// FuzzAppend appends records whose content and sizes are made of bytes; what is on disk
// must be taken.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"a":[1,2]}`), uint16(3), uint16(9))
	f.Add([]byte(`{"k":0,`), uint16(5000), uint16(0))
	f.Fuzz(func(t *testing.T, piece []byte, count, repeat uint16) {
		s := open(t, Options{Dir: t.TempDir()})
		doc := bytes.Repeat(piece, int(repeat))
		if len(doc) > 1<<20 {
			doc = doc[:1<<20]
		}
		var records []*wirev1.Record
		for i := range min(1+int(count), 1+(32<<20)/(len(doc)+1)) {
			records = append(records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{Uid: fmt.Sprint(i), Document: doc}}})
		}
		if err := s.Append(t.Context(), assets, records); err != nil {
			if errors.Is(err, wire.ErrTooLarge) {
				if _, one := wire.EncodeBatch(s.ID(), assets, 1, records[:1]); one != nil {
					return
				}
			}
			t.Fatal(err)
		}
		n := 0
		read(t, s, assets, 1, func(f Frame, seq uint64, _ *wirev1.Record) {
			if n++; seq != f.First {
				return
			}
			if err := f.check(); err != nil {
				t.Fatal(err)
			}
		})
		if n != len(records) {
			t.Fatalf("%d of %d records", n, len(records))
		}
	})
}
