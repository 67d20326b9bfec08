package host

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
)

// The boot time is corrected by seconds only; a reboot is a change.
func TestNoVolatileColumns(t *testing.T) {
	plugintest.NoVolatileColumns(t, types(), "boot.time")
}

// documents are the documents of the types, as they are where a machine has it
// all.
func documents(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{
		typeMachine: new(machine), typeService: new(service), typeBlockDevice: new(blockDevice), typePartition: new(partition),
		typeFilesystem: new(filesystem), typeInterface: new(netInterface), typeRoute: new(route),
	}
	for name, d := range all {
		fill(reflect.ValueOf(d).Elem())
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(text, &decoded); err != nil {
			t.Fatal(err)
		}
		all[name] = decoded
	}
	return all
}

// fill sets everything in v to something that is not zero.
func fill(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1e9, 0).UTC()))
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64, reflect.Float32:
		v.SetFloat(1)
	default:
		if v.CanInt() {
			v.SetInt(1)
		} else if v.CanUint() {
			v.SetUint(1)
		}
	}
}

func TestLayouts(t *testing.T) {
	whole := documents(t)
	for _, typ := range types() {
		l, err := layout.Parse(typ.Layout)
		if err != nil {
			t.Fatalf("%s: %v", typ.Name, err)
		}
		if len(l.Columns) < 3 || l.Icon == "" || len(l.Sections) == 0 {
			t.Errorf("%s: shows too little", typ.Name)
		}
		document := layout.Subject{Document: whole[typ.Name]}
		check := func(s layout.Subject, path string) {
			t.Helper()
			if path != "" && len(s.Values(path)) == 0 {
				t.Errorf("%s: no document has %s", typ.Name, path)
			}
		}
		columns := func(s layout.Subject, columns []layout.Column) {
			t.Helper()
			for _, c := range columns {
				check(s, c.Path)
				check(s, c.Of)
			}
		}
		columns(document, l.Columns)
		seen := []string{"Site", "Project", "Name", "State", "Since", "UID", "Region"} // what every list has
		for _, c := range l.Columns {
			if slices.Contains(seen, c.Title) {
				t.Errorf("%s: two columns are called %s", typ.Name, c.Title)
			}
			seen = append(seen, c.Title)
		}
		for _, path := range l.Search {
			check(document, path)
		}
		for _, s := range l.Sections {
			within := document
			if s.Path != "" {
				elements := document.Elements(s.Path)
				if len(elements) == 0 {
					t.Errorf("%s: no document has %s", typ.Name, s.Path)
					continue
				}
				within = elements[0]
			}
			columns(within, s.Columns)
		}
	}
}

// TestNothingStaleIsShown: a volatile value is as old as the last change of the asset,
// so sections that show one say so. Lists show none.
func TestSectionsSayWhatIsStale(t *testing.T) {
	for _, typ := range types() {
		l, err := layout.Parse(typ.Layout)
		if err != nil {
			t.Fatal(err)
		}
		volatile := func(path string) bool {
			return path != "boot.time" && slices.ContainsFunc(typ.Volatile,
				func(v string) bool { return path == v || strings.HasPrefix(path, v+".") })
		}
		for _, s := range l.Sections {
			for _, c := range s.Columns {
				if (volatile(c.Path) || volatile(c.Of)) != strings.Contains(s.Title, "easured at the last change") {
					t.Errorf("%s: %s in the section %s", typ.Name, c.Title, s.Title)
				}
			}
		}
	}
}
