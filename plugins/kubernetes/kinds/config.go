package kinds

import (
	"math"

	"github.com/go-json-experiment/json/jsontext"
)

// members counts the members of a JSON object, and looks at none.
type members int

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *members) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*m = 0
	if dec.PeekKind() != '{' {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		for range 2 { // the name and the value
			if err := dec.SkipValue(); err != nil {
				return err
			}
		}
		*m++
	}
	_, err := dec.ReadToken()
	return err
}

// secret counts the keys. Values are not read.
func (r *reader) secret() error {
	var s struct {
		Data members `json:"data"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	r.fact("keys", int(s.Data))
	return nil
}

func (r *reader) resourceQuota() error {
	var q struct {
		Status struct {
			Hard amounts `json:"hard"`
			Used amounts `json:"used"`
		} `json:"status"`
	}
	if err := r.object.Decode(&q); err != nil {
		return err
	}
	var ratios amounts
	for _, hard := range q.Status.Hard {
		// Of nothing, nothing is used.
		if hard.value > 0 {
			ratio := q.Status.Used.get(hard.name) / hard.value
			ratios = append(ratios, amount{hard.name, math.Round(ratio*1e4) / 1e4})
		}
	}
	r.amounts("usedRatio", ratios)
	return nil
}
