package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const spoolID = "00112233445566778899aabbccddeeff"

func records(n int) []*wirev1.Record {
	var rs []*wirev1.Record
	for range n {
		rs = append(rs, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
			Type: "fake.test.Thing", Uid: "a", Document: []byte(`{"a":1}`),
		}}})
	}
	return rs
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	big := bytes.Repeat([]byte("x"), 1<<20)
	for _, p := range [][]byte{[]byte("one"), {}, big} {
		if err := WriteFrame(&buf, p); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(&buf)
	for _, want := range [][]byte{[]byte("one"), {}, big} {
		got, err := ReadFrame(r, 1<<20)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	if _, err := ReadFrame(r, 10); err != io.EOF { //nolint:errorlint // a wrapped one is no clean end
		t.Fatalf("at the end: %v, want io.EOF", err)
	}
	if _, err := ReadFrame(bufio.NewReader(strings.NewReader("\xff\xff\xff\xffx")), 100); !errors.Is(err, ErrFrameTooLarge) {
		t.Fatalf("a frame of 4 GiB: %v", err)
	}
	if _, err := ReadFrame(bufio.NewReader(strings.NewReader("\x00\x00\x00\x05abc")), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a cut frame: %v", err)
	}
}

func TestBatch(t *testing.T) {
	data, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 41, records(3))
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	if LastSeq(b) != 43 {
		t.Fatalf("last seq %d, want 43", LastSeq(b))
	}
	rs, err := DecodeRecords(b)
	if err != nil || len(rs) != 3 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	b.Count = 4
	if _, err := DecodeRecords(b); err == nil {
		t.Fatal("a batch that lies about its count was accepted")
	}
}

func TestBadBatches(t *testing.T) {
	good := func() *wirev1.Batch {
		return &wirev1.Batch{SpoolId: spoolID, Class: wirev1.Class_CLASS_ASSETS, FirstSeq: 1, Count: 1}
	}
	for name, spoil := range map[string]func(*wirev1.Batch){
		"spool":  func(b *wirev1.Batch) { b.SpoolId = "../../etc" },
		"class":  func(b *wirev1.Batch) { b.Class = 99 },
		"seq":    func(b *wirev1.Batch) { b.FirstSeq = 0 },
		"count":  func(b *wirev1.Batch) { b.Count = 0 },
		"range":  func(b *wirev1.Batch) { b.FirstSeq = 1 << 63 },
		"memory": func(b *wirev1.Batch) { b.RawBytes = 1 << 31 },
	} {
		b := good()
		spoil(b)
		data, err := proto.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeBatch(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDecompressionIsBounded(t *testing.T) {
	bomb := encoder().EncodeAll(make([]byte, MaxRecords+1), nil)
	if _, err := DecodeRecords(&wirev1.Batch{Records: bomb, Count: 1}); err == nil {
		t.Fatal("a batch that decompresses beyond the limit was accepted")
	}
}

func TestNegotiate(t *testing.T) {
	if _, err := Negotiate(0); err == nil {
		t.Error("version 0 was accepted")
	}
	if v, err := Negotiate(99); err != nil || v != MaxProtocol {
		t.Errorf("a newer peer: %d, %v", v, err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadFrame(bufio.NewReader(bytes.NewReader(data)), 1<<16)
		if err == nil && len(p)+4 > len(data) {
			t.Fatalf("%d bytes out of %d", len(p), len(data))
		}
	})
}

func FuzzControl(f *testing.F) {
	hello, err := proto.Marshal(&wirev1.Control{Message: &wirev1.Control_Hello{Hello: &wirev1.Hello{Protocol: 1, SpoolId: spoolID}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello)
	f.Fuzz(func(t *testing.T, data []byte) {
		var c wirev1.Control
		if proto.Unmarshal(data, &c) == nil {
			_, _ = Negotiate(c.GetHello().GetProtocol())
			_ = CheckSpoolID(c.GetHello().GetSpoolId())
		}
	})
}

func FuzzBatch(f *testing.F) {
	data, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 1, records(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBatch(data)
		if err != nil {
			return
		}
		rs, err := DecodeRecords(b)
		if err == nil && len(rs) != int(b.GetCount()) {
			t.Fatal("the count is wrong")
		}
		if _, refused := CheckRecords(b, nil); err == nil && refused != nil {
			t.Fatal("it is decoded, and was refused before:", refused)
		}
	})
}

func BenchmarkEncodeBatch(b *testing.B) {
	rs := records(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, 1, rs); err != nil {
			b.Fatal(err)
		}
	}
}
