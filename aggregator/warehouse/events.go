package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ReceivedEvent is an event with the time at which it was received.
type ReceivedEvent struct {
	Event
	ReceivedAt time.Time
}

// EventKey is the key of an event, and, backwards, the order in which events are
// listed: what happened at the same moment is in some order, but always in the same.
type EventKey struct {
	// Time is in Unix milliseconds.
	Time             int64
	Site, Source, ID string
}

// Key returns the key of the event.
func (e *Event) Key() EventKey {
	return EventKey{Time: orZero(e.Time).UnixMilli(), Site: e.Site, Source: e.Source, ID: e.ID}
}

// EventQuery selects events. Empty fields select everything.
type EventQuery struct {
	Site, Type          string
	AssetType, AssetUID string
	Severities          []string
	// From is the first moment, Until the one behind the last.
	From, Until time.Time
	// After continues a listing behind a key.
	After *EventKey
	Limit int
	// WithData reads the data too.
	WithData bool
}

// Events lists events, the newest first.
func (w *Warehouse) Events(ctx context.Context, q EventQuery) ([]ReceivedEvent, error) {
	var list []ReceivedEvent
	// An event that was told of again may be there twice until parts are merged.
	// FINAL would merge them all to find a page of them; so the rows of a page are
	// looked for by their keys alone, and what is there twice is left out here.
	for len(list) < q.Limit {
		rows, err := w.eventRows(ctx, q, q.Limit-len(list))
		if err != nil {
			return nil, fmt.Errorf("listing events: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		rows = slices.CompactFunc(rows, func(a, b ReceivedEvent) bool { return a.Key() == b.Key() })
		list = append(list, rows...)
		last := rows[len(rows)-1].Key()
		q.After = &last
	}
	return list, nil
}

// eventRows returns the rows of the next events, up to limit of them. Of an event
// the newest row comes first.
func (w *Warehouse) eventRows(ctx context.Context, q EventQuery, limit int) ([]ReceivedEvent, error) {
	var c where
	c.equal("site", q.Site)
	c.equal("type", q.Type)
	c.equal("asset_type", q.AssetType)
	c.equal("asset_uid", q.AssetUID)
	if len(q.Severities) > 0 {
		c.add("has({severities:Array(String)}, severity)", clickhouse.Named("severities", q.Severities))
	}
	if !q.From.IsZero() {
		c.add("time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')", clickhouse.Named("from", fmt.Sprint(q.From.UnixMilli())))
	}
	if !q.Until.IsZero() {
		c.add("time < fromUnixTimestamp64Milli({until:Int64}, 'UTC')", clickhouse.Named("until", fmt.Sprint(q.Until.UnixMilli())))
	}
	if k := q.After; k != nil {
		c.add("time <= fromUnixTimestamp64Milli({after_time:Int64}, 'UTC')")
		c.add("(toUnixTimestamp64Milli(time), site, source, id) < ({after_time:Int64}, {after_site:String}, {after_source:String}, "+
			"{after_id:String})",
			clickhouse.Named("after_time", fmt.Sprint(k.Time)), clickhouse.Named("after_site", k.Site),
			clickhouse.Named("after_source", k.Source), clickhouse.Named("after_id", k.ID))
	}
	data := "''"
	if q.WithData {
		data = "data"
	}
	all := c.String()
	page := "(site, time, source, id) IN (SELECT site, time, source, id FROM event" + all +
		fmt.Sprintf(" ORDER BY time DESC, site DESC, source DESC, id DESC LIMIT %d)", limit)
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT site, id, type, source, asset_type, asset_uid, time, severity, message, %s, `+
		`received_at, agent_id
		FROM event WHERE %s ORDER BY time DESC, site DESC, source DESC, id DESC, received_at DESC`,
		data, strings.Join(append(c.conditions, page), " AND ")), c.parameters...)
	if err != nil {
		return nil, err
	}
	return scan(rows, func(e *ReceivedEvent) []any {
		return []any{&e.Site, &e.ID, &e.Type, &e.Source, &e.AssetType, &e.AssetUID, (*moment)(&e.Time), &e.Severity, &e.Message,
			(*text)(&e.Data), (*moment)(&e.ReceivedAt), &e.AgentID}
	})
}

// EventType is a type of the events that there are.
type EventType struct {
	Name string
	// Latest is when the newest of them happened.
	Latest time.Time
}

// EventTypeQuery selects types of events. Empty fields select everything.
type EventTypeQuery struct {
	Site string
	// After continues a listing behind a name.
	After string
	Limit int
}

// EventTypes lists the types of events, in the order of their names.
func (w *Warehouse) EventTypes(ctx context.Context, q EventTypeQuery) ([]EventType, error) {
	var c where
	c.equal("site", q.Site)
	if q.After != "" {
		c.add("type > {after:String}", clickhouse.Named("after", q.After))
	}
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT type, max(time) FROM event%s GROUP BY type ORDER BY type LIMIT %d`, c.String(),
		q.Limit), c.parameters...)
	if err != nil {
		return nil, fmt.Errorf("listing types of events: %w", err)
	}
	return scan(rows, func(t *EventType) []any { return []any{&t.Name, (*moment)(&t.Latest)} })
}
