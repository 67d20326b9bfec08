package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Path is what is known of a path of a type's documents.
type Path struct {
	Type, Path string
	// Kind is that of its values, as package catalogue names them; List says that some
	// assets have several.
	Kind string
	List bool
	// Assets is how many assets have it, and Sites where.
	Assets uint64
	Sites  []string
	Values []PathValue
	// More says that there are other values.
	More bool
	// Counted is when Assets and the values' were exact, or zero.
	Counted time.Time
	// Deleted says that no asset has it any more.
	Deleted bool
	// Version is when this was written: of two of a path the larger holds.
	Version uint64
}

// PathValue is a value, how many assets have it, and in which of the path's sites: bit
// i%8 of byte i/8 for site i.
type PathValue struct {
	Value  string
	Assets uint64
	Sites  []byte
}

// SetPaths takes note of paths.
func (w *Warehouse) SetPaths(ctx context.Context, paths []Path) error {
	fail := func(err error) error { return fmt.Errorf("writing the catalogue of paths: %w", err) }
	batch, err := w.conn.PrepareBatch(ctx, "INSERT INTO path (type, path, kind, list, assets, sites, values, counts, value_sites, more, counted_at, "+
		"deleted, version)")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = batch.Close() }() // which does nothing after Send, whose error counts
	for i := range paths {
		p := &paths[i]
		values, counts, sites := make([]string, len(p.Values)), make([]uint64, len(p.Values)), make([]string, len(p.Values))
		for j, v := range p.Values {
			values[j], counts[j], sites[j] = v.Value, v.Assets, string(v.Sites)
		}
		if err := batch.Append(p.Type, p.Path, p.Kind, p.List, p.Assets, p.Sites, values, counts, sites, p.More, orZero(p.Counted), p.Deleted,
			p.Version); err != nil {
			return fail(err)
		}
	}
	if err := batch.Send(); err != nil {
		return fail(err)
	}
	return nil
}

// Paths reads the whole catalogue, of which each row is given to take.
func (w *Warehouse) Paths(ctx context.Context, take func(Path)) error {
	fail := func(err error) error { return fmt.Errorf("reading the catalogue of paths: %w", err) }
	rows, err := w.conn.Query(ctx, `SELECT type, path, kind, list, assets, sites, values, counts, value_sites, more, counted_at, version
		FROM path FINAL WHERE NOT deleted`)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Path
		var values, sites []string
		var counts []uint64
		if err := rows.Scan(&p.Type, &p.Path, &p.Kind, &p.List, &p.Assets, &p.Sites, &values, &counts, &sites, &p.More, (*moment)(&p.Counted),
			&p.Version); err != nil {
			return fail(err)
		}
		for i := range values {
			p.Values = append(p.Values, PathValue{values[i], counts[i], []byte(sites[i])})
		}
		take(p)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// Limits of what is counted at once. A statement has one thread, waits for others, and
// passes over what it has not seen when it knows as many paths or values as it may:
// documents may have as many as somebody likes.
const (
	countMemory                = 192 << 20
	countedPaths, countedPairs = 50_000, 200_000
	countPatience              = 10 * time.Minute
	// splitValues has the values at a path, each once, but long ones.
	splitValues = `arrayDistinct(arrayFilter(v -> length(v) <= {length:UInt32}, splitByChar('\x1f', field.2)))`
	fieldsOf    = `(SELECT site, deleted, arrayJoin(CAST(fields, 'Array(Tuple(String, String))')) AS field FROM asset FINAL WHERE type = {type:String})`
)

func counting(ctx context.Context, keys int) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, countPatience)
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_threads": 1, "priority": 10, "max_memory_usage": countMemory, "max_rows_to_group_by": keys, "group_by_overflow_mode": "any",
		"max_block_size": 1024, "max_bytes_before_external_group_by": 0,
	})), cancel
}

// PathLimits bound what is counted of a type.
type PathLimits struct {
	// Paths is how many there are at most, those in most sites and assets first, Values
	// how many of each, and PathLength and ValueLength how many bytes they have.
	Paths, Values, PathLength, ValueLength int
}

// CountedPath is a path with some of the values there.
type CountedPath struct {
	Path
	Samples []string
}

// CountPaths counts the paths of a type over all of its assets, and the frequent values
// of each. A path that only deleted assets have is there with none.
func (w *Warehouse) CountPaths(ctx context.Context, kind string, limits PathLimits) ([]CountedPath, error) {
	parameters := []any{clickhouse.Named("type", kind), clickhouse.Named("length", strconv.Itoa(limits.ValueLength)),
		clickhouse.Named("path_length", strconv.Itoa(limits.PathLength))}
	counted := time.Now()
	whole, cancel := counting(ctx, countedPaths)
	defer cancel()
	rows, err := w.conn.Query(whole, fmt.Sprintf(`SELECT field.1 AS path, countIf(NOT deleted) AS n, groupUniqArray(site) AS sites,
			max(position(field.2, '\x1f') > 0), max(arrayExists(v -> length(v) > {length:UInt32}, splitByChar('\x1f', field.2))),
			groupArraySample(8, 1)(substring(field.2, 1, {length:UInt32}))
		FROM %s WHERE length(path) <= {path_length:UInt32} GROUP BY path ORDER BY length(sites) DESC, n DESC, path LIMIT %d`, fieldsOf, limits.Paths),
		parameters...)
	if err != nil {
		return nil, fmt.Errorf("counting the paths of %s: %w", kind, err)
	}
	list, err := scan(rows, func(p *CountedPath) []any {
		p.Type, p.Counted = kind, counted
		return []any{&p.Path.Path, &p.Assets, &p.Sites, (*flag)(&p.List), (*flag)(&p.More), &p.Samples}
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	places := make(map[string]*CountedPath, len(list))
	sites := make(map[string]map[string]int, len(list))
	for i := range list {
		p := &list[i]
		places[p.Path.Path], sites[p.Path.Path] = p, make(map[string]int, len(p.Sites))
		for n, site := range p.Sites {
			sites[p.Path.Path][site] = n
		}
	}
	pairs, cancelPairs := counting(ctx, countedPairs)
	defer cancelPairs()
	rows, err = w.conn.Query(pairs, fmt.Sprintf(`SELECT field.1 AS path, arrayJoin(%s) AS value, count() AS n, groupUniqArray(site) AS sites
		FROM %s WHERE NOT deleted AND length(path) <= {path_length:UInt32} GROUP BY path, value ORDER BY n DESC, path, value LIMIT %d BY path LIMIT %d`, splitValues,
		fieldsOf, limits.Values+1, limits.Paths*limits.Values), parameters...)
	if err != nil {
		return nil, fmt.Errorf("counting the values of %s: %w", kind, err)
	}
	type pair struct {
		path, value string
		n           uint64
		sites       []string
	}
	values, err := scan(rows, func(p *pair) []any { return []any{&p.path, &p.value, &p.n, &p.sites} })
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		p := places[v.path]
		if p == nil {
			continue
		}
		if len(p.Values) == limits.Values {
			p.More = true
			continue
		}
		bits := make([]byte, (len(p.Sites)+7)/8)
		for _, site := range v.sites {
			if n, ok := sites[v.path][site]; ok { // else it is new
				bits[n/8] |= 1 << (n % 8)
			}
		}
		p.Values = append(p.Values, PathValue{v.value, v.n, bits})
	}
	return list, nil
}

// flag scans a number that is one or zero.
type flag bool

// Scan implements sql.Scanner.
func (f *flag) Scan(src any) error {
	n, ok := src.(uint8)
	if !ok {
		return fmt.Errorf("a %T where a flag was expected", src)
	}
	*f = n != 0
	return nil
}

// ReceivedSince gives take the assets that were received since a moment, without their
// documents, and reports whether those were all: it stops behind so many. One that was
// replaced may be among them.
func (w *Warehouse) ReceivedSince(ctx context.Context, since time.Time, limit int, take func(*AssetVersion)) (all bool, err error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 1024, "max_threads": 1}))
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, type, fields FROM asset
		WHERE received_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') AND NOT deleted LIMIT %d`, limit+1),
		clickhouse.Named("since", strconv.FormatInt(since.UnixMilli(), 10)))
	if err != nil {
		return false, fmt.Errorf("reading what was received: %w", err)
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == limit {
			return false, nil
		}
		var v AssetVersion
		var fields map[string]string
		if err := rows.Scan(&v.Site, &v.Type, &fields); err != nil {
			return false, fmt.Errorf("reading what was received: %w", err)
		}
		for path, value := range fields {
			v.Fields = append(v.Fields, document.Field{Path: path, Value: value})
		}
		take(&v)
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("reading what was received: %w", err)
	}
	return true, nil
}

// TypeCounts returns how many assets each type has, deleted ones included.
func (w *Warehouse) TypeCounts(ctx context.Context) (map[string]uint64, error) {
	rows, err := w.conn.Query(ctx, "SELECT type, count() FROM asset FINAL GROUP BY type")
	if err != nil {
		return nil, fmt.Errorf("counting the assets of types: %w", err)
	}
	return scanMap(rows, func(name *string, n *uint64) []any { return []any{name, n} })
}
