package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// model is what filters mean, written down as plainly as can be and without any of what Match uses: each node
// over the decoded document of an asset. It is slow and sure.
type model struct {
	now       time.Time
	kinds     map[string]Kind
	things    map[string]*thing
	relations []relation
}

type relation struct{ From, Kind, To string }

type thing struct {
	fixed   map[string]string
	moments map[string]time.Time
	labels  map[string]string
	doc     any
	search  []string
	// texts are the values at each path.
	texts map[string][]string
}

func newThing(fixed map[string]string, labels map[string]string, doc []byte, search []string) *thing {
	t := &thing{fixed: fixed, moments: map[string]time.Time{}, labels: labels, texts: map[string][]string{}}
	for _, name := range []string{"created", "updated", "observed"} {
		if at, err := time.Parse(time.RFC3339, fixed[name]); err == nil {
			t.moments[name] = at.UTC().Truncate(time.Millisecond)
			fixed[name] = fmt.Sprintf("%s.%03dZ", at.UTC().Format("2006-01-02T15:04:05"), at.Nanosecond()/1e6)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&t.doc); err != nil {
		panic(err)
	}
	t.flatten("", t.doc)
	t.search = append(t.search, fixed["name"], fixed["uid"], fixed["project"])
	for _, v := range labels {
		t.search = append(t.search, v)
	}
	for _, path := range search {
		t.search = append(t.search, t.texts[path]...)
	}
	return t
}

func (t *thing) flatten(path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if path == "" {
				t.flatten(key, member)
			} else {
				t.flatten(path+"."+key, member)
			}
		}
	case []any:
		for _, e := range v {
			t.flatten(path, e)
		}
	default:
		if s := leaf(v); s != "" {
			t.texts[path] = append(t.texts[path], s)
		}
	}
}

func leaf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

func (t *thing) below(path string) bool {
	for p := range t.texts {
		if p == path || strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

// at returns what is at a path below values, trying all ways to part it into keys. Arrays are passed through, but for
// the last.
func at(values []any, path string) []any {
	var found []any
	for _, v := range values {
		switch v := v.(type) {
		case []any:
			found = append(found, at(v, path)...)
		case map[string]any:
			for key, member := range v {
				if key == path {
					found = append(found, member)
				} else if rest, ok := strings.CutPrefix(path, key+"."); ok {
					found = append(found, at([]any{member}, rest)...)
				}
			}
		}
	}
	return found
}

// picked returns the elements that the last pick leads to, and the path that goes on from them.
func (t *thing) picked(f Field) (elements []any, rest string) {
	elements, rest = []any{t.doc}, f.Name
	for _, p := range f.Picks {
		var next []any
		for _, v := range at(elements, rest) {
			list, _ := v.([]any)
			for _, e := range list {
				m, _ := e.(map[string]any)
				if s := leaf(m[p.Key]); s == p.Value && m[p.Key] != nil {
					next = append(next, m)
				}
			}
		}
		elements, rest = next, p.Path
	}
	return elements, rest
}

// values returns the values of a field, and whether it has any, or something below it.
func (t *thing) values(f Field) (values []string, there bool) {
	switch {
	case f.Space == Label && f.Name == "":
		return nil, len(t.labels) > 0
	case f.Space == Label:
		v, ok := t.labels[f.Name]
		if !ok {
			return nil, false
		}
		return []string{v}, true
	case f.Space == Fixed:
		if t.fixed[f.Name] == "" {
			return nil, false
		}
		return []string{t.fixed[f.Name]}, true
	case len(f.Picks) == 0:
		return t.texts[f.Name], t.below(f.Name)
	}
	elements, rest := t.picked(f)
	if rest != "" {
		elements = at(elements, rest)
	}
	part := &thing{texts: map[string][]string{}}
	for _, e := range elements {
		part.flatten("", e)
	}
	return part.texts[""], len(part.texts) > 0
}

func (m *model) match(n Node, t *thing) bool {
	switch n := n.(type) {
	case nil:
		return true
	case *And:
		return !slices.ContainsFunc(n.Nodes, func(c Node) bool { return !m.match(c, t) })
	case *Or:
		return slices.ContainsFunc(n.Nodes, func(c Node) bool { return m.match(c, t) })
	case *Not:
		return !m.match(n.Node, t)
	case *Word:
		return strings.Contains(small(strings.Join(t.search, "\n")), small(n.Text))
	case *Related:
		for _, r := range m.relations {
			if n.Kind != "" && n.Kind != r.Kind {
				continue
			}
			from, to := m.things[r.From], m.things[r.To]
			if from == t && (n.Node == nil || to != nil && m.match(n.Node, to)) {
				return true
			}
			if to == t && (n.Node == nil || from != nil && m.match(n.Node, from)) {
				return true
			}
		}
		return false
	}
	c := n.(*Compare)
	values, there := t.values(c.Field)
	if c.Op == Exists {
		return there
	}
	for _, want := range c.Values {
		path := c.Field.Space == Document && len(c.Field.Picks) == 0
		if c.Op == Has && path && !want.Before && !want.After && t.below(c.Field.Name+"."+want.Text) {
			return true
		}
		for _, v := range values {
			if m.holds(c, v, want, t) {
				return true
			}
		}
	}
	return false
}

func small(s string) string {
	var b []rune
	for _, r := range s {
		switch r {
		case '\u212a', 'İ':
		case 'ς':
			r = 'σ'
		default:
			r = unicode.ToLower(r)
		}
		b = append(b, r)
	}
	return string(b)
}

func (m *model) holds(c *Compare, v string, want Value, t *thing) bool {
	pattern := regexp.QuoteMeta(want.Text)
	switch c.Op {
	case Equal:
		if at, ok := t.moments[c.Field.Name]; ok && c.Field.Space == Fixed && !want.Before && !want.After {
			return m.moment(want.Text) != nil && m.moment(want.Text).Cmp(big.NewInt(at.UnixMilli())) == 0
		}
	case Has:
		v, pattern = small(v), regexp.QuoteMeta(small(want.Text))
		if want.Before == want.After {
			want.Before, want.After = true, true
		}
	case Match:
		return regexp.MustCompile("(?s)(?:" + want.Text + ")").MatchString(v)
	default:
		return m.ordered(c, v, want.Text)
	}
	if !want.Before {
		pattern = "^" + pattern
	}
	if !want.After {
		pattern += `\z`
	}
	return regexp.MustCompile("(?s)" + pattern).MatchString(v)
}

func (m *model) ordered(c *Compare, v, want string) bool {
	sign := map[Op][]int{Less: {-1}, LessEqual: {-1, 0}, Greater: {1}, GreaterEqual: {0, 1}}[c.Op]
	kind := m.kinds[c.Field.String()]
	if c.Field.Space == Fixed {
		kind = Text
		if slices.Contains([]string{"created", "updated", "observed"}, c.Field.Name) {
			kind = Time
		}
	}
	number, span, moment := plainNumber(want), plainSpan(want), m.moment(want)
	switch {
	case c.Field.Space == Fixed && kind == Text:
		return slices.Contains(sign, strings.Compare(v, want))
	case kind == Span && span != nil, number == nil && moment == nil && span != nil:
		got := plainSpan(v)
		return got != nil && slices.Contains(sign, got.Cmp(span))
	case number != nil && (moment == nil || kind == Numeric):
		got := plainNumber(v)
		return got != nil && slices.Contains(sign, got.Cmp(number))
	case moment != nil:
		got := absolute(v)
		return got != nil && slices.Contains(sign, got.Cmp(moment))
	}
	return slices.Contains(sign, strings.Compare(v, want))
}

var (
	numbers = regexp.MustCompile(`^(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?) ?(|n|u|m|B|[kKMGTPE]B?|[KMGTPE]iB?)$`)
	dates   = regexp.MustCompile(`^((?:19[7-9]|20\d|21\d)\d-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,9})?(Z|[-+](?:0\d|1[0-4]):?\d\d)?)?$`)
	periods = regexp.MustCompile(`^(?:([\d.]+)w)?(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?` +
		`(?:([\d.]+)s)?(?:([\d.]+)ms)?(?:([\d.]+)us)?(?:([\d.]+)ns)?$`)
	decimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
)

// near is the floating point number that is nearest, as a fraction.
func near(digits string) *big.Float {
	r, ok := new(big.Rat).SetString(digits)
	if !ok {
		return nil
	}
	f, _ := r.Float64()
	return new(big.Float).SetFloat64(f)
}

func plainNumber(s string) *big.Float {
	g := numbers.FindStringSubmatch(s)
	if g == nil || len(s) > 64 || strings.HasSuffix(s, " ") {
		return nil
	}
	n := near(g[1])
	unit := strings.TrimSuffix(g[2], "B")
	if i := strings.Index("num", unit); i >= 0 && unit != "" {
		return new(big.Float).SetPrec(53).Quo(n, big.NewFloat([]float64{1e9, 1e6, 1e3}[i]))
	}
	factor := big.NewFloat(1)
	base := 1000.
	if strings.HasSuffix(unit, "i") {
		base = 1024
	}
	if unit != "" {
		for range 1 + strings.Index("KMGTPE", strings.ToUpper(unit[:1])) {
			factor.Mul(factor, big.NewFloat(base))
		}
	}
	return new(big.Float).SetPrec(53).Mul(n, factor)
}

func plainSpan(s string) *big.Float {
	if s == "" || len(s) > 64 {
		return nil
	}
	if decimal.MatchString(s) {
		return near(s)
	}
	g := periods.FindStringSubmatch(s)
	if g == nil {
		return nil
	}
	total := new(big.Float).SetPrec(53)
	for i, part := range g[1:] {
		if part == "" {
			continue
		}
		if !decimal.MatchString(part) {
			return nil
		}
		n := new(big.Float).SetPrec(53)
		if i < 5 {
			n.Mul(near(part), big.NewFloat([]float64{604800, 86400, 3600, 60, 1}[i]))
		} else {
			n.Quo(near(part), big.NewFloat([]float64{1e3, 1e6, 1e9}[i-5]))
		}
		total.Add(total, n)
	}
	return total
}

func absolute(s string) *big.Int {
	g := dates.FindStringSubmatch(s)
	if g == nil || g[3] == "" && g[4] != "" || len(s) > 64 {
		return nil
	}
	clock, zone := "00:00", "Z"
	if g[2] != "" {
		clock = g[2]
	}
	if g[5] != "" && g[5] != "Z" {
		zone = g[5][:3] + ":" + g[5][len(g[5])-2:]
		if g[5][len(g[5])-2:] > "59" {
			return nil
		}
	}
	if g[3] == "" {
		g[3] = ":00"
	}
	at, err := time.Parse(time.RFC3339, g[1]+"T"+clock+g[3]+g[4]+zone)
	if err != nil {
		return nil
	}
	return big.NewInt(at.UnixMilli())
}

func (m *model) moment(s string) *big.Int {
	if at := absolute(s); at != nil {
		return at
	}
	rest := strings.TrimPrefix(s, "now")
	if rest == "" && s == "now" {
		return big.NewInt(m.now.UnixMilli())
	}
	if rest == "" || rest[0] != '+' && rest[0] != '-' || unicode.IsDigit(rune(rest[len(rest)-1])) {
		return nil
	}
	span := plainSpan(rest[1:])
	if span == nil {
		return nil
	}
	if span.Cmp(big.NewFloat(1e10)) > 0 {
		return nil
	}
	milli, _ := new(big.Float).SetPrec(53).Mul(span, big.NewFloat(1000)).Int(nil)
	if rest[0] == '-' {
		milli.Neg(milli)
	}
	return milli.Add(milli, big.NewInt(m.now.UnixMilli()))
}
