package warehouse_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

func event(site, id string, minutes int, change func(*warehouse.Event)) warehouse.Event {
	e := warehouse.Event{
		Origin: warehouse.Origin{Site: site, AgentID: "agent-1", SpoolID: "spool-1"}, ID: id, Type: "t.a", Source: "/sites/" + site + "/c/s",
		AssetType: "fake.test.Thing", AssetUID: "u-" + id, Time: at.Add(time.Duration(minutes) * time.Minute),
		Severity: "info", Message: "message " + id, Data: []byte(`{"n":1}`),
	}
	if change != nil {
		change(&e)
	}
	return e
}

func TestEvents(t *testing.T) {
	w := warehousetest.New(t)
	write := func(received time.Time, events ...warehouse.Event) {
		g := group()
		g.ReceivedAt, g.Events = received, events
		if err := w.Write(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	write(at,
		event("west", "a", 1, nil),
		event("west", "b", 2, func(e *warehouse.Event) { e.Severity, e.Type = "warning", "t.b" }),
		event("west", "c", 2, func(e *warehouse.Event) { e.Severity = "error" }),
		event("east", "a", 2, nil),
		event("east", "z", 0, func(e *warehouse.Event) { e.Time = time.Time{} }),
	)
	// Told of again: the newer holds, and counts once.
	for n := range 3 {
		write(at.Add(time.Duration(n+1)*time.Hour), event("west", "a", 1, func(e *warehouse.Event) { e.Message = fmt.Sprint("again ", n+1) }))
	}
	if n := warehousetest.Rows(t, w, "event"); n < 5 {
		t.Fatalf("%d rows", n)
	}

	ids := func(q warehouse.EventQuery) string {
		t.Helper()
		list, err := w.Events(t.Context(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		var got []string
		for _, e := range list {
			got = append(got, e.Site[:1]+"/"+e.ID)
		}
		return strings.Join(got, " ")
	}
	minute := func(n int) time.Time { return at.Add(time.Duration(n) * time.Minute) }
	for _, test := range []struct {
		q    warehouse.EventQuery
		want string
	}{
		{warehouse.EventQuery{}, "w/c w/b e/a w/a e/z"},
		{warehouse.EventQuery{Site: "east"}, "e/a e/z"},
		{warehouse.EventQuery{Type: "t.b"}, "w/b"},
		{warehouse.EventQuery{AssetUID: "u-a"}, "e/a w/a"},
		{warehouse.EventQuery{AssetUID: "u-a", AssetType: "other"}, ""},
		{warehouse.EventQuery{Severities: []string{"error", "warning"}}, "w/c w/b"},
		{warehouse.EventQuery{From: minute(2)}, "w/c w/b e/a"},
		{warehouse.EventQuery{Until: minute(2)}, "w/a e/z"},
		{warehouse.EventQuery{From: minute(1), Until: minute(2)}, "w/a"},
		{warehouse.EventQuery{Site: `x' OR 1=1 --\`}, ""},
	} {
		test.q.Limit = 10
		if got := ids(test.q); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.q, got, test.want)
		}
	}

	all, err := w.Events(t.Context(), warehouse.EventQuery{Limit: 10, WithData: true})
	if err != nil {
		t.Fatal(err)
	}
	newest := all[3]
	if newest.Message != "again 3" || string(newest.Data) != `{"n":1}` || !newest.Time.Equal(minute(1)) ||
		!newest.ReceivedAt.Equal(at.Add(3*time.Hour)) ||
		newest.AgentID != "agent-1" || newest.Source != "/sites/west/c/s" || !all[4].Time.IsZero() {
		t.Errorf("%+v", newest)
	}

	// Pages of every size have each event once, whatever happened at the same moment.
	for size := 1; size <= 5; size++ {
		var got []string
		for q := (warehouse.EventQuery{Limit: size}); ; {
			list, err := w.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				got = append(got, e.Site[:1]+"/"+e.ID)
			}
			if len(list) < size {
				break
			}
			last := list[size-1].Key()
			q.After = &last
		}
		if want := []string{"w/c", "w/b", "e/a", "w/a", "e/z"}; !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}

	types, err := w.EventTypes(t.Context(), warehouse.EventTypeQuery{Limit: 10})
	if err != nil || len(types) != 2 || types[0].Name != "t.a" || !types[0].Latest.Equal(minute(2)) || types[1].Name != "t.b" {
		t.Errorf("%+v, %v", types, err)
	}
	types, err = w.EventTypes(t.Context(), warehouse.EventTypeQuery{Site: "west", After: "t.a", Limit: 10})
	if err != nil || len(types) != 1 || types[0].Name != "t.b" {
		t.Errorf("behind t.a: %+v, %v", types, err)
	}
}
