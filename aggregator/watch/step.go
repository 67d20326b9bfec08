package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// step is the way from one place to another.
type step struct {
	to     Place
	assets []*asset
	// bytes is about what it takes.
	bytes int
}

// asset is what a step has of one asset.
type asset struct {
	warehouse.AssetKey
	// before is the newest version of the place before, or nil.
	before *version
	// fresh are the others, the oldest stamp first.
	fresh []*version
}

// version is one of an asset, as filters look at it.
type version struct {
	warehouse.Change
	seen filter.Asset
}

// versionBytes is about what a version takes without its texts.
const versionBytes = 1 << 10

// columns are those of asset_version that a version is read from. What is different where
// they are read from asset are operation and changed.
func columns(operation, document, changed string) string {
	return strings.Join([]string{
		"site", "type", "uid", "version", operation + " AS did", "scope", "name", "region", "project", "status", "labels", document + " AS text",
		changed + " AS paths", "created_at", "updated_at", "observed_at", "received_at", "agent_id",
	}, ", ")
}

// scanVersion reads a version, and targets behind its columns.
func scanVersion(rows driver.Rows, targets ...any) (*version, error) {
	v := new(version)
	var text string
	if err := rows.Scan(append([]any{
		&v.Site, &v.Type, &v.UID, &v.Version, &v.Operation, &v.Scope, &v.Name, &v.Region, &v.Project, &v.Status, &v.Labels, &text, &v.Changed,
		&v.CreatedAt, &v.UpdatedAt, &v.ObservedAt, &v.ReceivedAt, &v.AgentID,
	}, targets...)...); err != nil {
		return nil, fmt.Errorf("reading the warehouse's answer: %w", err)
	}
	for _, at := range []*time.Time{&v.CreatedAt, &v.UpdatedAt, &v.ObservedAt} {
		if at.UnixMilli() == 0 {
			*at = time.Time{}
		}
	}
	v.Document = []byte(text)
	return v, nil
}

// look makes of a version what filters look at.
func (v *version) look() (err error) {
	v.seen = filter.Asset{
		Name: v.Name, UID: v.UID, Type: v.Type, Site: v.Site, Region: v.Region, Project: v.Project, Status: v.Status, Scope: v.Scope, Agent: v.AgentID,
		Created: v.CreatedAt, Updated: v.UpdatedAt, Observed: v.ObservedAt, Labels: v.Labels, Document: v.Document,
	}
	if len(v.Document) > 0 {
		if v.seen.Fields, err = document.Fields(v.Document); err != nil {
			return fmt.Errorf("a document in the warehouse: %w", err)
		}
	}
	return nil
}

// same reports whether two versions say the same.
func (v *version) same(o *version) bool {
	return v.Operation == o.Operation && bytes.Equal(v.Document, o.Document) && v.Name == o.Name && v.Status == o.Status && v.Region == o.Region &&
		v.Project == o.Project && v.Scope == o.Scope && v.AgentID == o.AgentID && maps.Equal(v.Labels, o.Labels) &&
		v.CreatedAt.Equal(o.CreatedAt) && v.UpdatedAt.Equal(o.UpdatedAt) && v.ObservedAt.Equal(o.ObservedAt)
}

// there reports whether the newest group of a place is in the warehouse. It is not if its
// month was dropped, or the warehouse was made anew or restored from an older copy.
func (t *Tail) there(ctx context.Context, p Place) (there bool, err error) {
	if p.At == 0 {
		return true, nil
	}
	var s query.Statement
	s.Put("SELECT 1 FROM asset_version WHERE received_at = ", moment(&s, p.At), " LIMIT 1")
	err = t.all.Run(ctx, "looking where a watch goes on", &s, func(driver.Rows) error {
		there = true
		return nil
	})
	return there, err
}

var errTooMuch = errors.New("more documents than a step has")

// read reads a step from a place towards another. Of the assets that a plan asks for by what
// never changes of them it has all, of others perhaps none.
func (t *Tail) read(ctx context.Context, plan *query.Plan, from, to Place) (*step, error) {
	type end struct {
		at int64
		id uint64
	}
	var ends []end
	var s query.Statement
	s.Put("SELECT toUnixTimestamp64Milli(received_at) AS at, id FROM asset_version WHERE ", and(plan.Keys(&s), between(&s, from, to)),
		" GROUP BY at, id ORDER BY at, id LIMIT ", s.Whole(stepAssets+1))
	if err := plan.Run(ctx, "looking for changes", &s, func(rows driver.Rows) error {
		var e end
		if err := rows.Scan(&e.at, &e.id); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		ends = append(ends, e)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(ends) == 0 {
		return &step{to: to}, nil
	}
	for most := min(stepAssets, len(ends)); ; most /= 2 {
		until := to
		if len(ends) > most {
			until = upTo(from, to, ends[most].at, ends[most].id)
		}
		st, err := t.readTo(ctx, plan, from, until, most == 1)
		// What costs too much at once is tried with less: nobody would be told of anything any more.
		if limit := new(query.LimitError); !errors.Is(err, errTooMuch) && (most == 1 || !errors.As(err, &limit)) {
			return st, err
		}
	}
}

// readTo reads the step between two places, unless it is too large.
func (t *Tail) readTo(ctx context.Context, plan *query.Plan, from, to Place, whatever bool) (*step, error) {
	var s query.Statement
	fresh := and(plan.Keys(&s), between(&s, from, to))
	list := columns("toString(operation)", "document", "changed")
	s.Put("SELECT * FROM (SELECT ", list, ", 1 AS fresh FROM asset_version WHERE ", fresh,
		" ORDER BY type, site, uid, version, received_at DESC LIMIT 1 BY type, site, uid, version UNION ALL SELECT ", list,
		", 0 AS fresh FROM asset_version WHERE (type, site, uid, version) IN (SELECT type, site, uid, max(version) FROM asset_version WHERE (type, site, uid) IN (",
		"SELECT type, site, uid FROM asset_version WHERE ", fresh, ") AND ", from.has(&s), " GROUP BY type, site, uid) AND ", from.has(&s),
		" ORDER BY type, site, uid, version DESC, received_at DESC LIMIT 1 BY type, site, uid) ORDER BY type, site, uid, fresh, version")
	st := &step{to: to, bytes: versionBytes}
	documents := 0
	err := plan.Run(ctx, "reading changes", &s, func(rows driver.Rows) error {
		var isFresh uint8
		v, err := scanVersion(rows, &isFresh)
		if err != nil {
			return err
		}
		if documents += len(v.Document); documents > stepBytes && !whatever {
			return errTooMuch
		}
		if err := v.look(); err != nil {
			return err
		}
		// Its flat form takes about as much again.
		st.bytes += versionBytes + 3*len(v.Document)
		key := warehouse.AssetKey{Site: v.Site, Type: v.Type, UID: v.UID}
		if n := len(st.assets); n == 0 || st.assets[n-1].AssetKey != key {
			st.assets = append(st.assets, &asset{AssetKey: key})
		}
		a := st.assets[len(st.assets)-1]
		if isFresh == 0 {
			a.before = v
		} else {
			a.fresh = append(a.fresh, v)
		}
		return nil
	})
	return st, err
}

func and(conditions []string, last string) string {
	return strings.Join(append(conditions, last), " AND ")
}
