package layout

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// SchemaID is the address by which the JSON Schema of layouts is known.
const SchemaID = "https://reeve.cloud/schemas/layout-1.json"

// Schema returns the JSON Schema (draft 2020-12) of layouts. What Parse takes fits it, and
// what fits it Parse takes, but for what a schema cannot say: whether a filter is one, how
// many bytes a text has (the schema counts characters), and that the whole has at most
// MaxSize. An empty member is to the schema as wrong as it is needless.
func Schema() []byte {
	type object = map[string]any
	defs := object{
		"text":         object{"type": "string", "minLength": 1, "maxLength": maxText, "pattern": `^[^\x00-\x1f\x7f]*$`},
		"translations": translations(object{"$ref": "#/$defs/text"}),
		"markdown":     object{"type": "string", "minLength": 1, "maxLength": maxMarkdown, "pattern": `^[^\x00-\x08\x0b-\x1f\x7f]*$`},
		"path":         object{"type": "string", "minLength": 1, "maxLength": maxText, "pattern": "^" + pathPattern("@") + "$"},
		"anyPath": object{"type": "string", "minLength": 1, "maxLength": maxText,
			"pattern": "^(?:" + pathPattern("@") + "|" + strings.Join(basics, "|") + `|@labels\.` + pathPattern("") + ")$"},
		"style": strict(object{
			"label": ref("text"), "labels": ref("translations"), "format": enum(StyleFormats), "tone": enum(tones), "color": enum(Colors),
			"shape": enum(shapes), "outline": object{"type": "boolean"}, "icon": enum(Icons),
		}),
		"query": strict(object{
			"type": ref("text"), "filter": object{"type": "string", "minLength": 1, "maxLength": maxFilter}, "by": ref("anyPath"),
			"top": object{"type": "integer", "minimum": 1, "maximum": maxTop}, "function": enum(Functions), "of": ref("anyPath"),
		}),
	}
	for depth := range maxDepth + 1 {
		for _, whole := range []bool{true, false} {
			defs[name("column", depth, whole)] = columnSchema(depth, whole)
			if depth < maxDepth {
				defs[name("section", depth, whole)] = sectionSchema(depth, whole)
			}
		}
	}
	words := object{"type": "array", "items": ref("text")}
	root := strict(object{
		"icon":    enum(Icons),
		"columns": list(ref(name("column", 0, true))),
		"status":  strict(object{"good": words, "warning": words, "bad": words, "done": words}),
		"search": list(object{"type": "string", "minLength": 1, "maxLength": maxText,
			"pattern": "^(?:" + keysPattern("@") + "|" + strings.Join(basics, "|") + `|@labels\.` + keysPattern("") + ")$"}),
		"sections": list(ref(name("section", 0, true))),
		"widgets": object{"type": "array", "maxItems": maxWidgets, "items": object{
			"allOf":      []any{ref(name("section", 0, true))},
			"properties": object{"kind": object{"enum": []any{Card, Chart}}}, "required": []any{"query"},
		}},
	})
	root["$schema"], root["$id"] = "https://json-schema.org/draft/2020-12/schema", SchemaID
	root["title"] = "How the assets of a type are shown"
	root["$defs"] = defs
	text, err := json.Marshal(root, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic(fmt.Sprintf("layout: the schema: %v", err)) // it is made of maps and texts
	}
	return append(text, '\n')
}

func name(of string, depth int, whole bool) string {
	return of + strconv.Itoa(depth) + map[bool]string{true: "whole", false: "part"}[whole]
}

func ref(to string) map[string]any { return map[string]any{"$ref": "#/$defs/" + to} }

func enum[T ~string](words []T) map[string]any { return map[string]any{"enum": words} }

func list(of map[string]any) map[string]any {
	return map[string]any{"type": "array", "maxItems": maxItems, "items": of}
}

func strict(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func translations(of map[string]any) map[string]any {
	return map[string]any{"type": "object", "maxProperties": maxLanguages, "additionalProperties": of,
		"propertyNames": map[string]any{"pattern": `^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}$`}}
}

// keysPattern is of keys joined by dots. The first one does not begin with what is given.
func keysPattern(not string) string {
	const key = `[^.\[\x00-\x1f\x7f]`
	return `[^.\[\x00-\x1f\x7f` + not + `]` + key + `*(?:\.` + key + `+)*`
}

// pathPattern is of a path that may pick elements.
func pathPattern(not string) string {
	const condition = `\[[^\]=\x00-\x1f\x7f]+=[^\]\x00-\x1f\x7f]+\]`
	return keysPattern(not) + `(?:` + condition + `\.` + keysPattern("") + `)*(?:` + condition + `)?`
}

func columnSchema(depth int, whole bool) map[string]any {
	type object = map[string]any
	path := ref("path")
	if whole {
		path = ref("anyPath")
	}
	properties := object{
		"title": ref("text"), "titles": ref("translations"), "description": ref("text"), "path": path, "of": path, "format": enum(formats),
		"wide": object{"type": "boolean"}, "optional": object{"type": "boolean"}, "unsortable": object{"type": "boolean"},
		"width": object{"type": "integer", "minimum": 1, "maximum": maxWidth}, "sortBy": path, "default": ref("text"), "prefix": ref("text"),
		"suffix": ref("text"), "href": path, "unit": enum(Units), "display": enum(Units), "source": enum(Sources), "show": enum(Shows),
		"asset": object{"type": "object", "properties": object{"type": ref("text"), "by": enum(bys)}, "required": []any{"type"},
			"additionalProperties": false},
		"delimiter": ref("text"), "member": ref("path"), "item": ref("style"), "style": ref("style"),
		"items": object{"type": "object", "minProperties": 1, "maxProperties": maxItems, "propertyNames": ref("text"),
			"additionalProperties": ref("style")},
	}
	if depth+1 < maxDepth {
		properties["sections"] = some(list(ref(name("section", depth+1, false))))
	}
	s := strict(properties)
	s["required"] = []any{"title", "path"}
	var rules []any
	for _, o := range options {
		// Only some formats have it.
		rules = append(rules, object{"if": object{"required": []any{o.name}},
			"then": object{"required": []any{"format"}, "properties": object{"format": enum(o.formats)}}})
	}
	for _, f := range formats {
		if need := needs[f]; need != "" {
			rules = append(rules, object{"if": object{"required": []any{"format"}, "properties": object{"format": object{"const": f}}},
				"then": object{"required": []any{need}}})
		}
	}
	// Sorted by another path, or by nothing.
	rules = append(rules, object{"if": object{"required": []any{"unsortable"}, "properties": object{"unsortable": object{"const": true}}},
		"then": object{"not": object{"required": []any{"sortBy"}}}})
	s["allOf"] = rules
	return s
}

func some(list map[string]any) map[string]any {
	list["minItems"] = 1
	return list
}

func sectionSchema(depth int, whole bool) map[string]any {
	type object = map[string]any
	properties := object{
		"title": ref("text"), "titles": ref("translations"), "path": ref("path"), "columns": object{"type": "array", "minItems": 1},
		"sort": object{"type": "object"}, "plain": object{"type": "boolean"}, "text": ref("markdown"), "texts": translations(ref("markdown")),
		"sections": object{"type": "array", "minItems": 1}, "query": ref("query"), "chart": enum(Charts), "name": ref("path"),
		"value": ref("path"), "format": enum([]Format{Number, Bytes, Cores}),
	}
	names := make([]Kind, len(kinds))
	var rules []any
	for i, k := range kinds {
		names[i] = k.kind
		allowed := object{"title": true, "titles": true, "kind": true}
		for _, m := range append(append([]string{}, k.shape.must...), k.shape.may...) {
			allowed[m] = true
		}
		must := append([]string{}, k.shape.must...)
		then := object{"properties": allowed, "additionalProperties": false, "required": must}
		switch k.kind {
		case Fields:
			then["anyOf"] = []any{object{"required": []any{"path"}}, object{"required": []any{"columns"}}}
		case Markdown:
			then["oneOf"] = []any{object{"required": []any{"path"}}, object{"required": []any{"text"}}}
			then["dependentRequired"] = object{"texts": []any{"text"}}
		case QueryTable:
			allowed["query"] = object{"not": object{"anyOf": absent("by", "top", "function", "of")}}
		case Card:
			then["oneOf"] = []any{object{"required": []any{"path"}}, object{"required": []any{"query"}}}
			allowed["query"] = computed(object{"not": object{"anyOf": absent("by", "top")}})
		case Chart:
			then["oneOf"] = []any{
				object{"required": []any{"path", "name", "value"}, "not": object{"required": []any{"query"}}},
				object{"required": []any{"query"}, "not": object{"anyOf": absent("path", "name", "value")}},
			}
			allowed["query"] = computed(object{"required": []any{"by"}})
		}
		rules = append(rules, object{
			"if": object{"required": []any{"kind"}, "properties": object{"kind": object{"const": k.kind}}}, "then": then,
		})
	}
	properties["kind"] = enum(names)
	inside := func(whole bool) object {
		path := ref("path")
		if whole {
			path = ref("anyPath")
		}
		p := object{
			"columns": list(ref(name("column", depth, whole))),
			"sort": object{"type": "object", "properties": object{"path": path, "descending": object{"type": "boolean"}}, "required": []any{"path"},
				"additionalProperties": false},
			"sections": object{"maxItems": 0},
		}
		if depth+1 < maxDepth {
			p["sections"] = list(ref(name("section", depth+1, whole)))
		}
		return object{"properties": p}
	}
	// Only what is of a whole asset, or of others, has what every asset has.
	rules = append(rules, object{"if": object{"properties": object{"kind": object{"const": QueryTable}}}, "then": inside(true),
		"else": object{"if": object{"required": []any{"path"}}, "then": inside(false), "else": inside(whole)}})
	s := strict(properties)
	s["required"], s["allOf"] = []any{"title", "kind"}, rules
	return s
}

func absent(names ...string) (list []any) {
	for _, n := range names {
		list = append(list, map[string]any{"required": []any{n}})
	}
	return list
}

// computed is a query that has numbers to compute of, unless it counts.
func computed(rule map[string]any) map[string]any {
	type object = map[string]any
	rule["if"] = object{"required": []any{"function"}, "properties": object{"function": object{"not": object{"const": "count"}}}}
	rule["then"] = object{"required": []any{"of"}}
	rule["else"] = object{"not": object{"required": []any{"of"}}}
	return rule
}
