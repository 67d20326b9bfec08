package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// largeBatchOf is a batch of documents of some bytes.
func largeBatchOf(t *testing.T, first, last uint64, bytes int) []byte {
	t.Helper()
	var rs []*wirev1.Record
	for n := first; n <= last; n++ {
		r := record(n)
		r.GetAsset().Document = fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, strings.Repeat("x", bytes))
		rs = append(rs, r)
	}
	return batch(t, first, rs...)
}

// TestLargeBatch: what others send is taken between the pieces of a large batch, and what
// its agent sends behind it is not; everything is there once.
func TestLargeBatch(t *testing.T) {
	c := newCentre(t)
	var order []string
	begun, goOn := make(chan struct{}), make(chan struct{})
	first := true
	c.store.refuses = func(g *warehouse.Group) error {
		what := g.Versions[0].AgentID[:4]
		if len(g.Within) > 0 {
			what = fmt.Sprint("piece of ", len(g.Versions))
		}
		order = append(order, what)
		if first {
			first = false
			close(begun)
			<-goOn
		}
		return nil
	}
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	other := c.open(identity.Agent{Site: "east", ID: "other"}, spoolID)
	defer other.Close()
	submit(t, in, largeBatchOf(t, 1, 30, 1<<20))
	<-begun
	submit(t, in, run(t, 31, 33))
	submit(t, other, run(t, 1, 3))
	if durable(in) != 0 {
		t.Error("a piece is acknowledged")
	}
	close(goOn)
	waitFor(t, other, 3)
	waitFor(t, in, 33)
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	text := strings.Join(order, ", ")
	if place := strings.Index(text, "othe"); place < 0 || place > len("piece of 1, ")*8 {
		t.Errorf("the other agent's batch has not been taken soon: %s", text)
	}
	if !strings.HasSuffix(text, agent.ID[:4]) || strings.Count(text, "piece") != 30 {
		t.Errorf("in this order: %s", text)
	}
	if n := c.versions(); n != 36 {
		t.Errorf("%d rows of 36 versions", n)
	}
}

// TestKilledInALargeBatch: another aggregator goes on with its pieces, and each row is
// there once.
func TestKilledInALargeBatch(t *testing.T) {
	c := newCentre(t)
	bad := record(31)
	bad.GetAsset().Hash = nil
	var rs []*wirev1.Record
	for n := range uint64(30) {
		r := record(n + 1)
		r.GetAsset().Document = fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, strings.Repeat("x", 1<<20))
		rs = append(rs, r)
	}
	c.stored(t, batch(t, 1, append(rs, bad)...))
	for _, left := range []int{7, 11, 5, 0} {
		if !c.diesBehind(t, left) {
			t.Fatal("it did not die")
		}
	}
	c.start()
	in := c.open(agent, spoolID)
	defer in.Close()
	if c.versions() != 30 || c.refused() != 1 || durable(in) != 31 {
		t.Errorf("%d rows of 30 versions, %d of 1 refused, %d of 31 durable", c.versions(), c.refused(), durable(in))
	}
}

// TestPieces: they have all records in order, and none has much more than another.
func TestPieces(t *testing.T) {
	c := newCentre(t)
	for name, data := range map[string][]byte{
		"usual":      run(t, 1, 100),
		"large":      largeBatchOf(t, 1, 100, 300<<10),
		"of many":    run(t, 1, 3*pieceRecords+1),
		"one record": largeBatchOf(t, 1, 1, 5<<20),
	} {
		b, err := wire.DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.log(t).read(c.stored(t, data))
		if err != nil {
			t.Fatal(err)
		}
		records, cuts := pieces(stored, whole(stored))
		if len(cuts) == 0 {
			if b.GetRawBytes() > pieceBytes || b.GetCount() > pieceRecords {
				t.Errorf("%s: %d records of %d bytes are in no pieces", name, b.GetCount(), b.GetRawBytes())
			}
			continue
		}
		from := 0
		for _, to := range cuts {
			size := 0
			for _, r := range records[from:to] {
				size += len(r.GetAsset().GetDocument())
			}
			if to <= from || to-from > pieceRecords || to-from > 1 && size > pieceBytes {
				t.Errorf("%s: a piece has the records from %d to %d, with %d bytes", name, from, to, size)
			}
			from = to
		}
		if from != int(b.GetCount()) {
			t.Errorf("%s: the pieces have %d records of %d", name, from, b.GetCount())
		}
	}
}

func (c *centre) log(t *testing.T) *commitLog {
	t.Helper()
	l, err := openCommitLog(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
