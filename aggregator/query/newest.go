package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// version is one of an asset, by the insert that it came with.
type version struct {
	number uint64
	ingest uuid.UUID
}

// newest returns those of the candidates that are the newest versions of their assets. What
// has changed since a moment has come from the history, by the same statement. One that was
// replaced since the candidates were asked for has its newest version take its place, if
// that is selected, too: it is still to come, or belongs where the old one was.
func (l *list) newest(ctx context.Context, candidates []Row, asked time.Time) ([]Row, error) {
	var ids []uint64
	for i := range candidates {
		if !candidates[i].past {
			ids = append(ids, candidates[i].ID)
		}
	}
	if len(ids) == 0 {
		return candidates, nil
	}
	s := new(Statement)
	s.Put(newestStatement, "FROM asset ", among(s, candidates, ids), " GROUP BY site, type, uid")
	of, late, err := l.versions(ctx, s, asked)
	if err != nil {
		return nil, err
	}
	var replaced []uint64
	for i := range candidates {
		if r := &candidates[i]; !r.past && of[r.key()] != r.version() && late[r.ID] {
			replaced = append(replaced, r.ID)
		}
	}
	if len(replaced) > 0 && !l.selection.Moment.Now() {
		// What they were at the moment the history says.
		s := new(Statement)
		s.Put(newestStatement, "FROM asset_version ", among(s, candidates, replaced), " AND version <= ", s.Whole(l.selection.Moment.stamp()),
			" GROUP BY site, type, uid")
		then, _, err := l.versions(ctx, s, asked)
		if err != nil {
			return nil, err
		}
		maps.Copy(of, then)
		replaced = nil
	}
	var rows []Row
	for _, r := range candidates {
		if r.past || of[r.key()] == r.version() {
			rows = append(rows, r)
		}
	}
	if len(replaced) > 0 {
		return l.replaced(ctx, rows, candidates, slices.Compact(slices.Sorted(slices.Values(replaced))))
	}
	return rows, nil
}

func (r *Row) version() version { return version{r.Version, r.ingest} }

// among is the condition of rows with some of the ids of candidates. The types and sites are
// what the tables are sorted by.
func among(s *Statement, candidates []Row, ids []uint64) string {
	types, sites := make(map[string]bool), make(map[string]bool)
	for i := range candidates {
		types[candidates[i].Type], sites[candidates[i].Site] = true, true
	}
	return "PREWHERE id IN " + s.Wholes(ids) + " WHERE type IN " + s.Texts(slices.Sorted(maps.Keys(types))) + " AND site IN " +
		s.Texts(slices.Sorted(maps.Keys(sites)))
}

// versions reads what a [newestStatement] answers, and which assets have changed since, or
// just before, candidates were asked for.
func (l *list) versions(ctx context.Context, s *Statement, asked time.Time) (of map[warehouse.AssetKey]version, late map[uint64]bool, err error) {
	of, late = make(map[warehouse.AssetKey]version), make(map[uint64]bool)
	err = l.engine.run(ctx, l.selection.Class, "listing assets", s, func(answer driver.Rows) error {
		var k warehouse.AssetKey
		var v version
		var received time.Time
		var id uint64
		if err := answer.Scan(&k.Site, &k.Type, &k.UID, &v.number, &v.ingest, &received, &id); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		of[k] = v
		if received.After(asked.Add(-replacedWithin)) {
			late[id] = true
		}
		return nil
	})
	return of, late, err
}

const newestStatement = "SELECT site, type, uid, max(version), argMax(ingest_id, (version, received_at)), " +
	"argMax(received_at, (version, received_at)), any(id) "

// replacedWithin is how long before a list was asked for a version must have been received
// to have been among its candidates for certain.
const replacedWithin = 5 * time.Second

// replaced adds the newest rows of assets, as far as they belong between the candidates.
func (l *list) replaced(ctx context.Context, rows, candidates []Row, ids []uint64) ([]Row, error) {
	s := new(Statement)
	place := s.Wholes(ids)
	s.Put(l.page(s, "asset FINAL PREWHERE id IN "+place, nil, nil, len(ids)*2))
	first, last := &candidates[0], &candidates[len(candidates)-1]
	err := l.engine.run(ctx, l.selection.Class, "listing assets", s, func(answer driver.Rows) error {
		r, err := l.scan(answer)
		if err == nil && l.compare(first, &r) <= 0 && l.compare(&r, last) <= 0 {
			rows = append(rows, r)
		}
		return err
	})
	slices.SortStableFunc(rows, func(a, b Row) int { return l.compare(&a, &b) })
	return rows, err
}

// compare returns which of two rows comes first, as the engine has it.
func (l *list) compare(a, b *Row) int {
	for i, k := range l.sort {
		if am, bm := a.sort[2*i].(bool), b.sort[2*i].(bool); am != bm {
			if am {
				return 1
			}
			return -1
		}
		av, bv := a.sort[2*i+1].(string), b.sort[2*i+1].(string)
		c := strings.Compare(av, bv)
		if k.kind != "String" {
			x, _ := strconv.ParseFloat(av, 64)
			y, _ := strconv.ParseFloat(bv, 64)
			c = cmp.Compare(x, y)
		}
		if k.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}
