// Package query answers questions about the inventory: lists in any order, counts and single
// assets, now or as of any moment. What packages analyze and suggest ask is made of its plans.
//
// A question is a filter (package filter) with a few words beside it, a [Selection]. It
// becomes a tree, each name in it a field (an attribute, a label, or a path of the
// document) with the kind that the catalogue knows of it, and the tree one condition of
// SQL, which means exactly what the filter means in memory: [filter.Filter.Match]. Every
// value is a bound parameter, and no layer is skipped.
//
// Every method that reads takes a [Scope], which says whose assets may be looked at, and
// none reads without. What a statement may cost follows from its [Class].
//
// # Now
//
// The table asset has the newest version of each asset, and for a while older ones that
// are not merged away yet. Lists take two statements: candidates, in which older versions
// may be among them, then which of them are the newest. The rest reads with FINAL, which
// takes one statement, and of the map of fields only the columns that it needs.
//
// # As of a moment
//
// What has not changed since is the current row, if its version is not later than the
// moment. Only what has changed is looked for in asset_version: of each the newest version
// that is not later. Both give rows of the same columns ([Source]); what follows them is
// the same. Who was heard from at a moment is not known of the past: there an asset is
// ACTIVE or DELETED.
package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// Options of an Engine. All are required unless they say otherwise.
type Options struct {
	Warehouse *warehouse.Warehouse
	// Silent returns the agents that are not heard from.
	Silent func() []string
	// Catalogue may be nil: then no kinds are known, and no paths are unknown.
	Catalogue Catalogue
	// Thinned says in words what is not known any more of a moment, for assets of a site and a
	// type, where empty is all of them; nothing if all is. It may be nil.
	Thinned func(site, assetType string, at time.Time) string
	// Now is the clock for relative times; nil is time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
}

// Catalogue knows what paths the documents have. The empty type is all types.
type Catalogue interface {
	// Kind is what the values of a path of a type mostly are.
	Kind(assetType, path string) filter.Kind
	// Known reports whether any asset of a type ever had the path, or one below it, and
	// if not, which paths have names like it. Where it cannot tell it says so by true.
	Known(assetType, path string) (known bool, nearest []string)
	// Below returns the paths that begin with a path, itself among them, that assets have
	// which are not deleted. complete says that there are no others.
	Below(assetType, path string) (paths []string, complete bool)
}

// Engine answers questions about one warehouse. Its methods may be called concurrently.
type Engine struct {
	conn      driver.Conn
	warehouse *warehouse.Warehouse
	silent    func() []string
	catalogue Catalogue
	thinned   func(site, assetType string, at time.Time) string
	now       func() time.Time
	logger    *slog.Logger
}

// New returns an Engine.
func New(o Options) *Engine {
	e := &Engine{conn: o.Warehouse.Conn(), warehouse: o.Warehouse, silent: o.Silent, catalogue: o.Catalogue, now: o.Now, logger: o.Logger}
	if e.silent == nil {
		e.silent = func() []string { return nil }
	}
	if e.thinned = o.Thinned; e.thinned == nil {
		e.thinned = func(string, string, time.Time) string { return "" }
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	return e
}

// Now is the time by the clock of relative times.
func (e *Engine) Now() time.Time { return e.now() }

// Scope says which assets a caller may know of. The zero Scope has none.
type Scope struct{ all bool }

// All is the scope of those who may see everything.
func All() Scope { return Scope{all: true} }

// condition is what an asset of the scope fulfils.
func (sc Scope) condition() string {
	if sc.all {
		return ""
	}
	return "0"
}

// Everything reports whether there is nothing outside of the scope.
func (sc Scope) Everything() bool { return sc.all }

// Moment is as of when something is asked. The zero Moment is now.
type Moment struct{ at time.Time }

// At is a moment, to the millisecond: what happened within it has happened.
func At(t time.Time) Moment { return Moment{at: t.UTC().Truncate(time.Millisecond)} }

// Now reports whether the moment is now.
func (m Moment) Now() bool { return m.at.IsZero() }

// Time is when it is: zero for now.
func (m Moment) Time() time.Time { return m.at }

// stamp is the last version that is not later.
func (m Moment) stamp() uint64 { return uint64(hlc.FromTime(m.at)) | (1<<16 - 1) }

// Selection says which assets are asked for.
type Selection struct {
	// Filter is one of package filter. Empty selects everything.
	Filter string
	// Site, Type and States narrow further, unless they are empty. Without States, and
	// where the filter does not ask for a state, deleted assets are left out.
	Site, Type string
	States     []warehouse.State
	Moment     Moment
	// Strict makes an error of a path that no asset has.
	Strict bool
	Class  Class
}

// Answered is what each answer says of its question.
type Answered struct {
	// Filter is the canonical form of the filter.
	Filter string
	// Warnings are what is probably meant otherwise, with its place in the filter.
	Warnings []*filter.Error
}

// ErrRequest is what errors of a request are that are no errors of its filter.
var ErrRequest = errors.New("the request cannot be answered")

// RequestError says which part of a request is wrong.
type RequestError struct {
	// Part is the name of a field of the request.
	Part   string
	Reason error
}

// Error implements error.
func (e *RequestError) Error() string { return e.Part + ": " + e.Reason.Error() }

// Unwrap returns the reason.
func (e *RequestError) Unwrap() []error { return []error{ErrRequest, e.Reason} }

func wrong(part, format string, args ...any) error {
	return &RequestError{Part: part, Reason: fmt.Errorf(format, args...)}
}

// Plan is a selection that is understood: what a statement of whatever question about it is
// made of.
type Plan struct {
	engine    *Engine
	scope     Scope
	selection Selection
	// Filter is the selection's, and Answered what the answer says of it.
	Filter   *filter.Filter
	Answered Answered
	// now is what relative times are relative to.
	now time.Time
	// states says that the filter asks for states by itself.
	states bool
	silent []string
}

// Plan understands a selection.
func (e *Engine) Plan(ctx context.Context, scope Scope, selection Selection) (*Plan, error) {
	p := &Plan{engine: e, scope: scope, selection: selection, now: e.now()}
	if !selection.Moment.Now() {
		// What is a week ago is so as of that moment.
		p.now = selection.Moment.Time()
	}
	var err error
	if p.Filter, err = filter.Parse(selection.Filter); err != nil {
		return nil, err
	}
	p.Answered = Answered{Filter: p.Filter.Canonical(), Warnings: slices.Clone(p.Filter.Warnings)}
	p.states = asksState(p.Filter.Root)
	p.silent = e.silent()
	slices.Sort(p.silent)
	if err := p.check(); err != nil {
		return nil, err
	}
	if !selection.Moment.Now() {
		p.WarnThin(selection.Moment.Time())
	}
	return p, nil
}

// Selection returns what the plan is of.
func (p *Plan) Selection() Selection { return p.selection }

// WarnThin has the answer say if not all is known any more of one of some moments: of the
// first of which that is so.
func (p *Plan) WarnThin(moments ...time.Time) {
	for _, at := range moments {
		if text := p.engine.thinned(p.selection.Site, p.assetType(), at); text != "" {
			p.Answered.Warnings = append(p.Answered.Warnings, &filter.Error{Message: text})
			return
		}
	}
}

// assetType is the one type that is asked for, if there is one.
func (p *Plan) assetType() string {
	if p.selection.Type != "" {
		return p.selection.Type
	}
	for _, n := range Conjuncts(p.Filter.Root) {
		c, ok := n.(*filter.Compare)
		if ok && c.Field.Space == filter.Fixed && c.Field.Name == "type" && c.Op == filter.Equal && len(c.Values) == 1 && !c.Values[0].Before &&
			!c.Values[0].After {
			return c.Values[0].Text
		}
	}
	return ""
}

// check warns of paths that no asset has.
func (p *Plan) check() error {
	if p.engine.catalogue == nil {
		return nil
	}
	unknown := p.unknown(p.Filter.Root)
	if len(unknown) > 0 && p.selection.Strict {
		return unknown
	}
	p.Answered.Warnings = append(p.Answered.Warnings, unknown...)
	return nil
}

// unknown are the paths in a filter that no asset has.
func (p *Plan) unknown(root filter.Node) (list filter.Errors) {
	look := func(kind string, root filter.Node) {
		filter.Walk(root, func(n filter.Node) bool {
			if _, other := n.(*filter.Related); other {
				return false
			}
			c, ok := n.(*filter.Compare)
			if !ok || c.Field.Space != filter.Document {
				return true
			}
			if known, near := p.engine.catalogue.Known(kind, c.Field.Name); !known {
				list = append(list, unknownPath(c.Field, kind, near))
			}
			return true
		})
	}
	look(p.assetType(), root)
	filter.Walk(root, func(n filter.Node) bool {
		if r, ok := n.(*filter.Related); ok {
			look("", r.Node)
		}
		return true
	})
	return list
}

// doubt takes down what no asset has of a part of the request beside the selection's filter, which
// has no place for it. It is an error where the selection is strict.
func (p *Plan) doubt(part string, unknown filter.Errors) error {
	for _, e := range unknown {
		if p.selection.Strict {
			return Wrong(part, "%s", e.Message)
		}
		p.Answered.Warnings = append(p.Answered.Warnings, &filter.Error{Message: part + ": " + e.Message})
	}
	return nil
}

// Field reads a field that is sorted by, shown, grouped by or added up. A path that no asset has
// is a warning of the answer, or an error where the selection is strict.
func (p *Plan) Field(part, text string) (filter.Field, error) {
	f, err := ParseField(part, text)
	if err != nil || f.Space != filter.Document || p.engine.catalogue == nil {
		return f, err
	}
	if known, near := p.engine.catalogue.Known(p.assetType(), f.Name); !known {
		return f, p.doubt(part, filter.Errors{unknownPath(f, p.assetType(), near)})
	}
	return f, nil
}

// FilterOf reads a filter beside that of the selection, in a part of the request.
func (p *Plan) FilterOf(part, text string) (*filter.Filter, error) {
	f, err := filter.Parse(text)
	if err != nil {
		return nil, &RequestError{Part: part, Reason: err}
	}
	if p.engine.catalogue == nil {
		return f, nil
	}
	return f, p.doubt(part, p.unknown(f.Root))
}

// fixedNames are those of the fields that every asset has.
var fixedNames = func() (list []string) {
	for _, f := range filter.FixedFields {
		list = append(list, f.Name)
	}
	return list
}()

func unknownPath(f filter.Field, kind string, near []string) *filter.Error {
	of := "asset"
	if kind != "" {
		of = kind
	}
	e := &filter.Error{Message: fmt.Sprintf("no %s has %s", of, f.Name)}
	e.Start, e.End = f.Span()
	if !strings.Contains(f.Name, ".") {
		e.Mends = nearest.Words(f.Name, fixedNames)
	}
	for _, name := range near {
		e.Mends = append(e.Mends, filter.Field{Space: filter.Document, Name: name}.String())
	}
	if len(e.Mends) > 0 {
		e.Message += "; is it " + strings.Join(e.Mends, " or ") + "?"
	}
	return e
}

// Binding is what a page token holds for: the same question and moment.
func (p *Plan) Binding() string {
	return fmt.Sprintf("%q %q %q %v %d %v", p.Answered.Filter, p.selection.Site, p.selection.Type, p.selection.States,
		p.selection.Moment.Time().UnixMilli(), p.scope)
}
