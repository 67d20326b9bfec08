// Package layout says how assets of a type are shown: the columns of their
// list, what the words of their status mean, what a search looks at, and the
// sections of their details. A collector brings a layout with each of its
// types; every client draws what the layout says.
//
// A layout is JSON; docs/layouts.md describes it. It names places in the asset's
// document by paths, as package document writes them: keys joined by dots, that
// pass through arrays. A key may have dots in it, so
// metadata.labels.app.kubernetes.io/name needs no escape. Elements of an array
// are picked by one of their members: status.conditions[type=Ready].status. A
// path that begins with @ names what every asset has beside its document.
package layout

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxSize is the size in bytes of the largest layout.
	MaxSize = 32 << 10

	maxItems   = 64
	maxText    = 256
	maxWidgets = 16
)

// Layout says how assets of a type are shown.
type Layout struct {
	// Icon is one of Icons, or empty.
	Icon string `json:"icon,omitempty"`
	// Columns are what a list shows, behind the asset's name and project.
	Columns []Column `json:"columns,omitempty"`
	Status  Status   `json:"status,omitzero"`
	// Search are the paths that a search looks at, besides the name. They pick
	// no elements, for they are also what a document is indexed by.
	Search []string `json:"search,omitempty"`
	// Sections are the parts of the details.
	Sections []Section `json:"sections,omitempty"`
	// Widgets stand above the list: cards and charts of all assets of the type.
	Widgets []Section `json:"widgets,omitempty"`
}

// IsLink reports whether a value may be made clickable: an address of the web, with
// a host and without a password. Documents are written by others, and what follows
// another scheme may be a program.
func IsLink(value string) bool {
	u, err := url.Parse(value)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

// Status sorts the words that a status can be. A * at the end of a word stands
// for any ending: "Init:*".
type Status struct {
	Good    []string `json:"good,omitempty"`
	Warning []string `json:"warning,omitempty"`
	Bad     []string `json:"bad,omitempty"`
	// Done is what ended as it should, and needs no attention any more.
	Done []string `json:"done,omitempty"`
}

// Tone is what a status word means.
type Tone int

// The tones. A word that no list has is neutral.
const (
	Neutral Tone = iota
	Good
	Warning
	Bad
	Done
)

// Tone returns what a word means: by the entry that is the word itself, or else
// by the longest one that stands for it.
func (s Status) Tone(word string) Tone {
	tone, longest := Neutral, -1
	for i, words := range s.lists() {
		for _, w := range words {
			if w == word {
				return Tone(i + 1)
			}
			if start, ok := strings.CutSuffix(w, "*"); ok && len(start) > longest && strings.HasPrefix(word, start) {
				tone, longest = Tone(i+1), len(start)
			}
		}
	}
	return tone
}

func (s Status) lists() [4][]string { return [4][]string{s.Good, s.Warning, s.Bad, s.Done} }

// Icons are the icons that there are. Clients bring the drawings, or show none.
var Icons = []string{
	"access", "address", "autoscaler", "balancer", "certificate", "class", "cluster", "config", "custom", "device", "disk", "endpoints",
	"event", "filesystem", "firewall", "gateway", "image", "interface", "job", "lease", "machine", "namespace", "network",
	"node", "partition", "pod", "policy", "priority", "quota", "replicas", "role", "route", "schedule", "secret", "service",
	"snapshot", "storage", "user", "volume", "webhook", "workload",
}

// basics are how paths begin that name what every asset has beside
// its document.
var basics = []string{"@name", "@uid", "@region", "@project", "@status", "@labels", "@created", "@updated"}

// Parse reads a layout and checks it. The error names the place.
func Parse(data []byte) (*Layout, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("layout of %d bytes: the largest allowed has %d", len(data), MaxSize)
	}
	if jsontext.Value(data).Kind() != '{' {
		return nil, errors.New("layout: must be a JSON object")
	}
	l := new(Layout)
	if err := json.Unmarshal(data, l, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	return l, nil
}

func (l *Layout) check() error {
	if l.Icon != "" && !slices.Contains(Icons, l.Icon) {
		return fmt.Errorf("icon: %q is not one of %s", l.Icon, strings.Join(Icons, ", "))
	}
	if err := checkColumns("columns", l.Columns, true, 0); err != nil {
		return err
	}
	for i, name := range [4]string{"good", "warning", "bad", "done"} {
		for j, word := range l.Status.lists()[i] {
			if err := checkText(word); err != nil {
				return fmt.Errorf("status.%s[%d]: %w", name, j, err)
			}
		}
	}
	if len(l.Search) > maxItems {
		return fmt.Errorf("search: %d paths, at most %d are allowed", len(l.Search), maxItems)
	}
	for i, path := range l.Search {
		err := checkPath(path, true)
		if err == nil && strings.Contains(path, "[") {
			err = fmt.Errorf("%q: a search looks at all elements, so it cannot pick some", path)
		}
		if err != nil {
			return fmt.Errorf("search[%d]: %w", i, err)
		}
	}
	if err := checkSections("sections", l.Sections, true, 0); err != nil {
		return err
	}
	if len(l.Widgets) > maxWidgets {
		return fmt.Errorf("widgets: %d of them, at most %d are allowed", len(l.Widgets), maxWidgets)
	}
	for i := range l.Widgets {
		place, w := fmt.Sprintf("widgets[%d]", i), &l.Widgets[i]
		if w.Kind != Card && w.Kind != Chart {
			return fmt.Errorf("%s.kind: %q is not one of %s, %s", place, w.Kind, Card, Chart)
		}
		if w.Query == nil {
			return fmt.Errorf("%s.query: is missing: a widget is of all assets", place)
		}
		if err := w.check(place, true, 0); err != nil {
			return err
		}
	}
	return nil
}

func checkText(s string) error {
	if s == "" || len(s) > maxText {
		return fmt.Errorf("%.80q: must have 1 to %d bytes", s, maxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\x7f' }) {
		return fmt.Errorf("%q: has control characters", s)
	}
	return nil
}

// CheckPath returns an error unless path is one of an asset.
func CheckPath(path string) error { return checkPath(path, true) }

func checkPath(path string, whole bool) error {
	if err := checkText(path); err != nil {
		return err
	}
	if path[0] == '@' {
		head, _, _ := strings.Cut(path, ".")
		if !whole {
			return fmt.Errorf("%q: a section with a path has no %s", path, head)
		}
		if !slices.Contains(basics, head) || head != path && head != "@labels" {
			return fmt.Errorf("%q: is not one of %s", path, strings.Join(basics, ", "))
		}
	}
	for rest := path; rest != ""; {
		open := strings.IndexByte(rest, '[')
		keys := rest
		if open >= 0 {
			keys = rest[:open]
		}
		if slices.Contains(strings.Split(keys, "."), "") {
			return fmt.Errorf("%q: a key is missing", path)
		}
		if open < 0 {
			return nil
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return fmt.Errorf("%q: a ] is missing", path)
		}
		if key, value, ok := strings.Cut(rest[open+1:max(end, open+1)], "="); !ok || key == "" || value == "" {
			return fmt.Errorf("%q: elements are picked as in [type=Ready]", path)
		}
		if rest = rest[end+1:]; rest != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, "."); !ok || rest == "" {
				return fmt.Errorf("%q: what follows ] begins with a dot and a key", path)
			}
		}
	}
	return nil
}
