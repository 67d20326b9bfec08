package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// packed is a batch of raw bytes, that says of itself what it likes.
func packed(t testing.TB, raw []byte, count, rawBytes uint32) *wirev1.Batch {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return &wirev1.Batch{
		SpoolId: spoolID, Class: wirev1.Class_CLASS_ASSETS, FirstSeq: 1, Count: count, RawBytes: rawBytes, Records: e.EncodeAll(raw, nil),
	}
}

// streamed is packed, with a frame that does not say how large it is.
func streamed(t testing.TB, raw []byte, count, rawBytes uint32) *wirev1.Batch {
	t.Helper()
	var buf bytes.Buffer
	e, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	for part := raw; len(part) > 0; part = part[min(len(part), 1<<16):] {
		if _, err := e.Write(part[:min(len(part), 1<<16)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return &wirev1.Batch{
		SpoolId: spoolID, Class: wirev1.Class_CLASS_ASSETS, FirstSeq: 1, Count: count, RawBytes: rawBytes, Records: buf.Bytes(),
	}
}

func marshalled(t testing.TB, records ...*wirev1.Record) []byte {
	t.Helper()
	raw, err := proto.Marshal(&wirev1.Records{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func asset(change func(*wirev1.AssetVersion)) *wirev1.Record {
	a := &wirev1.AssetVersion{Type: "t", Uid: "u", Scope: "s", Version: 1 << 40, Operation: 1, Hash: make([]byte, 16), Document: []byte("{}")}
	change(a)
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}}
}

// TestBombsAndLies: neither is decoded, and neither costs more memory than its raw
// bytes.
func TestBombsAndLies(t *testing.T) {
	three := marshalled(t, records(3)...)
	empty := bytes.Repeat([]byte{0x0a, 0x00}, MaxCount)
	emptyEdges := bytes.Repeat([]byte{0x8a, 0x01, 0x00}, 8<<20)
	deep := []byte(`{"` + strings.Repeat("k", 4<<10) + `":{` + strings.Repeat(`"a":0,`, 600_000) + `"b":0}}`)
	doc := func(d []byte) []byte { return marshalled(t, asset(func(a *wirev1.AssetVersion) { a.Document = d })) }
	edges := append([]byte{0x0a}, varint(len(emptyEdges)+5)...)
	edges = append(edges, 0x0a)
	edges = append(edges, varint(len(emptyEdges))...)
	edges = append(edges, emptyEdges...)
	for name, c := range map[string]struct {
		batch *wirev1.Batch
		want  string
	}{
		"raw bytes of nothing":      {packed(t, three, 3, 0), "its envelope says 0"},
		"too few raw bytes":         {packed(t, three, 3, uint32(len(three)-1)), "its envelope says"},
		"too many raw bytes":        {packed(t, three, 3, uint32(len(three)+1)), "its envelope says"},
		"streamed, too few":         {streamed(t, three, 3, uint32(len(three)-1)), "its envelope says"},
		"streamed, too many":        {streamed(t, three, 3, MaxRecords), "its envelope says"},
		"more than are allowed":     {streamed(t, make([]byte, MaxRecords+2), 3, MaxRecords+2), "allowed"},
		"streamed beyond the claim": {streamed(t, make([]byte, MaxRecords), 3, 100), "its envelope says"},
		"two frames": {&wirev1.Batch{Count: 3, RawBytes: uint32(len(three)),
			Records: append(packed(t, three, 3, 0).Records, packed(t, three, 3, 0).Records...)}, "its envelope says"},
		"fewer records than there are": {packed(t, three, 2, uint32(len(three))), "more records than the 2"},
		"more records than there are":  {packed(t, three, 4, uint32(len(three))), "3 records, its envelope says 4"},
		"empty records":                {packed(t, empty, 3, uint32(len(empty))), "more records than the 3"},
		"edges of nothing":             {packed(t, edges, 1, uint32(len(edges))), "memory"},
		"long keys":                    {packed(t, doc(deep), 1, uint32(len(doc(deep)))), "memory"},
		"no zstd":                      {&wirev1.Batch{Count: 1, RawBytes: 3, Records: []byte("no zstd")}, "decompressing"},
		"no protobuf":                  {packed(t, []byte("\x0a\xff\xff\xff"), 1, 4), "decoding"},
		"nothing":                      {&wirev1.Batch{Count: 1}, "0 bytes of records"},
	} {
		if _, err := CheckRecords(c.batch, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the check says %v, want %q", name, err, c.want)
		}
		if _, err := DecodeRecords(c.batch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: decoding says %v, want %q", name, err, c.want)
		}
	}
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// TestCostIsWhatRecordsTake: what an agent could let grow is counted at what it takes.
func TestCostIsWhatRecordsTake(t *testing.T) {
	long := strings.Repeat("k", 1000)
	for name, change := range map[string]func(*wirev1.AssetVersion){
		"labels": func(a *wirev1.AssetVersion) {
			a.Labels = make(map[string]string)
			for n := range 50_000 {
				a.Labels[fmt.Sprint(n)] = ""
			}
		},
		"edges": func(a *wirev1.AssetVersion) {
			for range 50_000 {
				a.Relations = append(a.Relations, &wirev1.Relation{})
			}
		},
		"changed": func(a *wirev1.AssetVersion) { a.Changed = make([]string, 100_000) },
		"values":  func(a *wirev1.AssetVersion) { a.Document = []byte(`{"a":[` + strings.Repeat("0,", 200_000) + `0]}`) },
		"paths": func(a *wirev1.AssetVersion) {
			a.Document = []byte(`{"` + long + `":{` + strings.Repeat(`"a":0,`, 30_000) + `"b":0}}`)
		},
	} {
		raw := marshalled(t, asset(change))
		b := packed(t, raw, 1, uint32(len(raw)))
		cost, err := CheckRecords(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		rs, err := DecodeRecords(b)
		if err != nil {
			t.Fatal(err)
		}
		took := int(heap() - before)
		runtime.KeepAlive(rs)
		if cost*usual < took {
			t.Errorf("%s: %d bytes of raw records count as %d and take %d", name, len(raw), cost*usual, took)
		}
	}
	// The usual record is not counted beyond its size.
	raw := marshalled(t, asset(func(a *wirev1.AssetVersion) {
		a.Document = []byte(`{"spec":{"nodeName":"n1","image":"` + strings.Repeat("registry.example/app", 150) + `"}}`)
	}))
	if cost, err := CheckRecords(packed(t, raw, 1, uint32(len(raw))), nil); err != nil || cost != len(raw) {
		t.Errorf("a usual record of %d bytes counts as %d, %v", len(raw), cost, err)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestWhatIsEncodedIsDecoded at the limits, and what is beyond them is not encoded.
func TestWhatIsEncodedIsDecoded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 12 {
		var rs []*wirev1.Record
		for range 1 + r.IntN(40) {
			rs = append(rs, asset(func(a *wirev1.AssetVersion) {
				a.Document = []byte(`{"a":"` + strings.Repeat("x", r.IntN(4<<20)) + `"}`)
			}))
		}
		roundTrip(t, rs)
	}
	roundTrip(t, records(MaxCount))
	roundTrip(t, records(MaxCount+1))
}

func roundTrip(t *testing.T, rs []*wirev1.Record) {
	t.Helper()
	size := proto.Size(&wirev1.Records{Records: rs})
	data, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 1, rs)
	if err != nil {
		if size <= MaxRecords && len(rs) <= MaxCount {
			t.Errorf("%d records of %d bytes: %v", len(rs), size, err)
		}
		return
	}
	b, err := DecodeBatch(data)
	if err != nil {
		t.Fatalf("%d records of %d bytes are encoded: %v", len(rs), size, err)
	}
	if _, err := CheckRecords(b, nil); err != nil {
		t.Fatalf("%d records of %d bytes are encoded: %v", len(rs), size, err)
	}
	if got, err := DecodeRecords(b); err != nil || len(got) != len(rs) {
		t.Fatalf("%d records of %d bytes are encoded: %d, %v", len(rs), size, len(got), err)
	}
}

func TestNames(t *testing.T) {
	raw := marshalled(t,
		asset(func(a *wirev1.AssetVersion) { a.Type, a.Scope = "type1", "scope1" }),
		&wirev1.Record{Body: &wirev1.Record_AssetType{AssetType: &wirev1.AssetType{Name: "type2", Title: "no"}}},
		&wirev1.Record{Body: &wirev1.Record_Event{Event: &wirev1.Event{Id: "no", Type: "event1", Scope: "scope2", AssetType: "no"}}},
		&wirev1.Record{Body: &wirev1.Record_Usage{Usage: &wirev1.Usage{AssetType: "no", Scope: "scope3", Meter: "meter1"}}})
	var got []string
	if _, err := CheckRecords(packed(t, raw, 4, uint32(len(raw))), func(n Name, text []byte) {
		got = append(got, fmt.Sprint(n, string(text)))
	}); err != nil {
		t.Fatal(err)
	}
	if want := "[0type1 1scope1 0type2 2event1 1scope2 1scope3 3meter1]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func BenchmarkCheckRecords(b *testing.B) {
	data, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 1, records(1000))
	if err != nil {
		b.Fatal(err)
	}
	batch, err := DecodeBatch(data)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(batch.GetRawBytes()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CheckRecords(batch, nil); err != nil {
			b.Fatal(err)
		}
	}
}
