package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// ChangesQuery asks for versions of all assets, the newest first.
type ChangesQuery struct {
	// Selection says of which: versions that are as its filter says. Its moment is that of
	// the newest. It has no states: a version that deletes its asset is one like any other.
	Selection
	// Since is when the oldest was made; zero is the beginning.
	Since time.Time
	// Operations narrows further, unless it is empty.
	Operations []warehouse.Operation
	// Limit is how many the page has at most, up to MaxPage; 0 is 100.
	Limit int
	Token string
}

// Changes is a page of versions, without their documents, labels and edges.
type Changes struct {
	Answered
	Rows []warehouse.Change
	// Next is empty on the last page.
	Next string
}

// Changes returns what changed in the whole inventory.
func (e *Engine) Changes(ctx context.Context, scope Scope, q ChangesQuery) (*Changes, error) {
	switch {
	case q.Limit < 0 || q.Limit > MaxPage:
		return nil, wrong("page_size", "%d: must be 1 to %d", q.Limit, MaxPage)
	case len(q.States) > 0:
		return nil, wrong("states", "changes have none: ask for operations")
	case q.Limit == 0:
		q.Limit = 100
	}
	p, err := e.Plan(ctx, scope, q.Selection)
	if err != nil {
		return nil, err
	}
	p.states = true
	if !q.Since.IsZero() {
		p.WarnThin(q.Since)
	}
	binding := fmt.Sprintf("changes %s %d %v", p.Binding(), q.Since.UnixMilli(), q.Operations)
	after, err := DecodeToken(q.Token, binding, 4)
	if err != nil {
		return nil, err
	}
	var s Statement
	src := &Source{History: true}
	conditions := p.Where(&s, src)
	first := []string{"1"}
	if !q.Since.IsZero() {
		first = append(first, "version >= "+s.Whole(uint64(hlc.FromTime(q.Since))))
	}
	if !q.Moment.Now() {
		first = append(first, "version <= "+s.Whole(q.Moment.stamp()))
	}
	if len(q.Operations) > 0 {
		names := make([]string, len(q.Operations))
		for i, o := range q.Operations {
			names[i] = o.String()
		}
		first = append(first, "toString(operation) IN "+s.Texts(names))
	}
	if after != nil {
		version, err := strconv.ParseUint(after[1].(string), 10, 64)
		if err != nil {
			return nil, wrong("page_token", "%w", ErrToken)
		}
		v, site, kind, uid := s.Whole(version), s.Text(after[3].(string)), s.Text(after[5].(string)), s.Text(after[7].(string))
		first = append(first, fmt.Sprintf("version <= %[1]s AND (version < %[1]s OR (site, type, uid) > (%[2]s, %[3]s, %[4]s))", v, site, kind, uid))
	}
	// A row that is there twice is left out below: FINAL would read all of them.
	s.Put(src.With(&s), "SELECT site, type, uid, version, toString(operation), name, status, project, region, changed, observed_at, received_at, ",
		"agent_id FROM asset_version PREWHERE ", strings.Join(first, " AND "), where(conditions),
		" ORDER BY version DESC, site, type, uid LIMIT 1 BY version, site, type, uid LIMIT ", s.Whole(uint64(q.Limit)+1))
	page := &Changes{Answered: p.Answered}
	if err := e.run(ctx, q.Class, "listing changes", &s, func(rows driver.Rows) error {
		var c warehouse.Change
		if err := rows.Scan(&c.Site, &c.Type, &c.UID, &c.Version, &c.Operation, &c.Name, &c.Status, &c.Project, &c.Region, &c.Changed, &c.ObservedAt,
			&c.ReceivedAt, &c.AgentID); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		page.Rows = append(page.Rows, c)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(page.Rows) > q.Limit {
		page.Rows = page.Rows[:q.Limit]
		last := page.Rows[q.Limit-1]
		page.Next = EncodeToken(binding, []any{false, strconv.FormatUint(last.Version, 10), false, last.Site, false, last.Type, false, last.UID})
	}
	return page, nil
}

// Version returns the newest version of an asset up to a stamp, with its document and its
// edges; before says that of those which are older than the stamp. It is nil if there is none.
func (e *Engine) Version(ctx context.Context, scope Scope, k warehouse.AssetKey, stamp uint64, before bool) (*warehouse.Change, error) {
	var s Statement
	compare := "<="
	if before {
		compare = "<"
	}
	conditions := []string{
		"type = " + s.Text(k.Type), "site = " + s.Text(k.Site), "uid = " + s.Text(k.UID), fmt.Sprintf("version %s %s", compare, s.Whole(stamp)),
	}
	if c := scope.condition(); c != "" {
		conditions = append(conditions, c)
	}
	s.Put(`SELECT version, toString(operation), name, status, project, region, labels, document, observed_at, received_at, agent_id,
		edges.kind, edges.type, edges.uid FROM asset_version`, where(conditions), " ORDER BY version DESC, edges_known DESC LIMIT 1")
	var found *warehouse.Change
	err := e.run(ctx, Interactive, "reading a version", &s, func(rows driver.Rows) error {
		c := warehouse.Change{AssetVersion: warehouse.AssetVersion{Type: k.Type, UID: k.UID}}
		c.Site = k.Site
		var document string
		var kinds, types, uids []string
		if err := rows.Scan(&c.Version, &c.Operation, &c.Name, &c.Status, &c.Project, &c.Region, &c.Labels, &document, &c.ObservedAt, &c.ReceivedAt,
			&c.AgentID, &kinds, &types, &uids); err != nil {
			return fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		c.Document = []byte(document)
		for i := range kinds {
			c.Edges = append(c.Edges, warehouse.Relation{Site: k.Site, FromType: k.Type, FromUID: k.UID, Kind: kinds[i], ToType: types[i], ToUID: uids[i]})
		}
		slices.SortFunc(c.Edges, func(a, b warehouse.Relation) int {
			return slices.Compare([]string{a.Kind, a.ToType, a.ToUID}, []string{b.Kind, b.ToType, b.ToUID})
		})
		found = &c
		return nil
	})
	return found, err
}
