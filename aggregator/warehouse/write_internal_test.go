package warehouse

import (
	"fmt"
	"iter"
	"maps"
	"testing"

	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

func newColumn(t testing.TB, kind chcolumn.Type) chcolumn.Interface {
	t.Helper()
	c, err := kind.Column("fields", &chcolumn.ServerContext{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// flattened are rows with 50 paths, as documents have.
func flattened(rows int) []map[string]string {
	list := make([]map[string]string, rows)
	for i := range list {
		list[i] = make(map[string]string)
		for p := range 50 {
			list[i][fmt.Sprintf("spec.template.path-%d", p)] = fmt.Sprintf("value %d of %d", i, p%7)
		}
	}
	return list
}

// TestTexts wants maps to come out of a column as they went in.
func TestTexts(t *testing.T) {
	rows := append(flattened(20), nil, map[string]string{}, map[string]string{"a": "", "": "b"})
	c := newColumn(t, "Map(String, String)") // the other kind is not read before it was sent
	if err := texts("fields", rows, func(m *map[string]string) iter.Seq2[string, string] { return maps.All(*m) }).append(c); err != nil {
		t.Fatal(err)
	}
	if c.Rows() != len(rows) {
		t.Fatalf("%d rows of %d", c.Rows(), len(rows))
	}
	for i, want := range rows {
		if got, ok := c.Row(i, false).(map[string]string); !ok || !maps.Equal(got, want) {
			t.Errorf("row %d is %v, not %v", i, got, want)
		}
	}
}

func BenchmarkTexts(b *testing.B) {
	rows := flattened(1000)
	for name, column := range map[string]column{
		"texts":  texts("fields", rows, func(m *map[string]string) iter.Seq2[string, string] { return maps.All(*m) }),
		"values": values("fields", rows, func(m *map[string]string) map[string]string { return *m }),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := column.append(newColumn(b, "Map(LowCardinality(String), String)")); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
		})
	}
}
