package query_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// vectorFile is the file of vectors of package filter.
type vectorFile struct {
	Now       time.Time         `json:"now"`
	Kinds     map[string]string `json:"kinds"`
	Search    []string          `json:"search"`
	Relations []struct{ From, Kind, To string }
	Assets    map[string]struct {
		Name, UID, Type, Site, Region, Project, Status, State, Scope, Agent string
		Created, Updated, Observed                                          time.Time
		Labels                                                              map[string]string
		Document                                                            json.RawMessage
	}
	Vectors []struct {
		Filter string
		Match  []string
		Errors []any
	}
}

// TestVectors asks the engine what the vectors of package filter ask, of the same assets.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../../pkg/filter/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectorFile
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	w := warehousetest.New(t)
	layout, err := json.Marshal(map[string]any{"search": v.Search})
	if err != nil {
		t.Fatal(err)
	}
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
	stamp := uint64(hlc.FromTime(v.Now.Add(-time.Hour)))
	var silent []string
	names := map[string]string{}
	for name, a := range v.Assets {
		names[a.Site+" "+a.Type+" "+a.UID] = name
		origin := warehouse.Origin{Site: a.Site, AgentID: a.Agent, SpoolID: "s"}
		doc, err := document.Canonical(a.Document)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := document.Fields(doc)
		if err != nil {
			t.Fatal(err)
		}
		row := warehouse.AssetVersion{
			Origin: origin, Type: a.Type, UID: a.UID, Version: stamp, Operation: warehouse.Updated, Scope: a.Scope, Name: a.Name, Region: a.Region,
			Project: a.Project, Status: a.Status, Labels: a.Labels, Document: doc, Fields: fields, CreatedAt: a.Created, UpdatedAt: a.Updated,
			ObservedAt: a.Observed,
		}
		switch a.State {
		case "DELETED":
			row.Operation = warehouse.Deleted
		case "DISCONNECTED":
			silent = append(silent, a.Agent)
		}
		for _, r := range v.Relations {
			if r.From != name {
				continue
			}
			to := v.Assets[r.To]
			edge := warehouse.Relation{Site: a.Site, FromType: a.Type, FromUID: a.UID, Kind: r.Kind, ToType: to.Type, ToUID: to.UID, Version: stamp}
			if to.Type == "" {
				edge.ToType, edge.ToUID = "openstack.compute.Server", r.To
			}
			row.Edges, g.Relations = append(row.Edges, edge), append(g.Relations, edge)
		}
		g.Types = append(g.Types, warehouse.AssetType{Origin: origin, Name: a.Type, Layout: layout, Version: stamp})
		g.Versions = append(g.Versions, row)
	}
	types := &warehouse.Group{ID: uuid.New(), ReceivedAt: g.ReceivedAt, Types: g.Types}
	g.Types = nil
	for _, group := range []*warehouse.Group{types, g} {
		if err := w.Write(t.Context(), group); err != nil {
			t.Fatal(err)
		}
	}
	kinds := kindsOf{}
	for field, kind := range v.Kinds {
		f, err := query.ParseField("kinds", field)
		if err != nil {
			t.Fatal(err)
		}
		kinds[f.Name] = map[string]filter.Kind{"text": filter.Text, "number": filter.Numeric, "time": filter.Time, "duration": filter.Span}[kind]
	}
	e := query.New(query.Options{Warehouse: w, Now: func() time.Time { return v.Now }, Silent: func() []string { return silent }, Catalogue: kinds})
	// And once more as of now, when all has changed since.
	later := &warehouse.Group{ID: uuid.New(), ReceivedAt: g.ReceivedAt.Add(time.Second)}
	for _, row := range g.Versions {
		row.Version, row.Operation = uint64(hlc.FromTime(v.Now.Add(time.Hour))), warehouse.Deleted
		row.Name, row.Labels, row.Document, row.Fields, row.Edges = "gone", nil, []byte("{}"), nil, nil
		later.Versions = append(later.Versions, row)
	}
	for _, r := range g.Relations {
		r.Version, r.Deleted = uint64(hlc.FromTime(v.Now.Add(time.Hour))), true
		later.Relations = append(later.Relations, r)
	}
	var selections []query.Selection
	var wants [][]string
	held := 0
	hold := func() {
		for i, keys := range asked(t, e, selections) {
			var got []string
			for _, key := range keys {
				got = append(got, names[key])
			}
			if slices.Sort(got); !slices.Equal(got, wants[i]) {
				t.Errorf("%s at %v: the engine has %v, want %v", selections[i].Filter, selections[i].Moment.Time(), got, wants[i])
			}
		}
		held += len(selections)
		selections, wants = nil, nil
	}
	for _, moment := range []query.Moment{{}, query.At(v.Now)} {
		if !moment.Now() {
			if err := w.Write(t.Context(), later); err != nil {
				t.Fatal(err)
			}
		}
		for i, vector := range v.Vectors {
			selection := query.Selection{Filter: vector.Filter, Moment: moment,
				States: []warehouse.State{warehouse.Active, warehouse.Disconnected, warehouse.Gone}}
			if len(vector.Errors) > 0 {
				var wrong filter.Errors
				if _, err := e.Plan(t.Context(), query.All(), selection); !errors.As(err, &wrong) || len(wrong) != len(vector.Errors) {
					t.Errorf("%s: not its mistakes: %v", vector.Filter, err)
				}
				continue
			}
			if !moment.Now() {
				ascii := !strings.ContainsFunc(vector.Filter, func(r rune) bool { return r > 0x7f })
				switch {
				case ascii && i%3 > 0: // a third is enough: the past takes long
					continue
				case strings.Contains(vector.Filter, "state"): // who was silent at a moment is not known of the past
					continue
				case strings.HasPrefix(vector.Filter, "spec.replicas="): // of numbers the past has the shortest form, 3.0 is 3
					continue
				}
			}
			selections, wants = append(selections, selection), append(wants, vector.Match)
			if len(selections) == 10 {
				hold()
			}
		}
		if len(selections) > 0 {
			hold()
		}
	}
	if held < 500 {
		t.Errorf("only %d vectors", held)
	}
}
