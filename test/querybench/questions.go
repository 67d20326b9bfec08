package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/aggregator/graph"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/analyze"
	"github.com/reeve-cloud/reeve/aggregator/query/suggest"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

const (
	page       = 100
	completion = 50 * time.Millisecond
	server     = "openstack.compute.Server"
	pod        = "kubernetes.core.Pod"
)

// columns are what a list reads of each asset.
const columns = "site, type, uid, version, deleted, scope, name, region, project, status, labels, created_at, updated_at, observed_at, received_at, agent_id, id"

// questions are those that the speed is judged by.
func (b *bench) questions(ctx context.Context) ([]question, error) {
	list := func(q func(n int) query.ListQuery) func(context.Context, int) (int, error) {
		return func(ctx context.Context, n int) (int, error) {
			l := q(n)
			l.Limit = page
			p, err := b.engine.List(ctx, query.All(), l)
			if err != nil {
				return 0, err
			}
			return len(p.Rows), nil
		}
	}
	byName := []query.Order{{Field: "name"}}
	filtered := func(format string, value func(n int) any) func(n int) query.ListQuery {
		return func(n int) query.ListQuery {
			return query.ListQuery{Selection: query.Selection{Filter: fmt.Sprintf(format, value(n))}, Sort: byName}
		}
	}
	site := func(n int) any { return siteName(n * 7 % b.sites) }
	team := func(n int) any { return [...]string{"checkout", "search", "billing", "platform", "media"}[n%5] }
	host := func(n int) any { return fmt.Sprintf("cmp-%02d", n%4) }
	deep, err := b.deepToken(ctx)
	if err != nil {
		return nil, err
	}
	month := b.world.start.Add(history / 2)
	stamp := fmt.Sprint(uint64(hlc.FromTime(month)) | (1<<16 - 1))
	return []question{
		{
			name: "one asset by its key",
			ask: func(ctx context.Context, n int) (int, error) {
				found, err := b.engine.Find(ctx, query.All(), query.Moment{}, []warehouse.AssetKey{b.key(n)})
				return len(found), err
			},
			plain: func(ctx context.Context, n int) (int, error) {
				k := b.key(n)
				return b.rows(ctx, "SELECT "+columns+" FROM asset FINAL WHERE type = {type:String} AND site = {site:String} AND uid = {uid:String}",
					clickhouse.Named("type", k.Type), clickhouse.Named("site", k.Site), clickhouse.Named("uid", k.UID))
			},
		},
		{
			name: "servers of a site, by name", ask: list(filtered("type="+server+" site=%s", site)),
			plain: b.candidates(func(n int) string { return fmt.Sprintf("type = '%s' AND site = '%s'", server, site(n)) }, "name, site, type, uid"),
		},
		{
			name: "all servers, by name", ask: list(filtered("type="+server+"%s", func(int) any { return "" })),
			plain: b.candidates(func(int) string { return "type = '" + server + "'" }, "name, site, type, uid"),
		},
		{
			name: "everything, by name", ask: list(filtered("%s", func(int) any { return "" })),
			plain: b.candidates(func(int) string { return "1" }, "name, site, type, uid"),
		},
		{
			name: "a label, all types", ask: list(filtered("labels.team=%s", team)),
			plain: b.candidates(func(n int) string { return fmt.Sprintf("labels['team'] = '%s'", team(n)) }, "name, site, type, uid"),
		},
		{
			name: "a nested path of a type", ask: list(filtered("type="+server+" derived.host=%s", host)),
			plain: b.candidates(func(n int) string {
				return fmt.Sprintf("type = '%s' AND fields.`key_derived.host` = '%s'", server, host(n))
			},
				"name, site, type, uid"),
		},
		{
			name: "a number of a type", ask: list(filtered("type="+server+" derived.vcpus>%d", func(n int) any { return 1 << (n % 5) })),
			plain: b.candidates(func(n int) string {
				return fmt.Sprintf("type = '%s' AND toFloat64OrNull(fields.`key_derived.vcpus`) > %d", server, 1<<(n%5))
			}, "name, site, type, uid"),
		},
		{
			name: "a word", ask: list(filtered("%s", func(n int) any { return fmt.Sprintf("search-vm-%d", n) })),
			plain: b.candidates(func(n int) string { return fmt.Sprintf("position(search, 'search-vm-%d') > 0", n) }, "name, site, type, uid"),
		},
		{
			name: "a type, sorted by a nested path",
			ask: list(func(int) query.ListQuery {
				return query.ListQuery{Selection: query.Selection{Filter: "type=" + pod}, Sort: []query.Order{{Field: "derived.node"}}}
			}),
			plain: b.candidates(func(int) string { return "type = '" + pod + "'" },
				"fields.`key_derived.node` = '', substringUTF8(fields.`key_derived.node`, 1, 256), site, type, uid"),
		},
		{
			name: "a deep page of all, by name",
			ask: list(func(n int) query.ListQuery {
				l := filtered("%s", func(int) any { return "" })(n)
				l.Token = deep.token
				return l
			}),
			plain: b.candidates(func(int) string {
				return fmt.Sprintf("name >= '%s' AND (name, site, type, uid) > ('%[1]s', '%[2]s', '%[3]s', '%[4]s')", deep.Name, deep.Site, deep.Type, deep.UID)
			}, "name, site, type, uid"),
		},
		{
			name: "how many have a label",
			ask: func(ctx context.Context, n int) (int, error) {
				c, err := b.engine.Count(ctx, query.All(), query.Selection{Filter: fmt.Sprintf("labels.team=%s", team(n))})
				if err != nil {
					return 0, err
				}
				return int(c.Count), nil
			},
			plain: func(ctx context.Context, n int) (int, error) {
				return b.number(ctx, fmt.Sprintf("SELECT count() FROM asset FINAL WHERE labels['team'] = '%s' AND NOT deleted", team(n)))
			},
		},
		{
			name: "top 10 groups by type and status",
			ask: func(ctx context.Context, _ int) (int, error) {
				a, err := analyze.Analyze(ctx, b.engine, query.All(), analyze.Query{Keys: []analyze.Key{{Field: "type"}, {Field: "status"}}, Limit: 10})
				if err != nil {
					return 0, err
				}
				return len(a.Groups), nil
			},
			plain: func(ctx context.Context, _ int) (int, error) {
				return b.rows(ctx, "SELECT type, status, count() AS n FROM asset FINAL WHERE NOT deleted GROUP BY type, status ORDER BY n DESC, type, status LIMIT 10")
			},
		},
		{
			name: "top 10 hosts by servers and vCPUs",
			ask: func(ctx context.Context, _ int) (int, error) {
				a, err := analyze.Analyze(ctx, b.engine, query.All(), analyze.Query{Selection: query.Selection{Filter: "type=" + server},
					Keys: []analyze.Key{{Field: "derived.host"}}, Limit: 10,
					Measures: []analyze.Measure{{Name: "n"}, {Name: "vcpus", Function: analyze.Sum, Field: "derived.vcpus"}}})
				if err != nil {
					return 0, err
				}
				return len(a.Groups), nil
			},
			plain: func(ctx context.Context, _ int) (int, error) {
				return b.rows(ctx, fmt.Sprintf("SELECT fields.`key_derived.host` AS host, count() AS n, sum(toFloat64OrNull(fields.`key_derived.vcpus`)) "+
					"FROM asset FINAL WHERE type = '%s' AND NOT deleted GROUP BY host ORDER BY n DESC, host LIMIT 10", server))
			},
		},
		{
			name:  "facets of all: type, status, region, project",
			ask:   b.facets("", "type", "status", "region", "project"),
			plain: b.facetsByHand("NOT deleted", "toString(type)", "toString(status)", "toString(region)", "toString(project)"),
		},
		{
			name: "facets of servers: status, host, a label",
			ask:  b.facets("type="+server, "status", "derived.host", "labels.team"),
			plain: b.facetsByHand("type = '"+server+"' AND NOT deleted", "toString(status)", "fields.`key_derived.host`",
				"labels['team']"),
		},
		{
			name: "completion of a path and of a value", aim: completion,
			ask: func(ctx context.Context, n int) (int, error) {
				filter := [...]string{"type=" + server + " derived.h", "type=" + server + " derived.host=cmp", "sta", "derived.host:", "type=openst"}[n%5]
				s, err := b.completer.Suggest(ctx, query.All(), suggest.Query{Filter: filter, Cursor: len(filter)})
				if err != nil {
					return 0, err
				}
				return len(s.List), nil
			},
		},
		{
			name: "completion of a name", aim: completion,
			ask: func(ctx context.Context, n int) (int, error) {
				filter := fmt.Sprintf("name=search-vm-%d", n%10)
				s, err := b.completer.Suggest(ctx, query.All(), suggest.Query{Filter: filter, Cursor: len(filter)})
				if err != nil {
					return 0, err
				}
				return len(s.List), nil
			},
		},
		{
			name: "servers of a host a month ago",
			ask: list(func(n int) query.ListQuery {
				l := filtered("type="+server+" derived.host=%s", host)(n)
				l.Moment = query.At(month)
				return l
			}),
			plain: b.pastByHand(stamp, func(n int) string {
				return fmt.Sprintf("JSONExtractString(document, 'derived', 'host') = '%s'", host(n))
			}),
		},
		{
			name: "all servers a month ago, by name",
			ask: list(func(n int) query.ListQuery {
				l := filtered("type="+server+"%s", func(int) any { return "" })(n)
				l.Moment = query.At(month)
				return l
			}),
			plain: b.pastByHand(stamp, func(int) string { return "1" }),
		},
		{
			name: "how many assets there were a month ago",
			ask: func(ctx context.Context, _ int) (int, error) {
				c, err := b.engine.Count(ctx, query.All(), query.Selection{Moment: query.At(month)})
				if err != nil {
					return 0, err
				}
				return int(c.Count), nil
			},
			plain: func(ctx context.Context, _ int) (int, error) {
				return b.number(ctx, "SELECT countIf(o != 'deleted') FROM (SELECT argMax(operation, version) AS o FROM asset_version WHERE version <= "+
					stamp+" GROUP BY id)")
			},
		},
		{
			name: "graph of a pod, four steps", aim: 500 * time.Millisecond,
			ask: func(ctx context.Context, n int) (int, error) {
				g, err := b.walker.Walk(ctx, query.All(), graph.Request{Start: b.podKey(n), Depth: 4})
				if err != nil {
					return 0, err
				}
				return len(g.Nodes), nil
			},
		},
		{
			name: "graph of a pod a month ago, four steps", aim: 500 * time.Millisecond,
			ask: func(ctx context.Context, n int) (int, error) {
				g, err := b.walker.Walk(ctx, query.All(), graph.Request{Start: b.podKey(n), Depth: 4, Moment: query.At(month)})
				if err != nil {
					return 0, err
				}
				return len(g.Nodes), nil
			},
		},
	}, nil
}

// key is that of one asset or another.
func (b *bench) key(n int) warehouse.AssetKey {
	s := n * 7919 % b.sites
	a := b.world.estates[s].Version(n*31%b.assets, 1)
	return warehouse.AssetKey{Site: siteName(s), Type: a.GetType(), UID: a.GetUid()}
}

// podKey is that of a pod: the first half of the assets of a block are pods.
func (b *bench) podKey(n int) warehouse.AssetKey {
	s := n * 7919 % b.sites &^ 1
	a := b.world.estates[s].Version(n%50, 1)
	return warehouse.AssetKey{Site: siteName(s), Type: a.GetType(), UID: a.GetUid()}
}

func (b *bench) facets(filter string, fields ...string) func(context.Context, int) (int, error) {
	return func(ctx context.Context, _ int) (int, error) {
		f, err := analyze.FacetsOf(ctx, b.engine, query.All(), analyze.FacetQuery{Selection: query.Selection{Filter: filter}, Fields: fields, Limit: 10})
		if err != nil {
			return 0, err
		}
		n := 0
		for _, facet := range f.Facets {
			n += len(facet.Values)
		}
		return n, nil
	}
}

// facetsByHand counts the values of expressions that have one each: the commonest ten.
func (b *bench) facetsByHand(where string, of ...string) func(context.Context, int) (int, error) {
	names, columns, sets := make([]string, len(of)), make([]string, len(of)), make([]string, len(of))
	for i, x := range of {
		names[i] = fmt.Sprintf("f%d", i)
		columns[i], sets[i] = x+" AS "+names[i], "("+names[i]+")"
	}
	statement := fmt.Sprintf("SELECT %s, count() AS n, %s AS facet FROM (SELECT %s FROM asset FINAL WHERE %s) GROUP BY GROUPING SETS (%s) "+
		"HAVING concat(%s) != '' ORDER BY facet, n DESC LIMIT 10 BY facet", strings.Join(names, ", "), "grouping("+strings.Join(names, ", ")+")",
		strings.Join(columns, ", "), where, strings.Join(sets, ", "), strings.Join(names, ", "))
	return func(ctx context.Context, _ int) (int, error) { return b.rows(ctx, statement) }
}

// pastByHand asks for servers as of a stamp as one would by hand: which versions those are
// first, where what a condition says holds, and then all columns of a page.
func (b *bench) pastByHand(stamp string, condition func(n int) string) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (int, error) {
		rows, err := b.warehouse.Conn().Query(settings(ctx), fmt.Sprintf(`SELECT id, version FROM asset_version
			PREWHERE (id, version) IN (SELECT id, max(version) FROM asset_version WHERE type = '%[1]s' AND version <= %[2]s GROUP BY id)
			WHERE type = '%[1]s' AND operation != 'deleted' AND %[3]s ORDER BY name, site, uid LIMIT %[4]d`, server, stamp, condition(n), page))
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		var ids, versions []uint64
		for rows.Next() {
			var id, version uint64
			if err := rows.Scan(&id, &version); err != nil {
				return 0, err
			}
			ids, versions = append(ids, id), append(versions, version)
		}
		if err := rows.Err(); err != nil || len(ids) == 0 {
			return 0, err
		}
		return b.rows(ctx, fmt.Sprintf("SELECT %s FROM asset_version PREWHERE id IN {ids:Array(UInt64)} AND version IN {versions:Array(UInt64)} "+
			"WHERE type = '%s' AND (id, version) IN (arrayZip({ids:Array(UInt64)}, {versions:Array(UInt64)}))",
			strings.Replace(columns, "deleted", "operation", 1), server), clickhouse.Named("ids", ids), clickhouse.Named("versions", versions))
	}
}

type place struct {
	warehouse.AssetKey
	Name, token string
}

// deepToken walks to a page in the middle of all assets by name, by a filter for names
// first, so that it does not take all pages before.
func (b *bench) deepToken(ctx context.Context) (place, error) {
	q := query.ListQuery{Sort: []query.Order{{Field: "name"}}, Limit: query.MaxPage}
	var p place
	for range 50 {
		answer, err := b.engine.List(ctx, query.All(), q)
		if err != nil {
			return p, err
		}
		if answer.Next == "" {
			break
		}
		last := answer.Rows[len(answer.Rows)-1]
		p = place{warehouse.AssetKey{Site: last.Site, Type: last.Type, UID: last.UID}, last.Name, answer.Next}
		q.Token = answer.Next
	}
	return p, nil
}

// candidates asks for a page as one would by hand: candidates without FINAL, then which of
// them are the newest.
func (b *bench) candidates(where func(n int) string, order string) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (int, error) {
		rows, err := b.warehouse.Conn().Query(settings(ctx), fmt.Sprintf("SELECT %s FROM asset WHERE %s AND NOT deleted ORDER BY %s LIMIT %d",
			columns, where(n), order, page+page/5))
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		versions := make(map[uint64]uint64)
		var ids []uint64
		for rows.Next() {
			var site, typ, uid, scope, name, region, project, status, agent string
			var version, id uint64
			var deleted bool
			var labels map[string]string
			var created, updated, observed, received time.Time
			if err := rows.Scan(&site, &typ, &uid, &version, &deleted, &scope, &name, &region, &project, &status, &labels, &created, &updated,
				&observed, &received, &agent, &id); err != nil {
				return 0, err
			}
			if _, twice := versions[id]; !twice {
				ids = append(ids, id)
			}
			versions[id] = max(versions[id], version)
		}
		if err := rows.Err(); err != nil || len(ids) == 0 {
			return 0, err
		}
		newest, err := b.warehouse.Conn().Query(settings(ctx), "SELECT id, max(version) FROM asset WHERE id IN {ids:Array(UInt64)} GROUP BY id",
			clickhouse.Named("ids", ids))
		if err != nil {
			return 0, err
		}
		defer newest.Close()
		count := 0
		for newest.Next() {
			var id, version uint64
			if err := newest.Scan(&id, &version); err != nil {
				return 0, err
			}
			if versions[id] == version {
				count++
			}
		}
		return min(count, page), newest.Err()
	}
}

func settings(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads_min_free_memory_per_thread": 0}))
}

func (b *bench) rows(ctx context.Context, statement string, parameters ...any) (n int, err error) {
	rows, err := b.warehouse.Conn().Query(settings(ctx), statement, parameters...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

func (b *bench) number(ctx context.Context, statement string) (int, error) {
	var n uint64
	err := b.warehouse.Conn().QueryRow(settings(ctx), statement).Scan(&n)
	return int(n), err
}
