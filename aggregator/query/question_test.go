package query_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/filter"
)

// generator makes random questions about an estate.
type generator struct {
	*rand.Rand
	estate *estate
	// steps is how many relations it is within.
	steps int
}

func (g *generator) question(depth int) question {
	switch n := g.IntN(10); {
	case depth > 0 && n < 2:
		return g.join(depth, "AND")
	case depth > 0 && n < 4:
		return g.join(depth, "OR")
	case depth > 0 && n < 5:
		q := g.question(depth - 1)
		return question{"NOT (" + q.text + ")", func(v *state, at func(*thing) *state) bool { return !q.holds(v, at) }}
	case depth > 0 && n < 6 && g.steps < filter.MaxSteps:
		return g.related(depth)
	}
	switch g.IntN(6) {
	case 0:
		return g.fixed()
	case 1:
		return g.moment()
	case 2:
		return g.label()
	case 3:
		return g.picked()
	case 4:
		return g.word()
	}
	return g.path()
}

func (g *generator) join(depth int, by string) question {
	a, b := g.question(depth-1), g.question(depth-1)
	return question{"(" + a.text + ") " + by + " (" + b.text + ")", func(v *state, at func(*thing) *state) bool {
		if by == "AND" {
			return a.holds(v, at) && b.holds(v, at)
		}
		return a.holds(v, at) || b.holds(v, at)
	}}
}

// compare makes a comparison of a field that is written so, and has these texts.
func (g *generator) compare(field string, texts func(*state) []string, values []string) question {
	value := pick(g.Rand, values)
	part := value
	if runes := []rune(value); len(runes) > 1 {
		from := g.IntN(len(runes))
		part = string(runes[from : from+1+g.IntN(len(runes)-from)])
	}
	some := func(is func(string) bool) func(*state, func(*thing) *state) bool {
		return func(v *state, _ func(*thing) *state) bool { return slices.ContainsFunc(texts(v), is) }
	}
	star := func(text string) string { return strings.ReplaceAll(quoted(text), `"`, "")[:0] + quoted(text) }
	_ = star
	switch g.IntN(11) {
	case 0:
		return question{field + ":*", some(func(string) bool { return true })}
	case 1:
		return question{field + "=" + quoted(value), some(func(s string) bool { return s == value })}
	case 2:
		yes := some(func(s string) bool { return s == value })
		return question{field + "!=" + quoted(value), func(v *state, at func(*thing) *state) bool { return !yes(v, at) }}
	case 3:
		return question{field + ":" + quoted(part), some(func(s string) bool { return strings.Contains(lower(s), lower(part)) })}
	case 4:
		return question{field + `="*` + quoted(part)[1:], some(func(s string) bool { return strings.HasSuffix(s, part) })}
	case 5:
		q := quoted(part)
		return question{field + "=" + q[:len(q)-1] + `*"`, some(func(s string) bool { return strings.HasPrefix(s, part) })}
	case 6:
		q := quoted(part)
		return question{field + `="*` + q[1:len(q)-1] + `*"`, some(func(s string) bool { return strings.Contains(s, part) })}
	case 7:
		other := pick(g.Rand, values)
		return question{field + "=(" + quoted(value) + " OR " + quoted(other) + ")", some(func(s string) bool {
			return s == value ||
				s == other
		})}
	case 8:
		re := "^" + regexp.QuoteMeta(part) + ".?|" + regexp.QuoteMeta(part) + "$"
		compiled := regexp.MustCompile("(?s:" + re + ")")
		return question{"regex(" + field + ", " + quotedExpression(re) + ")", some(compiled.MatchString)}
	case 9:
		q := quoted(part)
		return question{field + ":" + q[:len(q)-1] + `*"`, some(func(s string) bool { return strings.HasPrefix(lower(s), lower(part)) })}
	}
	return question{"-" + field + ":*", func(v *state, _ func(*thing) *state) bool { return len(texts(v)) == 0 }}
}

// quotedExpression puts quotes around an expression, in which backslashes stay.
func quotedExpression(re string) string { return `"` + strings.ReplaceAll(re, `"`, `\"`) + `"` }

func one(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func (g *generator) fixed() question {
	switch g.IntN(7) {
	case 0:
		return g.compare("name", func(v *state) []string { return one(v.name) }, []string{"alpha1", "Beta3", "ALPHA2", "ü4", `q"uo\te1`})
	case 1:
		return g.compare("status", func(v *state) []string { return one(v.status) }, []string{"up", "down", "Error", "UP"})
	case 2:
		return g.compare("type", func(v *state) []string { return one(v.of.kind) }, append(slices.Clone(kinds), "fake"))
	case 3:
		return g.compare("site", func(v *state) []string { return one(v.of.site) }, sites)
	case 4:
		return g.compare("project", func(v *state) []string { return one(v.project) }, []string{"p1", "p2"})
	case 5:
		value := pick(g.Rand, []string{"alpha1", "M", "u1", "Error"})
		return question{"name>" + quoted(value), func(v *state, _ func(*thing) *state) bool { return v.name > value && v.name != "" }}
	}
	return g.compare("uid", func(v *state) []string { return one(v.of.uid) }, []string{"u001", "u1", "u010", "u2"})
}

func (g *generator) moment() question {
	name, of := "created", func(v *state) time.Time { return v.created }
	if g.IntN(2) == 0 {
		name, of = "observed", func(v *state) time.Time { return v.observed }
	}
	at := time.Date(2026, 3, 1, g.IntN(72), g.IntN(2)*30, 0, 0, time.UTC)
	text := pick(g.Rand, []string{at.Format(time.RFC3339), at.In(time.FixedZone("", 7200)).Format(time.RFC3339)})
	if g.IntN(4) == 0 {
		hours := g.IntN(72)
		text, at = fmt.Sprintf("-%dh", hours), time.Time{}.Add(time.Duration(hours)*time.Hour)
	}
	op := pick(g.Rand, []string{"<", "<=", ">", ">="})
	relative := strings.HasPrefix(text, "-")
	return question{name + op + quoted(text), func(v *state, world func(*thing) *state) bool {
		if of(v).IsZero() {
			return false
		}
		bound := at
		if relative {
			bound = modelNow(world).Add(-at.Sub(time.Time{}))
		}
		return compared(op, of(v).Compare(bound))
	}}
}

// modelNow is what relative times are relative to, which the world of a moment knows.
func modelNow(world func(*thing) *state) time.Time { return world(nil).created }

func compared(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (g *generator) label() question {
	name := pick(g.Rand, []string{"app", "tier", "app.io/x", "ü"})
	if g.IntN(8) == 0 {
		return question{"labels:*", func(v *state, _ func(*thing) *state) bool { return len(v.labels) > 0 }}
	}
	if g.IntN(6) == 0 {
		return question{"labels." + name + `=""`, func(v *state, _ func(*thing) *state) bool { s, ok := v.labels[name]; return ok && s == "" }}
	}
	return g.compare("labels."+name, func(v *state) []string {
		if s, ok := v.labels[name]; ok {
			return []string{s}
		}
		return nil
	}, words)
}

func (g *generator) word() question {
	word := pick(g.Rand, []string{"alpha", "U00", "beta", "p1", "ü", "ALPHA1", "(", "zzz"})
	return question{quoted(word), func(v *state, _ func(*thing) *state) bool {
		texts := []string{v.name, v.of.uid, v.project}
		for _, l := range v.labels {
			texts = append(texts, l)
		}
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(lower(s), lower(word)) })
	}}
}

func (g *generator) path() question {
	at := func(path string) func(*state) []string { return func(v *state) []string { return v.texts[path] } }
	switch g.IntN(9) {
	case 0:
		return ordered(g, "spec.size", quantities, func(q string) (float64, bool) { n, ok := quantities[q]; return n, ok })
	case 1:
		return orderedMoments(g)
	case 2:
		return ordered(g, "spec.took", durations, func(q string) (float64, bool) { n, ok := durations[q]; return n, ok })
	case 3:
		// Containers have a value where there is one below.
		path := pick(g.Rand, []string{"spec", "meta", "meta.app", "meta.deep", "conditions", "conditions.sub", "spec.empty", "nothing"})
		return question{path + ":*", func(v *state, _ func(*thing) *state) bool {
			for p := range v.texts {
				if p == path || strings.HasPrefix(p, path+".") {
					return true
				}
			}
			return false
		}}
	case 4:
		member := pick(g.Rand, []string{"word", "app", "deep", "size", "emp", "app.io/name", "empty"})
		path := pick(g.Rand, []string{"spec", "meta"})
		return question{path + ":" + quoted(member), func(v *state, _ func(*thing) *state) bool {
			for p := range v.texts {
				if p == path+"."+member || strings.HasPrefix(p, path+"."+member+".") {
					return true
				}
			}
			return slices.ContainsFunc(v.texts[path], func(s string) bool { return strings.Contains(lower(s), lower(member)) })
		}}
	case 5:
		return g.compare("tags", at("tags"), words)
	case 6:
		path := pick(g.Rand, []string{"meta.app.io/name", "meta.deep.er.leaf", "conditions.sub.x", "conditions.status", "conditions.n"})
		return g.compare(path, at(path), append(slices.Clone(words), "True", "1", "2"))
	case 7:
		return g.compare("spec.flag", at("spec.flag"), []string{"true", "false"})
	}
	return g.compare("spec.word", at("spec.word"), words)
}

// numberOf is what made-up texts are as numbers.
func numberOf(text string) (float64, bool) {
	if n, ok := quantities[text]; ok {
		return n, true
	}
	n, ok := map[string]float64{"8": 8, "3": 3, "1": 1, "4": 4}[text]
	return n, ok
}

func ordered(g *generator, path string, of map[string]float64, value func(string) (float64, bool)) question {
	text := pickKey(g.Rand, of)
	bound, _ := value(text)
	op := pick(g.Rand, []string{"<", "<=", ">", ">="})
	isDuration := path == "spec.took"
	return question{path + op + quoted(text), func(v *state, _ func(*thing) *state) bool {
		return slices.ContainsFunc(v.texts[path], func(s string) bool {
			n, ok := numberOf(s)
			if isDuration {
				n, ok = value(s)
			}
			return ok && compared(op, cmp.Compare(n, bound))
		})
	}}
}

func orderedMoments(g *generator) question {
	text := pickKey(g.Rand, moments_)
	op := pick(g.Rand, []string{"<", "<=", ">", ">="})
	return question{"spec.when" + op + quoted(text), func(v *state, _ func(*thing) *state) bool {
		return slices.ContainsFunc(v.texts["spec.when"], func(s string) bool { return compared(op, moments_[s].Compare(moments_[text])) })
	}}
}

// picked asks for one element of conditions, and perhaps one of those in it.
func (g *generator) picked() question {
	wanted := pick(g.Rand, []string{"Ready", "Live", "3", "true", "none"})
	elements := func(v *state) []map[string]any {
		var list []map[string]any
		all, _ := v.doc["conditions"].([]any)
		for _, e := range all {
			if m, ok := e.(map[string]any); ok && fmt.Sprint(m["type"]) == wanted {
				list = append(list, m)
			}
		}
		return list
	}
	texts := func(v *state, path string) []string {
		found := make(map[string][]string)
		for _, e := range elements(v) {
			flatten(e, "", found)
		}
		return found[path]
	}
	field := "conditions[type=" + wanted + "]"
	switch g.IntN(5) {
	case 0:
		return g.compare(field+".status", func(v *state) []string { return texts(v, "status") }, []string{"True", "False", "nested"})
	case 1:
		return g.compare(field+".n", func(v *state) []string { return texts(v, "n") }, []string{"0", "1", "2", "3"})
	case 2:
		return g.compare(field+".sub.x", func(v *state) []string { return texts(v, "sub.x") }, words)
	case 3:
		return question{field + ":*", func(v *state, _ func(*thing) *state) bool {
			return slices.ContainsFunc(elements(v), func(m map[string]any) bool {
				found := make(map[string][]string)
				flatten(m, "", found)
				return len(found) > 0
			})
		}}
	}
	key := pick(g.Rand, []string{"v", "w"})
	return g.compare(field+".sub[k="+key+"].x", func(v *state) []string {
		found := make(map[string][]string)
		for _, e := range elements(v) {
			subs, _ := e["sub"].([]any)
			for _, sub := range subs {
				if m := sub.(map[string]any); m["k"] == key {
					flatten(m, "", found)
				}
			}
		}
		return found["x"]
	}, words)
}

// related asks for a neighbour.
func (g *generator) related(depth int) question {
	kind := pick(g.Rand, append([]string{"*"}, edgeKinds...))
	name := pick(g.Rand, []string{"related", "unrelated"})
	g.steps++
	inner := g.question(depth - 1)
	if g.IntN(3) == 0 && g.steps < filter.MaxSteps {
		inner = g.related(depth)
	}
	g.steps--
	text := name + "(" + kind + ", " + inner.text + ")"
	if g.IntN(5) == 0 {
		text, inner.holds = name+"("+kind+")", nil
	}
	things := g.estate.things
	provider := func(kind string) string { p, _, _ := strings.Cut(kind, "."); return p }
	return question{text, func(v *state, at func(*thing) *state) bool {
		// leads reports whether an edge of one asset is one to another.
		leads := func(from *state, e edge, to *thing) bool {
			return (kind == "*" || e.kind == kind) && e.toType == to.kind && e.toUID == to.uid &&
				(from.of.site == to.site || provider(from.of.kind) != provider(to.kind))
		}
		found := false
		if inner.holds == nil && slices.ContainsFunc(v.edges, func(e edge) bool { return kind == "*" || e.kind == kind }) {
			found = true
		}
		for _, t := range things {
			other := at(t)
			if found || other == nil {
				continue
			}
			touches := slices.ContainsFunc(v.edges, func(e edge) bool { return leads(v, e, t) }) ||
				slices.ContainsFunc(other.edges, func(e edge) bool { return leads(other, e, v.of) })
			found = touches && (inner.holds == nil || !other.deleted && inner.holds(other, at))
		}
		return found == (name == "related")
	}}
}
