package query

import (
	"fmt"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/filter"
)

// What a text is as a number, a moment or a duration is what package filter says, done
// once more in SQL. Each expression is NULL where the text is none.

// factors are what the units of numbers multiply with; small ones are divided by what parts says.
var factors = func() (units, values string) {
	table := []struct {
		unit  string
		value float64
	}{
		{"n", 1}, {"u", 1}, {"m", 1}, {"", 1}, {"B", 1},
		{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18},
		{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"EB", 1e18},
		{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50}, {"Ei", 1 << 60},
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50}, {"EiB", 1 << 60},
	}
	names, numbers := make([]string, len(table)), make([]string, len(table))
	for i, u := range table {
		names[i], numbers[i] = "'"+u.unit+"'", fmt.Sprintf("%.1f", u.value)
	}
	return "[" + strings.Join(names, ", ") + "]", "[" + strings.Join(numbers, ", ") + "]"
}

const (
	parts   = `transform(g[2], ['n', 'u', 'm'], [1e9, 1e6, 1e3], 1.)`
	digits  = `[0-9]+(?:\\.[0-9]+)?`
	numeric = `'^(-?` + digits + `(?:[eE][-+]?[0-9]{1,2})?) ?([A-Za-z]{0,3})$'`
	moments = `'^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\\.([0-9]{1,9}))?)?(Z|[-+][0-9]{2}:?[0-9]{2})?)?$'`
)

// once returns body with g for what is computed once.
func once(of, body string) string {
	return "arrayMap(g -> " + body + ", [" + of + "])[1]"
}

// number is filter.Number of a text: a Nullable(Float64).
func number(text string) string {
	units, values := factors()
	// Most numbers are short and whole.
	return fmt.Sprintf("if(match(%[1]s, '^[0-9]{1,15}$'), toFloat64OrNull(%[1]s), if(length(%[1]s) > 64 OR endsWith(%[1]s, ' '), NULL, "+
		"%[2]s))", text,
		once("extractGroups("+text+", "+numeric+")", fmt.Sprintf("toFloat64OrNull(g[1]) * nullIf(transform(g[2], %s, %s, 0.), 0.) / %s",
			units, values, parts)))
}

// moment is filter.Moment of a text: a Nullable(Int64) of milliseconds.
func moment(text string) string {
	part := func(i int) string { return fmt.Sprintf("toInt64OrZero(g[%d])", i) }
	first := "makeDate32(" + part(1) + ", " + part(2) + ", 1)"
	zone := "if(length(g[8]) < 5, 0, if(startsWith(g[8], '-'), -1, 1) * (toInt64OrZero(substring(g[8], 2, 2)) * 3600 + " +
		"toInt64OrZero(substring(g[8], -2)) * 60))"
	valid := strings.Join([]string{
		part(1) + " BETWEEN 1970 AND 2199", part(2) + " BETWEEN 1 AND 12", part(3) + " BETWEEN 1 AND 31",
		part(4) + " <= 23", part(5) + " <= 59", part(6) + " <= 59",
		"(length(g[8]) < 5 OR toInt64OrZero(substring(g[8], 2, 2)) <= 14 AND toInt64OrZero(substring(g[8], -2)) <= 59)",
		fmt.Sprintf("%s <= [31, if(%[2]s %% 4 = 0 AND (%[2]s %% 100 != 0 OR %[2]s %% 400 = 0), 29, 28), 31, 30, 31, 30, 31, 31, 30, 31, "+
			"30, 31][%[3]s]",
			part(3), part(1), part(2)),
	}, " AND ")
	return fmt.Sprintf("if(length(%s) > 64, NULL, %s)", text, once("extractGroups("+text+", "+moments+")",
		fmt.Sprintf("if(empty(g) OR NOT (%s), NULL, ((toInt64(toInt32(%s)) + %s - 1) * 86400 + %s * 3600 + %s * 60 + %s - %s) * 1000 + "+
			"toInt64OrZero(substring(concat(g[7], '000'), 1, 3)))", valid, first, part(3), part(4), part(5), part(6), zone)))
}

// duration is filter.Duration of a text: a Nullable(Float64) of seconds.
func duration(text string) string {
	units := []struct{ name, of string }{{"w", " * 604800"}, {"d", " * 86400"}, {"h", " * 3600"}, {"m", " * 60"}, {"s", ""}, {"ms", " / 1000"},
		{"us", " / 1000000"}, {"ns", " / 1000000000"}}
	expression, sum := "'^", ""
	for i, u := range units {
		expression += "(?:(" + digits + ")" + u.name + ")?"
		part := fmt.Sprintf("toFloat64OrZero(g[%d])%s", i+1, u.of)
		if sum = bracket(sum + " + " + part); i == 0 {
			sum = bracket(part)
		}
	}
	return fmt.Sprintf("multiIf(length(%[1]s) > 64 OR %[1]s = '', NULL, match(%[1]s, '^%[2]s$'), toFloat64OrNull(%[1]s), %[3]s)", text, digits,
		once("extractGroups("+text+", "+expression+"$')", "if(empty(g), NULL, "+sum+")"))
}

// order returns the condition of a comparison that asks which of two is more.
func (c *compiler) order(n *filter.Compare, o operand) string {
	op := n.Op.String()
	bound := n.Bound(c.KindOf(n.Field), c.now)
	switch bound.As {
	case filter.Numeric:
		place := c.s.Number(bound.Number)
		is := func(v string) string { return "ifNull(" + number(v) + " " + op + " " + place + ", 0)" }
		if o.each == nil {
			return o.any(is)
		}
		// Most numbers are whole, and alone.
		return fmt.Sprintf("%s AND if(match(%s, '^[0-9]{1,15}$'), toFloat64OrZero(%[2]s) %s %s, %s)", o.some, o.text, op, place, o.each(is))
	case filter.Span:
		place := c.s.Number(bound.Number)
		return o.once(func(v string) string { return "ifNull(" + duration(v) + " " + op + " " + place + ", 0)" })
	case filter.Time:
		place := c.s.Bind("Int64", fmt.Sprint(bound.Moment))
		return o.once(func(v string) string { return "ifNull(" + moment(v) + " " + op + " " + place + ", 0)" })
	}
	place := c.s.Text(bound.Text)
	return o.any(func(v string) string { return v + " " + op + " " + place })
}

// once is any, with the condition only once in it.
func (o *operand) once(is func(value string) string) string {
	if o.each == nil {
		return o.any(is)
	}
	return o.some + " AND " + o.each(is)
}

// KindOf is what the values of a field are.
func (p *Plan) KindOf(f filter.Field) filter.Kind {
	switch {
	case f.Space == filter.Fixed && isTime(f.Name):
		return filter.Time
	case f.Space == filter.Fixed:
		return filter.Text
	case f.Space == filter.Label || p.engine.catalogue == nil:
		return filter.Unknown
	}
	var path strings.Builder
	path.WriteString(f.Name)
	for _, k := range f.Picks {
		if k.Path != "" {
			path.WriteString("." + k.Path)
		}
	}
	return p.engine.catalogue.Kind(p.assetType(), path.String())
}

func isTime(name string) bool { return name == "created" || name == "updated" || name == "observed" }

// timeText is the text of a moment that an asset has, as filter.TimeFormat has it.
func timeText(column string) string {
	return "concat(replaceOne(toString(" + column + "), ' ', 'T'), 'Z')"
}

// compareTime returns the condition of a comparison with one of the moments that an asset
// has.
func (c *compiler) compareTime(n *filter.Compare) string {
	column := attributes[n.Field.Name]
	millis := "toUnixTimestamp64Milli(" + column + ")"
	some := millis + " != 0"
	o := single(timeText(column), some)
	exactly := func(v filter.Value, op string) string {
		at := *n
		at.Values = []filter.Value{v}
		return bracket(some + " AND " + millis + " " + op + " " + c.s.Bind("Int64", fmt.Sprint(at.Bound(filter.Time, c.now).Moment)))
	}
	switch n.Op {
	case filter.Exists:
		return some
	case filter.Equal:
		return c.either(n.Values, func(v filter.Value) string {
			if !v.Before && !v.After {
				return exactly(v, "=")
			}
			return bracket(o.any(func(text string) string { return part(text, c.s.Text(v.Text), v) }))
		})
	case filter.Has:
		return o.any(func(text string) string {
			return c.either(n.Values, func(v filter.Value) string { return c.has(text, v) })
		})
	case filter.Match:
		return o.any(func(text string) string { return "match(" + text + ", " + c.s.Text("(?s:"+n.Values[0].Text+")") + ")" })
	}
	return exactly(n.Values[0], n.Op.String())
}
