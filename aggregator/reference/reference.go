// Package reference is the reference of the API: an OpenAPI document that is made of
// the protobuf files, and a page for people that is made of it. Both are the same for
// everyone, and say nothing of the installation.
package reference

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Path is where the page is; the document is openapi.json below it.
const Path = "/api/"

var (
	//go:embed openapi.json
	document []byte
	//go:embed page.html
	pageText string
	//go:embed style.css
	style []byte
)

// Document returns the OpenAPI 3.1 document.
func Document() []byte { return slices.Clone(document) }

// schema is what the page shows of a JSON Schema.
type schema struct {
	Reference   string `json:"$ref"`
	Type        any
	Format      string
	Description string
	Enum        []any
	Items       *schema
	Properties  map[string]*schema
	Additional  json.RawMessage `json:"additionalProperties"`
}

// content is what a body is: one media type with its schema.
type content map[string]struct {
	Schema  *schema
	Example json.RawMessage
}

type operation struct {
	Tags        []string
	Description string
	RequestBody struct{ Content content }
	Responses   map[string]struct{ Content content }
}

type openAPI struct {
	Info struct{ Title, Description string }
	Tags []struct{ Name, Description string }
	// Paths are operations by path and method.
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*schema }
}

// A method is one of a service, as the page shows it.
type method struct {
	Path, Name, Description string
	Get, Stream             bool
	Request, Response       string
	Example, Curl           string
}

type service struct {
	Name, Description string
	Methods           []method
}

type field struct{ Name, Type, Link, Description string }

type message struct {
	Name, Description string
	Fields            []field
	Values            []any
}

// Curl is a command that calls a method with its example. It has the token in a file,
// for a command line is seen by others.
func Curl(path, example string, stream bool) string {
	text := strings.ReplaceAll(example, "'", `'\''`)
	const call = "curl --cacert ca.crt -H @token.header"
	if !stream {
		return fmt.Sprintf("%s -H 'Content-Type: application/json' \\\n  -d '%s' \\\n  \"https://$REEVE%s\"", call, text, path)
	}
	n := len(example)
	return fmt.Sprintf("printf '\\%03o\\%03o\\%03o\\%03o\\%03o%%s' '%s' |\n  %s -H 'Content-Type: application/connect+json' -N \\\n  --data-binary @- \"https://$REEVE%s\"",
		0, n>>24&255, n>>16&255, n>>8&255, n&255, text, call, path)
}

// page makes the page.
func page() ([]byte, error) {
	var api openAPI
	if err := json.Unmarshal(document, &api); err != nil {
		return nil, err
	}
	data := struct {
		Title, Description string
		Services           []service
		Messages           []message
	}{Title: api.Info.Title, Description: api.Info.Description}
	for _, tag := range api.Tags {
		s := service{Name: tag.Name, Description: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
			o := api.Paths[path]["post"]
			if o == nil || !slices.Contains(o.Tags, tag.Name) {
				continue
			}
			_, stream := o.RequestBody.Content["application/connect+json"]
			m := method{Path: path, Name: path[strings.LastIndex(path, "/")+1:], Description: o.Description, Get: api.Paths[path]["get"] != nil, Stream: stream}
			for _, body := range o.RequestBody.Content {
				m.Request = shortName(body.Schema.Reference)
				if len(body.Example) > 0 {
					var compact bytes.Buffer
					if err := json.Compact(&compact, body.Example); err != nil {
						return nil, err
					}
					m.Example = compact.String()
					m.Curl = Curl(path, m.Example, stream)
				}
			}
			for _, body := range o.Responses["200"].Content {
				m.Response = shortName(body.Schema.Reference)
			}
			s.Methods = append(s.Methods, m)
		}
		data.Services = append(data.Services, s)
	}
	for _, name := range slices.Sorted(maps.Keys(api.Components.Schemas)) {
		of := api.Components.Schemas[name]
		m := message{Name: name, Description: of.Description, Values: of.Enum}
		for _, property := range slices.Sorted(maps.Keys(of.Properties)) {
			p := of.Properties[property]
			kind, link := typeName(p)
			m.Fields = append(m.Fields, field{Name: property, Type: kind, Link: link, Description: p.Description})
		}
		data.Messages = append(data.Messages, m)
	}
	parsed, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, data)
	return out.Bytes(), err
}

func shortName(reference string) string {
	return strings.TrimPrefix(reference, "#/components/schemas/")
}

// typeName says what a value is, and which message or enumeration it is of, if it is.
func typeName(s *schema) (kind, link string) {
	switch {
	case s.Reference != "":
		return shortName(s.Reference), shortName(s.Reference)
	case s.Items != nil:
		kind, link = typeName(s.Items)
		return "list of " + kind, link
	}
	switch t := s.Type.(type) {
	case string:
		kind = t
	case []any:
		kind = fmt.Sprint(t[0])
	default:
		kind = "any"
	}
	if kind == "object" && len(s.Additional) > 0 && s.Additional[0] == '{' {
		var of schema
		if json.Unmarshal(s.Additional, &of) == nil {
			kind, link = typeName(&of)
			return "map of " + kind, link
		}
	}
	if s.Format != "" {
		kind += " (" + s.Format + ")"
	}
	return kind, link
}

// Handler serves the page, its style and the document below Path, to anyone who asks.
func Handler() (http.Handler, error) {
	text, err := page()
	if err != nil {
		return nil, fmt.Errorf("making the page of the API's reference: %w", err)
	}
	mux := http.NewServeMux()
	for _, f := range []struct {
		name, kind string
		data       []byte
	}{
		{"{$}", "text/html; charset=utf-8", text}, {"style.css", "text/css; charset=utf-8", style}, {"openapi.json", "application/json", document},
	} {
		mux.HandleFunc("GET "+Path+f.name, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", f.kind)
			// Nothing but its own style: no scripts, nothing from elsewhere, in no frame.
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			_, _ = w.Write(f.data) // an error means that the client is gone
		})
	}
	return mux, nil
}
