package layout

import (
	"cmp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Known is a path that documents of a type have.
type Known struct {
	Path   string
	Format Format
	// List says that some assets have several values at it.
	List bool
	// Assets is how many have it.
	Assets uint64
}

const (
	generatedColumns = 6
	generatedWide    = 12
)

// dull are the ends of paths that say little in a list.
var dull = []string{"uid", "id", "uuid", "hash", "resourceVersion", "generation", "selfLink", "links", "etag", "checksum",
	"apiVersion", "kind"}

// Generate returns a layout for a type that nobody described: the columns are single values
// that most assets have, those of short paths before those of long ones, and the details
// are all of them, and the document. It is as Parse wants it, and nil without paths.
func Generate(known []Known) []byte {
	known = kept(slices.Clone(known), func(k Known) bool {
		return checkPath(k.Path, false) == nil && (k.Format == "" || slices.Contains([]Format{Text, Number, Bool, Time}, k.Format))
	})
	if len(known) == 0 {
		return nil
	}
	slices.SortFunc(known, func(a, b Known) int {
		return cmp.Or(
			rank(a)-rank(b),
			cmp.Compare(b.Assets, a.Assets),
			strings.Count(a.Path, ".")-strings.Count(b.Path, "."),
			strings.Compare(a.Path, b.Path),
		)
	})
	l := &Layout{}
	var fields []Column
	titles := make(map[string]bool)
	for _, k := range known {
		title := titleOf(k.Path)
		if titles[title] {
			title = k.Path
		}
		titles[title] = true
		c := Column{Title: title, Path: k.Path, Format: k.Format}
		if k.List {
			c.Format = List
		}
		if len(fields) < maxItems {
			fields = append(fields, c)
		}
		if rank(k) > 1 || len(l.Columns) == generatedWide {
			continue
		}
		if c.Format == Time {
			c.Format = Age
		}
		c.Wide = len(l.Columns) >= generatedColumns
		l.Columns = append(l.Columns, c)
	}
	l.Sections = []Section{{Title: "Values", Kind: Fields, Columns: fields}, {Title: "Document", Kind: Raw}}
	for {
		text, err := json.Marshal(l, json.Deterministic(true))
		if err == nil && len(text) <= MaxSize {
			return text
		}
		// Long paths take much room.
		if n := len(l.Sections[0].Columns); n > 8 {
			l.Sections[0].Columns = fields[:n/2]
			continue
		}
		return nil
	}
}

// rank is how soon a path is a column: what is one of several parts of the same rank goes
// by how many assets have it.
func rank(k Known) int {
	keys := strings.Split(k.Path, ".")
	last := keys[len(keys)-1]
	switch {
	case slices.ContainsFunc(dull, func(d string) bool { return strings.EqualFold(d, last) || strings.HasSuffix(last, "_"+d) }):
		return 3
	case strings.Contains(k.Path, "labels.") || strings.Contains(k.Path, "annotations.") || strings.Contains(k.Path, "metadata.managed"):
		return 3
	case k.Path == "name" || k.Path == "status" || k.Path == "metadata.name":
		return 3 // every asset has them beside its document
	case k.List:
		return 2
	case len(keys) > 3:
		return 1
	}
	return 0
}

// titleOf returns the last key of a path in words: nodeName and node_name are Node name.
func titleOf(path string) string {
	last := path[strings.LastIndexByte(path, '.')+1:]
	var b strings.Builder
	lower := false
	for i, r := range last {
		switch {
		case r == '_' || r == '-' || r == ':':
			b.WriteByte(' ')
			lower = false
			continue
		case r >= 'A' && r <= 'Z' && lower:
			b.WriteByte(' ')
			r += 'a' - 'A'
			lower = false
		case i == 0 && r >= 'a' && r <= 'z':
			lower = true
			r -= 'a' - 'A'
		default:
			lower = r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		}
		b.WriteRune(r)
	}
	if checkText(b.String()) != nil {
		return path
	}
	return b.String()
}
