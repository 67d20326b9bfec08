package watch

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// initial tells what is in the set at the watcher's place, page by page in the order of
// type, site and uid. What has not changed since is the current row, if that is in the place. Then
// the rest of the page's range is looked for in the history. In this order, for what
// changes between the two statements is found by the second one; where it was found by the first one
// as well it is the same.
func (w *watcher) initial(ctx context.Context) error {
	var after *warehouse.AssetKey
	for most := pageAssets; ; {
		page, documents := []*version(nil), 0
		err := w.page(ctx, after, most, func(v *version) error {
			if documents += len(v.Document); documents > stepBytes && most > 1 {
				return errTooMuch
			}
			page = append(page, v)
			return nil
		})
		if errors.Is(err, errTooMuch) {
			most /= 2
			continue
		}
		if err != nil {
			return err
		}
		there := make(map[warehouse.AssetKey]bool, len(page))
		for _, v := range page {
			there[warehouse.AssetKey{Site: v.Site, Type: v.Type, UID: v.UID}] = true
		}
		var last *warehouse.AssetKey
		if len(page) == most {
			v := page[len(page)-1]
			last = &warehouse.AssetKey{Site: v.Site, Type: v.Type, UID: v.UID}
		}
		if err := w.enter(page); err != nil {
			return err
		}
		page, documents = nil, 0
		if err := w.superseded(ctx, after, last, func(v *version) error {
			in, err := w.terms.passes(v)
			if err != nil || !in || there[warehouse.AssetKey{Site: v.Site, Type: v.Type, UID: v.UID}] {
				return err
			}
			page = append(page, v)
			if documents += len(v.Document); len(page) < pageAssets && documents < stepBytes {
				return nil
			}
			err = w.enter(page)
			page, documents = nil, 0
			return err
		}); err != nil {
			return err
		}
		if err := w.enter(page); err != nil {
			return err
		}
		if last == nil {
			return nil
		}
		after = last
	}
}

// enter tells of a page of the set.
func (w *watcher) enter(page []*version) error {
	if len(page) == 0 {
		return nil
	}
	m := &Message{Transitions: make([]Transition, len(page))}
	for i, v := range page {
		if !w.request.Documents {
			v.Document = nil
		}
		m.Transitions[i] = Transition{Kind: Entered, Initial: true, Version: &v.Change}
	}
	return w.tell(m)
}

// keyRange returns the conditions that a key comes after one, and up to another; nil is no
// limit.
func keyRange(s *query.Statement, after, last *warehouse.AssetKey) (list []string) {
	key := func(k *warehouse.AssetKey) string {
		return fmt.Sprintf("(%s, %s, %s)", s.Text(k.Type), s.Text(k.Site), s.Text(k.UID))
	}
	if after != nil {
		list = append(list, "(type, site, uid) > "+key(after))
	}
	if last != nil {
		list = append(list, "(type, site, uid) <= "+key(last))
	}
	return list
}

// page reads what is in the set by its current row, if that is in the place.
func (w *watcher) page(ctx context.Context, after *warehouse.AssetKey, most int, take func(*version) error) error {
	var s query.Statement
	text := "''"
	if w.request.Documents {
		text = "document"
	}
	conditions := append(w.plan.Where(&s, new(query.Source)), keyRange(&s, after, nil)...)
	s.Put("SELECT ", columns("if(deleted, 'deleted', 'updated')", text, "emptyArrayString()"), " FROM asset FINAL WHERE ",
		and(conditions, w.place.has(&s)), " ORDER BY type, site, uid LIMIT ", s.Whole(uint64(most)))
	return w.plan.Run(ctx, "listing what is watched", &s, func(rows driver.Rows) error {
		v, err := scanVersion(rows)
		if err != nil {
			return err
		}
		return take(v)
	})
}

// superseded reads, of the assets of a range whose current row is not in the place, the newest version
// that is.
func (w *watcher) superseded(ctx context.Context, after, last *warehouse.AssetKey, take func(*version) error) error {
	var s query.Statement
	conditions := append(w.plan.Keys(&s), keyRange(&s, after, last)...)
	s.Put("SELECT ", columns("toString(operation)", "document", "changed"), " FROM asset_version WHERE (type, site, uid, version) IN (",
		"SELECT type, site, uid, max(version) FROM asset_version WHERE (type, site, uid) IN (SELECT type, site, uid FROM asset FINAL WHERE ",
		and(conditions, "NOT "+w.place.has(&s)), ") AND ", w.place.has(&s), " GROUP BY type, site, uid) AND ", w.place.has(&s),
		" ORDER BY type, site, uid, version DESC, received_at DESC LIMIT 1 BY type, site, uid")
	return w.plan.Run(ctx, "listing what is watched", &s, func(rows driver.Rows) error {
		v, err := scanVersion(rows)
		if err != nil {
			return err
		}
		if err := v.look(); err != nil {
			return err
		}
		return take(v)
	})
}
