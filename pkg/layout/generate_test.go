package layout

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestGenerate(t *testing.T) {
	text := Generate([]Known{
		{Path: "spec.nodeName", Assets: 90}, {Path: "replicas", Format: Number, Assets: 100}, {Path: "created_at", Format: Time, Assets: 100},
		{Path: "metadata.uid", Assets: 100}, {Path: "spec.ports.port", Format: Number, List: true, Assets: 100}, {Path: "rare", Assets: 1},
		{Path: "metadata.labels.app", Assets: 100}, {Path: "a.very.deep.flag", Format: Bool, Assets: 100}, {Path: "bad..path", Assets: 100},
		{Path: "name", Assets: 100},
	})
	l, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var columns []string
	for _, c := range l.Columns {
		columns = append(columns, c.Title+" "+string(c.Format))
	}
	if got := strings.Join(columns, ", "); got != "Created at age, Replicas number, Node name , Rare , Flag bool" {
		t.Errorf("columns: %s", got)
	}
	if len(l.Sections) != 2 || len(l.Sections[0].Columns) != 9 || l.Sections[0].Columns[5].Format != List {
		t.Errorf("sections: %+v", l.Sections)
	}
	if Generate(nil) != nil {
		t.Error("there is a layout of nothing")
	}
}

// TestGenerateAlwaysMakesLayouts has paths of all lengths, as many as there may be.
func TestGenerateAlwaysMakesLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	keys := []string{"a", "spec", "nodeName", "node_name", "x:y", "UPPER", "É", strings.Repeat("k", 100), "[", "]", "", "@name", "\x01", "0"}
	for range 300 {
		var known []Known
		for range r.IntN(500) {
			var path []string
			for range 1 + r.IntN(4) {
				path = append(path, keys[r.IntN(len(keys))])
			}
			known = append(known, Known{Path: strings.Join(path, "."), Format: []Format{"", Text, Number, Bool, Time, "odd"}[r.IntN(6)],
				List: r.IntN(4) == 0, Assets: r.Uint64N(100)})
		}
		if text := Generate(known); text != nil {
			if _, err := Parse(text); err != nil {
				t.Fatalf("%s\n%v\n%s", fmt.Sprint(known), err, text)
			}
		}
	}
}
