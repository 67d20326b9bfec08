//go:build e2e

package e2e

import (
	"reflect"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/test/chaos/ledger"
)

// gapsOf returns what an agent gave up of a class. Only a full disk makes it do so here.
func gapsOf(t *testing.T, db driver.Conn, e *edge, class string) []ledger.Gap {
	t.Helper()
	var rows []struct {
		First      uint64 `ch:"first_seq"`
		Last       uint64 `ch:"last_seq"`
		Reason     string `ch:"reason"`
		Versions   uint64 `ch:"versions"`
		AssetTypes uint64 `ch:"asset_types"`
		Events     uint64 `ch:"events"`
		Usages     uint64 `ch:"usages"`
		Unknown    uint64 `ch:"unknown"`
	}
	if err := db.Select(t.Context(), &rows, `
		SELECT first_seq, last_seq, reason, versions, asset_types, events, usages, unknown FROM gap FINAL
		WHERE site = {site:String} AND class = {class:String}`, clickhouse.Named("site", e.site), clickhouse.Named("class", class)); err != nil {
		t.Fatal(err)
	}
	var gaps []ledger.Gap
	for _, row := range rows {
		if !*chaosDisks || row.Reason != "disk" || row.Unknown+row.AssetTypes != 0 {
			t.Errorf("the %s gave up %s: %+v", e.name, class, row)
		}
		gaps = append(gaps, ledger.Gap{First: row.First, Last: row.Last, Versions: row.Versions, Events: row.Events, Usages: row.Usages})
	}
	return gaps
}

// compareVersions wants the rows to be exactly the journal's lines, in order, except
// for those that the gaps tell of.
func (e *edge) compareVersions(rows []version, gaps []ledger.Gap) {
	t, lines := e.agent.t, e.truth.lines
	t.Helper()
	arrived := make([]bool, len(lines))
	next := 0
	var left truth
	for _, row := range rows {
		i := int(row.Seq) - typeRecords - 1
		if n := slices.IndexFunc(gaps, func(g ledger.Gap) bool { return g.First <= row.Seq && row.Seq <= g.Last }); n >= 0 {
			// What is not given up has the last numbers of the gap's.
			i = max(next, int(gaps[n].First)-typeRecords-1)
			for i < min(int(gaps[n].Last)-typeRecords, len(lines)) && !lines[i].is(t, row) {
				i++
			}
		}
		if i < next || i >= len(lines) {
			t.Errorf("record %d (%s %s) is none of the journal's lines from %d on", row.Seq, row.Operation, row.UID, next+1)
			return
		}
		arrived[i], next = true, i+1
		line := lines[i]
		line.seq = row.Seq
		left.lines = append(left.lines, line)
	}
	compareVersions(t, &left, rows)
	var uids []string
	for _, line := range lines {
		uids = append(uids, line.uid)
	}
	sums, err := ledger.Versions(uids, arrived, typeRecords, gaps)
	if err != nil {
		t.Errorf("versions of %s: %v", e.site, err)
	}
	t.Logf("versions: %d of the journal's %d, %d given up in %d gaps", len(rows), len(lines), sums.GivenUp, len(gaps))
}

func (l truthLine) is(t *testing.T, row version) bool {
	return row.UID == l.uid && row.Operation == l.operation && reflect.DeepEqual(decode(t, row.Document), l.document)
}

// compareEvents wants each event once, and each period of usage with what was last said
// of it, except for what the gaps tell of. An agent that was killed, or could not write,
// may tell of something twice: of those the warehouse keeps one.
func (e *edge) compareEvents(db driver.Conn, gaps []ledger.Gap) {
	t := e.agent.t
	t.Helper()
	var told []ledger.Told
	events, periods := make(map[string]int), make(map[float64]int)
	for n, entry := range e.told {
		if entry.Event != nil {
			events[entry.Event.ID] = n
			told = append(told, ledger.Told{Key: entry.Event.ID, Event: true})
		} else {
			periods[entry.Usage.Quantity] = n
			told = append(told, ledger.Told{Key: entry.Usage.Start.String()})
		}
	}
	site := clickhouse.Named("site", e.site)
	var eventRows []struct {
		ID   string `ch:"id"`
		Type string `ch:"type"`
		Seq  uint64 `ch:"seq"`
	}
	if err := db.Select(t.Context(), &eventRows, "SELECT id, type, seq FROM event WHERE site = {site:String}", site); err != nil {
		t.Fatal(err)
	}
	var usageRows []struct {
		Start    int64   `ch:"from"`
		Quantity float64 `ch:"quantity"`
		Seq      uint64  `ch:"seq"`
	}
	if err := db.Select(t.Context(), &usageRows,
		"SELECT toUnixTimestamp64Milli(start) AS from, quantity, seq FROM usage WHERE site = {site:String}", site); err != nil {
		t.Fatal(err)
	}
	var rows []ledger.Row
	for _, row := range eventRows {
		n, ok := events[row.ID]
		if !ok {
			n = ledger.Other
			t.Logf("an event of another kind: %s", row.Type)
		}
		rows = append(rows, ledger.Row{Seq: row.Seq, Told: n})
	}
	for _, row := range usageRows {
		n, ok := periods[row.Quantity]
		if !ok || e.told[n].Usage.Start.UnixMilli() != row.Start {
			t.Errorf("the warehouse has a usage of %v, which the journal does not have", row.Quantity)
			continue
		}
		rows = append(rows, ledger.Row{Seq: row.Seq, Told: n})
	}
	sums, err := ledger.Events(told, rows, gaps, e.recorded)
	if err != nil {
		t.Errorf("events and usage of %s: %v", e.site, err)
	}
	where := " FINAL WHERE site = {site:String}"
	kept := count(t, db, "SELECT count() FROM event"+where+" AND type = 'cloud.reeve.test.chaos'", site)
	used := count(t, db, "SELECT count() FROM usage"+where, site)
	all := make(map[string]bool)
	for _, one := range told {
		all[one.Key] = true
	}
	if kept+used+sums.Lost != len(all) {
		t.Errorf("the warehouse has %d events and usage of %d periods, and %d are given up: that is not the %d of the journal", kept, used,
			sums.Lost, len(all))
	}
	t.Logf("events: %d of %d; usage: %d of %d periods; %d records, of which %d say again what one before said and %d were given up in %d gaps",
		kept, len(events), used, len(all)-len(events), e.recorded, sums.Repeated, sums.GivenUp, len(gaps))
}
