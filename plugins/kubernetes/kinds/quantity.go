package kinds

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// amounts are amounts of resources by name, in the base unit of each: cores,
// bytes, pieces. Numbers of bytes are exact up to 8 PiB.
//
// It is a list and not a map because there are rarely more than three.
type amounts []amount

type amount struct {
	name  string
	value float64
}

// resources are what a container or a pod asks for, and may have.
type resources struct {
	Requests amounts `json:"requests"`
	Limits   amounts `json:"limits"`
}

// get returns the amount of a resource, or 0.
func (a amounts) get(name string) float64 {
	if i := a.index(name); i >= 0 {
		return a[i].value
	}
	return 0
}

func (a amounts) index(name string) int {
	return slices.IndexFunc(a, func(x amount) bool { return x.name == name })
}

// set sets the amount of a resource.
func (a amounts) set(name string, value float64) amounts {
	if i := a.index(name); i >= 0 {
		a[i].value = value
		return a
	}
	return append(a, amount{name, value})
}

// plus adds other amounts to a, and returns a.
func (a amounts) plus(other amounts) amounts {
	for _, x := range other {
		a = a.set(x.name, a.get(x.name)+x.value)
	}
	return a
}

// atLeast raises a to other amounts, and returns a.
func (a amounts) atLeast(other amounts) amounts {
	for _, x := range other {
		a = a.set(x.name, max(a.get(x.name), x.value))
	}
	return a
}

// take replaces the amounts of a by those that other has under the same names.
func (a amounts) take(other amounts) {
	for i := range a {
		a[i].value = other.get(a[i].name)
	}
}

// tidy sorts a by name, and takes away what adding fractions leaves behind:
// three times 0.1 cores are 0.3.
func (a amounts) tidy() amounts {
	for i, x := range a {
		if x.value != math.Trunc(x.value) {
			a[i].value = math.Round(x.value*1e9) / 1e9
		}
	}
	slices.SortFunc(a, func(x, y amount) int { return strings.Compare(x.name, y.name) })
	return a
}

// milliCPU returns the amount of CPU in thousandths of a core, rounded up as
// the scheduler does.
func (a amounts) milliCPU() int64 {
	// Less than a millionth of a thousandth is an error of the arithmetic.
	return ceil(a.get("cpu")*1e3 - 1e-6)
}

// bytes returns an amount that is counted in bytes, rounded up.
func (a amounts) bytes(name string) int64 { return ceil(a.get(name)) }

// ceil rounds up to an integer, and caps at the largest.
func ceil(value float64) int64 {
	value = math.Ceil(value)
	if value >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(value)
}

// MarshalJSONTo implements [json.MarshalerTo].
func (a amounts) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, x := range a {
		if err := enc.WriteToken(jsontext.String(x.name)); err != nil {
			return err
		}
		if err := enc.WriteToken(jsontext.Float(x.value)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *amounts) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*a = nil
	switch kind := dec.PeekKind(); kind {
	case '{':
	case 'n':
		return dec.SkipValue()
	default:
		return fmt.Errorf("resources are not an object but %s", kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*a = make(amounts, 0, 2) // CPU and memory
	for dec.PeekKind() != '}' {
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		name := resourceName(raw)
		if raw, err = dec.ReadValue(); err != nil {
			return err
		}
		value, err := quantity(raw)
		if err != nil {
			return fmt.Errorf("resource %s: %w", name, err)
		}
		*a = append(*a, amount{name, value})
	}
	_, err := dec.ReadToken()
	return err
}

// resourceName unquotes the name of a resource. The usual ones need no memory.
func resourceName(raw jsontext.Value) string {
	switch string(raw) {
	case `"cpu"`:
		return "cpu"
	case `"memory"`:
		return "memory"
	case `"ephemeral-storage"`:
		return "ephemeral-storage"
	case `"storage"`:
		return "storage"
	case `"pods"`:
		return "pods"
	}
	name, _ := jsontext.AppendUnquote(nil, raw) // it was read, so it is a string
	return string(name)
}

// quantity reads a quantity as Kubernetes writes it, quoted or as a number:
// "250m", "1.5Gi", "1e3", 4. One that no integer can hold is as large as that.
func quantity(raw jsontext.Value) (float64, error) {
	if raw.Kind() == 'n' {
		return 0, nil
	}
	text := bytes.Trim(raw, `"`)
	end := bytes.IndexFunc(text, func(c rune) bool { return !strings.ContainsRune("+-.0123456789", c) })
	if end < 0 {
		end = len(text)
	}
	number, suffix := string(text[:end]), string(text[end:])
	scale := 1.0
	switch suffix {
	case "":
	case "n":
		number += "e-9"
	case "u":
		number += "e-6"
	case "m":
		number += "e-3"
	case "k":
		number += "e3"
	case "M":
		number += "e6"
	case "G":
		number += "e9"
	case "T":
		number += "e12"
	case "P":
		number += "e15"
	case "E":
		number += "e18"
	case "Ki":
		scale = 1 << 10
	case "Mi":
		scale = 1 << 20
	case "Gi":
		scale = 1 << 30
	case "Ti":
		scale = 1 << 40
	case "Pi":
		scale = 1 << 50
	case "Ei":
		scale = 1 << 60
	default:
		exponent, err := strconv.ParseInt(suffix[1:], 10, 32)
		if suffix[0] != 'e' && suffix[0] != 'E' || err != nil {
			return 0, fmt.Errorf("%.40q is not a quantity: its suffix is unknown", text)
		}
		number += "e" + strconv.FormatInt(exponent, 10)
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil && !math.IsInf(value, 0) {
		return 0, fmt.Errorf("%.40q is not a quantity: it has no number", text)
	}
	return min(max(value*scale, -math.MaxInt64), math.MaxInt64), nil
}

var (
	_ json.MarshalerTo     = amounts{}
	_ json.UnmarshalerFrom = (*amounts)(nil)
)
