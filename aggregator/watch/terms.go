package watch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/filter"
)

// terms are what a watch holds versions against.
type terms struct {
	plan *query.Plan
	// fixed are the terms that go by what never changes of an asset, all of which hold of
	// what passes the filter.
	fixed      filter.Filter
	site, kind string
	// unclear are the comparisons of which it depends on the kind of the field's values how
	// they are understood, and known what was known of it.
	unclear []*filter.Compare
	known   string
	env     filter.Env
}

// termsOf returns what a watch of a plan needs, or filter.Errors if it cannot be watched.
func termsOf(p *query.Plan, now time.Time) (*terms, error) {
	selection := p.Selection()
	t := &terms{plan: p, site: selection.Site, kind: selection.Type}
	kinds := make(map[filter.Pos]filter.Kind)
	t.env = filter.Env{Now: now, Kind: func(f filter.Field) filter.Kind { return kinds[f.Pos] }}
	var errs filter.Errors
	refuse := func(n filter.Node, message string, mends ...string) {
		start, end := n.Span()
		errs = append(errs, &filter.Error{Start: start, End: end, Message: message, Mends: mends})
	}
	filter.Walk(p.Filter.Root, func(n filter.Node) bool {
		switch n := n.(type) {
		case *filter.Word:
			word := filter.Quote(n.Text)
			refuse(n, "a word alone is looked for where the type's layout says, which may change without the asset, so it cannot be watched: name the field",
				"name:"+word, "uid:"+word)
		case *filter.Related:
			refuse(n, "relations change with other assets, so they cannot be watched: watch the other assets with a filter of their own, or ask for "+
				"a path of the document that says the same, such as spec.nodeName")
			return false
		case *filter.Compare:
			switch f := n.Field; {
			case f.Space == filter.Fixed && f.Name == "state":
				refuse(n, "the state changes with whether an agent is heard from, so it cannot be watched: leave it out; a deleted asset is told of as "+
					"one that left")
			case relative(n, p.KindOf(f), now):
				refuse(n, "a moment that is told from now changes by itself, so it cannot be watched: write the moment", absolute(n, now)...)
			case f.Space == filter.Document && n.Op.Ordering():
				kinds[f.Pos] = p.KindOf(f)
				if unclear(n, now) {
					t.unclear = append(t.unclear, n)
				}
			}
		}
		return true
	})
	if len(errs) > 0 {
		return nil, errs
	}
	var fixed []filter.Node
	for _, n := range query.Conjuncts(p.Filter.Root) {
		if c, ok := n.(*filter.Compare); ok && c.Field.Space == filter.Fixed && slices.Contains([]string{"site", "type", "uid"}, c.Field.Name) {
			fixed = append(fixed, n)
		}
	}
	switch len(fixed) {
	case 0:
	case 1:
		t.fixed.Root = fixed[0]
	default:
		t.fixed.Root = &filter.And{Nodes: fixed}
	}
	t.known = t.kinds()
	return t, nil
}

// relative reports whether a comparison is with a moment that is told from now.
func relative(c *filter.Compare, kind filter.Kind, now time.Time) bool {
	switch {
	case c.Op.Ordering():
		_, absolute := filter.Moment(c.Values[0].Text)
		return !absolute && c.Bound(kind, now).As == filter.Time
	case c.Op == filter.Equal && kind == filter.Time && c.Field.Space == filter.Fixed:
		return slices.ContainsFunc(c.Values, func(v filter.Value) bool {
			_, absolute := filter.Moment(v.Text)
			return !absolute && !v.Before && !v.After
		})
	}
	return false
}

// absolute is a comparison with the moment that is meant today.
func absolute(c *filter.Compare, now time.Time) []string {
	if len(c.Values) != 1 {
		return nil
	}
	at := time.UnixMilli(c.Bound(filter.Time, now).Moment).UTC()
	return []string{c.Field.String() + c.Op.String() + at.Format(time.RFC3339)}
}

// unclear reports whether the kind of a field's values decides how a comparison is understood.
func unclear(c *filter.Compare, now time.Time) bool {
	first := c.Bound(filter.Unknown, now)
	return slices.ContainsFunc([]filter.Kind{filter.Text, filter.Bool, filter.Numeric, filter.Time, filter.Span}, func(k filter.Kind) bool {
		return c.Bound(k, now) != first
	})
}

// kinds says how the comparisons are understood that could be understood otherwise.
func (t *terms) kinds() string {
	var b strings.Builder
	for _, c := range t.unclear {
		b.WriteString(strconv.Itoa(int(c.Bound(t.plan.KindOf(c.Field), t.env.Now).As)))
	}
	return b.String()
}

// changed reports whether comparisons are understood otherwise now.
func (t *terms) changed() bool { return len(t.unclear) > 0 && t.kinds() != t.known }

// passes reports whether an asset is in the set by a version of it.
func (t *terms) passes(v *version) (bool, error) {
	if v.Operation == warehouse.Deleted || !t.asked(v.Site, v.Type) {
		return false, nil
	}
	return t.plan.Filter.Match(&v.seen, &t.env)
}

func (t *terms) asked(site, kind string) bool {
	return (t.site == "" || t.site == site) && (t.kind == "" || t.kind == kind)
}

// transitions returns what a step does to the set.
func (t *terms) transitions(s *step, documents bool) (list []Transition, err error) {
	for _, a := range s.assets {
		if !t.asked(a.Site, a.Type) {
			continue
		}
		if ok, err := t.fixed.Match(&filter.Asset{Site: a.Site, Type: a.Type, UID: a.UID}, &t.env); !ok || err != nil {
			if err != nil {
				return nil, fmt.Errorf("a filter: %w", err)
			}
			continue
		}
		newest, in := a.before, false
		if newest != nil {
			if in, err = t.passes(newest); err != nil {
				return nil, fmt.Errorf("a filter: %w", err)
			}
		}
		for _, v := range a.fresh {
			if newest != nil && (v.Version < newest.Version || v.Version == newest.Version && v.same(newest)) {
				continue // it came late, or once more
			}
			unsure := newest == nil && v.Operation != warehouse.Created
			was := in
			if in, err = t.passes(v); err != nil {
				return nil, fmt.Errorf("a filter: %w", err)
			}
			newest = v
			tr := Transition{Unsure: unsure, Version: &v.Change}
			switch {
			case in && (was || unsure):
				tr.Kind = Changed
			case in:
				tr.Kind = Entered
			case was || unsure:
				tr.Kind = Left
			default:
				continue
			}
			if !documents {
				slim := v.Change
				slim.Document = nil
				tr.Version = &slim
			}
			list = append(list, tr)
		}
	}
	return list, nil
}
