// Command generate is the protoc plugin that `make generate` makes the reference of
// the API with: an OpenAPI 3.1 document of the services, with the comments of their
// protobuf files and the examples of examples.json. It says what the server does:
// JSON as protobuf maps it, calls by POST and, where they change nothing, by GET, and
// errors as Connect has them.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	var flags flag.FlagSet
	about := flags.String("about", "", "file that the document's description is in")
	examples := flags.String("examples", "", "file that has an example request for each method")
	protogen.Options{ParamFunc: flags.Set}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		return generate(p, *about, *examples)
	})
}

// object is a JSON object; encoding/json writes its keys in order.
type object = map[string]any

func generate(p *protogen.Plugin, about, examplesFile string) error {
	text, err := os.ReadFile(about)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(examplesFile)
	if err != nil {
		return err
	}
	var examples map[string]json.RawMessage
	if err := json.Unmarshal(raw, &examples); err != nil {
		return fmt.Errorf("%s: %w", examplesFile, err)
	}
	g := &generator{examples: examples, paths: object{}, schemas: object{"Error": errorSchema}}
	for _, file := range p.Files {
		if !file.Generate {
			continue
		}
		for _, service := range file.Services {
			g.service(service)
		}
	}
	if len(g.tags) == 0 {
		return nil // a module without services
	}
	slices.SortFunc(g.tags, func(a, b object) int { return strings.Compare(a["name"].(string), b["name"].(string)) })
	document := object{
		"openapi":  "3.1.0",
		"info":     object{"title": "Reeve API", "version": "v1", "description": string(text)},
		"tags":     g.tags,
		"paths":    g.paths,
		"security": []any{object{"bearer": []any{}}},
		"components": object{
			"schemas":         g.schemas,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer", "description": "A token, as ID.SECRET: reeve token create"}},
		},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(document); err != nil {
		return err
	}
	_, err = p.NewGeneratedFile("openapi.json", "").Write(out.Bytes())
	return err
}

var errorSchema = object{
	"type": "object", "required": []any{"code"}, "description": "What went wrong.",
	"properties": object{
		"code": object{"type": "string", "enum": []any{"canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
			"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
			"data_loss", "unauthenticated"}},
		"message": object{"type": "string", "description": "For people; programs go by the code."},
		"details": object{"type": "array", "items": object{"type": "object"}},
	},
}

type generator struct {
	examples       map[string]json.RawMessage
	tags           []object
	paths, schemas object
}

// comment is what a protobuf file says of something.
func comment(c protogen.CommentSet) string {
	lines := strings.Split(strings.TrimSpace(string(c.Leading)), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

func described(o object, c protogen.CommentSet) object {
	if text := comment(c); text != "" {
		o["description"] = text
	}
	return o
}

func (g *generator) service(s *protogen.Service) {
	g.tags = append(g.tags, described(object{"name": string(s.Desc.Name())}, s.Comments))
	for _, m := range s.Methods {
		path := "/" + string(s.Desc.FullName()) + "/" + string(m.Desc.Name())
		operation := func(suffix string) object {
			o := described(object{
				"operationId": string(s.Desc.Name()) + "_" + string(m.Desc.Name()) + suffix,
				"tags":        []any{string(s.Desc.Name())},
				"responses":   g.responses(m),
			}, m.Comments)
			// Agents show a join token or a certificate there.
			if s.Desc.Name() == "EnrollmentService" {
				o["security"] = []any{}
			}
			return o
		}
		post := operation("")
		body := object{"schema": g.reference(m.Input)}
		if example, ok := g.examples[strings.TrimPrefix(path, "/")]; ok {
			body["example"] = example
		}
		post["requestBody"] = object{"required": true, "content": object{mediaType(m): body}}
		item := object{"post": post}
		if o, ok := m.Desc.Options().(*descriptorpb.MethodOptions); ok && !m.Desc.IsStreamingServer() &&
			o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
			get := operation("_get")
			get["parameters"] = []any{
				object{"name": "encoding", "in": "query", "required": true, "schema": object{"const": "json"}},
				object{"name": "connect", "in": "query", "schema": object{"const": "v1"}},
				object{"name": "message", "in": "query", "required": true, "description": "The request.",
					"content": object{"application/json": object{"schema": g.reference(m.Input)}}},
			}
			item["get"] = get
		}
		g.paths[path] = item
	}
}

func mediaType(m *protogen.Method) string {
	if m.Desc.IsStreamingServer() {
		return "application/connect+json"
	}
	return "application/json"
}

func (g *generator) responses(m *protogen.Method) object {
	answer := "The answer."
	if m.Desc.IsStreamingServer() {
		answer = "A stream of answers, each in an envelope."
	}
	return object{
		"200": object{"description": answer, "content": object{mediaType(m): object{"schema": g.reference(m.Output)}}},
		"default": object{"description": "An error. Of a stream it is in the last envelope, and the status is 200.",
			"content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}},
	}
}

// reference returns a reference to a message's schema, which it makes if it is not there.
func (g *generator) reference(m *protogen.Message) object {
	if known := wellKnown(m.Desc.FullName()); known != nil {
		return known
	}
	name := schemaName(m.Desc.FullName())
	if _, ok := g.schemas[name]; !ok {
		schema := described(object{"type": "object", "additionalProperties": false}, m.Comments)
		g.schemas[name] = schema // before its fields, which may be of it
		properties := object{}
		for _, f := range m.Fields {
			properties[f.Desc.JSONName()] = g.field(f)
		}
		schema["properties"] = properties
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// schemaName is a message's name without those of the package.
func schemaName(name protoreflect.FullName) string {
	parts := strings.Split(string(name), ".")
	return strings.Join(parts[min(2, len(parts)-1):], ".")
}

func (g *generator) field(f *protogen.Field) object {
	var schema object
	switch {
	case f.Desc.IsMap():
		schema = object{"type": "object", "additionalProperties": g.value(f.Message.Fields[1])}
	case f.Desc.IsList():
		schema = object{"type": "array", "items": g.value(f)}
	default:
		schema = g.value(f)
	}
	text := comment(f.Comments)
	if f.Oneof != nil && !f.Oneof.Desc.IsSynthetic() {
		var others []string
		for _, other := range f.Oneof.Fields {
			others = append(others, other.Desc.JSONName())
		}
		text = strings.TrimSpace(text + "\nAt most one of " + strings.Join(others, ", ") + " is set.")
	}
	if text != "" {
		schema["description"] = text
	}
	return schema
}

// value is the schema of a field's value, or of one of them.
func (g *generator) value(f *protogen.Field) object {
	switch f.Desc.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{"oneOf": []any{object{"type": "number"}, object{"enum": []any{"NaN", "Infinity", "-Infinity"}}}}
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return object{"type": []any{"string", "integer"}, "format": f.Desc.Kind().String()}
	case protoreflect.EnumKind:
		var names []any
		var meanings []string
		for _, v := range f.Enum.Values {
			names = append(names, string(v.Desc.Name()))
			if text := comment(v.Comments); text != "" {
				meanings = append(meanings, string(v.Desc.Name())+": "+strings.ReplaceAll(text, "\n", " "))
			}
		}
		name := schemaName(f.Enum.Desc.FullName())
		schema := object{"type": "string", "enum": names}
		if text := strings.TrimSpace(comment(f.Enum.Comments) + "\n" + strings.Join(meanings, "\n")); text != "" {
			schema["description"] = text
		}
		g.schemas[name] = schema
		return object{"$ref": "#/components/schemas/" + name}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return g.reference(f.Message)
	}
	return object{"type": "integer", "format": f.Desc.Kind().String()}
}

// wellKnown is the schema of a message that has a JSON of its own, or nil.
func wellKnown(name protoreflect.FullName) object {
	switch name {
	case "google.protobuf.Timestamp":
		return object{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`, "examples": []any{"3600s"}}
	case "google.protobuf.Struct":
		return object{"type": "object"}
	case "google.protobuf.ListValue":
		return object{"type": "array"}
	case "google.protobuf.Value":
		return object{}
	case "google.protobuf.FieldMask":
		return object{"type": "string"}
	}
	return nil
}
