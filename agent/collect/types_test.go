package collect

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// types returns the types in the spool as "name title layout".
func (a *agent) types() []string {
	var lines []string
	last := uint64(0)
	for _, r := range a.records(wirev1.Class_CLASS_ASSETS) {
		if t := r.GetAssetType(); t != nil {
			if t.GetVersion() <= last {
				a.t.Errorf("version %d of %s is not later than %d", t.GetVersion(), t.GetName(), last)
			}
			last = t.GetVersion()
			lines = append(lines, strings.TrimSpace(fmt.Sprint(t.GetName(), " ", t.GetTitle(), " ", string(t.GetLayout()))))
		}
	}
	return lines
}

// recorder returns a recorder over the stores of an agent that has nothing to
// collect, after it has told of the fake type.
func (a *agent) recorder() *Recorder {
	a.t.Helper()
	a.wait("type", func() bool { return len(a.types()) == 1 })
	stamp, err := a.seen.Clock()
	if err != nil {
		a.t.Fatal(err)
	}
	return &Recorder{Seen: a.seen, Spool: a.spool, Clock: hlc.New(stamp), Logger: slog.New(slog.DiscardHandler)}
}

func TestTypesAreRecordedBeforeTheirAssetsAndOnce(t *testing.T) {
	a := newAgent(t)
	a.list("s", fake.Listing{Assets: []fake.Asset{thing("a", `{}`)}})
	a.start()
	a.expect("a created")
	if first := a.records(wirev1.Class_CLASS_ASSETS)[0].GetAssetType(); first.GetName() != fake.TypeThing || first.GetTitle() != "Thing" {
		t.Errorf("the first record is not the type: %v", first)
	}
	// Neither new scopes nor a restart say it again.
	a.list("r", fake.Listing{Assets: []fake.Asset{thing("b", `{}`)}})
	a.expect("a created", "b created")
	a.stop()
	a.start()
	a.settle()
	if got := a.types(); !slices.Equal(got, []string{fake.TypeThing + " Thing"}) {
		t.Errorf("types %q", got)
	}
}

func TestRecordTypes(t *testing.T) {
	a := newAgent(t)
	a.start()
	defer a.stop()
	r := a.recorder()
	const one, two = `{"icon":"pod"}`, `{"icon":"node"}`
	kind := func(name, title, layout string) plugin.Type {
		return plugin.Type{Name: name, Title: title, Layout: json.RawMessage(layout)}
	}
	want := a.types()
	for _, step := range []struct {
		what  string
		types []plugin.Type
		want  []string
	}{
		{"new ones, in order", []plugin.Type{kind("t.B", "B", one), kind("t.A", "A", "")}, []string{"t.A A", "t.B B " + one}},
		{"the same again", []plugin.Type{kind("t.A", "A", ""), kind("t.B", "B", one)}, nil},
		{"another layout", []plugin.Type{kind("t.A", "A", one), kind("t.B", "B", two)}, []string{"t.A A " + one, "t.B B " + two}},
		{"another title", []plugin.Type{kind("t.A", "Aa", one)}, []string{"t.A Aa " + one}},
		{"the last of one name counts", []plugin.Type{kind("t.A", "X", ""), kind("t.A", "Aa", one)}, nil},
		{"a bad layout is left out", []plugin.Type{kind("t.A", "Aa", `{"icon":"dragon"}`)}, []string{"t.A Aa"}},
		{"a bad name is passed over", []plugin.Type{kind("", "X", one), kind("t\n", "X", one), kind("t.C", "C", two)}, []string{"t.C C " + two}},
		{"a secret in a title", []plugin.Type{kind("t.C", "password=hunter2hunter2", two)},
			[]string{"t.C " + r.text("password=hunter2hunter2") + " " + two}},
	} {
		if err := r.recordTypes(t.Context(), step.types); err != nil {
			t.Fatal(err)
		}
		want = append(want, step.want...)
		if got := a.types(); !slices.Equal(got, want) {
			t.Fatalf("%s: types %q, want %q", step.what, got, want)
		}
	}
	if r.text("password=hunter2hunter2") == "password=hunter2hunter2" {
		t.Error("nothing is redacted here")
	}
}

// TestManyLargeTypes has more than fits into one batch.
func TestManyLargeTypes(t *testing.T) {
	a := newAgent(t)
	a.start()
	defer a.stop()
	r := a.recorder()
	var types []plugin.Type
	for i := range 400 {
		large := fmt.Sprintf(`{"search":[%q]%s}`, fmt.Sprint("p", i), strings.Repeat(" ", layout.MaxSize-40))
		types = append(types, plugin.Type{Name: fmt.Sprintf("t.T%03d", i), Layout: json.RawMessage(large)})
	}
	for range 2 {
		if err := r.recordTypes(t.Context(), types); err != nil {
			t.Fatal(err)
		}
		if n := len(a.types()); n != 1+len(types) {
			t.Fatalf("%d types", n)
		}
	}
}
