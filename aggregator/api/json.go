package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

// jsonCodec is JSON in which a field that a request does not have is an error:
// a filter that is misspelt must not answer with everything. Connect's own codec
// takes such fields for those of newer clients; ours speak the binary form.
type jsonCodec struct{ name string }

var _ connect.Codec = jsonCodec{}

// strictJSON makes handlers take JSON by jsonCodec, by both of its names.
func strictJSON() connect.HandlerOption {
	return connect.WithHandlerOptions(connect.WithCodec(jsonCodec{"json"}), connect.WithCodec(jsonCodec{"json; charset=utf-8"}))
}

// Name implements connect.Codec.
func (c jsonCodec) Name() string { return c.name }

// Marshal implements connect.Codec.
func (jsonCodec) Marshal(m any) ([]byte, error) {
	message, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("encoding JSON: a %T is no message", m)
	}
	return protojson.Marshal(message)
}

// Unmarshal implements connect.Codec.
func (jsonCodec) Unmarshal(data []byte, m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("decoding JSON: a %T is no message", m)
	}
	if len(data) == 0 {
		return errors.New("the body is empty: it must be a JSON object")
	}
	err := protojson.Unmarshal(data, message)
	if err == nil {
		return nil
	}
	// In words that name what is near, where one word is what is wrong.
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var raw any
	if d.Decode(&raw) == nil {
		if named := wrongWord(message.ProtoReflect().Descriptor(), raw, ""); named != nil {
			return named
		}
	}
	return err
}

// wrongWord returns an error for the first field that a message does not have, or
// the first value that its enum does not have. It returns nil if there is none.
func wrongWord(d protoreflect.MessageDescriptor, raw any, path string) error {
	// The well-known types have a JSON of their own.
	object, ok := raw.(map[string]any)
	if !ok || d.FullName().Parent() == "google.protobuf" {
		return nil
	}
	fields := d.Fields()
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByTextName(name)
		}
		if field == nil {
			known := make([]string, fields.Len())
			for i := range known {
				known[i] = fields.Get(i).TextName()
			}
			return fmt.Errorf("%s%s: %s has no such field%s", path, short(name), d.Name(), nearest.Hint(name, known))
		}
		if err := wrongValue(field, object[name], path+name); err != nil {
			return err
		}
	}
	return nil
}

// wrongValue is wrongWord for a field's value.
func wrongValue(field protoreflect.FieldDescriptor, value any, path string) error {
	switch list, ok := value.([]any); {
	case field.IsMap():
		return nil
	case ok:
		for i, element := range list {
			if err := wrongValue(field, element, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case field.Message() != nil:
		return wrongWord(field.Message(), value, path+".")
	case field.Enum() != nil:
		word, ok := value.(string)
		values := field.Enum().Values()
		if !ok || values.ByName(protoreflect.Name(word)) != nil {
			return nil
		}
		// The first stands for none.
		known := make([]string, 0, values.Len())
		for i := 1; i < values.Len(); i++ {
			known = append(known, string(values.Get(i).Name()))
		}
		hint := nearest.Hint(word, known)
		if hint == "" {
			hint = fmt.Sprintf(", which are %s", known)
		}
		return fmt.Errorf("%s: %q is no value of %s%s", path, short(word), field.Enum().Name(), hint)
	}
	return nil
}

// short returns as much of a word as an error repeats.
func short(word string) string {
	const most = 64
	if len(word) <= most {
		return word
	}
	return strings.ToValidUTF8(word[:most], "") + "..."
}
