package query

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// TestValuesAsPackageFilterHasThem holds what the engine takes a text for against package
// filter: the ends of what is taken, texts near them, and made-up ones.
func TestValuesAsPackageFilterHasThem(t *testing.T) {
	w := warehousetest.New(t)
	texts := []string{
		"", "0", "1", "-1", "+1", "1.5", "1.", ".5", "-", "1e5", "1E5", "1e-5", "1e+05", "1e123", "1e", "1E", "1Ei", "4Gi", "4GiB", "4 " +
			"GiB", "4  GiB", "4 ", " 4",
		"100m", "1n", "1u", "3k", "3K", "3kB", "3KB", "3kb", "3Ki", "0x10", "inf", "nan", "-inf", "1_000", "1,5", "12345678901234567890", "123456789012345678",
		"0.1", "0.30000000000000004", "2.2250738585072014e-30", "179769313486231570000000000000", "9007199254740993", "-0", "-0.0", "007", "1e5Ki", "1.5e3 MB",
		strings.Repeat("9", 63), strings.Repeat("9", 64), strings.Repeat("9",
			65), "1B", "1b", "5 m", "5m", "1h", "1h30m", "1.5s", "1w2d3h4m5s6ms7us8ns", "1s1m", "1d1d",
		"1h-30m", "1.5", "10", "-10", "1m30", "30ms", "0.1s0.2ms", "9999999999w", "1H", "1 h", "h", "1hh", "100us", "100ns",
		"2026-11-30", "2026-02-30", "2024-02-29", "2023-02-29", "1969-12-31", "1970-01-01", "2199-12-31", "2200-01-01", "2026-13-01", "2026-00-10", "2026-1-1",
		"2026-11-30T08:00:00Z", "2026-11-30T08:00Z", "2026-11-30 08:00", "2026-11-30t08:00", "2026-11-30T08:00:00.1Z", "2026-11-30T08:00:00.123456789+01:00",
		"2026-11-30T08:00:00.1234567890Z", "2026-11-30T24:00:00Z", "2026-11-30T23:60:00Z", "2026-11-30T23:59:60Z", "2026-11-30T08:00:00+14:00",
		"2026-11-30T08:00:00+15:00", "2026-11-30T08:00:00-0530", "2026-11-30T08:00:00+5", "2026-11-30T08:00:00z", "2026-11-30T", "2026-11-30Z", "2026-11-30T08",
		"2026-11-30T08:00:00.Z", "2026-11-31", "2026-04-31", "1970-01-01T00:00:00+14:00", "2026-11-30T08:00:00+00:60", "true", "x", "1\n", "\n1", "4Gi\n", "٣",
	}
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"1", "2", "0", "9", ".", "-", "e", "E", "+", "K", "i", "B", "G", "m", "s", "h", "d", " ", ":", "T", "Z", "2026",
		"-11", "-30", "T08:00", "u", "n", "w", "5"}
	for range 4000 {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		texts = append(texts, b.String())
	}
	for range 1000 {
		texts = append(texts, fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d%s", 1969+r.IntN(233), r.IntN(14), r.IntN(33), r.IntN(25),
			r.IntN(61), r.IntN(61),
			[]string{"", "Z", ".5Z", "+02:00", "-0930", ".123456Z"}[r.IntN(6)]))
		texts = append(texts, fmt.Sprint(r.Float64()*1e6), fmt.Sprint(r.Uint64()), fmt.Sprintf("%g", r.ExpFloat64()*1e-9))
	}
	type answer struct {
		text     string
		number   *float64
		moment   *int64
		duration *float64
	}
	var s Statement
	s.Put("SELECT t, ", number("t"), ", ", moment("t"), ", ", duration("t"), " FROM (SELECT arrayJoin(", s.Texts(texts), ") AS t)")
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(Interactive.Limits().settings()))
	rows, err := w.Conn().Query(ctx, s.String(), s.values...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n, taken := 0, 0
	for rows.Next() {
		var a answer
		if err := rows.Scan(&a.text, &a.number, &a.moment, &a.duration); err != nil {
			t.Fatal(err)
		}
		n++
		if want, ok := filter.Number(a.text); ok != (a.number != nil) || ok && want != *a.number {
			t.Errorf("number of %q: %v, want %v %v", a.text, deref(a.number), want, ok)
		}
		if want, ok := filter.Moment(a.text); ok != (a.moment != nil) || ok && want != *a.moment {
			t.Errorf("moment of %q: %v, want %v %v", a.text, deref(a.moment), want, ok)
		}
		want, ok := filter.Duration(a.text)
		if ok != (a.duration != nil) || ok && want != *a.duration {
			t.Errorf("duration of %q: %v, want %v %v", a.text, deref(a.duration), want, ok)
		}
		if a.number != nil || a.moment != nil || a.duration != nil {
			taken++
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n != len(texts) || taken < 1000 {
		t.Errorf("%d of %d texts were read, and %d of them mean something", n, len(texts), taken)
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
