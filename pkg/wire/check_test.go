package wire

import (
	"math"
	"strings"
	"testing"
	"time"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestTimes(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.Unix(0, 0), 0},
		{time.UnixMilli(1), 1},
		{time.UnixMilli(-1), 0},
		{time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), 0},
		{time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), 0},
		{LatestTime, LatestTime.UnixMilli()},
		{LatestTime.Add(time.Millisecond), 0},
		{LatestTime.Add(day), 0},
		{time.Date(292_278_994, 1, 1, 0, 0, 0, 0, time.UTC), 0},
	} {
		ms := Millis(c.at)
		if ms != c.want {
			t.Errorf("%v is %d, want %d", c.at, ms, c.want)
		}
		if err := checkMoment("t", ms); err != nil {
			t.Errorf("%v is recorded as what is not taken: %v", c.at, err)
		}
		if got := Time(ms); ms != 0 && got.UnixMilli() != ms {
			t.Errorf("%v comes back as %v", c.at, got)
		}
	}
	for _, ms := range []int64{0, -1, math.MinInt64, math.MaxInt64, LatestTime.UnixMilli() + 1} {
		if !Time(ms).IsZero() {
			t.Errorf("%d ms is the time %v", ms, Time(ms))
		}
	}
}

func TestCheckName(t *testing.T) {
	for s, good := range map[string]bool{
		"a": true, "ü/…": true, strings.Repeat("x", MaxName): true, "\ufffd": true,
		"": false, strings.Repeat("x", MaxName+1): false, "a\xff": false, "a\x00": false, "a\x1b[31m": false, "a\x7f": false, "\n": false,
	} {
		if err := CheckName("name", s); (err == nil) != good {
			t.Errorf("%.40q: %v", s, err)
		}
	}
}

func TestCheckAsset(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wirev1.AssetVersion)
		want   string
	}{
		"good":                {func(*wirev1.AssetVersion) {}, ""},
		"created in 1950":     {func(a *wirev1.AssetVersion) { a.CreatedAt = -600_000_000_000 }, ""},
		"updated in 9999":     {func(a *wirev1.AssetVersion) { a.UpdatedAt = 253_402_300_799_000 }, ""},
		"observed in 1950":    {func(a *wirev1.AssetVersion) { a.ObservedAt = -600_000_000_000 }, "observed_at"},
		"no version":          {func(a *wirev1.AssetVersion) { a.Version = 0 }, "version"},
		"a version from 2300": {func(a *wirev1.AssetVersion) { a.Version = 10_413_792_000_000 << 16 }, "version"},
		"an edge of no kind":  {func(a *wirev1.AssetVersion) { a.Relations = []*wirev1.Relation{{Type: "t", Uid: "u"}} }, "relation kind"},
		"a removed edge of no uid": {func(a *wirev1.AssetVersion) {
			a.RemovedRelations = []*wirev1.Relation{{Kind: "k", Type: "t"}}
		}, "relation uid"},
		"no hash":      {func(a *wirev1.AssetVersion) { a.Hash = a.Hash[:15] }, "hash"},
		"no operation": {func(a *wirev1.AssetVersion) { a.Operation = 0 }, "operation"},
	} {
		err := CheckAsset(asset(c.change).GetAsset())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
