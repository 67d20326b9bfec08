package kinds

import (
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lenient reads what services send, duplicates and broken texts included.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// forgiving reads values of other types than they should have as well as can be:
// numbers and booleans also where a text has them, and the other way round. What
// cannot be read at all is left out, and nothing else with it.
var forgiving = json.JoinOptions(lenient, json.WithUnmarshalers(json.UnmarshalFromFunc(forgive)))

// Decode reads an element of a list, or a part of one, into a pointer, as leniently
// as [Kind.Read] does.
func Decode(v jsontext.Value, into any) error { return jsonUnmarshal(v, into) }

// jsonUnmarshal reads an element, or a part of one. Elements are as they should be
// nearly always, so the odd ones are read a second time.
func jsonUnmarshal(v jsontext.Value, into any) error {
	err := json.Unmarshal(v, into, lenient)
	var odd *json.SemanticError
	if err == nil || !errors.As(err, &odd) {
		return err
	}
	reflect.ValueOf(into).Elem().SetZero()
	return json.Unmarshal(v, into, forgiving)
}

// forgive reads one value, or leaves it to the usual way where its type fits.
func forgive(dec *jsontext.Decoder, into any) error {
	if _, ok := into.(json.UnmarshalerFrom); ok {
		return errors.ErrUnsupported
	}
	if _, ok := into.(*jsontext.Value); ok {
		return errors.ErrUnsupported
	}
	to, from := reflect.ValueOf(into).Elem(), dec.PeekKind()
	if from == 0 {
		return errors.ErrUnsupported // it is broken, and that is said the usual way
	}
	typ := to.Type()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	fits := from == 'n'
	switch typ.Kind() {
	case reflect.Struct, reflect.Map:
		fits = fits || from == '{'
	case reflect.Slice:
		fits = fits || from == '['
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int64, reflect.Float64:
		return forgiveScalar(dec, to)
	default:
		fits = true
	}
	if fits {
		return errors.ErrUnsupported
	}
	to.SetZero()
	return dec.SkipValue()
}

func forgiveScalar(dec *jsontext.Decoder, to reflect.Value) error {
	var t text
	if err := t.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	value := reflect.New(to.Type()).Elem()
	pointer := to.Kind() == reflect.Pointer
	if pointer {
		value = reflect.New(to.Type().Elem()).Elem()
	}
	if !setText(value, strings.TrimSpace(string(t))) {
		to.SetZero()
		return nil
	}
	if pointer {
		to.Set(value.Addr())
	} else {
		to.Set(value)
	}
	return nil
}

// setText sets a value to what a text says, and reports whether it says anything.
func setText(value reflect.Value, t string) bool {
	switch value.Kind() {
	case reflect.String:
		value.SetString(t)
		return t != ""
	case reflect.Bool:
		on, ok := boolOf(t)
		value.SetBool(on)
		return ok
	}
	n := numberOf(text(t))
	if !n.known {
		return false
	}
	if value.Kind() == reflect.Float64 {
		value.SetFloat(n.value)
		return true
	}
	// A text of a whole number is exact; anything else is as exact as it can be.
	whole, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		if math.Abs(n.value) >= 1<<63 {
			return false
		}
		whole = int64(n.value)
	}
	if value.OverflowInt(whole) {
		return false
	}
	value.SetInt(whole)
	return true
}

// isTrue reads a boolean that services write as a text, too.
func isTrue(t text) bool {
	on, _ := boolOf(strings.TrimSpace(string(t)))
	return on
}

// boolOf reads a boolean as Python and people write it.
func boolOf(t string) (on, ok bool) {
	switch strings.ToLower(t) {
	case "true", "yes", "on", "y", "t", "1", "1.0":
		return true, true
	case "false", "no", "off", "n", "f", "0", "0.0":
		return false, true
	}
	return false, false
}
