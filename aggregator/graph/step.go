package graph

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// bundle is what one asset has the same relation to: assets of one type, and of one site
// by the word of the edges.
type bundle struct {
	of        warehouse.AssetKey
	out, far  bool
	kind, typ string
	site      string
	// knownUIDs are those that are nodes already, and uids the others, unless there are too
	// many of them to be shown; count is how many others there are.
	knownUIDs, uids []string
	count           int
	// known and members are those, found. members is nil where there are too many.
	known, members []*query.Found
	// seen are the uids that it has, while it is made.
	seen map[string]struct{}
}

// maxRows is how many bundles, or edges as of a moment, a step has at most.
const maxRows = 50_000

// tooMany says that a step has more than that.
func tooMany() error {
	return query.Wrong("depth", "a step of the walk has more than %d relations: take fewer steps, or narrow it down by kinds and types", maxRows)
}

// neighbours returns what assets are related to.
func (b *builder) neighbours(ctx context.Context, of []warehouse.AssetKey) (list []bundle, unknown bool, err error) {
	if !b.r.Moment.Now() {
		return b.neighboursAt(ctx, of)
	}
	list, err = b.neighboursNow(ctx, of)
	return list, false, err
}

// ends are the places of assets in the table relation.
type ends struct {
	types, sites, uids []string
	// keys has the assets, and any those of any site.
	keys map[warehouse.AssetKey]struct{}
	any  map[named]warehouse.AssetKey
}

type named struct{ typ, uid string }

func endsOf(keys []warehouse.AssetKey) *ends {
	e := &ends{keys: make(map[warehouse.AssetKey]struct{}, len(keys)), any: make(map[named]warehouse.AssetKey, len(keys))}
	for _, k := range keys {
		e.types, e.sites, e.uids = append(e.types, k.Type), append(e.sites, k.Site), append(e.uids, k.UID)
		e.keys[k] = struct{}{}
		e.any[named{k.Type, k.UID}] = k
	}
	return e
}

// ids is the expression for the numbers of assets of three lists, in the sites named or, for
// far edges, in none.
const (
	ids    = `arrayMap((s, t, u) -> sipHash64(s, t, u), {sites:Array(String)}, {types:Array(String)}, {uids:Array(String)})`
	farIDs = `arrayMap((t, u) -> sipHash64('', t, u), {types:Array(String)}, {uids:Array(String)})`
	inKeys = `arrayJoin(arrayZip({types:Array(String)}, {sites:Array(String)}, {uids:Array(String)}))`
)

func (e *ends) parameters() []any {
	return []any{clickhouse.Named("types", e.types), clickhouse.Named("sites", e.sites), clickhouse.Named("uids", e.uids)}
}

// directions is the condition for the rows of relation that a walk goes by. That each is of
// an asset that is asked for, and not of one with the same number, is for own to say.
func (b *builder) directions() string {
	const of = "from_id IN (SELECT arrayJoin(arrayConcat(" + ids + ", " + farIDs + ")))"
	switch b.r.Direction {
	case Out:
		return "dir = 'out' AND from_id IN (SELECT arrayJoin(" + ids + "))"
	case In:
		return "dir != 'out' AND " + of
	}
	return of
}

// narrow adds the conditions of the request for kinds and types.
func (b *builder) narrow(conditions []string, parameters []any) ([]string, []any) {
	for _, c := range []struct {
		list            []string
		name, condition string
	}{
		{b.r.Kinds, "kinds", "kind IN {kinds:Array(String)}"},
		{b.r.ExceptKinds, "except", "kind NOT IN {except:Array(String)}"},
		{b.r.Types, "to_types", "to_type IN {to_types:Array(String)}"},
	} {
		if len(c.list) > 0 {
			conditions, parameters = append(conditions, c.condition), append(parameters, clickhouse.Named(c.name, c.list))
		}
	}
	return conditions, parameters
}

// neighboursNow is neighbours as of now. What is counted, and not shown, is counted of all
// there is: a scope that does not have everything must become a condition of the statement,
// and of that in neighboursAt.
func (b *builder) neighboursNow(ctx context.Context, of []warehouse.AssetKey) (list []bundle, err error) {
	from, known := endsOf(of), make([]warehouse.AssetKey, len(b.graph.Nodes))
	for i := range b.graph.Nodes {
		known[i] = b.graph.Nodes[i].AssetKey
	}
	nodes := endsOf(known)
	conditions, parameters := b.narrow([]string{b.directions()}, append(from.parameters(),
		clickhouse.Named("known_types", nodes.types), clickhouse.Named("known_sites", nodes.sites), clickhouse.Named("known_uids", nodes.uids)))
	err = b.rows(ctx, fmt.Sprintf(`
		SELECT site, of_type, of_uid, direction, kind, other_type, groupArrayIf(other_uid, known), countIf(NOT known),
			groupArraySortedIf(%d)(other_uid, NOT known)
		FROM (SELECT site, any(from_type) AS of_type, any(from_uid) AS of_uid, toString(dir) AS direction, kind, any(to_type) AS other_type,
				any(to_uid) AS other_uid, to_id IN (SELECT arrayJoin(arrayMap((s, t, u) -> sipHash64(s, t, u), {known_sites:Array(String)},
				{known_types:Array(String)}, {known_uids:Array(String)}))) AS known
			FROM relation WHERE %s GROUP BY from_id, dir, kind, to_id, site HAVING NOT argMax(deleted, version))
		GROUP BY site, of_type, of_uid, direction, kind, other_type
		ORDER BY site, of_type, of_uid, direction, kind, other_type LIMIT %d`, b.r.Fold, strings.Join(conditions, " AND "), maxRows+1),
		parameters, func(rows driver.Rows) error {
			var u bundle
			var site, fromType, fromUID, dir string
			var count uint64
			if err := rows.Scan(&site, &fromType, &fromUID, &dir, &u.kind, &u.typ, &u.knownUIDs, &count, &u.uids); err != nil {
				return err
			}
			u.site, u.count, u.out, u.far = site, int(count), dir == "out", dir == "far"
			if !from.own(&u, site, fromType, fromUID) {
				return nil
			}
			if u.count > b.r.Fold {
				u.uids = nil
			}
			list = append(list, u)
			return nil
		})
	if err == nil && len(list) > maxRows {
		err = tooMany()
	}
	return list, err
}

// own says whose bundle it is: false if it is that of an asset that only has the number of
// one that is asked for, or if a far edge is of the same site, where it is seen anyhow.
func (e *ends) own(u *bundle, site, typ, uid string) bool {
	if u.far {
		k, ok := e.any[named{typ, uid}]
		u.of = k
		return ok && k.Site != site
	}
	u.of = warehouse.AssetKey{Site: site, Type: typ, UID: uid}
	_, ok := e.keys[u.of]
	return ok
}

// neighboursAt is neighbours as of a moment: assets that have, or once had, an edge to what
// is asked for are looked up as they were.
func (b *builder) neighboursAt(ctx context.Context, of []warehouse.AssetKey) (list []bundle, unknown bool, err error) {
	from := endsOf(of)
	origins := make(map[warehouse.AssetKey]struct{})
	if b.r.Direction != In {
		for _, k := range of {
			origins[k] = struct{}{}
		}
	}
	if b.r.Direction != Out {
		in := *b
		in.r.Direction = In
		conditions, parameters := in.narrow([]string{in.directions()}, from.parameters())
		n := 0
		if err := b.rows(ctx, fmt.Sprintf(`SELECT DISTINCT site, to_type, to_uid FROM relation WHERE %s LIMIT %d`,
			strings.Join(conditions, " AND "), maxRows+1), parameters, func(rows driver.Rows) error {
			var k warehouse.AssetKey
			if err := rows.Scan(&k.Site, &k.Type, &k.UID); err != nil {
				return err
			}
			origins[k] = struct{}{}
			n++
			return nil
		}); err != nil {
			return nil, false, err
		}
		if n > maxRows {
			return nil, false, tooMany()
		}
	}
	bundles := make(map[bundleKey]*bundle)
	for part := range slices.Chunk(sorted(origins), 1000) {
		missing, err := b.edgesAt(ctx, part, from, bundles)
		if err != nil {
			return nil, false, err
		}
		unknown = unknown || missing
	}
	for _, u := range bundles {
		slices.Sort(u.uids)
		u.count = len(u.uids)
		if u.count > b.r.Fold {
			u.uids = nil
		}
		list = append(list, *u)
	}
	slices.SortFunc(list, func(x, y bundle) int {
		return cmp.Or(compareKeys(x.of, y.of), cmp.Compare(x.kind, y.kind), cmp.Compare(x.typ, y.typ), cmp.Compare(x.site, y.site),
			cmp.Compare(direction(&x), direction(&y)))
	})
	return list, unknown, nil
}

func direction(u *bundle) int {
	switch {
	case u.out:
		return 1
	case u.far:
		return 3
	}
	return 2
}

type bundleKey struct {
	of        warehouse.AssetKey
	direction int
	kind, typ string
	site      string
}

func compareKeys(a, b warehouse.AssetKey) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Site, b.Site), cmp.Compare(a.UID, b.UID))
}

func sorted(set map[warehouse.AssetKey]struct{}) []warehouse.AssetKey {
	list := make([]warehouse.AssetKey, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.SortFunc(list, compareKeys)
	return list
}

// edgesAt reads the edges of assets as of the moment, and adds those that lead from, or to,
// what is asked for. Of a version that got its edges later, both rows may be there still.
func (b *builder) edgesAt(ctx context.Context, origins []warehouse.AssetKey, from *ends, bundles map[bundleKey]*bundle) (unknown bool, err error) {
	e := endsOf(origins)
	err = b.rows(ctx, `SELECT type, site, uid, e.1, e.2, e.3, e.4 FROM (
			SELECT type, site, uid,
				argMax((edges.kind, edges.type, edges.uid, edges_known OR operation = 'deleted'), (version, edges_known)) AS e
			FROM asset_version WHERE (type, site, uid) IN (SELECT `+inKeys+`) AND version <= {at:UInt64}
			GROUP BY type, site, uid)`, append(e.parameters(), clickhouse.Named("at", fmt.Sprint(b.r.Moment.Stamp()))),
		func(rows driver.Rows) error {
			var k warehouse.AssetKey
			var kinds, types, uids []string
			var known bool
			if err := rows.Scan(&k.Type, &k.Site, &k.UID, &kinds, &types, &uids, &known); err != nil {
				return err
			}
			unknown = unknown || !known
			for i := range kinds {
				b.addAt(bundles, from, k, kinds[i], warehouse.AssetKey{Site: k.Site, Type: types[i], UID: uids[i]})
			}
			return nil
		})
	return unknown, err
}

// addAt adds an edge to the bundles of those of its ends that are asked for.
func (b *builder) addAt(bundles map[bundleKey]*bundle, from *ends, origin warehouse.AssetKey, kind string, target warehouse.AssetKey) {
	if len(b.r.Kinds) > 0 && !slices.Contains(b.r.Kinds, kind) || slices.Contains(b.r.ExceptKinds, kind) {
		return
	}
	add := func(u bundle, other warehouse.AssetKey) {
		if len(b.r.Types) > 0 && !slices.Contains(b.r.Types, other.Type) {
			return
		}
		u.kind, u.typ, u.site = kind, other.Type, other.Site
		key := bundleKey{u.of, direction(&u), kind, u.typ, u.site}
		there, ok := bundles[key]
		if !ok {
			u.seen = make(map[string]struct{})
			there = &u
			bundles[key] = there
		}
		if _, twice := there.seen[other.UID]; twice {
			return
		}
		there.seen[other.UID] = struct{}{}
		if _, known := b.places[other]; known {
			there.knownUIDs = append(there.knownUIDs, other.UID)
		} else {
			there.uids = append(there.uids, other.UID)
		}
	}
	if _, ok := from.keys[origin]; ok && b.r.Direction != In {
		add(bundle{of: origin, out: true}, target)
	}
	if b.r.Direction == Out {
		return
	}
	if _, ok := from.keys[target]; ok {
		add(bundle{of: target}, origin)
	}
	if k, ok := from.any[named{target.Type, target.UID}]; ok && k.Site != origin.Site && warehouse.Provider(k.Type) != warehouse.Provider(origin.Type) {
		add(bundle{of: k, far: true}, origin)
	}
}

// rows runs a statement with the limits of its class.
func (b *builder) rows(ctx context.Context, statement string, parameters []any, row func(driver.Rows) error) error {
	return b.engine.Rows(ctx, query.Interactive, "walking relations", statement, parameters, row)
}

// resolve finds what the edges of bundles name, and returns those bundles that are what they
// seem.
func (b *builder) resolve(ctx context.Context, bundles []bundle) (list []bundle, err error) {
	var keys []warehouse.AssetKey
	for i := range bundles {
		u := &bundles[i]
		if u.far {
			keys = append(keys, warehouse.AssetKey{Site: u.site, Type: u.of.Type, UID: u.of.UID})
		}
		for _, uid := range slices.Concat(u.knownUIDs, u.uids) {
			keys = append(keys, warehouse.AssetKey{Site: u.site, Type: u.typ, UID: uid})
		}
	}
	there, err := b.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	var elsewhere []query.Name
	for i := range bundles {
		u := &bundles[i]
		if warehouse.Provider(u.of.Type) == warehouse.Provider(u.typ) {
			continue
		}
		if b.unseen(u) {
			elsewhere = append(elsewhere, query.Name{Type: u.of.Type, UID: u.of.UID})
		}
		if !u.out {
			continue
		}
		for _, uid := range slices.Concat(u.knownUIDs, u.uids) {
			if there[warehouse.AssetKey{Site: u.site, Type: u.typ, UID: uid}] == nil {
				elsewhere = append(elsewhere, query.Name{Type: u.typ, UID: uid})
			}
		}
	}
	far := make(map[query.Name][]*query.Found)
	if len(elsewhere) > 0 {
		found, err := b.engine.FindAnywhere(ctx, b.scope, b.r.Moment, elsewhere)
		if err != nil {
			return nil, fmt.Errorf("looking up assets of a graph: %w", err)
		}
		for i := range found {
			n := query.Name{Type: found[i].Type, UID: found[i].UID}
			far[n] = append(far[n], &found[i])
		}
	}
	for _, u := range bundles {
		switch {
		case u.far && there[warehouse.AssetKey{Site: u.site, Type: u.of.Type, UID: u.of.UID}] != nil:
			continue // it is their own that they lead to
		case b.unseen(&u) && (u.far || len(far[query.Name{Type: u.of.Type, UID: u.of.UID}]) > 0):
			continue // it is another one that there is
		}
		at := func(uids []string) []*query.Found { return b.targets(&u, uids, there, far) }
		u.known = at(u.knownUIDs)
		if u.count <= b.r.Fold {
			u.members = append([]*query.Found{}, at(u.uids)...)
		}
		list = append(list, u)
	}
	return list, nil
}

// unseen reports whether a bundle is of edges, of another provider, to what there is not.
func (b *builder) unseen(u *bundle) bool {
	return !u.out && warehouse.Provider(u.of.Type) != warehouse.Provider(u.typ) && b.graph.Nodes[b.places[u.of]].Missing
}

// targets are the assets that the uids of a bundle stand for.
func (b *builder) targets(u *bundle, uids []string, there map[warehouse.AssetKey]*query.Found, far map[query.Name][]*query.Found) (list []*query.Found) {
	for _, uid := range uids {
		k := warehouse.AssetKey{Site: u.site, Type: u.typ, UID: uid}
		found := there[k]
		switch {
		case found != nil && !u.out && found.State == warehouse.Gone:
			// Its edges have ended with it.
		case found != nil:
			list = append(list, found)
		case !u.out:
			// What an edge leads from was there: it is not to be seen.
		case len(far[query.Name{Type: u.typ, UID: uid}]) > 0:
			list = append(list, far[query.Name{Type: u.typ, UID: uid}]...)
		default:
			list = append(list, &query.Found{AssetKey: k})
		}
	}
	return list
}
