package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse/embedded"
)

// sitesAtOnce bounds what a statement of the comparison has in memory.
const sitesAtOnce = 50

// comparison counts what the warehouse has and the truth.
type comparison struct {
	versions, wantVersions   uint64
	assets, wantAssets       int
	live, wantLive           int
	relations, wantRelations uint64
	events, wantEvents       uint64
	deadLetters              uint64
	// wrong counts by what is wrong, examples has the first few.
	wrong    map[string]int
	examples []string
}

func (r *comparison) fault(what, format string, args ...any) {
	r.wrong[what]++
	if len(r.examples) < 10 {
		r.examples = append(r.examples, what+": "+fmt.Sprintf(format, args...))
	}
}

// compare opens the warehouse of an aggregator that has stopped and holds it
// against what the agents know.
func compare(ctx context.Context, c *centre, agents []*agent) (_ *comparison, err error) {
	engine, err := embedded.Start(ctx, embedded.Options{
		Dir: filepath.Join(c.dir, "warehouse"), Library: c.library, Logger: slog.New(slog.DiscardHandler),
	}, []string{c.program, "engine"})
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := engine.Close(); err == nil {
			err = closeErr
		}
	}()
	o := embedded.ClientOptions(engine.DialContext)
	o.Auth.Database = "reeve"
	db, err := clickhouse.Open(o)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	r := &comparison{wrong: make(map[string]int)}
	for from := 0; from < len(agents); from += sitesAtOnce {
		if err := r.sites(ctx, db, agents[from:min(from+sitesAtOnce, len(agents))]); err != nil {
			return nil, err
		}
	}
	err = db.QueryRow(ctx, "SELECT count() FROM dead_letter").Scan(&r.deadLetters)
	return r, err
}

// sites compares some agents, each a site. Histories are counted without FINAL: a
// version that is there twice is there twice.
func (r *comparison) sites(ctx context.Context, db driver.Conn, agents []*agent) error {
	type name struct{ site, uid string }
	want := make(map[name]*state)
	for _, a := range agents {
		r.wantEvents += uint64(a.events)
		for i := range a.assets {
			s := &a.assets[i]
			v := a.Version(i, 1)
			want[name{a.site, v.GetUid()}] = s
			r.wantVersions += uint64(s.versions)
			r.wantAssets++
			if !s.deleted {
				r.wantLive++
				r.wantRelations += uint64(len(v.GetRelations()))
			}
		}
	}
	first, last := agents[0].site, agents[len(agents)-1].site
	between := func(s string) string { return s + " WHERE site BETWEEN {first:String} AND {last:String}" }
	bounds := []any{clickhouse.Named("first", first), clickhouse.Named("last", last)}

	rows, err := db.Query(ctx, between(`SELECT site, uid, count(), uniqExact(version), max(version), argMax(hash, version), `+
		`countIf(MD5(document) != hash)
		FROM asset_version`)+` GROUP BY site, uid`, bounds...)
	if err != nil {
		return err
	}
	found := 0
	for rows.Next() {
		var n name
		var count, different, newest, damaged uint64
		var hash string
		if err := rows.Scan(&n.site, &n.uid, &count, &different, &newest, &hash, &damaged); err != nil {
			return err
		}
		found++
		r.versions += count
		s := want[n]
		switch {
		case s == nil:
			r.fault("unknown", "%v", n)
		case count > different:
			r.fault("twice", "%v has %d rows of %d versions", n, count, different)
		case count != uint64(s.versions):
			r.fault("versions", "%v has %d, not %d", n, count, s.versions)
		case newest != s.stamp || hash != string(s.hash[:]):
			r.fault("newest", "%v has version %d", n, newest)
		case damaged > 0:
			r.fault("document", "%d documents of %v have another hash", damaged, n)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if found < len(want) {
		r.fault("missing", "%d assets have no history", len(want)-found)
	}

	rows, err = db.Query(ctx, between(`SELECT site, uid, version, hash, deleted, MD5(document) != hash FROM asset FINAL`), bounds...)
	if err != nil {
		return err
	}
	for rows.Next() {
		var n name
		var version uint64
		var hash string
		var deleted bool
		var damaged uint8
		if err := rows.Scan(&n.site, &n.uid, &version, &hash, &deleted, &damaged); err != nil {
			return err
		}
		r.assets++
		if !deleted {
			r.live++
		}
		if s := want[n]; s == nil || version != s.stamp || hash != string(s.hash[:]) || deleted != s.deleted || damaged != 0 {
			r.fault("state", "%v is at version %d, deleted %v", n, version, deleted)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for statement, into := range map[string]*uint64{
		between("SELECT count() FROM relation FINAL") + " AND dir = 'out' AND NOT deleted": &r.relations,
		between("SELECT count() FROM event"):                                               &r.events,
	} {
		var n uint64
		if err := db.QueryRow(ctx, statement, bounds...).Scan(&n); err != nil {
			return err
		}
		*into += n
	}
	return nil
}

// String prints the comparison, and says in the end whether the two are equal.
func (r *comparison) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "versions %d of %d (counted without FINAL), assets %d of %d, live %d of %d, relations %d of %d, events %d of %d, dead "+
		"letters %d",
		r.versions, r.wantVersions, r.assets, r.wantAssets, r.live, r.wantLive, r.relations, r.wantRelations, r.events, r.wantEvents,
		r.deadLetters)
	for _, e := range r.examples {
		s.WriteString("\n    " + e)
	}
	if len(r.wrong) > 0 {
		fmt.Fprintf(&s, "\n    all that is wrong, by kind: %v", r.wrong)
	}
	return s.String()
}

func (r *comparison) equal() bool {
	return len(r.wrong) == 0 && r.versions == r.wantVersions && r.assets == r.wantAssets && r.live == r.wantLive &&
		r.relations == r.wantRelations && r.events == r.wantEvents && r.deadLetters == 0
}
