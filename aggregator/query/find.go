package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// Found is an asset in short.
type Found struct {
	warehouse.AssetKey
	Name, Region, Project, Status string
	State                         warehouse.State
	// Version is never 0.
	Version uint64
}

// Name is what an asset is called where its site is not known.
type Name struct{ Type, UID string }

// findAtOnce is how many assets a statement looks up.
const findAtOnce = 2_000

// Find returns those of assets that there are, or were at the moment, deleted ones among
// them, in no order.
func (e *Engine) Find(ctx context.Context, scope Scope, moment Moment, keys []warehouse.AssetKey) (list []Found, err error) {
	for part := range slices.Chunk(keys, findAtOnce) {
		types, sites, uids := make([]string, len(part)), make([]string, len(part)), make([]string, len(part))
		for i, k := range part {
			types[i], sites[i], uids[i] = k.Type, k.Site, k.UID
		}
		found, err := e.find(ctx, scope, moment, func(s *Statement) string {
			return fmt.Sprintf("(type, site, uid) IN (SELECT arrayJoin(arrayZip(%s, %s, %s)))", s.Texts(types), s.Texts(sites), s.Texts(uids))
		})
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// FindAnywhere is Find in all sites: a name may be that of several assets.
func (e *Engine) FindAnywhere(ctx context.Context, scope Scope, moment Moment, names []Name) (list []Found, err error) {
	for part := range slices.Chunk(names, findAtOnce) {
		types, uids := make([]string, len(part)), make([]string, len(part))
		for i, n := range part {
			types[i], uids[i] = n.Type, n.UID
		}
		found, err := e.find(ctx, scope, moment, func(s *Statement) string {
			return fmt.Sprintf("type IN %[1]s AND uid IN %[2]s AND (type, uid) IN (SELECT arrayJoin(arrayZip(%[1]s, %[2]s)))",
				s.Texts(types), s.Texts(uids))
		})
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

func (e *Engine) find(ctx context.Context, scope Scope, moment Moment, which func(*Statement) string) (list []Found, err error) {
	p := &Plan{engine: e, scope: scope, selection: Selection{Moment: moment}, silent: e.silent()}
	slices.Sort(p.silent)
	src, from := &Source{History: !moment.Now()}, " FROM asset FINAL"
	if src.History {
		from = " FROM asset_version FINAL"
	}
	var s Statement
	conditions := []string{which(&s)}
	if c := scope.condition(); c != "" {
		conditions = append(conditions, c)
	}
	const columns = "site, type, uid, name, region, project, status"
	s.Put("SELECT ", columns, ", toUInt8(", p.state(&s, src), ") AS state, version", from)
	if moment.Now() {
		s.Put(where(conditions))
	} else {
		s.Put(where(append(conditions, "version <= "+s.Whole(moment.stamp()))), " ORDER BY type, site, uid, version DESC LIMIT 1 BY type, site, uid")
	}
	err = e.run(ctx, Interactive, "looking up assets", &s, func(rows driver.Rows) error {
		var f Found
		if err := rows.Scan(&f.Site, &f.Type, &f.UID, &f.Name, &f.Region, &f.Project, &f.Status, (*uint8)(&f.State), &f.Version); err != nil {
			return err
		}
		list = append(list, f)
		return nil
	})
	return list, err
}

// Get returns an asset with its document as of a moment, deleted or not. Several, two at
// most, come where the site and the type are left out and it is not clear which is meant.
func (e *Engine) Get(ctx context.Context, scope Scope, site, assetType, uid string, moment Moment) ([]Row, error) {
	page, err := e.List(ctx, scope, ListQuery{
		Selection: Selection{Filter: "state:* uid=" + filter.Quote(uid), Site: site, Type: assetType, Moment: moment},
		Limit:     2, Documents: true, DocumentBytes: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	return page.Rows, nil
}

// Rows runs a statement of another package that reads the warehouse for a caller, with the
// limits of a class. Whatever comes from outside must be among the parameters.
func (e *Engine) Rows(ctx context.Context, class Class, doing, text string, parameters []any, row func(driver.Rows) error) error {
	s := Statement{values: parameters}
	s.Put(text)
	return e.run(ctx, class, doing, &s, row)
}

// Wrong is the error of a part of a request.
func Wrong(part, format string, args ...any) error { return wrong(part, format, args...) }

// Stamp is the last version that is not later than the moment.
func (m Moment) Stamp() uint64 { return m.stamp() }
