package cloud

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errShape says that an answer is JSON, but not a list.
var errShape = errors.New("unexpected form")

// errTruncated says that a service has left out the end of a list.
var errTruncated = errors.New("the service cuts its lists off: its list_limit must be raised")

// decodePage reads an answer that has a list. A list that is missing is an error:
// an answer that says something else is no empty list.
func decodePage(dec *jsontext.Decoder, envelope string, element func(jsontext.Value) error, next *string) error {
	if envelope == "" {
		if err := decodeArray(dec, element); err != nil {
			return err
		}
		return end(dec)
	}
	if err := expect(dec, '{'); err != nil {
		return err
	}
	found := false
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		switch name := token.String(); name {
		case envelope:
			found = true
			if err := decodeArray(dec, element); err != nil {
				return err
			}
		case "truncated":
			v, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if v.Kind() == 't' {
				return errTruncated
			}
		default:
			// Not all are named after the envelope: group_links, volume_type_links.
			if name != "links" && name != "next" && !strings.HasSuffix(name, "_links") {
				if err := dec.SkipValue(); err != nil {
					return err
				}
				continue
			}
			v, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if link := nextLink(v); link != "" {
				*next = link
			}
		}
	}
	if err := expect(dec, '}'); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: there is no %s in it", errShape, envelope)
	}
	return end(dec)
}

func expect(dec *jsontext.Decoder, kind jsontext.Kind) error {
	if k := dec.PeekKind(); k != kind {
		// What cannot be peeked at is an error of reading.
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s where %s should be", errShape, k, kind)
	}
	_, err := dec.ReadToken()
	return err
}

func end(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != io.EOF { //nolint:errorlint // a wrapped one is no clean end
		if err == nil {
			err = fmt.Errorf("%w: there is more than one value", errShape)
		}
		return err
	}
	return nil
}

func decodeArray(dec *jsontext.Decoder, element func(jsontext.Value) error) error {
	if err := expect(dec, '['); err != nil {
		return err
	}
	for {
		switch dec.PeekKind() {
		case ']':
			_, err := dec.ReadToken()
			return err
		case 0:
			_, err := dec.ReadToken()
			return err
		}
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if len(v) > maxElement {
			return fmt.Errorf("%w: an element has %d bytes, at most %d are taken", errShape, len(v), maxElement)
		}
		if err := element(v); err != nil {
			return err
		}
	}
}

// nextLink finds the address of the next page: in an array of links with their
// relations (Nova, Cinder, Neutron, Octavia), an object of links (Keystone,
// Designate), or a text (Glance, Ironic, Magnum, Barbican).
func nextLink(v jsontext.Value) string {
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	switch v.Kind() {
	case '"':
		var s string
		if json.Unmarshal(v, &s, lenient) == nil {
			return s
		}
	case '[':
		var links []struct {
			Rel  string `json:"rel"`
			Href string `json:"href"`
		}
		if json.Unmarshal(v, &links, lenient) == nil {
			for _, l := range links {
				if l.Rel == "next" {
					return l.Href
				}
			}
		}
	case '{':
		var links struct {
			Next *string `json:"next"`
		}
		if json.Unmarshal(v, &links, lenient) == nil && links.Next != nil {
			return *links.Next
		}
	}
	return ""
}

// memberText returns a member of an object that is a text or a number.
func memberText(object jsontext.Value, name string) string {
	v := Member(object, name)
	switch v.Kind() {
	case '"':
		var s string
		if json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) == nil {
			return s
		}
	case '0':
		return string(v)
	}
	return ""
}

// Member returns a member of an object, or nil.
func Member(object jsontext.Value, name string) jsontext.Value {
	dec := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil
		}
		if token.String() == name {
			v, err := dec.ReadValue()
			if err != nil {
				return nil
			}
			return v
		}
		if err := dec.SkipValue(); err != nil {
			return nil
		}
	}
	return nil
}
